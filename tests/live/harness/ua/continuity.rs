//! Judges the RTP that one end received: is it one stream, as a strict jitter buffer wants it? Pure.

use std::fmt;
use std::time::Duration;

/// One received packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// When, since the end's socket was opened.
    pub(crate) at: Duration,
    /// RTP header.
    pub(crate) ssrc: u32,
    /// RTP header.
    pub(crate) sequence: u16,
    /// RTP header.
    pub(crate) timestamp: u32,
    /// RTP header: the payload type.
    pub(crate) kind: u8,
    /// RTP header.
    pub(crate) marker: bool,
    /// Which packet of the other end's it is, where it carries a number.
    pub(crate) number: Option<Number>,
    /// Whether somebody would hear it.
    pub(crate) sound: bool,
}

/// Who sent a packet, and which of theirs it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// The sender's own name for itself.
    pub(crate) sender: u16,
    /// 0, 1, 2 …
    pub(crate) n: u32,
}

/// Timestamp units in a millisecond: 8 kHz.
const PER_MS: u32 = 8;
/// Comfort noise (RFC 3389) and everything dynamic (telephone events) have timestamps of their own rules.
const COMFORT_NOISE: u8 = 13;
/// Shorter than this is no pause.
const PAUSE_MS: u32 = 60;
/// How far the timestamp after a pause may be from the time that has passed: packets come late on a busy machine.
const TOLERANCE_MS: u32 = 250;
/// More missing packets in a row than this are no loss but another counting.
const MOST_LOST: u16 = 100;

/// Something that a jitter buffer may take for another stream, and its place in the list of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Another source.
    Ssrc(usize),
    /// The same source counts from elsewhere.
    Sequence(usize),
    /// The next packet claims another time than it has.
    Timestamp(usize),
}

/// What there is to say about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stream {
    /// How many packets there are.
    pub(crate) packets: usize,
    /// In the order in which they came.
    pub(crate) breaks: Vec<Break>,
    /// Missing sequence numbers between the first and the last packet.
    pub(crate) lost: u32,
    /// Came after a later one.
    pub(crate) late: u32,
    /// The longest time between two packets.
    pub(crate) gap: Duration,
}

/// Judges a stream in the order in which it came.
pub(crate) fn judge(packets: &[Received]) -> Stream {
    let mut stream = Stream { packets: packets.len(), ..Stream::default() };
    // The newest of the source, and the newest of its audio.
    let (mut last, mut audio): (Option<&Received>, Option<&Received>) = (None, None);
    for (n, packet) in packets.iter().enumerate() {
        if n > 0 {
            stream.gap = stream.gap.max(packet.at.saturating_sub(packets[n - 1].at));
        }
        let Some(before) = last else {
            (last, audio) = (Some(packet), is_audio(packet).then_some(packet));
            continue;
        };
        if packet.ssrc != before.ssrc {
            stream.breaks.push(Break::Ssrc(n));
            (last, audio) = (Some(packet), is_audio(packet).then_some(packet));
            continue;
        }
        match packet.sequence.wrapping_sub(before.sequence) {
            step @ 1..=MOST_LOST => {
                stream.lost += u32::from(step) - 1;
                if is_audio(packet) {
                    if audio.is_some_and(|before| !follows(before, packet)) {
                        stream.breaks.push(Break::Timestamp(n));
                    }
                    audio = Some(packet);
                }
                last = Some(packet);
            }
            step if step == 0 || step > u16::MAX - MOST_LOST => {
                // Missed before, now here.
                stream.late += 1;
                stream.lost = stream.lost.saturating_sub(u32::from(step != 0));
            }
            _ => {
                stream.breaks.push(Break::Sequence(n));
                (last, audio) = (Some(packet), is_audio(packet).then_some(packet));
            }
        }
    }
    stream
}

fn is_audio(packet: &Received) -> bool {
    packet.kind < 96 && packet.kind != COMFORT_NOISE
}

/// Whether the timestamp of `next` is what the packets since `before` or the time since then make it: 20 ms for each packet,
/// or, after a pause, about as much as has passed.
fn follows(before: &Received, next: &Received) -> bool {
    let step = next.timestamp.wrapping_sub(before.timestamp);
    if step == u32::from(next.sequence.wrapping_sub(before.sequence)) * 20 * PER_MS {
        return true;
    }
    let passed = u32::try_from(next.at.saturating_sub(before.at).as_millis()).unwrap_or(u32::MAX / PER_MS);
    let claimed = step / PER_MS;
    passed >= PAUSE_MS && step > 20 * PER_MS && claimed.abs_diff(passed) <= TOLERANCE_MS
}

impl Stream {
    /// What is wrong with it, in words; empty where it is one stream. `packets` are those that were judged.
    pub(crate) fn faults(&self, packets: &[Received]) -> Vec<String> {
        let mut faults: Vec<String> = self.breaks.iter().map(|one| one.describe(packets)).collect();
        faults.extend((self.lost > 0).then(|| format!("{} of {} packets missing", self.lost, self.packets)));
        faults.extend((self.late > 0).then(|| format!("{} packets behind later ones", self.late)));
        faults
    }

    /// How often the source changed.
    pub(crate) fn ssrc_changes(&self) -> usize {
        self.breaks.iter().filter(|one| matches!(one, Break::Ssrc(_))).count()
    }
}

impl Break {
    fn describe(&self, packets: &[Received]) -> String {
        let (what, n) = match self {
            Self::Ssrc(n) => ("another SSRC", *n),
            Self::Sequence(n) => ("a jump of the sequence", *n),
            Self::Timestamp(n) => ("a jump of the timestamp", *n),
        };
        format!("{what} at packet {n}, after [{}] comes [{}]", packets[n - 1], packets[n])
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, ssrc, sequence, timestamp, kind, marker, number, .. } = self;
        write!(f, "{at:.3?} {ssrc:08x} seq {sequence} ts {timestamp} pt {kind}{}", if *marker { " M" } else { "" })?;
        number.map_or(Ok(()), |Number { sender, n }| write!(f, " (number {n} of {sender})"))
    }
}

/// When the first packet came that somebody would hear, at or after a moment.
pub(crate) fn first_sound(packets: &[Received], from: Duration) -> Option<&Received> {
    packets.iter().find(|packet| packet.sound && packet.at >= from)
}

/// The numbered packets of one sender, in the order in which they came.
pub(crate) fn of(packets: &[Received], sender: u16) -> impl Iterator<Item = (&Received, u32)> {
    packets.iter().filter_map(move |packet| {
        packet.number.filter(|number| number.sender == sender).map(|number| (packet, number.n))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(n: u32) -> Received {
        Received {
            at: Duration::from_millis(20 * u64::from(n)),
            ssrc: 7,
            sequence: u16::try_from((65_530 + n) % 65_536).expect("a remainder"),
            timestamp: (u32::MAX - 500).wrapping_add(160 * n),
            kind: 0,
            marker: n == 0,
            number: None,
            sound: true,
        }
    }

    fn stream(n: u32) -> Vec<Received> {
        (0..n).map(packet).collect()
    }

    fn breaks(packets: &[Received]) -> Vec<Break> {
        judge(packets).breaks
    }

    #[test]
    fn one_stream_has_no_faults_over_both_wraps() {
        let packets = stream(40);
        let judged = judge(&packets);
        assert_eq!((judged.faults(&packets), judged.gap), (Vec::new(), Duration::from_millis(20)));
        assert_eq!(judge(&[]), Stream::default());
    }

    #[test]
    fn another_ssrc_is_one_break_and_what_follows_it_is_judged_anew() {
        let mut packets = stream(10);
        for (n, packet) in packets.iter_mut().enumerate().skip(1) {
            (packet.ssrc, packet.sequence) = (8, 100 + u16::try_from(n).expect("few"));
        }
        assert_eq!(breaks(&packets), [Break::Ssrc(1)]);
        let said = judge(&packets).faults(&packets);
        assert!(said[0].contains("another SSRC at packet 1") && said[0].contains("00000008"), "{said:?}");
    }

    #[test]
    fn a_jump_of_the_sequence_is_no_loss() {
        let mut packets = stream(10);
        packets.iter_mut().skip(4).for_each(|packet| packet.sequence = packet.sequence.wrapping_add(5000));
        let judged = judge(&packets);
        assert_eq!((judged.breaks, judged.lost), (vec![Break::Sequence(4)], 0));
    }

    #[test]
    fn a_jump_of_the_timestamp_is_seen_even_with_the_next_sequence() {
        for jump in [160, 4_000_000, 0_u32.wrapping_sub(160), 80] {
            let mut packets = stream(10);
            packets.iter_mut().skip(4).for_each(|packet| packet.timestamp = packet.timestamp.wrapping_add(jump));
            packets.iter_mut().skip(4).for_each(|packet| packet.at += Duration::from_millis(1));
            assert_eq!(breaks(&packets), [Break::Timestamp(4)], "{jump}");
        }
    }

    #[test]
    fn a_pause_whose_timestamp_tells_the_time_is_none() {
        let mut packets = stream(10);
        for packet in packets.iter_mut().skip(5) {
            packet.at += Duration::from_secs(3);
            packet.timestamp = packet.timestamp.wrapping_add(3 * 8000);
        }
        let judged = judge(&packets);
        assert_eq!((judged.breaks, judged.gap), (Vec::new(), Duration::from_millis(3020)));
    }

    #[test]
    fn missing_and_late_packets_are_counted() {
        let mut packets = stream(20);
        packets.remove(5);
        packets.remove(5);
        assert_eq!((judge(&packets).lost, breaks(&packets)), (2, Vec::new()));
        let mut packets = stream(20);
        packets.swap(5, 6);
        let judged = judge(&packets);
        assert_eq!((judged.lost, judged.late, judged.breaks), (0, 1, Vec::new()));
    }

    #[test]
    fn events_keep_their_own_time() {
        let mut packets = stream(10);
        let began = packets[3].timestamp;
        for event in &mut packets[3..7] {
            (event.kind, event.timestamp) = (101, began);
        }
        assert_eq!(judge(&packets).faults(&packets), Vec::<String>::new());
    }

    proptest! {
        /// Wherever a stream is spliced onto another, it is seen.
        #[test]
        fn a_splice_is_seen(length in 2_u32..60, at in 1_usize..59, ssrc in any::<u32>(), sequence in any::<u16>()) {
            let mut packets = stream(length);
            let at = at.min(packets.len() - 1);
            let moved = sequence > 200 && sequence < u16::MAX - 200;
            for packet in &mut packets[at..] {
                packet.ssrc = ssrc;
                packet.sequence = packet.sequence.wrapping_add(sequence);
            }
            let expected = if ssrc != 7 { vec![Break::Ssrc(at)] } else if moved { vec![Break::Sequence(at)] } else { return Ok(()) };
            prop_assert_eq!(judge(&packets).breaks, expected);
        }
    }
}
