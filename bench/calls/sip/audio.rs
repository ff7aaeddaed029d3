//! Everybody's audio: RTP, G.711, a packet each 20 ms. One thread sends all of it, and looks now and then at what has come, so that it costs
//! little beside what is measured and Asterisk never has to wake anybody for a packet.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::message::carrying;
use crate::harness::ports::Ports;
use crate::harness::sipp::{CARRIER_IP, CENTRE_IP};
use crate::harness::ua::continuity::Received;
use crate::harness::ua::media::{Mouth, read};
use crate::harness::ua::{sdp, since};

const PACKET: Duration = Duration::from_millis(20);
/// How often the thread looks what is due: so exact are times.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// The most talks: two ports each of one block, for the one after an RTP port is its RTCP's.
pub(crate) const MOST: u16 = 200;

/// Whose audio it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Who calls.
    Caller,
    /// Who is called.
    Centre,
}

impl Side {
    fn ip(self) -> &'static str {
        match self {
            Self::Caller => CARRIER_IP,
            Self::Centre => CENTRE_IP,
        }
    }
}

/// What one end of a talk heard and said.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Whose end it is.
    pub(crate) side: Side,
    /// The caller's number: both ends of a talk have the same.
    pub(crate) talk: String,
    /// Its own name in its packets.
    pub(crate) sender: u16,
    /// When the call was answered, and the number of the first packet that was sent after that. Only a call centre knows.
    pub(crate) answered: Option<(Duration, u32)>,
    /// All that came, in its order.
    pub(crate) packets: Vec<Received>,
}

#[derive(Debug)]
struct End {
    heard: Heard,
    address: SocketAddr,
    socket: UdpSocket,
    mouth: Mouth,
    /// Where it sends to, and when next.
    speaks: Option<(SocketAddr, Instant)>,
    looks: Instant,
}

impl End {
    fn open(side: Side, port: u16, sender: u16) -> Self {
        let socket = UdpSocket::bind((side.ip(), port)).expect("a port of the bench's own");
        socket.set_nonblocking(true).expect("a socket need not block");
        let address = socket.local_addr().expect("a bound socket has an address");
        let heard = Heard { side, talk: String::new(), sender, answered: None, packets: Vec::new() };
        Self { heard, address, socket, mouth: Mouth::new(sender), speaks: None, looks: Instant::now() }
    }

    fn tick(&mut self, now: Instant, look: Duration) {
        if let Some((to, next)) = self.speaks.filter(|(_, next)| *next <= now) {
            let packet = self.mouth.packet(self.mouth.next() == 0);
            // What the kernel does not take is lost, as on a network: its number is missed.
            let _lost = self.socket.send_to(&packet, to);
            self.speaks = Some((to, next + PACKET));
        }
        if self.looks <= now {
            self.look();
            self.looks = now + look;
        }
    }

    fn look(&mut self) {
        let mut datagram = [0; 512];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            self.heard.packets.extend(read(&datagram[..length]));
        }
    }
}

#[derive(Debug)]
struct Shared {
    callers: Vec<Mutex<End>>,
    centres: Vec<Mutex<End>>,
    taken: [AtomicUsize; 2],
    open: AtomicBool,
}

/// All ends, and the thread.
#[derive(Debug)]
pub(crate) struct Audio {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    _ports: Ports,
}

/// The ends, for who calls and who is called.
#[derive(Debug, Clone)]
pub(crate) struct Voice(Arc<Shared>);

impl Audio {
    /// Opens the ends of so many talks. What comes in is looked at this often.
    pub(crate) fn open(talks: u16, look: Duration) -> Self {
        assert!(talks <= MOST, "{talks} talks are more than {MOST}");
        let ports = Ports::take();
        let first = ports.run(2 * talks);
        let ends = |side: Side, name: u16| {
            (0..talks).map(|n| Mutex::new(End::open(side, first + 2 * n, name + n))).collect::<Vec<_>>()
        };
        let (callers, centres) = (ends(Side::Caller, 1), ends(Side::Centre, 1 + talks));
        let shared = Arc::new(Shared { callers, centres, taken: Default::default(), open: AtomicBool::new(true) });
        let mine = Arc::clone(&shared);
        Self { shared, thread: thread::spawn(move || mine.run(look)), _ports: ports }
    }

    /// For who calls and who is called.
    pub(crate) fn voice(&self) -> Voice {
        Voice(Arc::clone(&self.shared))
    }

    /// Ends it all; what the ends of all talks have heard.
    pub(crate) fn close(self) -> Vec<Heard> {
        self.shared.open.store(false, Ordering::Relaxed);
        self.thread.join().expect("the audio's thread does not panic");
        let all = self.shared.ends().filter(|end| !lock(end).heard.talk.is_empty());
        let heard = |end: &mut End| {
            let Heard { side, sender, answered, .. } = end.heard;
            let (talk, packets) = (std::mem::take(&mut end.heard.talk), std::mem::take(&mut end.heard.packets));
            Heard { side, talk, sender, answered, packets }
        };
        all.map(|end| heard(&mut lock(end))).collect()
    }
}

impl Shared {
    fn ends(&self) -> impl Iterator<Item = &Mutex<End>> {
        self.callers.iter().chain(&self.centres)
    }

    fn run(&self, look: Duration) {
        let mut next = Instant::now();
        while self.open.load(Ordering::Relaxed) {
            for end in self.ends() {
                lock(end).tick(Instant::now(), look);
            }
            next = (next + TICK).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.ends().for_each(|end| lock(end).look());
    }

    fn end(&self, (side, n): (Side, usize)) -> MutexGuard<'_, End> {
        match side {
            Side::Caller => lock(&self.callers[n]),
            Side::Centre => lock(&self.centres[n]),
        }
    }
}

fn lock(end: &Mutex<End>) -> MutexGuard<'_, End> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the ends.
pub(crate) type Which = (Side, usize);

impl Voice {
    /// An end for the talk of this caller; `None`: there is no more.
    pub(crate) fn take(&self, side: Side, talk: &str) -> Option<Which> {
        let n = self.0.taken[side as usize].fetch_add(1, Ordering::Relaxed);
        (n < self.0.callers.len()).then(|| {
            talk.clone_into(&mut self.0.end((side, n)).heard.talk);
            (side, n)
        })
    }

    /// The end of its messages with an offer or answer: with telephone events, without which Asterisk would listen for tones itself, and
    /// no bridge be native.
    pub(crate) fn body(&self, end: Which) -> String {
        carrying(&sdp::audio(self.0.end(end).address))
    }

    /// Sends from then on.
    pub(crate) fn say(&self, end: Which, to: SocketAddr, from: Instant) {
        self.0.end(end).speaks = Some((to, from));
    }

    /// Its call is being answered, now.
    pub(crate) fn answered(&self, end: Which) {
        let mut end = self.0.end(end);
        end.heard.answered = Some((since(), end.mouth.next()));
    }

    /// Sends nothing any more.
    pub(crate) fn hush(&self, end: Which) {
        self.0.end(end).speaks = None;
    }
}
