//! Calls that the old dialplan handled while a site moves over: its AGI script reports them here.

use std::borrow::Cow;

use poem::web::Data;
use poem::{Request, RequestBody, Result};
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, MetaSecurityScheme, Registry};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, Enum, ExtractParamOptions, Object, OpenApi};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::error::{ApiError, FieldError};
use super::security::client_address;
use super::{State, Tag};
use crate::auth::secrets;
use crate::cdr::legacy::{self, Report, Reported};
use crate::config::Node;
use crate::routing::number::Normaliser;
use crate::store::StoreError;
use crate::store::records::legacy::{self as store, Logged};
use crate::telemetry::name;

/// Endpoints for our own machines.
#[derive(Debug)]
pub(super) struct Internal;

const SCHEME: &str = "InternalToken";
const HEADER: &str = "X-Internal-API-Token";
/// Bytes of a report at most; an honest one has a few hundred.
const BYTES_AT_MOST: usize = 16 * 1024;
/// Reports in hand at once, over all callers.
const AT_ONCE: usize = 32;
static IN_HAND: Semaphore = Semaphore::const_new(AT_ONCE);

/// A text or a number: the old script sends either.
#[derive(Debug)]
struct Loose(Value);

impl Type for Loose {
    const IS_REQUIRED: bool = true;

    type RawValueType = Value;
    type RawElementValueType = Value;

    fn name() -> Cow<'static, str> {
        "text_or_number".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let any_of = vec![String::schema_ref(), f64::schema_ref()];
        MetaSchemaRef::Inline(Box::new(MetaSchema { any_of, ..MetaSchema::ANY }))
    }

    fn as_raw_value(&self) -> Option<&Value> {
        Some(&self.0)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
        Box::new(std::iter::once(&self.0))
    }
}

impl ParseFromJSON for Loose {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default()))
    }
}

impl ToJSON for Loose {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

/// A call that the old dialplan handled. What is empty counts as absent, and unknown fields are ignored.
#[derive(Debug, Object)]
struct LogCall {
    /// Which Asterisk handled it; needed where several are configured, else the configured one.
    node: Option<Loose>,
    /// Asterisk's unique id of the inbound channel (`agi_uniqueid`), as a text.
    uniqueid: String,
    /// Its linked id (`CHANNEL(linkedid)`), as a text.
    linkedid: Option<String>,
    /// SIP Call-ID of the carrier's INVITE, by which the carrier finds the call as well.
    sip_call_id: Option<String>,
    /// What the carrier dialled (`agi_dnid`).
    dnid: Option<Loose>,
    /// The caller's number; also `callerid_num`, `callerid` or `agi_callerid`.
    caller_number: Option<Loose>,
    /// The caller's name; also `callerid_name`, `calleridname` or `agi_calleridname`.
    caller_name: Option<Loose>,
    /// `CALLERID(num-pres)`: with `prohib…` neither number nor name is kept. Absent: the caller may be shown.
    caller_presentation: Option<Loose>,
    /// `CDR(start)`: `YYYY-MM-DD hh:mm:ss` (in `internal.legacy_time_zone`), RFC 3339, or seconds since 1970.
    start: Option<Loose>,
    /// `CDR(answer)`, likewise.
    answer: Option<Loose>,
    /// `CDR(end)`, likewise; absent: now.
    end: Option<Loose>,
    /// `DIALSTATUS` of the last dial; absent where nobody was dialled.
    dialstatus: Option<Loose>,
    /// `HANGUPCAUSE`: Q.850, 0 to 127.
    hangupcause: Option<Loose>,
    /// `caller` or `client`, where the script knows who hung up.
    hung_up_by: Option<Loose>,
    /// The last attempted link, by its id on the old platform (`legacy_id` here).
    effective_ccs_id: Option<Loose>,
    /// The campaign, by its id on the old platform.
    campaign_id: Option<Loose>,
    /// The DID, by its id on the old platform; absent: it is found by `dnid`.
    did_id: Option<Loose>,
    /// The seller, by its id on the old platform.
    user_id: Option<Loose>,
}

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
}

impl LoggedCall {
    fn handled_here(call: crate::id::CallId) -> Self {
        let (handled_by, counted) = (HandledBy::Capconduit, None);
        Self { call_id: call.to_string(), handled_by, counted, unknown_ids: Vec::new() }
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
    /// Ids are those of the old platform and are found by `legacy_id`; those that are unknown are noted in the record, and an unknown link
    /// counts nowhere. A call counts against its link's total by `dialstatus` and the link's `count_on`, `answered` at first: the old
    /// platform's endpoint counted every call that was logged, so set `count_on` to `attempted` where a total shall go on as it did
    /// (dials that could not be made, `CHANUNAVAIL`, count in neither).
    /// Totals hold over both worlds within a second. Concurrency does not: calls that are up on the old dialplan are not visible here
    /// before they end, so give a link that both use no more than its share of `max_concurrency`.
    /// A time without zone is read by `internal.legacy_time_zone`; one that the clock showed twice as the later that is not in the future,
    /// one that it skipped by the offset before.
    /// 404 unless `internal.log_call_token` is configured; 403 `address` from outside `internal.log_call_from`.
    ///
    /// Example: `{"uniqueid": "1795349909.10", "dnid": "+442079460001", "caller_number": "+447700900123", "start": "2026-11-22 14:00:00",
    /// "answer": "2026-11-22 14:00:07", "end": "2026-11-22 14:01:07", "dialstatus": "ANSWER", "hangupcause": "16", "effective_ccs_id": 77}`
    /// is answered `{"call_id": "019aaaf1-…", "handled_by": "old_dialplan", "counted": true, "unknown_ids": []}`.
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
        let faults = |faults: Vec<legacy::Fault>| {
            let error = |fault: legacy::Fault| FieldError::new(fault.field, fault.code, fault.detail);
            ApiError::invalid(faults.into_iter().map(error).collect())
        };
        let report = legacy::read(&fields, received, state.config.internal.legacy_time_zone).map_err(faults)?;
        let answer = log(state, reported(report, &state.config.nodes)?).await?;
        let outcome = if matches!(answer, LogAnswer::Recorded(_)) { "recorded" } else { "known" };
        metrics::counter!(name::REPORTS, "outcome" => outcome).increment(1);
        Ok(answer)
    }
}

/// Reads the numbers as the node's configuration says. An Asterisk that is none of ours has no region and no rules.
fn reported(report: Report, nodes: &[Node]) -> Result<Reported, ApiError> {
    let node = match (&report.node, nodes) {
        (Some(node), _) => node.clone(),
        (None, [only]) => only.name.clone(),
        (None, _) => {
            let detail = "is missing: several nodes are configured, say which Asterisk handled the call";
            return Err(ApiError::invalid(vec![FieldError::new("node", "required", detail)]));
        }
    };
    let known = nodes.iter().find(|known| known.name == node);
    let numbers =
        known.map_or_else(Normaliser::default, |it| Normaliser::new(it.default_region.as_deref(), &it.prefix_rules));
    let dialled = numbers.dialled(&report.dnid);
    let caller = numbers.caller(&report.caller_number, &report.caller_presentation);
    Ok(Reported { report, node, dialled, caller })
}

async fn log(state: &State, call: Reported) -> Result<LogAnswer, ApiError> {
    let index = state.config.nodes.iter().position(|known| known.name == call.node);
    // Asked before the database is: a record that is written in between is found there.
    if let Some(here) = state.registry.unrecorded(index, &call.node, &call.report.uniqueid) {
        return Ok(LogAnswer::Known(Json(LoggedCall::handled_here(here))));
    }
    let state = state.clone();
    // A task of its own: a script that goes away in the midst must not keep the ledger from hearing of what was counted.
    let logging = tokio::spawn(async move {
        let logged = store::log(&state.db, &call).await?;
        if let Some(link) = logged.counted_now() {
            state.registry.book().ledger.count(link);
        }
        Ok::<_, StoreError>(logged)
    });
    let logged = logging.await.map_err(|panicked| ApiError::internal(&panicked))??;
    let new = logged.new;
    let body = Json(LoggedCall::new(logged));
    Ok(if new { LogAnswer::Recorded(body) } else { LogAnswer::Known(body) })
}

/// Whoever knows the configured token and comes from an allowed address.
struct InternalToken;

impl<'a> ApiExtractor<'a> for InternalToken {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "apiKey",
            description: Some("The token of `internal.log_call_token` in the configuration."),
            name: Some(HEADER),
            key_in: Some("header"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(SCHEME, scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let state: &State = request.data().ok_or(ApiError::not_found())?;
        let internal = &state.config.internal;
        let Some(token) = &internal.log_call_token else { return Err(ApiError::not_found().into()) };
        let address = client_address(request, &state.config.api.trusted_proxies);
        let allowed = |address| internal.log_call_from.iter().any(|network| network.contains(address));
        if !address.is_some_and(allowed) {
            metrics::counter!(name::REPORTS, "outcome" => "address").increment(1);
            tracing::warn!(
                address = address.map(|it| it.to_string()),
                "a call was reported from an address that may not"
            );
            return Err(ApiError::forbidden(
                "address",
                "Calls may not be logged from this address: see internal.log_call_from.",
            )
            .into());
        }
        let given = request.headers().get(HEADER);
        if given.is_some_and(|given| secrets::is(given.as_bytes(), token)) {
            return Ok(Self);
        }
        metrics::counter!(name::REPORTS, "outcome" => "token").increment(1);
        tracing::warn!(address = address.map(|it| it.to_string()), "a call was reported with a wrong token, or none");
        Err(ApiError::unauthorized("credential", "Send the configured token as X-Internal-API-Token.").into())
    }
}

/// A report as it was posted: an object, whatever its media type is said to be (an AGI script's `curl` often says another).
struct Posted(Map<String, Value>);

impl<'a> ApiExtractor<'a> for Posted {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        LogCall::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: LogCall::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(_: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let bytes = body.take()?.into_bytes_limit(BYTES_AT_MOST).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::invalid(vec![FieldError::new("", "type", "must be of type object")]).into()),
            Err(error) => Err(ApiError::malformed(format!("The body is no JSON: {error}.")).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_the_fields_that_are_read() {
        let mut registry = Registry::new();
        LogCall::register(&mut registry);
        let schema = &registry.schemas["LogCall"];
        let described: Vec<_> = schema.properties.iter().map(|(field, _)| *field).collect();
        let read: Vec<_> = legacy::FIELDS.iter().map(|(field, _)| *field).collect();
        let sorted = |mut fields: Vec<&'static str>| {
            fields.sort_unstable();
            fields
        };
        assert_eq!(sorted(described), sorted(read));
    }
}
