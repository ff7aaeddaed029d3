//! File descriptors: how many the process may need, and who goes without where the system allows fewer. That is the API: calls, their
//! records and the database never do.

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::ExposeSecret as _;

use crate::api;
use crate::ari;
use crate::config::{Config, Realtime, serving};
use crate::screen;
use crate::store;

/// The process's own: standard streams, the runtime, what reads a file or a list for a moment.
const RESERVE: usize = 64;
/// Of a SQLite connection: the database, its log and the log's index, and a file for a large sort.
const OF_SQLITE: usize = 4;
/// Of a name that is looked up: sockets to the name servers and the system's files.
const OF_LOOK_UP: usize = 2;

/// How many descriptors a configuration may need at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Of the API's connections: `api.connections`.
    pub connections: usize,
    /// Of everything else.
    pub rest: usize,
}

/// What each has where the limit is so high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Connections that the API may have: as configured, or what the limit leaves.
    pub connections: usize,
    /// Descriptors that all would need, where the limit is too low for it.
    pub lacking: Option<usize>,
}

impl Needs {
    /// By the configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let sqlite = config.database.url.expose_secret().starts_with("sqlite:");
        // Reports and exports have connections of their own.
        let reports = store::reports::connections(&config.limits);
        let pool = if sqlite {
            // One more empties the write-ahead log.
            (store::SQLITE_CONNECTIONS as usize + reports + 1) * OF_SQLITE
        } else {
            // One more listens, and one looks whether the server can be used.
            config.database.max_connections as usize + reports + 2
        };
        let realtime = if matches!(config.realtime, Realtime::Sqlite { .. }) { OF_SQLITE } else { 0 };
        // Its keeper, and whoever looks into it beside.
        let journal = 2 * OF_SQLITE;
        let nodes: usize = config.nodes.iter().map(|node| ari::REQUESTS_AT_ONCE + usize::from(node.apps)).sum();
        let look_ups = screen::AT_ONCE * OF_LOOK_UP;
        let metrics = if config.api.metrics_listen.is_some() { api::METRICS_CONNECTIONS + 1 } else { 0 };
        // The listener, one that is being refused, and those that give way.
        let api = api::LEAVING_AT_MOST + 2 + metrics;
        Self { connections: config.api.connections, rest: pool + realtime + journal + nodes + look_ups + api + RESERVE }
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> usize {
        self.connections + self.rest
    }

    /// What a limit makes of it; `None` = no limit.
    #[must_use]
    pub fn share(self, limit: Option<u64>) -> Share {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if limit >= self.all() {
            return Share { connections: self.connections, lacking: None };
        }
        // One, so that somebody can look what is wrong.
        Share { connections: limit.saturating_sub(self.rest).max(1), lacking: Some(self.all()) }
    }
}

/// How the limit is raised where serve runs as a service.
pub const MEND: &str = "set LimitNOFILE= of its systemd unit (or `ulimit -Hn` of its shell, --ulimit nofile= of its container) to that, or lower api.connections";

/// Raises this process's soft limit as far as `needs` goes and the hard limit allows; what each has then.
pub fn take(needs: Needs) -> Share {
    let before = getrlimit(Resource::Nofile);
    let wanted = needs.all() as u64;
    if before.current.is_none_or(|soft| soft >= wanted) {
        return needs.share(before.current);
    }
    let soft = before.maximum.map_or(wanted, |hard| hard.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: before.maximum }) {
        Ok(()) => needs.share(Some(soft)),
        Err(error) => {
            tracing::warn!(%error, "the limit of file descriptors cannot be raised");
            needs.share(before.current)
        }
    }
}

/// The hard limit of the `serve` that holds this data directory, else the one that a `serve` started from here would have; `None` = none.
#[must_use]
pub fn hard_limit(data_dir: &Path) -> Option<u64> {
    let serving = serving(data_dir).and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    match serving {
        Some(limits) => hard_of(&limits),
        None => getrlimit(Resource::Nofile).maximum,
    }
}

/// The hard limit of descriptors in the text of `/proc/<pid>/limits`.
fn hard_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_the_apis_to_bear() {
        let needs = Needs { connections: 1000, rest: 300 };
        for (limit, connections, lacking) in [
            (None, 1000, None),
            (Some(524_288), 1000, None),
            (Some(1300), 1000, None),
            (Some(1299), 999, Some(1300)),
            (Some(1024), 724, Some(1300)),
            (Some(301), 1, Some(1300)),
            (Some(64), 1, Some(1300)),
        ] {
            assert_eq!(needs.share(limit), Share { connections, lacking }, "{limit:?}");
        }
    }

    #[test]
    fn every_part_of_the_configuration_that_opens_something_counts() {
        let needs =
            |text: &str| Needs::of(&Config::from_layers(Some((Path::new("t.toml"), text)), []).expect("allowed"));
        let plain = needs("");
        assert_eq!(plain.connections, 1000);
        assert!(plain.all() < 4096, "{plain:?}: the hard limit of old systems");
        assert_eq!(needs("[api]\nconnections = 50\n"), Needs { connections: 50, ..plain });
        let postgres = "[database]\nurl = \"postgres://u:p@h/d\"\nmax_connections = ";
        assert_eq!(needs(&format!("{postgres}100\n")).rest - needs(&format!("{postgres}10\n")).rest, 90);
        let two = "[[asterisk]]\nname = \"a\"\nurl = \"http://a:1\"\n[[asterisk]]\nname = \"b\"\nurl = \"http://b:1\"\napps = 8\n";
        assert_eq!(needs(two).rest - plain.rest, ari::REQUESTS_AT_ONCE + 8);
        assert!(needs("[api]\nmetrics_listen = \"127.0.0.1:9\"\n").rest > plain.rest);
    }

    #[test]
    fn a_process_limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             63711                63711                processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(hard_of(text), Some(524_288));
        assert_eq!(hard_of("Max open files            unlimited            unlimited            files     \n"), None);
    }
}
