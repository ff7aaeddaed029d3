//! PURE: what must change to get from the stored state to the wanted one.

use std::collections::BTreeSet;
use std::fmt;

use super::Problems;
use super::fields::{self, Field};
use super::state::{Campaign, CampaignKey, Client, Current, Did, Link, Seller, State, Stored};
use crate::realtime::{Given, Missing, OwnRealm, Secrets};
use crate::routing::snapshot::{ClientIdentifier, Status};

/// Changes in an order in which they can be made: what others refer to comes first, removals last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes.
    pub changes: Vec<Change>,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Kind of change.
    pub sign: Sign,
    /// What is changed, such as `client north`.
    pub subject: String,
    /// How, such as `max_concurrency 2 → 3`; may be empty.
    pub details: String,
    /// What to write.
    pub action: Action,
}

/// Kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Add,
    /// `~`
    Change,
    /// `-`
    Remove,
}

/// What to write. Where `id` is `None` the row is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write a seller.
    Seller {
        /// Row.
        id: Option<i64>,
        /// Username.
        username: String,
        /// Values.
        seller: Seller,
    },
    /// Write a client; its secrets are final.
    Client {
        /// Row.
        id: Option<i64>,
        /// Values.
        client: Client,
    },
    /// Write a DID.
    Did {
        /// Row.
        id: Option<i64>,
        /// Number.
        number: String,
        /// Values.
        did: Did,
    },
    /// Write a campaign and which DIDs feed it.
    Campaign {
        /// Row.
        id: Option<i64>,
        /// Seller and name.
        key: CampaignKey,
        /// Values.
        campaign: Campaign,
    },
    /// Write a link; its count of calls stays.
    Link {
        /// Row.
        id: Option<i64>,
        /// Its campaign.
        campaign: CampaignKey,
        /// Its client's identifier in lower case.
        client: String,
        /// Values.
        link: Link,
    },
    /// Take an object away.
    Remove {
        /// Kind of object.
        kind: Kind,
        /// Row.
        id: i64,
        /// Keep the row as archived (a seller: disabled), because records refer to it.
        archive: bool,
    },
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `users`
    Seller,
    /// `clients`
    Client,
    /// `dids`
    Did,
    /// `campaigns`
    Campaign,
    /// `campaign_client_settings`
    Link,
}

impl Plan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Display for Plan {
    /// One line per change, or `No changes.`; no line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("No changes.");
        }
        for (n, change) in self.changes.iter().enumerate() {
            let line_break = if n == 0 { "" } else { "\n" };
            write!(f, "{line_break}{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.sign {
            Sign::Add => '+',
            Sign::Change => '~',
            Sign::Remove => '-',
        };
        let colon = if self.details.is_empty() { "" } else { ": " };
        write!(f, "{sign} {}{colon}{}", self.subject, self.details)
    }
}

/// Compares the stored state with the wanted one. `drawn` at random, and counted on from, tells passwords that change from all earlier
/// ones.
///
/// # Errors
/// When the wanted state does not fit the stored one: a seller's username is an admin's or staff's, or a client is to register and no
/// password for it is known.
pub fn diff(current: &Current, wanted: &State, drawn: u64) -> Result<Plan, Problems> {
    let mut differ = Differ { current, wanted, drawn, changes: Vec::new(), problems: Vec::new() };
    differ.sellers();
    differ.clients();
    differ.dids();
    differ.campaigns();
    differ.removals();
    if differ.problems.is_empty() { Ok(Plan { changes: differ.changes }) } else { Err(Problems(differ.problems)) }
}

struct Differ<'a> {
    current: &'a Current,
    wanted: &'a State,
    drawn: u64,
    changes: Vec<Change>,
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
            self.changes.push(Change { sign, subject, details: details.join(", "), action });
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
            self.drawn = self.drawn.wrapping_add(1);
            let fresh = OwnRealm::new(self.drawn);
            let secrets = match wanted.given.clone().settle(before, &wanted.sip, fresh) {
                Ok(secrets) => secrets,
                Err(missing) => {
                    self.problems.extend(missing_passwords(&wanted.identifier, missing));
                    continue;
                }
            };
            let extra = before.and_then(|(_, was)| changed_passwords(was, &secrets));
            let old = stored.map(|stored| fields::client(&stored.value));
            let client = Client { secrets, given: Given::default(), ..wanted.clone() };
            let action = Action::Client { id: stored.map(|stored| stored.id), client };
            self.put(format!("client {}", wanted.identifier), old, &fields::client(wanted), extra.as_deref(), action);
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

    fn link_subject(&self, (_, campaign): &CampaignKey, client: &str) -> String {
        let wanted = self.wanted.clients.get(client).map(|client| &client.identifier);
        let stored = self.current.clients.get(client).map(|stored| &stored.value.identifier);
        format!("link {campaign} → {}", wanted.or(stored).map_or(client, |identifier| identifier.as_str()))
    }

    /// Removes what is not wanted: alive objects are deleted or archived; archived ones stay, unless what they belong to goes and they
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
        if alive || (owner_goes && !archive) {
            let details = if archive { "kept as archived, records refer to it" } else { "" }.to_owned();
            let action = Action::Remove { kind, id: stored.id, archive };
            self.changes.push(Change { sign: Sign::Remove, subject, details, action });
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
fn missing_passwords(identifier: &ClientIdentifier, missing: Missing) -> Vec<String> {
    let problem = |within: &str| {
        let path = format!("clients[{:?}].sip.{within}.password", identifier.as_str());
        format!("{path}: is missing: none is stored for this username and realm, so it is needed")
    };
    let of = [(missing.registration, "registration"), (missing.outbound, "outbound_auth")];
    of.into_iter().filter(|(missing, _)| *missing).map(|(_, within)| problem(within)).collect()
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
