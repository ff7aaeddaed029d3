//! One running application with its database, a fake Asterisk, and users of each role.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capconduit::app;
use capconduit::auth::hasher;
use capconduit::auth::principal::Actor;
use capconduit::auth::roles::Role;
use capconduit::config::{Config, Realtime, Transport};
use capconduit::plan::Document;
use capconduit::screen::{Resolver, Screen};
use capconduit::store::users::{self, NewUser, OwnPassword};
use capconduit::store::{self, Db};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::fake_ari::FakeAri;
use crate::patience::PATIENCE;
use crate::ports::Ports;
use crate::postgres::Postgres;
use crate::templates;

/// Tests ask faster than people do.
const FAST: &str = "requests_per_second = 100000\nburst = 1000000\n";
/// Tests log in more often, too.
const MANY: &str = "sessions_per_user = 1000\ntokens_per_user = 10000\n";
/// Of the admin and of every user that [`Site::user`] makes.
pub(crate) const PASSWORD: &str = "violet tractor hums low";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// The names that there are; nothing asks a real server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dns(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl Dns {
    /// From now on `name` leads to these addresses; none: it does not resolve.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.0.lock().expect("no test panicked inside").insert(name.to_owned(), addresses);
    }

    fn resolver(&self) -> Resolver {
        let names = self.clone();
        Resolver::new(move |name| {
            let found = names.0.lock().expect("no test panicked inside").get(&name).cloned();
            Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
        })
    }
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) asterisk: FakeAri,
    pub(crate) db: Db,
    pub(crate) config: Config,
    pub(crate) dns: Dns,
    running: Option<(CancellationToken, JoinHandle<anyhow::Result<()>>)>,
    postgres: Option<Postgres>,
    _ports: Ports,
    dir: TempDir,
}

impl Site {
    /// Starts everything; the only user is `admin`.
    pub(crate) async fn start(database: Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    pub(crate) async fn start_with(database: Database, adjust: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().expect("a folder");
        let asterisk = FakeAri::start().await;
        let ports = Ports::take();
        let postgres =
            (database == Database::Postgres).then(|| Postgres::migrated(&Realtime::Sqlite { path: PathBuf::new() }));
        let mut config = configuration(dir.path(), ports.one(), postgres.as_ref());
        config.nodes = vec![asterisk.node("pbx", "capconduit", 1, Transport::Auto)];
        adjust(&mut config);
        if postgres.is_none() {
            templates::sqlite(&dir.path().join("capconduit.db"));
        }
        Self::begin(asterisk, config, (dir, ports, postgres)).await
    }

    /// The application on a data folder and a database that are there already, with an Asterisk of its own, where no call is.
    pub(crate) async fn on(dir: TempDir, postgres: Option<Postgres>, adjust: impl FnOnce(&mut Config)) -> Self {
        let (asterisk, ports) = (FakeAri::start().await, Ports::take());
        let mut config = configuration(dir.path(), ports.one(), postgres.as_ref());
        config.nodes = vec![asterisk.node("pbx", "capconduit", 1, Transport::Auto)];
        adjust(&mut config);
        Self::begin(asterisk, config, (dir, ports, postgres)).await
    }

    async fn begin(
        asterisk: FakeAri,
        config: Config,
        (dir, ports, postgres): (TempDir, Ports, Option<Postgres>),
    ) -> Self {
        let db = Db::connect(&config.database).await.expect("the database opens");
        store::migrate(&db, &config.realtime).await.expect("the schema is made");
        let mut site = Self { asterisk, db, config, dns: Dns::default(), running: None, postgres, _ports: ports, dir };
        site.run().await;
        site
    }

    async fn run(&mut self) {
        let stop = CancellationToken::new();
        let ended = tokio::spawn(app::run_with(self.config.clone(), self.dns.resolver(), None, stop.clone()));
        self.running = Some((stop, ended));
        self.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat != "0").await;
    }

    /// Stops the application and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.asterisk.clear_global("CAPCONDUIT_HEARTBEAT");
        self.run().await;
    }

    pub(crate) async fn stop(&mut self) {
        let (stop, ended) = self.running.take().expect("it runs");
        stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it stops");
        ended.expect("no panic").expect("no error");
    }

    /// Applies a plan as `capconduit apply` does.
    pub(crate) async fn apply(&self, plan: &str) {
        self.try_apply(plan).await.expect("the plan is applied");
    }

    /// As [`Site::apply`], or what is wrong with it.
    pub(crate) async fn try_apply(&self, plan: &str) -> Result<(), String> {
        let document = Document::parse(plan).expect("a valid plan");
        let screening = Screen::new(&self.config, self.dns.resolver()).screening(&document).await;
        let applied = store::apply::apply(&self.db, &self.config.realtime, &screening, &document, true).await;
        applied.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Somebody without any credential.
    pub(crate) fn as_nobody(&self) -> Caller {
        Caller::nobody(format!("http://{}/api/v1", self.config.api.listen))
    }

    /// The API's root, for what lies outside `/api/v1`.
    pub(crate) fn outside(&self) -> Caller {
        Caller::nobody(format!("http://{}", self.config.api.listen))
    }

    /// Until routing knows of all changes so far.
    pub(crate) async fn in_force(&self) {
        let revision = store::snapshot::revision(&self.db).await.expect("read");
        let tokens = self.log_in("admin", PASSWORD).await;
        let admin = self.outside().with_access_token(tokens["access_token"].as_str().expect("a token"));
        let poll = async {
            while admin.get("/readyz").await.expect(200)["details"]["routing_revision"] != revision {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("routing knows of all changes");
    }

    /// Logs in; the whole answer.
    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Value {
        let body = json!({ "username": username, "password": password });
        self.as_nobody().post("/auth/login", body).await.expect(200)
    }

    /// The admin, with a new session.
    pub(crate) async fn as_admin(&self) -> Caller {
        self.as_user("admin").await
    }

    /// A staff member, made where there is none.
    pub(crate) async fn as_staff(&self) -> Caller {
        self.user("staff", Role::Staff).await;
        self.as_user("staff").await
    }

    /// A seller of this username, made where there is none; one that `apply` made gets a password.
    pub(crate) async fn as_seller(&self, username: &str) -> Caller {
        self.user(username, Role::Seller).await;
        self.as_user(username).await
    }

    /// A user with [`PASSWORD`], with a new session.
    pub(crate) async fn as_user(&self, username: &str) -> Caller {
        let tokens = self.log_in(username, PASSWORD).await;
        self.as_nobody().with_access_token(tokens["access_token"].as_str().expect("a token"))
    }

    /// Makes a user, or gives the one there is [`PASSWORD`], as if it had chosen that itself; its id.
    pub(crate) async fn user(&self, username: &str, role: Role) -> i64 {
        let hash = hash_of_password();
        let now = capconduit::clock::Clock::start().now().wall;
        let actor = Actor::System("cli");
        let (id, known) = match users::credentials(&self.db, username).await.expect("users are read") {
            Some((account, known)) => (account.id, known),
            None => {
                let (username, name) = (username.to_owned(), username.to_owned());
                let new = NewUser { username, name, role, password_hash: None, must_change_password: false };
                (users::create(&self.db, actor, new, now).await.expect("the user is made").id, None)
            }
        };
        let new = OwnPassword { verified: known.as_ref(), hash: &hash, session: None, revoke_tokens: false };
        let changed = users::change_password(&self.db, actor, id, new, now).await;
        changed.expect("it has a password");
        id.0
    }

    /// The data folder.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Of its database, where it has PostgreSQL.
    pub(crate) fn postgres_url(&self) -> Option<String> {
        self.postgres.as_ref().map(Postgres::url)
    }

    /// Runs SQL beside the application; the first column of each row as text.
    pub(crate) async fn sql(&self, statement: &str) -> Result<Vec<String>, String> {
        use sqlx::{Connection, Row};
        let text = sqlx::AssertSqlSafe(statement.to_owned());
        match &self.postgres {
            None => {
                let path = self.dir.path().join("capconduit.db");
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("it opens");
                let rows = sqlx::query(text).fetch_all(&mut connection).await.map_err(|error| error.to_string())?;
                Ok(rows.iter().map(|row| row.get::<String, _>(0)).collect())
            }
            Some(postgres) => {
                let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.expect("it opens");
                let rows = sqlx::query(text).fetch_all(&mut connection).await.map_err(|error| error.to_string())?;
                Ok(rows.iter().map(|row| row.get::<String, _>(0)).collect())
            }
        }
    }

    /// Lets the PostgreSQL database take no changes, or take them again, and ends every connection to it, as a failover does.
    pub(crate) async fn read_only(&self, read_only: bool) {
        use sqlx::{Connection, Executor};
        let postgres = self.postgres.as_ref().expect("it has one");
        let (name, url) = (postgres.name(), postgres.url());
        let other = url.strip_suffix(name).map(|rest| format!("{rest}postgres")).expect("the URL ends in the name");
        let mut connection = sqlx::PgConnection::connect(&other).await.expect("it opens");
        for statement in [
            format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}"),
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        ] {
            connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("SQL");
        }
    }

    /// The application stops cleanly.
    pub(crate) async fn settle(mut self) {
        self.stop().await;
    }
}

/// Of [`PASSWORD`]. Making one is meant to take its time.
fn hash_of_password() -> SecretString {
    let fresh = || hasher::hash(&SecretString::from(PASSWORD)).expect("a hash");
    let make = |new: &Path| std::fs::write(new, fresh().expose_secret()).expect("a file of ours");
    let made = templates::of_this_build("password", make);
    made.map_or_else(fresh, |made| SecretString::from(std::fs::read_to_string(made).expect("a file of ours")))
}

fn configuration(dir: &Path, port: u16, postgres: Option<&Postgres>) -> Config {
    let url = postgres.map_or_else(String::new, |p| format!("url = \"{}\"\n", p.url()));
    let database = format!("[database]\n{url}wait_seconds = {}\n", PATIENCE.as_secs());
    let text = format!(
        "[data]\ndir = \"{}\"\n[api]\nlisten = \"127.0.0.1:{port}\"\n{FAST}[auth]\nadmin_password = \"{PASSWORD}\"\n{MANY}\
         [sip]\nallowed_networks = [\"127.0.0.0/8\"]\n{database}",
        dir.display()
    );
    Config::from_layers(Some((Path::new("test.toml"), &text)), []).expect("a valid configuration")
}
