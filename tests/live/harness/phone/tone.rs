//! Who is heard in a recording: tones told apart by frequency (Goertzel's algorithm).

use std::f64::consts::TAU;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// A window long enough to tell the tones apart, short enough to say when one begins.
const WINDOW: Duration = Duration::from_millis(50);
/// Mean amplitude of a tone (of 32767) below which it is not heard.
const AUDIBLE: f64 = 500.0;
/// Amplitude of the tones that are played.
const LOUD: f64 = 8000.0;
const RATE: u32 = 8000;

/// A recording or a part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sound {
    rate: u32,
    samples: Vec<i16>,
}

/// What one end heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hearing {
    /// How long the recording is.
    pub(crate) recorded: Duration,
    /// The other's tone, in all.
    pub(crate) other: Duration,
    /// From the recording's beginning to the other's tone.
    pub(crate) first: Option<Duration>,
    /// The longest time without the other's tone between its first and its last.
    pub(crate) gap: Duration,
    /// One's own tone, in all: an echo, or the wrong call.
    pub(crate) own: Duration,
}

impl Hearing {
    /// Whether the other was heard for less than half of what was said: `talk`.
    pub(crate) fn is_deaf(&self, talk: Duration) -> bool {
        self.other < talk / 2
    }
}

impl fmt::Display for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recorded, other, first, gap, own } = self;
        write!(
            f,
            "the other for {other:?} (first after {first:?}, longest gap {gap:?}), itself for {own:?}, of {recorded:?} recorded"
        )
    }
}

impl Sound {
    /// A tone.
    pub(crate) fn tone(frequency: u32, length: Duration) -> Self {
        Self { rate: RATE, samples: (0..samples(RATE, length)).map(|n| wave(frequency, n)).collect() }
    }

    /// Reads a WAV file of 16 bit, also one whose writer was killed before it noted the length. Without the file, or what it
    /// needs to be one, there is no sound.
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read(path).unwrap_or_default()).unwrap_or_default()
    }

    fn parse(file: &[u8]) -> Option<Self> {
        let chunk = |name: &[u8]| Some(file.windows(4).position(|four| four == name)? + 8);
        let format = chunk(b"fmt ")?;
        let channels = u16::from_le_bytes(file.get(format + 2..format + 4)?.try_into().ok()?).max(1);
        let rate = u32::from_le_bytes(file.get(format + 4..format + 8)?.try_into().ok()?);
        let data = file.get(chunk(b"data")?..)?;
        let pairs = data.chunks_exact(2).step_by(usize::from(channels));
        Some(Self { rate, samples: pairs.map(|two| i16::from_le_bytes([two[0], two[1]])).collect() })
    }

    /// Writes a WAV file of 16 bit, one channel.
    pub(crate) fn write(&self, path: &Path) {
        let bytes = u32::try_from(self.samples.len() * 2).expect("a short file");
        let mut file = b"RIFF".to_vec();
        file.extend((36 + bytes).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16_u32.to_le_bytes());
        file.extend([1_u16, 1].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([self.rate, self.rate * 2].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([2_u16, 16].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(b"data");
        file.extend(bytes.to_le_bytes());
        file.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(path, file).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// How long it is.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate.max(1)))
    }

    /// What follows `other`, which is the beginning of this.
    pub(crate) fn after(mut self, other: &Self) -> Self {
        self.samples.drain(..other.samples.len().min(self.samples.len()));
        self
    }

    /// This in two: what comes before its last part of this length, and that part.
    pub(crate) fn split_before_last(mut self, length: Duration) -> (Self, Self) {
        let end = self.samples.split_off(self.samples.len().saturating_sub(samples(self.rate, length)));
        let last = Self { rate: self.rate, samples: end };
        (self, last)
    }

    /// With another at its end.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.rate = other.rate.max(self.rate);
        self.samples.extend(other.samples);
        self
    }

    /// Who is heard in it, by one whose own tone is `own`, of another whose tone is `other`.
    pub(crate) fn hears(&self, own: u32, other: u32) -> Hearing {
        let mut hearing = Hearing { recorded: self.length(), ..Hearing::default() };
        let mut silence = Duration::ZERO;
        for (n, window) in self.samples.chunks_exact(samples(self.rate, WINDOW).max(1)).enumerate() {
            let (mine, theirs) = (amplitude(window, self.rate, own), amplitude(window, self.rate, other));
            if theirs >= AUDIBLE && theirs > mine {
                hearing.other += WINDOW;
                hearing.gap = hearing.gap.max(hearing.first.map_or(Duration::ZERO, |_| silence));
                hearing.first.get_or_insert(WINDOW * u32::try_from(n).expect("a short file"));
                silence = Duration::ZERO;
            } else {
                silence += WINDOW;
                hearing.own += if mine >= AUDIBLE { WINDOW } else { Duration::ZERO };
            }
        }
        hearing
    }
}

fn samples(rate: u32, length: Duration) -> usize {
    (f64::from(rate) * length.as_secs_f64()) as usize
}

fn wave(frequency: u32, n: usize) -> i16 {
    (LOUD * (TAU * f64::from(frequency) * n as f64 / f64::from(RATE)).sin()) as i16
}

/// How loud a frequency is in a window (Goertzel).
fn amplitude(window: &[i16], rate: u32, frequency: u32) -> f64 {
    let step = 2.0 * (TAU * f64::from(frequency) / f64::from(rate)).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in window {
        (one, two) = (f64::from(*sample) + step * one - two, one);
    }
    let power = one * one + two * two - step * one * two;
    2.0 * power.max(0.0).sqrt() / window.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);

    fn silence(length: Duration) -> Sound {
        Sound { rate: RATE, samples: vec![0; samples(RATE, length)] }
    }

    #[test]
    fn the_other_is_heard_and_not_oneself() {
        let hearing = Sound::tone(1000, LONG).hears(440, 1000);
        assert_eq!((hearing.other, hearing.first, hearing.own), (LONG, Some(Duration::ZERO), Duration::ZERO));
        assert!(!hearing.is_deaf(LONG));
    }

    #[test]
    fn who_hears_only_an_echo_or_a_third_tone_is_deaf() {
        let echo = Sound::tone(440, LONG).hears(440, 1000);
        assert_eq!((echo.other, echo.own, echo.is_deaf(LONG)), (Duration::ZERO, LONG, true));
        assert!(Sound::tone(700, LONG).hears(440, 1000).is_deaf(LONG));
        assert!(silence(LONG).hears(440, 1000).is_deaf(LONG));
        assert!(Sound::default().hears(440, 1000).is_deaf(LONG));
    }

    #[test]
    fn beginning_and_gap_are_measured() {
        let fifth = LONG / 5;
        let sound = silence(fifth).and(Sound::tone(1000, fifth)).and(silence(2 * fifth)).and(Sound::tone(1000, fifth));
        let hearing = sound.and(silence(LONG)).hears(440, 1000);
        assert_eq!((hearing.first, hearing.gap, hearing.other), (Some(fifth), 2 * fifth, 2 * fifth));
    }

    #[test]
    fn what_is_written_is_read_also_when_the_length_was_never_noted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tone.wav");
        Sound::tone(440, LONG).write(&path);
        let whole = std::fs::read(&path).expect("it was written");
        assert_eq!(Sound::read(&path).hears(1000, 440).other, LONG);
        let mut killed = whole;
        killed[40..44].copy_from_slice(&[0; 4]);
        assert_eq!(Sound::parse(&killed).expect("a WAV file").length(), LONG);
        assert_eq!(Sound::parse(&killed[..30]).map(|sound| sound.length()), None);
    }

    #[test]
    fn what_follows_a_part_is_the_rest() {
        let first = Sound::tone(440, LONG);
        let rest = first.clone().and(Sound::tone(1000, LONG)).after(&first);
        assert_eq!(rest.hears(440, 1000).other, LONG);
        let (before, last) = first.clone().and(rest).split_before_last(LONG);
        assert_eq!((before.hears(1000, 440).other, last.hears(440, 1000).other), (LONG, LONG));
        assert_eq!(first.split_before_last(2 * LONG).0.length(), Duration::ZERO);
    }
}
