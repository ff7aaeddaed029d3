//! What kind of server the main database is on, beyond what is in it.

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Db, StoreError};

/// What is to be known of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What its texts are encoded in.
    pub encoding: String,
    /// Whether it takes no changes: a standby, or set so.
    pub read_only: bool,
}

/// Asks the server; SQLite is always in UTF-8, and whether its file can be written shows when it is.
///
/// # Errors
/// When it does not answer.
pub async fn look(db: &Db) -> Result<Server, StoreError> {
    if !db.is_postgres() {
        return Ok(Server { encoding: "UTF8".to_owned(), read_only: false });
    }
    let ask = "SELECT current_setting('server_encoding'), current_setting('transaction_read_only') = 'on'";
    let row = db.connection.query_one_raw(Statement::from_string(DbBackend::Postgres, ask)).await?;
    let row = row.ok_or_else(|| sea_orm::DbErr::RecordNotFound("the server tells nothing of itself".to_owned()))?;
    Ok(Server { encoding: row.try_get_by_index(0)?, read_only: row.try_get_by_index(1)? })
}

/// How a database is mended that [`Server::is_utf8`] says no of.
pub const RECODE: &str =
    "make one in UTF-8 (`createdb --encoding=UTF8 --template=template0 NAME`) and let database.url name that";

impl Server {
    /// Whether every name can be stored.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.encoding == "UTF8"
    }

    /// Refuses an encoding that cannot hold every name.
    pub(super) fn require_utf8(&self, db: &Db) -> Result<(), StoreError> {
        if self.is_utf8() {
            return Ok(());
        }
        Err(StoreError::Encoding { target: db.target().to_owned(), encoding: self.encoding.clone() })
    }
}
