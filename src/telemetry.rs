//! Logs and metrics: their set-up, and the names that every part uses.
//!
//! # Log fields
//! A value is always a field, never part of the message, and always under the same name:
//!
//! | field | what |
//! | --- | --- |
//! | `call` | [`crate::id::CallId`] |
//! | `node`, `app` | configured name of the Asterisk node; index of its Stasis application, from 0 |
//! | `channel`, `bridge` | Asterisk's ids |
//! | `attempt` | number of the attempt within the call, from 1 |
//! | `link`, `campaign`, `did`, `seller` | row ids |
//! | `client` | client identifier |
//! | `from`, `event`, `to` | a transition, logged once: `call=… A -> event -> B` |
//! | `ending`, `outcome`, `cap` | words as stored with the record |
//! | `cause`, `sip_code` | Q.850 cause; SIP status |
//! | `status` | HTTP status of an ARI answer |
//! | `elapsed_ms`, `count`, `revision` | durations; quantities; routing revision |
//! | `error` | an error's text, logged once, where it is handled |
//! | `place` | of a panic: where in the source |
//!
//! Never logged: passwords, tokens, the database URL, a withheld caller's number.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, reload};

use crate::calls::ending::Ending;
use crate::cdr::record::AttemptOutcome;
use crate::config::{Log, LogFormat};

/// What is quieter than the configured filter unless that names it: every SQL statement would be a line.
const QUIET: &str = "sqlx=warn,sea_orm=warn,sea_orm_migration=warn,hyper=warn,hyper_util=warn,rustls=warn,poem=warn";

/// What is never told, whatever the filter names: the handshake's request, with its credentials.
const NEVER: &str = "tungstenite::handshake=info,tungstenite::handshake::client=info";

/// Why connections of the API end: the labels of [`name::API_CONNECTIONS_ENDED`].
pub const API_CONNECTION_ENDS: [&str; 8] =
    ["closed", "full", "address", "gave_way", "header", "body", "idle", "stalled"];

/// Upper bounds of the buckets of every `…_seconds` histogram: from one ARI request to one ringing attempt.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0];

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read; the configuration checks it before.
    #[error("log.filter = {filter:?} is not allowed: {reason}")]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// This process already logs elsewhere.
    #[error("logs are already set up in this process")]
    LogsTaken,
    /// This process already measures elsewhere.
    #[error("metrics cannot be set up: {0}")]
    Metrics(String),
}

/// Sends log lines to standard error as configured: for people on a terminal, else one JSON object a line. A panic is a line, too.
///
/// # Errors
/// When the process already has a subscriber, or the filter cannot be read.
pub fn init_logs(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(&log.filter)?;
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let (set, change): (_, SetFilter) = if json {
        let lines = lines.json().flatten_event(true).with_current_span(false);
        let lines = lines.with_env_filter(filter).with_filter_reloading();
        let handle = lines.reload_handle();
        (lines.try_init(), Box::new(move |filter| handle.reload(filter)))
    } else {
        let lines = lines.compact().with_ansi(terminal && std::env::var_os("NO_COLOR").is_none());
        let lines = lines.with_env_filter(filter).with_filter_reloading();
        let handle = lines.reload_handle();
        (lines.try_init(), Box::new(move |filter| handle.reload(filter)))
    };
    set.map_err(|_| TelemetryError::LogsTaken)?;
    // Only whoever has set the subscriber comes here.
    drop(SET_FILTER.set(change));
    crate::panics::install();
    Ok(())
}

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// What is logged from now on, where [`init_logs`] has set logs up.
///
/// # Errors
/// When the filter cannot be read, or nobody logs any more.
pub fn set_filter(configured: &str) -> Result<(), TelemetryError> {
    let wanted = filter(configured)?;
    let failed =
        |error: reload::Error| TelemetryError::Filter { filter: configured.to_owned(), reason: error.to_string() };
    SET_FILTER.get().map_or(Ok(()), |set| set(wanted).map_err(failed))
}

fn filter(configured: &str) -> Result<EnvFilter, TelemetryError> {
    // Of two directives for one target the later wins.
    EnvFilter::try_new(format!("{QUIET},{configured},{NEVER}"))
        .map_err(|error| TelemetryError::Filter { filter: configured.to_owned(), reason: error.to_string() })
}

/// The process's metrics, in Prometheus' text format.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts to measure; a second call gives the same metrics.
    ///
    /// # Errors
    /// When something else in this process already records metrics.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = installed.as_ref() {
            return Ok(Self(handle.clone()));
        }
        let failed = |error: &dyn std::fmt::Display| TelemetryError::Metrics(error.to_string());
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .map_err(|error| failed(&error))?;
        let handle = builder.install_recorder().map_err(|error| failed(&error))?;
        describe();
        begin_at_zero();
        *installed = Some(handle.clone());
        Ok(Self(handle))
    }

    /// Everything measured so far, for `GET /metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds waiting samples; call every few seconds, or memory grows where nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Names of all metrics. Labels are in braces; the values of each come from a closed set or from the configuration.
pub mod name {
    /// Counter `{ending}`: calls that ended.
    pub const CALLS: &str = "capconduit_calls_total";
    /// Gauge `{node}`: live calls.
    pub const CALLS_LIVE: &str = "capconduit_calls_live";
    /// Counter `{outcome}`: attempts that ended.
    pub const ATTEMPTS: &str = "capconduit_attempts_total";
    /// Gauge: permits held.
    pub const PERMITS_HELD: &str = "capconduit_permits_held";
    /// Gauge `{node}`: part of its new calls that its dialplan refuses because requests wait for Asterisk, in percent.
    pub const SHED_PERCENT: &str = "capconduit_shed_percent";
    /// Gauge `{node}`: channels that did not agree with their permits at the last comparison; 0 in a correct run.
    pub const DRIFT: &str = "capconduit_drift";
    /// Counter `{node}`: such channels found, and repaired.
    pub const DRIFT_REPAIRED: &str = "capconduit_drift_repaired_total";
    /// Gauge: clients suspended because their host leads where no client may be.
    pub const CLIENTS_SUSPENDED: &str = "capconduit_clients_suspended";
    /// Gauge `{cap, id}`: slots in use of a cap that has a limit; `cap` is `link`, `link_total`, `client` or `campaign`, `id` its row.
    pub const CAP_USED: &str = "capconduit_cap_used";
    /// Gauge `{cap, id}`: slots of that cap.
    pub const CAP_LIMIT: &str = "capconduit_cap_limit";
    /// Gauge `{node, client}`: 1 for each client whose breaker on the node is open.
    pub const CLIENT_BREAKER_OPEN: &str = "capconduit_client_breaker_open";
    /// Counter `{node, client}`: times that a client's breaker on a node has opened.
    pub const CLIENT_BREAKER_OPENINGS: &str = "capconduit_client_breaker_openings_total";
    /// Gauge `{node}`: 1 while the node's breaker is open, else 0.
    pub const NODE_BREAKER_OPEN: &str = "capconduit_node_breaker_open";
    /// Counter `{node}`: times that a node's breaker has opened.
    pub const NODE_BREAKER_OPENINGS: &str = "capconduit_node_breaker_openings_total";
    /// Gauge `{node}`: 1 while another controller has the node's applications, else 0.
    pub const NODE_TAKEN: &str = "capconduit_node_taken";
    /// Gauge: the longest that anything due had to wait for the calls' thread, within the last 15 to 30 s; 1 to 2 ms where nothing holds it.
    pub const CALLS_THREAD_WAIT: &str = "capconduit_calls_thread_wait_seconds";
    /// Histogram: from a call's arrival to its first dial request.
    pub const ROUTE_SECONDS: &str = "capconduit_route_seconds";
    /// Histogram: from a call's arrival to its answer.
    pub const SETUP_SECONDS: &str = "capconduit_setup_seconds";
    /// Counter `{node, request, outcome}`: ARI requests.
    pub const ARI_REQUESTS: &str = "capconduit_ari_requests_total";
    /// Histogram `{node, request}`: from an ARI request to its answer.
    pub const ARI_REQUEST_SECONDS: &str = "capconduit_ari_request_seconds";
    /// Counter `{node, type}`: ARI events read.
    pub const ARI_EVENTS: &str = "capconduit_ari_events_total";
    /// Counter `{node}`: ARI frames that could not be read.
    pub const ARI_UNDECODABLE: &str = "capconduit_ari_undecodable_total";
    /// Gauge `{node}`: events waiting for the dispatcher.
    pub const ARI_EVENT_QUEUE_DEPTH: &str = "capconduit_ari_event_queue_depth";
    /// Counter `{node, reason}`: ARI sockets lost.
    pub const ARI_DISCONNECTS: &str = "capconduit_ari_disconnects_total";
    /// Counter `{node}`: tries to connect an ARI socket again.
    pub const ARI_RECONNECTS: &str = "capconduit_ari_reconnects_total";
    /// Counter `{node}`: heartbeats that did not reach the node.
    pub const HEARTBEAT_FAILURES: &str = "capconduit_heartbeat_failures_total";
    /// Counter: records written to the database.
    pub const RECORDS_WRITTEN: &str = "capconduit_records_written_total";
    /// Counter: failed tries to write a batch of records.
    pub const RECORD_FAILURES: &str = "capconduit_record_failures_total";
    /// Counter: records that the database will never take; they stand in the journal's table `set_aside`.
    pub const RECORDS_SET_ASIDE: &str = "capconduit_records_set_aside_total";
    /// Counter: failed tries to write to the journal.
    pub const JOURNAL_FAILURES: &str = "capconduit_journal_failures_total";
    /// Gauge: records of ended calls that wait in the journal, until the database takes them.
    pub const RECORDS_WAITING: &str = "capconduit_records_waiting";
    /// Gauge: seconds since the end of the oldest call whose record is not in the database; 0 when all are.
    pub const RECORD_LAG: &str = "capconduit_record_lag_seconds";
    /// Histogram `{operation, status}`: from an API request to its answer; `operation` is its `operationId` or `none`, `status` its class.
    pub const API_REQUEST_SECONDS: &str = "capconduit_api_request_seconds";
    /// Gauge: connections of the API, those to the metrics' own listener included.
    pub const API_CONNECTIONS: &str = "capconduit_api_connections";
    /// Counter `{reason}`: connections of the API that ended: `closed` by either side; because their peer was late with a `header`, a
    /// `body` or the next request (`idle`), or took nothing (`stalled`); to make room (`gave_way`); refused at once because there were
    /// too many in all (`full`) or of their `address`.
    pub const API_CONNECTIONS_ENDED: &str = "capconduit_api_connections_ended_total";
    /// Counter `{outcome}`: calls that the old dialplan reported.
    pub const REPORTS: &str = "capconduit_legacy_reports_total";
    /// Counter `{node, outcome}`: lines of the fallback's spool that were read: `imported`, `known` (their call has a record) or `unreadable`.
    pub const FALLBACK_LINES: &str = "capconduit_fallback_lines_total";
    /// Gauge: routing revision in use.
    pub const ROUTING_REVISION: &str = "capconduit_routing_revision";
}

fn describe() {
    use name::*;
    describe_counter!(CALLS, "Calls that ended, by ending");
    describe_gauge!(CALLS_LIVE, "Live calls, by node");
    describe_counter!(ATTEMPTS, "Attempts that ended, by outcome");
    describe_gauge!(PERMITS_HELD, "Permits held");
    describe_gauge!(
        DRIFT,
        "Channels that did not agree with their permits at the last comparison, by node; 0 in a correct run"
    );
    describe_counter!(DRIFT_REPAIRED, "Channels that did not agree with their permits, found and repaired, by node");
    describe_gauge!(CLIENTS_SUSPENDED, "Clients suspended because their host leads where no client may be");
    describe_counter!(CLIENT_BREAKER_OPENINGS, "Times that a client's breaker on a node has opened");
    describe_gauge!(NODE_BREAKER_OPEN, "Whether the node's requests fail for everybody");
    describe_counter!(NODE_BREAKER_OPENINGS, "Times that a node's breaker has opened");
    describe_gauge!(NODE_TAKEN, "Whether another controller has the node's applications");
    describe_gauge!(
        CALLS_THREAD_WAIT,
        Unit::Seconds,
        "The longest that anything due had to wait for the calls' thread, within the last 15 to 30 s"
    );
    describe_histogram!(ROUTE_SECONDS, Unit::Seconds, "From a call's arrival to its first dial request");
    describe_histogram!(SETUP_SECONDS, Unit::Seconds, "From a call's arrival to its answer");
    describe_counter!(ARI_REQUESTS, "ARI requests, by node, request and outcome");
    describe_histogram!(ARI_REQUEST_SECONDS, Unit::Seconds, "From an ARI request to its answer, by node and request");
    describe_counter!(ARI_EVENTS, "ARI events read, by node and type");
    describe_counter!(ARI_UNDECODABLE, "ARI frames that could not be read, by node");
    describe_gauge!(ARI_EVENT_QUEUE_DEPTH, "Events waiting for the dispatcher, by node");
    describe_counter!(ARI_DISCONNECTS, "ARI sockets lost, by node and reason");
    describe_counter!(ARI_RECONNECTS, "Tries to connect an ARI socket again, by node");
    describe_counter!(HEARTBEAT_FAILURES, "Heartbeats that did not reach the node");
    describe_counter!(RECORDS_WRITTEN, "Records written to the database");
    describe_counter!(RECORD_FAILURES, "Failed tries to write a batch of records");
    describe_counter!(RECORDS_SET_ASIDE, "Records that the database refuses, kept apart in the journal");
    describe_counter!(JOURNAL_FAILURES, "Failed tries to write to the journal");
    describe_gauge!(RECORDS_WAITING, "Records of ended calls that wait in the journal, until the database takes them");
    describe_gauge!(
        RECORD_LAG,
        Unit::Seconds,
        "Age of the oldest ended call whose record is not in the database; 0 when all are"
    );
    describe_histogram!(
        API_REQUEST_SECONDS,
        Unit::Seconds,
        "From an API request to its answer, by operation and status class"
    );
    describe_gauge!(API_CONNECTIONS, "Connections of the API");
    describe_counter!(API_CONNECTIONS_ENDED, "Connections of the API that ended, by why");
    describe_counter!(REPORTS, "Calls that the old dialplan reported, by what became of the report");
    describe_counter!(FALLBACK_LINES, "Lines of the fallback's spool that were read, by node and what became of them");
    describe_gauge!(ROUTING_REVISION, "Routing revision in use");
}

/// A counter that first shows when it counts looks like one that never grew: those of closed sets are there from the start.
fn begin_at_zero() {
    for ending in Ending::ALL {
        metrics::counter!(name::CALLS, "ending" => ending.as_str()).increment(0);
    }
    for outcome in AttemptOutcome::ALL {
        metrics::counter!(name::ATTEMPTS, "outcome" => outcome.as_str()).increment(0);
    }
    for counter in [
        name::HEARTBEAT_FAILURES,
        name::RECORDS_WRITTEN,
        name::RECORD_FAILURES,
        name::RECORDS_SET_ASIDE,
        name::JOURNAL_FAILURES,
    ] {
        metrics::counter!(counter).increment(0);
    }
    for reason in API_CONNECTION_ENDS {
        metrics::counter!(name::API_CONNECTIONS_ENDED, "reason" => reason).increment(0);
    }
    metrics::gauge!(name::RECORDS_WAITING).set(0.0);
    metrics::gauge!(name::RECORD_LAG).set(0.0);
}

/// An error with what caused it, each told once: many an error has its cause's text in its own.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram};

    use super::*;

    #[test]
    fn metrics_are_rendered_with_help_and_buckets_and_installed_once() {
        let first = Metrics::install().unwrap();
        let second = Metrics::install().unwrap();
        counter!(name::CALLS, "ending" => "x").increment(2);
        histogram!(name::SETUP_SECONDS).record(0.003);
        let text = second.render();
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(sorted(&text), sorted(&first.render()));
        for line in [
            "# HELP capconduit_calls_total Calls that ended, by ending",
            "capconduit_calls_total{ending=\"x\"} 2",
            "capconduit_setup_seconds_bucket{le=\"0.005\"} 1",
            "capconduit_setup_seconds_bucket{le=\"0.0025\"} 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn statements_are_quiet_unless_the_filter_names_them() {
        let shown = filter("info").unwrap().to_string();
        assert!(shown.contains("sqlx=warn") && shown.contains("info"), "{shown}");
        let asked = filter("info,sqlx=debug").unwrap().to_string();
        assert!(asked.contains("sqlx=debug") && !asked.contains("sqlx=warn"), "{asked}");
        assert!(filter("capconduit=loud").is_err());
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("permission denied");
        let outer = anyhow::Error::new(inner).context("cannot open x: permission denied").context("migrate");
        assert_eq!(chain(&outer), "migrate: cannot open x: permission denied");
    }
}
