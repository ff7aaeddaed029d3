//! What calls have committed to, on this machine's disk until the database has their records. This is the way to the journal and what it
//! holds; `store/journal.rs` keeps the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc as bell;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::json::Json;
use super::open::OpenCall;
use super::record::CallRecord;
use crate::clock::Stamp;
use crate::id::{CallId, LinkId};
use crate::mistakes::{Mistake, on};

/// How long what may wait waits for company: a commit costs as much as the rest of a note, and of a call that ends only the record is kept.
pub const LINGER: Duration = Duration::from_millis(20);

/// A finished record that the database does not have yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its place in the journal; later ones are larger.
    pub place: i64,
    /// The record.
    pub record: CallRecord,
}

/// That the controller lived at a time, and up to when it had heard everything of its nodes then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// That time.
    #[serde(flatten)]
    pub at: Stamp,
    /// By node: of one whose socket is away, or was and is not compared yet, this is before that time.
    #[serde(default)]
    pub heard: BTreeMap<String, Stamp>,
    /// When it began. Of a call that an earlier run noted last, what it had heard says nothing: it had not taken that over yet.
    #[serde(default)]
    pub begun: Option<Stamp>,
    /// It ended then, having handed over: all that it knew of channels on its nodes is in the journal.
    #[serde(default)]
    pub ended: bool,
}

impl From<Stamp> for Alive {
    fn from(at: Stamp) -> Self {
        Self { at, heard: BTreeMap::new(), begun: None, ended: false }
    }
}

impl Alive {
    /// Up to when everything of this node had been heard; of a note of an earlier version, which does not say, up to its time.
    #[must_use]
    pub fn heard_of(&self, node: &str) -> Stamp {
        self.heard.get(node).copied().filter(|_| !on(Mistake::SilenceTakenForHeard)).unwrap_or(self.at)
    }
}

/// What an earlier run left behind.
#[derive(Debug, Default)]
pub struct Left {
    /// Calls that had not ended.
    pub calls: Vec<OpenCall>,
    /// When that run was last known to live, and how well it knew its nodes then.
    pub alive: Option<Alive>,
    /// Whether this machine has not been started anew since: then [`Stamp::since_boot`] of then and now compare.
    pub same_boot: bool,
}

impl Left {
    /// Whether the run that was last known to live had noted this call itself.
    #[must_use]
    pub fn is_followed(&self, open: &OpenCall) -> bool {
        let begun = self.alive.as_ref().and_then(|alive| alive.begun);
        begun.is_none_or(|begun| self.ago(open.noted, begun).is_zero())
    }

    /// How long before `now` this moment was.
    #[must_use]
    pub fn ago(&self, then: Stamp, now: Stamp) -> Duration {
        if self.same_boot {
            now.since_boot.saturating_sub(then.since_boot)
        } else {
            (now.wall - then.wall).to_std().unwrap_or_default()
        }
    }
}

/// How the journal stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why new calls are not taken: what they commit to could not be kept. `None`: they are.
    pub refusing: Option<Refusing>,
    /// Finished records that the database does not have yet.
    pub waiting: u64,
}

/// Why the journal takes no new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusing {
    /// As many records wait as `journal.max_records` allows.
    Full,
    /// Less space is left on the disk than `journal.min_free_mb`.
    DiskLow,
    /// It cannot be written; the log says why.
    Failing,
}

impl Refusing {
    /// In words, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "as many records wait for the database as journal.max_records allows",
            Self::DiskLow => "less space is left on the journal's disk than journal.min_free_mb",
            Self::Failing => "the journal cannot be written",
        }
    }
}

/// Something for the journal to do.
#[derive(Debug)]
pub enum Entry {
    /// Notes how a call stands, in place of what was noted of it before.
    Open {
        /// The call, without its trace.
        call: Box<OpenCall>,
        /// Its trace, the first time that there is one: it is the longest part, and does not change.
        trace: Option<Json>,
        /// Told once it is kept; dropped where it cannot be.
        kept: Option<oneshot::Sender<()>>,
        /// Whether it tells of no dial that the journal does not know of: it can wait for company.
        may_wait: bool,
    },
    /// A call has ended for good: its record waits for the database.
    Finished(Box<CallRecord>),
    /// The call is not ours any more: the dialplan's fallback has it, and leaves a line of it.
    Forget(CallId),
    /// The controller lives.
    Alive(Alive),
    /// Asks for the first `limit` waiting records behind `after`.
    Oldest {
        /// A place, 0 for the beginning.
        after: i64,
        /// How many at most.
        limit: usize,
        /// The answer.
        reply: oneshot::Sender<Vec<Waiting>>,
    },
    /// The database has the records at these places.
    Written(Vec<i64>),
    /// The database will never take the record at this place: it is kept apart.
    SetAside(i64, String),
    /// Asks for the call of a channel whose record waits.
    Find {
        /// Node.
        node: String,
        /// The channel.
        uniqueid: String,
        /// The answer.
        reply: oneshot::Sender<Option<CallId>>,
    },
    /// Asks how many counted attempts of each link stand in waiting records.
    Counted {
        /// The answer.
        reply: oneshot::Sender<HashMap<LinkId, u64>>,
    },
}

impl Entry {
    /// Whether it can be carried out a moment later, in one commit with others.
    pub(crate) fn may_wait(&self) -> bool {
        match self {
            Self::Open { kept, may_wait, .. } => *may_wait && kept.is_none(),
            Self::Alive(_) | Self::Written(_) => true,
            // A record is kept at once: nothing else tells of a call that came and went within this moment.
            Self::Finished(_)
            | Self::Forget(_)
            | Self::SetAside(..)
            | Self::Oldest { .. }
            | Self::Find { .. }
            | Self::Counted { .. } => false,
        }
    }
}

/// What a journal is told, for its keeper.
#[derive(Debug)]
pub struct Inbox {
    entries: mpsc::UnboundedReceiver<Entry>,
    /// Rung for what may not wait.
    bell: bell::Receiver<()>,
}

impl Inbox {
    /// The next entry; `None` when every handle is gone. For keepers that are none.
    #[cfg(test)]
    pub(crate) fn poll_recv(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Entry>> {
        self.entries.poll_recv(context)
    }

    /// The next entry, if there is one.
    pub fn try_recv(&mut self) -> Option<Entry> {
        self.entries.try_recv().ok()
    }

    /// Blocks until there is something to do, and, where all of it may wait, up to [`LINGER`] longer for company. Adds it to `batch`,
    /// which is never longer than `most`. `false` when every handle is gone.
    pub fn gather(&mut self, batch: &mut Vec<Entry>, most: usize) -> bool {
        let Some(first) = self.entries.blocking_recv() else { return false };
        batch.push(first);
        // Before looking: who rings later has given an entry that the look may miss.
        while self.bell.try_recv().is_ok() {}
        self.fill(batch, most);
        if batch.len() < most && batch.iter().all(Entry::may_wait) {
            // Whether it rang, the time is over, or nobody is left to ring it: what is there is taken.
            let _ = self.bell.recv_timeout(LINGER);
            self.fill(batch, most);
        }
        true
    }

    fn fill(&mut self, batch: &mut Vec<Entry>, most: usize) {
        while batch.len() < most
            && let Some(entry) = self.try_recv()
        {
            batch.push(entry);
        }
    }
}

/// The way to the journal. Clones lead to the same one; entries are carried out in the order in which they were given.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: mpsc::UnboundedSender<Entry>,
    bell: bell::SyncSender<()>,
    standing: watch::Receiver<Standing>,
}

impl Journal {
    /// A journal, and what its keeper works with: entries to carry out, and where to say how it stands.
    #[must_use]
    pub fn new() -> (Self, Inbox, watch::Sender<Standing>) {
        let (entries, keeper) = mpsc::unbounded_channel();
        let (ringer, bell) = bell::sync_channel(1);
        let (told, standing) = watch::channel(Standing::default());
        (Self { entries, bell: ringer, standing }, Inbox { entries: keeper, bell }, told)
    }

    fn tell(&self, entry: Entry) {
        let may_wait = entry.may_wait();
        // Its keeper outlives every call; were it gone, it has said why, and whoever waits for an answer hears that there is none.
        drop(self.entries.send(entry));
        if !may_wait {
            // One that was rung and not heard yet is enough.
            let _ = self.bell.try_send(());
        }
    }

    /// Notes how a call stands. `may_wait`: no new dial is among it, of which a killed process would have to leave word.
    pub fn note(&self, call: OpenCall, may_wait: bool) {
        self.open(call, None, may_wait);
    }

    /// Notes how a call stands; the answer comes once a killed process would not forget it, or fails where it cannot be kept.
    #[must_use]
    pub fn commit(&self, call: OpenCall) -> oneshot::Receiver<()> {
        let (kept, answer) = oneshot::channel();
        self.open(call, Some(kept), false);
        answer
    }

    fn open(&self, mut call: OpenCall, kept: Option<oneshot::Sender<()>>, may_wait: bool) {
        let trace = call.record.trace.take();
        self.tell(Entry::Open { call: Box::new(call), trace, kept, may_wait });
    }

    /// A call has ended for good.
    pub fn finish(&self, record: CallRecord) {
        self.tell(Entry::Finished(Box::new(record)));
    }

    /// The call is not ours any more.
    pub fn forget(&self, call: CallId) {
        self.tell(Entry::Forget(call));
    }

    /// Notes that the controller lives.
    pub fn alive(&self, alive: impl Into<Alive>) {
        self.tell(Entry::Alive(alive.into()));
    }

    /// The first waiting records behind `after`.
    pub async fn oldest(&self, after: i64, limit: usize) -> Vec<Waiting> {
        self.ask(|reply| Entry::Oldest { after, limit, reply }).await
    }

    /// The database has these.
    pub fn written(&self, places: Vec<i64>) {
        self.tell(Entry::Written(places));
    }

    /// The database will never take this one.
    pub fn set_aside(&self, place: i64, why: String) {
        self.tell(Entry::SetAside(place, why));
    }

    /// The call of this channel whose record waits for the database, or is certain to come: it is open and has attempts.
    pub async fn find(&self, node: &str, uniqueid: &str) -> Option<CallId> {
        let (node, uniqueid) = (node.to_owned(), uniqueid.to_owned());
        self.ask(|reply| Entry::Find { node, uniqueid, reply }).await
    }

    /// Counted attempts of each link in waiting records.
    pub async fn counted(&self) -> HashMap<LinkId, u64> {
        self.ask(|reply| Entry::Counted { reply }).await
    }

    /// Ready when everything that was told before is kept.
    pub async fn settled(&self) {
        self.find("", "").await;
    }

    async fn ask<T: Default>(&self, entry: impl FnOnce(oneshot::Sender<T>) -> Entry) -> T {
        let (reply, answer) = oneshot::channel();
        self.tell(entry(reply));
        answer.await.unwrap_or_default()
    }

    /// How it stands, and a way to wait for a change of that.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn alive(seconds: u64) -> Entry {
        Entry::Alive(Stamp { since_boot: Duration::from_secs(seconds), wall: DateTime::UNIX_EPOCH }.into())
    }

    /// The batches that a keeper gathers of what it was given before its first look, until every handle is gone.
    fn gathered(given: Vec<Entry>, most: usize) -> Vec<usize> {
        let (journal, mut inbox, _standing) = Journal::new();
        given.into_iter().for_each(|entry| journal.tell(entry));
        drop(journal);
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        while inbox.gather(&mut batch, most) {
            batches.push(batch.len());
            batch.clear();
        }
        batches
    }

    #[test]
    fn what_was_given_is_gathered_whole_in_batches_no_longer_than_allowed() {
        assert_eq!(gathered((0..5).map(alive).collect(), 10), [5]);
        assert_eq!(gathered((0..5).map(alive).collect(), 2), [2, 2, 1]);
        assert!(gathered(Vec::new(), 2).is_empty());
    }

    #[test]
    fn who_waits_for_an_answer_ends_the_wait_for_company() {
        let (journal, mut inbox, _standing) = Journal::new();
        journal.tell(alive(1));
        let keeper = std::thread::spawn(move || {
            let (mut batch, mut seen) = (Vec::new(), 0);
            while seen < 2 && inbox.gather(&mut batch, 10) {
                seen += batch.len();
                let waits = batch.iter().any(|entry| !entry.may_wait());
                batch.clear();
                if waits {
                    break;
                }
            }
            seen
        });
        let (reply, _answer) = oneshot::channel();
        journal.tell(Entry::Counted { reply });
        assert_eq!(keeper.join().expect("it does not panic"), 2);
    }
}
