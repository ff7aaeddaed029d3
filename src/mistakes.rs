//! Known mistakes that the simulation's tests switch on in the real code, to show that it finds them. In the product there are none:
//! there [`on`] is constantly `false`, and what it guards is not compiled in.

/// A mistake, one of those that call controllers are known for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests switch one on"))]
pub(crate) enum Mistake {
    /// The permit is given back when the leg is asked to go, not when it is gone.
    ReleaseBeforeDestroy,
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
