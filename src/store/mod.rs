//! The only place that imports `sea_orm` and `entity`; one file per aggregate.

pub mod apply;
pub mod audit;
pub mod calls;
pub mod campaigns;
pub mod change;
pub mod clients;
mod connect;
pub mod copy;
pub mod dids;
pub mod dump;
pub mod idempotency;
pub mod journal;
pub mod later;
pub mod legacy_ids;
pub mod links;
pub mod listen;
mod migrate;
mod numbers;
pub mod plan;
pub mod realtime;
pub mod records;
pub mod reports;
pub mod retention;
mod sentence;
pub mod server;
pub mod sessions;
pub mod sight;
pub mod snapshot;
pub mod standing;
pub mod statistics;
pub mod suspensions;
pub mod tokens;
pub mod users;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

pub(crate) use connect::SQLITE_CONNECTIONS;
pub use migrate::{knows_step, migrate, newest_step, pending};

/// The main database: a pool of connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    connection: DatabaseConnection,
    target: String,
    /// How long anybody waits for a connection of it (`database.wait_seconds`).
    wait: Duration,
}

/// Why the database could not do what was asked. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `database.url` has another form than allowed; the value is not repeated because it may hold a password.
    #[error("database.url is not allowed (not shown, it may hold a password): {0}")]
    BadUrl(&'static str),
    /// `realtime.mode = "postgres"` beside a SQLite main database.
    #[error(
        "realtime.mode \"postgres\" is not allowed with a SQLite database.url: use \"sqlite\", or a postgres:// URL"
    )]
    RealtimeNeedsPostgres,
    /// A file or folder of ours cannot be made or opened.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// What was tried, such as `create the folder`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No connection could be had.
    #[error("cannot open the database {target}: {reason}; {mend}")]
    Connect {
        /// Kind, host and name, or the file; no user, no password.
        target: String,
        /// The server's or driver's answer.
        reason: String,
        /// What to do, naming the key.
        mend: &'static str,
    },
    /// The journal's file cannot be opened, read or written.
    #[error("the journal in data.dir: {0}; it must be on a disk that this user may write, with space left")]
    Journal(String),
    /// A file of ours that a newer version has written.
    #[error(
        "{path} was written by a newer version of CapConduit (its layout is {found}, this one knows up to {known}): go back to that version, \
         or stop `serve` and run `{command}`, after which this one works; nothing in the file is lost",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest that is known here.
        known: usize,
        /// What sets it aside.
        command: &'static str,
    },
    /// A file of ours cannot be copied.
    #[error("cannot copy {path}: {reason}", path = path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A program of PostgreSQL's did not do what it was asked.
    #[error("{program}: {reason}; {mend}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said.
        reason: String,
        /// What to do.
        mend: &'static str,
    },
    /// Tables that a newer version has made.
    #[error(
        "the database {target} was brought up to date by {made_by} of CapConduit, and this is {this}, which does not know its step {step}: \
         install that version again, or restore a backup from before the upgrade; nothing was changed",
        this = env!("CARGO_PKG_VERSION")
    )]
    NewerDatabase {
        /// As in [`Self::Connect`].
        target: String,
        /// The version that did.
        made_by: String,
        /// The newest step that is not known here.
        step: String,
    },
    /// No answer came.
    #[error("database: no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// A statement failed.
    #[error("database: {}", sentence::of(.0))]
    Query(DbErr),
    /// The database's encoding cannot hold every name.
    #[error("the database {target} is encoded in {encoding}: {}", server::RECODE)]
    Encoding {
        /// As in [`Self::Connect`].
        target: String,
        /// What it is encoded in.
        encoding: String,
    },
    /// A stored value that this version does not know.
    #[error("database: {table}.{column} holds {value:?}, which is not allowed there")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// The value.
        value: String,
    },
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        Self::Query(error)
    }
}

impl StoreError {
    /// The layout of a file of ours by its `user_version`, where it is one of those up to `known`.
    fn refuse_newer(path: &Path, found: i64, known: usize, command: &'static str) -> Result<usize, Self> {
        let layout = usize::try_from(found).ok().filter(|layout| *layout <= known);
        layout.ok_or_else(|| Self::Newer { path: path.to_owned(), found, known, command })
    }

    /// Whether the database takes no changes at present: it is a standby, or set to be read only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Query(error) if sentence::is_read_only(error))
    }

    /// Whether a statement was ended before its end: its time was up, or somebody said so.
    fn was_ended(&self) -> bool {
        let Self::Query(DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = self
        else {
            return false;
        };
        // PostgreSQL: query_canceled. SQLite: SQLITE_INTERRUPT.
        let code = error.as_database_error().and_then(|error| error.code());
        matches!(code.as_deref(), Some("57014" | "9"))
    }

    /// Whether it is what the database was given that is at fault, and not how the database is: trying again is of no use.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let Self::Query(DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = self
        else {
            return false;
        };
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        // PostgreSQL: classes "data exception" and "integrity constraint violation". SQLite: too big, constraint, mismatch.
        let sqlite = code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|code| code & 0xff);
        code.len() == 5 && (code.starts_with("22") || code.starts_with("23")) || matches!(sqlite, Some(18..=20))
    }
}

impl Db {
    /// Whether the main database is PostgreSQL (else SQLite).
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.connection.get_database_backend() == DbBackend::Postgres
    }

    /// Kind, host and name of the database, or its file; never a user or password.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Closes every connection; SQLite then folds its write-ahead log into the file.
    ///
    /// # Errors
    /// When a connection does not close.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }

    /// A transaction that will write. On SQLite it takes the write lock at once, because one that upgrades later fails under load.
    pub(crate) async fn write(&self) -> Result<DatabaseTransaction, DbErr> {
        begin_write(&self.connection).await
    }

    /// A transaction whose reads all see the same moment.
    pub(crate) async fn read(&self) -> Result<DatabaseTransaction, DbErr> {
        if self.is_postgres() {
            let level = Some(IsolationLevel::RepeatableRead);
            self.connection.begin_with_config(level, Some(AccessMode::ReadOnly)).await
        } else {
            self.connection.begin().await
        }
    }
}

async fn begin_write(connection: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    connection.begin_with_options(immediate).await
}

/// Reads a stored word back.
fn word<T: FromStr>(table: &'static str, column: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { table, column, value: text.to_owned() })
}

/// Reads a stored number back into a narrower type.
fn number<T: TryFrom<i64>>(table: &'static str, column: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Corrupt { table, column, value: value.to_string() })
}

/// Like [`number`], for a column that may be NULL.
fn optional<T: TryFrom<i64>>(
    table: &'static str,
    column: &'static str,
    value: Option<i64>,
) -> Result<Option<T>, StoreError> {
    value.map(|value| number(table, column, value)).transpose()
}
