//! PURE: what must change to get from the stored state to the wanted one.

use std::collections::BTreeSet;

use super::Problems;
use super::change::{Action, Change, Kind, Plan, Sign};
use super::fields::{self, Field};
use super::state::{Access, Campaign, CampaignKey, Client, Current, State, Stored};
use super::ties::{Ties, ties};
use crate::realtime::{Given, Missing, OwnRealm, Secrets};
use crate::routing::snapshot::Status;

/// How a document is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// Remove what it does not name, instead of keeping it.
    pub prune: bool,
    /// Drawn at random, and counted on from: tells passwords that change from all earlier ones.
    pub drawn: u64,
}

/// Compares the stored state with the wanted one.
///
/// # Errors
/// When the wanted state does not fit the stored one: a seller's username is an admin's or staff's, or a client is to register and no
/// password for it is known.
pub fn diff(current: &Current, wanted: &State, manner: Manner) -> Result<Plan, Problems> {
    let ties = ties(current, wanted, manner.prune);
    let (plan, problems) = (Plan::default(), Vec::new());
    let mut differ = Differ { current, wanted, manner, ties, plan, problems };
    differ.sellers();
    differ.clients();
    differ.dids();
    differ.campaigns();
    differ.kept_campaigns();
    differ.removals();
    if differ.problems.is_empty() { Ok(differ.plan) } else { Err(Problems(differ.problems)) }
}

struct Differ<'a> {
    current: &'a Current,
    wanted: &'a State,
    manner: Manner,
    ties: Ties,
    plan: Plan,
    problems: Vec<String>,
}

impl Differ<'_> {
    /// Adds a `+` or `~` line when the fields differ (or `extra` says that something unseen does).
    fn put(&mut self, subject: String, old: Option<Vec<Field>>, new: &[Field], extra: Option<&str>, action: Action) {
        let (sign, mut details) = match old {
            None => (Sign::Add, fields::describe(new)),
            Some(old) => (Sign::Change, fields::compare(&old, new)),
        };
        details.extend(extra.map(str::to_owned));
        if sign == Sign::Add || !details.is_empty() {
            self.plan.changes.push(Change { sign, subject, details: details.join(", "), action });
        }
    }

    fn sellers(&mut self) {
        for (username, seller) in &self.wanted.sellers {
            if self.current.other_users.contains(username) {
                let problem = "is the username of an admin or staff user, whom apply never touches: choose another";
                self.problems.push(format!("sellers[{username:?}].username: {problem}"));
                continue;
            }
            let stored = self.current.sellers.get(username);
            let old = stored.map(|stored| fields::seller(&stored.value));
            let id = stored.map(|stored| stored.id);
            let mut seller = seller.clone();
            keep(&mut seller.legacy_id, stored.map(|stored| &stored.value.legacy_id));
            let new = fields::seller(&seller);
            let action = Action::Seller { id, username: username.clone(), seller };
            self.put(format!("seller {username}"), old, &new, None, action);
        }
    }

    fn clients(&mut self) {
        for (key, wanted) in &self.wanted.clients {
            let stored = self.current.clients.get(key);
            let before = stored.map(|stored| (&stored.value.sip, &stored.value.secrets));
            self.manner.drawn = self.manner.drawn.wrapping_add(1);
            let fresh = OwnRealm::new(self.manner.drawn);
            let secrets = match wanted.given.clone().settle(before, &wanted.sip, fresh) {
                Ok(secrets) => secrets,
                Err(missing) => {
                    self.problems.extend(missing_passwords(wanted, missing));
                    continue;
                }
            };
            let files = [&wanted.given.registration_file, &wanted.given.outbound_file];
            self.plan.missing_files.extend(files.into_iter().flatten().cloned());
            let extra = before.and_then(|(_, was)| changed_passwords(was, &secrets));
            let old = stored.map(|stored| fields::client(&stored.value));
            let client = self.client(wanted, stored.map(|stored| &stored.value), secrets);
            let new = fields::client(&client);
            let action = Action::Client { id: stored.map(|stored| stored.id), client };
            self.put(format!("client {}", wanted.identifier), old, &new, extra.as_deref(), action);
        }
    }

    /// The client as it will be: what the document does not speak of stays as it is.
    fn client(&mut self, wanted: &Client, stored: Option<&Client>, secrets: Secrets) -> Client {
        let mut sellers = wanted.sellers.clone().unwrap_or_default();
        for named in stored.iter().filter_map(|stored| stored.sellers.as_ref()).flatten() {
            // The name of a seller that goes goes with it.
            let gone = self.manner.prune && !self.wanted.sellers.contains_key(named);
            match &wanted.sellers {
                None if !gone => {
                    sellers.insert(named.clone());
                }
                Some(said) if !said.contains(named) && !self.manner.prune => {
                    self.plan.kept.push(format!("seller {named} of client {}", wanted.identifier));
                    sellers.insert(named.clone());
                }
                _ => {}
            }
        }
        let text = |wanted: &Option<String>, stored: Option<&Option<String>>| match wanted {
            None => stored.cloned().flatten(),
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        };
        Client {
            access: wanted.access.or_else(|| stored?.access).or(Some(Access::All)),
            sellers: Some(sellers),
            mask_name: text(&wanted.mask_name, stored.map(|stored| &stored.mask_name)),
            contact: text(&wanted.contact, stored.map(|stored| &stored.contact)),
            time_zone: text(&wanted.time_zone, stored.map(|stored| &stored.time_zone)),
            secrets,
            given: Given::default(),
            ..wanted.clone()
        }
    }

    fn dids(&mut self) {
        for (number, did) in &self.wanted.dids {
            let stored = self.current.dids.get(number);
            let old = stored.map(|stored| fields::did(&stored.value));
            let id = stored.map(|stored| stored.id);
            let mut did = did.clone();
            keep(&mut did.legacy_id, stored.map(|stored| &stored.value.legacy_id));
            let new = fields::did(&did);
            let action = Action::Did { id, number: number.clone(), did };
            self.put(format!("did {number}"), old, &new, None, action);
        }
    }

    fn campaigns(&mut self) {
        for (key, (campaign, links)) in &self.wanted.campaigns {
            let stored = self.current.campaigns.get(key);
            let old = stored.map(|stored| fields::campaign(&stored.campaign.value));
            let id = stored.map(|stored| stored.campaign.id);
            let mut campaign = campaign.clone();
            keep(&mut campaign.legacy_id, stored.map(|stored| &stored.campaign.value.legacy_id));
            campaign.dids = self.ties.fed.remove(key).unwrap_or_default();
            let new = fields::campaign(&campaign);
            self.put(campaign_subject(key), old, &new, None, Action::Campaign { id, key: key.clone(), campaign });
            for (client, link) in links {
                let stored = stored.and_then(|stored| stored.links.get(client));
                let old = stored.map(|stored| fields::link(&stored.value));
                let id = stored.map(|stored| stored.id);
                let mut link = link.clone();
                keep(&mut link.legacy_id, stored.map(|stored| &stored.value.legacy_id));
                let new = fields::link(&link);
                let action = Action::Link { id, campaign: key.clone(), client: client.clone(), link };
                self.put(self.link_subject(key, client), old, &new, None, action);
            }
        }
    }

    /// Campaigns that stay though the document does not name them lose the DIDs that it gives to others.
    fn kept_campaigns(&mut self) {
        for (key, dids) in std::mem::take(&mut self.ties.fed) {
            let Some(stored) = self.current.campaigns.get(&key).map(|stored| &stored.campaign) else { continue };
            let campaign = Campaign { dids, ..stored.value.clone() };
            let (old, new) = (fields::campaign(&stored.value), fields::campaign(&campaign));
            let action = Action::Campaign { id: Some(stored.id), key: key.clone(), campaign };
            self.put(campaign_subject(&key), Some(old), &new, None, action);
        }
        let kept = self.ties.kept.iter().map(|(number, key)| format!("did {number} of {}", campaign_subject(key)));
        self.plan.kept.extend(kept);
    }

    fn link_subject(&self, (_, campaign): &CampaignKey, client: &str) -> String {
        let wanted = self.wanted.clients.get(client).map(|client| &client.identifier);
        let stored = self.current.clients.get(client).map(|stored| &stored.value.identifier);
        format!("link {campaign} → {}", wanted.or(stored).map_or(client, |identifier| identifier.as_str()))
    }

    /// Removes what is not wanted, or tells that it is kept: alive objects are deleted or archived; archived ones stay, unless what they belong to goes and they
    /// would hold it back though no record refers to them any more.
    fn removals(&mut self) {
        let (current, wanted) = (self.current, self.wanted);
        let seller_goes = |username: &str| current.seller_lives(username) && !wanted.sellers.contains_key(username);
        let client_goes = |key: &str| current.client_lives(key) && !wanted.clients.contains_key(key);
        let mut kept_clients: BTreeSet<&str> = BTreeSet::new();
        let mut kept_sellers: BTreeSet<&str> = BTreeSet::new();
        let mut campaigns = Vec::new();
        for (key, stored) in &current.campaigns {
            let goes = !wanted.campaigns.contains_key(key);
            let alive = stored.campaign.value.status != Status::Archived;
            let mut links_kept = false;
            for (client, link) in &stored.links {
                let is_wanted = wanted.campaigns.get(key).is_some_and(|(_, links)| links.contains_key(client));
                let owner_goes = (goes && alive) || client_goes(client) || seller_goes(&key.0);
                let alive = link.value.status != Status::Archived;
                let kept = is_wanted
                    || !self.remove(Kind::Link, self.link_subject(key, client), link, alive, owner_goes, false);
                if kept {
                    links_kept = true;
                    kept_clients.insert(client);
                }
            }
            if goes {
                campaigns.push((key, &stored.campaign, alive, links_kept));
            } else {
                kept_sellers.insert(&key.0);
            }
        }
        for (key, stored, alive, links_kept) in campaigns {
            if !self.remove(Kind::Campaign, campaign_subject(key), stored, alive, seller_goes(&key.0), links_kept) {
                kept_sellers.insert(&key.0);
            }
        }
        for (number, stored) in &current.dids {
            let alive = stored.value.status != Status::Archived;
            let goes = !wanted.dids.contains_key(number);
            let owner_goes = seller_goes(&stored.value.seller);
            if goes && !self.remove(Kind::Did, format!("did {number}"), stored, alive, owner_goes, false) {
                kept_sellers.insert(&stored.value.seller);
            }
        }
        for (key, stored) in current.clients.iter().filter(|(key, _)| client_goes(key)) {
            let subject = format!("client {}", stored.value.identifier);
            self.remove(Kind::Client, subject, stored, true, false, kept_clients.contains(key.as_str()));
        }
        for (username, stored) in current.sellers.iter().filter(|(username, _)| seller_goes(username)) {
            let kept = kept_sellers.contains(username.as_str());
            self.remove(Kind::Seller, format!("seller {username}"), stored, true, false, kept);
        }
    }

    /// Deletes or archives one row; returns whether it is gone. `held`: other rows that stay refer to it.
    fn remove<T>(
        &mut self,
        kind: Kind,
        subject: String,
        stored: &Stored<T>,
        alive: bool,
        owner_goes: bool,
        held: bool,
    ) -> bool {
        let archive = stored.referenced || held;
        if alive && !self.manner.prune {
            self.plan.kept.push(subject);
        } else if alive || (owner_goes && !archive && self.manner.prune) {
            let details = if archive { "kept as archived, records refer to it" } else { "" }.to_owned();
            let action = Action::Remove { kind, id: stored.id, archive };
            self.plan.changes.push(Change { sign: Sign::Remove, subject, details, action });
            return !archive;
        }
        false
    }
}

/// Without an old id in the document the stored one stays.
fn keep(wanted: &mut Option<String>, stored: Option<&Option<String>>) {
    if wanted.is_none() {
        *wanted = stored.cloned().flatten();
    }
}

fn campaign_subject((seller, name): &CampaignKey) -> String {
    format!("campaign {name} of {seller}")
}

/// What is wrong where a client needs a password that is neither given nor stored for the same username (and realm).
fn missing_passwords(client: &Client, missing: Missing) -> Vec<String> {
    let problem = |within: &str, file: &Option<String>| {
        let path = format!("clients[{:?}].sip.{within}", client.identifier.as_str());
        let why = "none is stored for this username and realm, so it is needed";
        match file {
            None => format!("{path}.password: is missing: {why}"),
            Some(file) => format!("{path}.password_file: there is no {file:?}: write the password into it; {why}"),
        }
    };
    let of = [
        (missing.registration, "registration", &client.given.registration_file),
        (missing.outbound, "outbound_auth", &client.given.outbound_file),
    ];
    of.into_iter().filter(|(missing, ..)| *missing).map(|(_, within, file)| problem(within, file)).collect()
}

/// Which stored secrets are replaced by others.
fn changed_passwords(was: &Secrets, secrets: &Secrets) -> Option<String> {
    let registration =
        was.registration.is_some() && secrets.registration.is_some() && was.registration != secrets.registration;
    let outbound = was.outbound.is_some() && secrets.outbound.is_some() && was.outbound != secrets.outbound;
    let changed =
        [(registration, "sip.registration.password changed"), (outbound, "sip.outbound_auth.password changed")];
    let changed: Vec<&str> = changed.into_iter().filter(|(changed, _)| *changed).map(|(_, text)| text).collect();
    (!changed.is_empty()).then(|| changed.join(", "))
}
