//! linphone, Debian's `linphone-cli`: configured by a file, told what to do on its standard input, here a pipe with a name.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::tone::Sound;
use super::{Child, Manner, Socket, Start};

/// It repeats what it is told, here the last before a call.
pub(super) const READY: &str = "heard.wav";
pub(super) const RUNG: &str = "Receiving new incoming call";
pub(super) const CONNECTED: &str = "Media streams established";
pub(super) const ENDED: &str = " ended (";

pub(super) fn start(phone: &Start<'_>) -> (Child, Option<File>) {
    let Start { dir, socket, user, manner, wav } = phone;
    let Socket { ip, sip, media, .. } = socket;
    let early = u8::from(*manner == Manner::Announces);
    // TCP and TLS off; no name is looked up, and no address guessed.
    let config = format!(
        "[sip]\nbind_address={ip}\nsip_port={sip}\nsip_tcp_port=0\nsip_tls_port=0\nguess_hostname=0\nuse_ipv6=0\n\
         contact=<sip:{user}@{ip}:{sip}>\ninc_timeout=300\nincoming_calls_early_media={early}\n\
         [rtp]\naudio_rtp_port={media}\n[net]\nmtu=1300\n[sound]\nechocancellation=0\n[misc]\nlog_collection=0\n"
    );
    std::fs::write(dir.join("config"), config).expect("the test's folder takes a file");
    for folder in [".local/share/linphone", ".config/linphone"] {
        std::fs::create_dir_all(dir.join(folder)).expect("the test's folder takes a folder");
    }
    let pipe = dir.join("told");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "cannot make the pipe {}", pipe.display());
    // Both open it for both ways: it has no end, and what is written is kept, while either lives.
    let pipe = File::options().read(true).write(true).open(&pipe).expect("a pipe of ours");
    // `exec`, so that what is ended is the phone itself.
    let script = "exec env HOME=\"$PWD\" linphonec -c config -d 1 -l log \"$@\" <>told";
    let more = match manner {
        Manner::Answers => "-a",
        Manner::Announces => "--real-early-media",
        Manner::Rings => "",
    };
    let mut args = vec!["-c", script, "linphone"];
    args.extend((!more.is_empty()).then_some(more));
    let child = Child::spawn("linphonec", &dir.join("said"), Path::new("sh"), &args);
    let (says, hears) = (wav.display(), dir.join("heard.wav"));
    for command in ["soundcard use files", &format!("play {says}"), &format!("record {}", hears.display())] {
        tell(&pipe, command);
    }
    (child, Some(pipe))
}

pub(super) fn tell(mut pipe: &File, command: &str) {
    pipe.write_all(format!("{command}\n").as_bytes()).expect("linphone takes a command");
}

pub(super) fn recording(dir: &Path) -> Sound {
    Sound::read(&dir.join("heard.wav"))
}
