//! `capconduit apply` and `capconduit export`.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

use crate::config::Config;
use crate::plan::{Did, Document};
use crate::routing::number::readers::{Claim, told};
use crate::screen::{Resolver, Screen};
use crate::store::{self, Db};

/// Reads the document and how to call it. One without any table would remove everything, and is more often a wrong file.
pub(super) fn read(file: &Path, allow_empty: bool) -> anyhow::Result<(String, Document)> {
    let (name, text) = text(file)?;
    let mut document = Document::parse(&text).with_context(|| format!("{name} is not applied"))?;
    let taken = document.take_passwords(password);
    taken.with_context(|| format!("{name} is not applied"))?;
    anyhow::ensure!(
        allow_empty || document != Document::default(),
        "{name} is not applied: it is empty ([[sellers]], [[clients]], [[dids]], [[campaigns]]: none is there), as a wrong file would \
         be, and with --prune everything would be removed; if it is meant add --allow-empty"
    );
    Ok((name, document))
}

/// The text of a file that holds a password; `None` where there is no such file.
fn password(path: &str) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// How a document is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Only tell what would change.
    pub(super) dry_run: bool,
    /// Remove what the document does not name.
    pub(super) prune: bool,
}

/// Makes the stored state what `document`, called `name`, says, and tells what changed and what it leaves open.
pub(super) async fn apply(
    db: &Db,
    config: &Config,
    name: &str,
    document: &Document,
    Options { dry_run, prune }: Options,
) -> anyhow::Result<String> {
    let screening = Screen::new(config, Resolver::system()).screening(document).await;
    let plan = if dry_run {
        store::apply::preview(db, &screening, document, prune).await
    } else {
        store::apply::apply(db, &config.realtime, &screening, document, prune).await
    };
    let plan = plan.with_context(|| format!("{name} is not applied"))?;
    if !dry_run {
        // A running `serve` does so too; without one, Asterisk must know the clients before it is asked for them.
        let published = store::realtime::publish(db, &config.realtime).await;
        published.with_context(|| format!("{name} is applied, but cannot be published to Asterisk (realtime.path)"))?;
    }
    let warnings: String = warnings(config, document).iter().map(|warning| format!("Warning: {warning}\n")).collect();
    let last = match (plan.is_empty(), dry_run) {
        (true, _) => "",
        (false, true) => "Nothing was changed (--dry-run).\n",
        (false, false) => "Applied.\n",
    };
    let remarks = plan.remarks();
    let between = if remarks.is_empty() { "" } else { "\n" };
    Ok(format!("{warnings}{plan}\n{remarks}{between}{last}"))
}

/// What the document says in a way that should be mended, and which of its DIDs are the same to some node.
fn warnings(config: &Config, document: &Document) -> Vec<String> {
    let mut warnings = document.warnings();
    if let Ok(state) = document.check() {
        let claims: Vec<_> = state.dids.iter().map(|(number, did)| claim(number, did)).collect();
        for (raw, other) in config.readers().overlaps(&claims, |_| true) {
            let (raw, other) = (claims[raw], claims[other]);
            let place = format!("dids[{:?}]", raw.number);
            warnings.push(told((&place, raw.seller), (other.number, other.seller)));
        }
    }
    warnings
}

fn claim<'a>(number: &'a String, did: &'a Did) -> Claim<'a, &'a str> {
    Claim { number, raw: did.raw, seller: did.seller.as_str() }
}

/// What is stored, as a document that `apply` takes.
pub(super) async fn export(db: &Db) -> anyhow::Result<String> {
    Ok(store::plan::export(db).await?.to_toml()?)
}

fn text(file: &Path) -> anyhow::Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read as UTF-8 text")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("FILE = {name:?} cannot be read; use a TOML file, or -"))?;
    Ok((name, text))
}
