//! Looks at everything that a decision needs: the folder, the program, the running Asterisk, the machine.

use std::path::{Path, PathBuf};

use super::answers::{Running, version};
use super::console::NoAnswer;
use super::kind::{Kind, UNFINISHED};
use super::plan::Survey;
use super::reading::Reading;
use super::sharing::{Machine, Person, Shared};
use super::{Failure, Program, Setup, Tables, accounts, disk};

/// Where distributions put the modules, should neither the running Asterisk nor its configuration say.
const MODULES: [&str; 5] = [
    "/usr/lib/asterisk/modules",
    "/usr/lib64/asterisk/modules",
    "/usr/lib/x86_64-linux-gnu/asterisk/modules",
    "/usr/lib/aarch64-linux-gnu/asterisk/modules",
    "/usr/local/lib/asterisk/modules",
];

/// Everything as it is now.
///
/// # Errors
/// When the folder cannot be read, or Asterisk is there and does not answer in time.
pub(super) async fn survey(setup: &Setup) -> Result<Survey, Failure> {
    let path = setup.folder.as_path();
    let folder = disk::read(path)?;
    let mut running = running(setup).await?;
    if let Some(running) = &mut running
        && let Ok(real) = Path::new(&running.folder).canonicalize()
    {
        running.folder = real.display().to_string();
    }
    let main = Reading::of(&folder, "asterisk.conf");
    let configured = |section: &str, name: &str| main.value(section, name).map(str::to_owned);
    let version = match &running {
        Some(running) => running.version,
        None => setup.console.version().await.ok().and_then(|said| version(&said)),
    };
    let named = running.as_ref().map(|running| running.module_folder.clone()).filter(|folder| !folder.is_empty());
    let modules = named.or_else(|| configured("directories", "astmoddir"));
    let modules =
        modules.map(PathBuf::from).or_else(|| MODULES.map(PathBuf::from).into_iter().find(|folder| folder.exists()));
    let user = configured("options", "runuser");
    let now = setup.clock.now().wall.timestamp_millis();
    let uptime = running.as_ref().and_then(|running| running.uptime);
    // Every start writes this file, before it reads anything; the uptime is in whole seconds.
    let pid_file = running.as_ref().and_then(|running| disk::written_at(Path::new(&running.pid_file)));
    let by_uptime = || uptime.and_then(|uptime| Some(now - i64::try_from(uptime).ok()? * 1000));
    let written =
        [Kind::Sorcery.main().to_owned(), Kind::Sorcery.ours()].map(|name| disk::written_at(&path.join(name)));
    Ok(Survey {
        folder_uid: disk::look(path).map(|found| found.uid).unwrap_or_default(),
        program: Program {
            version,
            modules: modules.and_then(|folder| disk::names(&folder)).filter(|names| !names.is_empty()),
            ari_acl: running.as_ref().and_then(|running| running.ari_acl),
        },
        machine: machine(setup, running.as_ref(), user.as_deref()),
        unfinished: path.join(UNFINISHED).exists(),
        sorcery_at: folder.file(&Kind::Sorcery.ours()).and_then(|_| written.into_iter().flatten().max()),
        started_at: pid_file.or_else(by_uptime),
        running,
        folder,
    })
}

/// Who runs, if anybody answers.
///
/// # Errors
/// When one runs that is too slow to answer: it must not be taken for gone.
pub(super) async fn running(setup: &Setup) -> Result<Option<Running>, NoAnswer> {
    let ask = async |command: &str| match setup.console.ask(command).await {
        Ok(text) => Ok(Some(text)),
        Err(late @ NoAnswer::Late) => Err(late),
        Err(NoAnswer::Program { .. } | NoAnswer::Away(_)) => Ok(None),
    };
    let Some(settings) = ask("core show settings").await? else { return Ok(None) };
    let Some(uptime) = ask("core show uptime seconds").await? else { return Ok(None) };
    let Some(modules) = ask("module show").await? else { return Ok(None) };
    // Of a module of its own, which may not be there.
    let users = ask("ari show users").await?.unwrap_or_default();
    Ok(Some(Running::of(&settings, &uptime, &modules, &users)))
}

fn machine(setup: &Setup, running: Option<&Running>, user: Option<&str>) -> Machine {
    let asterisk = running.and_then(|running| std::fs::read_to_string(&running.pid_file).ok());
    let asterisk = asterisk.and_then(|pid| accounts::of_process(&pid));
    let asterisk = asterisk.or_else(|| accounts::named(user.unwrap_or("asterisk")));
    let owner = |path: &Path| disk::look(path).map(|found| accounts::person(found.uid, found.gid));
    let asterisk = asterisk.or_else(|| owner(&setup.folder)).unwrap_or_default();
    let controller = controller(
        disk::look(&setup.data_dir).map(|found| accounts::person(found.uid, found.gid)),
        accounts::whose_home(&setup.data_dir),
        accounts::named("capconduit"),
    );
    let joined = accounts::is_member(&controller, asterisk.gid);
    let tables = match &setup.wanted.tables {
        Tables::Sqlite { path } => Some(shared(Path::new(path), &["-wal", "-shm"])),
        Tables::Postgres { .. } => None,
    };
    let data = setup.data_dir.display().to_string();
    let spool = shared(Path::new(&setup.wanted.spool), &[]);
    let data = Some((data, disk::look(&setup.data_dir)));
    Machine { asterisk, controller, joined, data, tables, spool: Some(spool) }
}

/// PURE: who serves from the folder of data: its owner; where it is root's or not there, who has it for a home; else the user that packages
/// make, for a folder that is not there.
fn controller(owner: Option<Person>, at_home: Option<Person>, service: Option<Person>) -> Person {
    match owner {
        Some(owner) if owner.uid != 0 => owner,
        Some(root) => at_home.unwrap_or(root),
        None => at_home.or(service).unwrap_or_else(accounts::ourselves),
    }
}

fn shared(path: &Path, beside: &[&str]) -> Shared {
    let beside = beside.iter().map(|end| format!("{}{end}", path.display()));
    let beside = beside.filter_map(|path| disk::look(Path::new(&path)).map(|found| (path, found)));
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    Shared {
        path: path.display().to_string(),
        file: disk::look(path),
        beside: beside.collect(),
        above: above.map(|above| (above.display().to_string(), disk::look(above))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_owns_the_data_or_is_at_home_there() {
        let one = |uid: u32| Some(Person { uid, gid: uid, ..Person::default() });
        assert_eq!(Some(controller(one(1000), one(997), one(997))), one(1000), "a developer's");
        assert_eq!(Some(controller(one(0), one(997), one(997))), one(997), "root has put it there");
        assert_eq!(Some(controller(one(0), None, one(997))), one(0), "another folder of root's");
        assert_eq!(Some(controller(None, None, one(997))), one(997), "not there yet");
        assert_eq!(controller(None, None, None).uid, accounts::ourselves().uid);
    }
}
