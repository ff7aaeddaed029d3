//! Calls that the old dialplan handled while a site moves over: its AGI script reports them here.

mod report;
mod token;

use chrono::{DateTime, Utc};
use poem::Result;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use tokio::sync::Semaphore;

use self::report::Posted;
use self::token::InternalToken;
use super::error::{ApiError, FieldError};
use super::{State, Tag};
use crate::cdr::legacy::{self, Report, Reported};
use crate::config::Node;
use crate::routing::number::Normaliser;
use crate::store::records::legacy::{self as store, LogError, Logged};
use crate::telemetry::name;

/// Endpoints for our own machines.
#[derive(Debug)]
pub(super) struct Internal;

/// Reports in hand at once, over all callers.
const AT_ONCE: usize = 32;
static IN_HAND: Semaphore = Semaphore::const_new(AT_ONCE);

/// Who handled a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum HandledBy {
    /// The old dialplan: the record is the report's.
    OldDialplan,
    /// CapConduit: the record is its own, and the report is left out.
    Capconduit,
}

/// What became of a report.
#[derive(Debug, Object)]
struct LoggedCall {
    /// The call, as in `GET /api/v1/calls/{id}`.
    call_id: String,
    /// Who handled it.
    handled_by: HandledBy,
    /// Whether it counts against a link's total; null where CapConduit handled it.
    counted: Option<bool>,
    /// Ids that name no object here, or one that does not belong to the others: `field=id`.
    unknown_ids: Vec<String>,
    /// Fields of the report that could not be read: the call is logged without them.
    unreadable_fields: Vec<String>,
}

impl LoggedCall {
    fn handled_here(call: crate::id::CallId) -> Self {
        let (handled_by, counted) = (HandledBy::Capconduit, None);
        Self { call_id: call.to_string(), handled_by, counted, unknown_ids: Vec::new(), unreadable_fields: Vec::new() }
    }

    fn new(logged: Logged) -> Self {
        let record = logged.record;
        match record.legacy {
            None => Self::handled_here(record.call_id),
            Some(legacy) => Self {
                call_id: record.call_id.to_string(),
                handled_by: HandledBy::OldDialplan,
                counted: Some(record.attempts.iter().any(|attempt| attempt.counted)),
                unknown_ids: legacy.unknown_ids,
                unreadable_fields: legacy.unreadable_fields,
            },
        }
    }
}

#[derive(Debug, ApiResponse)]
enum LogAnswer {
    /// The call has its record already: that of an earlier report, or one of CapConduit's own.
    #[oai(status = 200)]
    Known(Json<LoggedCall>),
    /// The call is recorded.
    #[oai(status = 201)]
    Recorded(Json<LoggedCall>),
}

#[OpenApi(prefix_path = "/api/internal", tag = "Tag::Internal")]
impl Internal {
    /// Log a call of the old dialplan
    ///
    /// For sites that move their DIDs over one by one: the AGI script of the old dialplan (`asterisk/legacy/log_call.agi`) posts each call
    /// when it is over. One record is written for each `(node, uniqueid)`; a repeat is answered 200 with the same body. A call that
    /// CapConduit handled has its own record and is not logged again.
    /// A field that cannot be read (a time of zeros, a cause that is none, a name that is no UTF-8, a field that is there twice) never costs the call: it is logged without
    /// that field, which `unreadable_fields` names. Only a report that says nothing at all is refused.
    /// Ids are those of the old platform and are found by `legacy_id`; those that are unknown are noted in the record, and an unknown link
    /// counts nowhere. A call counts against its link's total by `dialstatus` and the link's `count_on`, `answered` at first: the old
    /// platform's endpoint counted every call that was logged, so set `count_on` to `attempted` where a total shall go on as it did
    /// (dials that could not be made, `CHANUNAVAIL`, count in neither).
    /// Totals hold over both worlds within a second. Concurrency does not: calls that are up on the old dialplan are not visible here
    /// before they end, so give a link that both use no more than its share of `max_concurrency`.
    /// A time without zone is read by `internal.legacy_time_zone`; one that the clock showed twice as the later that is not in the future,
    /// one that it skipped by the offset before. A call that would end after its report was received is moved back as a whole, by up to
    /// a day. Whether it counts before or after a reset of its link's count is decided by when the report was received.
    /// 404 unless `internal.log_call_token` is configured; 403 `address` from outside `internal.log_call_from`.
    ///
    /// Example: `{"uniqueid": "1795349909.10", "dnid": "+442079460001", "caller_number": "+447700900123", "start": "2026-11-22 14:00:00",
    /// "answer": "2026-11-22 14:00:07", "end": "2026-11-22 14:01:07", "dialstatus": "ANSWER", "hangupcause": "16", "effective_ccs_id": 77}`
    /// is answered `{"call_id": "019aaaf1-…", "handled_by": "old_dialplan", "counted": true, "unknown_ids": [],
    /// "unreadable_fields": []}`.
    #[oai(path = "/log_call", method = "post", operation_id = "logCall")]
    async fn log_call(
        &self,
        _token: InternalToken,
        Data(state): Data<&State>,
        Posted(fields): Posted,
    ) -> Result<LogAnswer, ApiError> {
        let Ok(_hand) = IN_HAND.try_acquire() else {
            let detail = "Too many reports at once: try again.";
            return Err(ApiError::too_many("busy", detail, std::time::Duration::from_secs(1)));
        };
        let received = state.clock.now().wall;
        let refused =
            |fault: legacy::Fault| ApiError::invalid(vec![FieldError::new(fault.field, fault.code, fault.detail)]);
        let report = legacy::read(&fields, received, state.config.now().internal.legacy_time_zone).map_err(refused)?;
        let answer = log(state, reported(report, &state.config.now().nodes), received).await?;
        let outcome = if matches!(answer, LogAnswer::Recorded(_)) { "recorded" } else { "known" };
        metrics::counter!(name::REPORTS, "outcome" => outcome).increment(1);
        Ok(answer)
    }
}

/// Reads the numbers as the node's configuration says. An Asterisk that is none of ours has no region and no rules.
fn reported(mut report: Report, nodes: &[Node]) -> Reported {
    let node = match (&report.node, nodes) {
        (Some(node), _) => node.clone(),
        (None, [only]) => only.name.clone(),
        (None, _) => {
            report.unreadable.push("node".to_owned());
            legacy::UNKNOWN_NODE.to_owned()
        }
    };
    let known = nodes.iter().find(|known| known.name == node);
    let numbers = known.map_or_else(Normaliser::default, Node::normaliser);
    let dialled = numbers.dialled(&report.dnid);
    let caller = numbers.caller(&report.caller_number, &report.caller_presentation);
    Reported { report, node, dialled, caller }
}

async fn log(state: &State, call: Reported, received: DateTime<Utc>) -> Result<LogAnswer, ApiError> {
    let index = state.config.now().nodes.iter().position(|known| known.name == call.node);
    // Asked in this order: the call that ends in between is found in the journal, the record that is written in between in the database.
    let live = index.and_then(|index| state.registry.to_be_recorded(index, &call.report.uniqueid));
    let here = match live {
        Some(live) => Some(live),
        None => state.journal.find(&call.node, &call.report.uniqueid).await,
    };
    if let Some(here) = here {
        return Ok(LogAnswer::Known(Json(LoggedCall::handled_here(here))));
    }
    let state = state.clone();
    // A task of its own: a script that goes away in the midst must not keep the ledger from hearing of what was counted.
    let logging = tokio::spawn(async move {
        let logged = store::log(&state.db, &call, received).await;
        let (written, sure) = match &logged {
            Ok(logged) => (Some(logged), true),
            Err(LogError::Unknown(logged, _)) => (Some(logged.as_ref()), false),
            Err(LogError::Refused(_)) => (None, false),
        };
        if let Some(written) = written {
            state.registry.reported(&call.node, &call.report.uniqueid, written.counted_now(), sure);
        }
        logged
    });
    let logged = logging.await.map_err(|panicked| ApiError::internal(&panicked))?;
    let logged = logged.map_err(|error| ApiError::internal(&error))?;
    let (new, record) = (logged.new, &logged.record);
    if new {
        tracing::info!(call = %record.call_id, node = record.node, ending = record.ending, "the old dialplan reported a call");
    }
    let body = Json(LoggedCall::new(logged));
    Ok(if new { LogAnswer::Recorded(body) } else { LogAnswer::Known(body) })
}
