//! The command line: what can be asked, and what each command prints. Results go to standard output, logs to standard error.
//!
//! Exit codes: 0 done; 1 failed, or `doctor` found faults; 2 the command line itself is wrong (clap).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "standard output and error belong to the command line")]

mod asterisk;
mod backup;
mod calls;
mod config;
pub mod doctor;
mod drain;
mod fallback;
mod generate;
mod health;
mod journal;
mod owner;
mod plan;
mod serve;
mod table;
mod user;
pub mod view;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use secrecy::ExposeSecret;

use crate::auth::roles::Role;
use crate::backup::archive::Archive;
use crate::clock::Clock;
use crate::config::{self as configuration, Config, Log, Sources};
use crate::plan::Document;
use crate::store::{self, Db};
use crate::telemetry::TelemetryError;
use crate::{api, telemetry};

const EXAMPLES: &str = "\
Examples:
  capconduit migrate                           make or update the tables
  capconduit apply plan.toml --dry-run         show what a routing plan would change
  capconduit apply plan.toml                   make it so; what it does not name is kept
  capconduit apply plan.toml --prune           the same, and remove what it does not name
  CAPCONDUIT__ASTERISK__0__PASSWORD=… capconduit doctor
  capconduit asterisk preview                  what it would add to an Asterisk that is in use
  capconduit serve                             route calls until SIGTERM or Ctrl-C, then hand over
  capconduit drain pbx-2                       empty a node: no new calls there, wait for the last to end
  capconduit calls --limit 20
  capconduit why 0199a8b0-4f3a                 the start of a call id is enough
  capconduit backup /var/backups               all that a new machine needs, in one file
  capconduit import-fallback --node pbx-2 f.log  record what a distant node's fallback took
  capconduit user add ann --role staff         who may use the API
  capconduit config show                       what is in force, and where it comes from

Configuration: defaults, then a file (--config FILE, else ./capconduit.toml, else /etc/capconduit/capconduit.toml), then
CAPCONDUIT__SECTION__KEY from the environment. capconduit.example.toml lists every key.

A command that root runs works as the owner of data.dir, so that what it makes is the service's; `asterisk` stays root.";

/// Routes sellers' inbound calls to call centres under strict caps, over Asterisk's ARI.
#[derive(Debug, Parser)]
#[command(name = "capconduit", version, after_help = EXAMPLES, max_term_width = 120)]
pub struct Cli {
    /// Configuration file [default: capconduit.toml, else /etc/capconduit/capconduit.toml, where there is one].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take calls from every configured Asterisk until SIGTERM or Ctrl-C, then hand over to the next start.
    ///
    /// Migrates the database first. At the end talks go on in Asterisk, and callers who wait, or come, hear ringing until the next start takes them; should none come within CAPCONDUIT_HOLD_SECONDS (3), they take the dialplan's fallback. To empty a node first: `capconduit drain`.
    Serve,
    /// Make the database's tables, or bring them up to date; safe to repeat.
    ///
    /// Also publishes the clients' SIP settings: in SQLite mode it makes realtime.db, which must be there before Asterisk starts.
    Migrate,
    /// Make the sellers, clients, DIDs, campaigns and links what FILE says, in one transaction.
    ///
    /// Prints the plan: + is added, ~ is changed, - is removed. What FILE does not name is listed and kept, unless --prune says otherwise: sellers, clients, DIDs, campaigns, links, the DIDs that feed a campaign, the sellers named for a client. A running `serve` follows within a second.
    Apply {
        /// A TOML file as `export` writes it; `-` reads standard input.
        file: PathBuf,
        /// Print the plan and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Remove what FILE does not name. What records refer to is kept as archived.
        #[arg(long)]
        prune: bool,
        /// Take a FILE without any table, which with --prune removes everything.
        #[arg(long)]
        allow_empty: bool,
    },
    /// Print what is configured as TOML that `apply` takes. SIP passwords are not in it: it names a file for each, which you fill in where they are not stored.
    Export,
    /// Put what CapConduit needs beside an Asterisk that is in use, see what it makes of it, and take it out again.
    #[command(subcommand)]
    Asterisk(asterisk::AsteriskCommand),
    /// Check the real set-up (database, Asterisk, realtime, dialplan) and say how to mend each fault; exit code 1 when there is one.
    Doctor,
    /// Empty a node: its new calls take the dialplan's fallback, talks go on; wait until none is left.
    ///
    /// Callers who are not answered within calls.drain_seconds are refused with 503, unless they hear a client already. Calls that the fallback sent to a last resort before are not waited for. The node stays drained, also when the controller is started anew, until `--end` says otherwise or its Asterisk is restarted.
    Drain(drain::DrainCommand),
    /// List recent calls, the latest first.
    ///
    /// A client in parentheses was the last one tried; the others answered.
    Calls {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        limit: u64,
        /// Print whole records as a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Tell why one call went as it did: the decision with every link's verdict, the attempts, the timeline.
    Why {
        /// The call id, or its beginning as `calls` prints it.
        call_id: String,
        /// Print the whole record as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Record the calls that a node's fallback took, from a copy of its spool: for nodes on other hosts, whose file `serve` cannot follow.
    ///
    /// Safe to repeat: a call that has a record gets no second one. Exit code 1 when a line cannot be read; the others are recorded.
    ImportFallback {
        /// The node's name in the configuration.
        #[arg(long, value_name = "NAME")]
        node: String,
        /// What its dialplan wrote (CAPCONDUIT_SPOOL), or a part of it.
        file: PathBuf,
    },
    /// Show what waits on this machine for the database, and what was set aside; set the file aside, or read back what was.
    ///
    /// A journal that a newer version has written is refused by `serve`: `journal set-aside` moves it away, with `serve` stopped, and calls go on. `journal restore` writes what a journal holds into the database.
    Journal {
        #[command(subcommand)]
        command: Option<journal::JournalCommand>,
    },
    /// Put all that a new machine needs to go on into one file: journal, database, keys, configuration. Beside a running `serve`.
    ///
    /// It holds secrets, and is readable by its owner only. Records that there were when it began are in it, and calls under way as the journal has them. Either the whole archive is made, or nothing. `capconduit_backup_age_seconds` says how long ago that was.
    Backup(backup::BackupArguments),
    /// Read a backup back into a new data.dir, or nothing of it.
    ///
    /// PostgreSQL's database goes into the one that database.url names, which must be empty. Calls that had not ended are taken over by the next `serve`, or recorded as lost.
    Restore(backup::RestoreArguments),
    /// Make realtime.db anew, where a newer version has made it.
    #[command(subcommand)]
    Realtime(journal::RealtimeCommand),
    /// Make a user, give it a password, or keep it from signing in; a running `serve` follows at once.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Check the configuration, or show what is in force and where it comes from.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Ask the running `serve` (api.listen) whether it lives: for container health checks. Exit code 1 when it does not.
    ///
    /// It lives while it serves, whatever the state of database and Asterisk, and as a standby too.
    Health,
    /// Write manual pages or completions; for packages.
    #[command(subcommand, hide = true)]
    Generate(generate::GenerateCommand),
    /// Print the management API's OpenAPI document.
    Openapi {
        /// Only what this role reaches, with the fields that it may set: admin, staff or seller.
        #[arg(long)]
        role: Option<Role>,
    },
}

/// A command, with what was read before it may have become another user.
#[derive(Debug)]
pub struct Prepared {
    command: Command,
    sources: Option<Sources>,
    before: Before,
    /// Whom it works as, where that is not the caller.
    user: Option<String>,
}

/// What only the caller may be able to read.
#[derive(Debug, Default)]
struct Before {
    document: Option<(String, Document)>,
    archive: Option<Archive>,
    /// What root's `doctor` found beside a site's Asterisk.
    beside: Option<Vec<doctor::Check>>,
}

/// Reads what the caller names, and becomes whom the command works as: to be called while there is one thread.
///
/// # Errors
/// Whatever cannot be read, to be shown by [`fail`].
pub fn prepare(Cli { config: file, command }: Cli) -> anyhow::Result<Prepared> {
    let mut prepared = Prepared { command, sources: None, before: Before::default(), user: None };
    let sources = match &prepared.command {
        Command::Openapi { .. } | Command::Generate(_) => return Ok(prepared),
        Command::Config(config::ConfigCommand::Check { of_process: Some(pid) }) => config::of_process(*pid)?,
        _ => Sources::read(file.as_deref())?,
    };
    // Root's own files, which the owner of data.dir may be unable to read.
    if let Command::Apply { file, allow_empty, .. } = &prepared.command {
        prepared.before.document = Some(plan::read(file, *allow_empty)?);
    }
    if let Command::Restore(arguments) = &prepared.command {
        prepared.before.archive = Some(arguments.open()?);
    }
    if let Command::Doctor = &prepared.command {
        prepared.before.beside = asterisk::beside_as_root(file.as_deref());
    }
    let (folder, makes) = match &prepared.command {
        // It asks nothing but the network, or changes what is Asterisk's.
        Command::Health | Command::Asterisk(_) => (None, owner::Makes::Nothing),
        Command::Restore(arguments) => (Some(arguments.folder()?), owner::Makes::DataDir),
        Command::Serve | Command::Migrate => (sources.data_dir(), owner::Makes::DataDir),
        _ => (sources.data_dir(), owner::Makes::Nothing),
    };
    prepared.user = folder.map(|folder| owner::become_owner(&sources, &folder, makes)).transpose()?.flatten();
    // What it could not read itself is not its configuration.
    let again = prepared.user.as_deref().map(|user| sources.again().with_context(|| as_user(user))).transpose()?;
    prepared.sources = Some(again.unwrap_or(sources));
    Ok(prepared)
}

fn as_user(user: &str) -> String {
    format!("as {user}, who owns the data folder")
}

/// Carries out one command.
///
/// # Errors
/// Whatever kept it from being done, to be shown by [`fail`].
pub async fn run(prepared: Prepared) -> anyhow::Result<ExitCode> {
    let Prepared { command, sources, before, user } = prepared;
    let done = match (command, sources) {
        (Command::Openapi { role }, _) => print(&api::spec(role)?),
        (Command::Generate(command), _) => generate::run(&command),
        (command, Some(sources)) => carry_out(command, &sources, before).await,
        (_, None) => Err(anyhow::anyhow!("no configuration was read")),
    };
    done.map_err(|error| if let Some(user) = user { error.context(as_user(&user)) } else { error })
}

async fn carry_out(
    command: Command,
    sources: &Sources,
    Before { document, archive, beside }: Before,
) -> anyhow::Result<ExitCode> {
    for sentence in configuration::unread_variables(std::env::vars_os().map(|(name, _)| name)) {
        warn(&sentence);
    }
    match &command {
        Command::Config(command) => return config::run(sources, command),
        Command::Health => return health::run(sources).await,
        _ => {}
    }
    let config = sources.config()?;
    init_logs(&config.log, &command)?;
    match command {
        Command::Serve => serve::run(config, sources.clone()).await,
        Command::Migrate => migrate(&config).await,
        Command::Apply { dry_run, prune, .. } => {
            let (name, document) = document.context("no plan was read")?;
            let options = plan::Options { dry_run, prune };
            print(&plan::apply(&open(&config).await?, &config, &name, &document, options).await?)
        }
        Command::Export => print(&plan::export(&open(&config).await?).await?),
        Command::Doctor => {
            config.require_ari()?;
            let checks = doctor::examine(&config, beside, Clock::start()).await;
            print(&doctor::render(&checks))?;
            Ok(if doctor::failures(&checks) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Asterisk(command) => asterisk::run(&config, sources.file().map(Into::into), command).await,
        Command::Drain(command) => drain::run(&config, command).await,
        Command::Calls { limit, json } => print(&calls::recent(&open(&config).await?, limit, json).await?),
        Command::Why { call_id, json } => print(&calls::why(&open(&config).await?, &call_id, json).await?),
        Command::ImportFallback { node, file } => fallback::import(&config, &node, &file).await,
        Command::Journal { command } => journal::run(&config, command).await,
        Command::Backup(arguments) => backup::backup(&config, sources, &arguments).await,
        Command::Restore(arguments) => {
            backup::run_restore(&config, archive.context("no archive was read")?, &arguments).await
        }
        Command::Realtime(journal::RealtimeCommand::SetAside) => journal::set_realtime_aside(&config).await,
        Command::User(command) => print(&user::run(&open(&config).await?, command).await?),
        // Done before there was a configuration.
        Command::Openapi { .. } | Command::Generate(_) | Command::Config(_) | Command::Health => Ok(ExitCode::SUCCESS),
    }
}

/// A sentence on standard error that stops nothing.
fn warn(sentence: &str) {
    eprintln!("capconduit: warning: {}", table::lines(sentence));
}

/// Prints an error on standard error, with what caused it.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("capconduit: {}", table::lines(&telemetry::chain(error)));
    ExitCode::FAILURE
}

/// A command whose result is what it prints stays quiet below warnings, and `doctor`, whose report tells every fault, below errors;
/// unless a filter is configured.
fn init_logs(log: &Log, command: &Command) -> Result<(), TelemetryError> {
    let filter = match command {
        Command::Serve => return telemetry::init_logs(log),
        _ if log.filter != Log::DEFAULT_FILTER => return telemetry::init_logs(log),
        Command::Doctor => "error",
        _ => "warn",
    };
    telemetry::init_logs(&Log { filter: filter.to_owned(), ..log.clone() })
}

/// The SQLite file of the configuration where it is not there yet: opening it would make it.
fn absent_file(config: &Config) -> Option<&str> {
    let path = config.database.url.expose_secret().strip_prefix("sqlite://")?;
    (!Path::new(path).exists()).then_some(path)
}

/// Opens the database and refuses one whose tables are not up to date.
async fn open(config: &Config) -> anyhow::Result<Db> {
    if let Some(path) = absent_file(config) {
        anyhow::bail!(
            "the database {path} does not exist yet: run `capconduit migrate`, or correct database.url or data.dir"
        );
    }
    let db = Db::connect(&config.database).await?;
    let missing = store::pending(&db, &config.realtime).await?;
    anyhow::ensure!(
        missing.is_empty(),
        "the database {} is not up to date ({} migrations are missing): run `capconduit migrate`",
        db.target(),
        missing.len()
    );
    Ok(db)
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    config.require_data_dir()?;
    let db = Db::connect(&config.database).await?;
    let missing = store::pending(&db, &config.realtime).await?;
    store::migrate(&db, &config.realtime).await?;
    if let Some(mut completion) = store::later::Completion::begin(&db).await? {
        while completion.step().await? {}
    }
    publish(&db, config).await?;
    match missing.as_slice() {
        [] => print(&format!("{} is up to date\n", db.target())),
        steps => print(&format!("{}: ran {}\n", db.target(), steps.join(", "))),
    }
}

/// Puts the clients' SIP settings where Asterisk reads them. In SQLite mode this makes the file, which must exist before Asterisk starts.
async fn publish(db: &Db, config: &Config) -> anyhow::Result<()> {
    let published = store::realtime::publish(db, &config.realtime).await;
    published.map(drop).context("the SIP settings cannot be published to Asterisk (realtime.path)")
}

/// Writes a result to standard output. A reader that has closed it (`| head`) has what it wanted.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match std::io::stdout().lock().write_all(format!("{text}{newline}").as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_help_names_every_command() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for word in [
            "serve",
            "migrate",
            "apply",
            "export",
            "asterisk",
            "doctor",
            "drain",
            "calls",
            "why",
            "import-fallback",
            "journal",
            "backup",
            "restore",
            "realtime",
            "user",
            "config",
            "health",
            "openapi",
            "CAPCONDUIT__ASTERISK__0__PASSWORD",
        ] {
            assert!(help.contains(word), "{word} in {help}");
        }
    }

    #[test]
    fn options_are_read_and_bad_ones_refused() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        assert!(matches!(parse("capconduit apply - --dry-run").unwrap().command, Command::Apply { dry_run: true, .. }));
        assert_eq!(parse("capconduit calls --config x.toml").unwrap().config, Some("x.toml".into()));
        for bad in [
            "capconduit",
            "capconduit calls --limit 0",
            "capconduit calls --limit -1",
            "capconduit why",
            "capconduit apply",
            "capconduit import-fallback spool.log",
            "capconduit backup",
            "capconduit backup x --keep 0",
            "capconduit restore x",
            "capconduit dial",
            "capconduit config",
            "capconduit config check --of-process x",
            "capconduit generate man",
            "capconduit user",
            "capconduit user add ann",
            "capconduit user add ann --role king",
            "capconduit user disable acme --stop-routing --keep-routing",
            "capconduit asterisk",
            "capconduit asterisk install --restart later",
            "capconduit asterisk preview --force",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
