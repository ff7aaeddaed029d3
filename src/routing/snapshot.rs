//! PURE: the immutable view of all configured objects that routing reads.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};

/// Everything routing may know about the configuration, swapped whole on a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Value of the database's routing revision this was loaded at.
    pub revision: i64,
    /// By number exactly as stored: E.164 with `+`, or the raw text of what is not a number.
    pub dids: HashMap<String, Did>,
    /// Campaigns that are not archived.
    pub campaigns: FxHashMap<CampaignId, Arc<Campaign>>,
    /// Clients that are not archived.
    pub clients: FxHashMap<ClientId, Arc<Client>>,
}

/// An inbound number and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Did {
    /// Row id.
    pub id: DidId,
    /// Whether its number is no E.164 number, and so found by its text alone.
    pub raw: bool,
    /// Owner.
    pub seller: UserId,
    /// Owner's name, kept in records.
    pub seller_name: String,
    /// A paused DID takes no new calls.
    pub status: Status,
    /// The campaign it feeds, if any.
    pub campaign: Option<CampaignId>,
}

/// A seller's offer: where its DIDs' calls may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Row id.
    pub id: CampaignId,
    /// Name, kept in records and sent as `X-CapConduit-Campaign`.
    pub name: String,
    /// Only an active campaign takes new calls.
    pub status: Status,
    /// How the eligible links are ordered.
    pub strategy: Strategy,
    /// How long an attempt rings unless its link says otherwise.
    pub dial_timeout: Duration,
    /// From arrival to answer at most; `None` = the configured default.
    pub setup_budget: Option<Duration>,
    /// Longest talk time; `None` = the configured default.
    pub max_duration: Option<Duration>,
    /// Calls ringing or talking at once over all links; `None` = no limit, 0 = none allowed.
    pub max_concurrency: Option<u32>,
    /// Whether the caller hears what a client sends before it answers; else it hears ringing that Asterisk makes.
    pub early_media: bool,
    /// What its callers are given who reach nobody.
    pub rejections: CampaignRejections,
    /// Links that are not archived, ordered by id.
    pub links: Vec<Link>,
}

impl Campaign {
    /// Its link of this id.
    #[must_use]
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.binary_search_by_key(&id, |link| link.id).ok().map(|at| &self.links[at])
    }
}

/// SIP statuses that a campaign's callers are given instead of the site's (`[rejections]`); `None` = the site's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CampaignRejections {
    /// The campaign is not active.
    pub inactive_campaign: Option<u16>,
    /// No link is active.
    pub no_active_link: Option<u16>,
    /// Every link is at a cap.
    pub all_full: Option<u16>,
    /// Every attempt failed.
    pub nobody_answered: Option<u16>,
}

/// One campaign-client pair (row of `campaign_client_settings`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Row id.
    pub id: LinkId,
    /// The call centre.
    pub client: ClientId,
    /// Only an active link is offered calls.
    pub status: Status,
    /// The client is not for the campaign's seller (any more): the link is offered no calls, and the seller reads no name of the client.
    pub withdrawn: bool,
    /// Calls ringing or talking at once; `None` = no limit, 0 = none allowed.
    pub max_concurrency: Option<u32>,
    /// Counted calls since the count was last reset (see `count_on`); `None` = no limit, 0 = none allowed.
    pub total_calls_allowed: Option<u64>,
    /// Calls counted before the count was last reset: they use up nothing of `total_calls_allowed`.
    pub counted_before: u64,
    /// Lower is tried first under the `priority` strategy.
    pub forwarding_priority: i32,
    /// Share under `weighted`, and among equal priorities; at least 1.
    pub weight: u32,
    /// How long this link's attempts ring; `None` = the campaign's dial timeout.
    pub ring_timeout: Option<Duration>,
    /// What counts against `total_calls_allowed`.
    pub count_on: CountOn,
}

/// A call centre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Row id.
    pub id: ClientId,
    /// Name, kept in records.
    pub name: String,
    /// Its PJSIP endpoint id on every node.
    pub identifier: ClientIdentifier,
    /// A paused client is offered no calls.
    pub status: Status,
    /// Calls ringing or talking at once over all campaigns; `None` = no limit, 0 = none allowed.
    pub max_concurrency: Option<u32>,
    /// Whether the INVITE to it carries `X-CapConduit-Call-Id` and `X-CapConduit-Campaign`.
    pub send_headers: bool,
    /// What it is shown of the caller.
    pub caller_id: CallerId,
}

/// A client's PJSIP endpoint id: `[A-Za-z0-9_-]{1,40}`, the only text that ever enters a dial string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientIdentifier(String);

/// A text that is not a client identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("client_identifier {0:?} is not allowed: use 1 to 40 of A-Z a-z 0-9 _ -")]
pub struct BadClientIdentifier(pub String);

impl ClientIdentifier {
    /// Stands for an endpoint whose name is not known any more; never dialled.
    pub(crate) fn unknown() -> Self {
        Self("unknown".to_owned())
    }

    /// The checked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientIdentifier {
    type Err = BadClientIdentifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=40).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadClientIdentifier(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ClientIdentifier {
    type Error = BadClientIdentifier;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ClientIdentifier> for String {
    fn from(identifier: ClientIdentifier) -> Self {
        identifier.0
    }
}

impl fmt::Display for ClientIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A closed set of words that is stored and shown as text.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is not one of {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a client is shown of the caller, in From and P-Asserted-Identity. A caller who withholds the number stays unknown to all.
    CallerId {
        /// The caller's number and name.
        Pass = "pass",
        /// Nobody: `anonymous`.
        Withhold = "withhold",
        /// The DID that was dialled.
        Did = "did",
    }
}

words! {
    /// Life of a client, DID, campaign or link.
    Status {
        /// Takes new calls.
        Active = "active",
        /// Takes no new calls; running ones go on.
        Paused = "paused",
        /// Read-only and hidden; kept because records refer to it.
        Archived = "archived",
    }
}

words! {
    /// How a campaign orders its eligible links.
    Strategy {
        /// Lowest `forwarding_priority` first; equal priorities share by weight.
        Priority = "priority",
        /// Each eligible link in turn.
        RoundRobin = "round_robin",
        /// Shares in proportion to `weight`.
        Weighted = "weighted",
    }
}

words! {
    /// What a link's total cap counts.
    CountOn {
        /// Calls that the client answered while the caller was there.
        Answered = "answered",
        /// Every attempt that was dialled.
        Attempted = "attempted",
    }
}
