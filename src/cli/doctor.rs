//! `capconduit doctor`: looks at a real set-up and says how to mend what is wrong. Changes nothing but, when no controller is
//! running, one line in the fallback's spool (see [`probe`]).

mod judge;
mod numbers;
mod own_name;
mod probe;
mod report;
mod spool;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{self, Config, Realtime};
use crate::descriptors::{self, Needs};
use crate::inspect;
use crate::routing::snapshot::{Client, Status};
use crate::store::plan::Address;
use crate::store::realtime::Unfit;
use crate::store::{self, Db, StoreError};

pub use report::{Check, Outcome, failures, render};

/// Makes every check, the database first, then each node in the order of the configuration. `beside`: what root has found already beside
/// the Asterisk of this host.
pub async fn examine(config: &Config, mut beside: Option<Vec<Check>>, clock: Clock) -> Vec<Check> {
    let (mut checks, clients, addresses) = database(config).await;
    checks.push(realtime_file(&config.realtime).await);
    checks.push(journal(config).await);
    checks.push(judge::descriptors(Needs::of(config), descriptors::hard_limit(&config.data_dir)));
    let serving = config::serving(&config.data_dir).is_some();
    for (index, node) in config.nodes.iter().enumerate() {
        let facts = probe::node(index, node, config.calls.request_timeout, serving, &clients, clock).await;
        checks.extend(judge::node(index, node, &config.realtime, &facts));
        let folder = facts.copy.as_ref().map(|copy| copy.folder.as_path());
        if folder.is_some() {
            checks.push(own_name::check(&node.name, clock).await);
        }
        if let Some(transports) = folder.and_then(inspect::transports) {
            checks.extend(judge::transports(&format!("{}: transports", node.name), &transports, &addresses));
        }
        if let Some(folder) = folder.filter(|_| !facts.globals.beside.is_empty()) {
            let clients = clients.iter().map(|client| client.identifier.to_string()).collect();
            checks.extend(super::asterisk::beside(config, node, folder, clients, beside.take(), clock).await);
        }
        checks.push(spool::check(index, node, &facts.globals.spool));
    }
    checks
}

/// The checks of the database, and the active clients and their addresses in it.
type Database = (Vec<Check>, Vec<Arc<Client>>, Vec<Address>);

/// Where nothing can be read of it.
fn only(check: Check) -> Database {
    (vec![check], Vec::new(), Vec::new())
}

/// Checks the database and reads the active clients from it.
async fn database(config: &Config) -> Database {
    const SUBJECT: &str = "database";
    let migrate = "run `capconduit migrate`, or start `capconduit serve`, which does it";
    if let Some(path) = super::absent_file(config) {
        return only(Check::failed(SUBJECT, format!("{path} does not exist yet"), migrate));
    }
    let db = match Db::connect(&config.database).await {
        Ok(db) => db,
        Err(StoreError::Connect { target, reason, mend }) => {
            return only(Check::failed(SUBJECT, format!("{target}: {reason}"), mend));
        }
        Err(error) => {
            let mend = "correct database.url (CAPCONDUIT__DATABASE__URL)";
            return only(Check::failed(SUBJECT, error.to_string(), mend));
        }
    };
    match store::server::look(&db).await {
        Err(error) => {
            return only(Check::failed(SUBJECT, error.to_string(), "see the database's log"));
        }
        Ok(server) if !server.is_utf8() => {
            let found = format!("{} is encoded in {}", db.target(), server.encoding);
            return only(Check::failed(SUBJECT, found, store::server::RECODE));
        }
        Ok(server) if server.read_only => {
            let found = format!("{} takes no changes (a standby, or default_transaction_read_only)", db.target());
            let mend = "promote it, or let database.url (CAPCONDUIT__DATABASE__URL) name the server that does: meanwhile records wait here";
            let (mut checks, clients, addresses) = tables(SUBJECT, &db, config, migrate).await;
            checks.insert(0, Check::failed(SUBJECT, found, mend));
            return (checks, clients, addresses);
        }
        Ok(_) => {}
    }
    tables(SUBJECT, &db, config, migrate).await
}

async fn tables(subject: &str, db: &Db, config: &Config, migrate: &str) -> Database {
    match store::pending(db, &config.realtime).await {
        Err(error) => only(Check::failed(subject, error.to_string(), migrate)),
        Ok(steps) if !steps.is_empty() => {
            let found = format!("{}: {} migrations are missing: {}", db.target(), steps.len(), steps.join(", "));
            only(Check::failed(subject, found, migrate))
        }
        Ok(_) => read_routing(subject, db, config).await,
    }
}

async fn read_routing(subject: &str, db: &Db, config: &Config) -> Database {
    let snapshot = match store::snapshot::load(db).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            return only(Check::failed(subject, error.to_string(), "correct the row it names"));
        }
    };
    let found = format!(
        "{}, up to date; {} DIDs, {} campaigns, {} clients",
        db.target(),
        snapshot.dids.len(),
        snapshot.campaigns.len(),
        snapshot.clients.len()
    );
    let numbers = numbers::check(&snapshot, &config.readers());
    let mut clients: Vec<_> = snapshot.clients.into_values().filter(|client| client.status == Status::Active).collect();
    clients.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    // What cannot be read of them is told where routing reads them.
    let addresses = store::plan::addresses(db).await.unwrap_or_default();
    (vec![Check::ok(subject, found), numbers], clients, addresses)
}

async fn realtime_file(realtime: &Realtime) -> Check {
    const SUBJECT: &str = "realtime";
    let Realtime::Sqlite { path } = realtime else {
        return Check::ok(SUBJECT, "ps_* tables in the database".to_owned());
    };
    let (shown, folder) = (path.display(), path.parent().unwrap_or(path).display());
    let readme = "(asterisk/README.md, \"SQLite or PostgreSQL\")";
    match store::realtime::inspect(path).await {
        Ok(()) => match other_owner(path) {
            None => Check::ok(SUBJECT, shown.to_string()),
            Some(uid) => Check::warning(
                SUBJECT,
                format!("{shown} belongs to another user (uid {uid})"),
                format!("run every `capconduit` command as one user, and give it the file: chown {shown} {readme}"),
            ),
        },
        Err(unfit @ (Unfit::Absent | Unfit::NoTables)) => Check::failed(
            SUBJECT,
            format!("{shown} {unfit}"),
            format!("run `capconduit migrate`, then restart Asterisk, before which the file must be there {readme}"),
        ),
        Err(Unfit::Newer(sentence)) => Check::failed(
            SUBJECT,
            sentence,
            "run `capconduit realtime set-aside` with `serve` stopped; Asterisk may run on",
        ),
        Err(unfit) => Check::failed(
            SUBJECT,
            format!("{shown} {unfit}"),
            format!(
                "stop Asterisk, remove {shown} if Asterisk made it, let this user and Asterisk's group own {folder} with mode 2770, \
                 run `capconduit migrate`, start Asterisk {readme}"
            ),
        ),
    }
}

/// What waits on this machine for the database.
async fn journal(config: &Config) -> Check {
    const SUBJECT: &str = "journal";
    let path = config.data_dir.join(store::journal::FILE);
    let shown = path.display().to_string();
    match store::journal::inspect(path).await {
        Ok(None) => Check::ok(SUBJECT, format!("{shown} is made at the first start")),
        Ok(Some(held)) if held.set_aside > 0 => Check::warning(
            SUBJECT,
            format!("{shown} holds {} records that the database refused", held.set_aside),
            "`capconduit journal` says why; mend the database, stop `serve`, and run `capconduit journal restore`",
        ),
        Ok(Some(held)) => Check::ok(
            SUBJECT,
            format!("{shown}: {} calls under way, {} records wait for the database", held.open, held.waiting),
        ),
        Err(error @ StoreError::Newer { command, .. }) => {
            Check::failed(SUBJECT, error.to_string(), format!("stop `serve` and run `{command}`"))
        }
        Err(error) => Check::failed(
            SUBJECT,
            error.to_string(),
            format!(
                "let this user own {shown}; a damaged file can be moved away, and with it go the records that wait in it"
            ),
        ),
    }
}

/// The user whose file it is, where that is not the one we run as.
fn other_owner(path: &Path) -> Option<u32> {
    let owner = |path: &Path| std::fs::metadata(path).map(|found| found.uid()).ok();
    let (file, own) = (owner(path)?, owner(Path::new("/proc/self"))?);
    (file != own).then_some(file)
}
