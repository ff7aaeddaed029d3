//! The one validated configuration.
//!
//! Layers, the later ones winning: the defaults below, a file (`--config FILE`, else `capconduit.toml`, else the system's), and environment
//! variables named `CAPCONDUIT__SECTION__KEY` (`CAPCONDUIT__ASTERISK__0__PASSWORD` for the first `[[asterisk]]`). `capconduit.example.toml`
//! lists every key with its default. Relative paths start at the working directory.

mod fault;
mod instance;
mod layers;
mod lock;
mod network;
mod origins;
mod paths;
mod reader;
mod reload;
mod sections;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub use fault::{Fault, Faults};
pub use instance::instance;
pub use layers::{SYSTEM_FILE, Sources, unread_variables};
pub(crate) use lock::RESTORING;
pub use lock::{DataLock, LockError, serving};
pub use network::Network;
pub use origins::Origins;
pub(crate) use reload::{Changes, changes};
pub use sections::REJECTION_CODES;
pub use settings::{Setting, render};

use crate::ari;
use crate::routing::breaker::Terms;
use crate::routing::number::Normaliser;
use crate::routing::number::readers::Readers;
use crate::routing::snapshot::words;

/// Everything that can be configured; made only by [`Config::load`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder for the database, locks and keys (`data.dir`).
    pub data_dir: PathBuf,
    /// Where records and configuration live.
    pub database: Database,
    /// Where Asterisk reads its PJSIP objects.
    pub realtime: Realtime,
    /// Management API and metrics.
    pub api: Api,
    /// Who may use it.
    pub auth: Auth,
    /// Where clients may be.
    pub sip: Sip,
    /// Reports of the old platform's dialplan.
    pub internal: Internal,
    /// Log output.
    pub log: Log,
    /// Asterisk nodes; at least one.
    pub nodes: Vec<Node>,
    /// Call handling.
    pub calls: Calls,
    /// When clients and nodes that fail are left alone for a while.
    pub breaker: Breaker,
    /// What the carrier hears when nobody can take the call.
    pub rejections: Rejections,
    /// Answers of the API that go on for long.
    pub limits: Limits,
    /// What waits on this machine for the database.
    pub journal: Journal,
    /// What users may do.
    pub policy: Policy,
}

/// Section `[limits]`: answers of the API that go on for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `streams`, default 200: event streams at once, over all users.
    pub streams: usize,
    /// `streams_per_user`, default 5.
    pub streams_per_user: usize,
    /// `stream_backlog`, default 4096: events that a reader may fall behind before it loses some.
    pub stream_backlog: usize,
    /// `exports`, default 4: exports being written at once, over all users.
    pub exports: usize,
    /// `exports_per_user`, default 2.
    pub exports_per_user: usize,
    /// `export_seconds`, default 3600: how long one export may take.
    pub export: Duration,
    /// `reports`, default 6: summaries and lists of calls being read at once, over all users. With `exports` they have as many connections
    /// to the database of their own.
    pub reports: usize,
    /// `reports_per_user`, default 2.
    pub reports_per_user: usize,
    /// `report_seconds`, default 20: how long one of them, or a part of an export, may take.
    pub report: Duration,
    /// `report_days`, default 400: how much time one summary may cover.
    pub report_days: u32,
}

/// Section `[journal]`: what calls have committed to, on this machine (`journal.db` in `data.dir`) until the database has their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journal {
    /// `max_records`, default 1000000: finished records that may wait for the database; past it new calls take the dialplan's fallback.
    pub max_records: u64,
    /// `min_free_mb`, default 200: with less space left on its disk new calls take the dialplan's fallback.
    pub min_free_bytes: u64,
}

/// Section `[policy]`: what users may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// `sellers_may_create_dids`, default true; else only admins and staff do.
    pub sellers_may_create_dids: bool,
}

/// Section `[database]`.
#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite://PATH` or `postgres://…`; default `sqlite://<data.dir>/capconduit.db`. Secret: may hold a password.
    pub url: SecretString,
    /// Pool size for PostgreSQL, reports and exports aside.
    pub max_connections: u32,
    /// How long anybody waits for a connection, new or free, and a change in SQLite for another process's; default 5 s.
    pub wait: Duration,
}

/// Section `[realtime]`: how the `ps_*` tables reach Asterisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Realtime {
    /// A SQLite file of their own (default `<data.dir>/realtime/realtime.db`).
    Sqlite {
        /// The file that `res_config_sqlite3.conf` names.
        path: PathBuf,
    },
    /// Tables in the main PostgreSQL database.
    Postgres,
}

/// Section `[api]`.
#[derive(Debug, Clone)]
pub struct Api {
    /// Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// `trusted_proxies`: from these, `X-Forwarded-For` says who the client is. Default none.
    pub trusted_proxies: Vec<Network>,
    /// `requests_per_second`, default 50: of one user, or of one address that no user is known by, in the long run.
    pub requests_per_second: u32,
    /// `burst`, default 100: requests that may come at once.
    pub burst: u32,
    /// `connections`, default 1000: at once; where there are so many, the one that was kept waiting longest gives way.
    pub connections: usize,
    /// `connections_per_address`, default 100: of one address (IPv6: of one /64), trusted proxies apart.
    pub connections_per_address: usize,
    /// `header_seconds`, default 10: how long a request's line and headers may take.
    pub header: Duration,
    /// `body_seconds`, default 10: how long a request's body may be waited for.
    pub body: Duration,
    /// `idle_seconds`, default 60: how long a connection is kept for the next request.
    pub idle: Duration,
    /// `stall_seconds`, default 30: how long a connection may take no byte of its answer.
    pub stall: Duration,
    /// `cors_origins`: pages of these origins may call the API from a browser. Default none.
    pub cors_origins: Vec<String>,
    /// `metrics_listen`: a listener for `/metrics` alone. Default none.
    pub metrics_listen: Option<SocketAddr>,
    /// `metrics_token`: what `/metrics` asks for, 32 bytes or more; without it the API's listener has no `/metrics`.
    pub metrics_token: Option<SecretString>,
}

/// Section `[auth]`.
#[derive(Debug, Clone)]
pub struct Auth {
    /// `key`: what access tokens are signed and repeated requests known with, 32 bytes or more; `None`: one made by the first start, in `data.dir`.
    pub key: Option<SecretString>,
    /// `admin_username`, default `admin`: whom the first start without users makes.
    pub admin_username: String,
    /// `admin_password`: of that admin; `None`: a random one, told once.
    pub admin_password: Option<SecretString>,
    /// `sessions_per_user`, default 50: with one more, the oldest ends.
    pub sessions_per_user: u64,
    /// `tokens_per_user`, default 100: API tokens that are good at once; one more is refused.
    pub tokens_per_user: u64,
    /// `audit_days`, default 730, more than the 30 for which the database refuses to remove any: older lines are removed.
    pub audit_kept: chrono::TimeDelta,
}

/// Section `[sip]`: what the site allows of clients' SIP settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sip {
    /// `allowed_networks`: private and loopback addresses that clients' hosts may have. Default none.
    pub allowed_networks: Vec<Network>,
    /// `carriers`: where carriers' calls come from; no client may be known by such an address, or have it. Default none.
    pub carriers: Vec<Network>,
    /// `allow_plaintext_outbound_auth`, default false: whether the password for a client that challenges us may be stored readably,
    /// which it must be where its realm is not known.
    pub allow_plaintext_outbound_auth: bool,
    /// `resolve_every_seconds`, default 300: how often the names of clients' hosts are looked up again.
    pub resolve_every: Duration,
}

/// Section `[internal]`.
#[derive(Debug, Clone)]
pub struct Internal {
    /// `log_call_token`: what the old dialplan's script sends, 32 bytes or more; `None`: it cannot report calls.
    pub log_call_token: Option<SecretString>,
    /// From where it may; default loopback.
    pub log_call_from: Vec<Network>,
    /// The time zone of its times without one; default UTC.
    pub legacy_time_zone: chrono_tz::Tz,
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `auto` (human on a terminal, JSON otherwise), `human` or `json`.
    pub format: LogFormat,
    /// A tracing filter, such as `info,capconduit=debug`.
    pub filter: String,
}

impl Log {
    /// The filter where none is configured.
    pub const DEFAULT_FILTER: &str = "info";
}

words! {
    /// How log lines look.
    LogFormat {
        /// Human on a terminal, JSON otherwise.
        Auto = "auto",
        /// Always for people.
        Human = "human",
        /// Always JSON, one object a line.
        Json = "json",
    }
}

/// One `[[asterisk]]` entry.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique name, `[A-Za-z0-9_-]{1,40}`; default `asterisk`.
    pub name: String,
    /// Base URL of Asterisk's HTTP server, such as `http://127.0.0.1:8088` (no `/ari`).
    pub url: String,
    /// `ca_file`: PEM file of the certificates that sign the node's, where `url` is of https; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// ARI user.
    pub user: String,
    /// ARI password; empty when none was configured (see [`Config::require_ari`]).
    pub password: SecretString,
    /// Stasis applications are named `<app>-1` … `<app>-<apps>`.
    pub app: String,
    /// How many Stasis applications, each with its socket.
    pub apps: u16,
    /// How requests travel.
    pub transport: Transport,
    /// Which header carries the DID.
    pub did_from: DidFrom,
    /// Region for numbers without country code (ISO 3166-1 alpha-2), such as `GB`; `None`: only `+` numbers are E.164.
    pub default_region: Option<String>,
    /// Replacement of leading digits before normalisation, longest prefix first: `{"00" = "+", "0044" = "+44"}`.
    pub prefix_rules: BTreeMap<String, String>,
    /// `fallback_spool`: the file that the node's dialplan writes (`CAPCONDUIT_SPOOL`), as this process reads it; `None`: the calls of its
    /// fallback are not imported.
    pub fallback_spool: Option<PathBuf>,
}

impl Node {
    /// Whether it is reached by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        ari::is_https(&self.url)
    }

    /// How it is reached, for ARI's client.
    #[must_use]
    pub fn ari(&self, request_timeout: Duration) -> ari::Settings {
        ari::Settings {
            name: self.name.clone(),
            url: self.url.clone(),
            ca_file: self.ca_file.clone(),
            user: self.user.clone(),
            password: self.password.clone(),
            apps: (1..=self.apps.max(1)).map(|n| format!("{}-{n}", self.app)).collect(),
            transport: match self.transport {
                Transport::Auto => ari::Transport::Auto,
                Transport::Websocket => ari::Transport::Websocket,
                Transport::Http => ari::Transport::Http,
            },
            request_timeout,
            metrics_prefix: "capconduit_",
        }
    }

    /// How its applications are marked as those of the controller of this name.
    #[must_use]
    pub fn claim(&self, instance: &str) -> ari::Claim {
        let mark = format!("CAPCONDUIT_OWNER_{}", self.app);
        ari::Claim { instance: instance.to_owned(), mark, heartbeat: "CAPCONDUIT_HEARTBEAT".to_owned() }
    }

    /// What its carriers send, as E.164.
    #[must_use]
    pub fn normaliser(&self) -> Normaliser {
        Normaliser::new(self.default_region.as_deref(), &self.prefix_rules)
    }
}

words! {
    /// How ARI requests travel.
    Transport {
        /// REST over WebSocket where the Asterisk found has it (20.14, 22.4, 23), else HTTP.
        Auto = "auto",
        /// REST over WebSocket.
        Websocket = "websocket",
        /// HTTP with keep-alive.
        Http = "http",
    }
}

words! {
    /// Which part of the INVITE names the DID.
    DidFrom {
        /// The Request-URI's user part (Asterisk's extension).
        RequestUri = "request_uri",
        /// The To header's user part.
        To = "to",
    }
}

/// Section `[calls]`. Times are configured in whole milliseconds (`…_ms`) or in seconds (`…_seconds`, decimals allowed) as each key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// `progress_timeout_ms`, default 5000: neither ringing nor early media within this ends the attempt (Asterisk does not tell of a mere 100 Trying).
    pub progress_timeout: Duration,
    /// `setup_budget_seconds`, default 60: from arrival to answer at most, unless the campaign says otherwise.
    pub setup_budget: Duration,
    /// `max_attempts`, default 10: dials per call at most.
    pub max_attempts: u32,
    /// `max_duration_seconds`, default 7200: talk time at most, unless the campaign says otherwise.
    pub max_duration: Duration,
    /// `request_timeout_ms`, default 2000: deadline of one ARI request.
    pub request_timeout: Duration,
    /// `event_queue`, default 65536: events waiting for the dispatcher at most; past it the node's socket is dropped and reconciled.
    pub event_queue: usize,
    /// `max_live`, default 5000: live calls at most over all nodes; past it new calls are refused as overloaded.
    pub max_live: usize,
    /// `drain_seconds`, default 30: how long callers on a node that is emptied may wait to be answered; then they are refused.
    pub drain: Duration,
}

/// Section `[breaker]`: when clients and nodes that fail are left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// `client_failures` (default 5; 0 = off), `client_pause_seconds` (10) and `client_pause_max_seconds` (60): of one client on one node.
    pub client: Terms,
    /// `node_failures` (default 5; 0 = off), `node_pause_seconds` (5) and `node_pause_max_seconds` (60): of one node, for each kind of
    /// request by itself.
    pub node: Terms,
}

/// Section `[rejections]`: SIP status per reason, one of those [`Config::load`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejections {
    /// No such DID, or it is paused; default 404.
    pub unknown_did: u16,
    /// The DID feeds no active campaign; default 404.
    pub inactive_campaign: u16,
    /// Every link is at a cap; default 486.
    pub all_full: u16,
    /// No link is active; default 480.
    pub no_active_link: u16,
    /// Every attempt failed; default 480.
    pub nobody_answered: u16,
    /// This controller or its node cannot take more; default 503.
    pub overloaded: u16,
}

impl Config {
    /// How the nodes read what is dialled.
    #[must_use]
    pub fn readers(&self) -> Readers {
        Readers::new(self.nodes.iter().map(Node::normaliser))
    }

    /// Refuses a node without a password: there is no default one, and only `serve` and `doctor` talk to Asterisk.
    ///
    /// # Errors
    /// Names every node's missing `password` and the environment variable that sets it.
    pub fn require_ari(&self) -> Result<(), Faults> {
        Faults::none_or(self.missing_passwords())
    }

    fn missing_passwords(&self) -> Vec<Fault> {
        let missing = |(index, node): (usize, &Node)| {
            node.password.expose_secret().is_empty().then(|| {
                Fault::new(
                    format!("asterisk[{index}].password"),
                    format!(
                        "is not set: give the password of ARI user {:?} on node {:?} (Asterisk's ari.conf) there, in a file named by \
                         asterisk[{index}].password_file, or in CAPCONDUIT__ASTERISK__{index}__PASSWORD",
                        node.user, node.name
                    ),
                )
            })
        };
        self.nodes.iter().enumerate().filter_map(missing).collect()
    }

    /// Makes the data directory where the database or `realtime.db` shall lie in it, and refuses one that cannot be written: for
    /// commands that make files there. `serve` takes its lock there instead.
    ///
    /// # Errors
    /// Names `data.dir`, its value and what the system said.
    pub fn require_data_dir(&self) -> Result<(), LockError> {
        let database = self.database.url.expose_secret().strip_prefix("sqlite://").map(Path::new);
        let realtime = match &self.realtime {
            Realtime::Sqlite { path } => Some(path.as_path()),
            Realtime::Postgres => None,
        };
        let used = database.into_iter().chain(realtime).any(|path| path.starts_with(&self.data_dir));
        if used { lock::require_writable(&self.data_dir) } else { Ok(()) }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
