//! What calls have committed to, on this machine's disk until the database has their records. This is the way to the journal and what it
//! holds; `store/journal.rs` keeps the file.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::open::OpenCall;
use super::record::CallRecord;
use crate::clock::Stamp;
use crate::id::{CallId, LinkId};

/// A finished record that the database does not have yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its place in the journal; later ones are larger.
    pub place: i64,
    /// The record.
    pub record: CallRecord,
}

/// What an earlier run left behind.
#[derive(Debug, Default)]
pub struct Left {
    /// Calls that had not ended.
    pub calls: Vec<OpenCall>,
    /// When that run was last known to live.
    pub alive: Option<Stamp>,
    /// Whether this machine has not been started anew since: then [`Stamp::since_boot`] of then and now compare.
    pub same_boot: bool,
}

impl Left {
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
        /// The call.
        call: Box<OpenCall>,
        /// Told once it is kept; dropped where it cannot be.
        kept: Option<oneshot::Sender<()>>,
    },
    /// A call has ended for good: its record waits for the database.
    Finished(Box<CallRecord>),
    /// The call is not ours any more: the dialplan's fallback has it, and leaves a line of it.
    Forget(CallId),
    /// The controller lived at this time.
    Alive(Stamp),
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

/// The way to the journal. Clones lead to the same one; entries are carried out in the order in which they were given.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: mpsc::UnboundedSender<Entry>,
    standing: watch::Receiver<Standing>,
}

impl Journal {
    /// A journal, and what its keeper works with: entries to carry out, and where to say how it stands.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Entry>, watch::Sender<Standing>) {
        let (entries, keeper) = mpsc::unbounded_channel();
        let (told, standing) = watch::channel(Standing::default());
        (Self { entries, standing }, keeper, told)
    }

    fn tell(&self, entry: Entry) {
        // Its keeper outlives every call; were it gone, it has said why, and whoever waits for an answer hears that there is none.
        drop(self.entries.send(entry));
    }

    /// Notes how a call stands.
    pub fn note(&self, call: OpenCall) {
        self.tell(Entry::Open { call: Box::new(call), kept: None });
    }

    /// Notes how a call stands; the answer comes once a killed process would not forget it, or fails where it cannot be kept.
    #[must_use]
    pub fn commit(&self, call: OpenCall) -> oneshot::Receiver<()> {
        let (kept, answer) = oneshot::channel();
        self.tell(Entry::Open { call: Box::new(call), kept: Some(kept) });
        answer
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
    pub fn alive(&self, at: Stamp) {
        self.tell(Entry::Alive(at));
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

    /// The call of this channel whose record waits for the database.
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
