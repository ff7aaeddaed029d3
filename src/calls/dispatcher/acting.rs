//! What follows from a comparison, one call or channel at a time.

use std::time::Duration;

use tracing::{error, info};

use super::Dispatcher;
use super::node::{Missed, Waiting};
use super::orphans::Orphan;
use crate::ari::Request;
use crate::calls::io::Input;
use crate::calls::late::Late;
use crate::calls::machine::BEHIND;
use crate::calls::reconcile::{Adoption, Finding, Sight};
use crate::calls::{adopt, execute};
use crate::clock::Now;
use crate::id::CallId;
use crate::mistakes::{Mistake, on};
use crate::routing::caps::PermitKey;

/// Added to set-up budget and longest duration: after that no outbound channel can be alive (a campaign's own longest
/// duration is a day at most).
const ORPHANS_FOR: Duration = Duration::from_secs(24 * 3600 + 600);

impl Dispatcher {
    pub(super) fn act_on(&mut self, node: usize, finding: Finding) {
        let registry = &self.context.registry;
        match finding {
            Finding::Missing(_) if on(Mistake::MissedEndNotRepaired) => {}
            Finding::Seen(call, sight) => self.seen(node, call, sight),
            Finding::Missing(call) => {
                let since = self.known_until(node, call);
                registry.tell(call, Input::Missing { since });
            }
            Finding::LegMissing((call, n)) => {
                let since = self.known_until(node, call);
                if !registry.tell(call, Input::LegMissing { n, since }) {
                    // Whether it was answered is not known any more: it counts, so that no total is overshot.
                    registry.book().ledger.release((call, n), true);
                }
            }
            Finding::Absent { channel_id } => {
                let (since, state) = (self.context.clock.now().mono, &mut self.nodes[node]);
                state.missing.entry(channel_id).or_insert(Missed { since, heard: state.compared });
            }
            // It arrived, or was taken over, after the lists were asked for.
            Finding::Arrive { caller, .. } if self.is_live(node, &caller.id) => {}
            // It waits already, with what an earlier run noted of it, and is looked at in its turn.
            Finding::Arrive { caller, .. } if self.nodes[node].waits(&caller.id) => {}
            // It was sent to the fallback since.
            Finding::Arrive { caller, .. } if self.nodes[node].leaving.contains(&caller.id) => {}
            // An earlier run has begun it: the next one goes on.
            Finding::Arrive { caller, .. }
                if self.nodes[node].withdrawn && self.nodes[node].left.call_of(&caller.id).is_some() => {}
            Finding::Arrive { caller, earlier_attempts: 0 } if self.nodes[node].drain.is_some() => {
                self.fall_back(node, self.nodes[node].app_of(&caller), &caller.id);
            }
            Finding::Arrive { caller, .. } if self.nodes[node].withdrawn => {
                self.fall_back(node, self.nodes[node].app_of(&caller), &caller.id);
            }
            // Talking on without us: the successor takes it over.
            Finding::Adopt(_) if self.handing_over => {}
            Finding::Arrive { caller, earlier_attempts } => {
                let facts = self.nodes[node].intake.facts_of_listed(&caller);
                // It ended here, after the lists were asked for or because its hang-up was lost: it is not sold again.
                if registry.has_ended(facts.call_id) {
                    return self.hang_up(node, &caller.id, "a caller whose call has ended");
                }
                let (app, since) = (self.nodes[node].app_of(&caller), self.context.clock.now().mono);
                let noted = self.nodes[node].left.take(facts.call_id).map(Box::new);
                // An earlier run may have lowered it when it handed over; the call itself may raise it further.
                self.limit(node, app, &caller.id, self.context.limits.copy().setup_budget + BEHIND);
                self.decide_or_wait(node, Waiting { app, facts, earlier_attempts, noted, since });
            }
            Finding::Adopt(adoption) => self.adopt(node, *adoption),
            // Of a call that began, or was taken over, after the lists were asked for.
            Finding::HangUp { channel_id, .. } if self.is_live(node, &channel_id) => {}
            Finding::DeleteBridge(bridge_id)
                if CallId::parse_bridge(&bridge_id).is_some_and(|call| registry.is_live(call)) => {}
            Finding::HangUp { channel_id, permit } => {
                if let Some((key, permit)) = permit.filter(|_| !on(Mistake::OrphanWithoutPermit)) {
                    registry.book().ledger.hold(key, permit);
                    let since = self.context.clock.now().mono;
                    self.nodes[node].orphans.find(&channel_id, Orphan { key, since, counted: false });
                }
                let said = self.nodes[node].said.as_ref();
                if said.is_none_or(|said| !said.sent_off.contains(&channel_id)) {
                    self.hang_up(node, &channel_id, "a channel of ours without a call");
                }
            }
            Finding::DeleteBridge(bridge_id) => {
                drop(self.nodes[node].handle.lane(0).send(Request::DeleteBridge { bridge_id: &bridge_id }));
            }
            Finding::Forget { call, permits } => self.forget(call, &permits),
        }
    }

    /// A channel of a live call was seen in a state that its call may not know of.
    pub(super) fn seen(&self, node: usize, call: CallId, sight: Sight) {
        let app = self.context.registry.app_of(call).unwrap_or_default();
        // Not all that happened on a node was heard before it is compared, nor where its socket is silent.
        let (compared, silent) = (self.nodes[node].compared, self.nodes[node].handle.silent_since(app));
        let late = || {
            // That it rings says what lists say of it: nobody had answered when they were asked for. What else there is to see happened
            // before, nobody saw when.
            let listed = self.nodes[node].said.as_ref().filter(|_| matches!(sight, Sight::LegRinging(_)));
            let now = self.context.clock.now();
            let since = listed.map(|said| said.asked_at).or(silent.filter(|_| compared));
            let since = since.map(|since| now.when(since));
            Late { since: since.unwrap_or_else(|| self.known_until(node, call)), likely: None }
        };
        let unseen = !compared || silent.is_some();
        self.context.registry.tell_found(call, sight.news_to(), || Input::from(sight).read(unseen.then(late)));
    }

    /// The last moment at which a call's channels are known to have lived.
    pub(super) fn known_until(&self, node: usize, call: CallId) -> Now {
        let now = self.context.clock.now();
        let app = self.context.registry.app_of(call).unwrap_or_default();
        now.when(self.nodes[node].known_until(app))
    }

    /// Tells the node's calls, should they want to know, up to when all was heard.
    pub(super) fn note_interrupted(&self, node: usize) {
        for (app, heard_until) in (0..).zip(&self.nodes[node].heard_until) {
            self.context.registry.note_interrupted(node, app, *heard_until);
        }
    }

    pub(super) fn is_live(&self, node: usize, channel_id: &str) -> bool {
        let registry = &self.context.registry;
        let Some((call, n)) = CallId::parse_leg(channel_id) else {
            return registry.call_of(node, channel_id).is_some_and(|call| registry.is_live(call));
        };
        // An orphan keeps its number while its caller, routed anew, uses later ones.
        let held = registry.book().ledger.is_held((call, n));
        registry.is_live(call) && held && !self.nodes[node].orphans.has(channel_id)
    }

    /// An orphan's channel is gone: its permit is free, and its caller can be routed anew.
    pub(super) fn orphan_gone(&mut self, node: usize, channel_id: &str) {
        if let Some(orphan) = self.nodes[node].orphans.take(channel_id) {
            self.context.registry.book().ledger.release(orphan.key, orphan.counted);
            // Nobody else waits for it.
            self.look(node, orphan.key.0);
        }
    }

    /// Orphans of a node that does not come back: Asterisk's own timers must have ended them.
    pub(super) fn expire_orphans(&mut self, node: usize) {
        let limits = self.context.limits.copy();
        let longest = ORPHANS_FOR + limits.setup_budget + limits.max_duration;
        let now = self.context.clock.now().mono;
        let orphans = self.nodes[node].orphans.iter();
        let over: Vec<String> =
            orphans.filter(|(_, orphan)| now >= orphan.since + longest).map(|(id, _)| id.clone()).collect();
        over.iter().for_each(|id| self.orphan_gone(node, id));
    }

    fn adopt(&mut self, node: usize, adoption: Adoption) {
        // It goes on here already, beside that leg, which is being hung up.
        if self.context.registry.is_live(adoption.call) {
            return;
        }
        let state = &mut self.nodes[node];
        let waited = state.waiting.take(adoption.call).and_then(|caller| caller.noted);
        let noted = state.left.take(adoption.call).or(waited.map(|noted| *noted));
        // It was to be hung up, and the client answered before it was.
        state.orphans.take(&adoption.leg.id);
        let app = state.app_of(&adoption.caller);
        let registry = &self.context.registry;
        let Some(inputs) = registry.register(adoption.call, node, app, &adoption.caller.id) else { return };
        if !on(Mistake::AdoptedWithoutPermit) {
            registry.book().ledger.hold((adoption.call, adoption.n), adoption.permit);
        }
        registry.leg_seen(adoption.call, adoption.n);
        info!(call = %adoption.call, "adopted: its parties were bridged by an earlier run");
        let facts = state.intake.facts_of_listed(&adoption.caller);
        if let Some(invite) = &facts.invite {
            registry.invited(facts.call_id, invite);
        }
        tokio::spawn(adopt::run(facts, adoption, noted, state.handle.lane(app), self.context.clone(), inputs));
    }

    fn forget(&self, call: CallId, permits: &[PermitKey]) {
        let registry = &self.context.registry;
        error!(%call, "the call's task died; its channels are gone, its permits are given back");
        let mut book = registry.book();
        for key in permits {
            book.ledger.release(*key, true);
        }
        drop(book);
        registry.remove(call);
    }

    pub(super) fn hang_up(&self, node: usize, channel_id: &str, why: &str) {
        let state = &self.nodes[node];
        info!(node = state.handle.name(), channel = channel_id, "hanging up {why}");
        drop(state.handle.lane(0).send(execute::abandon(channel_id)));
    }
}
