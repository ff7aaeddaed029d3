//! What everybody does with the book and its lock.

use std::sync::Arc;

use super::Registry;
use crate::calls::locked::{Held, SLICE};
use crate::calls::news::News;
use crate::id::{CallId, LinkId};
use crate::routing::book::Book;
use crate::routing::caps::PermitKey;
use crate::routing::snapshot::Campaign;

impl Registry {
    /// Exclusive access to cap usage and rotations: for one step, as every call waits for it. Lists are read by [`Registry::read`].
    pub fn book(&self) -> Held<'_> {
        self.book.lock()
    }

    /// What the book says of each of these, read in slices between which others get it. What is read is small: it is rendered afterwards.
    pub fn read<T, R>(&self, items: &[T], read: impl Fn(&Book, &T) -> R) -> Vec<R> {
        self.book.read(items, read)
    }

    /// What decisions on one campaign's calls on these nodes rest on at this moment, as a book of its own.
    #[must_use]
    pub fn part(&self, campaign: &Campaign, nodes: &[Arc<str>]) -> Book {
        self.book.part(campaign, nodes)
    }

    /// Takes over what others have counted: a total here does not fall by it.
    pub(crate) fn raise_totals(&self, totals: &[(LinkId, u64)]) {
        for part in totals.chunks(SLICE) {
            self.book.in_slices(part, |book, slice| book.ledger.raise_totals(slice));
            self.told_use.gather(&self.book);
        }
    }

    /// As [`crate::routing::caps::Ledger::settle_totals`]; ends where a call begins or is counted meanwhile.
    pub(crate) fn settle_totals(&self, totals: &[(LinkId, u64)], idle: u64) {
        for part in totals.chunks(SLICE) {
            let mut still = false;
            self.book.in_slices(part, |book, slice| still = book.ledger.settle_totals(slice, idle));
            self.told_use.gather(&self.book);
            if !still {
                return;
            }
        }
    }

    /// The permits that these calls hold, call by call.
    pub(in crate::calls) fn permits_of(&self, calls: &[CallId]) -> Vec<PermitKey> {
        let held = |book: &Book, call: &CallId| book.ledger.held_by(*call).map(|n| (*call, n)).collect::<Vec<_>>();
        self.read(calls, held).into_iter().flatten().collect()
    }

    /// Tells listeners which use of caps has changed since this was done last. Where there are none it is not even looked at.
    pub(crate) fn announce_use(&self) {
        let nobody_listens = || self.news.receiver_count() == 0;
        if nobody_listens() {
            return self.told_use.end(&self.book, nobody_listens);
        }
        let snapshot = self.snapshot().clone();
        // One that came in the moment in which the last one went.
        self.told_use.begin(&self.book, &snapshot);
        let changes = self.told_use.changes(&self.book, &snapshot);
        if !changes.is_empty() {
            // Fails only when the last listener has just gone.
            let _ = self.news.send(News::Use(Arc::new(changes)));
        }
    }

    /// What each hold of the book has visited since this was asked last.
    #[cfg(test)]
    pub(crate) fn take_visits(&self) -> Vec<usize> {
        self.book.take_visits()
    }
}
