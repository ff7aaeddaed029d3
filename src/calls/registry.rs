//! The live calls and the one book of permits. Whoever wants to tell a call something does it here.

mod book;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_channel::mpsc;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::breakers::NodeBreakers;
use super::io::{Heed, Input};
use super::live::LiveView;
use super::locked::Locked;
use super::merged::{Invite, Invites};
use super::news::{CallNews, News};
use super::recent::Recent;
use super::told::Told;
use crate::clock::Now;
use crate::id::{CallId, ClientId, LinkId};
use crate::routing::book::Book;
use crate::routing::breaker::Terms;
use crate::routing::caps::PermitKey;
use crate::routing::snapshot::Snapshot;

/// Parts that the live calls are kept in: who lists them all holds one part at a time, and with it the calls' thread.
const PARTS: usize = 64;

/// Live calls, by call and by inbound channel; cap usage; the configuration in force.
///
/// The book's lock is held for a decision at a time (microseconds), never across an await; see `locked.rs`.
#[derive(Debug)]
pub struct Registry {
    book: Locked,
    snapshot: ArcSwap<Snapshot>,
    /// Monotonic time in microseconds at which the snapshot was last known to be the database's.
    confirmed: AtomicU64,
    calls: DashMap<CallId, LiveCall>,
    inbound: DashMap<(usize, String), CallId>,
    /// By node and application, where something may have gone unheard: the monotonic time up to which all was heard.
    interrupted: DashMap<(usize, u16), Duration>,
    invites: Mutex<Invites>,
    recent: Mutex<Recent>,
    news: broadcast::Sender<News>,
    /// News of calls on their way to the listeners: of these a call wakes one, however many there are.
    relayed: (UnboundedSender<CallNews>, Relayed),
    /// Which nodes fail for everybody.
    pub(super) node_breakers: NodeBreakers,
    /// Clients that a node cannot send to, for it lacks the transport: by the node's name. What comes of dialling them there is Asterisk's own.
    pub lacking: ArcSwap<HashMap<String, HashSet<ClientId>>>,
    /// Permits of attempts that were yielded to another controller, each with its node and whether it counts: until the dispatcher takes them.
    yielded: Mutex<Vec<(usize, PermitKey, bool)>>,
    /// Use of caps as listeners know it.
    told_use: Told,
    /// Reported calls that are counted although it is not known whether the database has them, by node and channel.
    unsure: DashMap<(String, String), ()>,
}

type Relayed = tokio::sync::Mutex<UnboundedReceiver<CallNews>>;

fn relayed() -> (UnboundedSender<CallNews>, Relayed) {
    let (sender, receiver) = unbounded_channel();
    (sender, Relayed::new(receiver))
}

/// A call as others see it.
#[derive(Debug, Clone)]
pub struct LiveCall {
    /// Index of its node.
    pub node: usize,
    /// Index of its application, on whose socket its requests travel.
    pub app: u16,
    /// Its inbound channel.
    pub channel_id: String,
    /// Not tokio's, which keeps 32 places ready: 1.6 KB for each call, of which nearly none are ever used at once.
    inputs: mpsc::UnboundedSender<Input>,
    sights: Arc<Sights>,
    /// `None` in the moment before its task has begun.
    view: Option<Arc<LiveView>>,
}

/// What Asterisk was seen to say of a call's channels.
#[derive(Debug, Default)]
struct Sights {
    /// The latest attempt whose channel is known to have been there; 0 for none.
    leg: AtomicU32,
    caller_gone: AtomicBool,
    /// Which part of what a comparison finds is no news to the call ([`Heed`]).
    heed: AtomicU8,
}

impl LiveCall {
    /// Whether Asterisk had attempt n's channel: an event of it came, or the request to create it succeeded.
    #[must_use]
    pub fn saw_leg(&self, n: u32) -> bool {
        self.sights.leg.load(Ordering::Relaxed) >= n
    }

    /// Whether its inbound channel was seen to go.
    #[must_use]
    pub fn saw_caller_go(&self) -> bool {
        self.sights.caller_gone.load(Ordering::Relaxed)
    }

    /// Whether it should hear of a comparison that tells no more than this.
    #[must_use]
    pub(super) fn heeds(&self, least: Heed) -> bool {
        self.sights.heed.load(Ordering::Relaxed) <= least as u8
    }

    /// Whether its task is gone although the call did not end properly.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.inputs.is_closed()
    }
}

impl Registry {
    /// A registry without calls. A listener may fall behind by `news_kept` news; past that it misses the oldest and is told so. Nobody
    /// ever waits for a listener.
    #[must_use]
    pub fn new(book: Book, snapshot: Snapshot, news_kept: usize) -> Self {
        Self {
            book: Locked::new(book),
            snapshot: ArcSwap::from_pointee(snapshot),
            confirmed: AtomicU64::new(0),
            calls: DashMap::with_shard_amount(PARTS),
            inbound: DashMap::new(),
            interrupted: DashMap::new(),
            invites: Mutex::default(),
            recent: Mutex::default(),
            news: broadcast::Sender::new(news_kept),
            relayed: relayed(),
            told_use: Told::default(),
            unsure: DashMap::new(),
            node_breakers: NodeBreakers::default(),
            lacking: ArcSwap::default(),
            yielded: Mutex::default(),
        }
    }

    /// The same registry, where nodes that fail are left alone on these terms.
    #[must_use]
    pub fn guarding_nodes(self, terms: Terms) -> Self {
        Self { node_breakers: NodeBreakers::new(terms), ..self }
    }

    /// When breakers of clients and of nodes open, and for how long, from now on.
    pub fn guard(&self, clients: Terms, nodes: Terms) {
        self.book().guard_clients(clients);
        self.node_breakers.keep_to(nodes);
    }

    /// An attempt of a call is yielded to another controller: its permit is held until its channel is gone, which that one sees to.
    pub(super) fn yield_permit(&self, key: PermitKey, counted: bool) {
        if let Some(live) = self.calls.get(&key.0) {
            self.yielded.lock().unwrap_or_else(PoisonError::into_inner).push((live.node, key, counted));
        }
    }

    /// The permits that were yielded since the last time.
    pub(super) fn take_yielded(&self) -> Vec<(usize, PermitKey, bool)> {
        std::mem::take(&mut *self.yielded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        let news = self.news.subscribe();
        // From here on and not from the next look: what changes in between would be missed.
        self.told_use.begin(&self.book, &self.snapshot());
        news
    }

    /// Tells listeners what happened to a call; where there are none it is not even put together.
    pub(crate) fn announce(&self, news: impl FnOnce() -> CallNews) {
        if self.news.receiver_count() > 0 {
            // Whoever takes it lives as long as this.
            drop(self.relayed.0.send(news()));
        }
    }

    /// Passes on to all listeners what calls announce; runs until it is dropped.
    pub(crate) async fn relay(&self) {
        let mut announced = self.relayed.1.lock().await;
        while let Some(news) = announced.recv().await {
            // Fails only when the last listener has just gone.
            let _ = self.news.send(News::Call(Arc::new(news)));
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Puts another configuration in force, and returns the one before; running attempts keep theirs.
    pub fn swap_snapshot(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.snapshot.swap(Arc::new(snapshot))
    }

    /// Notes that the configuration in force is the one that the database holds at this monotonic time.
    pub fn confirm(&self, mono: Duration) {
        self.confirmed.store(u64::try_from(mono.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The monotonic time of the last [`Registry::confirm`].
    #[must_use]
    pub fn confirmed(&self) -> Duration {
        Duration::from_micros(self.confirmed.load(Ordering::Relaxed))
    }

    /// Registers a call; `None` when it is live already (a repeated event).
    pub fn register(
        &self,
        call: CallId,
        node: usize,
        app: u16,
        channel_id: &str,
    ) -> Option<mpsc::UnboundedReceiver<Input>> {
        let Entry::Vacant(place) = self.calls.entry(call) else {
            return None;
        };
        let (inputs, receiver) = mpsc::unbounded();
        place.insert(LiveCall {
            node,
            app,
            channel_id: channel_id.to_owned(),
            inputs,
            sights: Arc::default(),
            view: None,
        });
        self.inbound.insert((node, channel_id.to_owned()), call);
        Some(receiver)
    }

    /// Forgets a call that has ended and whose permits are back.
    pub fn remove(&self, call: CallId) {
        if let Some((_, live)) = self.calls.remove(&call) {
            self.inbound.remove(&(live.node, live.channel_id));
            self.invites().over(call);
            self.recent().add(call);
        }
    }

    /// Forgets a call that is another controller's now: should it come back, it has not ended here.
    pub(super) fn disown(&self, call: CallId) {
        if let Some((_, live)) = self.calls.remove(&call) {
            self.inbound.remove(&(live.node, live.channel_id));
            self.invites().over(call);
        }
    }

    fn invites(&self) -> MutexGuard<'_, Invites> {
        self.invites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A live call has this INVITE.
    pub(super) fn invited(&self, call: CallId, invite: &Invite) {
        self.invites().begin(call, invite);
    }

    /// The live call and its node, other than this call, that has this INVITE.
    pub(super) fn first_of(&self, call: CallId, invite: &Invite) -> Option<(CallId, usize)> {
        let first = self.invites().first(call, invite)?;
        self.calls.get(&first).filter(|live| !live.is_orphaned()).map(|live| (first, live.node))
    }

    /// A call's caller is on the way out: its INVITE is answered.
    pub(super) fn caller_leaves(&self, call: CallId) {
        self.invites().over(call);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call has ended here, not long ago.
    #[must_use]
    pub fn has_ended(&self, call: CallId) -> bool {
        self.recent().contains(call)
    }

    /// Tells a call something; `false` when no such call is live.
    pub fn tell(&self, call: CallId, input: Input) -> bool {
        self.calls.get(&call).is_some_and(|live| live.inputs.unbounded_send(input).is_ok())
    }

    /// Asterisk has, or had, the channel of a call's attempt n.
    pub fn leg_seen(&self, call: CallId, n: u32) {
        if let Some(live) = self.calls.get(&call) {
            live.sights.leg.fetch_max(n, Ordering::Relaxed);
        }
    }

    /// A call's inbound channel was seen to go.
    pub fn caller_seen_to_go(&self, call: CallId) {
        if let Some(live) = self.calls.get(&call) {
            live.sights.caller_gone.store(true, Ordering::Relaxed);
        }
    }

    /// The inbound channel of a live call.
    #[must_use]
    pub fn channel_of(&self, call: CallId) -> Option<String> {
        self.calls.get(&call).map(|live| live.channel_id.clone())
    }

    /// A call says what a comparison has to find to be news to it.
    pub(super) fn heed(&self, call: CallId, heed: Heed) {
        if let Some(live) = self.calls.get(&call) {
            live.sights.heed.store(heed as u8, Ordering::Relaxed);
        }
    }

    /// Tells a call what a comparison has found, unless that is no news to it.
    pub(super) fn tell_found(&self, call: CallId, least: Heed, input: impl FnOnce() -> Input) {
        if let Some(live) = self.calls.get(&call).filter(|live| live.heeds(least)) {
            // One whose task has ended is told nothing more.
            drop(live.inputs.unbounded_send(input()));
        }
    }

    /// Index of the application that a live call is in.
    #[must_use]
    pub fn app_of(&self, call: CallId) -> Option<u16> {
        self.calls.get(&call).map(|live| live.app)
    }

    /// Of a node's application all was heard up to this monotonic time; `None`: all is heard.
    pub(super) fn note_interrupted(&self, node: usize, app: u16, heard_until: Option<Duration>) {
        match heard_until {
            Some(until) => drop(self.interrupted.insert((node, app), until)),
            None => drop(self.interrupted.remove(&(node, app))),
        }
    }

    /// Up to when whatever happened to a live call was heard, whose socket may have been silent since some time.
    pub(super) fn heard_until(&self, call: CallId, silent_since: Option<Duration>, now: Now) -> Now {
        let of = self.calls.get(&call).map(|live| (live.node, live.app));
        let until = of.and_then(|of| self.interrupted.get(&of).map(|until| *until));
        until.or(silent_since).map_or(now, |until| now.when(until))
    }

    /// Notes how a call stands.
    pub fn show(&self, view: LiveView) {
        if let Some(mut live) = self.calls.get_mut(&view.call_id) {
            live.view = Some(Arc::new(view));
        }
    }

    /// How a call stands; `None` when no such call is live.
    #[must_use]
    pub fn view(&self, call: CallId) -> Option<Arc<LiveView>> {
        self.calls.get(&call).and_then(|live| live.view.clone())
    }

    /// How all live calls stand, in no order.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<LiveView>> {
        self.calls.iter().filter_map(|live| live.view.clone()).collect()
    }

    /// Whether a call is live and its task runs.
    #[must_use]
    pub fn is_live(&self, call: CallId) -> bool {
        self.calls.get(&call).is_some_and(|live| !live.is_orphaned())
    }

    /// The call of an inbound channel.
    #[must_use]
    pub fn call_of(&self, node: usize, channel_id: &str) -> Option<CallId> {
        // A borrowed key for a pair would need a type of its own; this is one short allocation for each event of A.
        self.inbound.get(&(node, channel_id.to_owned())).map(|call| *call)
    }

    /// The call of a channel of one of our nodes, if its record is still to come.
    #[must_use]
    pub fn to_be_recorded(&self, node: usize, channel_id: &str) -> Option<CallId> {
        // The record of a call whose task is gone is never written.
        self.call_of(node, channel_id).filter(|call| self.is_live(*call))
    }

    /// The old dialplan has reported a call of this channel; `counted` is the link whose stored total grows by it. Unless it is `sure`
    /// that the database has it, it is counted all the same, for a total must not be passed, and a repeat counts no second time.
    pub fn reported(&self, node: &str, channel_id: &str, counted: Option<LinkId>, sure: bool) {
        let channel = (node.to_owned(), channel_id.to_owned());
        let before = match (sure, counted) {
            (true, _) => self.unsure.remove(&channel).is_some(),
            (false, Some(_)) => self.unsure.insert(channel, ()).is_some(),
            (false, None) => false,
        };
        if let Some(link) = counted.filter(|_| !before) {
            self.book().ledger.count(link);
        }
    }

    /// The calls of one node, the oldest first.
    #[must_use]
    pub fn calls_on(&self, node: usize) -> Vec<(CallId, LiveCall)> {
        let entries = self.calls.iter().filter(|entry| entry.node == node);
        let mut calls: Vec<_> = entries.map(|e| (*e.key(), e.value().clone())).collect();
        calls.sort_unstable_by_key(|(call, _)| *call);
        calls
    }

    /// Likewise by their ids alone, in no order.
    #[must_use]
    pub fn ids_on(&self, node: usize) -> Vec<CallId> {
        self.calls.iter().filter(|entry| entry.node == node).map(|entry| *entry.key()).collect()
    }

    /// Live calls over all nodes.
    #[must_use]
    pub fn live(&self) -> usize {
        self.calls.len()
    }
}

#[cfg(test)]
mod tests;
