//! PURE: the changes of a plan, and how they read.

use std::fmt;

use super::state::{Campaign, CampaignKey, Client, Did, Link, Seller};

/// Changes in an order in which they can be made: what others refer to comes first, removals last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes.
    pub changes: Vec<Change>,
    /// What is there and not in the document, and stays.
    pub kept: Vec<String>,
    /// Files that the document names for passwords and that are not there; the stored passwords stay.
    pub missing_files: Vec<String>,
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
#[allow(clippy::large_enum_variant, reason = "a plan's are made once and written once")]
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

    /// What the document leaves open, in lines for people; empty when nothing is.
    #[must_use]
    pub fn remarks(&self) -> String {
        let mut lines = Vec::new();
        if !self.missing_files.is_empty() {
            lines.push(format!("Not there, so the stored passwords stay ({}):", self.missing_files.len()));
            lines.extend(self.missing_files.iter().map(|file| format!("  password_file {file:?}")));
        }
        if !self.kept.is_empty() {
            lines.push(format!("Not in the plan, and kept ({}); --prune removes what is kept:", self.kept.len()));
            lines.extend(self.kept.iter().map(|subject| format!("  {subject}")));
        }
        lines.join("\n")
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
