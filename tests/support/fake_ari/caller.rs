//! A caller, as a test plays it.

use std::sync::Arc;

use super::Shared;
use super::world::World;

/// How an inbound channel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerEnd {
    /// The caller hung up, or gave up.
    HungUp,
    /// The controller ended it: the SIP status the carrier got (200 = a BYE after the answer), and the Q.850 cause.
    Ended { sip: u16, cause: i16 },
    /// The controller sent it back to the dialplan.
    Continued { context: String, exten: String, priority: String },
    /// No such application was connected: the dialplan took its fallback.
    Fallback,
    /// Asterisk restarted under it.
    Lost,
}

/// One inbound call.
#[derive(Debug, Clone)]
pub struct FakeCall {
    shared: Arc<Shared>,
    id: String,
}

impl FakeCall {
    pub(super) fn new(shared: Arc<Shared>, id: String) -> Self {
        Self { shared, id }
    }

    /// The inbound channel's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The caller hangs up: a CANCEL before the answer, else a BYE.
    pub fn hang_up(&self) {
        self.shared.with(|world| world.far_end_hangs_up(&self.id));
    }

    /// Waits for the answer (200).
    pub async fn answered(&self) {
        self.until("the caller is answered", |world| world.channels.get(&self.id)?.is_up().then_some(())).await;
    }

    /// Waits until the caller hears ringing (180 or in-band).
    pub async fn ringing(&self) {
        self.until("the caller hears ringing", |world| world.channels.get(&self.id)?.hears_ringing.then_some(())).await;
    }

    /// Waits until the caller hears the callee's early media.
    pub async fn early_media(&self) {
        self.until("the caller hears early media", |w| w.channels.get(&self.id)?.hears_media.then_some(())).await;
    }

    /// Whether the caller heard early media of any callee; also once the call has ended: no.
    pub fn hears_early_media(&self) -> bool {
        self.shared.peek(|world| world.channels.get(&self.id).is_some_and(|channel| channel.hears_media))
    }

    /// Waits for the end.
    pub async fn ended(&self) -> CallerEnd {
        self.until("the call ends", |world| world.ends.get(&self.id).cloned()).await
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<CallerEnd> {
        self.shared.peek(|world| world.ends.get(&self.id).cloned())
    }

    /// Ids of the other channels in the caller's bridge.
    pub fn peers(&self) -> Vec<String> {
        self.shared.peek(|world| self.others(world).cloned().collect())
    }

    fn others<'a>(&'a self, world: &'a World) -> impl Iterator<Item = &'a String> {
        let bridge = world.bridges.values().find(|members| members.contains(&self.id));
        bridge.into_iter().flatten().filter(|id| **id != self.id)
    }

    /// Waits until somebody is in the caller's bridge with it.
    pub async fn joined(&self) {
        self.until("somebody is in the caller's bridge", |world| self.others(world).next().map(|_| ())).await;
    }

    async fn until<R>(&self, what: &str, look: impl Fn(&World) -> Option<R>) -> R {
        self.shared.until(&format!("{what} ({})", self.id), look).await
    }
}
