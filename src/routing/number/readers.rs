//! PURE: which numbers a text may be read as, and so which DIDs are the same to some node.
//!
//! E.164 decides first ([`super::find_did`]), so a raw DID never takes what belongs to a number. The other way round a number
//! would take what a raw DID has: hence no seller is to have a number as which another's raw text may be read, by a node as it is
//! configured or by one in any country.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use super::{Dialled, Normaliser, find_did, is_region, user_part, written};
use crate::routing::snapshot::{Did, Snapshot};

/// Every country whose numbering plan is known.
static COUNTRIES: LazyLock<Vec<Normaliser>> = LazyLock::new(|| {
    let codes: BTreeSet<&str> = phonelib::countries().iter().map(|country| country.code).collect();
    let known = codes.into_iter().filter(|code| is_region(code));
    known.map(|code| Normaliser::new(Some(code), &std::collections::BTreeMap::new())).collect()
});

/// Digits at its end that every country's reading of a text leaves as they are: countries change what stands before a number.
const TAIL: usize = 4;

/// The nodes of a site as readers of dialled texts.
#[derive(Debug, Clone, Default)]
pub struct Readers(Vec<Normaliser>);

/// A DID and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a, S> {
    /// As stored.
    pub number: &'a str,
    /// Whether it is no E.164 number.
    pub raw: bool,
    /// Owner.
    pub seller: S,
}

impl Readers {
    /// Of these nodes.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = Normaliser>) -> Self {
        Self(nodes.into_iter().collect())
    }

    /// Every number as which `text` may be read: by a node as it is configured, or by one in any country.
    #[must_use]
    pub fn readings(&self, text: &str) -> BTreeSet<String> {
        self.0.iter().chain(COUNTRIES.iter()).filter_map(|node| node.e164(text)).collect()
    }

    /// Pairs of DIDs of different sellers of which some node may read the one's text as the other, each pair once: their positions
    /// in `all`, the raw one first. Only pairs with one of `wanted`.
    #[must_use]
    pub fn overlaps<S: PartialEq>(&self, all: &[Claim<'_, S>], wanted: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
        let positions: HashMap<&str, usize> = all.iter().enumerate().map(|(n, claim)| (claim.number, n)).collect();
        let any_tail = all.iter().enumerate().filter(|(n, claim)| !claim.raw && wanted(*n));
        let tails: HashSet<String> = any_tail.filter_map(|(_, claim)| tail(claim.number)).collect();
        let mut found = BTreeSet::new();
        for (at, claim) in all.iter().enumerate().filter(|(_, claim)| claim.raw) {
            // Reading a text as every country does takes a while: only where it may matter.
            let everywhere = wanted(at) || tail(claim.number).is_some_and(|tail| tails.contains(&tail));
            let countries = COUNTRIES.iter().filter(|_| everywhere);
            let numbers = self.0.iter().chain(countries).filter_map(|node| node.e164(claim.number));
            let bare = std::iter::once(user_part(claim.number).to_owned()).filter(|bare| bare != claim.number);
            for other in numbers.chain(bare).filter_map(|text| positions.get(text.as_str()).copied()) {
                if all[other].seller != claim.seller && (wanted(at) || wanted(other)) {
                    found.insert((at, other));
                }
            }
        }
        found.into_iter().collect()
    }

    /// Why no call can match a stored DID, whoever's the calls are that would.
    #[must_use]
    pub fn unmatched(&self, snapshot: &Snapshot, number: &str, did: &Did) -> Option<Unmatched> {
        if !did.raw {
            return None;
        }
        if !written::can_be_user_part(number) {
            return Some(Unmatched::NoUserPart);
        }
        let reads = |node: &Normaliser| {
            let dialled: Dialled = node.dialled(number);
            let found = find_did(snapshot, &dialled).is_some_and(|found| found.id != did.id);
            dialled.e164.filter(|_| found)
        };
        let readings: Option<Vec<String>> = self.0.iter().map(reads).collect();
        readings?.pop().map(Unmatched::Read)
    }
}

/// What a person is told of two DIDs of which the first may be read as the second: each with its seller's name.
#[must_use]
pub fn told((raw, its): (&str, &str), (number, whose): (&str, &str)) -> String {
    format!("{raw} of {its} may be read as {number} of {whose}, who then gets its calls")
}

/// Why no call can match a DID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmatched {
    /// Its text holds what a SIP user part cannot.
    NoUserPart,
    /// Every node reads its text as this number, which is another DID.
    Read(String),
}

impl std::fmt::Display for Unmatched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoUserPart => f.write_str("holds characters that no carrier sends in a SIP user part"),
            Self::Read(number) => write!(f, "is read as {number} by every node, which is a DID of its own"),
        }
    }
}

/// The last digits of what is long enough to be read as a number.
fn tail(number: &str) -> Option<String> {
    let digits: Vec<char> = user_part(number).chars().filter(char::is_ascii_digit).collect();
    digits.len().checked_sub(TAIL).map(|from| digits[from..].iter().collect())
}

#[cfg(test)]
mod tests;
