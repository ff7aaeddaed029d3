//! PURE: in which order a campaign's eligible links are offered a call.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;

use super::snapshot::{Link, Strategy};
use crate::id::LinkId;

/// Where a campaign's rotation stands. Moved only when a link is really offered a call.
#[derive(Debug, Clone, Default)]
pub struct Rotation {
    last_offered: Option<LinkId>,
    groups: FxHashMap<Group, Shares>,
}

/// Links that share calls by weight: all of them (`weighted`), or those of one priority (`priority`).
type Group = Option<i32>;

/// How far a link is behind (positive) or ahead of its share.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credit {
    units: i64,
    /// One call in the same units; 0 where there is no credit.
    call: i64,
}

impl Credit {
    /// In millionths of a call.
    #[must_use]
    pub fn millionths(self) -> i64 {
        let millionths = (i128::from(self.units) * 1_000_000).checked_div(i128::from(self.call));
        millionths.and_then(|millionths| i64::try_from(millionths).ok()).unwrap_or(0)
    }
}

impl Rotation {
    /// The link offered last (what `round_robin` goes on after).
    #[must_use]
    pub fn last_offered(&self) -> Option<LinkId> {
        self.last_offered
    }

    /// Links whose share is kept.
    pub(super) fn shares(&self) -> usize {
        self.groups.values().map(|shares| shares.credit.len()).sum()
    }

    /// How far this link is behind (positive) or ahead of its share; nothing if it never had one.
    #[must_use]
    pub fn credit(&self, strategy: Strategy, link: &Link) -> Credit {
        let credit =
            |shares: &Shares| shares.credit.get(&link.id).map(|units| Credit { units: *units, call: shares.call });
        self.groups.get(&group(strategy, link)).and_then(credit).unwrap_or_default()
    }

    /// Orders the eligible links; changes nothing.
    #[must_use]
    pub fn order(&self, strategy: Strategy, eligible: &[&Link]) -> Vec<LinkId> {
        match strategy {
            Strategy::RoundRobin => {
                let mut ids: Vec<LinkId> = eligible.iter().map(|l| l.id).collect();
                ids.sort_unstable();
                let start = self.last_offered.map_or(0, |last| ids.partition_point(|id| *id <= last));
                let count = ids.len().max(1);
                ids.rotate_left(start % count);
                ids
            }
            Strategy::Weighted => self.order_group(None, eligible),
            Strategy::Priority => {
                let mut by_priority: Vec<&Link> = eligible.to_vec();
                by_priority.sort_by_cached_key(|l| l.forwarding_priority);
                by_priority
                    .chunk_by(|a, b| a.forwarding_priority == b.forwarding_priority)
                    .flat_map(|same| self.order_group(Some(same[0].forwarding_priority), same))
                    .collect()
            }
        }
    }

    /// Records that `offered` was offered a call while `standing` (with `offered` among them) could have been.
    pub fn offer(&mut self, strategy: Strategy, offered: &Link, standing: &[&Link]) {
        self.last_offered = Some(offered.id);
        if strategy == Strategy::RoundRobin {
            return;
        }
        let key = group(strategy, offered);
        let peers: Vec<&Link> = standing.iter().copied().filter(|l| group(strategy, l) == key).collect();
        self.groups.entry(key).or_default().elect(offered.id, &peers);
    }

    fn order_group(&self, key: Group, links: &[&Link]) -> Vec<LinkId> {
        match self.groups.get(&key) {
            Some(shares) => shares.order(links),
            None => Shares::default().order(links),
        }
    }
}

fn group(strategy: Strategy, link: &Link) -> Group {
    (strategy == Strategy::Priority).then_some(link.forwarding_priority)
}

/// Parts of a call that rounding may lose when the set of eligible links changes: one millionth, not a share.
const SCALE: i64 = 1 << 20;

/// Tijdeman's chairman assignment ("The chairman assignment problem", 1980): every call is a seat, every link's
/// credit is what its weight earned less what it was offered. While the set of links stays the same, each link's count
/// stays within one call of its share, for any weights. A link that is not eligible neither earns nor owes.
#[derive(Debug, Clone, Default)]
struct Shares {
    /// One call in units of credit: the sum of the eligible weights × `SCALE`.
    call: i64,
    credit: FxHashMap<LinkId, i64>,
}

impl Shares {
    /// Credit of each link after it earned its weight of the next call, in units of `call`.
    fn earned<'a>(&'a self, links: &'a [&'a Link], call: i64) -> impl Iterator<Item = Seat> + 'a {
        links.iter().map(move |link| {
            let weight = i64::from(link.weight.max(1));
            let credit = self.credit.get(&link.id).map_or(0, |c| rescale(*c, self.call, call));
            Seat { link: link.id, weight, credit: credit + weight * SCALE }
        })
    }

    fn order(&self, links: &[&Link]) -> Vec<LinkId> {
        let call = one_call(links);
        let threshold = Threshold::of(links.len(), call);
        let claims: Vec<Claim> = self.earned(links, call).map(|seat| threshold.claim(&seat)).collect();
        sorted(&claims).map(|claim| claim.link).collect()
    }

    fn elect(&mut self, elected: LinkId, links: &[&Link]) {
        let call = one_call(links);
        if call != self.call {
            // Also of links that are not eligible now: all credit is in the same unit.
            let old = self.call;
            self.credit.values_mut().for_each(|credit| *credit = rescale(*credit, old, call));
        }
        self.call = call;
        for link in links {
            let paid = if link.id == elected { call } else { 0 };
            *self.credit.entry(link.id).or_default() += i64::from(link.weight.max(1)) * SCALE - paid;
        }
    }
}

struct Seat {
    link: LinkId,
    weight: i64,
    credit: i64,
}

fn one_call(links: &[&Link]) -> i64 {
    links.iter().map(|l| i64::from(l.weight.max(1))).sum::<i64>() * SCALE
}

/// The same part of a call in another unit, rounded to nearest.
fn rescale(credit: i64, from: i64, to: i64) -> i64 {
    if from == 0 || from == to {
        return credit;
    }
    let (credit, from, to) = (i128::from(credit), i128::from(from), i128::from(to));
    let half = if credit < 0 { -from / 2 } else { from / 2 };
    i64::try_from((credit * to + half) / from).unwrap_or(0)
}

/// Who may take the seat (credit of at least 1/(2k−2) calls), and by when each must have it at the latest.
struct Threshold {
    call: i128,
    parts: i128,
}

impl Threshold {
    fn of(links: usize, call: i64) -> Self {
        let parts = i128::try_from(2 * links.max(2) - 2).unwrap_or(i128::MAX);
        Self { call: i128::from(call), parts }
    }

    #[expect(clippy::cast_precision_loss, reason = "for that there is `Claim::is_close`")]
    fn claim(&self, seat: &Seat) -> Claim {
        let credit = i128::from(seat.credit) * self.parts;
        let slack = self.call * (self.parts - 1) - credit;
        let rounded = i64::try_from(slack).map_or_else(|_| slack as f64, |slack| slack as f64);
        let deadline = rounded / seat.weight as f64;
        Claim { link: seat.link, weight: seat.weight, may_sit: credit >= self.call, slack, deadline }
    }
}

/// What a link has to say for itself.
struct Claim {
    link: LinkId,
    weight: i64,
    may_sit: bool,
    /// What its credit lacks of 1 − 1/(2k−2) calls.
    slack: i128,
    /// That by its weight, the time of its deadline, as exactly as an `f64` has it.
    deadline: f64,
}

impl Claim {
    /// Those who may sit first, then by deadline, then by id.
    fn compare(&self, other: &Self) -> Ordering {
        let deadline = || (self.slack * i128::from(other.weight)).cmp(&(other.slack * i128::from(self.weight)));
        other.may_sit.cmp(&self.may_sit).then_with(deadline).then_with(|| self.link.cmp(&other.link))
    }

    /// Whether rounding may have put the two in the wrong order: two, of 2⁻⁵³ each, went into either deadline.
    fn is_close(&self, other: &Self) -> bool {
        let (a, b) = (self.deadline, other.deadline);
        self.may_sit == other.may_sit && (a - b).abs() <= 1e-14 * a.abs().max(b.abs())
    }
}

/// Claims in their order. Numbers are sorted in a fraction of the time that comparing fractions takes, so the order is by rounded
/// deadlines first, and exact where these are close.
fn sorted(claims: &[Claim]) -> impl Iterator<Item = &Claim> {
    // Place, deadline and seat in one number: whole ones are sorted fastest.
    let key = |(at, claim): (u128, &Claim)| {
        u128::from(!claim.may_sit) << 127 | u128::from(ordered(claim.deadline)) << 32 | at
    };
    let mut keys: Vec<u128> = (0..).zip(claims).map(key).collect();
    let of = |key: u128| &claims[(key & u128::from(u32::MAX)) as usize];
    keys.sort_unstable();
    for close in keys.chunk_by_mut(|a, b| of(*a).is_close(of(*b))) {
        close.sort_unstable_by(|a, b| of(*a).compare(of(*b)));
    }
    keys.into_iter().map(of)
}

/// A number in the order of `f64::total_cmp`.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_sign_negative() { !bits } else { bits | 1 << 63 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::routing::decision::tests::link;

    fn weighted(weights: &[u32]) -> Vec<Link> {
        let numbered = (1..).zip(weights);
        numbered.map(|(n, weight)| Link { weight: *weight, ..link(n) }).collect()
    }

    fn offer_first(rotation: &mut Rotation, strategy: Strategy, links: &[&Link]) -> LinkId {
        let first = rotation.order(strategy, links)[0];
        let offered = links.iter().find(|l| l.id == first).expect("ordered links are eligible");
        rotation.offer(strategy, offered, links);
        first
    }

    proptest! {
        /// After any n calls each link's count is within one call of n·w/W, for any weights.
        #[test]
        fn weighted_counts_stay_within_one_call(weights in prop::collection::vec(1_u32..=10_000, 1..12), calls in 1_usize..2_000) {
            let links = weighted(&weights);
            let links: Vec<&Link> = links.iter().collect();
            let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
            let mut rotation = Rotation::default();
            let mut counts: HashMap<LinkId, i64> = HashMap::new();
            for n in 1..=i64::try_from(calls).unwrap() {
                *counts.entry(offer_first(&mut rotation, Strategy::Weighted, &links)).or_default() += 1;
                for link in &links {
                    let off = counts.get(&link.id).copied().unwrap_or(0) * sum - n * i64::from(link.weight);
                    prop_assert!(off.abs() < sum, "link {} is {off}/{sum} calls off after {n}", link.id);
                }
            }
        }

        /// A link that was closed for a while neither catches up when it reopens nor is made to wait.
        #[test]
        fn a_reopened_link_gets_no_burst(weights in prop::collection::vec(1_u32..20, 2..6), closed_for in 1_usize..500) {
            let links = weighted(&weights);
            let all: Vec<&Link> = links.iter().collect();
            let sum: u32 = weights.iter().sum();
            let mut rotation = Rotation::default();
            for _ in 0..(sum * 3) { offer_first(&mut rotation, Strategy::Weighted, &all); }
            for _ in 0..closed_for { offer_first(&mut rotation, Strategy::Weighted, &all[1..]); }
            let mut got = 0_i64;
            let rounds = i64::from(sum) * 4;
            for n in 1..=rounds {
                if offer_first(&mut rotation, Strategy::Weighted, &all) == all[0].id { got += 1; }
                let share = n * i64::from(weights[0]);
                prop_assert!((got * i64::from(sum) - share).abs() <= 2 * i64::from(sum), "{got} of {n}");
            }
        }

        /// Round robin: over any run of calls with the same eligible links, counts differ by at most one.
        #[test]
        fn round_robin_is_fair(count in 1_usize..20, calls in 1_usize..200) {
            let links = weighted(&vec![1; count]);
            let links: Vec<&Link> = links.iter().collect();
            let mut rotation = Rotation::default();
            let mut counts = vec![0_usize; count];
            for _ in 0..calls {
                let id = offer_first(&mut rotation, Strategy::RoundRobin, &links);
                counts[usize::try_from(id.0).unwrap() - 1] += 1;
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            }
        }

        /// Claims are in the exact order of their fractions, be they next to each other.
        #[test]
        fn claims_are_sorted_exactly(
            base in -(1_i64 << 50)..(1 << 50),
            claims in prop::collection::vec((1_i64..=10_000, -2_i64..=2, any::<bool>()), 0..40),
        ) {
            let claim = |(n, (weight, off, _)): (i64, &(i64, i64, bool))| {
                // Nearly the same deadline for all.
                let slack = base / 10_000 * weight + off;
                Threshold { call: 0, parts: 1 }.claim(&Seat { link: LinkId(n), weight: *weight, credit: -slack })
            };
            let mut claims: Vec<Claim> = (1..).zip(&claims).map(|(n, one)| Claim { may_sit: one.2, ..claim((n, one)) }).collect();
            let quickly: Vec<LinkId> = sorted(&claims).map(|claim| claim.link).collect();
            claims.sort_by(Claim::compare);
            prop_assert_eq!(quickly, claims.iter().map(|claim| claim.link).collect::<Vec<_>>());
        }

        /// Every strategy offers every eligible link exactly once.
        #[test]
        fn an_order_is_a_permutation(specs in prop::collection::vec((1_u32..100, -3_i32..3), 0..30)) {
            let links: Vec<Link> = (1..).zip(&specs)
                .map(|(n, (weight, priority))| Link { weight: *weight, forwarding_priority: *priority, ..link(n) }).collect();
            let links: Vec<&Link> = links.iter().collect();
            for strategy in Strategy::ALL {
                let mut order = Rotation::default().order(*strategy, &links);
                order.sort_unstable();
                prop_assert_eq!(order, links.iter().map(|l| l.id).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn round_robin_goes_on_after_the_last_offered_even_when_that_link_is_gone() {
        let links = weighted(&[1, 1, 1]);
        let all: Vec<&Link> = links.iter().collect();
        let mut rotation = Rotation::default();
        rotation.offer(Strategy::RoundRobin, all[1], &all);
        assert_eq!(rotation.order(Strategy::RoundRobin, &[all[0], all[2]]), [LinkId(3), LinkId(1)]);
        assert_eq!(rotation.order(Strategy::RoundRobin, &[all[0]]), [LinkId(1)]);
    }

    #[test]
    fn lower_priority_first_and_equal_ones_share_by_weight() {
        let mut links = weighted(&[1, 3, 1]);
        links[0].forwarding_priority = 2;
        let all: Vec<&Link> = links.iter().collect();
        let mut rotation = Rotation::default();
        let firsts: Vec<i64> = (0..8).map(|_| offer_first(&mut rotation, Strategy::Priority, &all).0).collect();
        assert_eq!(firsts.iter().filter(|id| **id == 2).count(), 6);
        assert_eq!(firsts.iter().filter(|id| **id == 3).count(), 2);
        assert_eq!(rotation.order(Strategy::Priority, &all)[2], LinkId(1));
    }

    #[test]
    fn a_link_that_flaps_does_not_starve_the_others() {
        let links = weighted(&[3, 1, 1]);
        let all: Vec<&Link> = links.iter().collect();
        let mut rotation = Rotation::default();
        let mut counts: HashMap<LinkId, u32> = HashMap::new();
        for n in 0..4_000 {
            let open = if n % 2 == 0 { &all[..] } else { &all[..2] };
            *counts.entry(offer_first(&mut rotation, Strategy::Weighted, open)).or_default() += 1;
        }
        // Shares: 3/5 and 3/4, 1/5 and 1/4, 1/5 and 0 of 2,000 calls each.
        for (link, share) in [(1, 2_700), (2, 900), (3, 400)] {
            assert!(counts[&LinkId(link)].abs_diff(share) <= 2, "link {link}: {} of {share}", counts[&LinkId(link)]);
        }
    }
}
