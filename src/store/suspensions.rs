//! Clients whose hosts may not be called (any more).

use chrono::{DateTime, Utc};
use entity::clients;
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};

use super::audit::{self, Object};
use super::change::{self, Owner, Refusal};
use super::{Db, StoreError, plan};
use crate::auth::principal::Actor;
use crate::id::ClientId;
use crate::realtime::Host;
use crate::routing::snapshot::{ClientIdentifier, Status};

/// Where a client is that has a fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Row.
    pub id: ClientId,
    /// Its PJSIP endpoint.
    pub identifier: ClientIdentifier,
    /// Its host.
    pub host: Host,
    /// Whether it is suspended.
    pub suspended: bool,
}

/// The clients with a fixed address that are not archived.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn placed(db: &Db) -> Result<Vec<Placed>, StoreError> {
    let alive = clients::Column::Status.ne(Status::Archived.as_str());
    let mut placed = Vec::new();
    for row in clients::Entity::find().filter(alive).all(&db.connection).await? {
        let (id, suspended) = (ClientId(row.id), row.suspended_reason.is_some());
        let client = plan::read_client(row)?;
        if let Some(host) = client.sip.host().cloned() {
            placed.push(Placed { id, identifier: client.identifier, host, suspended });
        }
    }
    Ok(placed)
}

/// Suspends a client for a reason, or with `None` lifts its suspension; audited as the system's doing. Returns whether anything
/// changed: nothing does where the client has gone, has another host by now, or is so already. Its version stays: a change that
/// somebody has in hand is not made stale by it.
///
/// # Errors
/// When the database cannot do it.
pub async fn suspend(db: &Db, client: &Placed, reason: Option<&str>, at: DateTime<Utc>) -> Result<bool, Refusal> {
    let transaction = change::begin(db).await?;
    let stored = match super::clients::find(&transaction, Owner::Anyone, client.id).await {
        Err(Refusal::NotFound) => return Ok(false),
        found => found?,
    };
    let moved = stored.values.sip.host() != Some(&client.host);
    if moved || stored.suspended_reason.is_some() == reason.is_some() {
        return Ok(false);
    }
    let model = clients::ActiveModel {
        id: Unchanged(client.id.0),
        suspended_reason: Set(reason.map(str::to_owned)),
        ..Default::default()
    };
    model.update(&transaction).await?;
    let action = if reason.is_some() { "client.suspend" } else { "client.resume" };
    let views = views(stored.suspended_reason.as_deref(), reason);
    let object = Object::new("client", client.id);
    audit::write(&transaction, at, Actor::System("sip"), action, object, Some(views.0), Some(views.1)).await?;
    change::bump(&transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// What the audit shows of a suspension, before and after.
pub(super) fn views(before: Option<&str>, after: Option<&str>) -> (Value, Value) {
    (json!({ "suspended_reason": before }), json!({ "suspended_reason": after }))
}
