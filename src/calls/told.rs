//! What listeners are told of the use of caps: what has changed since the last time, by a list of changes that the ledger keeps while there
//! are listeners. Nothing goes through all links under the book's lock.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::locked::{Locked, SLICE};
use crate::routing::snapshot::Snapshot;
use crate::routing::usage::{Limits, UseChange};
use crate::routing::uses::{Capped, Changed, Changes};

/// What was told; empty while there are no listeners.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Option<Since>>);

/// Since something was told last.
#[derive(Debug)]
struct Since {
    /// By which limits it was told.
    limits: By,
    /// What has changed and was taken from the ledger already.
    changed: HashMap<Capped, Changed>,
}

/// Limits by which use is told. The first listener does not wait until all links are gone through.
#[derive(Debug)]
enum By {
    Snapshot(Arc<Snapshot>),
    Limits(Limits),
}

impl Told {
    /// From now on what changes is told, unless it already is.
    pub(super) fn begin(&self, book: &Locked, snapshot: &Arc<Snapshot>) {
        let mut told = self.0.lock();
        if told.is_none() {
            let changes = Changes::default();
            let before = book.lock().ledger.watch(Some(changes));
            drop(before);
            *told = Some(Since { limits: By::Snapshot(Arc::clone(snapshot)), changed: HashMap::new() });
        }
    }

    /// Nobody listens any more, unless somebody has just begun to: whoever begins does so before or after all of this.
    pub(super) fn end(&self, book: &Locked, nobody_listens: impl FnOnce() -> bool) {
        let mut told = self.0.lock();
        if nobody_listens() && told.take().is_some() {
            let changes = book.lock().ledger.watch(None);
            drop(changes);
        }
    }

    /// Takes over what has changed, so that the ledger's list of it stays short.
    pub(super) fn gather(&self, book: &Locked) {
        if let Some(since) = &mut *self.0.lock() {
            since.gather(book);
        }
    }

    /// What has changed since this was asked last, or since the beginning; all of it counts as told. By id: links, campaigns, clients.
    pub(super) fn changes(&self, book: &Locked, snapshot: &Arc<Snapshot>) -> Vec<UseChange> {
        let mut told = self.0.lock();
        let Some(since) = &mut *told else { return Vec::new() };
        since.gather(book);
        let known = match &since.limits {
            By::Snapshot(known) => Arc::ptr_eq(known, snapshot),
            By::Limits(known) => known.are_of(snapshot),
        };
        if known && since.changed.is_empty() {
            return Vec::new();
        }
        if let By::Snapshot(first) = &since.limits {
            since.limits = By::Limits(Limits::new(Arc::clone(first)));
        }
        let By::Limits(before) = &since.limits else { return Vec::new() };
        if known {
            let changed: Vec<Changed> = since.changed.drain().map(|(_, changed)| changed).collect();
            return before.changes(before, &changed);
        }
        let now = Limits::new(Arc::clone(snapshot));
        let others = now.other_than(before);
        // What is told by other limits is told by its use of now: the ledger's own list says so, so that no change in between is missed.
        for some in others.chunks(SLICE) {
            book.in_slices(some, |book, slice| slice.iter().for_each(|of| book.ledger.touch(*of)));
            gather(&mut since.changed, book);
        }
        let changed: Vec<Changed> = since.changed.drain().map(|(_, changed)| changed).collect();
        let changes = now.changes(before, &changed);
        since.limits = By::Limits(now);
        changes
    }
}

impl Since {
    fn gather(&mut self, book: &Locked) {
        gather(&mut self.changed, book);
    }
}

/// Takes what is on the ledger's list at this moment, a slice at a time.
fn gather(changed: &mut HashMap<Capped, Changed>, book: &Locked) {
    let waiting = book.lock().ledger.changed();
    let mut slice = Vec::with_capacity(SLICE);
    for _ in 0..waiting.div_ceil(SLICE) {
        book.in_slices(&[()], |book, _| book.ledger.take_changes(SLICE, &mut slice));
        for latest in slice.drain(..) {
            // What it was when it was told last is what was taken first.
            changed.entry(latest.of).and_modify(|earlier| earlier.now = latest.now).or_insert(latest);
        }
    }
}
