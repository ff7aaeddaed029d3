//! What Prometheus' own collector tells of a process, under the same names. Everything is the process's own: a service that sees of `/proc` no
//! more than that (systemd's `ProcSubset=pid`) has it, too, which a start time by the machine's `/proc/stat` would not be.

use rustix::process::{Resource, getrlimit};

use super::name;
use crate::clock::Clock;

/// The process has begun, some milliseconds ago.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; milliseconds since 1970 stay far below 2^53")]
pub(super) fn began() {
    let now = Clock::start().now().wall.timestamp_millis();
    metrics::gauge!(name::PROCESS_START).set(now as f64 / 1e3);
}

/// Takes measure of it. What the system does not tell keeps its last value.
pub(super) fn measure() {
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is that of the look itself.
        let open = open.count().saturating_sub(1);
        metrics::gauge!(name::PROCESS_OPEN_FDS).set(as_gauge(open as u64));
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        metrics::gauge!(name::PROCESS_MAX_FDS).set(as_gauge(most));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = resident(&status) {
        metrics::gauge!(name::PROCESS_MEMORY).set(as_gauge(bytes));
    }
}

/// The memory that `/proc/self/status` says is in use, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; bytes and descriptors stay far below 2^53")]
fn as_gauge(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   94400 kB\nThreads:\t7\n"), Some(96_665_600));
        for other in ["", "VmRSS:\t many kB\n", "VmRSS:\t7 MB\n"] {
            assert_eq!(resident(other), None, "{other:?}");
        }
    }

    #[test]
    fn this_process_is_measured() {
        let metrics = super::super::Metrics::install().expect("nothing else measures here");
        let text = metrics.render();
        for name in [name::PROCESS_START, name::PROCESS_OPEN_FDS, name::PROCESS_MAX_FDS, name::PROCESS_MEMORY] {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = line.and_then(|value| value.parse().ok()).unwrap_or_default();
            assert!(value >= 3.0, "{name} = {line:?}");
        }
        let version = format!("capconduit_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|line| line == version), "{text}");
    }
}
