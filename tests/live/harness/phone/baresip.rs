//! baresip, Debian's `baresip-core`: configured by files, told what to do over TCP (module `ctrl_tcp`: netstrings of JSON).

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::tone::Sound;
use super::{Child, MEDIA, Manner, Socket, Start};

pub(super) const READY: &str = "baresip is ready";
/// In its trace of SIP messages: what it says of a call itself depends on how it is to answer it.
pub(super) const RUNG: &str = "INVITE sip:";
pub(super) const CONNECTED: &str = "Call established";
pub(super) const CHANGED: &str = "SSRC changed";

const PROGRAM: &str = "baresip";

/// Debian keeps modules in one folder, Ubuntu in another.
fn modules() -> PathBuf {
    let places = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"].map(PathBuf::from);
    let by_triplet = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut all = places.into_iter().chain(by_triplet.map(|one| one.path().join("baresip/modules")));
    all.find(|place| place.is_dir()).unwrap_or_else(|| panic!("baresip has no modules: run `just setup`"))
}

pub(super) fn start(phone: &Start<'_>) -> Child {
    let Start { dir, socket, user, manner, wav } = phone;
    let Socket { ip, sip, control, media } = socket;
    let mut config = format!(
        "poll_method epoll\nsip_listen {ip}:{sip}\nnet_interface {ip}\ncall_max_calls 4\nrtp_ports {media}-{}\n\
         audio_player aubridge,nobody\naudio_alert aubridge,alert\naudio_source aufile,{}\nausrc_srate 8000\nauplay_srate 8000\n\
         ausrc_channels 1\nauplay_channels 1\naudio_buffer 20-160\njitter_buffer_delay 5-10\nctrl_tcp_listen {ip}:{control}\n\
         snd_path {}\nmodule_path {}\n",
        media + MEDIA - 1,
        wav.display(),
        dir.display(),
        modules().display(),
    );
    for (kind, names) in [
        ("module", &["g711", "aufile", "aubridge", "sndfile", "ctrl_tcp"][..]),
        ("module_tmp", &["uuid", "account"]),
        ("module_app", &["menu"]),
    ] {
        for name in names {
            writeln!(config, "{kind} {name}.so").expect("a string takes everything");
        }
    }
    let mode = match manner {
        Manner::Answers => "auto",
        Manner::Rings => "manual",
        Manner::Announces => "early",
    };
    let account = format!(
        "<sip:{user}@{ip}:{sip};transport=udp>;regint=0;answermode={mode};audio_codecs=pcmu/8000/1,pcma/8000/1\n"
    );
    for (name, text) in [("config", config), ("accounts", account), ("contacts", String::new())] {
        std::fs::write(dir.join(name), text).expect("the test's folder takes a file");
    }
    // No folder of sounds: it would play them to nobody.
    let args =
        ["-f".to_owned(), dir.display().to_string(), "-p".to_owned(), dir.display().to_string(), "-s".to_owned()];
    Child::spawn("baresip", &dir.join("said"), Path::new(PROGRAM), &args)
}

pub(super) fn tell(socket: Socket, command: &str) {
    let (command, parameters) = command.split_once(' ').unwrap_or((command, ""));
    let json = format!(r#"{{"command":"{command}","params":"{parameters}"}}"#);
    let mut stream = TcpStream::connect((socket.ip, socket.control)).expect("baresip takes commands");
    stream.write_all(format!("{}:{json},", json.len()).as_bytes()).expect("baresip takes a command");
}

/// Each time that its audio is set up it begins a file, named by the second; of one second's there is the last.
pub(super) fn recording(dir: &Path) -> Sound {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut heard: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with("-dec.wav")).collect();
    heard.sort();
    heard.iter().map(|path| Sound::read(path)).fold(Sound::default(), Sound::and)
}

/// More than a packet or two on the way into a conversation.
const FEW: usize = 10;

/// Whether it dropped what it received, in what it has printed since some moment.
pub(super) fn complaint(printed: &str) -> Option<String> {
    let dropped = printed.matches(": dropping ").count();
    (dropped > FEW).then(|| format!("nothing of {dropped} packets, which it dropped"))
}
