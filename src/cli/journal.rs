//! `capconduit journal` and `capconduit realtime`: files of ours on this machine, where an operator must see to them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use crate::clock::Clock;
use crate::config::{Config, DataLock, Realtime};
use crate::store;
use crate::store::journal::aside::{self, Restored, SetAside};
use crate::store::journal::{FILE, inspect};

/// Records that are told one by one.
const SHOWN: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Move the journal aside and begin a new one, which holds the calls under way that this version can read. `serve` must be stopped.
    SetAside,
    /// Write the records that FILE holds into the database, each by itself; what cannot be written stays in FILE. `serve` must be stopped.
    Restore {
        /// A journal that was set aside [default: the journal itself, for the records that the database refused].
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RealtimeCommand {
    /// Keep a copy of realtime.db beside it, and make its tables anew from the clients. `serve` must be stopped; Asterisk may run on.
    SetAside,
}

pub(super) async fn run(config: &Config, command: Option<JournalCommand>) -> anyhow::Result<ExitCode> {
    let folder = &config.data_dir;
    match command {
        None => super::print(&show(config).await?),
        Some(JournalCommand::SetAside) => {
            let _lock = DataLock::take(folder)?;
            if !folder.join(FILE).exists() {
                bail!("there is no journal in {}: nothing is to be set aside", folder.display());
            }
            let moved = aside::set_file_aside(folder, Clock::start().now().wall)?;
            let unread = match moved.unread {
                0 => String::new(),
                n => format!(
                    "; {n} that cannot be read here hold their caps again once their nodes have listed their channels"
                ),
            };
            let (path, carried) = (moved.path.display(), moved.carried);
            super::print(&format!(
                "the journal is now {path}; {carried} calls under way are in the new one{unread}\n\
                 `capconduit journal restore {path}` of a version that knows it reads back the rest\n"
            ))
        }
        Some(JournalCommand::Restore { file }) => {
            let _lock = DataLock::take(folder)?;
            let db = super::open(config).await?;
            let file = file.unwrap_or_else(|| folder.join(FILE));
            let restored = aside::restore(&db, folder, &file).await?;
            db.close().await?;
            let code = if restored.kept.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            super::print(&told(&restored)).map(|_| code)
        }
    }
}

/// As [`JournalCommand::SetAside`], of the file that Asterisk reads.
pub(super) async fn set_realtime_aside(config: &Config) -> anyhow::Result<ExitCode> {
    let Realtime::Sqlite { path } = &config.realtime else {
        bail!("realtime.mode is \"postgres\": there is no realtime.db");
    };
    let _lock = DataLock::take(&config.data_dir)?;
    if !path.exists() {
        bail!("{} does not exist: run `capconduit migrate`, which makes it", path.display());
    }
    let db = super::open(config).await?;
    let aside = store::realtime::set_aside(&db, path, Clock::start().now().wall).await?;
    db.close().await?;
    super::print(&format!("{} is made anew; as it was it is {}\n", path.display(), aside.display()))
}

async fn show(config: &Config) -> anyhow::Result<String> {
    let mut text = String::new();
    for path in aside::files(&config.data_dir)? {
        let shown = path.display();
        match inspect(path.clone()).await {
            Ok(Some(held)) => {
                let _ = writeln!(
                    text,
                    "{shown}: {} calls under way, {} records wait for the database, {} are set aside (layout {})",
                    held.open, held.waiting, held.set_aside, held.layout
                );
                text.push_str(&listed(&aside::set_aside(&path, SHOWN + 1)?));
            }
            Ok(None) => {}
            Err(error) => {
                let _ = writeln!(text, "{shown}: {error}");
            }
        }
    }
    if text.is_empty() {
        let _ = writeln!(text, "there is no journal in {} yet: `capconduit serve` makes it", config.data_dir.display());
    }
    Ok(text)
}

fn told(restored: &Restored) -> String {
    let Restored { written, open, kept } = restored;
    let open =
        if *open == 0 { String::new() } else { format!(", {open} had not ended and are closed by the next `serve`") };
    format!("{written} records are in the database{open}, {} stay in the file\n{}", kept.len(), listed(kept))
}

fn listed(records: &[SetAside]) -> String {
    let mut text = String::new();
    for SetAside { call, why } in records.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}: {}", call.to_ascii_lowercase(), super::table::lines(why));
    }
    if records.len() > SHOWN {
        text.push_str("  and more\n");
    }
    text
}
