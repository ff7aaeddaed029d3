//! PURE: checked objects, and the stored ones they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use crate::realtime::{Given, Secrets, SipSettings};
use crate::routing::snapshot::{CampaignRejections, ClientIdentifier, CountOn, Status, Strategy, words};

/// Username of the seller, and name.
pub type CampaignKey = (String, String);

/// A whole checked state. Clients are keyed by their identifier in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By username.
    pub sellers: BTreeMap<String, Seller>,
    /// By identifier in lower case.
    pub clients: BTreeMap<String, Client>,
    /// By number.
    pub dids: BTreeMap<String, Did>,
    /// By seller and name.
    pub campaigns: BTreeMap<CampaignKey, (Campaign, BTreeMap<String, Link>)>,
}

words! {
    /// Whether a user may sign in.
    UserStatus {
        /// May.
        Active = "active",
        /// May not.
        Disabled = "disabled",
    }
}

/// A seller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seller {
    /// For people.
    pub name: String,
    /// Whether it may sign in.
    pub status: UserStatus,
    /// Its id on the old platform. Wanted: `None` keeps the stored one.
    pub legacy_id: Option<String>,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// As written.
    pub identifier: ClientIdentifier,
    /// For people.
    pub name: String,
    /// Life.
    pub status: Status,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<u32>,
    /// Whether its INVITE carries our headers.
    pub send_headers: bool,
    /// Which sellers may see and link it. Wanted: `None` keeps the stored one.
    pub access: Option<Access>,
    /// The sellers named for it, by username. Wanted: `None` keeps the stored ones.
    pub sellers: Option<BTreeSet<String>>,
    /// What sellers see instead of the name. Wanted: `None` keeps the stored one, an empty text takes it away.
    pub mask_name: Option<String>,
    /// Whom to call, for people. Wanted: as `mask_name`.
    pub contact: Option<String>,
    /// IANA name. Wanted: as `mask_name`.
    pub time_zone: Option<String>,
    /// How it is reached.
    pub sip: SipSettings,
    /// Stored: what it has.
    pub secrets: Secrets,
    /// Wanted: what the document gives; where it is absent the stored one is kept.
    pub given: Given,
}

words! {
    /// Which sellers may see and link a client.
    Access {
        /// All.
        All = "all",
        /// Those named.
        Selected = "selected",
    }
}

/// A DID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Did {
    /// Whether its number is no E.164 number.
    pub raw: bool,
    /// Username of the owner.
    pub seller: String,
    /// Life.
    pub status: Status,
    /// Its id on the old platform. Wanted: `None` keeps the stored one.
    pub legacy_id: Option<String>,
}

/// A campaign, without its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Order of links.
    pub strategy: Strategy,
    /// Seconds.
    pub dial_timeout_seconds: u32,
    /// Seconds; `None` = configured default.
    pub setup_budget_seconds: Option<u32>,
    /// Seconds; `None` = configured default.
    pub max_duration_seconds: Option<u32>,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<u32>,
    /// Whether the caller hears what a client sends before it answers.
    pub early_media: bool,
    /// What its callers are given who reach nobody.
    pub rejections: CampaignRejections,
    /// Life.
    pub status: Status,
    /// Its id on the old platform. Wanted: `None` keeps the stored one.
    pub legacy_id: Option<String>,
    /// Numbers that feed it.
    pub dids: BTreeSet<String>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<u32>,
    /// Counted calls ever; `None` = no limit.
    pub total_calls_allowed: Option<u64>,
    /// Lower is tried first.
    pub forwarding_priority: i32,
    /// Share, 1 to 10000.
    pub weight: u32,
    /// Seconds; `None` = the campaign's.
    pub ring_timeout_seconds: Option<u32>,
    /// What counts.
    pub count_on: CountOn,
    /// Life.
    pub status: Status,
    /// Its id on the old platform. Wanted: `None` keeps the stored one.
    pub legacy_id: Option<String>,
}

/// What the database holds, archived objects included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// By username.
    pub sellers: BTreeMap<String, Stored<Seller>>,
    /// By identifier in lower case.
    pub clients: BTreeMap<String, Stored<Client>>,
    /// By number.
    pub dids: BTreeMap<String, Stored<Did>>,
    /// By seller and name.
    pub campaigns: BTreeMap<CampaignKey, StoredCampaign>,
    /// Usernames of admins and staff: never touched, and not to be had by a seller.
    pub other_users: BTreeSet<String>,
}

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// Row id.
    pub id: i64,
    /// Whether a record refers to it, so that it can only be archived.
    pub referenced: bool,
    /// The object.
    pub value: T,
}

/// A stored campaign and its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCampaign {
    /// The campaign.
    pub campaign: Stored<Campaign>,
    /// By the client's identifier in lower case.
    pub links: BTreeMap<String, Stored<Link>>,
}

impl Current {
    /// Whether a seller is more than a disabled name: it may sign in, owns something that is not archived, or is named for such a client.
    #[must_use]
    pub fn seller_lives(&self, username: &str) -> bool {
        let names = |client: &Client| client.sellers.as_ref().is_some_and(|sellers| sellers.contains(username));
        self.sellers.get(username).is_some_and(|seller| seller.value.status == UserStatus::Active)
            || self.clients.values().any(|client| client.value.status != Status::Archived && names(&client.value))
            || self.dids.values().any(|did| did.value.seller == username && did.value.status != Status::Archived)
            || self
                .campaigns
                .iter()
                .any(|((seller, _), stored)| seller == username && stored.campaign.value.status != Status::Archived)
    }

    /// Whether a client is not archived.
    #[must_use]
    pub fn client_lives(&self, key: &str) -> bool {
        self.clients.get(key).is_some_and(|client| client.value.status != Status::Archived)
    }
}
