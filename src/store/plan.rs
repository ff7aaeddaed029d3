//! Reading the declared objects as they are stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use entity::{campaign_client_settings, campaign_dids, campaigns, client_sellers, clients, dids, users};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, Statement};

use super::campaigns::rejections;
use super::{Db, StoreError, number, optional, word};
use crate::id::ClientId;
use crate::plan::{Campaign, Client, Current, Did, Document, Link, Seller, Stored, StoredCampaign};
use crate::realtime::{
    Given, Host, Md5Cred, OutboundSecret, OwnRealm, Password, Reach, Secrets, SipForm, SipSettings, SipTransport,
};
use crate::routing::snapshot::{ClientIdentifier, Status};

/// The role that documents are about.
const SELLER: &str = "seller";

/// The stored state as a document: what `export` writes and `apply` reads back without a change.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn export(db: &Db) -> Result<Document, StoreError> {
    let transaction = db.read().await?;
    let current = load(&transaction).await?;
    transaction.commit().await?;
    Ok(Document::from(&current))
}

/// Where a client is: its address, and how it is reached there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The client.
    pub client: ClientId,
    /// Its PJSIP endpoint.
    pub identifier: ClientIdentifier,
    /// Host.
    pub host: Host,
    /// Transport.
    pub transport: SipTransport,
}

/// The addresses of all active clients that have one; those that register come by their own connection.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn addresses(db: &Db) -> Result<Vec<Address>, StoreError> {
    let active = clients::Entity::find().filter(clients::Column::Status.eq(Status::Active.as_str()));
    let mut addresses = Vec::new();
    for row in active.order_by_asc(clients::Column::ClientIdentifier).all(&db.connection).await? {
        let client = ClientId(row.id);
        let Client { identifier, sip, .. } = read_client(row)?;
        if let Reach::Address { host, transport, .. } = sip.reach {
            addresses.push(Address { client, identifier, host, transport });
        }
    }
    Ok(addresses)
}

/// Reads all declared objects, archived ones included, and whether records refer to them.
pub(super) async fn load(connection: &impl ConnectionTrait) -> Result<Current, StoreError> {
    let mut current = Current::default();
    let usernames = load_users(connection, &mut current).await?;
    let client_keys = load_clients(connection, &mut current, &usernames).await?;
    let numbers = load_dids(connection, &mut current, &usernames).await?;
    load_campaigns(connection, &mut current, &Names { usernames, client_keys, numbers }).await?;
    Ok(current)
}

/// What people call the rows.
struct Names {
    usernames: HashMap<i64, String>,
    client_keys: HashMap<i64, String>,
    numbers: HashMap<i64, String>,
}

/// A row that another refers to; foreign keys see to it that it is there.
fn name(names: &HashMap<i64, String>, id: i64) -> String {
    names.get(&id).cloned().unwrap_or_default()
}

/// A column of the records that names rows of a table.
pub(super) struct Reference {
    pub(super) table: &'static str,
    records: &'static str,
    column: &'static str,
}

impl Reference {
    const fn new(table: &'static str, records: &'static str, column: &'static str) -> Self {
        Self { table, records, column }
    }
}

pub(super) const SELLERS: Reference = Reference::new("users", "call_logs", "seller_id");
pub(super) const CLIENTS: Reference = Reference::new("clients", "call_attempts", "client_id");
pub(super) const DIDS: Reference = Reference::new("dids", "call_logs", "did_id");
pub(super) const CAMPAIGNS: Reference = Reference::new("campaigns", "call_logs", "campaign_id");
pub(super) const LINKS: Reference = Reference::new("campaign_client_settings", "call_attempts", "link_id");

/// The ids of a table's rows that records refer to; `among`: of these alone. One statement, which looks each row up in the column's index:
/// to list the distinct values of a table of millions of records would read all of it, and so would a join as PostgreSQL plans it, unless
/// it is told to take one record for each row.
pub(super) async fn referenced(
    connection: &impl ConnectionTrait,
    Reference { table, records, column }: &Reference,
    among: Option<&[i64]>,
) -> Result<HashSet<i64>, DbErr> {
    let ids = among.map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let these = ids.map_or_else(|| "1 = 1".to_owned(), |ids| format!("t.id IN ({ids})"));
    let backend = connection.get_database_backend();
    let sql = if backend == DbBackend::Postgres {
        format!(
            "SELECT t.id FROM {table} t CROSS JOIN LATERAL (SELECT 1 FROM {records} r WHERE r.{column} = t.id LIMIT 1) AS found WHERE {these}"
        )
    } else {
        format!(
            "SELECT t.id FROM {table} t WHERE {these} AND EXISTS (SELECT 1 FROM {records} r WHERE r.{column} = t.id)"
        )
    };
    let rows = connection.query_all_raw(Statement::from_string(backend, sql)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// What changes with every change of what [`load`] reads, but for what records do.
pub(super) async fn fingerprint(connection: &impl ConnectionTrait) -> Result<String, DbErr> {
    let mut sql = "SELECT CAST((SELECT max(revision) FROM routing_revision) AS TEXT)".to_owned();
    for Reference { table, .. } in [SELLERS, CLIENTS, DIDS, CAMPAIGNS, LINKS] {
        let of = "count(*) || ',' || coalesce(sum(version), 0) || ',' || coalesce(max(id), 0)";
        sql.push_str(&format!(" || ' ' || (SELECT {of} FROM {table})"));
    }
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    row.map(|row| row.try_get_by_index(0)).transpose().map(Option::unwrap_or_default)
}

async fn load_users(
    connection: &impl ConnectionTrait,
    current: &mut Current,
) -> Result<HashMap<i64, String>, StoreError> {
    let (sellers, others): (Vec<_>, Vec<_>) =
        users::Entity::find().all(connection).await?.into_iter().partition(|user| user.role == SELLER);
    current.other_users = others.into_iter().map(|user| user.username).collect();
    let referenced = referenced(connection, &SELLERS, None).await?;
    let mut usernames = HashMap::new();
    for row in sellers {
        usernames.insert(row.id, row.username.clone());
        let status = word("users", "status", &row.status)?;
        let value = Seller { name: row.name, status, legacy_id: row.legacy_id };
        current.sellers.insert(row.username, Stored { id: row.id, referenced: referenced.contains(&row.id), value });
    }
    Ok(usernames)
}

async fn load_clients(
    connection: &impl ConnectionTrait,
    current: &mut Current,
    usernames: &HashMap<i64, String>,
) -> Result<HashMap<i64, String>, StoreError> {
    let rows = clients::Entity::find().all(connection).await?;
    let referenced = referenced(connection, &CLIENTS, None).await?;
    let mut named: HashMap<i64, BTreeSet<String>> = HashMap::new();
    for row in client_sellers::Entity::find().all(connection).await? {
        // Who is no seller any more sees clients by another right.
        named.entry(row.client_id).or_default().extend(usernames.get(&row.seller_id).cloned());
    }
    let mut keys = HashMap::new();
    for row in rows {
        let (id, key) = (row.id, row.client_identifier.to_ascii_lowercase());
        keys.insert(id, key.clone());
        let value = Client { sellers: Some(named.remove(&id).unwrap_or_default()), ..read_client(row)? };
        current.clients.insert(key, Stored { id, referenced: referenced.contains(&id), value });
    }
    Ok(keys)
}

/// A client read back, its SIP settings checked again; without the sellers named for it.
pub(super) fn read_client(row: clients::Model) -> Result<Client, StoreError> {
    const TABLE: &str = "clients";
    Ok(Client {
        identifier: word(TABLE, "client_identifier", &row.client_identifier)?,
        name: row.name,
        status: word(TABLE, "status", &row.status)?,
        max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
        send_headers: row.send_headers,
        access: Some(word(TABLE, "access", &row.access)?),
        sellers: None,
        mask_name: row.mask_name,
        contact: row.contact,
        time_zone: row.time_zone,
        sip: read_sip(&row.sip)?,
        secrets: Secrets {
            registration: row.md5_cred.map(|text| read_credential("md5_cred", &text)).transpose()?,
            realm: row.registration_realm.map(read_realm).transpose()?,
            outbound: match (row.outbound_md5_cred, row.outbound_password) {
                (Some(text), _) => Some(OutboundSecret::Digest(read_credential("outbound_md5_cred", &text)?)),
                (None, Some(text)) => Some(OutboundSecret::Plain(Password::new(text))),
                (None, None) => None,
            },
        },
        given: Given::default(),
    })
}

fn read_sip(json: &str) -> Result<SipSettings, StoreError> {
    let corrupt = || StoreError::Corrupt { table: "clients", column: "sip", value: json.to_owned() };
    let form: SipForm = serde_json::from_str(json).map_err(|_| corrupt())?;
    form.check(&mut |_, _| {}).ok_or_else(corrupt)
}

fn read_realm(text: String) -> Result<OwnRealm, StoreError> {
    OwnRealm::stored(&text).ok_or(StoreError::Corrupt { table: "clients", column: "registration_realm", value: text })
}

fn read_credential(column: &'static str, text: &str) -> Result<Md5Cred, StoreError> {
    let value = "(not shown, it is a secret)".to_owned();
    Md5Cred::stored(text).ok_or(StoreError::Corrupt { table: "clients", column, value })
}

/// The columns of a client's secrets: `md5_cred`, `registration_realm`, `outbound_md5_cred`, `outbound_password`.
pub(super) fn secret_columns(secrets: &Secrets) -> [Option<String>; 4] {
    let digest = |cred: &Md5Cred| cred.expose().to_owned();
    let (outbound, plain) = match &secrets.outbound {
        Some(OutboundSecret::Digest(cred)) => (Some(digest(cred)), None),
        Some(OutboundSecret::Plain(password)) => (None, Some(password.expose().to_owned())),
        None => (None, None),
    };
    let realm = secrets.realm.as_ref().map(|realm| realm.as_str().to_owned());
    [secrets.registration.as_ref().map(digest), realm, outbound, plain]
}

async fn load_dids(
    connection: &impl ConnectionTrait,
    current: &mut Current,
    usernames: &HashMap<i64, String>,
) -> Result<HashMap<i64, String>, StoreError> {
    let rows = dids::Entity::find().all(connection).await?;
    let referenced = referenced(connection, &DIDS, None).await?;
    let mut numbers = HashMap::new();
    for row in rows {
        numbers.insert(row.id, row.number.clone());
        let status = word("dids", "status", &row.status)?;
        let value = Did { raw: row.raw, seller: name(usernames, row.seller_id), status, legacy_id: row.legacy_id };
        current.dids.insert(row.number, Stored { id: row.id, referenced: referenced.contains(&row.id), value });
    }
    Ok(numbers)
}

async fn load_campaigns(
    connection: &impl ConnectionTrait,
    current: &mut Current,
    names: &Names,
) -> Result<(), StoreError> {
    const TABLE: &str = "campaigns";
    let mut fed: HashMap<i64, BTreeSet<String>> = HashMap::new();
    for row in campaign_dids::Entity::find().all(connection).await? {
        fed.entry(row.campaign_id).or_default().insert(name(&names.numbers, row.did_id));
    }
    let mut links = load_links(connection, names).await?;
    let rows = campaigns::Entity::find().all(connection).await?;
    let referenced = referenced(connection, &CAMPAIGNS, None).await?;
    for row in rows {
        let value = Campaign {
            strategy: word(TABLE, "routing_strategy", &row.routing_strategy)?,
            dial_timeout_seconds: number(TABLE, "dial_timeout_seconds", row.dial_timeout_seconds)?,
            setup_budget_seconds: optional(TABLE, "setup_budget_seconds", row.setup_budget_seconds)?,
            max_duration_seconds: optional(TABLE, "max_duration_seconds", row.max_duration_seconds)?,
            max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
            early_media: row.early_media,
            rejections: rejections(&row)?,
            status: word(TABLE, "status", &row.status)?,
            dids: fed.remove(&row.id).unwrap_or_default(),
            legacy_id: row.legacy_id,
        };
        let campaign = Stored { id: row.id, referenced: referenced.contains(&row.id), value };
        let links = links.remove(&row.id).unwrap_or_default();
        let key = (name(&names.usernames, row.seller_id), row.name);
        current.campaigns.insert(key, StoredCampaign { campaign, links });
    }
    Ok(())
}

/// Links by campaign row and client.
async fn load_links(
    connection: &impl ConnectionTrait,
    names: &Names,
) -> Result<HashMap<i64, BTreeMap<String, Stored<Link>>>, StoreError> {
    const TABLE: &str = "campaign_client_settings";
    let rows = campaign_client_settings::Entity::find().all(connection).await?;
    let referenced = referenced(connection, &LINKS, None).await?;
    let mut links: HashMap<i64, BTreeMap<String, Stored<Link>>> = HashMap::new();
    for row in rows {
        let value = Link {
            max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
            total_calls_allowed: optional(TABLE, "total_calls_allowed", row.total_calls_allowed)?,
            forwarding_priority: row.forwarding_priority,
            weight: number(TABLE, "weight", i64::from(row.weight))?,
            ring_timeout_seconds: optional(TABLE, "ring_timeout_seconds", row.ring_timeout_seconds)?,
            count_on: word(TABLE, "count_on", &row.count_on)?,
            status: word(TABLE, "status", &row.status)?,
            legacy_id: row.legacy_id,
        };
        // A link that has counted calls keeps its count even when their records are gone: the total must hold when it comes back.
        let referenced = referenced.contains(&row.id) || row.current_total_calls > 0 || row.counted_before > 0;
        let client = name(&names.client_keys, row.client_id);
        links.entry(row.campaign_id).or_default().insert(client, Stored { id: row.id, referenced, value });
    }
    Ok(links)
}
