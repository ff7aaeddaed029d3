//! What a database said, in one sentence, and how to mend it.

use sea_orm::{DbErr, RuntimeErr};

/// The database takes no changes.
const READ_ONLY: &str = "25006";

/// What the driver reports, as often as it wraps it.
fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// The server's own code: SQLSTATE of PostgreSQL, a number of SQLite.
pub(super) fn code(error: &DbErr) -> Option<String> {
    driver(error)?.as_database_error()?.code().map(|code| code.into_owned())
}

/// Whether PostgreSQL takes no changes: a standby, or one that is set so.
pub(super) fn is_read_only(error: &DbErr) -> bool {
    code(error).as_deref() == Some(READ_ONLY)
}

/// The server's words once, and what is to be done where its code says that.
pub(super) fn of(error: &DbErr) -> String {
    let said = match driver(error) {
        Some(sqlx::Error::Database(error)) => error.message().to_owned(),
        Some(sqlx::Error::Io(error)) => format!("the connection is lost: {error}"),
        Some(other) => other.to_string(),
        None => error.to_string(),
    };
    // SQLSTATE, appendix A of PostgreSQL's manual.
    match code(error).as_deref().and_then(mend) {
        Some(mend) => format!("{said}: {mend}"),
        None => said,
    }
}

fn mend(code: &str) -> Option<&'static str> {
    Some(match code {
        READ_ONLY => {
            "it takes no changes (a standby, or default_transaction_read_only): promote it, or let database.url name the server that does"
        }
        "42501" => {
            "give the role of database.url that right (GRANT CREATE, USAGE ON SCHEMA public TO …), or run `capconduit migrate` as the owner"
        }
        "53100" => "make space on the database's disk",
        _ => return of_connections(code),
    })
}

/// What is to be done about connections that are refused, or are not what they seem.
pub(super) fn of_connections(code: &str) -> Option<&'static str> {
    match code {
        "26000" | "42P05" | "08P01" => Some(POOLED),
        "53300" => Some(
            "raise PostgreSQL's max_connections, or lower database.max_connections, limits.reports and limits.exports",
        ),
        _ => None,
    }
}

/// Where the first connection was had at once, and a second one not at all.
pub(super) const SLOW_OR_POOLED: &str = "a pooler with one session for all (pgbouncer: pool_mode = transaction or statement) lets the second wait for the \
     first: set pool_mode = session for this database, or let database.url name PostgreSQL itself; where the server is only slow, raise \
     database.wait_seconds";

/// What a pooler that gives each transaction another session does to us.
pub(super) const POOLED: &str = "a pooler gives each transaction another session of PostgreSQL (pgbouncer: pool_mode = transaction or statement), \
     which prepared statements and LISTEN do not survive: set pool_mode = session for this database, or let database.url name PostgreSQL itself";
