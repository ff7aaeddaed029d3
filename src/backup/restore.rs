//! Reading a backup back, into a folder that nobody uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};

use super::archive::Archive;
use super::manifest::{Database, Manifest};
use super::{CONFIGURATION, DUMP, SPOOLS, SQLITE, Work};
use crate::config::{self, Config, DataLock, LockError, RESTORING, Realtime};
use crate::store::journal::copied::Settled;
use crate::store::{self, Db, dump, journal};
use crate::telemetry;

/// How the folder begins that everything is made ready in, within the folder that is restored into.
const WORK: &str = ".capconduit-restore-";
/// The lock of a data folder, which stays.
const LOCK: &str = "lock";

/// What is to be restored, and into what.
#[derive(Debug)]
pub struct Order<'a> {
    /// The configuration here.
    pub config: &'a Config,
    /// The archive.
    pub archive: Arc<Archive>,
    /// The new `data.dir`.
    pub into: &'a Path,
    /// Whether it goes on as the controller that was backed up, under its name: where that one will never run again.
    pub same_host: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What the archive said of itself.
    pub manifest: Manifest,
    /// Where the database is now, without any password.
    pub database: String,
    /// What was in the journal.
    pub settled: Settled,
    /// What the restored configuration says otherwise, and is to be seen to.
    pub remarks: Vec<String>,
}

/// Restores everything, or nothing.
///
/// # Errors
/// Whatever kept it from being restored, in a sentence.
pub async fn restore(order: &Order<'_>) -> anyhow::Result<Restored> {
    let manifest = readable(&order.archive)?;
    let target = Target::of(order, &manifest)?;
    let made = !order.into.exists();
    let restored = fill(order, &manifest, &target).await;
    if restored.is_err() && made {
        // Only where it is empty, which it is unless somebody else has put something there.
        let _ = std::fs::remove_file(order.into.join(LOCK));
        let _ = std::fs::remove_dir(order.into);
    }
    let Filled { database, settled, unpublished } = restored.context("nothing is restored")?;
    let mut remarks = remarks(order, &manifest);
    remarks.extend(unpublished.map(|error| {
        format!(
            "the SIP settings are not published to Asterisk yet (realtime.path): {}; `capconduit migrate` does it, or the next `serve`",
            telemetry::chain(&error)
        )
    }));
    Ok(Restored { database, settled, remarks, manifest })
}

/// Which database it goes into.
enum Target {
    Sqlite,
    Postgres(config::Database),
}

impl Target {
    fn of(order: &Order<'_>, manifest: &Manifest) -> anyhow::Result<Self> {
        let configured = &order.config.database;
        let sqlite = configured.url.expose_secret().starts_with("sqlite:");
        match manifest.database {
            Database::Sqlite if sqlite => Ok(Self::Sqlite),
            Database::Sqlite => {
                bail!("the backup has a SQLite database, and database.url here is PostgreSQL: leave database.url out")
            }
            Database::Postgres | Database::None if sqlite => bail!(
                "the backup is of a PostgreSQL database: let database.url (CAPCONDUIT__DATABASE__URL) name {}",
                if manifest.database == Database::None { "it" } else { "an empty one, which it goes into" }
            ),
            Database::Postgres | Database::None => Ok(Self::Postgres(configured.clone())),
        }
    }
}

/// What an archive says of itself, if this version can restore it.
///
/// # Errors
/// When it is damaged, or a newer version's.
pub fn readable(archive: &Archive) -> anyhow::Result<Manifest> {
    let manifest = archive.manifest()?;
    let unknown = manifest.schema.as_deref().filter(|step| !store::knows_step(step));
    if unknown.is_none() && manifest.journal_layout <= journal::LAYOUT {
        return Ok(manifest);
    }
    let (archive, made_by, own) = (archive.path().display(), &manifest.version, env!("CARGO_PKG_VERSION"));
    let what = unknown.map_or_else(|| "its journal".to_owned(), |step| format!("its tables ({step})"));
    bail!(
        "{archive} was made by CapConduit {made_by}, and {what} are newer than this version ({own}) knows: restore it with that version or a later one"
    )
}

/// What the folder was filled with.
struct Filled {
    database: String,
    settled: Settled,
    /// Why Asterisk cannot read its settings yet.
    unpublished: Option<anyhow::Error>,
}

/// Makes everything ready, then puts it in its place.
async fn fill(order: &Order<'_>, manifest: &Manifest, target: &Target) -> anyhow::Result<Filled> {
    let into = order.into;
    let _lock = free(into)?;
    let work = Work::begin(into, WORK).with_context(|| format!("{} cannot be written", into.display()))?;
    let ready = work.path("ready");
    std::fs::create_dir(&ready)?;
    let (archive, parts, folder) = (Arc::clone(&order.archive), manifest.clone(), ready.clone());
    tokio::task::spawn_blocking(move || archive.unpack(&parts, &folder)).await??;
    if !order.same_host {
        let own = ready.join("instance");
        if own.exists() {
            std::fs::remove_file(&own)?;
        }
        config::instance(&ready)?;
    }
    let db = match target {
        Target::Sqlite => {
            let url = format!("sqlite://{}", ready.join(SQLITE).display());
            let config = config::Database { url: SecretString::from(url), ..order.config.database.clone() };
            Db::connect(&config).await?
        }
        Target::Postgres(config) => {
            let db = Db::connect(config).await?;
            if manifest.database == Database::Postgres {
                let tables = dump::tables(&db).await?;
                let name = db.target();
                ensure!(
                    tables == 0,
                    "the database {name} is not empty ({tables} tables): let database.url name an empty one"
                );
                let there = dump::extent(&db).await?.namespace;
                let namespace = manifest.namespace.as_deref().unwrap_or(&there);
                ensure!(
                    namespace == there,
                    "the backup's tables are in schema {namespace}, and those of {name} would be in {there}: let database.url \
                     lead to a schema of that name (ALTER ROLE … SET search_path)"
                );
                dump::load(&config.url, namespace, ready.join(DUMP)).await?;
                std::fs::remove_file(ready.join(DUMP))?;
            }
            db
        }
    };
    let database = match target {
        Target::Sqlite => into.join(SQLITE).display().to_string(),
        Target::Postgres(_) => db.target().to_owned(),
    };
    let finished = finish(order, &db, &ready).await;
    db.close().await?;
    let placed = finished.and_then(|settled| move_in(&ready, into).map(|()| settled));
    let settled = match target {
        Target::Postgres(_) if manifest.database == Database::Postgres => placed.with_context(|| {
            format!("the database {database} has been filled meanwhile, and must be empty before the next try")
        })?,
        _ => placed?,
    };
    let unpublished = publish(order, target).await.err();
    Ok(Filled { database, settled, unpublished })
}

/// What is made of what was unpacked: tables up to date, and the journal without what the database has.
async fn finish(order: &Order<'_>, db: &Db, ready: &Path) -> anyhow::Result<Settled> {
    store::migrate(db, &order.config.realtime).await?;
    let path = ready.join(journal::FILE);
    Ok(if path.exists() { journal::copied::settle(db, &path).await? } else { Settled::default() })
}

/// Gives Asterisk the clients' settings, from the place where everything is now: the folder of `realtime.db` may have been there before, with
/// the group that Asterisk reads it by.
async fn publish(order: &Order<'_>, target: &Target) -> anyhow::Result<()> {
    let realtime = realtime(order);
    if let Realtime::Sqlite { path } = &realtime
        && order.config.data_dir != order.into
        && !path.starts_with(order.into)
    {
        bail!(
            "{} may be that of another controller, for data.dir is {}",
            path.display(),
            order.config.data_dir.display()
        );
    }
    let config = match target {
        Target::Sqlite => {
            let url = SecretString::from(format!("sqlite://{}", order.into.join(SQLITE).display()));
            config::Database { url, ..order.config.database.clone() }
        }
        Target::Postgres(config) => config.clone(),
    };
    let db = Db::connect(&config).await?;
    let published = store::realtime::publish(&db, &realtime).await;
    db.close().await?;
    Ok(published.map(drop)?)
}

/// Where Asterisk will read: as configured, and in the new data folder where that is in the configured one.
fn realtime(order: &Order<'_>) -> Realtime {
    match &order.config.realtime {
        Realtime::Sqlite { path } => match path.strip_prefix(&order.config.data_dir) {
            Ok(within) => Realtime::Sqlite { path: order.into.join(within) },
            Err(_) => Realtime::Sqlite { path: path.clone() },
        },
        Realtime::Postgres => Realtime::Postgres,
    }
}

/// Takes the folder, which must hold nothing.
fn free(into: &Path) -> anyhow::Result<DataLock> {
    let shown = into.display();
    if into.exists() {
        ensure!(into.is_dir(), "{shown} is not a folder: name one that is empty, or is not there yet");
        if into.join(RESTORING).exists() {
            let lock = DataLock::take_any(into)?;
            clear(into).with_context(|| format!("{shown} cannot be written"))?;
            return Ok(lock);
        }
        // The last is a file system's own.
        let is_ours = |name: &str| {
            name == LOCK || name.starts_with(WORK) || awaits_asterisk(&into.join(name)) || name == "lost+found"
        };
        let others = std::fs::read_dir(into).with_context(|| format!("{shown} cannot be read"))?;
        let found =
            others.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).find(|name| !is_ours(name));
        if let Some(found) = found {
            // Who is at it is more to the point than what is in it.
            if let Err(held @ LockError::Held { .. }) = DataLock::take(into) {
                return Err(held.into());
            }
            bail!("{shown} is not empty ({found} is in it): name a folder that is empty, or is not there yet");
        }
    }
    Ok(DataLock::take(into)?)
}

/// Whether it is the folder of `realtime.db` as packages make it, with nothing in it yet.
fn awaits_asterisk(path: &Path) -> bool {
    let empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    path.file_name().is_some_and(|name| name == "realtime") && path.is_dir() && empty()
}

/// Puts everything in its place. Should that be broken off, a mark keeps everybody out but the next restore, which begins anew.
fn move_in(ready: &Path, into: &Path) -> anyhow::Result<()> {
    let keep = || std::fs::File::open(into)?.sync_all();
    let moved = || -> std::io::Result<()> {
        std::fs::File::create(into.join(RESTORING))?;
        keep()?;
        for entry in std::fs::read_dir(ready)? {
            let name = entry?.file_name();
            std::fs::rename(ready.join(&name), into.join(&name))?;
        }
        keep()?;
        std::fs::remove_file(into.join(RESTORING))?;
        keep()
    };
    moved().map_err(|error| {
        // What cannot be cleared is by the next one.
        let _ = clear(into);
        anyhow!(error).context(format!("{} cannot be written", into.display()))
    })
}

/// Takes out what a restore that was broken off has put into a folder: all that is in it, for it was empty.
fn clear(into: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(into)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if [LOCK, RESTORING, "lost+found"].contains(&name) || name.starts_with(WORK) || awaits_asterisk(&path) {
            continue;
        }
        if std::fs::symlink_metadata(&path)?.is_dir() {
            std::fs::remove_dir_all(&path)?
        } else {
            std::fs::remove_file(&path)?
        }
    }
    match std::fs::remove_file(into.join(RESTORING)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What an operator has to see to.
fn remarks(order: &Order<'_>, manifest: &Manifest) -> Vec<String> {
    let (config, into, mut remarks) = (order.config, order.into, Vec::new());
    if config.data_dir != into {
        remarks.push(format!("data.dir here is {}: let it name {}", config.data_dir.display(), into.display()));
    }
    let url = config.database.url.expose_secret();
    let own = config.data_dir.join(SQLITE);
    if let Some(path) = url.strip_prefix("sqlite://").filter(|path| Path::new(path) != own) {
        remarks.push(format!(
            "database.url here is sqlite://{path}: leave it out, or let it name {}",
            into.join(SQLITE).display()
        ));
    }
    if manifest.database == Database::Postgres && config.realtime == Realtime::Postgres {
        let tables = "ps_endpoints, ps_aors, ps_auths, ps_endpoint_id_ips";
        remarks.push(format!(
            "rights are not in a backup: give Asterisk's role its own again (GRANT SELECT ON {tables} TO …)"
        ));
    }
    for part in manifest.parts.iter().filter(|part| part.name.starts_with(CONFIGURATION)) {
        let (file, path) = (into.join(&part.name), part.path.as_deref().unwrap_or("the configuration"));
        remarks.push(format!("{} was {path}: put it there, or where you have it now", file.display()));
    }
    for part in manifest.parts.iter().filter(|part| part.name.starts_with(SPOOLS)) {
        let (file, node): (PathBuf, _) = (into.join(&part.name), part.of.as_deref().unwrap_or("NODE"));
        remarks.push(format!(
            "calls that node {node:?}'s fallback had taken: `capconduit import-fallback --node {node:?} {:?}` records those that have no record",
            file.display().to_string()
        ));
    }
    if !manifest.variables.is_empty() {
        remarks.push(format!(
            "these variables of the environment were set, and are not in a backup: {}",
            manifest.variables.join(", ")
        ));
    }
    remarks
}
