//! Call centres: answer, at once or later, or refuse, and remember when who called.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::audio::{Side, Voice, Which};
use crate::harness::message::{EMPTY, Message, with_body};

/// How often unacknowledged answers are looked through, and how old one must be to be sent again (RFC 3261, T1).
const T1: Duration = Duration::from_millis(500);
/// An answer that nobody acknowledges is sent so often.
const TIMES: u32 = 7;

/// What a call centre does with an INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200 at once.
    Answers,
    /// 486 at once.
    IsBusy,
    /// 180 at once, and 200 after 0.3 s. Its audio begins with the 200.
    Rings,
    /// 183 with SDP and audio at once, and 200 after 0.6 s.
    Sounds,
}

impl Manner {
    /// How long it lets the caller wait.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::Answers | Self::IsBusy => Duration::ZERO,
            Self::Rings => Duration::from_millis(300),
            Self::Sounds => Duration::from_millis(600),
        }
    }
}

/// One INVITE.
#[derive(Debug, Clone)]
pub(crate) struct Rung {
    /// The caller's number.
    pub(crate) number: String,
    /// When it came.
    pub(crate) at: Instant,
    /// When it was answered first; finally, where it is answered at once.
    pub(crate) answered: Instant,
}

/// A call centre in a task of its own. Ends with this.
#[derive(Debug)]
pub(crate) struct Centre {
    /// Where it takes calls.
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Rung>>>,
    voice: Arc<Mutex<Option<Voice>>>,
    task: JoinHandle<()>,
}

impl Centre {
    /// Opens one.
    pub(crate) async fn open(address: SocketAddr, manner: Manner) -> Self {
        let socket = UdpSocket::bind(address).await.expect("the call centre's address is free");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let voice = Arc::new(Mutex::new(None));
        let (open, theirs) = (HashMap::new(), (seen.clone(), voice.clone()));
        let desk = Desk { socket, address, manner, seen: theirs.0, voice: theirs.1, open, calls: 0 };
        Self { address, seen, voice, task: tokio::spawn(desk.run()) }
    }

    /// From now on its calls have this audio, or none.
    pub(crate) fn give(&self, voice: Option<Voice>) {
        *self.voice.lock().unwrap_or_else(PoisonError::into_inner) = voice;
    }

    /// The INVITEs since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<Rung> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call that is not over.
struct Open {
    /// Its last one.
    answer: String,
    /// Its final one, where that is still to come, and when.
    later: Option<(Instant, String)>,
    from: SocketAddr,
    sent: Instant,
    times: u32,
    acknowledged: bool,
    audio: Option<Spoken>,
}

/// A call's audio.
struct Spoken {
    voice: Voice,
    end: Which,
    /// Where Asterisk wants it.
    to: SocketAddr,
}

impl Open {
    /// The call is answered, with the words that go out next.
    fn speak(&self, manner: Manner) {
        if let Some(Spoken { voice, end, to }) = &self.audio {
            voice.answered(*end);
            if manner != Manner::Sounds {
                voice.say(*end, *to, Instant::now());
            }
        }
    }
}

struct Desk {
    socket: UdpSocket,
    address: SocketAddr,
    manner: Manner,
    seen: Arc<Mutex<Vec<Rung>>>,
    voice: Arc<Mutex<Option<Voice>>>,
    open: HashMap<String, Open>,
    calls: u64,
}

impl Desk {
    async fn run(mut self) {
        let mut datagram = vec![0; 8192];
        let mut again = interval(T1 / 2);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.open.values().filter_map(|open| open.later.as_ref()).map(|(at, _)| *at).min();
            let next = due.unwrap_or_else(|| Instant::now() + T1);
            tokio::select! {
                biased;
                () = sleep_until(next.into()), if due.is_some() => self.answer().await,
                received = self.socket.recv_from(&mut datagram) => {
                    let at = Instant::now();
                    if let Ok((length, from)) = received && let Some(message) = Message::read(&datagram[..length]) {
                        self.receive(message, from, at).await;
                    }
                }
                _ = again.tick() => self.repeat().await,
            }
        }
    }

    async fn send(&self, text: &str, to: SocketAddr) {
        // What the kernel does not take is lost, as on a network: it is sent again.
        let _lost = self.socket.send_to(text.as_bytes(), to).await;
    }

    async fn receive(&mut self, message: Message<'_>, from: SocketAddr, at: Instant) {
        let Some(id) = message.header("Call-ID") else { return };
        if message.status().is_some() {
            return;
        }
        match message.method() {
            "INVITE" => self.invited(message, id, from, at).await,
            "ACK" => {
                if self.manner == Manner::IsBusy {
                    self.open.remove(id);
                } else if let Some(open) = self.open.get_mut(id) {
                    open.acknowledged = true;
                }
            }
            "BYE" => {
                if let Some(Spoken { voice, end, .. }) = self.open.remove(id).and_then(|open| open.audio) {
                    voice.hush(end);
                }
                self.send(&format!("SIP/2.0 200 OK\r\n{}{EMPTY}", message.repeated("")), from).await;
            }
            // OPTIONS (is the contact there?); a CANCEL always comes too late here.
            _ => self.send(&format!("SIP/2.0 200 OK\r\n{}{EMPTY}", message.repeated("any")), from).await,
        }
    }

    /// The audio of a new call, where there is any.
    fn audio(&self, message: Message<'_>) -> Option<Spoken> {
        let voice = self.voice.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let to = message.media()?;
        let end = voice.take(Side::Centre, message.caller()?)?;
        Some(Spoken { voice, end, to })
    }

    async fn invited(&mut self, message: Message<'_>, id: &str, from: SocketAddr, at: Instant) {
        if let Some(open) = self.open.get(id) {
            return self.send(&open.answer, open.from).await;
        }
        self.calls += 1;
        let audio = self.audio(message);
        let contact = format!("Contact: <sip:centre@{}>\r\n", self.address);
        let head = message.repeated(&format!("s{}", self.calls)) + &contact;
        let body = audio.as_ref().map(|spoken| spoken.voice.body(spoken.end));
        let body = body.unwrap_or_else(|| with_body(self.address));
        let say = |status: &str, end: &str| format!("SIP/2.0 {status}\r\n{head}{end}");
        let ok = say("200 OK", &body);
        let later = |ok: String| Some((at + self.manner.wait(), ok));
        let (answer, later) = match self.manner {
            Manner::Answers => (ok, None),
            Manner::IsBusy => (say("486 Busy Here", EMPTY), None),
            Manner::Rings => (say("180 Ringing", EMPTY), later(ok)),
            Manner::Sounds => (say("183 Session Progress", &body), later(ok)),
        };
        let open = Open { answer, later, from, sent: at, times: 1, acknowledged: false, audio };
        match (self.manner, &open.audio) {
            (Manner::Answers, _) => open.speak(self.manner),
            (Manner::Sounds, Some(Spoken { voice, end, to })) => voice.say(*end, *to, Instant::now()),
            _ => {}
        }
        self.send(&open.answer, from).await;
        let answered = Instant::now();
        let number = message.caller().unwrap_or_default().to_owned();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Rung { number, at, answered });
        self.open.insert(id.to_owned(), Open { sent: answered, ..open });
    }

    /// Sends the final answers that are due.
    async fn answer(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for open in self.open.values_mut() {
            if let Some((_, answer)) = open.later.take_if(|(at, _)| *at <= now) {
                open.speak(self.manner);
                (open.answer, open.sent) = (answer, now);
                due.push((open.answer.clone(), open.from));
            }
        }
        for (answer, to) in due {
            self.send(&answer, to).await;
        }
    }

    async fn repeat(&mut self) {
        let mut due = Vec::new();
        for open in
            self.open.values_mut().filter(|open| open.later.is_none() && !open.acknowledged && open.times < TIMES)
        {
            if open.sent.elapsed() >= T1 * 2_u32.pow(open.times - 1) {
                open.times += 1;
                due.push((open.answer.clone(), open.from));
            }
        }
        for (answer, to) in due {
            self.send(&answer, to).await;
        }
    }
}
