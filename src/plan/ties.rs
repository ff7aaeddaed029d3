//! PURE: which DIDs feed which campaigns afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{CampaignKey, Current, State, StoredCampaign};
use crate::routing::snapshot::Status;

/// DIDs by campaign, and which of them the document does not tie to it.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Of every campaign that is wanted, or stored and kept.
    pub(super) fed: BTreeMap<CampaignKey, BTreeSet<String>>,
    /// DID and campaign, where the campaign is wanted and the tie is only stored.
    pub(super) kept: Vec<(String, CampaignKey)>,
}

/// With `prune`, what the document says. Else what is stored, too, as far as it does not contradict: a DID feeds at most one active
/// campaign, and only its own seller's. Between two stored ones the one that is in force has it.
pub(super) fn ties(current: &Current, wanted: &State, prune: bool) -> Ties {
    let said = wanted.campaigns.iter().map(|(key, (campaign, _))| (key.clone(), campaign.dids.clone()));
    let mut ties = Ties { fed: said.collect(), ..Ties::default() };
    if prune {
        return ties;
    }
    let status = |key: &CampaignKey, stored: &StoredCampaign| {
        wanted.campaigns.get(key).map_or(stored.campaign.value.status, |(campaign, _)| campaign.status)
    };
    let active = wanted.campaigns.values().filter(|(campaign, _)| campaign.status == Status::Active);
    let mut taken: BTreeSet<String> = active.flat_map(|(campaign, _)| campaign.dids.iter().cloned()).collect();
    let alive = current.campaigns.iter().filter(|(_, stored)| stored.campaign.value.status != Status::Archived);
    let (in_force, others): (Vec<_>, Vec<_>) =
        alive.partition(|(_, stored)| stored.campaign.value.status == Status::Active);
    for (key, stored) in in_force.into_iter().chain(others) {
        let active = status(key, stored) == Status::Active;
        let fed = ties.fed.entry(key.clone()).or_default();
        for number in &stored.campaign.value.dids {
            let owned = owner(current, wanted, number) == Some(&key.0);
            if !owned || fed.contains(number) || (active && !taken.insert(number.clone())) {
                continue;
            }
            fed.insert(number.clone());
            if wanted.campaigns.contains_key(key) {
                ties.kept.push((number.clone(), key.clone()));
            }
        }
    }
    ties
}

fn owner<'a>(current: &'a Current, wanted: &'a State, number: &str) -> Option<&'a String> {
    let stored = || current.dids.get(number).map(|did| &did.value.seller);
    wanted.dids.get(number).map(|did| &did.seller).or_else(stored)
}
