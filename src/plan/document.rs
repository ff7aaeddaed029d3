//! PURE: the document as written: TOML, unknown keys refused, nothing checked yet.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Problems;
use crate::realtime::{Password, SipForm};
use crate::routing::snapshot::Strategy;

/// The wanted state of sellers, clients, DIDs, campaigns and links. What it does not name is kept, or removed where that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// `[[sellers]]`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sellers: Vec<SellerForm>,
    /// `[[clients]]`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientForm>,
    /// `[[dids]]`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dids: Vec<DidForm>,
    /// `[[campaigns]]`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub campaigns: Vec<CampaignForm>,
}

/// One of `[[sellers]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SellerForm {
    /// Unique: 1 to 64 of `a-z 0-9 . _ -`.
    pub username: String,
    /// For people, and kept in records: 1 to 100 characters.
    pub name: String,
    /// `active` (default) or `disabled`: may not sign in; its calls go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its id on the old platform, by which reports of its dialplan name it: 1 to 64 visible ASCII characters, unique among its kind;
    /// absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_id: Option<String>,
}

/// One of `[[clients]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientForm {
    /// PJSIP endpoint id, unique ignoring case: 1 to 40 of `A-Z a-z 0-9 _ -`.
    pub identifier: String,
    /// For people, and kept in records: 1 to 100 characters.
    pub name: String,
    /// `active` (default) or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Calls ringing or talking at once over all campaigns; absent = no limit, 0 = none allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<i64>,
    /// Whether the INVITE carries `X-CapConduit-Call-Id` and `X-CapConduit-Campaign`; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_headers: Option<bool>,
    /// Which sellers may see and link it: `all`, or `selected`, those of `sellers`; absent = as it is (of a new client, `all`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// Usernames of the sellers that are named for it; absent = as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sellers: Option<Vec<String>>,
    /// What sellers see instead of the name: 1 to 100 characters; `""` = the name, absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_name: Option<String>,
    /// Whom to call there, for people: up to 500 characters; `""` = nobody, absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Where it is, as an IANA name such as `Europe/London`; `""` = unknown, absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// `[clients.sip]`
    pub sip: SipForm,
}

/// One of `[[dids]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DidForm {
    /// E.164 (`+` and digits, country code first), in any spelling that has one meaning; or, with `raw`, as carriers send what is no such
    /// number (short codes, letters): 1 to 64 visible ASCII characters.
    pub number: String,
    /// Whether it is no E.164 number. Absent where it is none: it is taken so, with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// Username of the owner.
    pub seller: String,
    /// `active` (default) or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its id on the old platform, by which reports of its dialplan name it: 1 to 64 visible ASCII characters, unique among its kind;
    /// absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_id: Option<String>,
}

/// One of `[[campaigns]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignForm {
    /// Unique per seller; kept in records and sent in a header: 1 to 100 characters.
    pub name: String,
    /// Username of the owner.
    pub seller: String,
    /// `priority` (the default), `round_robin` or `weighted`.
    #[serde(default = "priority")]
    pub routing_strategy: String,
    /// How long an attempt rings, 1 to 600 seconds; default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_timeout_seconds: Option<i64>,
    /// From arrival to answer at most, 1 to 3600 seconds; absent = the configured default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_budget_seconds: Option<i64>,
    /// Talk time at most, 1 to 86400 seconds; absent = the configured default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_seconds: Option<i64>,
    /// Calls ringing or talking at once over all links; absent = no limit, 0 = none allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<i64>,
    /// `active` (default) or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its id on the old platform, by which reports of its dialplan name it: 1 to 64 visible ASCII characters, unique among its kind;
    /// absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_id: Option<String>,
    /// Numbers that feed it, of the same seller; a DID feeds at most one active campaign.
    #[serde(default)]
    pub dids: Vec<String>,
    /// Whether the caller hears what a client sends before it answers (default), else ringing that Asterisk makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_media: Option<bool>,
    /// `[campaigns.rejections]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejections: Option<RejectionsForm>,
    /// `[[campaigns.links]]`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkForm>,
}

/// `[campaigns.rejections]`: SIP statuses that its callers are given who reach nobody; absent = those of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectionsForm {
    /// The campaign is not active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_campaign: Option<i64>,
    /// No link is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_active_link: Option<i64>,
    /// Every link is at a cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_full: Option<i64>,
    /// Every attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nobody_answered: Option<i64>,
}

/// One of `[[campaigns.links]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkForm {
    /// Identifier of the client; once per campaign.
    pub client: String,
    /// Calls ringing or talking at once; absent = no limit, 0 = none allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<i64>,
    /// Counted calls ever; absent = no limit, 0 = none allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_calls_allowed: Option<i64>,
    /// Lower is tried first; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding_priority: Option<i64>,
    /// Share, 1 to 10000; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// How long its attempts ring, 1 to 600 seconds; absent = the campaign's dial timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_timeout_seconds: Option<i64>,
    /// What counts against the total: `answered` (default) or `attempted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_on: Option<String>,
    /// `active` (default) or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its id on the old platform, by which reports of its dialplan name it: 1 to 64 visible ASCII characters, unique among its kind;
    /// absent = as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_id: Option<String>,
}

/// A text that is not such a document: not TOML, an unknown key, a missing one, or a value of another type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DocumentError(String);

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Document {
    /// Reads TOML.
    ///
    /// # Errors
    /// When the text is not TOML, has an unknown or lacks a needed key, or a value has another type: with line, key, and what is expected.
    /// Neither the line nor a value is repeated: it may be a password, under whatever key.
    pub fn parse(toml: &str) -> Result<Self, DocumentError> {
        toml::from_str(toml).map_err(|error| DocumentError(describe(toml, &error)))
    }

    /// Takes the passwords that it names by file, with `read` (path → text, `None` where there is no such file, or why it cannot be read).
    /// A file that is not there goes on being named: the stored password will do where there is one.
    ///
    /// # Errors
    /// Every file that cannot be used; what is in it is not repeated.
    pub fn take_passwords(&mut self, read: impl Fn(&str) -> Result<Option<String>, String>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for client in &mut self.clients {
            let registration =
                client.sip.registration.as_mut().map(|form| (&mut form.password, &mut form.password_file));
            let outbound = client.sip.outbound_auth.as_mut().map(|form| (&mut form.password, &mut form.password_file));
            for (within, form) in [("registration", registration), ("outbound_auth", outbound)] {
                let Some((password, file)) = form else { continue };
                let Some(path) = file.clone() else { continue };
                let taken = match password {
                    Some(_) => Err("give either password or password_file".to_owned()),
                    None => read(&path).map_err(|error| format!("{path:?} cannot be read: {error}")),
                };
                match taken {
                    // Editors and `echo` end a file with a line break.
                    Ok(Some(text)) => {
                        *password = Some(Password::new(text.trim_end_matches(['\r', '\n']).to_owned()));
                        *file = None;
                    }
                    Ok(None) => {}
                    Err(problem) => {
                        problems
                            .push(format!("clients[{:?}].sip.{within}.password_file: {problem}", client.identifier));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Writes TOML that [`Document::parse`] reads back to the same (but for passwords, which are never written: only files to hold them).
    ///
    /// # Errors
    /// When a value has no TOML form; no document that passes [`Document::check`] has one.
    pub fn to_toml(&self) -> Result<String, DocumentError> {
        toml::to_string(self).map_err(|error| DocumentError(error.to_string()))
    }
}

/// Line and reason. Neither the line, which the parser would quote, nor a value: a password may stand under a misspelt key.
fn describe(toml: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start.min(toml.len()));
    let line = toml.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
    format!("line {line}: {}", without_value(error.message()))
}

/// serde repeats a value of the wrong type or range (``invalid type: string "…", expected i64``): only its kind and what is expected
/// are kept. What is expected comes last and is ours, so a value that looks like it is cut off with the rest.
fn without_value(message: &str) -> String {
    let repeats = ["invalid type: ", "invalid value: "].into_iter().find_map(|start| message.strip_prefix(start));
    let (Some(value), Some((_, expected))) = (repeats, message.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let kind = value.split(['"', '`', ',']).next().unwrap_or_default().trim_end();
    format!("a value of another type ({kind}, not shown) than expected: {expected}")
}

fn priority() -> String {
    Strategy::Priority.to_string()
}
