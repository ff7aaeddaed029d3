//! Finding stored calls: filtered lists, page by page, and their figures.

mod page;
mod summary;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{call_attempts, call_logs, campaigns, clients};
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, DbBackend, EntityTrait, IdenStatic, QueryFilter, QuerySelect};

use super::audit::{self, Object};
use super::{Db, StoreError};
use crate::auth::principal::Actor;
use crate::cdr::record::CallRecord;
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};

pub use page::{all, explained, one, page};
pub use summary::{By, Figures, GROUPS_AT_MOST, Group, Key, Summary, summary};

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
    /// Whether it names so little that reading it is cheap whatever else it asks for: the calls of one caller.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        self.caller.is_some()
    }

    fn condition(&self, backend: DbBackend) -> Condition {
        self.of_call(backend, self.leads()).add_option(self.dialled_client().map(Expr::exists))
    }

    /// What the filter wants of a call, its attempts aside. `leads`: see [`steered`].
    fn of_call(&self, backend: DbBackend, leads: &[call_logs::Column]) -> Condition {
        use call_logs::Column as C;
        let least = self.min_talk_ms.unwrap_or(0);
        let long = LONG_TALKS.iter().find(|(from, _)| least >= *from).map(|(_, text)| Expr::cust(*text));
        let column = |column: C| {
            let is_lead = leads.iter().any(|lead| lead.as_str() == column.as_str());
            steered(backend, column, is_lead)
        };
        Condition::all()
            .add_option(self.from.map(|at| C::ArrivedAt.gte(at)))
            .add_option(self.to.map(|at| C::ArrivedAt.lt(at)))
            .add_option(self.owner.map(|id| column(C::SellerId).eq(id.0)))
            .add_option(self.seller.map(|id| column(C::SellerId).eq(id.0)))
            .add_option(self.did.map(|id| column(C::DidId).eq(id.0)))
            .add_option(self.dialled.as_ref().map(|number| column(C::DialledNumber).eq(number.as_str())))
            .add_option(self.caller.as_ref().map(|number| column(C::CallerNumber).eq(number.as_str())))
            .add_option(self.campaign.map(|id| column(C::CampaignId).eq(id.0)))
            .add_option(self.ending.as_ref().map(|ending| column(C::Ending).eq(ending.as_str())))
            .add_option(
                self.answered.map(|yes| if yes { C::AnsweredAt.is_not_null() } else { C::AnsweredAt.is_null() }),
            )
            .add_option(self.min_talk_ms.map(|least| C::TalkMs.gte(least)))
            // What is certain is never more than what is likely, by which the indexes are.
            .add_option(self.min_talk_ms.map(|least| C::TalkMinMs.is_null().or(C::TalkMinMs.gte(least))))
            .add_option(long)
    }

    /// The columns by whose index SQLite is to find the calls: of those that are asked for, what leaves the fewest.
    fn leads(&self) -> &'static [call_logs::Column] {
        use call_logs::Column as C;
        match self {
            Self { caller: Some(_), .. } => &[C::CallerNumber],
            Self { dialled: Some(_), .. } => &[C::DialledNumber],
            Self { did: Some(_), .. } => &[C::DidId],
            Self { campaign: Some(_), .. } => &[C::CampaignId],
            _ => &[C::SellerId, C::Ending],
        }
    }

    /// The same of an attempt's copy of its call, as far as it goes, and what the filter wants of the attempt.
    fn of_attempt(&self, backend: DbBackend) -> Option<Condition> {
        use call_attempts::Column as A;
        // A link's attempts are few beside its client's or its seller's.
        let seller = steered(backend, A::CallSellerId, self.link.is_none());
        let same = Condition::all()
            .add_option(self.from.map(|at| A::CallArrivedAt.gte(at)))
            .add_option(self.to.map(|at| A::CallArrivedAt.lt(at)))
            .add_option(self.owner.map(|id| seller.clone().eq(id.0)))
            .add_option(self.seller.map(|id| seller.clone().eq(id.0)))
            .add_option(self.ending.as_ref().map(|ending| A::CallEnding.eq(ending.as_str())))
            .add_option(
                self.answered
                    .map(|yes| if yes { A::CallAnsweredAt.is_not_null() } else { A::CallAnsweredAt.is_null() }),
            )
            .add_option(self.min_talk_ms.map(|least| A::CallTalkMs.gte(least)));
        let client = steered(backend, A::ClientId, self.link.is_none());
        let wanted = self.client.map(|id| client.eq(id.0));
        let wanted = Condition::all().add_option(wanted).add_option(self.link.map(|id| A::LinkId.eq(id.0)));
        (!wanted.is_empty()).then(|| same.add(wanted))
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

/// A column to compare, by whose index SQLite may search only where it `leads`: it knows how many rows a value of a column has on average,
/// and takes a small caller's calls for more than those of a seller who has them all. PostgreSQL knows the frequent values.
fn steered(backend: DbBackend, column: impl ColumnTrait, leads: bool) -> Expr {
    let column = Expr::col(column.as_column_ref());
    // SQLite's own sign for it: a term with a unary plus is no reason to take an index.
    if backend == DbBackend::Sqlite && !leads { Expr::cust_with_expr("+?", column) } else { column }
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
    let before = Some(serde_json::json!({ "live_calls": calls }));
    note(db, actor, "node.release", Object::new("node", node), before, at).await
}

/// Notes that `actor` had a node drained, or had it take calls again, before that is carried out.
///
/// # Errors
/// When the database cannot be written; then it must not be carried out either.
pub async fn note_drain(
    db: &Db,
    actor: Actor<'_>,
    node: &str,
    drained: bool,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let action = if drained { "node.drain" } else { "node.end_drain" };
    note(db, actor, action, Object::new("node", node), None, at).await
}

/// Notes that `actor` had a live call hung up, before it is.
///
/// # Errors
/// When the database cannot be written; then the call must not be hung up either.
pub async fn note_hang_up(db: &Db, actor: Actor<'_>, call: CallId, at: DateTime<Utc>) -> Result<(), StoreError> {
    note(db, actor, "call.hang_up", Object::new("call", call), None, at).await
}

async fn note(
    db: &Db,
    actor: Actor<'_>,
    action: &'static str,
    object: Object,
    before: Option<serde_json::Value>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let transaction = db.write().await?;
    audit::write(&transaction, at, actor, action, object, before, None).await?;
    Ok(transaction.commit().await?)
}
