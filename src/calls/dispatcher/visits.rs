//! How many of the things that are kept of callers and channels were looked at, one after another, and how many were done: tests hold that
//! to be in proportion to the calls, and in slices. In the product nothing is counted.

#[cfg(not(test))]
#[inline]
pub(super) const fn note() {}

#[cfg(not(test))]
#[inline]
pub(super) const fn did() {}

#[cfg(test)]
pub(super) use counted::{count, did, done, note};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static VISITS: Cell<u64> = const { Cell::new(0) };
        static DONE: Cell<u64> = const { Cell::new(0) };
    }

    /// One more was looked at, on this thread.
    pub(in super::super) fn note() {
        VISITS.set(VISITS.get() + 1);
    }

    /// One more was done.
    pub(in super::super) fn did() {
        note();
        DONE.set(DONE.get() + 1);
    }

    /// So many were looked at on this thread.
    pub(in super::super) fn count() -> u64 {
        VISITS.get()
    }

    /// So many were done.
    pub(in super::super) fn done() -> u64 {
        DONE.get()
    }
}
