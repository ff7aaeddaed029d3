//! PURE: what is known of a call when it arrives, and the limits it runs under.

use std::sync::Arc;
use std::time::Duration;

use super::merged::Invite;
use crate::config::{Calls, Rejections};
use crate::id::CallId;
use crate::routing::number::{Caller, Dialled};

/// What the inbound channel told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// The call's identity.
    pub call_id: CallId,
    /// Name of the Asterisk node.
    pub node: Arc<str>,
    /// The inbound channel's id, which for PJSIP is its unique id and its linked id too.
    pub channel_id: String,
    /// SIP Call-ID of the carrier's INVITE.
    pub sip_call_id: Option<String>,
    /// By what the carrier's INVITE is known when it comes by another path, too; `None` where the dialplan does not tell.
    pub invite: Option<Invite>,
    /// The DID as dialled and in E.164.
    pub dialled: Dialled,
    /// The caller, or that it is withheld.
    pub caller: Caller,
    /// The caller's display name; `None` when withheld or absent.
    pub caller_name: Option<String>,
    /// Whether its Asterisk can be asked to tell the caller of early media ([`crate::ari::Info::has_progress`]).
    pub can_progress: bool,
}

/// The configured limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// No provisional answer within this ends an attempt.
    pub progress_timeout: Duration,
    /// From arrival to answer at most, where the campaign says nothing.
    pub setup_budget: Duration,
    /// Talk time at most, where the campaign says nothing.
    pub max_duration: Duration,
    /// Dials at most.
    pub max_attempts: u32,
    /// What the carrier hears when nobody can take the call.
    pub rejections: Rejections,
}

impl Limits {
    /// The limits that the configuration sets.
    #[must_use]
    pub fn new(calls: &Calls, rejections: Rejections) -> Self {
        Self {
            progress_timeout: calls.progress_timeout,
            setup_budget: calls.setup_budget,
            max_duration: calls.max_duration,
            max_attempts: calls.max_attempts,
            rejections,
        }
    }
}
