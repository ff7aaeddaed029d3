//! The book behind its lock. Whoever holds it keeps every call from being decided, the calls' own thread included: so it is held for a
//! decision, a copy of one campaign's part or a slice of a list, never while something is rendered or awaited.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::holds;
use crate::routing::book::Book;
use crate::routing::snapshot::Campaign;

/// So many entries of a list are looked at under one hold: microseconds.
pub(crate) const SLICE: usize = 64;

#[derive(Debug)]
pub(super) struct Locked {
    book: Mutex<Book>,
    /// What each hold has visited.
    #[cfg(test)]
    visits: Mutex<Vec<usize>>,
}

/// The book, for as long as this lives.
#[derive(Debug)]
pub struct Held<'a> {
    hold: Hold<'a>,
    book: MutexGuard<'a, Book>,
}

impl Deref for Held<'_> {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.book
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Book {
        &mut self.book
    }
}

/// One hold, from its begin to its end: dropped before the lock is let go.
#[derive(Debug)]
struct Hold<'a> {
    /// CPU time of this thread then, where it is measured.
    began: Option<Duration>,
    #[cfg(test)]
    visited: usize,
    #[cfg_attr(not(test), allow(dead_code, reason = "where tests count"))]
    of: &'a Locked,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            holds::end(began);
        }
        #[cfg(test)]
        self.of.visits.lock().push(crate::routing::visits::visited() - self.visited);
    }
}

impl Locked {
    pub(super) fn new(book: Book) -> Self {
        Self {
            book: Mutex::new(book),
            #[cfg(test)]
            visits: Mutex::default(),
        }
    }

    /// Every change of the book is complete before anything can panic: one that a panic let go is still right.
    pub(super) fn lock(&self) -> Held<'_> {
        let book = self.book.lock();
        let hold = Hold {
            began: holds::begin(),
            #[cfg(test)]
            visited: crate::routing::visits::visited(),
            of: self,
        };
        Held { hold, book }
    }

    /// Does this with each slice of a list, and lets others have the book in between: whoever waits for it gets it next.
    pub(super) fn in_slices<T>(&self, items: &[T], mut act: impl FnMut(&mut Book, &[T])) {
        for slice in items.chunks(SLICE) {
            let mut held = self.lock();
            act(&mut held, slice);
            held.hand_on();
        }
    }

    /// What the book says of each of these, read in slices. What is read is small: nothing is rendered meanwhile.
    pub(super) fn read<T, R>(&self, items: &[T], read: impl Fn(&Book, &T) -> R) -> Vec<R> {
        // Room is made before: moving what was read so far would take the longer the more it is.
        let mut found = Vec::with_capacity(items.len());
        self.in_slices(items, |book, slice| found.extend(slice.iter().map(|item| read(book, item))));
        found
    }

    /// What decisions on one campaign's calls on these nodes rest on, as a book of its own.
    pub(super) fn part(&self, campaign: &Campaign, nodes: &[Arc<str>]) -> Book {
        let mut part = Book::room_for(campaign, nodes);
        self.lock().copy_to(&mut part, campaign);
        part
    }

    /// What each hold so far has visited.
    #[cfg(test)]
    pub(super) fn take_visits(&self) -> Vec<usize> {
        std::mem::take(&mut *self.visits.lock())
    }
}

impl Held<'_> {
    /// Lets the book go to whoever waits for it, who might else find it taken again each time.
    fn hand_on(self) {
        let Self { hold, book } = self;
        drop(hold);
        MutexGuard::unlock_fair(book);
    }
}
