//! Opening the main database.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sea_orm::{SqlxPostgresConnector, SqlxSqliteConnector};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Executor as _, Row as _};

use super::{Db, StoreError, sentence};
use crate::ari::{TlsFault, tls_fault};
use crate::config;

/// How long a look at a file that is not the main database waits for another process's write, or for its connection.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// Readers beside the one writer that SQLite allows.
pub(crate) const SQLITE_CONNECTIONS: u32 = 4;

/// Of each connection: 32 MB, so that a thousand records find the pages of their dozen indexes there.
const CACHE: &str = "-32768";
/// Pages in the write-ahead log after which it is folded into the file: several batches of records, not each.
const CHECKPOINT: u64 = 8192;
/// The same in bytes, of SQLite's own size of pages.
pub(super) const LOG_FOLDED_AT: u64 = CHECKPOINT * 4096;

const FORMS: &str = "use sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/NAME";

impl Db {
    /// Opens the database that `config.url` names. A SQLite file (and the folders above it) is made where there is none,
    /// readable by its owner only. The tables are not touched: see [`super::migrate`].
    ///
    /// # Errors
    /// When the URL has another form, the file cannot be made, or no connection can be had (at once where the server refuses, after
    /// `config.wait` where it does not answer).
    pub async fn connect(config: &config::Database) -> Result<Self, StoreError> {
        match sqlite_path(&config.url)? {
            Some(path) => sqlite(&path, config.wait).await,
            None => postgres(config).await,
        }
    }
}

/// The file of a `sqlite://` URL; `None` for a `postgres://` one.
fn sqlite_path(url: &SecretString) -> Result<Option<PathBuf>, StoreError> {
    let url = url.expose_secret();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(None);
    }
    let path = url.strip_prefix("sqlite://").ok_or(StoreError::BadUrl(FORMS))?;
    if path.is_empty() || path.starts_with(":memory:") {
        return Err(StoreError::BadUrl("sqlite:// needs the path of a file"));
    }
    if path.contains('?') {
        return Err(StoreError::BadUrl("sqlite://PATH takes no options after ?"));
    }
    Ok(Some(PathBuf::from(path)))
}

async fn sqlite(path: &Path, wait: Duration) -> Result<Db, StoreError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|source| StoreError::File {
            action: "create the folder",
            path: parent.to_owned(),
            source,
        })?;
    }
    create_file(path, 0o600)?;
    let pool = open_sqlite(path, SQLITE_CONNECTIONS, true, wait).await?;
    Ok(Db { connection: SqlxSqliteConnector::from_sqlx_sqlite_pool(pool), target: path.display().to_string(), wait })
}

/// Makes `path` with exactly `mode` where it is missing, before SQLite could make it with its own; leaves an existing file alone.
pub(super) fn create_file(path: &Path, mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    let failed = |source| StoreError::File { action: "create the file", path: path.to_owned(), source };
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A pool on an existing SQLite file, in WAL mode so that readers and the writer do not wait for each other.
pub(super) async fn open_sqlite(
    path: &Path,
    connections: u32,
    foreign_keys: bool,
    wait: Duration,
) -> Result<SqlitePool, StoreError> {
    let plain = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(foreign_keys)
        .busy_timeout(wait)
        .pragma("cache_size", CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT.to_string());
    enter_wal(path, &plain, wait).await?;
    // All are opened now and kept: none needs a descriptor at a moment when the process has no more.
    let pool = SqlitePoolOptions::new().max_connections(connections).min_connections(connections);
    let pool = pool.idle_timeout(None).max_lifetime(None).acquire_timeout(wait);
    pool.connect_with(plain).await.map_err(|error| unreachable(path.display().to_string(), &error))
}

/// One connection to a SQLite file as it is: neither made nor switched to WAL.
pub(super) async fn existing_sqlite(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(LOOK);
    SqlitePoolOptions::new().max_connections(1).acquire_timeout(LOOK).connect_with(options).await
}

/// Switches the file to WAL, once for ever. Two processes that do so at the same moment are both refused as busy, whatever their
/// busy timeout (each holds the read lock the other waits for), so this tries again until the time is used up.
async fn enter_wal(path: &Path, options: &SqliteConnectOptions, mut left: Duration) -> Result<(), StoreError> {
    const PAUSE: Duration = Duration::from_millis(20);
    let wal = options.clone().journal_mode(SqliteJournalMode::Wal);
    loop {
        match wal.connect().await {
            Ok(connection) => {
                return sqlx::Connection::close(connection)
                    .await
                    .map_err(|error| unreachable(path.display().to_string(), &error));
            }
            Err(error) if is_busy(&error) && !left.is_zero() => {
                left = left.saturating_sub(PAUSE);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(unreachable(path.display().to_string(), &error)),
        }
    }
}

/// `SQLITE_BUSY` (5) and its extended codes.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

async fn postgres(config: &config::Database) -> Result<Db, StoreError> {
    let wait = config.wait;
    let options = PgConnectOptions::from_str(config.url.expose_secret()).map_err(|_| StoreError::BadUrl(FORMS))?;
    let options = options.application_name("capconduit");
    let host = options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string());
    let target = format!("postgres {host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default());
    greet(&options, &target, wait).await?;
    let pool = PgPoolOptions::new().max_connections(config.max_connections.max(1)).acquire_timeout(wait);
    let pool = pool.connect_with(options).await.map_err(|error| refused(target.clone(), &error))?;
    Ok(Db { connection: SqlxPostgresConnector::from_sqlx_postgres_pool(pool), target, wait })
}

/// One connection without the pool, which tries again until its time is up and then only says that it is.
async fn greet(options: &PgConnectOptions, target: &str, wait: Duration) -> Result<(), StoreError> {
    let mut connection = match tokio::time::timeout(wait, options.connect()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(refused(target.to_owned(), &error)),
        Err(_) => {
            let reason = format!("no answer within {} s", wait.as_secs_f64());
            return Err(StoreError::Connect { target: target.to_owned(), reason, mend: UNREACHED });
        }
    };
    // A second one, within a transaction, has another session than the first, unless somebody in between gives sessions away.
    let shared = tokio::time::timeout(wait, shares_its_session(options, &mut connection)).await;
    // They were only to see whether there are any.
    let _ = sqlx::Connection::close(connection).await;
    match shared {
        Ok(Ok(false)) => Ok(()),
        Ok(Err(error)) => Err(refused(target.to_owned(), &error)),
        Ok(Ok(true)) => {
            let reason = "connections do not have sessions of their own".to_owned();
            Err(StoreError::Connect { target: target.to_owned(), reason, mend: sentence::POOLED })
        }
        // A pooler with one session lets the second wait for it; so does a server that is short of time.
        Err(_) => {
            let reason = format!("a second connection had no answer within {} s", wait.as_secs_f64());
            Err(StoreError::Connect { target: target.to_owned(), reason, mend: sentence::SLOW_OR_POOLED })
        }
    }
}

/// Whether another connection gets the session that `first` has just used. Asked in the simple protocol, which needs no session.
async fn shares_its_session(options: &PgConnectOptions, first: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let session = async |connection: &mut PgConnection| {
        let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()")).await?;
        row.try_get::<i32, _>(0)
    };
    let mut other = options.connect().await?;
    for _ in 0..3 {
        let own = session(&mut *first).await?;
        other.execute(sqlx::raw_sql("BEGIN")).await?;
        let others = session(&mut other).await;
        other.execute(sqlx::raw_sql("ROLLBACK")).await?;
        if others? == own {
            return Ok(true);
        }
    }
    let _ = sqlx::Connection::close(other).await;
    Ok(false)
}

const TLS_SETTINGS: &str =
    "see sslmode and sslrootcert in database.url (CAPCONDUIT__DATABASE__URL), and ssl on the server";

const UNREACHED: &str = "start PostgreSQL, or correct host and port in database.url (CAPCONDUIT__DATABASE__URL)";

/// What PostgreSQL said, and what to do about it. Its messages name user and database, never a password.
fn refused(target: String, error: &sqlx::Error) -> StoreError {
    if let Some(fault) = tls_fault(error) {
        return StoreError::Connect { target, reason: fault.to_string(), mend: tls_mend(&fault) };
    }
    let reason = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    // Over TCP nothing else is looked for by its name; over a socket it is the socket.
    let absent = matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound);
    if absent && !target.contains(" /") {
        let mend =
            "let sslrootcert, sslcert and sslkey in database.url (CAPCONDUIT__DATABASE__URL) name files that are there";
        return StoreError::Connect { target, reason, mend };
    }
    // SQLSTATE, appendix A of PostgreSQL's manual.
    let mend = match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("28000" | "28P01") => {
            "correct user and password in database.url (CAPCONDUIT__DATABASE__URL), or pg_hba.conf on the server"
        }
        Some("3D000") => {
            "create that database (`createdb`), or correct the name in database.url (CAPCONDUIT__DATABASE__URL)"
        }
        Some("57P03") => "wait until PostgreSQL has started, and try again",
        _ if matches!(error, sqlx::Error::Tls(_)) => TLS_SETTINGS,
        code => code.and_then(sentence::of_connections).unwrap_or(UNREACHED),
    };
    StoreError::Connect { target, reason, mend }
}

fn tls_mend(fault: &TlsFault) -> &'static str {
    match fault {
        TlsFault::Untrusted | TlsFault::Authority => {
            "let sslrootcert in database.url (CAPCONDUIT__DATABASE__URL) name a PEM file of the certificate that signed it"
        }
        TlsFault::Expired(_) | TlsFault::NotYet => "give the server a certificate that is valid now (ssl_cert_file)",
        TlsFault::WrongName(_) => {
            "let database.url (CAPCONDUIT__DATABASE__URL) name the host as the certificate does, or set sslmode=verify-ca there"
        }
        TlsFault::NoTls | TlsFault::Other(_) => TLS_SETTINGS,
    }
}

fn unreachable(target: String, error: &sqlx::Error) -> StoreError {
    let mend = "let database.url or realtime.path name a SQLite file that this user may write, folder included";
    StoreError::Connect { target, reason: error.to_string(), mend }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> Result<Option<PathBuf>, StoreError> {
        sqlite_path(&SecretString::from(url.to_owned()))
    }

    #[test]
    fn a_url_names_a_file_or_postgres_and_errors_never_repeat_it() {
        assert_eq!(path("sqlite://data/x.db").expect("relative"), Some("data/x.db".into()));
        assert_eq!(path("sqlite:///var/x.db").expect("absolute"), Some("/var/x.db".into()));
        assert_eq!(path("postgres://u:p@h/n").expect("postgres"), None);
        for bad in ["", "mysql://u:hunter2@h/n", "sqlite://", "sqlite://:memory:", "sqlite://x?mode=hunter2", "x.db"] {
            let text = path(bad).expect_err(bad).to_string();
            assert!(!text.contains("hunter2") && text.contains("database.url"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_refused_postgres_url_or_connection_shows_no_password() {
        for url in ["postgres://u:hunter2@127.0.0.1:1/n", "postgres://u:hunter2@127.0.0.1:notaport/n"] {
            let config = config::Database { url: SecretString::from(url.to_owned()), max_connections: 1, wait: LOOK };
            let error = Db::connect(&config).await.expect_err("nothing listens there");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
