//! One Asterisk node as the dispatcher sees it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::agenda::{Due, Said};
use super::callers::{Callers, OfCaller};
use super::draining::Drain;
use super::drift::Drift;
use super::orphans::Orphans;
use crate::ari::{Channel, Info, NodeHandle};
use crate::calls::adopt::Noted;
use crate::calls::facts::CallFacts;
use crate::calls::intake::Intake;
use crate::calls::shedding::Shedding;
use crate::clock::Now;
use crate::id::CallId;

/// A caller that arrived before it could be decided.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) app: u16,
    pub(super) facts: CallFacts,
    /// Attempts that an earlier run made for it.
    pub(super) earlier_attempts: u32,
    /// What that run noted of it.
    pub(super) noted: Option<Box<Noted>>,
    /// Monotonic time of arrival.
    pub(super) since: Duration,
}

impl OfCaller for Waiting {
    fn channel_id(&self) -> &str {
        &self.facts.channel_id
    }
}

impl OfCaller for Noted {
    fn channel_id(&self) -> &str {
        &self.call.record.uniqueid
    }
}

/// A channel that should be there and was not listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    /// Monotonic time of the first such list.
    pub(super) since: Duration,
    /// Whether nothing of the node had gone unheard then.
    pub(super) heard: bool,
}

/// What is gone through in order is kept in order: the same events shall always lead to the same requests.
#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) handle: NodeHandle,
    pub(super) intake: Intake,
    /// Names of its Stasis applications.
    pub(super) apps: Vec<String>,
    pub(super) up: Vec<bool>,
    /// Grows with every Up and Down: lists asked for in an earlier generation say nothing about this one.
    pub(super) generation: u64,
    /// Compared in this generation.
    pub(super) compared: bool,
    /// Monotonic time since which it waits for the other nodes, whose calls may use the same caps; `None` once it has waited.
    pub(super) waits: Option<Duration>,
    /// Its calls are decided here, as long as its requests do not fail for everybody.
    pub(super) ready: bool,
    /// They do: its heartbeat is withdrawn.
    pub(super) tripped: bool,
    /// This process hands over, and its heart beats no more.
    pub(super) withdrawn: bool,
    /// An operator empties it.
    pub(super) drain: Option<Drain>,
    /// Monotonic time since which another controller has it.
    pub(super) taken: Option<Duration>,
    /// The generation whose lists are on their way.
    pub(super) comparing: Option<u64>,
    /// Channels that ended while lists were on their way: the lists may still name them.
    pub(super) ended: HashSet<String>,
    /// Channels that were answered since the lists were asked for.
    pub(super) answered: HashSet<String>,
    /// Callers sent to the fallback, until Asterisk says that they left: lists may name them all the while.
    pub(super) leaving: HashSet<String>,
    /// Channels of which Asterisk can tell nothing, and which were sent to the fallback.
    pub(super) untold: HashSet<String>,
    /// Channels that should be there and were not listed, and when first.
    pub(super) missing: BTreeMap<String, Missed>,
    /// Monotonic time since which it is connected, or is not.
    pub(super) since: Duration,
    /// As it said last.
    pub(super) version: Option<String>,
    /// When this Asterisk started, by its own clock.
    pub(super) startup_time: Option<DateTime<Utc>>,
    /// Its own time in seconds since 1970, as it said last, and when.
    epoch: Option<(i64, Duration)>,
    /// For how long its dialplan holds calls while the controller starts anew; zero: not at all. `None`: it is an older one, which holds
    /// nobody and sends nobody on whose time has passed; or has not said.
    pub(super) holds: Option<Duration>,
    /// Monotonic time at which the lists of the last comparison were asked for.
    pub(super) compared_at: Duration,
    /// Monotonic time up to which everything of it was heard before it was compared in this generation.
    pub(super) known: Duration,
    /// Per application: the last frame before its socket went away; `None` where nothing was missed since the last comparison.
    pub(super) heard_until: Vec<Option<Duration>>,
    /// Where permits and channels did not agree.
    pub(super) drift: Drift,
    /// Calls that an operator took for gone while the node was away: whatever lives of them is hung up.
    pub(super) released: HashSet<CallId>,
    pub(super) orphans: Orphans,
    /// Which part of its new calls is refused.
    pub(super) shedding: Shedding,
    /// A further comparison is due: there is a timer for it.
    pub(super) again: bool,
    pub(super) waiting: Callers<Waiting>,
    /// Callers whose INVITE was that of a call under way, until that is looked at again.
    pub(super) held: Callers<Waiting>,
    /// Calls of an earlier run of which Asterisk's lists have not told yet what became.
    pub(super) left: Callers<Noted>,
    /// What there is to do for it, in order.
    pub(super) agenda: VecDeque<Due>,
    /// Lists are being compared on another thread: its agenda waits.
    pub(super) elsewhere: bool,
    /// What lists said that are being acted on.
    pub(super) said: Option<Said>,
}

impl NodeState {
    pub(super) fn new(handle: NodeHandle, intake: Intake, now: Duration) -> Self {
        let apps: Vec<String> = (0..handle.apps()).map(|app| handle.app_name(app).to_owned()).collect();
        let (up, heard_until) = (vec![false; apps.len()], vec![None; apps.len()]);
        Self {
            handle,
            intake,
            apps,
            up,
            generation: 0,
            compared: false,
            waits: Some(now),
            ready: false,
            tripped: false,
            withdrawn: false,
            drain: None,
            taken: None,
            comparing: None,
            ended: HashSet::new(),
            answered: HashSet::new(),
            leaving: HashSet::new(),
            untold: HashSet::new(),
            missing: BTreeMap::new(),
            since: now,
            version: None,
            startup_time: None,
            epoch: None,
            holds: None,
            compared_at: Duration::ZERO,
            known: Duration::ZERO,
            heard_until,
            drift: Drift::default(),
            released: HashSet::new(),
            orphans: Orphans::default(),
            shedding: Shedding::default(),
            again: false,
            waiting: Callers::default(),
            held: Callers::default(),
            left: Callers::default(),
            agenda: VecDeque::new(),
            elsewhere: false,
            said: None,
        }
    }

    /// Notes that an application's socket came up, or went down when all was `heard` up to then: nothing that was known of the node holds any
    /// more.
    pub(super) fn turn(&mut self, app: u16, heard: Option<Duration>, at: Now) {
        let before = self.is_up();
        self.up[usize::from(app)] = heard.is_none();
        if self.is_up() != before {
            self.since = at.mono;
        }
        if let Some(heard) = heard {
            self.heard_until[usize::from(app)].get_or_insert(heard);
        }
        self.known = heard.map_or_else(|| self.heard(), |heard| heard.min(self.heard()));
        self.generation += 1;
        self.compared = false;
        self.ready = false;
        self.shedding.forget();
        // Their leaving may have been missed; who is still in the application then is routed after all.
        self.leaving.clear();
    }

    /// It told its time.
    pub(super) fn note_epoch(&mut self, epoch: &str, now: Duration) {
        self.epoch = epoch.parse().ok().map(|epoch| (epoch, now)).or(self.epoch);
    }

    /// Its time now in milliseconds, half a second more or less, should its clock not have jumped since it told.
    pub(super) fn epoch_at(&self, now: Duration) -> Option<i64> {
        let (epoch, told) = self.epoch?;
        let since = i64::try_from(now.saturating_sub(told).as_millis()).ok()?;
        // It tells whole seconds.
        epoch.checked_mul(1_000)?.checked_add(since + 500)
    }

    /// When it last told its time, as it is asked to each second.
    pub(super) fn answered(&self) -> Option<Duration> {
        self.epoch.map(|(_, told)| told)
    }

    /// Whether its heartbeat beats.
    pub(super) fn beats(&self) -> bool {
        self.ready && !self.tripped && self.drain.is_none()
    }

    /// Notes when this Asterisk started. Returns whether it is another one than before: nothing of before lives.
    pub(super) fn is_anew(&mut self, info: &Info) -> bool {
        let before = self.startup_time;
        self.startup_time = info.startup_time.or(before);
        before.is_some() && before != self.startup_time
    }

    /// Monotonic time up to which the calls of an application are known to have lived, unless they said otherwise themselves.
    pub(super) fn known_until(&self, app: u16) -> Duration {
        self.heard_until.get(usize::from(app)).copied().flatten().unwrap_or(self.compared_at)
    }

    /// Monotonic time up to which everything of the node was heard.
    pub(super) fn heard(&self) -> Duration {
        let frames = (0..self.handle.apps()).map(|app| self.handle.heard(app).unwrap_or_default());
        if self.compared { frames.min().unwrap_or_default() } else { self.known }
    }

    /// The lists that were asked for at this monotonic time are compared: whatever lives was seen.
    pub(super) fn was_compared(&mut self, asked_at: Duration) {
        self.compared = true;
        self.compared_at = asked_at;
        self.heard_until.fill(None);
    }

    /// Notes that a caller is sent to the fallback.
    pub(super) fn leave(&mut self, channel_id: &str) {
        self.leaving.insert(channel_id.to_owned());
        if let Some(noted) = self.left.call_of(channel_id).and_then(|call| self.left.get_mut(call)) {
            noted.handed_over = true;
        }
    }

    /// Whether its dialplan keeps callers for the next process.
    pub(super) fn keeps_callers(&self) -> bool {
        self.drain.is_none() && self.holds.is_some_and(|holds| !holds.is_zero())
    }

    /// Whether something of it is still to be done.
    pub(super) fn is_busy(&self) -> bool {
        self.elsewhere || !self.agenda.is_empty()
    }

    /// Whether attempts of an earlier run keep this caller from being decided, or the node does.
    pub(super) fn keeps(&self, call: CallId) -> bool {
        !self.ready || self.orphans.has_of(call)
    }

    /// Whether the caller of this channel waits, for whatever.
    pub(super) fn waits(&self, channel_id: &str) -> bool {
        self.waiting.call_of(channel_id).is_some() || self.held.call_of(channel_id).is_some()
    }

    /// Whether every application's socket is connected.
    pub(super) fn is_up(&self) -> bool {
        self.up.iter().all(|up| *up)
    }

    /// Index of the application a listed channel is in.
    pub(super) fn app_of(&self, channel: &Channel) -> u16 {
        let name = channel.app_data.split(',').next().unwrap_or_default();
        self.apps.iter().position(|app| app == name).and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }
}
