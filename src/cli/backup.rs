//! `capconduit backup` and `capconduit restore`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::backup::archive::Archive;
use crate::backup::make::{self, make};
use crate::backup::manifest::Database;
use crate::backup::restore::{self, restore};
use crate::clock::Clock;
use crate::config::{Config, Origins, Sources, serving};

#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// The archive to make, which must not be there; of a folder: one in it, named by the controller (the first 8 characters of `instance` in data.dir) and the time.
    file: PathBuf,
    /// Leave PostgreSQL's database out, where it is backed up by other means.
    #[arg(long)]
    without_database: bool,
    /// Keep so many of this controller's archives in the folder FILE, this one included, and remove older ones; those with and without the database are counted apart.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keep: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// An archive that `backup` made.
    file: PathBuf,
    /// The new data.dir: a folder that is not there yet, or is empty but for an empty `realtime`, as a package makes it.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Go on under the name of the controller that was backed up, which must never run again: else the two would take each other for
    /// themselves.
    #[arg(long)]
    same_host: bool,
}

impl RestoreArguments {
    /// Opens the archive, which may be readable to the caller alone, and looks whether it is one.
    pub(super) fn open(&self) -> anyhow::Result<Archive> {
        let archive = Archive::open(&self.file)?;
        restore::readable(&archive)?;
        Ok(archive)
    }

    /// The data folder that it makes.
    pub(super) fn folder(&self) -> anyhow::Result<PathBuf> {
        std::path::absolute(&self.into).with_context(|| format!("--into {}", self.into.display()))
    }
}

pub(super) async fn backup(
    config: &Config,
    sources: &Sources,
    arguments: &BackupArguments,
) -> anyhow::Result<ExitCode> {
    serves_the_same(config)?;
    // Whoever takes calls goes first. It is a favour that the system may refuse.
    let _ = rustix::process::nice(10);
    let order = make::Order {
        config,
        sources: &Origins::of(sources)?,
        target: &arguments.file,
        without_database: arguments.without_database,
        keep: arguments.keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)),
    };
    // Before there is anything to be left behind.
    let stopped = stopped()?;
    let made = tokio::select! {
        made = make(&order, Clock::start().now().wall) => made?,
        // What there was of it is removed.
        signal = stopped => bail!("no backup is made: {signal} came"),
    };
    let mut text = format!("{} is made ({})\n", made.path.display(), size(made.bytes));
    if made.removed > 0 {
        let _ = writeln!(text, "{} older {} removed", made.removed, if made.removed == 1 { "one" } else { "ones" });
    }
    told(&made.remarks, &mut text);
    super::print(&text)
}

pub(super) async fn run_restore(
    config: &Config,
    archive: Archive,
    arguments: &RestoreArguments,
) -> anyhow::Result<ExitCode> {
    let RestoreArguments { into, same_host, .. } = arguments;
    let archive = Arc::new(archive);
    let restored = restore(&restore::Order { config, archive, into, same_host: *same_host }).await?;
    let (manifest, settled) = (&restored.manifest, restored.settled);
    let mut text = format!(
        "{} is restored as it was on {} (CapConduit {})\n",
        into.display(),
        manifest.made_at.format("%Y-%m-%d %H:%M:%S UTC"),
        super::table::lines(&manifest.version)
    );
    let database = match manifest.database {
        Database::None => format!("the database is as it was: {}", restored.database),
        _ => format!("the database is {}", restored.database),
    };
    let _ = writeln!(text, "{database}");
    let _ = writeln!(
        text,
        "records that had waited in the journal and are in it now: {}; calls that had not ended: {} (the next `serve` takes them over, or \
         records them as lost)",
        settled.written, settled.open
    );
    told(&restored.remarks, &mut text);
    super::print(&text)
}

/// Refuses to back up another database than the `serve` of this data folder uses: an old one would look like a backup.
fn serves_the_same(config: &Config) -> anyhow::Result<()> {
    let Some(pid) = serving(&config.data_dir) else { return Ok(()) };
    // Of another user's process nobody is told.
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return Ok(()) };
    match other_database(super::config::variables(&environment), std::env::vars_os()) {
        None => Ok(()),
        Some(name) => bail!(
            "no backup is made: `serve` (process {pid}) has another {} in its environment than this command, so that this would be another \
             database's: give both the same (/etc/capconduit/environment)",
            name.to_string_lossy()
        ),
    }
}

/// The variable, if any, by which one process has another database than the other.
fn other_database(
    its: impl Iterator<Item = (OsString, OsString)>,
    own: impl Iterator<Item = (OsString, OsString)>,
) -> Option<OsString> {
    let settings = |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with("CAPCONDUIT__DATABASE__");
    let (its, own): (BTreeMap<_, _>, BTreeMap<_, _>) = (its.filter(settings).collect(), own.filter(settings).collect());
    its.keys().chain(own.keys()).find(|name| its.get(*name) != own.get(*name)).cloned()
}

/// From now on somebody who wants it to stop is heard; waits for that.
fn stopped() -> std::io::Result<impl Future<Output = &'static str>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

fn told(remarks: &[String], text: &mut String) {
    for remark in remarks {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{}", super::table::lines(remark));
    }
}

/// A length in bytes, for people.
fn size(bytes: u64) -> String {
    if bytes < 10 << 20 { format!("{} kB", bytes.div_ceil(1000)) } else { format!("{} MB", bytes / 1_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_service_s_environment_is_seen() {
        let url = |url: &str| [(OsString::from("CAPCONDUIT__DATABASE__URL"), OsString::from(url))];
        let other = |its: &[(OsString, OsString)], own: &[(OsString, OsString)]| {
            other_database(its.iter().cloned(), own.iter().cloned())
        };
        let name = Some(OsString::from("CAPCONDUIT__DATABASE__URL"));
        assert_eq!(other(&url("postgres://a/b"), &[]), name);
        assert_eq!(other(&[], &url("postgres://a/b")), name);
        assert_eq!(other(&url("postgres://a/b"), &url("postgres://a/c")), name);
        assert_eq!(other(&url("postgres://a/b"), &url("postgres://a/b")), None);
        let level = [(OsString::from("CAPCONDUIT__LOG__FILTER"), OsString::from("debug"))];
        assert_eq!(other(&level, &[]), None, "that is no matter of what is backed up");
    }
}
