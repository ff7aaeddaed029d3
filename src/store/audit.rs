//! Who changed what: one line, in the transaction of the change itself. Append-only; triggers refuse the rest.

use chrono::{DateTime, Utc};
use entity::audit;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait};
use serde_json::Value;

use crate::auth::principal::{Actor, Credential};

/// A kind of object and its id, or any other thing that can be changed.
#[derive(Debug, Clone)]
pub struct Object(String);

impl Object {
    /// `kind:id`, such as `user:7`.
    pub fn new(kind: &str, id: impl std::fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }
}

/// Notes in `transaction` that `actor` did `action` (such as `user.create`) to `object` at `at`. `before` and `after` are views that
/// hold no secret, not rows.
pub(super) async fn write(
    transaction: &impl ConnectionTrait,
    at: DateTime<Utc>,
    actor: Actor<'_>,
    action: &'static str,
    object: Object,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), DbErr> {
    let (user, name, credential, address) = match actor {
        Actor::System(name) => (None, name, None, None),
        Actor::Claimed { user, username, address } => (user, username, None, address),
        Actor::Principal(p) => {
            let credential = match p.credential {
                Credential::Session(id) => format!("session:{id}"),
                Credential::Token { id, .. } => format!("token:{id}"),
            };
            (Some(p.user), p.username.as_str(), Some(credential), p.address)
        }
    };
    let line = audit::ActiveModel {
        id: NotSet,
        at: Set(at),
        user_id: Set(user.map(|user| user.0)),
        actor: Set(name.to_owned()),
        credential: Set(credential),
        address: Set(address.map(|address| address.to_string())),
        action: Set(action.to_owned()),
        object: Set(object.0),
        before: Set(before),
        after: Set(after),
    };
    audit::Entity::insert(line).exec_without_returning(transaction).await.map(|_| ())
}
