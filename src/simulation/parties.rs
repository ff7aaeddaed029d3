//! What callers and clients do.

use std::time::Duration;

use super::asterisk::Due;
use super::chance::Chance;

/// One caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// How long it waits for an answer.
    pub(super) patience: Duration,
}

impl Caller {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let patience = match chance.between(0, 9) {
            0 => chance.millis(0, 300),
            1 | 2 => chance.millis(300, 8_000),
            _ => chance.millis(20_000, 90_000),
        };
        Self { patience }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Caller,
    Client,
}

/// Who ends a talk and when; both at once now and then, or nobody where Asterisk or the controller soon does.
pub(super) fn talk(chance: &mut Chance, longest: Duration) -> Vec<(Party, Duration)> {
    let after = chance.around(Duration::from_secs(15)) + chance.millis(0, 1_000);
    match chance.between(0, 99) {
        0..=44 => vec![(Party::Caller, after)],
        45..=84 => vec![(Party::Client, after)],
        85..=94 => vec![(Party::Caller, after), (Party::Client, after + chance.millis(0, 2))],
        _ if longest <= Duration::from_secs(180) => Vec::new(),
        _ => vec![(Party::Client, after)],
    }
}

/// How a client takes one INVITE.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answering {
    Answers {
        ringing: Option<Duration>,
        progress: bool,
        after: Duration,
    },
    Refuses {
        ringing: Option<Duration>,
        after: Duration,
        sip: i16,
        cause: i16,
    },
    /// Rings until somebody gives up.
    Rings(Duration),
    /// Not even a provisional answer.
    Silence,
}

impl Answering {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let ringing = chance.millis(10, 600);
        match chance.between(0, 99) {
            0..=54 => {
                let rings = chance.percent(90).then_some(ringing);
                let after = rings.unwrap_or_default() + chance.millis(1, 8_000);
                Self::Answers { ringing: rings, progress: chance.percent(20), after }
            }
            55..=80 => {
                let (sip, cause) =
                    chance.one_of(&[(486, 17), (486, 17), (503, 34), (404, 1), (480, 19), (603, 21), (488, 58)]);
                let rings = chance.percent(30).then_some(ringing);
                Self::Refuses { ringing: rings, after: rings.unwrap_or_default() + chance.millis(5, 3_000), sip, cause }
            }
            81..=91 => Self::Rings(ringing),
            _ => Self::Silence,
        }
    }

    /// What is due in Asterisk, and when.
    pub(super) fn calendar(self, id: &str, chance: &mut Chance) -> Vec<(Duration, Due)> {
        let id = || id.to_owned();
        match self {
            Self::Answers { ringing, progress, after } => {
                let mut due: Vec<_> = ringing.map(|at| (at, Due::Ring(id()))).into_iter().collect();
                if progress {
                    let announced = chance.millis(5, 50);
                    due.push((announced, Due::Progress(id())));
                    // Some are not heard for all that, or only later.
                    if chance.percent(70) {
                        due.push((announced + chance.millis(0, 600), Due::Sound(id())));
                    }
                }
                due.push((after, Due::Answer(id())));
                due
            }
            Self::Refuses { ringing, after, sip, cause } => {
                let mut due: Vec<_> = ringing.map(|at| (at, Due::Ring(id()))).into_iter().collect();
                due.push((after, Due::Refuse { channel: id(), sip, cause }));
                due
            }
            Self::Rings(at) => vec![(at, Due::Ring(id()))],
            Self::Silence => Vec::new(),
        }
    }
}
