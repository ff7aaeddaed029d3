//! Carries out what was decided: files, folders, a group, commands for the running Asterisk. What does not come out right is put back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::changes::{Change, changes};
use super::console::NoAnswer;
use super::folder::Folder;
use super::judge::{Answers, Finding, State, about_the_site, judge, questions};
use super::kind::{FOLDER, Kind, is_below};
use super::obstacles::Obstacle;
use super::ours::{SITE_FILES, site_file};
use super::plan::{LOAD, Plan, Survey, told};
use super::sharing::Share;
use super::stored::merged;
use super::survey::survey;
use super::target::{BEFORE, Owner, is_installed, removed, undone};
use super::{Restart, Setup, answers, disk, shown};

/// How long the running Asterisk may take to do what it was told, before that is judged.
const SETTLES: Duration = Duration::from_secs(3);
/// How long it may take to be there again.
const STARTS: Duration = Duration::from_secs(60);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(250);

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was changed.
    #[error("{}", stopped(.0))]
    Stopped(Vec<Obstacle>),
    /// Calls of ours are up.
    #[error(
        "CapConduit's calls are up ({}): wait until they end (`capconduit drain` lets no new ones in); --force removes all the same",
        .0.join(", ")
    )]
    Calls(Vec<String>),
    /// It was done and did not come out right: Asterisk's files are as they were.
    #[error("this went wrong, and Asterisk's files are as they were before:\n{}", list(.0))]
    PutBack(Vec<Finding>),
    /// A file could not be read or changed.
    #[error("{0}")]
    Disk(String),
    /// A command of the system, or of Asterisk's.
    #[error("{0}")]
    Command(String),
}

impl From<disk::DiskError> for Failure {
    fn from(error: disk::DiskError) -> Self {
        Self::Disk(error.to_string())
    }
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        Self::Command(error.to_string())
    }
}

fn stopped(obstacles: &[Obstacle]) -> String {
    let lines: Vec<String> = obstacles.iter().map(|one| format!("{}\n  → {}", one.found, one.mend)).collect();
    format!("nothing was changed, because of this:\n{}", lines.join("\n"))
}

fn list(findings: &[Finding]) -> String {
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong);
    let lines: Vec<String> = wrong.map(|one| format!("{}: {}\n  → {}", one.subject, one.found, one.mend)).collect();
    lines.join("\n")
}

/// What would be done, as text, and whether something stops it. Changes nothing.
///
/// # Errors
/// When the folder cannot be read.
pub async fn preview(setup: &Setup) -> Result<(String, bool), Failure> {
    let survey = survey(setup).await?;
    let plan = Plan::install(&survey, &merged(&setup.wanted, &survey.folder));
    Ok((shown::render(&survey, &plan), !plan.obstacles.is_empty()))
}

/// Looks at what the running Asterisk makes of it.
///
/// # Errors
/// When the folder cannot be read.
pub async fn check(setup: &Setup) -> Result<Vec<Finding>, Failure> {
    let survey = survey(setup).await?;
    if !is_installed(&survey.folder) {
        let mend = "see `capconduit asterisk preview`, and run `capconduit asterisk install`";
        return Ok(vec![wrong("files", format!("{} has nothing of CapConduit's", setup.folder.display()), mend)]);
    }
    findings(setup, &survey).await
}

fn wrong(subject: &str, found: String, mend: &str) -> Finding {
    Finding { subject: subject.to_owned(), state: State::Wrong, found, mend: mend.to_owned() }
}

async fn findings(setup: &Setup, survey: &Survey) -> Result<Vec<Finding>, Failure> {
    let Some(running) = &survey.running else {
        let found = match setup.console.ask("core show uptime").await {
            Err(error) => error.to_string(),
            Ok(_) => "it answers only in part".to_owned(),
        };
        return Ok(vec![wrong("Asterisk", found, "start it, and run this as root, or as Asterisk's user")]);
    };
    let wanted = merged(&setup.wanted, &survey.folder);
    let mut answers = Answers::new();
    for question in questions(survey, &wanted) {
        let answer = setup.console.ask(&question).await.unwrap_or_default();
        answers.insert(question, answer);
    }
    Ok(judge(survey, &wanted, running, &answers))
}

/// Brings ours in, or up to date; a second time there is nothing to do.
///
/// # Errors
/// When something stops it, or when it does not come out right; then all is put back.
pub async fn install(setup: &Setup, restart: Option<Restart>, say: &mut impl FnMut(&str)) -> Result<(), Failure> {
    let _lock = disk::lock(&setup.folder)?;
    let before = survey(setup).await?;
    let plan = Plan::install(&before, &merged(&setup.wanted, &before.folder));
    if !plan.obstacles.is_empty() {
        return Err(Failure::Stopped(plan.obstacles));
    }
    let site = match about_the_site(&before) {
        Some(question) => setup.console.ask(&question).await.unwrap_or_default(),
        None => String::new(),
    };
    let site_was_well = answers::context_of(&site).is_some();
    if plan.is_empty() && !before.unfinished {
        say("nothing to do: everything is as this release writes it");
    } else {
        bring_in(setup, &before, &plan, site_was_well, say).await?;
        plan.left.iter().for_each(|left| say(&format!("left to you: {left}")));
    }
    if before.running.is_none() {
        say("Asterisk does not run: it reads all of this when it is started");
        return Ok(());
    }
    match restart.filter(|_| plan.restart) {
        Some(restart) => start_anew(setup, restart, (&before, &plan), site_was_well, say).await?,
        None if plan.restart => {
            say("sorcery.conf is read by a start alone: until Asterisk is restarted no call centre can be dialled \
             (`capconduit asterisk install --restart when-idle`, or `now`)")
        }
        None => {}
    }
    Ok(())
}

async fn bring_in(
    setup: &Setup,
    before: &Survey,
    plan: &Plan,
    site_was_well: bool,
    say: &mut impl FnMut(&str),
) -> Result<(), Failure> {
    let owner = Owner { uid: before.folder_uid, gid: before.machine.asterisk.gid };
    disk::begin(&setup.folder, owner)?;
    let outcome = match carry_out(setup, before, plan, say).await {
        Ok(()) => settled(setup, before, site_was_well, plan.restart).await,
        Err(failure) => Err(failure),
    };
    let wrong = outcome
        .unwrap_or_else(|failure| vec![wrong("installation", failure.to_string(), "mend that, and run it again")]);
    if wrong.is_empty() {
        return Ok(disk::finish(&setup.folder)?);
    }
    say("something is wrong: putting the files back");
    let now = disk::read(&setup.folder)?;
    put_back(setup, &now, &undone(&now, &before.folder, &plan.changes), &plan.console).await?;
    Err(Failure::PutBack(wrong))
}

async fn carry_out(setup: &Setup, before: &Survey, plan: &Plan, say: &mut impl FnMut(&str)) -> Result<(), Failure> {
    for share in &plan.shares {
        say(&shown::share(share));
        self::share(setup, share).await?;
    }
    write(setup, &before.folder, &plan.changes)?;
    for change in told(&plan.changes) {
        say(&shown::change(&setup.folder, change));
    }
    reload(setup, &plan.console, say).await
}

/// Makes the changes, each of a file that is still as it was seen: what somebody has written meanwhile is not lost.
fn write(setup: &Setup, seen: &Folder, changes: &[Change]) -> Result<(), Failure> {
    let mut folder = seen.clone();
    for change in changes {
        let name = change.name();
        if !disk::is_still(&setup.folder, name, folder.file(name)) {
            return Err(Failure::Disk(format!("{name} was changed by somebody else meanwhile: run it again")));
        }
        disk::apply(&setup.folder, change)?;
        change.apply(&mut folder);
    }
    Ok(())
}

async fn reload(setup: &Setup, commands: &[String], say: &mut impl FnMut(&str)) -> Result<(), Failure> {
    let (loads, others): (Vec<&String>, Vec<&String>) = commands.iter().partition(|command| command.starts_with(LOAD));
    // What brings the tables comes first, what uses the modules last.
    let first = others.iter().take_while(|command| !command.starts_with("dialplan")).count();
    for command in &others[..first] {
        tell(setup, command, say).await?;
    }
    load(setup, loads, say).await?;
    for command in &others[first..] {
        tell(setup, command, say).await?;
    }
    Ok(())
}

/// Asterisk loads one module at a time and none before those that it depends on, which it tells nobody: what was not loaded is tried again as
/// long as others are. What cannot be loaded may be one that calls can do without: that is looked at afterwards.
async fn load(setup: &Setup, mut commands: Vec<&String>, say: &mut impl FnMut(&str)) -> Result<(), Failure> {
    loop {
        let mut failed = Vec::new();
        for command in &commands {
            if tell(setup, command, say).await?.contains("Unable to load") {
                failed.push(*command);
            }
        }
        if failed.is_empty() || failed.len() == commands.len() {
            return Ok(());
        }
        commands = failed;
    }
}

async fn tell(setup: &Setup, command: &str, say: &mut impl FnMut(&str)) -> Result<String, Failure> {
    say(&format!("asterisk -rx '{command}'"));
    let said = setup.console.ask(command).await?;
    if said.contains("No such command") {
        return Err(Failure::Command(format!("{command}: {}", said.trim())));
    }
    Ok(said)
}

/// What is wrong once Asterisk has done what it was told; the site's own counts where it was well before.
async fn settled(
    setup: &Setup,
    before: &Survey,
    site_was_well: bool,
    restart_due: bool,
) -> Result<Vec<Finding>, Failure> {
    let until = setup.clock.now().mono + SETTLES;
    loop {
        let mut survey = survey(setup).await?;
        survey.unfinished = false;
        if restart_due {
            // By the clock that may be in doubt, in the second of Asterisk's start.
            survey.sorcery_at = Some(i64::MAX);
        }
        if survey.running.is_none() && before.running.is_none() {
            return Ok(Vec::new());
        }
        let mut wrong = findings(setup, &survey).await?;
        wrong.retain(|finding| finding.state == State::Wrong && (site_was_well || finding.subject != "the site's own"));
        if wrong.is_empty() || setup.clock.now().mono > until {
            return Ok(wrong);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Leads the files to another state, and reloads the same.
async fn put_back(setup: &Setup, now: &Folder, to: &Folder, console: &[String]) -> Result<(), Failure> {
    write(setup, now, &changes(now, to))?;
    for command in console.iter().filter(|command| !command.starts_with(LOAD)) {
        // What was wrong may be that Asterisk does not answer.
        drop(setup.console.ask(command).await);
    }
    Ok(disk::finish(&setup.folder)?)
}

async fn share(setup: &Setup, share: &Share) -> Result<(), Failure> {
    match share {
        Share::Folder { path, uid, gid, mode } => disk::make_shared(Path::new(path), *uid, *gid, *mode)?,
        Share::Own { path, uid, gid, mode } => disk::give(Path::new(path), *uid, *gid, *mode)?,
        Share::Join { user, group } => run("usermod", &["-a", "-G", group, user], None).await?,
        Share::Tables { path } => {
            let owner = disk::look(&setup.data_dir).map(|found| (found.uid, found.gid));
            let mut arguments = Vec::new();
            if let Some(file) = &setup.configuration {
                arguments.extend(["--config".to_owned(), file.display().to_string()]);
            }
            arguments.push("migrate".to_owned());
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&setup.ourselves.display().to_string(), &arguments, owner).await?;
            disk::look(Path::new(path))
                .ok_or_else(|| Failure::Command(format!("`capconduit migrate` made no {path}")))?;
        }
    }
    Ok(())
}

/// Runs a program, as somebody else where that is asked for.
async fn run(program: &str, arguments: &[&str], who: Option<(u32, u32)>) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null());
    let own = rustix::process::geteuid().as_raw();
    if let Some((uid, gid)) = who.filter(|(uid, _)| *uid != own) {
        command.uid(uid).gid(gid);
    }
    let shown = format!("{program} {}", arguments.join(" "));
    let output = command.output().await.map_err(|error| Failure::Command(format!("{shown}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Command(format!("{shown}: {}", said.trim())))
}

/// Starts Asterisk anew, and looks whether all is well then.
async fn start_anew(
    setup: &Setup,
    restart: Restart,
    (before, plan): (&Survey, &Plan),
    site_was_well: bool,
    say: &mut impl FnMut(&str),
) -> Result<(), Failure> {
    let command = match restart {
        Restart::Now => "core restart now",
        Restart::WhenIdle => "core restart when convenient",
    };
    say(&format!("asterisk -rx '{command}'"));
    let (asked, had_run) = (setup.clock.now(), before.running.as_ref().and_then(|running| running.uptime));
    // It may be gone before it has answered.
    drop(setup.console.begin(command).await);
    loop {
        let waited = setup.clock.now().mono.saturating_sub(asked.mono);
        let there = super::survey::running(setup).await.unwrap_or_default();
        let is_anew = there.as_ref().is_some_and(|running| {
            // Every start writes this file; an uptime is in whole seconds.
            match disk::written_at(Path::new(&running.pid_file)).zip(before.started_at) {
                Some((written, started)) => written > started,
                None => running.uptime.is_some_and(|up| up + 1 < had_run.unwrap_or_default() + waited.as_secs()),
            }
        });
        match there {
            Some(_) if is_anew => break,
            // It waits for calls to end.
            Some(_) if restart == Restart::WhenIdle && waited > SETTLES => {
                say("Asterisk restarts when no call is up; then see `capconduit asterisk check`");
                return Ok(());
            }
            _ if waited > STARTS => {
                let left = take_back(setup, before, plan, &[], say).await?;
                let said = format!("Asterisk did not come back within {} s; {left}: start it", STARTS.as_secs());
                return Err(Failure::Command(said));
            }
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
    let booted = setup.console.ask("core waitfullybooted").await.map_err(Failure::from);
    let outcome = match booted {
        Ok(_) => settled(setup, before, site_was_well, false).await,
        Err(failure) => Err(failure),
    };
    let wrong = outcome.unwrap_or_else(|failure| vec![wrong("restart", failure.to_string(), "see Asterisk's log")]);
    if wrong.is_empty() {
        say("Asterisk was restarted, and all is well");
        return Ok(());
    }
    let reloads = Plan::remove(&survey(setup).await?, &setup.wanted).console;
    take_back(setup, before, plan, &reloads, say).await?;
    Err(Failure::PutBack(wrong))
}

/// After a restart that went wrong: what this run has changed, or, where that was nothing, all that is ours; what the files are now, in words.
async fn take_back(
    setup: &Setup,
    before: &Survey,
    plan: &Plan,
    reloads: &[String],
    say: &mut impl FnMut(&str),
) -> Result<&'static str, Failure> {
    let now = disk::read(&setup.folder)?;
    let (to, told) = if plan.changes.is_empty() {
        keep_site_files(setup, &now, say)?;
        (removed(&now), "what is CapConduit's was taken out")
    } else {
        (undone(&now, &before.folder, &plan.changes), "its files are as they were before")
    };
    say(&format!("something is wrong: {told}"));
    put_back(setup, &now, &to, reloads).await?;
    Ok(told)
}

/// Takes ours out: each file is as it was before, or keeps what was changed in it since.
///
/// # Errors
/// While calls of ours are up, unless it is forced.
pub async fn remove(setup: &Setup, force: bool, say: &mut impl FnMut(&str)) -> Result<(), Failure> {
    let _lock = disk::lock(&setup.folder)?;
    let before = survey(setup).await?;
    let plan = Plan::remove(&before, &setup.wanted);
    if plan.changes.is_empty() && !before.unfinished {
        // A run that was killed at its first or last step has left an empty folder.
        disk::finish(&setup.folder)?;
        say("nothing to do: there is nothing of CapConduit's");
        return Ok(());
    }
    if !force && !plan.obstacles.is_empty() {
        return Err(Failure::Stopped(plan.obstacles));
    }
    if before.running.is_some() && !force {
        let channels = setup.console.ask("core show channels concise").await?;
        let ours = answers::our_channels(&channels, &setup.wanted.app);
        if !ours.is_empty() {
            return Err(Failure::Calls(ours.into_iter().map(str::to_owned).collect()));
        }
    }
    keep_site_files(setup, &before.folder, say)?;
    let owner = Owner { uid: before.folder_uid, gid: before.machine.asterisk.gid };
    disk::begin(&setup.folder, owner)?;
    write(setup, &before.folder, &plan.changes)?;
    for change in told(&plan.changes) {
        say(&shown::change(&setup.folder, change));
    }
    reload(setup, &plan.console, say).await?;
    disk::finish(&setup.folder)?;
    say(
        "removed; folders, group membership, loaded modules and the realtime file are left, and Asterisk need not be restarted",
    );
    Ok(())
}

/// What the site has set in our folder goes with it: a copy is kept with the controller's data.
fn keep_site_files(setup: &Setup, folder: &Folder, say: &mut impl FnMut(&str)) -> Result<(), Failure> {
    let generated = |name: &str| Kind::ALL.iter().any(|kind| kind.ours() == name) || name.starts_with(BEFORE);
    let as_made = |name: &str| SITE_FILES.contains(&name) && folder.bytes(name) == Some(site_file(name).as_bytes());
    let theirs = folder.entries.keys().map(String::as_str).filter(|name| is_below(name));
    let changed: Vec<&str> = theirs.filter(|name| !generated(name) && !as_made(name)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let found = disk::look(&setup.data_dir).ok_or_else(|| {
        let (names, data) = (changed.join(", "), setup.data_dir.display());
        Failure::Disk(format!("{names}: these are yours, and there is no {data} to keep them in: copy them elsewhere"))
    })?;
    let at = setup.clock.now().wall.format("%Y%m%dT%H%M%S");
    let kept: PathBuf = setup.data_dir.join(format!("asterisk-removed-{at}"));
    disk::make_new(&kept, found.uid, found.gid, 0o700)?;
    for name in changed {
        let file = folder.file(name).cloned();
        let name = name.trim_start_matches(FOLDER).trim_start_matches('/').replace('/', "-");
        if let Some(mut file) = file {
            (file.uid, file.gid, file.mode) = (found.uid, found.gid, 0o600);
            disk::copy_to(&kept.join(&name), &file)?;
            say(&format!("kept: {}", kept.join(&name).display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
