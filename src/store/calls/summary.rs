//! Figures over many calls: counts, answers and talk time, by time, by object or by ending.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Duration, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;
use entity::{call_attempts, call_logs};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Select,
};

use super::Filter;
use crate::id::UserId;
use crate::routing::snapshot::words;
use crate::store::reports::{ReportError, Reports};
use crate::store::{StoreError, number};

words! {
    /// What calls are grouped by.
    By {
        /// Hours of the time zone's clock. The hour that a clock change repeats is two groups, told apart by their offsets.
        Hour = "hour",
        /// Days of the time zone's calendar, 23 to 25 hours long.
        Day = "day",
        /// Owner of the DID at the time.
        Seller = "seller",
        /// The campaign.
        Campaign = "campaign",
        /// What was dialled.
        Did = "did",
        /// Each client that was dialled: a call that failed over counts once for each.
        Client = "client",
        /// Each link that was dialled: a call that failed over counts once for each.
        Link = "link",
        /// Why calls ended.
        Ending = "ending",
    }
}

/// Figures of some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many.
    pub calls: u64,
    /// How many of them a client answered; by client or link: this one.
    pub answered: u64,
    /// Talk time of the answered ones, in milliseconds, as is likely.
    pub talk_ms: i64,
    /// Talk time at least, in milliseconds.
    pub talk_min_ms: i64,
    /// Talk time at most, in milliseconds, with that of calls that may have been answered.
    pub talk_max_ms: i64,
}

impl Figures {
    fn add(&mut self, more: Self) {
        self.calls += more.calls;
        self.answered += more.answered;
        self.talk_ms += more.talk_ms;
        self.talk_min_ms += more.talk_min_ms;
        self.talk_max_ms += more.talk_max_ms;
    }
}

/// What the calls of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The hour or day that begins then.
    Time(DateTime<FixedOffset>),
    /// An object; `None` for calls that reached none. The name is one that records hold (the last in alphabetical order, should it
    /// have changed).
    Object {
        /// Row id.
        id: Option<i64>,
        /// Its name.
        name: Option<String>,
    },
    /// A link and the client it leads to.
    Link {
        /// Row id of the link.
        id: i64,
        /// Row id of its client.
        client: i64,
        /// The client's name in records.
        client_name: String,
    },
    /// The number dialled, as text where it is no number; or the ending.
    Text(String),
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is.
    pub key: Key,
    /// Its figures.
    pub figures: Figures,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Over all calls that match, each counted once.
    pub total: Figures,
    /// Groups that have calls: by time in its order, else the largest first. At most [`GROUPS_AT_MOST`].
    pub groups: Vec<Group>,
    /// Whether there are more, which are left out.
    pub truncated: bool,
}

/// Groups of a summary at most: more than a year's hours. Whoever dials what nobody has makes a group of each number.
pub const GROUPS_AT_MOST: usize = 10_000;

/// Figures of the calls that match `filter`, grouped: a report of `asker`. `zone` matters for hours and days only.
///
/// # Errors
/// When there is no place for it, it takes too long, or the database cannot be read.
pub async fn summary(
    reports: &Reports,
    asker: UserId,
    filter: &Filter,
    by: By,
    zone: Tz,
) -> Result<Summary, ReportError> {
    let filter = filter.clone();
    reports.report(asker, move |lane| async move { sum_up(&lane.read().await?, &filter, by, zone).await }).await
}

async fn sum_up(transaction: &DatabaseTransaction, filter: &Filter, by: By, zone: Tz) -> Result<Summary, StoreError> {
    let keys = || [none(), none(), no_text()];
    let total = rows(transaction, calls_of(transaction, filter), OF_CALLS, keys, &[], Wanted::All).await?;
    let total = total.first().map_or(Ok(Figures::default()), Row::figures)?;
    let mut groups = match by {
        By::Hour | By::Day => by_time(transaction, filter, by, zone).await?,
        By::Client | By::Link => by_attempt(transaction, filter, by).await?,
        By::Seller | By::Campaign | By::Did | By::Ending => by_column(transaction, filter, by).await?,
    };
    let truncated = groups.len() > GROUPS_AT_MOST;
    groups.truncate(GROUPS_AT_MOST);
    Ok(Summary { total, groups, truncated })
}

/// What every query here gives, in the order of its columns; which keys have a meaning depends on the grouping.
#[derive(Debug, FromQueryResult)]
struct Row {
    id: Option<i64>,
    client: Option<i64>,
    name: Option<String>,
    calls: i64,
    answered: i64,
    talk_ms: i64,
    /// What is to be added to `talk_ms` for its bounds.
    less: i64,
    more: i64,
}

impl Row {
    /// What tells groups apart: a name does where there is no id.
    fn key(&self) -> (Option<i64>, Option<i64>, Option<String>) {
        (self.id, self.client, self.name.clone().filter(|_| self.id.or(self.client).is_none()))
    }

    fn figures(&self) -> Result<Figures, StoreError> {
        Ok(Figures {
            calls: number("call_logs", "count", self.calls)?,
            answered: number("call_logs", "answered", self.answered)?,
            talk_ms: self.talk_ms,
            talk_min_ms: self.talk_ms + self.less,
            talk_max_ms: self.talk_ms + self.more,
        })
    }
}

/// Count, answered ones, talk time and what its bounds are off, as SQL.
type Measures = [&'static str; 5];
const NOTHING: &str = "CAST(0 AS BIGINT)";
/// SUM makes a decimal of PostgreSQL's whole numbers, hence the cast.
const OF_CALLS: Measures = [
    "COUNT(*)",
    "COUNT(call_logs.answered_at)",
    "CAST(COALESCE(SUM(call_logs.talk_ms), 0) AS BIGINT)",
    "CAST(COALESCE(SUM(call_logs.talk_min_ms - call_logs.talk_ms), 0) AS BIGINT)",
    "CAST(COALESCE(SUM(call_logs.talk_max_ms - call_logs.talk_ms), 0) AS BIGINT)",
];
/// A call that one link was dialled for twice (before and after a restart) is one call.
const OF_ATTEMPTS: Measures = [
    "COUNT(DISTINCT call_attempts.call_id)",
    "COUNT(DISTINCT CASE WHEN call_attempts.outcome = 'answered' THEN call_attempts.call_id END)",
    "CAST(COALESCE(SUM(CASE WHEN call_attempts.outcome = 'answered' THEN call_logs.talk_ms END), 0) AS BIGINT)",
    "CAST(COALESCE(SUM(CASE WHEN call_attempts.outcome = 'answered' THEN call_logs.talk_min_ms - call_logs.talk_ms END), 0) AS BIGINT)",
    // Of attempts whose outcome is not known, the last one may have been answered.
    "CAST(COALESCE(SUM(CASE WHEN call_attempts.outcome = 'answered' OR call_attempts.outcome = 'unknown' AND call_attempts.number = \
        (SELECT MAX(other.number) FROM call_attempts other WHERE other.call_id = call_attempts.call_id) \
        THEN call_logs.talk_max_ms - call_logs.talk_ms END), 0) AS BIGINT)",
];

/// The columns of [`Row`]: `[id, client, name]`, then the measures, for each combination of `by`.
fn grouped<E: EntityTrait>(query: Select<E>, measures: Measures, keys: [Expr; 3], by: &[Expr]) -> Select<E> {
    let [id, client, name] = keys;
    let [calls, answered, talk, less, more] = measures.map(Expr::cust);
    let query = query.select_only().expr_as(id, "id").expr_as(client, "client").expr_as(name, "name");
    let query = query.expr_as(calls, "calls").expr_as(answered, "answered").expr_as(talk, "talk_ms");
    let query = query.expr_as(less, "less").expr_as(more, "more");
    by.iter().fold(query, |query, key| query.group_by(key.clone()))
}

fn calls_of(transaction: &DatabaseTransaction, filter: &Filter) -> Select<call_logs::Entity> {
    call_logs::Entity::find().filter(filter.condition(transaction.get_database_backend()))
}

fn none() -> Expr {
    Expr::cust("CAST(NULL AS BIGINT)")
}

fn no_text() -> Expr {
    Expr::cust("CAST(NULL AS TEXT)")
}

/// Rows of whose talk the bounds differ: few, by an index of their own. All other measures are read from indexes alone.
const UNCERTAIN: &str = "call_logs.talk_max_ms IS NOT NULL";

/// Which groups are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// As many as a summary may have, and one more, which shows that there are more.
    Largest,
}

async fn rows<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    query: Select<E>,
    measures: Measures,
    keys: impl Fn() -> [Expr; 3],
    by: &[Expr],
    wanted: Wanted,
) -> Result<Vec<Row>, StoreError> {
    let [calls, answered, talk, ..] = measures;
    let uncertain = grouped(query.clone().filter(Expr::cust(UNCERTAIN)), measures, keys(), by);
    let mut all = grouped(query, [calls, answered, talk, NOTHING, NOTHING], keys(), by);
    if wanted == Wanted::Largest {
        // Of those with as many calls it is the same each time which are left out.
        all = by.iter().fold(all.order_by_desc(Expr::cust(calls)), |all, key| all.order_by_asc(key.clone()));
        all = all.limit(GROUPS_AT_MOST as u64 + 1);
    }
    let mut rows = all.into_model::<Row>().all(transaction).await?;
    let uncertain = uncertain.into_model::<Row>().all(transaction).await?;
    let off: HashMap<_, _> = uncertain.into_iter().map(|row| (row.key(), (row.less, row.more))).collect();
    if !off.is_empty() {
        for row in &mut rows {
            (row.less, row.more) = off.get(&row.key()).copied().unwrap_or_default();
        }
    }
    Ok(rows)
}

/// Quarters of an hour are counted by the database and folded into hours and days here: both databases thereby use the same
/// time zone rules, those of this program. Every offset in use since 1972 is a whole number of quarters.
const SLOT_SECONDS: i64 = 900;

async fn by_time(
    transaction: &DatabaseTransaction,
    filter: &Filter,
    by: By,
    zone: Tz,
) -> Result<Vec<Group>, StoreError> {
    let slot = Expr::cust(match transaction.get_database_backend() {
        DbBackend::Postgres => "CAST(FLOOR(EXTRACT(EPOCH FROM call_logs.arrived_at) / 900) AS BIGINT)",
        _ => "CAST(strftime('%s', call_logs.arrived_at) AS INTEGER) / 900",
    });
    let keys = || [slot.clone(), none(), no_text()];
    let mut groups: BTreeMap<DateTime<FixedOffset>, Figures> = BTreeMap::new();
    for row in
        rows(transaction, calls_of(transaction, filter), OF_CALLS, keys, std::slice::from_ref(&slot), Wanted::All)
            .await?
    {
        let begins = row.id.and_then(|slot| zone.timestamp_opt(slot * SLOT_SECONDS, 0).single());
        let Some(begins) = begins else { continue };
        let key = if by == By::Hour { hour_of(&begins) } else { day_of(&begins) };
        groups.entry(key).or_default().add(row.figures()?);
    }
    Ok(groups.into_iter().map(|(begins, figures)| Group { key: Key::Time(begins), figures }).collect())
}

/// The hour of the clock that `at` lies in, in the offset then in force.
fn hour_of(at: &DateTime<Tz>) -> DateTime<FixedOffset> {
    let into = Duration::minutes(i64::from(at.minute())) + Duration::seconds(i64::from(at.second()));
    at.fixed_offset() - into
}

/// The first moment of the day that `at` lies in. Where clocks go forward at midnight the day begins later on the clock.
fn day_of(at: &DateTime<Tz>) -> DateTime<FixedOffset> {
    let date: NaiveDate = at.date_naive();
    let midnight = NaiveDateTime::new(date, NaiveTime::MIN);
    let quarters = (0..96).map(|n| midnight + Duration::seconds(n * SLOT_SECONDS));
    let first = quarters.filter_map(|local| at.timezone().from_local_datetime(&local).earliest()).next();
    first.map_or_else(|| at.offset().fix().from_utc_datetime(&at.naive_utc()), |first| first.fixed_offset())
}

async fn by_column(transaction: &DatabaseTransaction, filter: &Filter, by: By) -> Result<Vec<Group>, StoreError> {
    use call_logs::Column as C;
    let objects = |id: C, name: C| ([col(id), none(), col(name).max()], col(id));
    let texts = |text: Expr| ([none(), none(), text.clone()], text);
    let (keys, key) = match by {
        By::Seller => objects(C::SellerId, C::SellerName),
        By::Campaign => objects(C::CampaignId, C::CampaignName),
        By::Did => texts(Expr::cust("COALESCE(call_logs.dialled_number, call_logs.dialled_raw)")),
        _ => texts(col(C::Ending)),
    };
    let found =
        rows(transaction, calls_of(transaction, filter), OF_CALLS, || keys.clone(), &[key], Wanted::Largest).await?;
    largest_first(found, |row| match by {
        By::Seller | By::Campaign => Key::Object { id: row.id, name: row.name },
        _ => Key::Text(row.name.unwrap_or_default()),
    })
}

async fn by_attempt(transaction: &DatabaseTransaction, filter: &Filter, by: By) -> Result<Vec<Group>, StoreError> {
    use call_attempts::Column as A;
    let (client, name) = (col(A::ClientId), col(A::ClientName).max());
    let (id, keys) = if by == By::Link {
        (col(A::LinkId), vec![col(A::LinkId), client.clone()])
    } else {
        (none(), vec![client.clone()])
    };
    // A filter for one client means its attempts, not those of others in the same calls.
    let wanted = filter.condition(transaction.get_database_backend()).add_option(filter.attempts());
    let mut attempts = call_attempts::Entity::find().filter(wanted);
    QueryTrait::query(&mut attempts).inner_join(call_logs::Entity, col(A::CallId).eq(col(call_logs::Column::CallId)));
    let names = || [id.clone(), client.clone(), name.clone()];
    let found = rows(transaction, attempts, OF_ATTEMPTS, names, &keys, Wanted::Largest).await?;
    largest_first(found, |row| {
        let name = row.name;
        match (row.id, row.client) {
            (Some(id), Some(client)) => Key::Link { id, client, client_name: name.unwrap_or_default() },
            _ => Key::Object { id: row.client, name },
        }
    })
}

fn col(column: impl ColumnTrait) -> Expr {
    Expr::col(column.as_column_ref())
}

fn largest_first(rows: Vec<Row>, key: impl Fn(Row) -> Key) -> Result<Vec<Group>, StoreError> {
    let group = |row: Row| Ok(Group { figures: row.figures()?, key: key(row) });
    let mut groups = rows.into_iter().map(group).collect::<Result<Vec<_>, StoreError>>()?;
    // Groups of equal size stand in an order of their own, the same every time.
    groups.sort_by_cached_key(|group| (std::cmp::Reverse(group.figures.calls), format!("{:?}", group.key)));
    Ok(groups)
}
