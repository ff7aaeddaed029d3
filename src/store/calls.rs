//! Finding stored calls: filtered lists, page by page, and their figures.

mod summary;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{call_attempts, call_logs, campaigns, clients};
use futures_util::stream::{Stream, try_unfold};
use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef, JoinType, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use super::audit::{self, Object};
use super::{Db, StoreError, records};
use crate::auth::principal::Actor;
use crate::cdr::record::CallRecord;
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};

pub use summary::{By, Figures, Group, Key, Summary, summary};

/// Which calls; every field that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this seller's calls: what the asker may see at most.
    pub owner: Option<UserId>,
    /// Arrived then or later.
    pub from: Option<DateTime<Utc>>,
    /// Arrived before then.
    pub to: Option<DateTime<Utc>>,
    /// Owner of the DID at the time.
    pub seller: Option<UserId>,
    /// The DID's row.
    pub did: Option<DidId>,
    /// What was dialled, in E.164.
    pub dialled: Option<String>,
    /// Who called, in E.164. Withheld callers have none.
    pub caller: Option<String>,
    /// The campaign.
    pub campaign: Option<CampaignId>,
    /// A client that was dialled, whether or not it answered.
    pub client: Option<ClientId>,
    /// A link that was dialled, whether or not it answered.
    pub link: Option<LinkId>,
    /// The ending, as stored.
    pub ending: Option<String>,
    /// Whether a client answered.
    pub answered: Option<bool>,
    /// Talk time at least, in milliseconds, as is certain.
    pub min_talk_ms: Option<i64>,
}

/// Where a page ended: arrival and id of its last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Arrival.
    pub arrived_at: DateTime<Utc>,
    /// Tells calls of one microsecond apart.
    pub call: CallId,
}

impl Position {
    /// Where a list stands after this call.
    #[must_use]
    pub fn of(record: &CallRecord) -> Self {
        Self { arrived_at: record.arrived_at, call: record.call_id }
    }
}

/// Talk times in milliseconds from which on calls have an index of their own. As text: no plan with a parameter uses such an index.
const LONG_TALKS: [(i64, &str); 2] =
    [(960_000, "call_logs.talk_ms >= 960000"), (240_000, "call_logs.talk_ms >= 240000")];

impl Filter {
    fn condition(&self) -> Condition {
        self.of_call().add_option(self.dialled_client().map(Expr::exists))
    }

    /// What the filter wants of a call, its attempts aside.
    fn of_call(&self) -> Condition {
        use call_logs::Column as C;
        let least = self.min_talk_ms.unwrap_or(0);
        let long = LONG_TALKS.iter().find(|(from, _)| least >= *from).map(|(_, text)| Expr::cust(*text));
        Condition::all()
            .add_option(self.from.map(|at| C::ArrivedAt.gte(at)))
            .add_option(self.to.map(|at| C::ArrivedAt.lt(at)))
            .add_option(self.owner.map(|id| C::SellerId.eq(id.0)))
            .add_option(self.seller.map(|id| C::SellerId.eq(id.0)))
            .add_option(self.did.map(|id| C::DidId.eq(id.0)))
            .add_option(self.dialled.as_ref().map(|number| C::DialledNumber.eq(number.as_str())))
            .add_option(self.caller.as_ref().map(|number| C::CallerNumber.eq(number.as_str())))
            .add_option(self.campaign.map(|id| C::CampaignId.eq(id.0)))
            .add_option(self.ending.as_ref().map(|ending| C::Ending.eq(ending.as_str())))
            .add_option(
                self.answered.map(|yes| if yes { C::AnsweredAt.is_not_null() } else { C::AnsweredAt.is_null() }),
            )
            .add_option(self.min_talk_ms.map(|least| C::TalkMs.gte(least)))
            // What is certain is never more than what is likely, by which the indexes are.
            .add_option(self.min_talk_ms.map(|least| C::TalkMinMs.is_null().or(C::TalkMinMs.gte(least))))
            .add_option(long)
    }

    /// The same of an attempt's copy of its call, as far as it goes, and what the filter wants of the attempt.
    fn of_attempt(&self) -> Option<Condition> {
        use call_attempts::Column as A;
        let same = Condition::all()
            .add_option(self.from.map(|at| A::CallArrivedAt.gte(at)))
            .add_option(self.to.map(|at| A::CallArrivedAt.lt(at)))
            .add_option(self.owner.map(|id| A::CallSellerId.eq(id.0)))
            .add_option(self.seller.map(|id| A::CallSellerId.eq(id.0)))
            .add_option(self.ending.as_ref().map(|ending| A::CallEnding.eq(ending.as_str())))
            .add_option(
                self.answered
                    .map(|yes| if yes { A::CallAnsweredAt.is_not_null() } else { A::CallAnsweredAt.is_null() }),
            )
            .add_option(self.min_talk_ms.map(|least| A::CallTalkMs.gte(least)));
        self.attempts().map(|wanted| same.add(wanted))
    }

    /// The attempts of a call that the filter names, where it names any.
    fn dialled_client(&self) -> Option<SelectStatement> {
        use call_attempts::Column as A;
        let attempts = self.attempts()?;
        let of_call = Expr::col(A::CallId.as_column_ref()).equals(call_logs::Column::CallId.as_column_ref());
        let mut query = Query::select();
        query.expr(Expr::val(1)).from(call_attempts::Entity).and_where(of_call).cond_where(attempts);
        Some(query)
    }

    /// What the filter wants of an attempt; `None` where it wants nothing.
    fn attempts(&self) -> Option<Condition> {
        use call_attempts::Column as A;
        let wanted = Condition::all()
            .add_option(self.client.map(|id| A::ClientId.eq(id.0)))
            .add_option(self.link.map(|id| A::LinkId.eq(id.0)));
        (!wanted.is_empty()).then_some(wanted)
    }
}

/// A page is read in the order of an index, and no further than it goes. Where PostgreSQL takes a filter for rarer than it is, it would
/// rather find all that matches and sort it (measured: 450 ms instead of 8 for a large seller's calls to a busy client). What it cannot do
/// without a sort looks so dear to it then that it would compile the query, which takes longer than to run it (19 ms).
const IN_ORDER: &str = "SET LOCAL enable_sort = off; SET LOCAL enable_hashagg = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/// Calls that match, newest arrival first, with their attempts: at most `limit`, from `after` on.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn page(
    db: &Db,
    filter: &Filter,
    after: Option<Position>,
    limit: u64,
) -> Result<Vec<CallRecord>, StoreError> {
    use call_attempts::Column as A;
    use call_logs::Column as C;
    let transaction = db.read().await?;
    if db.is_postgres() {
        transaction.execute_unprepared(IN_ORDER).await?;
    }
    let mut select = call_logs::Entity::find().limit(limit);
    if let Some(attempts) = filter.of_attempt() {
        // Calls in the order of their attempts' index; a call with two attempts that match is one row.
        let beyond = beyond(after, A::CallArrivedAt, A::CallId);
        let [at, id] = ["at", "id"].map(|column| (FOUND, column).into_column_ref());
        let mut found = Query::select();
        found
            .expr_as(Expr::col(A::CallArrivedAt.as_column_ref()), "at")
            .expr_as(Expr::col(A::CallId.as_column_ref()), "id")
            .from(call_attempts::Entity)
            .cond_where(attempts.add_option(beyond))
            .group_by_columns([A::CallArrivedAt.as_column_ref(), A::CallId.as_column_ref()])
            .order_by(A::CallArrivedAt.as_column_ref(), Order::Desc)
            .order_by(A::CallId.as_column_ref(), Order::Desc);
        let same = Expr::col(id.clone()).equals(C::CallId.as_column_ref());
        QueryTrait::query(&mut select)
            .join_subquery(JoinType::InnerJoin, found, FOUND, same)
            .cond_where(filter.of_call())
            .order_by(at, Order::Desc)
            .order_by(id, Order::Desc);
    } else {
        let beyond = beyond(after, C::ArrivedAt, C::CallId);
        let filtered = select.filter(filter.of_call().add_option(beyond));
        select = filtered.order_by_desc(C::ArrivedAt).order_by_desc(C::CallId);
    }
    let calls = select.all(&transaction).await?;
    records::with_attempts(&transaction, calls).await
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
/// connection is held, however slowly they are taken. Each call that was stored when the stream began comes exactly once.
pub fn all(db: Db, filter: Filter) -> impl Stream<Item = Result<Vec<CallRecord>, StoreError>> + Send {
    try_unfold((db, filter, None, false), |(db, filter, after, done)| async move {
        if done {
            return Ok(None);
        }
        let batch = page(&db, &filter, after, BATCH).await?;
        let Some(last) = batch.last().map(Position::of) else { return Ok(None) };
        // A batch that is not full was the last one.
        let done = u64::try_from(batch.len()).is_ok_and(|length| length < BATCH);
        Ok(Some((batch, (db, filter, Some(last), done))))
    })
}

/// The aliases that sellers read instead of clients' names; those of archived clients too, which records still name.
///
/// # Errors
/// When the database cannot be read.
pub async fn aliases(db: &Db) -> Result<HashMap<ClientId, String>, StoreError> {
    let masked = clients::Entity::find().filter(clients::Column::MaskName.is_not_null()).select_only();
    let columns = masked.columns([clients::Column::Id, clients::Column::MaskName]);
    let rows: Vec<(i64, String)> = columns.into_tuple().all(&db.connection).await?;
    Ok(rows.into_iter().map(|(id, alias)| (ClientId(id), alias)).collect())
}

/// The campaigns of a seller, archived ones included.
///
/// # Errors
/// When the database cannot be read.
pub async fn campaigns_of(db: &Db, seller: UserId) -> Result<HashSet<CampaignId>, StoreError> {
    let own = campaigns::Entity::find().filter(campaigns::Column::SellerId.eq(seller.0)).select_only();
    let ids: Vec<i64> = own.column(campaigns::Column::Id).into_tuple().all(&db.connection).await?;
    Ok(ids.into_iter().map(CampaignId).collect())
}

/// Notes that `actor` took all `calls` of a silent node for gone, before that is carried out.
///
/// # Errors
/// When the database cannot be written; then it must not be carried out either.
pub async fn note_release(
    db: &Db,
    actor: Actor<'_>,
    node: &str,
    calls: u64,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let transaction = db.write().await?;
    let before = Some(serde_json::json!({ "live_calls": calls }));
    audit::write(&transaction, at, actor, "node.release", Object::new("node", node), before, None).await?;
    Ok(transaction.commit().await?)
}

/// Notes that `actor` had a live call hung up, before it is.
///
/// # Errors
/// When the database cannot be written; then the call must not be hung up either.
pub async fn note_hang_up(db: &Db, actor: Actor<'_>, call: CallId, at: DateTime<Utc>) -> Result<(), StoreError> {
    let transaction = db.write().await?;
    audit::write(&transaction, at, actor, "call.hang_up", Object::new("call", call), None, None).await?;
    Ok(transaction.commit().await?)
}
