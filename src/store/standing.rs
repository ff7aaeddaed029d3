//! Whether credentials that were good still are: asked again and again for answers that go on, such as streams.

use std::collections::HashMap;
use std::hash::Hash;

use chrono::{DateTime, Utc};
use entity::{api_tokens, sessions, users};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::{Db, StoreError, sessions as all_sessions, tokens, word};
use crate::auth::roles::Role;
use crate::id::UserId;
use crate::plan::UserStatus;

/// The user of a credential that is good, as it is at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Row id.
    pub user: UserId,
    /// What it is.
    pub role: Role,
    /// Grows with every change of the user: role, status, password, name.
    pub version: i64,
}

/// Those of the sessions that live at `now`, with their active users.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_sessions(db: &Db, ids: &[Uuid], now: DateTime<Utc>) -> Result<HashMap<Uuid, Standing>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let good = sessions::Entity::find().filter(sessions::Column::Id.is_in(ids.iter().copied()));
    let good = good.filter(all_sessions::alive(now)).select_only();
    let columns = good.columns([sessions::Column::Id, sessions::Column::UserId]);
    with_users(db, columns.into_tuple().all(&db.connection).await?).await
}

/// Those of the API tokens that are good at `now`, with their active owners.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_tokens(db: &Db, ids: &[i64], now: DateTime<Utc>) -> Result<HashMap<i64, Standing>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let good = api_tokens::Entity::find().filter(api_tokens::Column::Id.is_in(ids.iter().copied()));
    let good = good.filter(tokens::good(now)).select_only();
    let columns = good.columns([api_tokens::Column::Id, api_tokens::Column::UserId]);
    with_users(db, columns.into_tuple().all(&db.connection).await?).await
}

async fn with_users<K: Eq + Hash>(db: &Db, owned: Vec<(K, i64)>) -> Result<HashMap<K, Standing>, StoreError> {
    let active = users::Column::Status.eq(UserStatus::Active.as_str());
    let ids = owned.iter().map(|(_, user)| *user);
    let rows = users::Entity::find().filter(users::Column::Id.is_in(ids)).filter(active).all(&db.connection).await?;
    let mut users = HashMap::with_capacity(rows.len());
    for row in rows {
        let standing = Standing { user: UserId(row.id), role: word("users", "role", &row.role)?, version: row.version };
        users.insert(row.id, standing);
    }
    Ok(owned.into_iter().filter_map(|(key, user)| Some((key, *users.get(&user)?))).collect())
}
