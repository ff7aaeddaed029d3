//! Everything that is measured: the one place where a metric has its name, its meaning, its labels and what these can hold. Registration,
//! `/metrics`, and the test that holds alert rules and dashboard against it (`tests/watch`) all read it here.

use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::API_CONNECTION_ENDS;
use crate::ari::{DownReason, EVENT_KINDS, REQUEST_KINDS, REQUEST_OUTCOMES};
use crate::calls::ending::Ending;
use crate::cdr::importer::LINE_OUTCOMES;
use crate::cdr::record::AttemptOutcome;

/// What Prometheus takes a metric for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets: shown as `…_bucket{le}`, `…_sum` and `…_count`.
    Histogram,
}

/// What a label can hold.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// One of these words.
    Words(fn() -> Vec<&'static str>),
    /// The configured name of a node.
    Node,
    /// A client's identifier.
    Client,
    /// Number of a row.
    Row,
    /// An `operationId` of the API's document, or `none`.
    Operation,
    /// A version of CapConduit.
    Version,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    help: &'static str,
    /// Its labels, each with what it can hold.
    pub labels: &'static [(&'static str, Values)],
}

impl Metric {
    /// What it says, for people.
    #[must_use]
    pub fn help(&self) -> String {
        self.help.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').replace('`', "")
    }
}

/// The metric of this name, as in [`name`].
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

macro_rules! catalogue {
    ($($(#[doc = $help:literal])+ $name:ident = $kind:ident $text:literal $({ $($label:ident: $values:expr),+ })?;)+) => {
        /// Names of all metrics; what each says is its help, too.
        pub mod name {
            $($(#[doc = $help])+ pub const $name: &str = $text;)+
        }

        /// All that can be measured.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $text,
            kind: Kind::$kind,
            help: concat!($($help),+),
            labels: &[$($((stringify!($label), $values)),+)?],
        }),+];
    };
}

use Values::{Client, Node, Operation, Row, Version, Words};

catalogue! {
    /// Calls that ended, by ending.
    CALLS = Counter "capconduit_calls_total" { ending: Words(|| words(Ending::ALL, Ending::as_str)) };
    /// Live calls, by node.
    CALLS_LIVE = Gauge "capconduit_calls_live" { node: Node };
    /// Attempts that ended, by outcome.
    ATTEMPTS = Counter "capconduit_attempts_total" { outcome: Words(|| words(AttemptOutcome::ALL, AttemptOutcome::as_str)) };
    /// Permits held.
    PERMITS_HELD = Gauge "capconduit_permits_held";
    /// Part of its new calls that a node's dialplan refuses because requests wait for Asterisk, in percent, by node.
    SHED_PERCENT = Gauge "capconduit_shed_percent" { node: Node };
    /// Channels that did not agree with their permits at the last comparison, by node; 0 in a correct run.
    DRIFT = Gauge "capconduit_drift" { node: Node };
    /// Channels that did not agree with their permits, found and repaired, by node.
    DRIFT_REPAIRED = Counter "capconduit_drift_repaired_total" { node: Node };
    /// Clients suspended because their host leads where no client may be.
    CLIENTS_SUSPENDED = Gauge "capconduit_clients_suspended";
    /// Slots in use of a cap that has a limit, calls in flight included, by kind of cap and its row.
    CAP_USED = Gauge "capconduit_cap_used" { cap: Words(|| CAPS.to_vec()), id: Row };
    /// Slots of a cap, by kind of cap and its row.
    CAP_LIMIT = Gauge "capconduit_cap_limit" { cap: Words(|| CAPS.to_vec()), id: Row };
    /// 1 for each client that cannot be reached from a node: its breaker there is open.
    CLIENT_BREAKER_OPEN = Gauge "capconduit_client_breaker_open" { node: Node, client: Client };
    /// Times that a client's breaker on a node has opened.
    CLIENT_BREAKER_OPENINGS = Counter "capconduit_client_breaker_openings_total" { node: Node, client: Client };
    /// 1 while calls of the node are taken here (what `/readyz` asks of a node), else 0: then its dialplan falls back, or another
    /// controller has it.
    NODE_READY = Gauge "capconduit_node_ready" { node: Node };
    /// 1 while the node's requests fail for everybody and its breaker keeps new calls out, else 0; also 0 once the node answers and a call may try it again,
    /// until that one fails.
    NODE_BREAKER_OPEN = Gauge "capconduit_node_breaker_open" { node: Node };
    /// Times that a node's breaker has opened.
    NODE_BREAKER_OPENINGS = Counter "capconduit_node_breaker_openings_total" { node: Node };
    /// 1 while another controller has the node's applications, else 0.
    NODE_TAKEN = Gauge "capconduit_node_taken" { node: Node };
    /// 1 while an operator empties the node, else 0.
    NODE_DRAINED = Gauge "capconduit_node_drained" { node: Node };
    /// The longest that anything due had to wait for the calls' thread, within the last 15 to 30 s; 1 to 2 ms where nothing holds it.
    CALLS_THREAD_WAIT = Gauge "capconduit_calls_thread_wait_seconds";
    /// From a call's arrival to its first dial request.
    ROUTE_SECONDS = Histogram "capconduit_route_seconds";
    /// From a call's arrival to its answer.
    SETUP_SECONDS = Histogram "capconduit_setup_seconds";
    /// ARI requests, by node, request and outcome.
    ARI_REQUESTS = Counter "capconduit_ari_requests_total" {
        node: Node, request: Words(|| REQUEST_KINDS.to_vec()), outcome: Words(|| REQUEST_OUTCOMES.to_vec())
    };
    /// From an ARI request to its answer, by node and request.
    ARI_REQUEST_SECONDS = Histogram "capconduit_ari_request_seconds" { node: Node, request: Words(|| REQUEST_KINDS.to_vec()) };
    /// ARI events read, by node and type.
    ARI_EVENTS = Counter "capconduit_ari_events_total" { node: Node, type: Words(|| EVENT_KINDS.to_vec()) };
    /// ARI frames that could not be read, by node.
    ARI_UNDECODABLE = Counter "capconduit_ari_undecodable_total" { node: Node };
    /// Events waiting for the dispatcher, by node.
    ARI_EVENT_QUEUE_DEPTH = Gauge "capconduit_ari_event_queue_depth" { node: Node };
    /// ARI sockets lost, by node and reason.
    ARI_DISCONNECTS = Counter "capconduit_ari_disconnects_total" {
        node: Node, reason: Words(|| words(DownReason::ALL, DownReason::as_str))
    };
    /// Tries to connect an ARI socket again, by node.
    ARI_RECONNECTS = Counter "capconduit_ari_reconnects_total" { node: Node };
    /// Heartbeats that did not reach the node although it is connected.
    HEARTBEAT_FAILURES = Counter "capconduit_heartbeat_failures_total" { node: Node };
    /// Records written to the database.
    RECORDS_WRITTEN = Counter "capconduit_records_written_total";
    /// Failed tries to write a batch of records.
    RECORD_FAILURES = Counter "capconduit_record_failures_total";
    /// Records that the database refused for good, since the start.
    RECORDS_SET_ASIDE = Counter "capconduit_records_set_aside_total";
    /// Records in the journal's table set_aside.
    RECORDS_SET_ASIDE_NOW = Gauge "capconduit_records_set_aside";
    /// Failed tries to write to the journal.
    JOURNAL_FAILURES = Counter "capconduit_journal_failures_total";
    /// Free space on the journal's disk, for a user who is not root.
    JOURNAL_FREE_BYTES = Gauge "capconduit_journal_free_bytes";
    /// With less free space than this on the journal's disk no new calls are taken (`journal.min_free_mb`).
    JOURNAL_MIN_FREE_BYTES = Gauge "capconduit_journal_min_free_bytes";
    /// Records of ended calls that wait in the journal, until the database takes them.
    RECORDS_WAITING = Gauge "capconduit_records_waiting";
    /// Seconds since the end of the oldest call whose record is not in the database; 0 when all are.
    RECORD_LAG = Gauge "capconduit_record_lag_seconds";
    /// Seconds since the last backup of this data folder (`capconduit backup`); +Inf where there was none.
    BACKUP_AGE = Gauge "capconduit_backup_age_seconds";
    /// From an API request to its answer, by operation and class of its status.
    API_REQUEST_SECONDS = Histogram "capconduit_api_request_seconds" {
        operation: Operation, status: Words(|| vec!["1xx", "2xx", "3xx", "4xx", "5xx", "other"])
    };
    /// Connections of the API, those to the metrics' own listener included.
    API_CONNECTIONS = Gauge "capconduit_api_connections";
    /// Connections of the API that ended, by why: `closed` by either side; because their peer was late with a `header`, a `body` or the
    /// next request (`idle`), or took nothing (`stalled`); to make room (`gave_way`); refused at once because there were too many in all
    /// (`full`) or of their `address`.
    API_CONNECTIONS_ENDED = Counter "capconduit_api_connections_ended_total" { reason: Words(|| API_CONNECTION_ENDS.to_vec()) };
    /// Calls that the old dialplan reported, by what became of the report: `recorded`, `known` (the call has a record), or refused
    /// because of the sender's `address` or `token`.
    REPORTS = Counter "capconduit_legacy_reports_total" { outcome: Words(|| vec!["recorded", "known", "address", "token"]) };
    /// Lines of the fallback's spool that were read, by node and what became of them: `imported`, `known` (their call has a record) or
    /// `unreadable`.
    FALLBACK_LINES = Counter "capconduit_fallback_lines_total" { node: Node, outcome: Words(|| LINE_OUTCOMES.to_vec()) };
    /// Routing revision in use.
    ROUTING_REVISION = Gauge "capconduit_routing_revision";
    /// 1; its label says which version runs.
    BUILD_INFO = Gauge "capconduit_build_info" { version: Version };
    /// When this process started, in seconds since 1970.
    PROCESS_START = Gauge "process_start_time_seconds";
    /// Open file descriptors.
    PROCESS_OPEN_FDS = Gauge "process_open_fds";
    /// File descriptors that may be open at most.
    PROCESS_MAX_FDS = Gauge "process_max_fds";
    /// Memory in use.
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes";
}

/// Kinds of caps, as `/metrics` names them.
pub const CAPS: [&str; 4] = ["link", "link_total", "client", "campaign"];

/// Every word of a closed set.
fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().copied().map(word).collect()
}

/// Says of each metric what it means.
pub(super) fn describe() {
    for metric in METRICS {
        let (name, help) = (metric.name, metric.help());
        match metric.kind {
            Kind::Counter => describe_counter!(name, help),
            Kind::Gauge => describe_gauge!(name, help),
            Kind::Histogram => describe_histogram!(name, help),
        }
    }
}

/// A counter that first shows when it counts looks like one that never grew: those of closed sets are there from the start.
pub(super) fn begin_at_zero() {
    for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Counter) {
        match metric.labels {
            [] => metrics::counter!(metric.name).increment(0),
            [(label, Words(all))] => {
                all().into_iter().for_each(|word| metrics::counter!(metric.name, *label => word).increment(0));
            }
            // Of nodes when they are known; of sets that are large, when there is something to count.
            _ => {}
        }
    }
    // All are told when they change.
    metrics::gauge!(name::RECORDS_WAITING).set(0.0);
    metrics::gauge!(name::RECORDS_SET_ASIDE_NOW).set(0.0);
    metrics::gauge!(name::RECORD_LAG).set(0.0);
}

/// As [`begin_at_zero`], what is counted of a node and nothing else.
pub fn begin_at_zero_on(node: &str) {
    let of_node = |metric: &&Metric| matches!((metric.kind, metric.labels), (Kind::Counter, [(_, Node)]));
    for metric in METRICS.iter().filter(of_node) {
        metrics::counter!(metric.name, "node" => node.to_owned()).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_metric_has_one_name_by_prometheus_rules_and_says_what_it_is() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("capconduit_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let help = metric.help();
            assert!(help.len() > 8 && !help.contains(['\n', '`', '"']) && !help.starts_with(' '), "{name}: {help}");
        }
        assert_eq!(find(name::SHED_PERCENT).map(|metric| metric.kind), Some(Kind::Gauge));
        assert!(find("capconduit_calls").is_none());
    }

    #[test]
    fn words_of_labels_are_of_their_closed_sets() {
        let labels = METRICS.iter().flat_map(|metric| metric.labels.iter().map(move |label| (metric.name, label)));
        for (name, (label, values)) in labels {
            let Words(all) = values else { continue };
            let all = all();
            let different: HashSet<_> = all.iter().collect();
            assert!(!all.is_empty() && different.len() == all.len(), "{name}{{{label}}}: {all:?}");
        }
        let ended = find(name::CALLS).map(|metric| metric.labels);
        let Some([("ending", Words(endings))]) = ended else { panic!("{ended:?}") };
        assert!(endings().contains(&"completed") && !endings().contains(&"answered"));
    }

    /// ARI's client makes its names from a prefix: each must be one of these.
    #[test]
    fn what_the_ari_client_measures_is_in_the_catalogue() {
        use crate::ari::metric;
        let ends = [
            metric::EVENTS,
            metric::UNDECODABLE,
            metric::REQUESTS,
            metric::REQUEST_SECONDS,
            metric::RECONNECTS,
            metric::DISCONNECTS,
            metric::EVENT_QUEUE_DEPTH,
        ];
        for name in ends.map(|end| format!("capconduit_{end}")) {
            assert!(find(&name).is_some(), "{name}");
        }
    }
}
