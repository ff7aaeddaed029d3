//! Lists of calls, page by page, and all of them batch by batch.

use entity::{call_attempts, call_logs};
use futures_util::stream::{Stream, try_unfold};
use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef, JoinType, Order, Query};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, FromQueryResult, Iterable,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait, Statement,
};

use super::{Filter, Position};
use crate::cdr::record::CallRecord;
use crate::id::{CallId, UserId};
use crate::store::reports::{Lane, ReportError, Reports};
use crate::store::{Db, StoreError, records};

/// A page is read in the order of an index, and no further than it goes. Where PostgreSQL takes a filter for rarer than it is, it would
/// rather find all that matches and sort it (measured: 450 ms instead of 8 for a large seller's calls to a busy client). What it cannot do
/// without a sort looks so dear to it then that it would compile the query, which takes longer than to run it (19 ms).
const IN_ORDER: &str = "SET LOCAL enable_sort = off; SET LOCAL enable_hashagg = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/// Calls that match, newest arrival first, with their attempts: at most `limit`, from `after` on. One with a narrow filter
/// ([`Filter::is_narrow`]) takes none of the places of `asker`, any other is among its reports.
///
/// # Errors
/// When there is no place, it takes too long, or the database cannot be read or holds what this version does not know.
pub async fn page(
    reports: &Reports,
    asker: UserId,
    filter: &Filter,
    after: Option<Position>,
    limit: u64,
) -> Result<Vec<CallRecord>, ReportError> {
    let (narrow, filter) = (filter.is_narrow(), filter.clone());
    let work = move |lane: Lane| async move { read(&lane.read().await?, &filter, after, limit).await };
    if narrow { reports.quick(asker, work).await } else { reports.list(asker, work).await }
}

/// The record of a call, read as what is quickly found is.
///
/// # Errors
/// As for a list; that it takes too long is no fault of who asks, who has nothing to narrow.
pub async fn one(reports: &Reports, asker: UserId, call: CallId) -> Result<Option<CallRecord>, ReportError> {
    let read = reports.quick(asker, move |lane| async move { records::one(&lane.read().await?, call).await }).await;
    read.map_err(|error| if matches!(error, ReportError::TooLong(_)) { ReportError::Busy } else { error })
}

async fn read(
    transaction: &DatabaseTransaction,
    filter: &Filter,
    after: Option<Position>,
    limit: u64,
) -> Result<Vec<CallRecord>, StoreError> {
    let statement = in_order(transaction, filter, after, limit).await?;
    let calls = call_logs::Model::find_by_statement(statement).all(transaction).await?;
    records::with_attempts(transaction, calls).await
}

/// How the database reads such a page, in its own words: what its indexes are judged by.
///
/// # Errors
/// When the database cannot be read.
pub async fn explained(
    db: &Db,
    filter: &Filter,
    after: Option<Position>,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let transaction = db.read().await?;
    let mut statement = in_order(&transaction, filter, after, limit).await?;
    let (explain, column) = match statement.db_backend {
        DbBackend::Postgres => ("EXPLAIN", "QUERY PLAN"),
        _ => ("EXPLAIN QUERY PLAN", "detail"),
    };
    statement.sql = format!("{explain} {}", statement.sql);
    let lines = transaction.query_all_raw(statement).await?;
    Ok(lines.iter().map(|line| line.try_get("", column)).collect::<Result<_, _>>()?)
}

/// The statement of a page, once the transaction is ready for it.
async fn in_order(
    transaction: &DatabaseTransaction,
    filter: &Filter,
    after: Option<Position>,
    limit: u64,
) -> Result<Statement, StoreError> {
    let backend = transaction.get_database_backend();
    if backend == DbBackend::Postgres {
        transaction.execute_unprepared(IN_ORDER).await?;
    }
    // A caller's calls are few beside a client's or a link's attempts.
    Ok(if filter.attempts().is_none() || filter.is_narrow() {
        by_call(backend, filter, after, limit)
    } else if backend == DbBackend::Postgres {
        by_attempt(backend, filter, after, limit)
    } else {
        by_attempt_on_sqlite(filter, after, limit)
    })
}

fn by_call(backend: DbBackend, filter: &Filter, after: Option<Position>, limit: u64) -> Statement {
    use call_logs::Column as C;
    let beyond = beyond(after, C::ArrivedAt, C::CallId);
    let filtered = call_logs::Entity::find().filter(filter.condition(backend).add_option(beyond));
    filtered.order_by_desc(C::ArrivedAt).order_by_desc(C::CallId).limit(limit).build(backend)
}

/// Calls in the order of their attempts' index; a call with two attempts that match is one row.
fn by_attempt(backend: DbBackend, filter: &Filter, after: Option<Position>, limit: u64) -> Statement {
    use call_attempts::Column as A;
    use call_logs::Column as C;
    let beyond = beyond(after, A::CallArrivedAt, A::CallId);
    let [at, id] = ["at", "id"].map(|column| (FOUND, column).into_column_ref());
    let mut found = Query::select();
    found
        .expr_as(Expr::col(A::CallArrivedAt.as_column_ref()), "at")
        .expr_as(Expr::col(A::CallId.as_column_ref()), "id")
        .from(call_attempts::Entity)
        .cond_where(Condition::all().add_option(filter.of_attempt(backend)).add_option(beyond))
        .group_by_columns([A::CallArrivedAt.as_column_ref(), A::CallId.as_column_ref()])
        .order_by(A::CallArrivedAt.as_column_ref(), Order::Desc)
        .order_by(A::CallId.as_column_ref(), Order::Desc);
    let same = Expr::col(id.clone()).equals(C::CallId.as_column_ref());
    let mut select = call_logs::Entity::find().limit(limit);
    QueryTrait::query(&mut select)
        .join_subquery(JoinType::InnerJoin, found, FOUND, same)
        .cond_where(filter.of_call(backend, &[]))
        .order_by(at, Order::Desc)
        .order_by(id, Order::Desc);
    select.build(backend)
}

/// The same, as SQLite reads it in order: a query within the query it would carry out whole, and sort. It takes tables that are joined by
/// CROSS JOIN in the order in which they are named, and of what the grouping does not fix, any row's value: they are all the same.
fn by_attempt_on_sqlite(filter: &Filter, after: Option<Position>, limit: u64) -> Statement {
    use call_attempts::Column as A;
    use call_logs::Column as C;
    let backend = DbBackend::Sqlite;
    let beyond = beyond(after, A::CallArrivedAt, A::CallId);
    let mut select = call_attempts::Entity::find().select_only().columns(C::iter());
    // A CROSS JOIN has no ON.
    let same = Expr::col(A::CallId.as_column_ref()).equals(C::CallId.as_column_ref());
    QueryTrait::query(&mut select)
        .cross_join(call_logs::Entity)
        .and_where(same)
        .cond_where(Condition::all().add_option(filter.of_attempt(backend)).add_option(beyond))
        .cond_where(filter.of_call(backend, &[]))
        .group_by_columns([A::CallArrivedAt.as_column_ref(), A::CallId.as_column_ref()])
        .order_by(A::CallArrivedAt.as_column_ref(), Order::Desc)
        .order_by(A::CallId.as_column_ref(), Order::Desc);
    select.limit(limit).build(backend)
}

/// Only what stands behind this place of the list.
fn beyond(after: Option<Position>, at: impl ColumnTrait, id: impl ColumnTrait) -> Option<Expr> {
    let key = Expr::tuple([Expr::col(at.as_column_ref()), Expr::col(id.as_column_ref())]);
    after.map(|last| key.lt(Expr::tuple([Expr::val(last.arrived_at), Expr::val(last.call.0)])))
}

/// What the attempts that match are called in a query.
const FOUND: &str = "found";

/// Rows that are in memory at a time while everything is read.
const BATCH: u64 = 500;

/// All calls that match, newest arrival first, batch by batch: memory does not grow with their number, and between batches no
/// connection is held, however slowly they are taken. Each call that was stored when the stream began comes exactly once. A batch has the
/// time of a report.
pub fn all(reports: Reports, filter: Filter) -> impl Stream<Item = Result<Vec<CallRecord>, ReportError>> + Send {
    try_unfold((reports, filter, None, false), |(reports, filter, after, done)| async move {
        if done {
            return Ok(None);
        }
        let wanted = filter.clone();
        let read = reports.part(move |lane| async move { read(&lane.read().await?, &wanted, after, BATCH).await });
        let batch = read.await?;
        let Some(last) = batch.last().map(Position::of) else { return Ok(None) };
        // A batch that is not full was the last one.
        let done = u64::try_from(batch.len()).is_ok_and(|length| length < BATCH);
        Ok(Some((batch, (reports, filter, Some(last), done))))
    })
}
