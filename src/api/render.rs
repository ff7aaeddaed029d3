//! Calls as each role may see them: the one place that turns records into answers, whatever list, page or stream they are for.
//!
//! A seller sees of a client its id and its name (or the alias that an admin set), and no figures that other sellers' calls have a
//! part in. Of a client that was withdrawn from it (access `selected`, without this seller) it sees the id alone, wherever that client is
//! as it is now: links, their use, previews, readiness, and the verdict on it in a later call's decision. Records of the time before keep
//! the name that the client had: in calls and attempts, in the decisions made then, and in figures over them.

mod shapes;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, SecondsFormat, Utc};

pub(super) use self::shapes::{Attempt, Call, CallDetail, ClientName, Decision, LinkVerdict, Obstacle, TimelineEvent};
use crate::auth::roles::Role;
use crate::cdr::fallback::LAST_RESORT;
use crate::cdr::record::{AttemptRecord, CallRecord};
use crate::cdr::talk;
use crate::id::ClientId;
use crate::routing::trace::{CLIENT_UNREACHABLE, CLIENT_WITHDRAWN, LinkView, Outlook, TraceView};

/// Whose eyes it is for.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    is_seller: bool,
    aliases: HashMap<ClientId, String>,
    withdrawn: HashSet<ClientId>,
}

/// Which time a decision is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// Of a call: it names clients by what was visible then.
    Then,
    /// Of this moment.
    Now,
}

impl Viewer {
    /// A viewer of this role; `aliases` are the names that admins set for sellers to see, `withdrawn` the clients that are not for this
    /// one (any more).
    pub(super) fn new(role: Role, aliases: HashMap<ClientId, String>, withdrawn: HashSet<ClientId>) -> Self {
        Self { is_seller: role == Role::Seller, aliases, withdrawn }
    }

    /// A figure that other sellers' calls have a part in.
    pub(super) fn unless_seller(&self, figure: u32) -> Option<u32> {
        (!self.is_seller).then_some(figure)
    }

    /// A client by the name it had when a call was made to it.
    pub(super) fn client(&self, id: ClientId, name: &str, identifier: &str) -> ClientName {
        ClientName {
            id: id.0,
            name: Some(self.client_name(id, name).to_owned()),
            client_identifier: (!self.is_seller).then(|| identifier.to_owned()),
        }
    }

    /// A client as it is now.
    pub(super) fn client_now(&self, id: ClientId, name: &str, identifier: &str) -> ClientName {
        let shown = self.client(id, name, identifier);
        if self.is_withdrawn(id) { ClientName { name: None, ..shown } } else { shown }
    }

    /// Whether the viewer is a seller that this client is not for (any more).
    pub(super) fn is_withdrawn(&self, id: ClientId) -> bool {
        self.is_seller && self.withdrawn.contains(&id)
    }

    /// The name to be shown of a client that was called `name`.
    pub(super) fn client_name<'a>(&'a self, id: ClientId, name: &'a str) -> &'a str {
        self.aliases.get(&id).filter(|_| self.is_seller).map_or(name, String::as_str)
    }

    /// A call as lists and exports show it.
    pub(super) fn call(&self, record: &CallRecord) -> Call {
        let answered = record.attempts.iter().find(|a| Some(a.link_id) == record.answered_link_id);
        let client = answered.or(record.attempts.last());
        let talk = talk::bounds(record);
        Call {
            call_id: record.call_id.to_string(),
            arrived_at: record.arrived_at,
            ringing_at: record.ringing_at,
            answered_at: record.answered_at,
            answered_after: record.answered_after,
            answered_before: record.answered_before,
            ended_at: record.ended_at,
            ended_after: record.ended_after,
            ended_before: record.ended_before,
            did: record.dialled_number.clone().unwrap_or_else(|| record.dialled_raw.clone()),
            did_id: record.did_id.map(|id| id.0),
            caller: record.caller_number.clone(),
            caller_name: record.caller_name.clone(),
            caller_presentation: record.caller_presentation.to_string(),
            seller_id: record.seller_id.map(|id| id.0),
            seller_name: record.seller_name.clone(),
            campaign_id: record.campaign_id.map(|id| id.0),
            campaign_name: record.campaign_name.clone(),
            link_id: record.last_link_id.map(|id| id.0),
            client: client.map(|a| self.client(a.client_id, &a.client_name, &a.client_identifier)),
            answered: record.answered_at.is_some(),
            ring_ms: record.ring_ms,
            talk_ms: record.talk_ms,
            talk_min_ms: talk.min_ms,
            talk_max_ms: talk.max_ms,
            ending: record.ending.clone(),
            hung_up_by: record.hung_up_by.to_string(),
            dialstatus: record.dialstatus.to_string(),
            sip_code: record.sip_code,
            q850_cause: record.q850_cause,
            dials: u64::try_from(record.attempts.len()).unwrap_or(u64::MAX),
            node: record.node.clone(),
            handled_by: if record.legacy.is_some() { "old_dialplan" } else { "capconduit" }.to_owned(),
        }
    }

    /// A call with all that is known of it.
    pub(super) fn detail(&self, record: &CallRecord) -> CallDetail {
        let trace = record.trace.as_ref().and_then(|trace| trace.read::<TraceView>());
        let legacy = record.legacy.as_ref().filter(|_| !self.is_seller);
        CallDetail {
            call: self.call(record),
            sip_call_id: record.sip_call_id.clone(),
            uniqueid: record.uniqueid.clone(),
            dialled_raw: record.dialled_raw.clone(),
            attempts: record.attempts.iter().map(|attempt| self.attempt(attempt)).collect(),
            timeline: self.timeline(record),
            decision: trace.map(|trace| self.decision(&trace, Made::Then)),
            unknown_ids: legacy.map(|legacy| legacy.unknown_ids.clone()),
            unreadable_fields: legacy.map(|legacy| legacy.unreadable_fields.clone()),
        }
    }

    fn attempt(&self, attempt: &AttemptRecord) -> Attempt {
        Attempt {
            number: attempt.number,
            link_id: attempt.link_id.0,
            client: self.client(attempt.client_id, &attempt.client_name, &attempt.client_identifier),
            started_at: attempt.started_at,
            ringing_at: attempt.ringing_at,
            answered_at: attempt.answered_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome.to_string(),
            q850_cause: attempt.q850_cause,
            sip_code: attempt.sip_code,
            counted: attempt.counted,
        }
    }

    fn timeline(&self, record: &CallRecord) -> Vec<TimelineEvent> {
        let events = record.timeline.read::<Vec<serde_json::Value>>().into_iter().flatten();
        let line = |moment: serde_json::Value| TimelineEvent {
            at_ms: moment["at_ms"].as_i64().unwrap_or(0),
            event: self.event(moment["event"].as_str().unwrap_or_default(), &record.attempts),
        };
        events.map(line).collect()
    }

    /// `attempt 2 to north` names the client's endpoint: sellers read the name they know it by. Of the last resort they read no address.
    fn event(&self, text: &str, attempts: &[AttemptRecord]) -> String {
        if self.is_seller && text.starts_with(LAST_RESORT) {
            return LAST_RESORT.to_owned();
        }
        let split = text.find("attempt ").and_then(|at| text[at..].find(" to ").map(|to| (at, at + to)));
        let Some((at, to)) = split.filter(|_| self.is_seller) else { return text.to_owned() };
        let number: Option<u32> = text[at + "attempt ".len()..to].parse().ok();
        let attempt = attempts.iter().find(|attempt| Some(attempt.number) == number);
        let name = attempt.map_or("a client", |attempt| self.client_name(attempt.client_id, &attempt.client_name));
        format!("{} to {name}", &text[..to])
    }

    /// Why a call went, or would go, where.
    pub(super) fn decision(&self, trace: &TraceView, made: Made) -> Decision {
        Decision {
            revision: trace.revision,
            campaign_id: trace.campaign_id.0,
            campaign_name: trace.campaign.clone(),
            strategy: trace.strategy.to_string(),
            campaign_used: trace.campaign_used,
            campaign_limit: trace.campaign_limit,
            last_offered: trace.last_offered.map(|link| link.0),
            candidates: trace.candidates.iter().map(|link| link.0).collect(),
            links: trace.links.iter().map(|link| self.verdict(link, trace, made)).collect(),
        }
    }

    fn verdict(&self, link: &LinkView, trace: &TraceView, made: Made) -> LinkVerdict {
        let client = self.client(link.client_id, &link.client, &link.identifier);
        let withdrawn_then = self.is_seller && link.verdict == CLIENT_WITHDRAWN;
        let withdrawn = withdrawn_then || (made == Made::Now && self.is_withdrawn(link.client_id));
        LinkVerdict {
            link_id: link.link.0,
            client: if withdrawn { ClientName { name: None, ..client } } else { client },
            verdict: link.verdict.clone(),
            explanation: self.explain(&link.verdict, link, (trace.campaign_used, trace.campaign_limit)),
            position: link.position.and_then(|at| u64::try_from(at).ok()),
            used: link.used,
            limit: link.limit,
            total_used: link.total_used,
            total_limit: link.total_limit,
            client_used: self.unless_seller(link.client_used),
            client_limit: link.client_limit.and_then(|limit| self.unless_seller(limit)),
            priority: link.priority,
            weight: link.weight,
            credit_millionths: link.credit_millionths,
            unreachable_since: link.unreachable_since.filter(|_| !withdrawn),
            unreachable_until: link.unreachable_until.filter(|_| !withdrawn),
        }
    }

    /// What keeps a link from being offered a call now, `campaign` being calls and limit of its campaign. Of a client that was withdrawn
    /// a seller reads no more than that.
    pub(super) fn obstacles(&self, outlook: &Outlook, campaign: (u32, Option<u32>)) -> Vec<Obstacle> {
        let link = &outlook.link;
        let withdrawn = self.is_withdrawn(link.client_id) || (self.is_seller && link.verdict == CLIENT_WITHDRAWN);
        let of_client = ["client_paused", "client_full", CLIENT_UNREACHABLE];
        let told = outlook.obstacles.iter().filter(|code| !withdrawn || !of_client.contains(code));
        told.map(|code| Obstacle::new(code, self.explain(code, link, campaign))).collect()
    }

    fn explain(&self, verdict: &str, link: &LinkView, campaign: (u32, Option<u32>)) -> String {
        let full = |what: &str, used: u64, limit: Option<u64>| {
            format!(
                "{what}: {used} of {} in use.",
                limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string())
            )
        };
        match verdict {
            "candidate" => "It can take the call.".to_owned(),
            "link_paused" => "The link is not active.".to_owned(),
            CLIENT_WITHDRAWN if self.is_seller => "The client is not for you (any more).".to_owned(),
            CLIENT_WITHDRAWN => "The client is not for the campaign's seller (any more).".to_owned(),
            "client_paused" => "The client is not active.".to_owned(),
            "link_full" => full("The link is full", link.used.into(), link.limit.map(Into::into)),
            "total_reached" => full("The link's total is reached", link.total_used, link.total_limit)
                .replace(" in use.", " counted; calls in flight count too."),
            // How many calls the client takes from others is not for a seller to know.
            "client_full" if self.is_seller => "The client takes no more calls at the moment.".to_owned(),
            "client_full" => full("The client is full", link.client_used.into(), link.client_limit.map(Into::into)),
            "campaign_full" => full("The campaign is full", campaign.0.into(), campaign.1.map(Into::into)),
            CLIENT_UNREACHABLE => {
                let at = |time: Option<DateTime<Utc>>| {
                    time.map_or_else(|| "?".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
                };
                let (since, until) = (at(link.unreachable_since), at(link.unreachable_until));
                format!(
                    "The client cannot be reached since {since}; it is tried again from {until}, and before that where nobody else is left."
                )
            }
            other => other.to_owned(),
        }
    }
}
