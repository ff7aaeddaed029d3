//! What the tests of one build make once and then copy: copying a migrated database takes a tenth of the time that making one does.
//!
//! They lie in `target/tmp`, where `cargo clean` finds them. Programs that are no tests (demo, bench, chaos) have no such folder and make
//! everything anew.

#![allow(dead_code, reason = "each program that includes this uses a part of it")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capconduit::config::{Database, Realtime};
use capconduit::store::{self, Db};
use secrecy::SecretString;

/// A run takes minutes: older templates of another build are nobody's any more.
const KEPT: Duration = Duration::from_secs(3600);
/// Of what no build has a part in.
const ANY_BUILD: &str = "any-build";

/// Where templates are kept, if this is a test.
pub(crate) fn folder() -> Option<PathBuf> {
    option_env!("CARGO_TARGET_TMPDIR").map(|folder| Path::new(folder).join("templates"))
}

/// The template `name`, which depends on nothing that this build may change; `make` makes it at the path that it gets, if nobody has
/// made it. Other processes wait for that.
pub(crate) fn of_any_build(name: &str, make: impl FnOnce(&Path)) -> Option<PathBuf> {
    Some(made(&folder()?, &Path::new(ANY_BUILD).join(name), make))
}

/// The same for the running program as it was built: another build may know other steps.
pub(crate) fn of_this_build(name: &str, make: impl FnOnce(&Path)) -> Option<PathBuf> {
    let program = std::env::current_exe().expect("a running program has a path");
    let (file, built) =
        (program.file_name().unwrap_or_default(), built(&program).expect("a running program has a file"));
    Some(made(&folder()?, &Path::new(file).join(built).join(name), make))
}

/// When a program was built.
fn built(program: &Path) -> Option<String> {
    let built = std::fs::metadata(program).and_then(|file| file.modified()).ok()?;
    Some(built.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string())
}

fn made(folder: &Path, name: &Path, make: impl FnOnce(&Path)) -> PathBuf {
    let path = folder.join(name);
    if !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).expect("the target folder can be written");
        let lock = File::create(folder.join("lock")).expect("the target folder can be written");
        lock.lock().expect("a lock on a file of ours");
        if !path.exists() {
            remove_old(folder);
            let new = path.with_extension("new");
            remove(&new);
            make(&new);
            std::fs::rename(&new, &path).expect("it has been made");
        }
    }
    path
}

/// Of builds that are not there any more.
#[allow(clippy::disallowed_methods, reason = "the age of files is told by the system's clock")]
fn remove_old(folder: &Path) {
    let programs =
        std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned)).unwrap_or_default();
    let within = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for program in within(folder).filter(|entry| entry.file_name() != ANY_BUILD) {
        let now = built(&programs.join(program.file_name()));
        for build in within(&program.path()).filter(|build| build.file_name().to_str() != now.as_deref()) {
            let made = build.metadata().and_then(|file| file.modified()).unwrap_or(UNIX_EPOCH);
            if SystemTime::now().duration_since(made).is_ok_and(|age| age > KEPT) {
                remove(&build.path());
            }
        }
    }
}

fn remove(path: &Path) {
    // It is one of both, or none.
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_dir_all(path);
}

/// Puts a SQLite database that has all steps at `path`, with the folders above it; where there are no templates, nothing: whoever opens
/// it runs the steps that are missing.
pub(crate) fn sqlite(path: &Path) {
    let made = of_this_build("main.db", |new| {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let main = folder.path().join("main.db");
        migrate(&format!("sqlite://{}", main.display()), &Realtime::Sqlite { path: folder.path().join("unused.db") });
        // As one file, whoever may still have the other open.
        let database = rusqlite::Connection::open(&main).expect("a database of ours");
        database.execute("VACUUM INTO ?", [new.to_str().expect("a path in UTF-8")]).expect("it is copied");
        let mode = std::fs::metadata(&main).expect("it is there").permissions();
        std::fs::set_permissions(new, mode).expect("a file of ours");
    });
    if let Some(made) = made {
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder of ours");
        std::fs::copy(made, path).expect("a file of ours");
    }
}

/// Runs all steps in the database of this URL, on a thread of its own: a test's own cannot wait.
pub(crate) fn migrate(url: &str, realtime: &Realtime) {
    let database = Database { url: SecretString::from(url), max_connections: 1, wait: Duration::from_secs(60) };
    let steps = async {
        let db = Db::connect(&database).await.expect("the database opens");
        store::migrate(&db, realtime).await.expect("the steps run");
    };
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(steps);
    std::thread::scope(|scope| scope.spawn(run).join().expect("the steps run"));
}
