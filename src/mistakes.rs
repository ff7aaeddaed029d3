//! PURE: known mistakes that the simulation's tests switch on in the real code, to show that it finds them. In the product there are none:
//! there [`on`] is constantly `false`, and what it guards is not compiled in.

/// A mistake, one of those that call controllers are known for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests switch one on"))]
pub(crate) enum Mistake {
    /// The permit is given back when the leg is asked to go, not when it is gone.
    ReleasedBeforeGone,
    /// When both parties hang up, the permit is given back for each.
    ReleasedTwice,
    /// Calls in flight do not count against a total.
    InFlightNotCounted,
    /// A request whose outcome is not known is taken for one that failed.
    UnknownTakenForFailed,
    /// A caller whose leaving was missed is not missed in Asterisk's lists either.
    MissedEndNotRepaired,
    /// An arrival that is told twice is two calls.
    ArrivalTwice,
    /// Lists from before the socket was away are compared with what is known now.
    StaleListsCompared,
    /// A call is taken over without the permit that it holds.
    AdoptedWithoutPermit,
    /// An outbound channel of an earlier run is hung up, and its permit not held until it is gone.
    OrphanWithoutPermit,
    /// What an open call counts is counted again for each run that finds it.
    CountedAgain,
    /// What an open call counts is not counted until its record is there.
    NotCountedByNextRun,
    /// A later reason overwrites how a call ended.
    EndOverwritten,
    /// A dial does not wait until the journal has the attempt.
    DialledBeforeKept,
    /// An answer that crosses our hang-up is not one.
    CrossingAnswerIgnored,
    /// A call that ends before anybody is dialled leaves no record.
    NoRecordWithoutDial,
    /// An answer that is only found is taken to have been seen when it was found.
    FoundTakenForSeen,
    /// Until a controller dies it is taken to have heard all of its nodes, also of one whose socket was away.
    SilenceTakenForHeard,
}

/// Whether this mistake is made.
#[cfg(not(test))]
#[inline]
pub(crate) const fn on(_: Mistake) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switched::{on, switch};

#[cfg(test)]
mod switched {
    use std::cell::Cell;

    use super::Mistake;

    thread_local! {
        static MADE: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Whether this mistake is made, on this thread.
    pub(crate) fn on(mistake: Mistake) -> bool {
        MADE.get() == Some(mistake)
    }

    /// Makes one mistake, or none, on this thread.
    pub(crate) fn switch(mistake: Option<Mistake>) {
        MADE.set(mistake);
    }
}
