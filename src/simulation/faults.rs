//! What goes wrong in a world, and how often.

use std::time::Duration;

use super::chance::Chance;

/// A fault that comes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The events' socket breaks; both sides know at once.
    Disconnect,
    /// Nothing passes any more, and nobody knows until it is missed.
    HalfOpen,
    /// Everything to and from a node stands still for a while.
    Stall,
    /// Asterisk dies and is started again.
    AsteriskDies,
    /// The controller is killed.
    ControllerDies,
    /// The controller's wall clock jumps by an hour.
    OurClockJumps,
    /// Asterisk's wall clock does.
    ItsClockJumps,
    /// The database takes nothing for a while.
    DatabaseAway,
    /// The journal cannot be written for a while.
    JournalFails,
    /// An operator empties the node, and lets it take calls again a while later.
    Drains,
}

/// How many times as often as another request one for a list takes long.
const LISTS_ARE_SLOW: u64 = 10;

/// How often, in a world.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    /// Mean time between faults that come by themselves; `None` = there are none.
    pub(super) every: Option<Duration>,
    pub(super) kinds: Vec<Fault>,
    /// Requests of ten thousand that Asterisk refuses with 500.
    pub(super) refused: u64,
    /// That are carried out, and whose answer is lost.
    pub(super) unanswered: u64,
    /// That take long.
    pub(super) slow: u64,
    /// Events of ten thousand that come twice.
    pub(super) doubled: u64,
    /// That come late, and all behind them.
    pub(super) late: u64,
}

impl Faults {
    /// No fault at all.
    pub(super) fn none() -> Self {
        Self { every: None, kinds: Vec::new(), refused: 0, unanswered: 0, slow: 0, doubled: 0, late: 0 }
    }

    pub(super) fn draw(chance: &mut Chance) -> Self {
        use Fault as F;
        let all = [
            F::Disconnect,
            F::Disconnect,
            F::HalfOpen,
            F::Stall,
            F::AsteriskDies,
            F::ControllerDies,
            F::ControllerDies,
            F::OurClockJumps,
            F::ItsClockJumps,
            F::DatabaseAway,
            F::JournalFails,
            F::Drains,
        ];
        // A world of few kinds lets one kind do its worst.
        let kinds = if chance.percent(60) { all.to_vec() } else { (0..2).map(|_| chance.one_of(&all)).collect() };
        Self {
            every: Some(chance.millis(800, 8_000)),
            kinds,
            refused: chance.one_of(&[0, 30, 150]),
            unanswered: chance.one_of(&[0, 30, 150]),
            slow: chance.one_of(&[0, 50, 200]),
            doubled: chance.one_of(&[0, 200, 1_000, 2_000]),
            late: chance.one_of(&[0, 50, 300]),
        }
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Refused,
    Unanswered,
    Slow(Duration),
}

impl Faults {
    /// `long`: it asks for a list, which is what takes Asterisk longest.
    pub(super) fn fate(&self, long: bool, chance: &mut Chance) -> Fate {
        let slow = if long { self.slow * LISTS_ARE_SLOW } else { self.slow };
        if chance.of_10_000(self.refused) {
            Fate::Refused
        } else if chance.of_10_000(self.unanswered) {
            Fate::Unanswered
        } else if chance.of_10_000(slow) {
            Fate::Slow(chance.millis(50, 2_500))
        } else {
            Fate::Answered
        }
    }
}
