//! `capconduit import-fallback`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::calls::intake::Intake;
use crate::cdr::importer::{self, Tally};
use crate::clock::Clock;
use crate::config::Config;
use crate::store;

/// Faults that are told one by one.
const SHOWN: usize = 20;

/// Imports the file as that node's.
pub(super) async fn import(config: &Config, node: &str, file: &Path) -> anyhow::Result<ExitCode> {
    let names = || config.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    let known = config.nodes.iter().find(|known| known.name == node);
    let known = known.with_context(|| format!("--node {node:?} is not configured; the nodes are {}", names()))?;
    let db = super::open(config).await?;
    let snapshot = store::snapshot::load(&db).await?;
    let now = Clock::start().now().wall;
    let imported = importer::import_file(&db, &Intake::new(known), &snapshot, file, now).await;
    let tally = imported.with_context(|| format!("FILE = {:?} is not imported, or not to its end", file.display()))?;
    super::print(&told(&tally))?;
    Ok(if tally.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(tally: &Tally) -> String {
    let Tally { lines, new, known, unreadable } = tally;
    let mut text = format!("{lines} lines: {new} calls recorded, {known} known, {} unreadable\n", unreadable.len());
    for (line, fault) in unreadable.iter().take(SHOWN) {
        let _ = writeln!(text, "  line {line}: {fault}");
    }
    if let Some(more) = unreadable.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}
