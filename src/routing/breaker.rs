//! PURE: which clients cannot be reached from which node, and when one is tried again.
//!
//! A client whose attempts on a node fail one after the other (congestion, no contact, no provisional answer) is not offered calls
//! there for a pause, as long as another client can take them. Then one call, the probe, tries it: any sign of life closes the breaker, a
//! failure opens it for twice the time. One node says nothing about another: a client may have registered with one only.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::caps::{Ledger, PermitKey};
use super::visits::visit;
use crate::clock::Now;
use crate::id::ClientId;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// This many failures without a success in between open it; 0 = it never opens.
    pub failures: u32,
    /// How long until it is tried again.
    pub pause: Duration,
    /// The pause doubles with each try that fails, up to this.
    pub pause_max: Duration,
}

/// Where and when something is decided or happens.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// Name of the Asterisk node.
    pub node: &'a Arc<str>,
    /// The moment.
    pub now: Now,
}

/// What an attempt shows of its client. Told once for each attempt: as soon as there is a sign of life, else when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It rang, answered, or refused in a way only a working call centre does.
    Alive,
    /// Congestion, no contact, or no provisional answer in time.
    Failed,
    /// Nothing: the caller went before, or Asterisk or we failed.
    Unclear,
}

/// Since when a client is not reached, and until when it is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the breaker opened.
    pub since: Now,
    /// When it is tried again.
    pub until: Now,
}

/// How a client's breaker stands on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is offered calls; so many attempts in a row have failed.
    Closed {
        /// Failures since the last sign of life.
        failures: u32,
    },
    /// It is left alone.
    Open(Outage),
    /// The pause is over: the next call that it is offered is the probe.
    Due(Outage),
    /// One call is trying it.
    Probing(Outage),
}

impl Standing {
    /// Why the client is not offered calls; `None` where it is.
    #[must_use]
    pub fn outage(self) -> Option<Outage> {
        match self {
            Self::Open(outage) | Self::Probing(outage) => Some(outage),
            Self::Closed { .. } | Self::Due(_) => None,
        }
    }
}

/// A breaker has turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It opened.
    Opened(Outage),
    /// The probe failed: it stays open.
    StillOpen(Outage),
    /// A sign of life closed it.
    Closed(Outage),
}

/// The breakers of all clients on all nodes.
#[derive(Debug, Default)]
pub struct Breakers {
    terms: Terms,
    /// Only those with failures: a client that is well has none.
    nodes: FxHashMap<Arc<str>, FxHashMap<ClientId, Breaker>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    outage: Outage,
    pause: Duration,
    probe: Option<PermitKey>,
}

impl Breakers {
    /// Breakers that are all closed.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, nodes: FxHashMap::default() }
    }

    /// From now on they open and close by these terms; what is open stays so for as long as it was said.
    pub fn keep_to(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// How the client's breaker stands. A probe lasts as long as its permit is held, so that one whose call died is not waited for.
    #[must_use]
    pub fn standing(&self, at: At<'_>, client: ClientId, ledger: &Ledger) -> Standing {
        visit(1);
        let Some(breaker) = self.nodes.get(at.node).and_then(|clients| clients.get(&client)) else {
            return Standing::Closed { failures: 0 };
        };
        match breaker.open {
            None => Standing::Closed { failures: breaker.failures },
            Some(open) if open.probe.is_some_and(|probe| ledger.is_held(probe)) => Standing::Probing(open.outage),
            Some(open) if at.now.mono >= open.outage.until.mono => Standing::Due(open.outage),
            Some(open) => Standing::Open(open.outage),
        }
    }

    /// Breakers without a failure, with room for those of so many clients on each of these nodes.
    pub(super) fn room_for(clients: usize, nodes: &[Arc<str>]) -> Self {
        let room = || FxHashMap::with_capacity_and_hasher(clients, rustc_hash::FxBuildHasher);
        Self { terms: Terms::default(), nodes: nodes.iter().map(|node| (Arc::clone(node), room())).collect() }
    }

    /// Copies how these clients stand on the nodes that `part` has. Gives back the permits of their probes.
    pub(super) fn copy_to(&self, part: &mut Self, clients: impl Iterator<Item = ClientId> + Clone) -> Vec<PermitKey> {
        let mut probes = Vec::new();
        for (node, copied) in &mut part.nodes {
            let failing = self.nodes.get(node).filter(|failing| !failing.is_empty());
            for client in clients.clone().filter(|_| failing.is_some()) {
                visit(1);
                let Some(breaker) = failing.and_then(|failing| failing.get(&client)) else { continue };
                probes.extend(breaker.open.and_then(|open| open.probe));
                copied.insert(client, *breaker);
            }
        }
        probes
    }

    /// An attempt begins that takes this permit; it is the probe where one is due. To be called in one step with taking the permit.
    pub fn begin(&mut self, at: At<'_>, client: ClientId, key: PermitKey, ledger: &Ledger) {
        if matches!(self.standing(at, client, ledger), Standing::Due(_))
            && let Some(open) = self.open_mut(at, client)
        {
            open.probe = Some(key);
        }
    }

    /// What an attempt has shown of its client.
    pub fn note(&mut self, at: At<'_>, client: ClientId, key: PermitKey, sign: Sign) -> Option<Turn> {
        match sign {
            Sign::Alive => self.close(at, client).map(Turn::Closed),
            Sign::Failed if self.terms.failures == 0 => None,
            Sign::Failed => self.fail(at, client, key),
            Sign::Unclear => {
                let open = self.open_mut(at, client)?;
                open.probe = open.probe.filter(|probe| *probe != key);
                None
            }
        }
    }

    fn close(&mut self, at: At<'_>, client: ClientId) -> Option<Outage> {
        let breaker = self.nodes.get_mut(at.node)?.remove(&client)?;
        breaker.open.map(|open| open.outage)
    }

    fn fail(&mut self, At { node, now }: At<'_>, client: ClientId, key: PermitKey) -> Option<Turn> {
        let terms = self.terms;
        let breaker = self.nodes.entry(Arc::clone(node)).or_default().entry(client).or_default();
        match &mut breaker.open {
            None => {
                breaker.failures += 1;
                if breaker.failures < terms.failures {
                    return None;
                }
                let outage = Outage { since: now, until: now.after(terms.pause) };
                breaker.open = Some(Open { outage, pause: terms.pause, probe: None });
                Some(Turn::Opened(outage))
            }
            Some(open) if open.probe == Some(key) => {
                open.probe = None;
                open.pause = open.pause.saturating_mul(2).min(terms.pause_max).max(terms.pause);
                open.outage.until = now.after(open.pause);
                Some(Turn::StillOpen(open.outage))
            }
            // It began before the breaker opened, or nobody else could take the call: that it is open is known.
            Some(_) => None,
        }
    }

    fn open_mut(&mut self, at: At<'_>, client: ClientId) -> Option<&mut Open> {
        self.nodes.get_mut(at.node)?.get_mut(&client)?.open.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::id::CallId;
    use crate::id::{CampaignId, LinkId};
    use crate::routing::caps::Permit;

    const TERMS: Terms = Terms { failures: 3, pause: Duration::from_secs(10), pause_max: Duration::from_secs(35) };
    const CLIENT: ClientId = ClientId(1);

    fn key(n: u128) -> PermitKey {
        (CallId(uuid::Uuid::from_u128(n)), 1)
    }

    fn at(node: &Arc<str>, seconds: u64) -> At<'_> {
        let now = Now { mono: Duration::from_secs(1000 + seconds), wall: DateTime::UNIX_EPOCH };
        At { node, now }
    }

    fn hold(ledger: &mut Ledger, n: u128) {
        ledger.hold(key(n), Permit { campaign: CampaignId(1), link: LinkId(1), client: CLIENT });
    }

    /// Three failures at second 0.
    fn opened(node: &Arc<str>) -> Breakers {
        let mut breakers = Breakers::new(TERMS);
        let turns = [1, 2, 3].map(|n| breakers.note(at(node, 0), CLIENT, key(n), Sign::Failed));
        assert!(matches!(turns, [None, None, Some(Turn::Opened(_))]), "{turns:?}");
        breakers
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let (node, ledger) = (Arc::from("pbx"), Ledger::default());
        let mut breakers = Breakers::new(TERMS);
        for _ in 0..5 {
            for sign in [Sign::Failed, Sign::Unclear, Sign::Failed, Sign::Alive] {
                assert_eq!(breakers.note(at(&node, 0), CLIENT, key(1), sign), None);
            }
        }
        assert_eq!(breakers.standing(at(&node, 0), CLIENT, &ledger), Standing::Closed { failures: 0 });
        for failures in 1..=2 {
            breakers.note(at(&node, 0), CLIENT, key(1), Sign::Failed);
            assert_eq!(breakers.standing(at(&node, 0), CLIENT, &ledger), Standing::Closed { failures });
        }
    }

    #[test]
    fn one_node_says_nothing_about_another_nor_one_client() {
        let (node, other, ledger) = (Arc::from("pbx"), Arc::from("pbx-2"), Ledger::default());
        let breakers = opened(&node);
        assert!(breakers.standing(at(&node, 0), CLIENT, &ledger).outage().is_some());
        assert_eq!(breakers.standing(at(&other, 0), CLIENT, &ledger), Standing::Closed { failures: 0 });
        assert_eq!(breakers.standing(at(&node, 0), ClientId(2), &ledger), Standing::Closed { failures: 0 });
    }

    #[test]
    fn after_the_pause_one_call_probes_and_each_failure_doubles_the_pause_up_to_the_bound() {
        let (node, mut ledger): (Arc<str>, _) = (Arc::from("pbx"), Ledger::default());
        let mut breakers = opened(&node);
        let (mut second, mut n) = (0, 10);
        for pause in [10, 20, 35, 35] {
            assert!(matches!(breakers.standing(at(&node, second + pause - 1), CLIENT, &ledger), Standing::Open(_)));
            second += pause;
            assert!(matches!(breakers.standing(at(&node, second), CLIENT, &ledger), Standing::Due(_)));
            n += 1;
            hold(&mut ledger, n);
            breakers.begin(at(&node, second), CLIENT, key(n), &ledger);
            let Standing::Probing(outage) = breakers.standing(at(&node, second), CLIENT, &ledger) else {
                panic!("one call probes")
            };
            assert_eq!(outage.since.mono, Duration::from_secs(1000), "it was never closed in between");
            assert_eq!(breakers.note(at(&node, second), CLIENT, key(1), Sign::Failed), None, "an earlier attempt");
            let turn = breakers.note(at(&node, second), CLIENT, key(n), Sign::Failed);
            assert!(matches!(turn, Some(Turn::StillOpen(_))), "{turn:?}");
        }
        let turn = breakers.note(at(&node, second), CLIENT, key(99), Sign::Alive);
        assert!(matches!(turn, Some(Turn::Closed(_))), "any sign of life closes it: {turn:?}");
        assert_eq!(breakers.standing(at(&node, second), CLIENT, &ledger), Standing::Closed { failures: 0 });
    }

    #[test]
    fn a_probe_that_showed_nothing_or_died_leaves_its_place_to_the_next_call() {
        let (node, mut ledger) = (Arc::from("pbx"), Ledger::default());
        let mut breakers = opened(&node);
        hold(&mut ledger, 7);
        breakers.begin(at(&node, 10), CLIENT, key(7), &ledger);
        breakers.note(at(&node, 11), CLIENT, key(7), Sign::Unclear);
        assert!(matches!(breakers.standing(at(&node, 11), CLIENT, &ledger), Standing::Due(_)));
        hold(&mut ledger, 8);
        breakers.begin(at(&node, 11), CLIENT, key(8), &ledger);
        assert!(matches!(breakers.standing(at(&node, 11), CLIENT, &ledger), Standing::Probing(_)));
        ledger.release(key(8), false);
        assert!(matches!(breakers.standing(at(&node, 11), CLIENT, &ledger), Standing::Due(_)));
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let node = Arc::from("pbx");
        let mut breakers = Breakers::new(Terms::default());
        assert!((0..100).all(|n| breakers.note(at(&node, 0), CLIENT, key(n), Sign::Failed).is_none()));
    }

    proptest! {
        /// Calls begin and end in any order, at any time: there is one probe at most, nothing but failures in a row opens the breaker, and
        /// a sign of life always leaves it closed.
        #[test]
        fn any_order_of_calls_has_one_probe_at_most(
            steps in prop::collection::vec((0_u64..15, any::<bool>(), 0_usize..6, 0_u8..3), 1..200),
        ) {
            let node: Arc<str> = Arc::from("pbx");
            let (mut breakers, mut ledger) = (Breakers::new(TERMS), Ledger::default());
            let (mut second, mut next, mut row) = (0, 0, 0);
            let mut under_way: Vec<(u128, bool)> = Vec::new();
            for (wait, begins, which, sign) in steps {
                second += wait;
                let now = at(&node, second);
                if begins {
                    // Also while it is open: as the last one left.
                    let probe = matches!(breakers.standing(now, CLIENT, &ledger), Standing::Due(_));
                    next += 1;
                    hold(&mut ledger, next);
                    breakers.begin(now, CLIENT, key(next), &ledger);
                    under_way.push((next, probe));
                    prop_assert!(under_way.iter().filter(|(_, probe)| *probe).count() <= 1);
                } else if !under_way.is_empty() {
                    let (n, _) = under_way.remove(which % under_way.len());
                    let sign = [Sign::Alive, Sign::Failed, Sign::Unclear][usize::from(sign)];
                    let was_open = !matches!(breakers.standing(now, CLIENT, &ledger), Standing::Closed { .. });
                    let turn = breakers.note(now, CLIENT, key(n), sign);
                    ledger.release(key(n), false);
                    row = match sign { Sign::Alive => 0, Sign::Failed => row + 1, Sign::Unclear => row };
                    let standing = breakers.standing(now, CLIENT, &ledger);
                    let open = !matches!(standing, Standing::Closed { .. });
                    prop_assert_eq!(open, row >= TERMS.failures, "{:?}", standing);
                    prop_assert_eq!(matches!(turn, Some(Turn::Opened(_))), open && !was_open);
                    prop_assert_eq!(matches!(turn, Some(Turn::Closed(_))), !open && was_open);
                    if sign == Sign::Alive {
                        // What probed it before is a call like any other now.
                        under_way.iter_mut().for_each(|(_, probe)| *probe = false);
                    }
                }
            }
        }
    }
}
