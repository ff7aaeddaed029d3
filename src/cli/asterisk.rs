//! `capconduit asterisk`: CapConduit beside an Asterisk that is in use.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use super::doctor::{self, Check};
use crate::clock::Clock;
use crate::config::{Config, Node, Realtime};
use crate::dropin::{self, Finding, Listen, Restart, Setup, State, Tables, Wanted};
use crate::inspect;
use crate::routing::snapshot::Status;
use crate::store::{self, Db};

#[derive(Debug, Subcommand)]
pub(super) enum AsteriskCommand {
    /// Show what `install` would change, how it would come into force, and what stops it; change nothing.
    ///
    /// Exit code 1 when something stops it.
    Preview(Which),
    /// Add what CapConduit needs to an Asterisk that is in use, bring it into force by reloads, and check it.
    ///
    /// All of it stands in capconduit.d in Asterisk's folder; each of the site's own files gets one line at its end. What does not come out right is put back. Safe to repeat. Asterisk is not restarted unless --restart says so, which one part waits for.
    Install {
        #[command(flatten)]
        which: Which,
        /// Restart Asterisk where that is due: `now` ends its calls, `when-idle` waits until there is none.
        #[arg(long, value_name = "WHEN")]
        restart: Option<When>,
    },
    /// Ask the running Asterisk whether all that CapConduit needs is in force; exit code 1 when something is wrong.
    Check {
        #[command(flatten)]
        which: Which,
        /// Print the checks as a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Take out what `install` added: each file is as it was before, or keeps what was changed in it since.
    Remove {
        #[command(flatten)]
        which: Which,
        /// Also while calls of CapConduit's are up.
        #[arg(long)]
        force: bool,
    },
}

/// Which Asterisk, and how.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Asterisk's configuration folder [default: the one that the running Asterisk reads, else /etc/asterisk].
    #[arg(long, value_name = "DIR")]
    etc: Option<PathBuf>,
    /// Asterisk's program, by which the running one is asked (`-rx`) [default: asterisk in the PATH or in /usr/sbin].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The node's name in the configuration [default: the first on this host].
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Where the site has PJSIP objects in realtime: add ours to its families, with the next priority.
    #[arg(long)]
    share_realtime: bool,
    /// Let the site's CDR have rows of CapConduit's calls, too.
    #[arg(long)]
    site_cdr: bool,
    /// Where ARI listens for other hosts as well: go on, and let CapConduit's user in from this host alone.
    #[arg(long)]
    foreign_ari: bool,
    /// With realtime.mode = "postgres": Asterisk's role in the database, which may read the ps_* tables [default: asterisk].
    #[arg(long, value_name = "ROLE")]
    pgsql_role: Option<String>,
    /// The file with that role's password.
    #[arg(long, value_name = "FILE")]
    pgsql_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum When {
    Now,
    WhenIdle,
}

pub(super) async fn run(config: &Config, file: Option<PathBuf>, command: AsteriskCommand) -> anyhow::Result<ExitCode> {
    let clock = Clock::start();
    let mut say = |line: &str| println!("{}", super::table::safe(line));
    match command {
        AsteriskCommand::Preview(which) => {
            let (text, stopped) = dropin::preview(&setup(config, file, &which, clock).await?).await?;
            super::print(&super::table::lines(&text))?;
            Ok(if stopped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        AsteriskCommand::Install { which, restart } => {
            let restart = restart.map(|when| match when {
                When::Now => Restart::Now,
                When::WhenIdle => Restart::WhenIdle,
            });
            dropin::install(&setup(config, file, &which, clock).await?, restart, &mut say).await?;
            Ok(ExitCode::SUCCESS)
        }
        AsteriskCommand::Check { which, json } => {
            let checks = checks(dropin::check(&setup(config, file, &which, clock).await?).await?);
            super::print(&if json { serde_json::to_string_pretty(&checks)? + "\n" } else { doctor::render(&checks) })?;
            Ok(if doctor::failures(&checks) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        AsteriskCommand::Remove { which, force } => {
            dropin::remove(&setup(config, file, &which, clock).await?, force, &mut say).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What was found, as `doctor` tells it.
fn checks(findings: Vec<Finding>) -> Vec<Check> {
    let check = |Finding { subject, state, found, mend }: Finding| match state {
        State::Well => Check::ok(&subject, found),
        State::Due => Check::warning(&subject, found, mend),
        State::Wrong => Check::failed(&subject, found, mend),
        State::Unknown => Check::skipped(&subject, found),
    };
    findings.into_iter().map(check).collect()
}

/// For root's `doctor`, which works as another user: what `check` finds, by a process that stays root's. `None` where the caller is not root, or
/// there is nothing to check.
pub(super) fn beside_as_root(config: Option<&Path>) -> Option<Vec<Check>> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let mut check = std::process::Command::new(std::env::current_exe().ok()?);
    check.args(["asterisk", "check", "--json"]);
    if let Some(file) = config {
        check.arg("--config").arg(file);
    }
    // What it cannot do `doctor` says of itself.
    serde_json::from_slice(&check.stderr(Stdio::null()).output().ok()?.stdout).ok()
}

/// The checks of a node on this host that has ours beside its own, for `doctor`; none where there is nothing of ours. `found`: what root has
/// found already.
pub(super) async fn beside(
    config: &Config,
    node: &Node,
    folder: &Path,
    clients: Vec<String>,
    found: Option<Vec<Check>>,
    clock: Clock,
) -> Vec<Check> {
    let named = |mut check: Check| {
        check.subject = format!("{}: beside its site, {}", node.name, check.subject);
        check
    };
    if let Some(found) = found {
        return found.into_iter().map(named).collect();
    }
    let look = async {
        let wanted = wanted(config, node, clients, None, None)?;
        let data = (config.data_dir.clone(), None);
        let setup = Setup::of(Some(folder.to_owned()), program(None), wanted, data, clock).await?;
        anyhow::Ok(if setup.may_ask().await { Some(dropin::check(&setup).await?) } else { None })
    };
    let subject = format!("{}: beside its site", node.name);
    match look.await {
        Ok(Some(findings)) => checks(findings).into_iter().map(named).collect(),
        Ok(None) => {
            let found = "not asked: its console is for root and Asterisk's user; run this as root".to_owned();
            vec![Check::skipped(&subject, found)]
        }
        Err(error) => vec![Check::skipped(&subject, error.to_string())],
    }
}

async fn setup(config: &Config, file: Option<PathBuf>, which: &Which, clock: Clock) -> anyhow::Result<Setup> {
    let named = |node: &&Node| which.node.as_ref().is_none_or(|name| *name == node.name);
    let mut nodes = config.nodes.iter().filter(named);
    let node = match &which.node {
        Some(name) => nodes.next().with_context(|| format!("no [[asterisk]] is named {name:?}"))?,
        None => nodes.find(|node| inspect::is_local(node)).context(
            "no [[asterisk]] of the configuration is on this host (asterisk[].url): run this on the node itself, or name it with --node",
        )?,
    };
    let password = which.pgsql_password_file.as_ref().map(|file| {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        anyhow::Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
    });
    let clients = clients(config).await;
    let mut wanted = wanted(config, node, clients, which.pgsql_role.clone(), password.transpose()?)?;
    (wanted.share_realtime, wanted.site_cdr) = (which.share_realtime, which.site_cdr);
    wanted.foreign_ari = which.foreign_ari;
    let file = file.map(std::path::absolute).transpose()?;
    let data = (config.data_dir.clone(), file);
    Ok(Setup::of(which.etc.clone(), program(which.program.clone()), wanted, data, clock).await?)
}

/// Root's PATH has it, others' often not.
fn program(named: Option<PathBuf>) -> PathBuf {
    let usual =
        || ["/usr/sbin/asterisk", "/usr/local/sbin/asterisk"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || std::env::split_paths(&path).map(|folder| folder.join("asterisk")).find(|path| path.is_file());
    named.or_else(found).or_else(usual).unwrap_or_else(|| "asterisk".into())
}

fn wanted(
    config: &Config,
    node: &Node,
    clients: Vec<String>,
    role: Option<String>,
    password: Option<SecretString>,
) -> anyhow::Result<Wanted> {
    let tables = match &config.realtime {
        Realtime::Sqlite { path } => Tables::Sqlite { path: std::path::absolute(path)?.display().to_string() },
        Realtime::Postgres => postgres(config.database.url.expose_secret(), role, password)?,
    };
    let spool = node.fallback_spool.as_ref().map(std::path::absolute).transpose()?;
    Ok(Wanted {
        app: node.app.clone(),
        apps: node.apps,
        user: node.user.clone(),
        password: node.password.clone(),
        listen: listen(&node.url)?,
        spool_unset: spool.is_none(),
        spool: spool.map_or_else(|| dropin::SPOOL.to_owned(), |path| path.display().to_string()),
        tables,
        clients,
        share_realtime: false,
        site_cdr: false,
        foreign_ari: false,
    })
}

/// Where the controller looks for ARI.
fn listen(url: &str) -> anyhow::Result<Listen> {
    let url: reqwest::Url = url.parse().context("asterisk[].url")?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = if host == "localhost" { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { host.parse() };
    let Ok(address) = address else {
        bail!(
            "asterisk[].url names {host:?}: for an Asterisk on this host use its address, such as http://127.0.0.1:8088"
        )
    };
    let port = url.port_or_known_default().unwrap_or(dropin::HTTP_PORT);
    Ok(Listen { address, port, tls: url.scheme() == "https" })
}

/// The controller's own database, as Asterisk reaches it.
fn postgres(url: &str, role: Option<String>, password: Option<SecretString>) -> anyhow::Result<Tables> {
    let url: reqwest::Url =
        url.parse().ok().context("database.url cannot be read, which names the database of the ps_* tables")?;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let socket = url.query_pairs().find(|(name, _)| name == "host").map(|(_, folder)| folder.into_owned());
    let host = socket.unwrap_or_else(|| decoded(url.host_str().unwrap_or("127.0.0.1")));
    let (port, database) = (url.port().unwrap_or(5432), decoded(url.path().trim_start_matches('/')));
    Ok(Tables::Postgres { host, port, database, user: role.unwrap_or_default(), password })
}

/// Identifiers of clients, active ones first; none where the database cannot be read: `doctor` says why.
async fn clients(config: &Config) -> Vec<String> {
    if super::absent_file(config).is_some() {
        return Vec::new();
    }
    let Ok(db) = Db::connect(&config.database).await else { return Vec::new() };
    let Ok(snapshot) = store::snapshot::load(&db).await else { return Vec::new() };
    let there = snapshot.clients.into_values().filter(|client| client.status != Status::Archived);
    let mut clients: Vec<_> = there.collect();
    clients.sort_by_key(|client| (client.status != Status::Active, client.identifier.to_string()));
    clients.iter().map(|client| client.identifier.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_ari_and_the_database_are_is_read_from_the_configuration() {
        let at = |url: &str| listen(url).map(|found| (found.address.to_string(), found.port, found.tls)).ok();
        assert_eq!(at("http://127.0.0.1:8088"), Some(("127.0.0.1".to_owned(), 8088, false)));
        assert_eq!(at("https://[::1]:8089"), Some(("::1".to_owned(), 8089, true)));
        assert_eq!(at("http://localhost"), Some(("127.0.0.1".to_owned(), 80, false)));
        assert_eq!(at("http://pbx.example.com:8088"), None);
        let tables = |url: &str| match postgres(url, None, None).expect("it is one") {
            Tables::Postgres { host, port, database, user, .. } => format!("{user}@{host}:{port}/{database}"),
            Tables::Sqlite { .. } => String::new(),
        };
        assert_eq!(tables("postgres://me:secret@db.example.com/calls"), "@db.example.com:5432/calls");
        assert_eq!(tables("postgres://me@localhost:5433/calls?host=/run/postgresql"), "@/run/postgresql:5433/calls");
    }

    #[test]
    fn findings_are_told_as_doctor_tells_them() {
        let finding = |state| Finding { subject: "x".to_owned(), state, found: "y".to_owned(), mend: "z".to_owned() };
        let states = [State::Well, State::Due, State::Wrong, State::Unknown].map(finding);
        let checks = checks(states.into());
        let text = doctor::render(&checks);
        for line in ["ok    x  y", "warn  x  y", "FAIL  x  y", "skip  x  y"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        // As root's `doctor` has them from another process.
        let passed: Vec<Check> = serde_json::from_str(&serde_json::to_string(&checks).unwrap()).unwrap();
        assert_eq!(passed, checks);
    }
}
