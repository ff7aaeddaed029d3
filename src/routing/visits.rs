//! PURE: how much of the book an act visits, for tests. What is done under the book's lock must not grow with the configuration.

/// So many entries of the book are visited. In the product this is nothing.
#[cfg(not(test))]
#[inline]
pub(crate) const fn visit(_: usize) {}

#[cfg(test)]
pub(crate) use counted::{visit, visited};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static VISITED: Cell<usize> = const { Cell::new(0) };
    }

    /// So many entries of the book are visited, on this thread.
    pub(crate) fn visit(entries: usize) {
        VISITED.set(VISITED.get() + entries);
    }

    /// How many were so far, on this thread.
    pub(crate) fn visited() -> usize {
        VISITED.get()
    }
}
