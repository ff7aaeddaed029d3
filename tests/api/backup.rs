//! The drill: a backup beside calls, the host gone, and everything up to the backup is there elsewhere, once.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use capconduit::cdr::record::CallRecord;
use capconduit::config::Config;
use capconduit::id::CallId;
use capconduit::store::{self, journal, records};
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;

use crate::fake_ari::{Behaviour, FakeCall};
use crate::patience::PATIENCE;
use crate::postgres::Postgres;
use crate::site::{Database, Site};

const DID: &str = "+442071234567";
const TOKEN: &str = "thirty-two bytes of a metrics token";
const PLAN: &str = r#"
[[sellers]]
username = "acme"
name = "Acme"
[[clients]]
identifier = "north"
name = "North"
sip = { host = "127.0.0.11" }
[[dids]]
number = "+442071234567"
seller = "acme"
[[campaigns]]
name = "Solar"
seller = "acme"
routing_strategy = "priority"
dids = ["+442071234567"]
[[campaigns.links]]
client = "north"
total_calls_allowed = 1000
"#;

fn measured(config: &mut Config) {
    config.api.metrics_token = Some(SecretString::from(TOKEN));
    // Talks are up when it stops.
    config.calls.drain = Duration::ZERO;
}

/// The program, with a configuration in a folder of its own.
struct Cli {
    folder: TempDir,
}

impl Cli {
    /// For the data folder and the PostgreSQL database, if there is one.
    fn new(data: &Path, url: Option<&str>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let url = url.map_or_else(String::new, |url| format!("[database]\nurl = \"{url}\"\n"));
        let text = format!("[data]\ndir = \"{}\"\n{url}", data.display());
        std::fs::write(folder.path().join("capconduit.toml"), text).expect("a file");
        Self { folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capconduit"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs it beside the application; what it said.
    async fn run(&self, args: &[&str]) -> (bool, String) {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        said(&output.expect("it runs"))
    }

    /// As [`Cli::run`]; it must succeed.
    #[track_caller]
    fn must((good, said): (bool, String)) -> String {
        assert!(good, "{said}");
        said
    }
}

fn said(output: &Output) -> (bool, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(reached.await.is_ok(), "still not so: {what}");
}

async fn all(site: &Site) -> Vec<CallRecord> {
    records::recent(&site.db, 10_000).await.expect("the records are read")
}

fn call(site: &Site) -> FakeCall {
    site.asterisk.incoming("capconduit-1", DID, "+447700900123")
}

/// A metric's value.
async fn metric(site: &Site, name: &str) -> f64 {
    let answer = site.outside().send_with("/metrics", "authorization", format!("Bearer {TOKEN}")).await;
    let line = answer.text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let value = line.as_deref().and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {}", answer.text))
}

/// What is known of the site at the time of its backup.
struct Known {
    /// Records that there were when it began.
    records: Vec<CallRecord>,
    /// Channels of the talks that were under way.
    talks: Vec<String>,
    /// Channels of calls that came after it.
    later: Vec<String>,
    /// The controller's name.
    instance: String,
    /// A session's access token, and an API token.
    session: String,
    token: String,
}

async fn the_drill(database: Database) {
    let (mut site, backups) = (Site::start_with(database, measured).await, TempDir::new().expect("a folder"));
    let archive = backups.path().join("drill.tar.gz").display().to_string();
    let known = live_and_back_up(&site, &archive).await;
    site.stop().await;

    let (elsewhere, empty) =
        (TempDir::new().expect("a folder"), (database == Database::Postgres).then(Postgres::start));
    let cli = Cli::new(elsewhere.path(), empty.as_ref().map(Postgres::url).as_deref());
    let into = elsewhere.path().display().to_string();
    Cli::must(cli.run(&["restore", &archive, "--into", &into]).await);
    assert!(elsewhere.path().join("realtime/realtime.db").exists());
    assert_ne!(instance(elsewhere.path()), known.instance, "two with one name would take each other for themselves");
    let (good, said) = cli.run(&["restore", &archive, "--into", &into]).await;
    assert!(!good && said.contains("is not empty"), "{said}");

    let site = Site::on(elsewhere, empty, measured).await;
    until("the talks are closed", async || {
        let found = all(&site).await;
        known.talks.iter().all(|talk| of(&found, talk) == 1)
    })
    .await;
    everything_is_there_once(&site, &known).await;
    for who in [site.as_nobody().with_access_token(&known.session), site.as_nobody().with_api_token(&known.token)] {
        assert_eq!(who.get("/auth/me").await.expect(200)["user"]["username"], "acme");
    }
    site.as_user("acme").await;
    // And it goes on.
    site.asterisk.endpoint("north", brief());
    let next = call(&site);
    next.ended().await;
    until("it is recorded", async || of(&all(&site).await, next.id()) == 1).await;
    site.settle().await;
}

fn instance(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("instance")).expect("a name")
}

/// How many records there are of this channel.
fn of(found: &[CallRecord], id: &str) -> usize {
    found.iter().filter(|record| record.uniqueid == id).count()
}

fn brief() -> Behaviour {
    Behaviour::answers(0).hanging_up_after(20)
}

/// Thirty calls end, five go on; it is backed up while others come and go; and fifty more follow, of which nobody will hear.
async fn live_and_back_up(site: &Site, archive: &str) -> Known {
    site.apply(PLAN).await;
    site.in_force().await;
    let acme = site.as_seller("acme").await;
    let token = acme.post("/auth/tokens", json!({ "name": "script", "scope": "read" })).await.expect(201);
    let session = site.log_in("acme", crate::site::PASSWORD).await;
    let text = |value: &serde_json::Value| value.as_str().expect("a secret").to_owned();

    site.asterisk.endpoint("north", brief());
    for call in (0..30).map(|_| call(site)).collect::<Vec<FakeCall>>() {
        call.ended().await;
    }
    until("they are recorded", async || all(site).await.len() == 30).await;
    let records = all(site).await;
    site.asterisk.endpoint("north", Behaviour::answers(0));
    let talks: Vec<FakeCall> = (0..5).map(|_| call(site)).collect();
    for talk in &talks {
        talk.answered().await;
    }
    site.asterisk.endpoint("north", brief());
    let path = site.folder().join("journal.db");
    until("the journal knows of the talks", async || {
        journal::inspect(path.clone()).await.is_ok_and(|held| held.is_some_and(|held| held.open >= 5))
    })
    .await;
    let (cli, words) = (Cli::new(site.folder(), site.postgres_url().as_deref()), ["backup", archive]);
    let busy = async {
        for _ in 0..20 {
            call(site).ended().await;
        }
    };
    let (made, ()) = tokio::join!(cli.run(&words), busy);
    Cli::must(made);
    until("`serve` hears of it", async || metric(site, "capconduit_backup_age_seconds").await < 3600.0).await;

    let later: Vec<FakeCall> = (0..50).map(|_| call(site)).collect();
    for call in &later {
        call.ended().await;
    }
    until("they are recorded", async || all(site).await.len() == 100).await;
    let ids = |calls: &[FakeCall]| calls.iter().map(|call| call.id().to_owned()).collect();
    let (talks, later, instance) = (ids(&talks), ids(&later), instance(site.folder()));
    Known { records, talks, later, instance, session: text(&session["access_token"]), token: text(&token["secret"]) }
}

async fn everything_is_there_once(site: &Site, known: &Known) {
    let found = all(site).await;
    for record in &known.records {
        assert_eq!(found.iter().find(|one| one.call_id == record.call_id), Some(record), "as it was");
    }
    for talk in &known.talks {
        let record = found.iter().find(|record| record.uniqueid == *talk).expect("a record");
        assert_eq!(record.ending, "lost");
        assert!(record.ended_after.is_some() && record.ended_after < record.ended_before);
    }
    let ids: HashSet<CallId> = found.iter().map(|record| record.call_id).collect();
    assert_eq!(ids.len(), found.len(), "each once");
    let of_later = known.later.iter().filter(|id| of(&found, id) > 0).count();
    assert!((35..=55).contains(&found.len()) && of_later == 0, "{} records", found.len());
    // What counts is what is recorded, in the database and in memory.
    let counted = found.iter().flat_map(|record| &record.attempts).filter(|attempt| attempt.counted).count();
    let totals = store::snapshot::totals(&site.db).await.expect("read");
    assert_eq!(totals.values().sum::<u64>(), counted as u64);
    let used = "capconduit_cap_used{cap=\"link_total\"";
    let counted = u32::try_from(counted).expect("a few");
    until("caps are by the records", async || metric(site, used).await == f64::from(counted)).await;
}

/// In the other order it would be in neither: the database is dumped without it, and then it leaves the journal.
async fn a_record_that_moves_while_it_is_made_is_in_it() {
    let site = Site::start(Database::Postgres).await;
    site.apply(PLAN).await;
    site.in_force().await;
    site.asterisk.endpoint("north", Behaviour::answers(0).hanging_up_after(20));
    let url = site.postgres_url().expect("PostgreSQL");
    let (folder, path) = (TempDir::new().expect("a folder"), site.folder().join("journal.db"));
    // Lets `pg_dump` read, and nobody write.
    let mut lock = lock_records(&url).await;
    let waits = call(&site);
    waits.ended().await;
    let waiting = async || journal::inspect(path.clone()).await.expect("read").expect("a journal").waiting;
    until("its record waits", async || waiting().await == 1).await;

    let wrapper = folder.path().join("pg_dump");
    let text = "#!/bin/sh\nPATH=$REAL pg_dump \"$@\" || exit 1\n: > \"$FLAGS/dumped\"\nwhile [ ! -e \"$FLAGS/go\" ]; do sleep 0.05; done\n";
    std::fs::write(&wrapper, text).expect("a file");
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a file of ours");
    let archive = folder.path().join("moved.tar.gz").display().to_string();
    let cli = Cli::new(site.folder(), Some(&url));
    let real = std::env::var("PATH").unwrap_or_default();
    let mut command = cli.command(&["backup", &archive]);
    command.env("PATH", format!("{}:{real}", folder.path().display())).env("REAL", &real).env("FLAGS", folder.path());
    let backup = tokio::task::spawn_blocking(move || command.output());
    until("the database is dumped", async || folder.path().join("dumped").exists()).await;
    sqlx::Executor::execute(&mut lock, "ROLLBACK").await.expect("SQL");
    until("its record is in the database", async || waiting().await == 0 && all(&site).await.len() == 1).await;
    std::fs::write(folder.path().join("go"), "").expect("a file");
    Cli::must(said(&backup.await.expect("no panic").expect("it runs")));
    site.settle().await;

    let (elsewhere, empty) = (TempDir::new().expect("a folder"), Postgres::start());
    let cli = Cli::new(elsewhere.path(), Some(&empty.url()));
    let into = elsewhere.path().display().to_string();
    let told = Cli::must(cli.run(&["restore", &archive, "--into", &into]).await);
    assert!(told.contains("in the journal and are in it now: 1; calls that had not ended: 0"), "{told}");
    let site = Site::on(elsewhere, Some(empty), |_| {}).await;
    let found: Vec<String> = all(&site).await.into_iter().map(|record| record.uniqueid).collect();
    assert_eq!(found, [waits.id()]);
    let totals = store::snapshot::totals(&site.db).await.expect("read");
    assert_eq!(totals.values().sum::<u64>(), 1);
    site.settle().await;
}

/// A transaction in which no record can be written.
async fn lock_records(url: &str) -> sqlx::PgConnection {
    use sqlx::{Connection, Executor};
    let mut connection = sqlx::PgConnection::connect(url).await.expect("it opens");
    for statement in ["BEGIN", "LOCK TABLE call_logs IN SHARE MODE"] {
        connection.execute(statement).await.expect("SQL");
    }
    connection
}

/// Whatever is missing or in the way of PostgreSQL's part is told in a sentence, and nothing is made.
async fn what_is_missing_is_told() {
    let mut site = Site::start(Database::Postgres).await;
    site.apply(PLAN).await;
    let (url, folder) = (site.postgres_url().expect("PostgreSQL"), TempDir::new().expect("a folder"));
    let cli = Cli::new(site.folder(), Some(&url));
    let made = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let path = |name: &str| folder.path().join(name).display().to_string();

    let mut command = cli.command(&["backup", &path("a")]);
    let (good, told) = said(&command.env("PATH", folder.path()).output().expect("it runs"));
    for part in ["pg_dump", "is not installed", "postgresql-client", "--without-database"] {
        assert!(!good && told.contains(part) && told.lines().count() == 1, "{part} in {told}");
    }
    assert_eq!(made(), 0);
    let mut away = cli.command(&["backup", &path("a")]);
    let nowhere = "postgres://u:hunter2@127.0.0.1:1/n";
    let (good, told) = said(&away.env("CAPCONDUIT__DATABASE__URL", nowhere).output().expect("it runs"));
    assert!(!good && told.contains("127.0.0.1") && !told.contains("hunter2"), "{told}");
    assert_eq!(made(), 0);

    // Without the database nothing of PostgreSQL's is needed.
    let mut command = cli.command(&["backup", &path("rest"), "--without-database"]);
    let (good, told) = said(&command.env("PATH", folder.path()).output().expect("it runs"));
    assert!(good, "{told}");
    Cli::must(cli.run(&["backup", &path("all")]).await);
    let tables = site
        .sql("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        .await;

    let (empty, into) = (Postgres::start(), path("into"));
    let elsewhere = Cli::new(Path::new(&into), Some(&empty.url()));
    // Into the one that is in use it does not go.
    let (good, told) = cli.run(&["restore", &path("all"), "--into", &into]).await;
    assert!(!good && told.contains("is not empty") && !Path::new(&into).exists(), "{told}");
    let (good, told) = Cli::new(Path::new(&into), None).run(&["restore", &path("all"), "--into", &into]).await;
    assert!(!good && told.contains("database.url") && !Path::new(&into).exists(), "{told}");
    let mut command = elsewhere.command(&["restore", &path("all"), "--into", &into]);
    let (good, told) = said(&command.env("PATH", folder.path()).output().expect("it runs"));
    assert!(!good && told.contains("pg_restore") && !Path::new(&into).exists(), "{told}");

    Cli::must(elsewhere.run(&["restore", &path("all"), "--into", &into]).await);
    let restored =
        empty.psql("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1");
    assert_eq!(restored.lines().map(str::to_owned).collect::<Vec<_>>(), tables.expect("SQL"));
    // What was backed up without its database goes beside the one that is there.
    let beside = path("beside");
    let told = Cli::must(elsewhere.run(&["restore", &path("rest"), "--into", &beside]).await);
    assert!(told.contains("the database is as it was") && Path::new(&beside).join("token.key").exists(), "{told}");
    site.stop().await;
}

mod sqlite {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_drill() {
        super::the_drill(crate::site::Database::Sqlite).await;
    }
}

mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_drill() {
        super::the_drill(crate::site::Database::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_record_that_moves_while_it_is_made_is_in_it() {
        super::a_record_that_moves_while_it_is_made_is_in_it().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_missing_is_told() {
        super::what_is_missing_is_told().await;
    }
}
