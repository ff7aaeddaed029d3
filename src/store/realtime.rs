//! Publishing the `ps_*` rows to where Asterisk reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use entity::clients;
use sea_orm::sea_query::{Alias, Asterisk, Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter, SqlxSqliteConnector,
    Statement,
};

use super::{Db, StoreError, change, connect, migrate, plan};
use crate::config::Realtime;
use crate::realtime::{PsRow, TABLES, rows};
use crate::routing::snapshot::Status;

/// Wanted rows of each table of [`TABLES`], by id.
type Wanted = BTreeMap<&'static str, BTreeMap<String, PsRow>>;

/// Makes the `ps_*` rows exactly those of the clients that are not archived; rows of anything else are deleted. Writes only what
/// differs, in one transaction, so repeating it is cheap and safe. Returns how many rows were written or deleted.
///
/// For a SQLite `realtime` this makes the file where it is missing (mode 0660 in a folder of mode 2770, so that the folder's
/// group — Asterisk's — shares the file and its write-ahead log); it must exist before Asterisk starts.
///
/// # Errors
/// When the clients cannot be read or the rows not be written.
pub async fn publish(db: &Db, realtime: &Realtime) -> Result<usize, StoreError> {
    match realtime {
        Realtime::Postgres if !db.is_postgres() => Err(StoreError::RealtimeNeedsPostgres),
        Realtime::Postgres => {
            // In turn: what is read stays true until it is written, so that older rows are never written over newer ones.
            let transaction = change::begin(db).await?;
            let changed = write_beside(&transaction).await?;
            transaction.commit().await?;
            Ok(changed)
        }
        Realtime::Sqlite { path } => publish_file(db, path, false).await,
    }
}

/// Makes the `ps_*` tables of a `realtime.db` anew that a newer version has made, in its place: Asterisk, which has the file open, reads the
/// present ones from then on. A copy of it as it was is kept beside it; its path.
///
/// # Errors
/// When the copy or the tables cannot be made.
pub async fn set_aside(db: &Db, path: &Path, now: DateTime<Utc>) -> Result<PathBuf, StoreError> {
    let aside = path.with_file_name(format!("realtime-aside-{}.db", now.format("%Y%m%dT%H%M%S")));
    let pool = connect::open_sqlite(path, 1, false, db.wait).await?;
    let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
    let copy = format!("VACUUM INTO '{}'", aside.display().to_string().replace('\'', "''"));
    let copied = connection.execute_unprepared(&copy).await;
    connection.close().await?;
    copied?;
    publish_file(db, path, true).await?;
    Ok(aside)
}

/// What to run where the file is a newer version's.
const SET_ASIDE: &str = "capconduit realtime set-aside";

/// Refuses what a newer version has made.
async fn refuse_newer(connection: &impl ConnectionTrait, path: &Path) -> Result<(), StoreError> {
    let version = Statement::from_string(DbBackend::Sqlite, "PRAGMA user_version");
    let row = connection.query_one_raw(version).await?;
    let found: i64 = row.map(|row| row.try_get_by_index::<i32>(0)).transpose()?.unwrap_or_default().into();
    StoreError::refuse_newer(path, found, migrate::realtime_layout(), SET_ASIDE).map(drop)
}

/// Takes every table away, whoever made it.
async fn empty(connection: &impl ConnectionTrait) -> Result<(), StoreError> {
    let list = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    for row in connection.query_all_raw(Statement::from_string(DbBackend::Sqlite, list)).await? {
        let table: String = row.try_get_by_index(0)?;
        connection.execute_unprepared(&format!("DROP TABLE \"{}\"", table.replace('"', "\"\""))).await?;
    }
    Ok(())
}

/// Publishes into the database that holds the clients, inside the transaction that changed them.
pub(super) async fn write_beside(transaction: &DatabaseTransaction) -> Result<usize, StoreError> {
    let wanted = wanted(transaction).await?;
    Ok(write(transaction, &wanted).await?)
}

/// With `anew` what is there is taken away first, whatever it is.
async fn publish_file(db: &Db, path: &Path, anew: bool) -> Result<usize, StoreError> {
    prepare_file(path)?;
    let pool = connect::open_sqlite(path, 1, false, db.wait).await?;
    let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
    let outcome = async {
        let transaction = super::begin_write(&connection).await?;
        if anew {
            empty(&transaction).await?;
        } else {
            refuse_newer(&transaction, path).await?;
        }
        migrate::migrate_realtime(&transaction).await?;
        // Read while the file is locked: of two processes that publish at once (`apply` beside `serve`) the later one reads later too,
        // so that an older state never overwrites a newer one.
        let clients = db.read().await?;
        let wanted = wanted(&clients).await?;
        clients.commit().await?;
        let changed = write(&transaction, &wanted).await?;
        transaction.commit().await?;
        Ok(changed)
    }
    .await;
    connection.close().await?;
    outcome
}

/// Whether [`publish`] could write `realtime.db` as it is, and its tables are there; nothing is made or changed.
///
/// # Errors
/// When it is not there, cannot be written by this user (folder included, for the write-ahead log), or lacks its tables.
pub async fn inspect(path: &Path) -> Result<(), Unfit> {
    let failed = |error: &dyn std::fmt::Display| Unfit::Unwritable(error.to_string());
    match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Unfit::Absent),
        Err(error) => return Err(failed(&error)),
    }
    let pool = connect::existing_sqlite(path).await.map_err(|error| failed(&error))?;
    let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
    let outcome = async {
        // Takes the write lock, which needs the side files to be made, and lets it go again.
        let lock = super::begin_write(&connection).await.map_err(|error| failed(&error))?;
        lock.rollback().await.map_err(|error| failed(&error))?;
        match refuse_newer(&connection, path).await {
            Ok(()) => {}
            Err(newer @ StoreError::Newer { .. }) => return Err(Unfit::Newer(newer.to_string())),
            Err(error) => return Err(failed(&error)),
        }
        let missing = migrate::pending_realtime(&connection).await.map_err(|error| failed(&error))?;
        if missing { Err(Unfit::NoTables) } else { Ok(()) }
    }
    .await;
    connection.close().await.map_err(|error| failed(&error))?;
    outcome
}

/// What is wrong with `realtime.db`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No such file.
    #[error("does not exist yet")]
    Absent,
    /// This user cannot write it, or it is no SQLite file.
    #[error("cannot be written: {0}")]
    Unwritable(String),
    /// A newer version has made it: the whole sentence.
    #[error("{0}")]
    Newer(String),
    /// It is empty, as Asterisk makes it, or older than this version.
    #[error("lacks the ps_* tables (Asterisk makes an empty file where it finds none)")]
    NoTables,
}

/// The folder with set-group-id and the file, both shared by group. What exists is left as its owner made it.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        let failed = |action| move |source| StoreError::File { action, path: folder.to_owned(), source };
        let new = !folder.exists();
        std::fs::create_dir_all(folder).map_err(failed("create the folder"))?;
        if new {
            let mode = PermissionsExt::from_mode(0o2770);
            std::fs::set_permissions(folder, mode).map_err(failed("set mode 2770 on"))?;
        }
    }
    connect::create_file(path, 0o660)
}

/// The rows of all clients that are not archived. Paused ones stay dialable: pausing is routing's business, and running calls go on.
async fn wanted(connection: &impl ConnectionTrait) -> Result<Wanted, StoreError> {
    let not_archived = clients::Column::Status.ne(Status::Archived.as_str());
    let mut wanted: Wanted = TABLES.into_iter().map(|table| (table, BTreeMap::new())).collect();
    for row in clients::Entity::find().filter(not_archived).all(connection).await? {
        let client = plan::read_client(row)?;
        let rows = rows(&client.identifier, &client.sip, &client.secrets);
        let rows =
            rows.map_err(|error| StoreError::Corrupt { table: "clients", column: "sip", value: error.to_string() })?;
        for (table, row) in rows.by_table() {
            if let (Some(rows), Some(id)) = (wanted.get_mut(table), row.get("id").cloned()) {
                rows.insert(id, row);
            }
        }
    }
    Ok(wanted)
}

async fn write(transaction: &DatabaseTransaction, wanted: &Wanted) -> Result<usize, DbErr> {
    let mut changed = 0;
    for (table, wanted) in wanted {
        let stored = stored(transaction, table).await?;
        let mut stale: BTreeSet<&String> = stored.keys().collect();
        for (id, row) in wanted {
            let row = encoded(transaction.get_database_backend(), row);
            stale.remove(id);
            if stored.get(id) != Some(&row) {
                // Deleting and inserting sets every column that is not in the row back to NULL.
                delete(transaction, table, id).await?;
                insert(transaction, table, &row).await?;
                changed += 1;
            }
        }
        for id in stale {
            delete(transaction, table, id).await?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// Asterisk's PostgreSQL driver splits values at `;` and reads `^3B` as one; its SQLite driver takes values as they are (both seen
/// on 22.10).
fn encoded(backend: DbBackend, row: &PsRow) -> BTreeMap<String, String> {
    let escape =
        |value: &String| if backend == DbBackend::Postgres { value.replace(';', "^3B") } else { value.clone() };
    row.iter().map(|(column, value)| ((*column).to_owned(), escape(value))).collect()
}

/// What a table holds, NULLs left out.
async fn stored(
    transaction: &DatabaseTransaction,
    table: &'static str,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, DbErr> {
    let select = Query::select().column(Asterisk).from(Alias::new(table)).to_owned();
    let mut stored = BTreeMap::new();
    for row in transaction.query_all(&select).await? {
        let mut values = BTreeMap::new();
        for column in row.column_names() {
            if let Some(value) = row.try_get::<Option<String>>("", &column)? {
                values.insert(column, value);
            }
        }
        stored.insert(row.try_get("", "id")?, values);
    }
    Ok(stored)
}

async fn delete(transaction: &DatabaseTransaction, table: &'static str, id: &str) -> Result<(), DbErr> {
    let this = Expr::col(Alias::new("id")).eq(id);
    let delete = Query::delete().from_table(Alias::new(table)).and_where(this).to_owned();
    transaction.execute(&delete).await.map(|_| ())
}

async fn insert(
    transaction: &DatabaseTransaction,
    table: &'static str,
    row: &BTreeMap<String, String>,
) -> Result<(), DbErr> {
    let mut insert = Query::insert();
    insert.into_table(Alias::new(table)).columns(row.keys().map(Alias::new));
    let values = row.values().map(|value| Expr::value(value.as_str()));
    insert.values(values).map_err(|error| DbErr::Custom(error.to_string()))?;
    transaction.execute(&insert).await.map(|_| ())
}
