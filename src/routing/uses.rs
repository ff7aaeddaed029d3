//! PURE: how much of each cap is used, by link, client and campaign, and what of it has changed since somebody looked.
//!
//! All of this is touched under the book's lock: an act visits what it is about and nothing else, however many links there are.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::visits::visit;
use crate::id::{CampaignId, ClientId, LinkId};

/// What has caps of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capped {
    /// A link.
    Link(LinkId),
    /// A campaign, over its links.
    Campaign(CampaignId),
    /// A client, over all campaigns.
    Client(ClientId),
}

/// How much of one's caps is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Attempts that ring or talk.
    pub live: u32,
    /// Of a link: calls ever counted. A reset of the count is the link's `counted_before`, so it comes with the configuration and loses no
    /// call in between.
    pub counted: u64,
}

/// What has changed since it was asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Whose use.
    pub of: Capped,
    /// As it was when it was asked for last.
    pub before: Use,
    /// As it is.
    pub now: Use,
}

/// How much of every cap is used.
#[derive(Debug, Default)]
pub(super) struct Uses {
    links: Links,
    /// Only those in use.
    clients: FxHashMap<ClientId, u32>,
    /// Only those in use.
    campaigns: FxHashMap<CampaignId, u32>,
    /// `None` while nobody asks what has changed.
    changes: Option<Changes>,
}

/// What has changed, as it was before.
#[derive(Debug)]
pub struct Changes {
    order: Vec<Capped>,
    before: FxHashMap<Capped, Use>,
}

/// Room for so many changes is made before the lock is taken: those of 40 calls of one instant.
const ROOM: usize = 1_024;

impl Default for Changes {
    fn default() -> Self {
        let before = FxHashMap::with_capacity_and_hasher(ROOM, rustc_hash::FxBuildHasher);
        Self { order: Vec::with_capacity(ROOM), before }
    }
}

/// Neighbouring ids on one page.
const PAGE: usize = 64;

/// Use of links, by pages of neighbouring ids: where there must be room for more, pages are moved and not each link; and the links of one
/// campaign mostly are neighbours.
#[derive(Debug, Default)]
struct Links(FxHashMap<i64, Box<[Use; PAGE]>>);

/// The page of an id, and its place there.
fn place(link: LinkId) -> (i64, usize) {
    let size = i64::try_from(PAGE).unwrap_or(1);
    (link.0.div_euclid(size), usize::try_from(link.0.rem_euclid(size)).unwrap_or(0))
}

impl Links {
    fn get(&self, link: LinkId) -> Use {
        let (page, at) = place(link);
        self.0.get(&page).map_or_else(Use::default, |page| page[at])
    }

    fn make_room(&mut self, link: LinkId) -> &mut Use {
        let (page, at) = place(link);
        &mut self.0.entry(page).or_insert_with(|| Box::new([Use::default(); PAGE]))[at]
    }
}

impl Uses {
    /// Nothing used; there is room for these links, and for so many clients.
    pub(super) fn room_for(links: impl Iterator<Item = LinkId>, clients: usize) -> Self {
        let clients = FxHashMap::with_capacity_and_hasher(clients, rustc_hash::FxBuildHasher);
        let mut uses = Self { clients, ..Self::default() };
        links.for_each(|link| {
            uses.links.make_room(link);
        });
        uses
    }

    pub(super) fn of(&self, capped: Capped) -> Use {
        visit(1);
        let live = |live: Option<&u32>| Use { live: live.copied().unwrap_or(0), counted: 0 };
        match capped {
            Capped::Link(link) => self.links.get(link),
            Capped::Client(client) => live(self.clients.get(&client)),
            Capped::Campaign(campaign) => live(self.campaigns.get(&campaign)),
        }
    }

    /// Puts another use in the place of what there was.
    pub(super) fn set(&mut self, capped: Capped, now: Use) {
        let before = self.of(capped);
        if before == now {
            return;
        }
        if let Some(changes) = &mut self.changes {
            changes.note(capped, before);
        }
        match capped {
            Capped::Link(link) => *self.links.make_room(link) = now,
            Capped::Client(client) => put(&mut self.clients, client, now.live),
            Capped::Campaign(campaign) => put(&mut self.campaigns, campaign, now.live),
        }
    }

    /// From now on it is noted what changes; what was noted so far is given back, to be freed elsewhere.
    pub(super) fn watch(&mut self, changes: Option<Changes>) -> Option<Changes> {
        std::mem::replace(&mut self.changes, changes)
    }

    /// Lets this be among what has changed, although it has not.
    pub(super) fn touch(&mut self, capped: Capped) {
        let now = self.of(capped);
        if let Some(changes) = &mut self.changes {
            changes.note(capped, now);
        }
    }

    /// How many have changed.
    pub(super) fn changed(&self) -> usize {
        self.changes.as_ref().map_or(0, |changes| changes.order.len())
    }

    /// So many of what has changed at most: they count as told.
    pub(super) fn take_changes(&mut self, most: usize, into: &mut Vec<Changed>) {
        for _ in 0..most {
            let Some(changes) = &mut self.changes else { return };
            let Some(of) = changes.order.pop() else { return };
            let before = changes.before.remove(&of);
            let now = self.of(of);
            into.extend(before.map(|before| Changed { of, before, now }));
        }
    }
}

impl Changes {
    fn note(&mut self, capped: Capped, before: Use) {
        if let Entry::Vacant(place) = self.before.entry(capped) {
            place.insert(before);
            self.order.push(capped);
        }
    }
}

fn put<K: std::hash::Hash + Eq>(uses: &mut FxHashMap<K, u32>, key: K, live: u32) {
    if live == 0 {
        uses.remove(&key);
    } else {
        uses.insert(key, live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(n: i64) -> Capped {
        Capped::Link(LinkId(n))
    }

    #[test]
    fn neighbours_and_strangers_have_a_use_of_their_own() {
        let mut uses = Uses::default();
        let ids = [i64::MIN, -65, -64, -1, 0, 1, 63, 64, 1_000_000, i64::MAX];
        for (n, id) in (1..).zip(ids) {
            uses.set(link(id), Use { live: n, counted: u64::from(n) * 10 });
        }
        for (n, id) in (1..).zip(ids) {
            assert_eq!(uses.of(link(id)), Use { live: n, counted: u64::from(n) * 10 }, "{id}");
        }
        assert_eq!((uses.of(link(2)), uses.of(link(4_711))), (Use::default(), Use::default()));
    }

    #[test]
    fn what_changed_is_told_once_with_what_it_was_when_it_was_told_last() {
        let mut uses = Uses::default();
        let (one, other) = (link(1), Capped::Client(ClientId(1)));
        let live = |live| Use { live, counted: 0 };
        let told = |uses: &mut Uses, most| {
            let mut told = Vec::new();
            uses.take_changes(most, &mut told);
            told
        };
        uses.set(one, live(1));
        assert_eq!((uses.changed(), told(&mut uses, 9)), (0, vec![]), "nobody asks");
        uses.watch(Some(Changes::default()));
        for now in [2, 3] {
            uses.set(one, live(now));
        }
        uses.set(other, live(7));
        uses.set(other, live(7));
        assert_eq!(told(&mut uses, 1), [Changed { of: other, before: live(0), now: live(7) }]);
        assert_eq!(told(&mut uses, 9), [Changed { of: one, before: live(1), now: live(3) }]);
        assert_eq!(told(&mut uses, 9), []);
        uses.set(one, live(4));
        uses.touch(one);
        uses.touch(other);
        assert_eq!(uses.changed(), 2);
        assert_eq!(
            told(&mut uses, 9),
            [Changed { of: other, before: live(7), now: live(7) }, Changed { of: one, before: live(3), now: live(4) }]
        );
        assert!(uses.watch(None).is_some());
        uses.set(one, live(5));
        assert_eq!(uses.changed(), 0);
    }
}
