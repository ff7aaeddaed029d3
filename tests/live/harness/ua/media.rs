//! One end's audio: sends numbered packets, and notes every packet that comes, in threads of its own so that nothing else that
//! the test does bends a time.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::continuity::{Number, Received};
use super::since;
use crate::harness::rtp::{PCMU, Packet};

const PACKET: Duration = Duration::from_millis(20);
/// Samples in a packet.
const SAMPLES: u32 = 160;
/// A numbered packet begins so; sender and number follow. The rest is a loud tone.
const MAGIC: [u8; 4] = *b"CapC";
/// How often a waiting thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// An RTP socket. What it does ends with it.
#[derive(Debug)]
pub(crate) struct Media {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    mouth: Arc<Mutex<Mouth>>,
    talking: Option<Arc<AtomicBool>>,
    received: Arc<Mutex<Vec<Received>>>,
    open: Arc<AtomicBool>,
}

/// What the next packet will say.
#[derive(Debug)]
pub(crate) struct Mouth {
    sender: u16,
    n: u32,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    hushed: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Media {
    /// Binds it; `sender` is its name in its packets.
    pub(crate) fn open(ip: &str, port: u16, sender: u16) -> Self {
        let socket = UdpSocket::bind((ip, port)).unwrap_or_else(|e| panic!("cannot bind {ip}:{port}: {e}"));
        socket.set_read_timeout(Some(LOOK)).expect("a socket can time out");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (socket, received) = (Arc::new(socket), Arc::new(Mutex::new(Vec::new())));
        let open = Arc::new(AtomicBool::new(true));
        let (ear, notes, wanted) = (Arc::clone(&socket), Arc::clone(&received), Arc::clone(&open));
        thread::spawn(move || {
            let mut datagram = [0; 2048];
            while wanted.load(Ordering::Relaxed) {
                // An error is a time-out, or the ICMP answer to a packet that came too early.
                let Ok((length, _)) = ear.recv_from(&mut datagram) else { continue };
                let packet = read(&datagram[..length]);
                lock(&notes).extend(packet);
            }
        });
        let mouth = Arc::new(Mutex::new(Mouth::new(sender)));
        Self { address, socket, mouth, talking: None, received, open }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name in its packets.
    pub(crate) fn sender(&self) -> u16 {
        lock(&self.mouth).sender
    }

    /// Sends numbered packets to `to` from now on, the first at once; sequence and timestamp go on as RFC 3550 says.
    pub(crate) fn say(&mut self, to: SocketAddr) {
        self.hush();
        let on = Arc::new(AtomicBool::new(true));
        self.talking = Some(Arc::clone(&on));
        let (socket, mouth) = (Arc::clone(&self.socket), Arc::clone(&self.mouth));
        let mut next = Instant::now();
        thread::spawn(move || {
            let mut first = true;
            while on.load(Ordering::Relaxed) {
                let packet = lock(&mouth).packet(std::mem::take(&mut first));
                // What the kernel does not take is lost, as on a network: the judge says so.
                let _lost = socket.send_to(&packet, to);
                next += PACKET;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
    }

    /// Sends nothing any more.
    pub(crate) fn hush(&mut self) {
        if let Some(talking) = self.talking.take() {
            talking.store(false, Ordering::Relaxed);
            lock(&self.mouth).hushed = Some(Instant::now());
        }
    }

    /// Goes on as another source, as some call centres do between their announcement and their agent.
    pub(crate) fn change_source(&self) {
        let mut mouth = lock(&self.mouth);
        mouth.ssrc ^= 0x00FF_FF00;
        mouth.sequence = mouth.sequence.wrapping_add(20_000);
        mouth.timestamp = mouth.timestamp.wrapping_add(800_000);
    }

    /// Everything that came so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        self.hush();
        self.open.store(false, Ordering::Relaxed);
    }
}

impl Mouth {
    /// One that has said nothing yet; `sender`, from 1 on, is its name in its packets.
    pub(crate) fn new(sender: u16) -> Self {
        // Each counts from elsewhere, and soon round (RFC 3550: from anywhere).
        let (ssrc, sequence) = (0xCA00_0000 | u32::from(sender), 65_500_u16.wrapping_sub(sender.wrapping_mul(3000)));
        let timestamp = 0xFFFF_F000_u32.wrapping_sub(u32::from(sender - 1).wrapping_mul(100_000_000));
        Self { sender, n: 0, ssrc, sequence, timestamp, hushed: None }
    }

    /// The number of the next packet.
    pub(crate) fn next(&self) -> u32 {
        self.n
    }

    /// The next packet; the `first` of a talk spurt is marked.
    pub(crate) fn packet(&mut self, first: bool) -> Vec<u8> {
        if let Some(hushed) = self.hushed.take() {
            let packets = hushed.elapsed().as_millis() / PACKET.as_millis();
            self.timestamp = self.timestamp.wrapping_add(u32::try_from(packets).unwrap_or_default() * SAMPLES);
        }
        let mut packet = vec![0x80, if first { 0x80 | PCMU } else { PCMU }];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(MAGIC);
        packet.extend(self.sender.to_be_bytes());
        packet.extend(self.n.to_be_bytes());
        // A loud square wave of 400 Hz (ITU-T G.711, table 2b).
        packet.extend((10..SAMPLES).map(|i| if (i / 10).is_multiple_of(2) { 0x90 } else { 0x10 }));
        self.n += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(SAMPLES);
        packet
    }
}

/// Reads a packet that comes now; `None`: it is no RTP.
pub(crate) fn read(datagram: &[u8]) -> Option<Received> {
    let at = since();
    if datagram.len() < 12 || datagram[0] >> 6 != 2 {
        return None;
    }
    let word =
        |from: usize| u32::from_be_bytes([datagram[from], datagram[from + 1], datagram[from + 2], datagram[from + 3]]);
    let kind = datagram[1] & 0x7F;
    let payload = datagram[12..].to_vec();
    let number = (payload.len() >= 10 && payload.starts_with(&MAGIC)).then(|| Number {
        sender: u16::from_be_bytes([payload[4], payload[5]]),
        n: u32::from_be_bytes([payload[6], payload[7], payload[8], payload[9]]),
    });
    let sound = Packet { kind, payload }.is_sound(kind);
    let (sequence, marker) = (u16::from_be_bytes([datagram[2], datagram[3]]), datagram[1] & 0x80 != 0);
    Some(Received { at, ssrc: word(8), sequence, timestamp: word(4), kind, marker, number, sound })
}
