//! Clients, one by one, and which sellers may use them.

use std::collections::HashSet;

use entity::{call_attempts, campaign_client_settings, client_sellers, clients, retired_identifiers, users};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Func, OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::audit::Object;
use super::change::{self, Editor, Keyset, Owner, Refusal};
use super::{Db, StoreError, plan, suspensions};
use crate::id::{ClientId, UserId};
pub use crate::plan::Access;
use crate::realtime::{Secrets, SipForm, SipSettings, overlaps};
use crate::routing::snapshot::{ClientIdentifier, Status};

/// A stored client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredClient {
    /// Row.
    pub id: ClientId,
    /// Its PJSIP endpoint; never changes.
    #[serde(rename = "client_identifier")]
    pub identifier: ClientIdentifier,
    /// Grows with every change that somebody makes.
    pub version: i64,
    /// Why its host may not be called, which nobody sets or lifts by hand; such a client is offered no calls.
    pub suspended_reason: Option<String>,
    /// What can change.
    #[serde(flatten)]
    pub values: ClientValues,
}

/// What can change of a client. Written out (for the audit) without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientValues {
    /// For people.
    pub name: String,
    /// What sellers see instead.
    pub mask_name: Option<String>,
    /// Life.
    pub status: Status,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<u32>,
    /// Whether the INVITE carries our headers.
    pub send_headers: bool,
    /// Whom to call.
    pub contact: Option<String>,
    /// IANA name.
    pub time_zone: Option<String>,
    /// Which sellers may link it.
    pub access: Access,
    /// How it is reached.
    #[serde(serialize_with = "as_form")]
    pub sip: SipSettings,
    /// What goes with it and is never shown.
    #[serde(skip)]
    pub secrets: Secrets,
}

fn as_form<S: Serializer>(sip: &SipSettings, serializer: S) -> Result<S::Ok, S::Error> {
    SipForm::from(sip).serialize(serializer)
}

impl StoredClient {
    /// Its name as `owner` may see it: sellers get the alias, where there is one, everywhere.
    #[must_use]
    pub fn name_for(&self, owner: Owner) -> &str {
        match (owner, &self.values.mask_name) {
            (Owner::Only(_), Some(alias)) => alias,
            _ => &self.values.name,
        }
    }
}

/// The clients that `owner` sees, with one status; `None` = all that are not archived.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn list(
    db: &Db,
    owner: Owner,
    status: Option<Status>,
    keyset: Keyset,
) -> Result<Vec<StoredClient>, StoreError> {
    use clients::Column;
    let select = clients::Entity::find().filter(visible(owner)).filter(match status {
        Some(status) => Column::Status.eq(status.as_str()),
        None => Column::Status.ne(Status::Archived.as_str()),
    });
    let rows = change::slice(&db.connection, select, Column::Id, keyset).await?;
    rows.into_iter().map(read).collect()
}

/// One client that `owner` sees.
///
/// # Errors
/// [`Refusal::NotFound`], or the database's.
pub async fn get(db: &Db, owner: Owner, id: ClientId) -> Result<StoredClient, Refusal> {
    find(&db.connection, owner, id).await
}

/// The clients that are not for this seller (any more), archived ones included.
///
/// # Errors
/// When the database cannot be read.
pub async fn withdrawn(db: &Db, seller: UserId) -> Result<HashSet<ClientId>, StoreError> {
    let hidden = clients::Entity::find().filter(visible(Owner::Only(seller)).not()).select_only();
    let ids: Vec<i64> = hidden.column(clients::Column::Id).into_tuple().all(&db.connection).await?;
    Ok(ids.into_iter().map(ClientId).collect())
}

/// Those of `ids` that `owner` sees.
pub(super) async fn seen(
    connection: &impl ConnectionTrait,
    owner: Owner,
    ids: impl Iterator<Item = i64>,
) -> Result<Vec<StoredClient>, StoreError> {
    let select = clients::Entity::find().filter(visible(owner)).filter(clients::Column::Id.is_in(ids));
    select.all(connection).await?.into_iter().map(read).collect()
}

/// Makes a client. `foreign` names a node that has an endpoint of this name.
///
/// # Errors
/// `identifier_taken` where another has, or a deleted one had, the identifier; `endpoint_taken` where nobody of ours had it and a node
/// has it all the same; [`Refusal::AddressTaken`]; or the database's.
pub async fn create(
    editor: &Editor<'_>,
    identifier: ClientIdentifier,
    values: ClientValues,
    foreign: Option<&str>,
) -> Result<StoredClient, Refusal> {
    let transaction = change::begin(editor.db).await?;
    let lower = identifier.as_str().to_ascii_lowercase();
    let same = Expr::expr(Func::lower(Expr::col(clients::Column::ClientIdentifier))).eq(lower.as_str());
    let retired = retired_identifiers::Entity::find_by_id(lower.as_str()).one(&transaction).await?;
    if retired.is_some() || clients::Entity::find().filter(same).one(&transaction).await?.is_some() {
        let detail = "another client has or had this client_identifier; upper and lower case are one";
        return Err(Refusal::conflict("identifier_taken", detail));
    }
    if let Some(node) = foreign {
        let detail = format!(
            "node {node:?} has an endpoint of this name that is none of our clients': its calls would go astray"
        );
        return Err(Refusal::conflict("endpoint_taken", detail));
    }
    apart(&transaction, None, &values.sip).await?;
    let mut model = model(&values)?;
    model.client_identifier = Set(identifier.to_string());
    let made = read(model.insert(&transaction).await?)?;
    editor.publish(&transaction).await?;
    editor.commit(transaction, "client.create", object(made.id), None, Some(change::view(&made)?)).await?;
    Ok(made)
}

/// Changes a client by what `edit` makes of it; nothing is written when that is nothing.
///
/// # Errors
/// What `edit` says; [`Refusal::NotFound`]; [`Refusal::Stale`] where its version is not the expected one; `in_use` where it is to be
/// archived while links lead to it; [`Refusal::AddressTaken`].
pub async fn change(
    editor: &Editor<'_>,
    id: ClientId,
    expected: Option<i64>,
    edit: impl FnOnce(&mut ClientValues) -> Result<(), Refusal>,
) -> Result<StoredClient, Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, id).await?;
    let mut after = before.clone();
    edit(&mut after.values)?;
    change::may_change(before.version, expected, before.values.status, Some(after.values.status))?;
    if after == before {
        return Ok(before);
    }
    if after.values.status == Status::Archived {
        let mut uses = Vec::new();
        change::note(&mut uses, living_links(&transaction, id).await?, "link");
        change::unless_used(&uses, "archive them before the client")?;
    }
    let revived = before.values.status == Status::Archived;
    if revived || after.values.sip != before.values.sip {
        apart(&transaction, Some(id), &after.values.sip).await?;
    }
    after.version += 1;
    let mut model = model(&after.values)?;
    if after.values.sip.host() != before.values.sip.host() {
        // Of another host nothing bad is known: whoever sets it has judged it.
        after.suspended_reason = None;
        model.suspended_reason = Set(None);
    }
    model.id = Unchanged(id.0);
    model.version = Set(after.version);
    model.update(&transaction).await?;
    editor.publish(&transaction).await?;
    if before.suspended_reason != after.suspended_reason {
        let views = suspensions::views(before.suspended_reason.as_deref(), None);
        editor.note(&transaction, "client.resume", object(id), Some(views.0), Some(views.1)).await?;
    }
    let mut shown = change::view(&after)?;
    if after.values.secrets.registration != before.values.secrets.registration {
        shown["sip_password"] = Value::from("changed");
    }
    if after.values.secrets.outbound != before.values.secrets.outbound {
        shown["outbound_auth_password"] = Value::from("changed");
    }
    editor.commit(transaction, "client.update", object(id), Some(change::view(&before)?), Some(shown)).await?;
    Ok(after)
}

/// Deletes a client; its identifier is never given again.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Stale`], or `in_use` with what refers to it.
pub async fn delete(editor: &Editor<'_>, id: ClientId, expected: Option<i64>) -> Result<(), Refusal> {
    use campaign_client_settings::Column;
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, id).await?;
    change::may_change(before.version, expected, before.values.status, None)?;
    let mut uses = Vec::new();
    let links = change::count::<campaign_client_settings::Entity>(&transaction, Column::ClientId, id.0).await?;
    change::note(&mut uses, links, "link");
    if change::any::<call_attempts::Entity>(&transaction, call_attempts::Column::ClientId, id.0).await? {
        uses.push("records of calls".to_owned());
    }
    change::unless_used(&uses, "archive it instead")?;
    retire(&transaction, id.0).await?;
    clients::Entity::delete_by_id(id.0).exec(&transaction).await?;
    editor.publish(&transaction).await?;
    editor.commit(transaction, "client.delete", object(id), Some(change::view(&before)?), None).await
}

/// The sellers named for a client, ascending by id, with their usernames.
///
/// # Errors
/// [`Refusal::NotFound`], or the database's.
pub async fn sellers(db: &Db, id: ClientId) -> Result<Vec<(UserId, String)>, Refusal> {
    let transaction = db.read().await?;
    find(&transaction, Owner::Anyone, id).await?;
    let mut named = Query::select();
    named.column(client_sellers::Column::SellerId).from(client_sellers::Entity);
    named.and_where(client_sellers::Column::ClientId.eq(id.0));
    let rows = users::Entity::find().filter(users::Column::Id.in_subquery(named)).order_by_asc(users::Column::Id);
    let rows = rows.all(&transaction).await?;
    transaction.commit().await?;
    Ok(rows.into_iter().map(|user| (UserId(user.id), user.username)).collect())
}

/// Names a seller for a client, or takes the name back; matters where access is [`Access::Selected`]. Repeating changes nothing.
///
/// # Errors
/// [`Refusal::NotFound`] for the client, [`Refusal::Unknown`] for the seller; `archived`.
pub async fn name_seller(editor: &Editor<'_>, id: ClientId, seller: UserId, named: bool) -> Result<(), Refusal> {
    let transaction = change::begin(editor.db).await?;
    let client = find(&transaction, editor.owner, id).await?;
    change::may_change(client.version, None, client.values.status, Some(client.values.status))?;
    change::seller_exists(&transaction, seller).await?;
    let was = client_sellers::Entity::find_by_id((id.0, seller.0)).one(&transaction).await?.is_some();
    if was == named {
        return Ok(());
    }
    let line = json!({ "seller_id": seller });
    if named {
        let model = client_sellers::ActiveModel { client_id: Set(id.0), seller_id: Set(seller.0) };
        client_sellers::Entity::insert(model).exec_without_returning(&transaction).await?;
        editor.commit(transaction, "client.seller.add", object(id), None, Some(line)).await
    } else {
        client_sellers::Entity::delete_by_id((id.0, seller.0)).exec(&transaction).await?;
        editor.commit(transaction, "client.seller.remove", object(id), Some(line), None).await
    }
}

/// Refuses settings that name an address by which, or at which, another client that is not archived is known. Changes take turns, so
/// that of two that would overlap the later one sees the earlier.
async fn apart(transaction: &DatabaseTransaction, id: Option<ClientId>, sip: &SipSettings) -> Result<(), Refusal> {
    let mut others = clients::Entity::find().filter(clients::Column::Status.ne(Status::Archived.as_str()));
    if let Some(id) = id {
        others = others.filter(clients::Column::Id.ne(id.0));
    }
    let mut taken = Vec::new();
    for row in others.all(transaction).await? {
        let other = read(row)?;
        let detail = || format!("client {:?} is known by, or at, this address", other.identifier.as_str());
        taken.extend(overlaps(sip, &other.values.sip).into_iter().map(|field| (format!("sip.{field}"), detail())));
    }
    if taken.is_empty() { Ok(()) } else { Err(Refusal::AddressTaken(taken)) }
}

/// Keeps the identifier of a client that is about to be deleted from being given again.
pub(super) async fn retire(transaction: &DatabaseTransaction, id: i64) -> Result<(), DbErr> {
    let Some(client) = clients::Entity::find_by_id(id).one(transaction).await? else { return Ok(()) };
    let identifier = Set(client.client_identifier.to_ascii_lowercase());
    let once = OnConflict::column(retired_identifiers::Column::Identifier).do_nothing().to_owned();
    retired_identifiers::Entity::insert(retired_identifiers::ActiveModel { identifier })
        .on_conflict(once)
        .exec_without_returning(transaction)
        .await
        .map(|_| ())
}

fn object(id: ClientId) -> Object {
    Object::new("client", id)
}

/// Rows that `owner` may see: a seller those that are for all, and those that are for it.
fn visible(owner: Owner) -> Condition {
    let Owner::Only(seller) = owner else { return Condition::all() };
    let mut named = Query::select();
    named.column(client_sellers::Column::ClientId).from(client_sellers::Entity);
    named.and_where(client_sellers::Column::SellerId.eq(seller.0));
    Condition::any().add(clients::Column::Access.eq(Access::All.as_str())).add(clients::Column::Id.in_subquery(named))
}

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    owner: Owner,
    id: ClientId,
) -> Result<StoredClient, Refusal> {
    let row = clients::Entity::find_by_id(id.0).filter(visible(owner)).one(connection).await?;
    Ok(read(row.ok_or(Refusal::NotFound)?)?)
}

async fn living_links(transaction: &DatabaseTransaction, id: ClientId) -> Result<u64, DbErr> {
    use campaign_client_settings::Column;
    use sea_orm::PaginatorTrait;
    campaign_client_settings::Entity::find()
        .filter(Column::ClientId.eq(id.0))
        .filter(Column::Status.ne(Status::Archived.as_str()))
        .count(transaction)
        .await
}

/// All columns but the key, the identifier and the version.
fn model(values: &ClientValues) -> Result<clients::ActiveModel, DbErr> {
    let sip = serde_json::to_string(&SipForm::from(&values.sip)).map_err(|error| DbErr::Json(error.to_string()))?;
    let [registration, realm, outbound, plain] = plan::secret_columns(&values.secrets);
    Ok(clients::ActiveModel {
        id: NotSet,
        client_identifier: NotSet,
        name: Set(values.name.clone()),
        status: Set(values.status.to_string()),
        max_concurrency: Set(values.max_concurrency.map(i64::from)),
        send_headers: Set(values.send_headers),
        sip: Set(sip),
        md5_cred: Set(registration),
        registration_realm: Set(realm),
        outbound_md5_cred: Set(outbound),
        outbound_password: Set(plain),
        suspended_reason: NotSet,
        version: NotSet,
        access: Set(values.access.to_string()),
        mask_name: Set(values.mask_name.clone()),
        contact: Set(values.contact.clone()),
        time_zone: Set(values.time_zone.clone()),
    })
}

fn read(row: clients::Model) -> Result<StoredClient, StoreError> {
    let (id, version) = (ClientId(row.id), row.version);
    let suspended_reason = row.suspended_reason.clone();
    let client = plan::read_client(row)?;
    let values = ClientValues {
        name: client.name,
        mask_name: client.mask_name,
        status: client.status,
        max_concurrency: client.max_concurrency,
        send_headers: client.send_headers,
        contact: client.contact,
        time_zone: client.time_zone,
        access: client.access.unwrap_or(Access::All),
        sip: client.sip,
        secrets: client.secrets,
    };
    Ok(StoredClient { id, identifier: client.identifier, version, suspended_reason, values })
}
