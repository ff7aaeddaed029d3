//! The database of a world: what it holds, and when it is away.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::chance::Chance;
use super::journal::Journal;
use crate::cdr::journal::{Entry, Waiting};
use crate::cdr::record::CallRecord;
use crate::id::{CallId, LinkId};

/// Records in one transaction at most: few, so that there are many.
pub(super) const BATCH: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) rows: BTreeMap<CallId, CallRecord>,
    /// Counted attempts of each link; grows with each attempt that is new, and only then.
    pub(super) totals: HashMap<LinkId, u64>,
    pub(super) away_until: Duration,
    /// Up to which place the writer has brought records here.
    written_to: i64,
}

impl Store {
    pub(super) fn go_away(&mut self, until: Duration) {
        self.away_until = self.away_until.max(until);
    }

    /// The writer brings one batch, unless the database is away. It goes on with the next one while the journal still commits that it need
    /// not keep this one. Now and then the database takes a batch and cannot say so any more. Returns what the journal is told.
    pub(super) fn take(&mut self, journal: &Journal, now: Duration, chance: &mut Chance) -> Option<Entry> {
        // It reads the next batch once the journal has committed what it told it of the one before the last.
        if now < self.away_until || journal.written_given() > 1 {
            return None;
        }
        let batch = journal.oldest(self.written_to, BATCH);
        let last = batch.last()?.place;
        let places = batch.iter().map(|it| it.place).collect();
        self.write(batch);
        if chance.percent(2) {
            return None;
        }
        self.written_to = last;
        Some(Entry::Written(places))
    }

    /// Idempotent by call id.
    fn write(&mut self, batch: Vec<Waiting>) {
        for Waiting { record, .. } in batch {
            if self.rows.contains_key(&record.call_id) {
                continue;
            }
            for attempt in record.attempts.iter().filter(|attempt| attempt.counted) {
                *self.totals.entry(attempt.link_id).or_default() += 1;
            }
            self.rows.insert(record.call_id, record);
        }
    }

    /// As `store::journal::settle` and `read_registry` at the start of the controller: the totals of database and journal.
    pub(super) fn settle(&mut self, journal: &mut Journal, batch: usize) -> HashMap<LinkId, u64> {
        self.written_to = 0;
        let found = journal.oldest(0, batch);
        let places = found.iter().map(|it| it.place).collect();
        self.write(found);
        journal.give(Entry::Written(places));
        journal.commit(Duration::MAX);
        let mut totals = self.totals.clone();
        for (link, counted) in journal.counted() {
            *totals.entry(link).or_default() += counted;
        }
        totals
    }
}
