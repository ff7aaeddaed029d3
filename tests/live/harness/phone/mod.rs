//! Real phones: programs that people call with, each given a tone to say, and recording what it hears. What they are told, and
//! what they tell, differs: `baresip` and `linphone`; what a test wants of them does not.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of sound"
)]

mod baresip;
mod linphone;
pub(crate) mod tone;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::Child;
use super::ports::Ports;
use super::until;
use tone::{Hearing, Sound};

/// Hz of what callers say; no country rings so.
pub(crate) const CALLER_TONE: u32 = 700;
/// Hz of what call centres say.
pub(crate) const CENTRE_TONE: u32 = 1000;
/// Longer than any call.
const SAYS: Duration = Duration::from_secs(40);

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brand {
    /// baresip: libre's SIP and RTP, and a jitter buffer that drops what it takes for another stream.
    Baresip,
    /// linphone: belle-sip, and oRTP's adaptive jitter buffer.
    Linphone,
}

/// What a phone does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200 at once.
    Answers,
    /// 180 until it is told to answer.
    Rings,
    /// 183 with SDP until it is told what to do; linphone says its tone meanwhile, baresip nothing.
    Announces,
}

/// Which of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The carrier's.
    Caller,
    /// The call centre's.
    Centre,
}

impl Side {
    fn tones(self) -> (u32, u32) {
        match self {
            Self::Caller => (CALLER_TONE, CENTRE_TONE),
            Self::Centre => (CENTRE_TONE, CALLER_TONE),
        }
    }
}

/// The ports that a phone needs: SIP and the next (baresip's for TLS), control, and a few for media.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Socket {
    ip: &'static str,
    sip: u16,
    control: u16,
    media: u16,
}

/// Ports for a phone's media. baresip tries others of them where one is taken.
const MEDIA: u16 = 6;

impl Socket {
    /// Takes them.
    pub(crate) fn take(ports: &Ports, ip: &'static str) -> Self {
        Self { ip, sip: ports.run(2), control: ports.one(), media: ports.run(MEDIA) }
    }

    /// Its SIP address.
    pub(crate) fn address(&self) -> (&'static str, u16) {
        (self.ip, self.sip)
    }
}

/// A running phone; it ends with this.
#[derive(Debug)]
pub(crate) struct Phone {
    brand: Brand,
    side: Side,
    socket: Socket,
    dir: PathBuf,
    child: Child,
    /// Where it is told what to do, for those that are told so.
    pipe: Option<File>,
    /// What it had heard when that was to be remembered.
    marked: Sound,
    /// How much it had printed then.
    printed: usize,
}

/// How a phone is started: its configuration is in `dir`.
struct Start<'a> {
    dir: &'a Path,
    socket: Socket,
    /// The user part of its address: a call is for it only where the Request-URI has it.
    user: &'a str,
    manner: Manner,
    wav: PathBuf,
}

impl Phone {
    /// A call centre that takes calls for `user`; returns when it does.
    pub(crate) async fn centre(brand: Brand, dir: &Path, socket: Socket, user: &str, manner: Manner) -> Self {
        Self::start(brand, Side::Centre, (dir, socket), (user, manner)).await
    }

    /// A caller, who is told whom to call later.
    pub(crate) async fn caller(brand: Brand, dir: &Path, socket: Socket) -> Self {
        Self::start(brand, Side::Caller, (dir, socket), ("+442071838750", Manner::Rings)).await
    }

    async fn start(brand: Brand, side: Side, (dir, socket): (&Path, Socket), (user, manner): (&str, Manner)) -> Self {
        std::fs::create_dir_all(dir).expect("the test's folder takes a folder");
        let wav = dir.join("says.wav");
        Sound::tone(side.tones().0, SAYS).write(&wav);
        let start = Start { dir, socket, user, manner, wav };
        let (child, pipe) = match brand {
            Brand::Baresip => (baresip::start(&start), None),
            Brand::Linphone => linphone::start(&start),
        };
        let mut phone =
            Self { brand, side, socket, dir: dir.to_owned(), child, pipe, marked: Sound::default(), printed: 0 };
        let ready = match brand {
            Brand::Baresip => baresip::READY,
            Brand::Linphone => linphone::READY,
        };
        phone.until_said(ready).await;
        phone
    }

    /// Waits until it has printed this.
    async fn until_said(&mut self, text: &str) {
        until(&format!("{} says {text:?}", self.dir.display()), || {
            let said = self.child.output().contains(text);
            if !said {
                self.child.assert_alive();
            }
            said
        })
        .await;
    }

    fn tell(&self, baresip: &str, linphone: &str) {
        match self.brand {
            Brand::Baresip => baresip::tell(self.socket, baresip),
            Brand::Linphone => linphone::tell(self.pipe.as_ref().expect("it has a pipe"), linphone),
        }
    }

    /// Calls a number at Asterisk (host:port).
    pub(crate) fn dial(&self, did: &str, asterisk: &str) {
        let uri = format!("sip:{did}@{asterisk}");
        self.tell(&format!("dial {uri}"), &format!("call {uri}"));
    }

    /// Waits until it is called.
    pub(crate) async fn rung(&mut self) {
        let text = match self.brand {
            Brand::Baresip => baresip::RUNG,
            Brand::Linphone => linphone::RUNG,
        };
        self.until_said(text).await;
    }

    /// Waits until it is connected.
    pub(crate) async fn connected(&mut self) {
        let text = match self.brand {
            Brand::Baresip => baresip::CONNECTED,
            Brand::Linphone => linphone::CONNECTED,
        };
        self.until_said(text).await;
    }

    /// Answers.
    pub(crate) fn answer(&self) {
        self.tell("accept", "answer");
    }

    /// Refuses the call, or ends it.
    pub(crate) fn hang_up(&self) {
        self.tell("hangup", "terminate");
    }

    /// Puts the other side on hold.
    pub(crate) fn hold(&self) {
        self.tell("hold", "pause");
    }

    /// Takes the other side back.
    pub(crate) fn resume(&self) {
        self.tell("resume", "resume");
    }

    /// Remembers how much it has heard: what comes from now on is another part of its recording.
    pub(crate) fn mark(&mut self) {
        if self.brand == Brand::Baresip {
            self.marked = baresip::recording(&self.dir);
            self.printed = self.child.output().len();
        }
    }

    /// What it dropped since the [`mark`](Self::mark), by what it prints, where it prints it: baresip's recorder ends with a hold. That
    /// nothing came at all is not seen so.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.brand == Brand::Linphone {
            return None;
        }
        baresip::complaint(self.child.output().split_at_checked(self.printed)?.1)
    }

    /// Whether its recording goes on after a hold.
    pub(crate) fn records_after_a_hold(&self) -> bool {
        self.brand == Brand::Linphone
    }

    /// Its recording, after the call: what came before the [`mark`](Self::mark), which was so long ago, and what came since.
    ///
    /// baresip records what it decodes, when it does, and nothing where nothing comes; linphone keeps the file back until the call is
    /// over, but what it has then is as long as the call was.
    pub(crate) async fn parts(&mut self, since_mark: Duration) -> (Sound, Sound) {
        match self.brand {
            Brand::Baresip => {
                let since = baresip::recording(&self.dir).after(&self.marked);
                (self.marked.clone(), since)
            }
            Brand::Linphone => {
                self.until_said(linphone::ENDED).await;
                linphone::recording(&self.dir).split_before_last(since_mark)
            }
        }
    }

    /// Whom it heard in a recording of its own.
    pub(crate) fn hears(&self, sound: &Sound) -> Hearing {
        let (own, other) = self.side.tones();
        sound.hears(own, other)
    }

    /// How often it has said that the source of what it hears changed; `None`: it never says so.
    pub(crate) fn ssrc_changes(&self) -> Option<usize> {
        match self.brand {
            Brand::Baresip => Some(self.child.output().matches(baresip::CHANGED).count()),
            Brand::Linphone => None,
        }
    }

    /// The last of what it has printed, for a test that fails.
    pub(crate) fn said(&self) -> String {
        let output = self.child.output();
        let lines: Vec<&str> = output.lines().filter(|line| !line.contains("(bit/s)")).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}
