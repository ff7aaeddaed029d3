//! What can go wrong in a run, and how it is drawn.

use std::fmt;
use std::time::Duration;

use super::dice::Dice;

/// One blow. It is over, and all that was taken away is back, when it has been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 of the controller, which starts again after this.
    KillController(Duration),
    /// SIGSTOP of the controller for this long.
    HaltController(Duration),
    /// SIGTERM; it drains and ends, and starts again after this.
    DrainController(Duration),
    /// kill -9 of Asterisk, which starts again after this.
    KillAsterisk(Duration),
    /// PostgreSQL crashes and is away for this long.
    StopDatabase(Duration),
    /// PostgreSQL says nothing for this long, its connections open.
    MuteDatabase(Duration),
    /// kill -9 of the controller while PostgreSQL is away for this long.
    KillWithoutDatabase(Duration),
    /// Every piece between controller and ARI is late by the first, for the second.
    DelayAri(Duration, Duration),
    /// Nothing passes between controller and ARI for this long; then it all arrives.
    MuteAri(Duration),
    /// The same, and then every connection is cut: what was on its way is lost.
    MuteAndCutAri(Duration),
    /// Every connection between controller and ARI is cut.
    CutAri,
}

impl Fault {
    /// Draws one. Which comes next is dealt like cards, so that each kind comes before any comes again.
    pub(crate) fn draw(dice: &mut Dice, deck: &mut Vec<u64>) -> Self {
        if deck.is_empty() {
            deck.extend(0..KINDS);
        }
        let card = usize::try_from(dice.between(0, deck.len() as u64 - 1)).unwrap_or_default();
        let kind = deck.swap_remove(card);
        let mut ms = |from, to| Duration::from_millis(dice.between(from, to));
        match kind {
            0 | 1 => Self::KillController(ms(0, 3000)),
            2 => Self::HaltController(Duration::from_secs(5)),
            3 => Self::DrainController(ms(0, 2000)),
            4 => Self::KillAsterisk(ms(0, 2000)),
            5 => Self::StopDatabase(ms(2000, 9000)),
            6 => Self::MuteDatabase(ms(2000, 9000)),
            7 => Self::KillWithoutDatabase(ms(1000, 5000)),
            8 => Self::DelayAri(ms(30, 900), ms(2000, 5000)),
            9 => Self::MuteAri(ms(1000, 7000)),
            10 => Self::MuteAndCutAri(ms(1000, 7000)),
            _ => Self::CutAri,
        }
    }

    /// How long until the next one.
    pub(crate) fn pause(dice: &mut Dice) -> Duration {
        // Sometimes the next blow falls while the last one is still being recovered from.
        if dice.once_in(4) {
            Duration::from_millis(dice.between(100, 1500))
        } else {
            Duration::from_millis(dice.between(2500, 9000))
        }
    }
}

const KINDS: u64 = 12;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
        match self {
            Self::KillController(away) => write!(f, "kill -9 of the controller, started again after {}", s(away)),
            Self::HaltController(time) => write!(f, "SIGSTOP of the controller for {}", s(time)),
            Self::DrainController(away) => {
                write!(f, "SIGTERM of the controller, started again {} after its end", s(away))
            }
            Self::KillAsterisk(away) => write!(f, "kill -9 of Asterisk, started again after {}", s(away)),
            Self::StopDatabase(time) => write!(f, "PostgreSQL crashed and away for {}", s(time)),
            Self::MuteDatabase(time) => write!(f, "PostgreSQL silent for {}", s(time)),
            Self::KillWithoutDatabase(time) => {
                write!(f, "PostgreSQL away for {}, the controller killed meanwhile", s(time))
            }
            Self::DelayAri(by, time) => write!(f, "ARI late by {} ms for {}", by.as_millis(), s(time)),
            Self::MuteAri(time) => write!(f, "ARI silent for {}", s(time)),
            Self::MuteAndCutAri(time) => write!(f, "ARI silent for {}, then cut", s(time)),
            Self::CutAri => write!(f, "ARI cut"),
        }
    }
}
