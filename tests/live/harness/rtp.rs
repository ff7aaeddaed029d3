//! One side's audio: a UDP socket that sends and receives RTP (RFC 3550), G.711 and telephone events (RFC 4733).

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{interval, timeout};

use super::trace::Message;
use super::ua::continuity::{Received, judge};
use super::ua::media;

/// Payload type of G.711 µ-law.
pub(crate) const PCMU: u8 = 0;
/// Payload type of G.711 A-law.
pub(crate) const PCMA: u8 = 8;
/// Payload type that the scenarios' SDP gives to telephone events.
pub(crate) const EVENTS: u8 = 101;

/// Samples per packet: 20 ms at 8 kHz.
const SAMPLES: u32 = 160;
/// A 400 Hz square wave's half period in samples.
const HALF_PERIOD: usize = 10;
/// Mean amplitude (of 32767) above which a packet is sound and not silence.
const LOUD: i32 = 1000;

/// A socket that the scenario's SDP announces.
#[derive(Debug)]
pub(crate) struct Rtp {
    socket: UdpSocket,
    sequence: u16,
    timestamp: u32,
    /// Everything that was taken from the socket.
    taken: Mutex<Vec<Received>>,
}

/// One received packet.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// RTP payload type.
    pub(crate) kind: u8,
    /// What follows the header.
    pub(crate) payload: Vec<u8>,
}

impl Rtp {
    /// Binds the address that the SDP will name.
    pub(crate) async fn bind(ip: &str, port: u16) -> Self {
        let socket = UdpSocket::bind((ip, port)).await.unwrap_or_else(|e| panic!("cannot bind {ip}:{port}: {e}"));
        Self { socket, sequence: 1, timestamp: SAMPLES, taken: Mutex::default() }
    }

    /// The port it is bound to.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().expect("a bound socket has an address").port()
    }

    /// Sends `packets` packets of a loud 400 Hz tone in `codec` to `to`, one each 20 ms.
    pub(crate) async fn send_tone(&mut self, to: SocketAddr, codec: u8, packets: usize) {
        // Loud positive and negative samples of the two codes (ITU-T G.711, tables 1a to 2b).
        let (plus, minus) = if codec == PCMA { (0xA5, 0x25) } else { (0x90, 0x10) };
        let wave = |i: usize| if (i / HALF_PERIOD).is_multiple_of(2) { plus } else { minus };
        let payload: Vec<u8> = (0..SAMPLES as usize).map(wave).collect();
        let mut clock = interval(Duration::from_millis(20));
        for _ in 0..packets {
            clock.tick().await;
            self.timestamp += SAMPLES;
            self.send(to, codec, false, self.timestamp, &payload).await;
        }
    }

    /// Sends one DTMF event (0 to 15) of 100 ms: five updates and the end thrice, as RFC 4733 section 2.5 says.
    pub(crate) async fn send_dtmf(&mut self, to: SocketAddr, event: u8) {
        self.timestamp += SAMPLES;
        let mut clock = interval(Duration::from_millis(20));
        for n in 1_u16..=8 {
            clock.tick().await;
            let [high, low] = (n.min(5) * 160).to_be_bytes();
            let end_and_volume = if n > 5 { 0x80 | 10 } else { 10 };
            self.send(to, EVENTS, n == 1, self.timestamp, &[event, end_and_volume, high, low]).await;
        }
        self.timestamp += 5 * SAMPLES;
    }

    async fn send(&mut self, to: SocketAddr, kind: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0x80, if marker { 0x80 | kind } else { kind }];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(0x00CA_9C0D_u32.to_be_bytes());
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send_to(&packet, to).await.expect("loopback takes a datagram");
    }

    /// The first packet from now on that `wanted` accepts; `None` when none comes within `limit`.
    pub(crate) async fn receive(&self, limit: Duration, wanted: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let mut buffer = [0_u8; 2048];
        let found = timeout(limit, async {
            loop {
                // An error here is the ICMP answer to a packet of ours that came too early.
                let Ok((length, _)) = self.socket.recv_from(&mut buffer).await else { continue };
                self.take(&buffer[..length]);
                if length < 12 || buffer[0] >> 6 != 2 {
                    continue;
                }
                let packet = Packet { kind: buffer[1] & 0x7F, payload: buffer[12..length].to_vec() };
                if wanted(&packet) {
                    return packet;
                }
            }
        });
        found.await.ok()
    }

    /// Forgets what has come so far, so that the next packet is one that was sent after now.
    pub(crate) fn forget(&self) {
        let mut buffer = [0_u8; 2048];
        while let Ok((length, _)) = self.socket.try_recv_from(&mut buffer) {
            self.take(&buffer[..length]);
        }
    }

    fn take(&self, datagram: &[u8]) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).extend(media::read(datagram));
    }

    /// All that came, to this moment, is one stream: one source that counts on, from its first packet. What was not looked for yet is
    /// taken now.
    ///
    /// # Panics
    /// When it is not; `who` is whose socket this is.
    pub(crate) fn assert_one_stream(&self, who: &str) {
        self.forget();
        let packets = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = judge(&packets).faults(&packets);
        assert!(faults.is_empty(), "what {who} hears is not one stream:\n{}", faults.join("\n"));
    }
}

impl Packet {
    /// Audio that somebody would hear, in `codec`.
    pub(crate) fn is_sound(&self, codec: u8) -> bool {
        let decode: fn(u8) -> i32 = if codec == PCMA { from_alaw } else { from_ulaw };
        let sum: i32 = self.payload.iter().map(|byte| decode(*byte).abs()).sum();
        self.kind == codec && sum > LOUD * i32::try_from(self.payload.len()).unwrap_or(i32::MAX)
    }

    /// The end of the DTMF event `event`.
    pub(crate) fn is_dtmf_end(&self, event: u8) -> bool {
        self.kind == EVENTS && self.payload.len() >= 4 && self.payload[0] == event && self.payload[1] & 0x80 != 0
    }
}

/// ITU-T G.711 µ-law to linear 16 bit.
fn from_ulaw(byte: u8) -> i32 {
    let code = !byte;
    let magnitude = ((i32::from(code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

/// ITU-T G.711 A-law to linear 16 bit.
fn from_alaw(byte: u8) -> i32 {
    let code = byte ^ 0x55;
    let (mantissa, segment) = (i32::from(code & 0x0F) << 4, (code & 0x70) >> 4);
    let magnitude = if segment == 0 { mantissa + 8 } else { (mantissa + 0x108) << (segment - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// Where the other side wants its audio, by the SDP of a message of its own.
///
/// # Panics
/// When the message has no SDP with an IPv4 address.
pub(crate) fn media_address(message: &Message) -> SocketAddr {
    let ip = message.sdp("c=IN IP4 ").unwrap_or_else(|| panic!("no c= line in {}", message.text));
    let port = message.sdp("m=audio ").and_then(|line| line.split(' ').next());
    let address = format!("{ip}:{}", port.unwrap_or("?"));
    address.parse().unwrap_or_else(|_| panic!("{address:?} is no media address"))
}
