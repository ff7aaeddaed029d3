//! The virtual environment with the programs of others.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Four documents: the whole one, and one for each role.
pub(crate) const DOCUMENTS: [&str; 4] =
    ["openapi/capconduit.yaml", "openapi/admin.yaml", "openapi/staff.yaml", "openapi/seller.yaml"];
/// For one program; the fuzzer ends itself before.
const PATIENCE: Duration = Duration::from_secs(170);

/// A folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where `scripts/setup` has put it: the same rules as in `asterisk/sandbox/sandbox`.
fn environment() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let fallback = || match set("HOME") {
        Some(home) if home != Path::new("/root") => home.join(".cache/capconduit"),
        _ => PathBuf::from("/var/cache/capconduit"),
    };
    let cache = set("CAPCONDUIT_CACHE").or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("capconduit")));
    let found = cache.unwrap_or_else(fallback).join("spec");
    let installed = std::fs::read_to_string(found.join("requirements.txt")).unwrap_or_default();
    let wanted = std::fs::read_to_string(repository("tests/spec/requirements.txt")).expect("the list of packages");
    let told = "lacks the Python packages of tests/spec/requirements.txt: `just setup` installs them from PyPI (and says why it cannot)";
    assert!(installed == wanted, "{} {told}", found.display());
    found
}

/// A program of the environment; it is ended with the test.
pub(crate) fn program(name: &str) -> Command {
    let environment = environment();
    let mut command = Command::new(environment.join("bin").join(name));
    command.current_dir(repository("")).kill_on_drop(true).stdin(Stdio::null());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", environment.join("bin").display()));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Node's linter, which lies beside.
pub(crate) fn redocly() -> Command {
    let mut command = program("node");
    command.arg(environment().join("redocly/node_modules/@redocly/cli/bin/cli.js"));
    command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    command
}

/// Runs it to its end, which must be a good one; what it printed.
pub(crate) async fn succeed(command: &mut Command) -> String {
    let done = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends in time").expect("it runs");
    let Output { status, stdout, stderr } = done;
    let told = format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{told}");
    told
}
