//! How many connections there may be: in all, and from one address.
//!
//! Where there are as many as there may be, the one whose peer has kept it waiting longest gives way: whoever holds connections without
//! using them keeps nobody out. One that we work for never gives way; are all such, the new one is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::pulse::Pulse;
use crate::auth::throttle;
use crate::config::Network;
use crate::telemetry::name;

/// Connections that were told to give way and have not gone yet, at most: they need descriptors beside those that may be there.
pub(crate) const LEAVING_AT_MOST: usize = 64;

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are as many as there may be.
    Full,
    /// Its address has as many as it may have.
    Address,
}

/// What a connection and the gate share.
#[derive(Debug)]
pub(super) struct Held {
    pulse: Mutex<Pulse>,
    /// Cancelled where it must give way.
    pub(super) leave: CancellationToken,
}

impl Held {
    pub(super) fn new(now: Duration) -> Arc<Self> {
        Arc::new(Self { pulse: Mutex::new(Pulse::new(now)), leave: CancellationToken::new() })
    }

    pub(super) fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets connections in.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    most_of_address: usize,
    /// Many people's connections come from these.
    unbounded: Vec<Network>,
    open: Mutex<Open>,
    /// Told when one has gone that had to.
    gone: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    staying: HashMap<u64, (Option<IpAddr>, Arc<Held>)>,
    of: HashMap<IpAddr, usize>,
    leaving: usize,
}

/// One connection's place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.gate.open();
        if !open.remove(self.id) {
            open.leaving = open.leaving.saturating_sub(1);
            self.gate.gone.notify_one();
        }
        metrics::gauge!(name::API_CONNECTIONS).decrement(1.0);
    }
}

impl Gate {
    pub(super) fn new(most: usize, most_of_address: usize, unbounded: Vec<Network>) -> Arc<Self> {
        Arc::new(Self { most, most_of_address, unbounded, open: Mutex::default(), gone: Notify::new() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while too many that had to go have not gone: no more are taken in meanwhile, so that nobody is refused for it.
    pub(super) async fn settled(&self) {
        while self.open().leaving >= LEAVING_AT_MOST {
            self.gone.notified().await;
        }
    }

    /// A place for a connection from `peer`, if need be that of another.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, held: &Arc<Held>) -> Result<Place, Refused> {
        let peer = peer.to_canonical();
        // What one has in IPv6 is at least a /64.
        let of = (!self.unbounded.iter().any(|network| network.contains(peer))).then(|| throttle::network(peer));
        let mut open = self.open();
        if let Some(of) = of
            && open.of.get(&of).is_some_and(|count| *count >= self.most_of_address)
        {
            open.make_room(Some(of)).ok_or(Refused::Address)?;
        }
        if open.staying.len() >= self.most {
            open.make_room(None).ok_or(Refused::Full)?;
        }
        let id = open.next;
        open.next += 1;
        open.staying.insert(id, (of, Arc::clone(held)));
        if let Some(of) = of {
            *open.of.entry(of).or_default() += 1;
        }
        metrics::gauge!(name::API_CONNECTIONS).increment(1.0);
        Ok(Place { gate: Arc::clone(self), id })
    }

    /// How many there are, with those that have not gone yet.
    #[cfg(test)]
    fn count(&self) -> usize {
        let open = self.open();
        open.staying.len() + open.leaving
    }
}

impl Open {
    /// Lets the one go, of this address or of all, that has been waiting longest.
    fn make_room(&mut self, of: Option<IpAddr>) -> Option<()> {
        if self.leaving >= LEAVING_AT_MOST {
            return None;
        }
        let candidates = self.staying.iter().filter(|(_, (its, _))| of.is_none() || *its == of);
        let waiting = candidates.filter_map(|(id, (_, held))| held.pulse().waits_since().map(|since| (since, *id)));
        let (_, id) = waiting.min()?;
        let held = self.staying.get(&id).map(|(_, held)| Arc::clone(held))?;
        self.remove(id);
        self.leaving += 1;
        held.leave.cancel();
        Some(())
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some((of, _)) = self.staying.remove(&id) else { return false };
        if let Some(of) = of
            && let Some(count) = self.of.get_mut(&of)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&of);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// One that has been waiting since then.
    fn since(seconds: u64) -> Arc<Held> {
        Held::new(Duration::from_secs(seconds))
    }

    /// One that we work for.
    fn busy() -> Arc<Held> {
        let held = since(0);
        held.pulse().asked();
        held
    }

    #[test]
    fn in_all_there_are_no_more_than_there_may_be_and_the_longest_waiting_gives_way() {
        let gate = Gate::new(3, 100, Vec::new());
        let held = [busy(), since(7), since(5)];
        let places: Vec<_> = (1..)
            .zip(&held)
            .map(|(n, held)| gate.enter(address(&format!("192.0.2.{n}")), held).expect("room"))
            .collect();
        let fourth = gate.enter(address("192.0.2.4"), &busy()).expect("one gives way");
        assert_eq!(held.each_ref().map(|held| held.leave.is_cancelled()), [false, false, true]);
        let fifth = gate.enter(address("192.0.2.4"), &busy()).expect("one gives way");
        assert_eq!(held.each_ref().map(|held| held.leave.is_cancelled()), [false, true, true]);
        assert_eq!(gate.enter(address("192.0.2.5"), &since(9)).err(), Some(Refused::Full), "all are busy");
        assert_eq!(gate.count(), 5, "two have not gone yet");
        drop(places);
        assert_eq!(gate.count(), 2);
        let sixth = gate.enter(address("192.0.2.6"), &since(9)).expect("there is room again");
        drop((fourth, fifth, sixth));
        assert_eq!(gate.count(), 0);
    }

    #[test]
    fn an_address_has_no_more_than_it_may_have_and_a_64_counts_as_one() {
        for (first, second, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"),
        ] {
            let gate = Gate::new(100, 1, Vec::new());
            let one = gate.enter(address(first), &busy()).expect("room");
            assert_eq!(gate.enter(address(second), &since(1)).err(), Some(Refused::Address), "{second}");
            let another = gate.enter(address(other), &busy()).expect("it has its own bound");
            drop(one);
            drop(gate.enter(address(second), &since(1)).expect("there is room again"));
            drop(another);
            assert!(gate.open().of.is_empty());
        }
    }

    #[test]
    fn of_an_address_its_own_gives_way_and_nobody_elses() {
        let gate = Gate::new(100, 2, Vec::new());
        let (oldest, younger, youngest) = (since(1), since(5), since(6));
        let places = [("192.0.2.9", &oldest), ("192.0.2.1", &younger), ("192.0.2.1", &youngest)]
            .map(|(from, held)| gate.enter(address(from), held).expect("room"));
        let next = gate.enter(address("192.0.2.1"), &since(7)).expect("one gives way");
        assert_eq!([oldest, younger, youngest].map(|held| held.leave.is_cancelled()), [false, true, false]);
        drop((places, next));
    }

    #[test]
    fn a_trusted_proxy_is_bounded_in_all_alone() {
        let gate = Gate::new(3, 1, vec!["192.0.2.0/24".parse().expect("a network")]);
        let places: Vec<_> = (0..3).map(|_| gate.enter(address("192.0.2.1"), &busy()).expect("room")).collect();
        assert_eq!(gate.enter(address("192.0.2.1"), &busy()).err(), Some(Refused::Full));
        drop(places);
    }

    #[test]
    fn those_that_are_told_to_go_and_stay_are_bounded_too() {
        let gate = Gate::new(1, 1, Vec::new());
        let places: Vec<_> = (0..=LEAVING_AT_MOST)
            .map(|_| gate.enter(address("192.0.2.1"), &since(1)).expect("the one before gives way"))
            .collect();
        assert_eq!(gate.enter(address("192.0.2.1"), &since(1)).err(), Some(Refused::Address));
        assert_eq!(gate.count(), LEAVING_AT_MOST + 1);
        let mut settled = pin!(gate.settled());
        assert!(settled.as_mut().now_or_never().is_none());
        let mut places = places;
        drop(places.remove(0));
        assert!(settled.now_or_never().is_some(), "one has gone");
        drop(places);
        assert_eq!(gate.count(), 0);
    }
}
