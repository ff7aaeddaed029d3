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

pub mod catalogue;
mod process;

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, reload};

pub use self::catalogue::{begin_at_zero_on, name};
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
        catalogue::describe();
        catalogue::begin_at_zero();
        metrics::gauge!(name::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        process::began();
        *installed = Some(handle.clone());
        Ok(Self(handle))
    }

    /// Everything measured so far, for `GET /metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        process::measure();
        self.0.render()
    }

    /// Folds waiting samples; call every few seconds, or memory grows where nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
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
        // What the process has in use is another each time.
        let own = |line: &&str| line.starts_with("capconduit_");
        let sorted =
            |text: &str| text.lines().filter(own).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
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
