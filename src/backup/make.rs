//! Making a backup. Nothing that it does makes a call wait: the journal and SQLite have one reader more, PostgreSQL has another client, and the
//! rest is files.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use nix::unistd::{User, geteuid};
use secrecy::ExposeSecret as _;

use super::manifest::{Database, FORMAT, Manifest, Part};
use super::{CONFIGURATION, DUMP, KEPT, SPOOLS, SQLITE, Work, archive, stamp};
use crate::cdr::spool;
use crate::config::{Config, Origins};
use crate::store::journal::{self, aside};
use crate::store::{self, Db};

/// How the folder begins that an archive is made in, beside where it will be.
const WORK: &str = ".capconduit-backup-";
/// How the time is written in an archive's name, and how that ends.
const TIME: &str = "%Y%m%dT%H%M%SZ";
const END: &str = ".tar.gz";

/// What is to be backed up, and to where.
#[derive(Debug)]
pub struct Order<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// Where that comes from.
    pub sources: &'a Origins,
    /// The archive to make, or the folder in which to make one.
    pub target: &'a Path,
    /// Whether the database is left out.
    pub without_database: bool,
    /// How many of the archives in that folder are kept, the new one included.
    pub keep: Option<usize>,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The archive.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Older ones that are gone for it.
    pub removed: usize,
    /// What is not in it, and why, in a sentence each.
    pub remarks: Vec<String>,
}

/// Makes an archive, or nothing.
///
/// # Errors
/// Whatever kept it from being made, in a sentence.
pub async fn make(order: &Order<'_>, now: DateTime<Utc>) -> anyhow::Result<Made> {
    let series = series(order);
    let path = target(order, &series, now)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let work = Work::begin(&parent, WORK).with_context(|| {
        let user = User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |user| user.name);
        format!(
            "no backup is made: {} cannot be written by {user}; name a folder of its own, such as one made by \
             `install -d -m 700 -o {user} /var/backups/capconduit`",
            parent.display()
        )
    })?;
    let mut remarks = Vec::new();
    let (manifest, bytes) = fill(order, &work, now, &mut remarks).await.context("no backup is made")?;
    publish(&work.path("archive"), &path)
        .with_context(|| format!("no backup is made: {} cannot be written", path.display()))?;
    drop(work);
    if let Err(error) = stamp::write(&order.config.data_dir, manifest.made_at) {
        remarks.push(format!(
            "the time of this backup could not be noted in {}, so `serve` will call it overdue: {error}",
            order.config.data_dir.display()
        ));
    }
    let removed = order.keep.map_or(0, |keep| thin_out(&path, &series, keep, &mut remarks));
    Ok(Made { path, bytes, removed, remarks })
}

/// The archive's path.
fn target(order: &Order<'_>, series: &str, now: DateTime<Utc>) -> anyhow::Result<PathBuf> {
    let Order { target, keep, .. } = order;
    let shown = target.display();
    if target.is_dir() {
        let path = target.join(format!("{series}{}{END}", now.format(TIME)));
        ensure!(!path.exists(), "{} exists already: try again in a second", path.display());
        return Ok(path);
    }
    ensure!(keep.is_none(), "--keep needs a folder of backups, which are named by the time: {shown} is not a folder");
    // A link that leads nowhere is in the way, too.
    ensure!(target.symlink_metadata().is_err(), "{shown} exists already: name another file, or a folder");
    Ok(target.to_path_buf())
}

/// How the names of archives begin that take each other's place: of this controller, for others may use the folder, and of the same kind, for
/// one without the database replaces none that has it.
fn series(order: &Order<'_>) -> String {
    // None where `serve` has never run here.
    let instance = std::fs::read_to_string(order.config.data_dir.join("instance")).unwrap_or_default();
    let instance: String = instance.chars().take_while(char::is_ascii_alphanumeric).take(8).collect();
    let instance = if instance.is_empty() { "new" } else { &instance };
    let without = if order.without_database { "without-database-" } else { "" };
    format!("capconduit-{instance}-{without}")
}

/// Puts everything into an archive in the work folder.
async fn fill(
    order: &Order<'_>,
    work: &Work,
    now: DateTime<Utc>,
    remarks: &mut Vec<String>,
) -> anyhow::Result<(Manifest, u64)> {
    let mut parts = Vec::new();
    // The order is the point: see the module above.
    let journal_layout = journals(order.config, work, &mut parts, remarks).await?;
    let Copied { database, schema, namespace } = database(order, work, &mut parts).await?;
    files(order, work, &mut parts, remarks)?;
    if !order.sources.variables.is_empty() {
        let names = order.sources.variables.join(", ");
        remarks.push(format!("settings that came from the environment are not in it: {names}"));
    }
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: now,
        database,
        schema,
        namespace,
        journal_layout,
        parts: Vec::new(),
        variables: order.sources.variables.clone(),
    };
    let (folder, archive) = (work.folder.clone(), work.path("archive"));
    let packing = tokio::task::spawn_blocking(move || {
        let weigh = |part: Part| {
            let weighed = archive::weigh(&part.name, &folder.join(&part.name))?;
            Ok(Part { path: part.path, of: part.of, ..weighed })
        };
        let parts = parts.into_iter().map(weigh).collect::<std::io::Result<Vec<_>>>()?;
        let manifest = Manifest { parts, ..manifest };
        archive::pack(&manifest, &folder, &archive)?;
        Ok::<_, std::io::Error>((manifest, std::fs::metadata(&archive)?.len()))
    });
    packing.await?.context("the archive cannot be written")
}

/// The journal, and those that were set aside, which hold records, too. The layout of its tables.
async fn journals(
    config: &Config,
    work: &Work,
    parts: &mut Vec<Part>,
    remarks: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let folder = &config.data_dir;
    if !folder.is_dir() {
        bail!("there is no data folder {}: correct data.dir", folder.display());
    }
    let files = aside::files(folder)?;
    require_space(config, work, 2 * files.iter().map(|path| length(path)).sum::<u64>())?;
    let mut of_journal = 0;
    for path in files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let copied = store::copy::sqlite(path.clone(), work.path(&name)).await;
        if name == journal::FILE {
            of_journal = copied?;
        } else if let Err(error) = copied {
            // Those that were set aside may be of any version, or damaged: that may be why. A restore does not open them.
            let _ = std::fs::remove_file(work.path(&name));
            copy(&path, &name, work).with_context(|| format!("cannot copy {}", path.display()))?;
            remarks.push(format!("{name} was set aside and is copied as it is: {error}"));
        }
        parts.push(part(name));
    }
    Ok(of_journal)
}

/// A SQLite file's length, with what waits in the log beside it.
fn length(path: &Path) -> u64 {
    let log = PathBuf::from(format!("{}-wal", path.display()));
    [path, &log].into_iter().filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.len()).sum()
}

/// Refuses to fill a disk with so many bytes: the archive's, and where that is the journal's, too, the space without which no new calls are
/// taken.
fn require_space(config: &Config, work: &Work, bytes: u64) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(&work.folder).context("the space on the disk is not known")?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let is_the_journals = device(&work.folder) == device(&config.data_dir);
    let kept = if is_the_journals { config.journal.min_free_bytes } else { 0 };
    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
    ensure!(
        free >= bytes.saturating_add(kept),
        "it may take {} MB, and the disk has {} MB free{}: name a folder on another disk, or remove old ones",
        mb(bytes),
        mb(free),
        if kept > 0 {
            format!(", of which {} are the journal's (journal.min_free_mb)", mb(kept))
        } else {
            String::new()
        }
    );
    Ok(())
}

/// What was copied of the database.
struct Copied {
    database: Database,
    /// The newest step of its tables.
    schema: Option<String>,
    /// The schema that PostgreSQL has them in.
    namespace: Option<String>,
}

async fn database(order: &Order<'_>, work: &Work, parts: &mut Vec<Part>) -> anyhow::Result<Copied> {
    if order.without_database {
        return Ok(Copied { database: Database::None, schema: None, namespace: None });
    }
    let config = &order.config.database;
    let path = config.url.expose_secret().strip_prefix("sqlite://").map(PathBuf::from);
    if let Some(path) = &path {
        let shown = path.display();
        ensure!(path.exists(), "the database {shown} does not exist yet: correct database.url or data.dir");
    }
    let db = Db::connect(config).await?;
    let schema = store::newest_step(&db).await?;
    let extent = if path.is_none() { Some(store::dump::extent(&db).await?) } else { None };
    db.close().await?;
    if let Some(path) = path {
        require_space(order.config, work, 2 * length(&path))?;
        store::copy::sqlite(path, work.path(SQLITE)).await?;
        parts.push(part(SQLITE.to_owned()));
        return Ok(Copied { database: Database::Sqlite, schema, namespace: None });
    }
    let extent = extent.context("the database is neither SQLite nor PostgreSQL")?;
    require_space(order.config, work, extent.bytes)?;
    let dumped = store::dump::dump(&config.url, &extent, work.path(DUMP)).await;
    dumped.map_err(|error| {
        anyhow!("{error}; or leave the database out (--without-database), and back it up by other means")
    })?;
    parts.push(part(DUMP.to_owned()));
    Ok(Copied { database: Database::Postgres, schema, namespace: Some(extent.namespace) })
}

/// Keys, the configuration and what it names, and spools.
fn files(order: &Order<'_>, work: &Work, parts: &mut Vec<Part>, remarks: &mut Vec<String>) -> anyhow::Result<()> {
    let Order { config, sources, .. } = order;
    for name in KEPT {
        let path = config.data_dir.join(name);
        match copy(&path, name, work) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            copied => copied.with_context(|| format!("cannot copy {}", path.display()))?,
        }
        parts.push(part(name.to_owned()));
    }
    let of_configuration = |path: &Path| Some(path.display().to_string());
    if let Some(path) = &sources.file {
        let name = format!("{CONFIGURATION}/capconduit.toml");
        copy(path, &name, work).with_context(|| format!("cannot copy {}", path.display()))?;
        parts.push(Part { path: of_configuration(path), ..part(name) });
    }
    for (n, (key, path)) in sources.named.iter().enumerate() {
        let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = format!("{CONFIGURATION}/files/{n}-{last}");
        copy(path, &name, work).with_context(|| format!("cannot copy {}, which {key} names", path.display()))?;
        parts.push(Part { path: of_configuration(path), of: Some(key.clone()), ..part(name) });
    }
    for node in &config.nodes {
        let Some(path) = node.fallback_spool.as_ref() else { continue };
        // Most of what is in them has its record already.
        let absent = |path: &Path, error| format!("{} is not in it: {error}", path.display());
        let files = match spool::files(path) {
            Ok(files) => files,
            Err(error) => {
                remarks.push(absent(path, error));
                continue;
            }
        };
        for file in files {
            // What rotation has put behind the name.
            let named = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (name, own) = (named(&file), named(path));
            let behind = name.strip_prefix(&own).unwrap_or_default();
            let name = format!("{SPOOLS}/{}.log{behind}", node.name);
            match copy(&file, &name, work) {
                Ok(()) => parts.push(Part { path: of_configuration(&file), of: Some(node.name.clone()), ..part(name) }),
                Err(error) => remarks.push(absent(&file, error)),
            }
        }
    }
    Ok(())
}

fn part(name: String) -> Part {
    Part { name, bytes: 0, sha256: String::new(), path: None, of: None }
}

fn copy(from: &Path, name: &str, work: &Work) -> std::io::Result<()> {
    let to = work.path(name);
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(from, to).map(drop)
}

/// Gives the archive its name, unless somebody has it meanwhile.
fn publish(archive: &Path, path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, archive, CWD, path, RenameFlags::NOREPLACE) {
        // A file system that does not know of it. That nobody had the name was looked at before.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(archive, path)?,
        renamed => renamed?,
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(parent)?.sync_all()
}

/// Removes all but the newest `keep` archives of a series in the folder that one was just made in; how many.
fn thin_out(made: &Path, series: &str, keep: usize, remarks: &mut Vec<String>) -> usize {
    let (Some(folder), Some(made)) = (made.parent(), made.file_name()) else { return 0 };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut removed = 0;
    // Whatever the clock said when the others were made.
    let others = names.filter(|name| name != made).filter_map(|name| name.into_string().ok());
    for name in superfluous(others.collect(), series, keep - 1) {
        match std::fs::remove_file(folder.join(&name)) {
            Ok(()) => removed += 1,
            Err(error) => remarks.push(format!("{name} could not be removed: {error}")),
        }
    }
    removed
}

/// Of these names in a folder those of archives of a series, but for the newest `keep`.
fn superfluous(names: Vec<String>, series: &str, keep: usize) -> Vec<String> {
    let is_ours = |name: &String| {
        let time = name.strip_prefix(series).and_then(|rest| rest.strip_suffix(END));
        time.is_some_and(|time| chrono::NaiveDateTime::parse_from_str(time, TIME).is_ok())
    };
    let mut ours: Vec<String> = names.into_iter().filter(is_ours).collect();
    ours.sort();
    ours.truncate(ours.len().saturating_sub(keep));
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_series_go_first_and_what_has_another_name_stays() {
        let names = [
            "capconduit-0199a8b0-20261130T030000Z.tar.gz",
            "capconduit-0199a8b0-20261129T030000Z.tar.gz",
            "capconduit.tar.gz",
            "capconduit-0199a8b0-20261128T030000Z.tar.gz",
            "capconduit-before-the-upgrade.tar.gz",
            "capconduit-0199a8b0-20261127T030000Z.tar.gz.old",
            // Another controller's, and one without the database.
            "capconduit-77777777-20261120T030000Z.tar.gz",
            "capconduit-0199a8b0-without-database-20261121T030000Z.tar.gz",
        ];
        let gone = |keep| superfluous(names.map(str::to_owned).to_vec(), "capconduit-0199a8b0-", keep);
        let oldest = "capconduit-0199a8b0-20261128T030000Z.tar.gz";
        assert_eq!(gone(2), [oldest]);
        assert_eq!(gone(1), [oldest, "capconduit-0199a8b0-20261129T030000Z.tar.gz"]);
        assert!(gone(3).is_empty() && gone(30).is_empty());
        let partial = superfluous(names.map(str::to_owned).to_vec(), "capconduit-0199a8b0-without-database-", 0);
        assert_eq!(partial, ["capconduit-0199a8b0-without-database-20261121T030000Z.tar.gz"]);
    }
}
