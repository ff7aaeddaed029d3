//! The journal of a world, as `store/journal.rs` keeps it: what is committed outlives the controller, what was only given to it does not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::cdr::journal::{Alive, Entry, Left, Waiting};
use crate::cdr::open::OpenCall;
use crate::cdr::record::CallRecord;
use crate::id::{CallId, LinkId};

#[derive(Debug, Default)]
pub(super) struct Journal {
    open: BTreeMap<CallId, OpenCall>,
    waiting: BTreeMap<i64, CallRecord>,
    places: i64,
    alive: Option<Alive>,
    given: Vec<Entry>,
    fails_until: Duration,
    /// Every call it was ever told of.
    pub(super) known: HashSet<CallId>,
    /// Calls for which it was given a record, and then another one.
    pub(super) twice: Vec<CallId>,
    finished: HashSet<CallId>,
    /// Calls of which it was given something that it could not commit before the controller died, or that it was told to forget.
    pub(super) lost: HashSet<CallId>,
}

impl Journal {
    /// Takes an entry; it is committed later. Whether that has to be put on the calendar.
    pub(super) fn give(&mut self, entry: Entry) -> bool {
        self.given.push(entry);
        self.given.len() == 1
    }

    /// Whether all that it was given and has not committed may wait for company.
    pub(super) fn lingers(&self) -> bool {
        !self.given.is_empty() && self.given.iter().all(Entry::may_wait)
    }

    /// It cannot be written until then.
    pub(super) fn fail_until(&mut self, until: Duration) {
        self.fails_until = self.fails_until.max(until);
    }

    pub(super) fn fails(&self, now: Duration) -> bool {
        now < self.fails_until
    }

    /// Commits what was given. Where it cannot, it says so at once to whoever waits for it, and goes on trying.
    pub(super) fn commit(&mut self, now: Duration) {
        if self.fails(now) {
            for entry in &mut self.given {
                if let Entry::Open { kept, .. } = entry {
                    drop(kept.take());
                }
            }
            return;
        }
        for entry in std::mem::take(&mut self.given) {
            self.carry_out(entry);
        }
    }

    fn carry_out(&mut self, entry: Entry) {
        match entry {
            Entry::Open { call, trace, kept, .. } => {
                let id = call.record.call_id;
                self.known.insert(id);
                let before = self.open.remove(&id).and_then(|before| before.record.trace);
                let mut call = *call;
                call.record.trace = trace.or(before);
                self.open.insert(id, call);
                if let Some(kept) = kept {
                    // Whoever asked may have gone meanwhile.
                    let _ = kept.send(());
                }
            }
            Entry::Finished(record) => {
                let id = record.call_id;
                self.known.insert(id);
                self.open.remove(&id);
                if self.finished.insert(id) {
                    self.places += 1;
                    self.waiting.insert(self.places, *record);
                } else {
                    self.twice.push(id);
                }
            }
            Entry::Forget(id) => {
                self.lost.insert(id);
                self.open.remove(&id);
            }
            Entry::Alive(alive) => self.alive = Some(alive),
            Entry::Written(places) => places.iter().for_each(|place| drop(self.waiting.remove(place))),
            // The writer's and the import's: the model has its own.
            Entry::SetAside(..) | Entry::Oldest { .. } | Entry::Find { .. } | Entry::Counted { .. } => {}
        }
    }

    pub(super) fn oldest(&self, after: i64, limit: usize) -> Vec<Waiting> {
        let behind = self.waiting.range(after + 1..).take(limit);
        behind.map(|(place, record)| Waiting { place: *place, record: record.clone() }).collect()
    }

    /// Whether it has this attempt of a call that is open.
    pub(super) fn has(&self, call: CallId, n: u32) -> bool {
        self.open.get(&call).is_some_and(|open| open.record.attempts.iter().any(|attempt| attempt.number == n))
    }

    /// How often it was told that the database has records, and has not committed that yet.
    pub(super) fn written_given(&self) -> usize {
        self.given.iter().filter(|entry| matches!(entry, Entry::Written(_))).count()
    }

    pub(super) fn counted(&self) -> HashMap<LinkId, u64> {
        let mut counted = HashMap::new();
        for attempt in self.waiting.values().flat_map(|record| &record.attempts).filter(|attempt| attempt.counted) {
            *counted.entry(attempt.link_id).or_default() += 1;
        }
        counted
    }

    /// The controller dies.
    pub(super) fn forget_given(&mut self) {
        for entry in self.given.drain(..) {
            match entry {
                Entry::Open { call, .. } => drop(self.lost.insert(call.record.call_id)),
                Entry::Finished(record) => drop(self.lost.insert(record.call_id)),
                _ => {}
            }
        }
    }

    /// What it holds for the next run: read from text, as it is from the file.
    pub(super) fn left(&self) -> Left {
        let reread = |call: &OpenCall| serde_json::to_string(call).and_then(|text| serde_json::from_str(&text));
        let calls =
            self.open.values().map(|call| reread(call).expect("an open call can be written and read")).collect();
        Left { calls, alive: self.alive.clone(), same_boot: true }
    }

    pub(super) fn is_idle(&self) -> bool {
        // Signs of life are given all the time.
        self.open.is_empty() && self.waiting.is_empty() && self.given.iter().all(|it| matches!(it, Entry::Alive(_)))
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Calls it holds open, for people.
    pub(super) fn open(&self) -> Vec<CallId> {
        self.open.keys().copied().collect()
    }
}
