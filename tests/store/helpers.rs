//! A migrated, empty database of either kind.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;

use capconduit::config::{Config, Database, Limits, Realtime};
use capconduit::store::reports::Reports;
use capconduit::store::{self, Db};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::patience::PATIENCE;
use crate::postgres::Postgres;
use crate::templates;

/// Where a test's database lives; dropped, it is gone.
#[derive(Debug)]
pub(crate) enum Home {
    Sqlite(TempDir),
    Postgres(AtFirstUse),
}

/// A database that is empty if it is used before [`Home::migrated`].
#[derive(Debug, Default)]
pub(crate) struct AtFirstUse(OnceLock<Postgres>);

impl Deref for AtFirstUse {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        self.0.get_or_init(Postgres::start)
    }
}

impl Home {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().expect("a temporary folder"))
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(AtFirstUse::default())
    }

    pub(crate) fn config(&self) -> Database {
        let url = match self {
            Self::Sqlite(_) => format!("sqlite://{}", self.file().display()),
            Self::Postgres(postgres) => postgres.url(),
        };
        Database { url: SecretString::from(url), max_connections: 4, wait: PATIENCE }
    }

    /// The SQLite file.
    fn file(&self) -> PathBuf {
        let Self::Sqlite(folder) = self else { unreachable!("PostgreSQL has none") };
        folder.path().join("deep/er/main.db")
    }

    /// Where the realtime tables go with this database.
    pub(crate) fn realtime(&self) -> Realtime {
        match self {
            Self::Sqlite(folder) => Realtime::Sqlite { path: folder.path().join("realtime/realtime.db") },
            Self::Postgres(_) => Realtime::Postgres,
        }
    }

    /// Another pool on the same database, as another process would have.
    pub(crate) async fn connect(&self) -> Db {
        Db::connect(&self.config()).await.expect("the database opens")
    }

    /// Opened, with all steps. That they run in an empty database, and one after the other, is seen in `migrating`.
    pub(crate) async fn migrated(&self) -> Db {
        match self {
            Self::Sqlite(_) if !self.file().exists() => templates::sqlite(&self.file()),
            Self::Sqlite(_) => {}
            Self::Postgres(postgres) => {
                postgres.0.get_or_init(|| Postgres::migrated(&self.realtime()));
            }
        }
        let db = self.connect().await;
        store::migrate(&db, &self.realtime()).await.expect("the steps run");
        db
    }
}

/// `[limits]` as they are by default.
pub(crate) fn limits() -> Limits {
    Config::from_layers(None, []).expect("valid").limits
}

/// Where reports of this database are read.
pub(crate) fn reports(db: &Db) -> Reports {
    Reports::of(db, limits())
}

/// Runs SQL beside the store, as an operator would.
pub(crate) async fn sql(home: &Home, statement: &str) -> Result<Vec<String>, String> {
    use sqlx::{Connection, Row};
    let text = statement.to_owned();
    match home {
        Home::Sqlite(folder) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("deep/er/main.db"));
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.map_err(|e| e.to_string())?;
            let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await;
            Ok(rows.map_err(|e| e.to_string())?.iter().map(|row| row.get::<String, _>(0)).collect())
        }
        Home::Postgres(postgres) => {
            let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.map_err(|e| e.to_string())?;
            let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await;
            Ok(rows.map_err(|e| e.to_string())?.iter().map(|row| row.get::<String, _>(0)).collect())
        }
    }
}

/// Makes a SQLite and a PostgreSQL test of each `async fn name(home: Home)`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                Box::pin(super::$name($crate::helpers::Home::sqlite())).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                Box::pin(super::$name($crate::helpers::Home::postgres())).await;
            }
        }
    )+};
}
pub(crate) use on_both;
