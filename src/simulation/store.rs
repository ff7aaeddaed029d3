//! The database of a world: what it holds, and when it is away.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::cdr::record::CallRecord;
use crate::id::{CallId, LinkId};

#[derive(Debug, Default)]
pub(super) struct Store {
    waiting: Vec<CallRecord>,
    pub(super) rows: BTreeMap<CallId, CallRecord>,
    /// Counted attempts of each link; grows with each attempt that is new, and only then.
    pub(super) totals: HashMap<LinkId, u64>,
    away_until: Duration,
}

impl Store {
    pub(super) fn away_until(&mut self, until: Duration) {
        self.away_until = self.away_until.max(until);
    }

    /// A finished record comes.
    pub(super) fn finished(&mut self, record: CallRecord) {
        self.waiting.push(record);
    }

    /// Takes what waits, unless it is away.
    pub(super) fn take(&mut self, now: Duration) {
        if now < self.away_until {
            return;
        }
        for record in self.waiting.drain(..) {
            if self.rows.contains_key(&record.call_id) {
                continue;
            }
            for attempt in record.attempts.iter().filter(|attempt| attempt.counted) {
                *self.totals.entry(attempt.link_id).or_default() += 1;
            }
            self.rows.insert(record.call_id, record);
        }
    }

    /// The controller dies: what the database has not taken is lost.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}
