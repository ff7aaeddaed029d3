//! `export` writes all that users set, column by column: applied where nothing is, it makes the same.

use std::collections::{BTreeMap, BTreeSet};

use capconduit::plan::{Document, Screening};
use capconduit::realtime::Policy;
use capconduit::store::apply::{ApplyError, apply};
use capconduit::store::plan;
use sea_orm::{Database, DatabaseConnection, EntityTrait, IdenStatic, Iterable, ModelTrait};
use secrecy::ExposeSecret;

use crate::helpers::{Home, on_both, sql};

on_both!(applied_where_nothing_is_an_export_makes_the_same, an_export_without_its_password_files_keeps_what_is_stored);

/// Every setting is there with its default and with another value.
const PLAN: &str = r#"
[[sellers]]
username = "ann"
name = "Ann"
legacy_id = "s-1"
[[sellers]]
username = "bob"
name = "Bob"
status = "disabled"

[[clients]]
identifier = "North"
name = "North Calls"
status = "paused"
max_concurrency = 5
send_headers = true
access = "selected"
sellers = ["ann", "bob"]
mask_name = "N"
contact = "Bo\n+44 20 7123"
time_zone = "Europe/London"
[clients.sip]
host = "203.0.113.7"
outbound_auth = { username = "us", realm = "north.example", password = "north-s-secret" }
[[clients]]
identifier = "far"
name = "Far"
[clients.sip]
host = "203.0.113.8"
outbound_auth = { username = "us", password = "far-s-secret" }
[[clients]]
identifier = "reg"
name = "Reg"
[clients.sip]
registration = { username = "reg", password = "reg-s-secret" }

[[dids]]
number = "+442071234567"
seller = "ann"
[[dids]]
number = "+442071234568"
seller = "bob"
status = "paused"
legacy_id = "d-1"
[[dids]]
number = "sales"
raw = true
seller = "bob"

[[campaigns]]
name = "Solar"
seller = "ann"
dids = ["+442071234567"]
[[campaigns.links]]
client = "North"
[[campaigns.links]]
client = "reg"
max_concurrency = 2
total_calls_allowed = 7
forwarding_priority = 3
weight = 9
ring_timeout_seconds = 11
count_on = "attempted"
status = "paused"
legacy_id = "l-1"
[[campaigns]]
name = "Wind"
seller = "bob"
routing_strategy = "weighted"
dial_timeout_seconds = 7
setup_budget_seconds = 8
max_duration_seconds = 9
max_concurrency = 10
early_media = false
status = "paused"
legacy_id = "c-1"
dids = ["+442071234568"]
rejections = { inactive_campaign = 403, no_active_link = 404, all_full = 486, nobody_answered = 503 }
"#;

const FILES: [(&str, &str); 3] = [
    ("North.outbound_auth.password", "north-s-secret"),
    ("far.outbound_auth.password", "far-s-secret"),
    ("reg.registration.password", "reg-s-secret"),
];

/// The installation lets passwords be stored readably where the realm is not known.
fn screening() -> Screening {
    Screening { policy: Policy { plaintext: true, ..Policy::default() }, ..Screening::default() }
}

/// What becomes of a column when a site is exported.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    /// It is written as it is.
    Exported,
    /// It is the row of another table, which is written by its name.
    Refers(&'static str),
    /// A file is named that is to hold it.
    Password,
    /// Counts, or tells when something was; begins anew.
    Counter,
    /// Follows from something else, or is no part of a plan.
    Other,
}

/// Every column of the tables that a plan is about. A new one does not pass until it is said here what becomes of it.
fn class(table: &str, column: &str) -> Class {
    use Class::{Counter, Exported, Other, Password, Refers};
    match (table, column) {
        (_, "id") => Other,
        (_, "version") => Counter,
        ("users", "username" | "name" | "status" | "legacy_id") => Exported,
        // People's log-in: `capconduit user`.
        ("users", "role" | "password_hash" | "must_change_password" | "created_at") => Other,
        (
            "clients",
            "client_identifier" | "name" | "status" | "max_concurrency" | "send_headers" | "sip" | "access"
            | "mask_name" | "contact" | "time_zone",
        ) => Exported,
        ("clients", "md5_cred" | "outbound_md5_cred" | "outbound_password") => Password,
        // Drawn with each password; found out by looking the host up.
        ("clients", "registration_realm" | "suspended_reason") => Other,
        ("client_sellers", "client_id") => Refers("clients"),
        ("client_sellers", "seller_id") => Refers("users"),
        ("dids", "number" | "raw" | "status" | "legacy_id") => Exported,
        ("dids", "seller_id") => Refers("users"),
        ("campaigns", "seller_id") => Refers("users"),
        (
            "campaigns",
            "name"
            | "routing_strategy"
            | "dial_timeout_seconds"
            | "setup_budget_seconds"
            | "max_duration_seconds"
            | "max_concurrency"
            | "early_media"
            | "reject_inactive_campaign"
            | "reject_no_active_link"
            | "reject_all_full"
            | "reject_nobody_answered"
            | "status"
            | "legacy_id",
        ) => Exported,
        ("campaign_dids", "campaign_id") => Refers("campaigns"),
        ("campaign_dids", "did_id") => Refers("dids"),
        ("campaign_dids", "seller_id") => Refers("users"),
        // The campaign's, carried along by a foreign key.
        ("campaign_dids", "campaign_status") => Exported,
        ("campaign_client_settings", "campaign_id") => Refers("campaigns"),
        ("campaign_client_settings", "client_id") => Refers("clients"),
        (
            "campaign_client_settings",
            "max_concurrency"
            | "total_calls_allowed"
            | "forwarding_priority"
            | "weight"
            | "ring_timeout_seconds"
            | "count_on"
            | "status"
            | "legacy_id",
        ) => Exported,
        ("campaign_client_settings", "current_total_calls" | "counted_before" | "counted_since") => Counter,
        _ => panic!("{table}.{column}: does `export` write it? Say so here, and give it a value of its own in PLAN"),
    }
}

/// Rows as column → value.
type Rows = Vec<BTreeMap<String, String>>;

async fn rows<E: EntityTrait>(db: &DatabaseConnection) -> Rows
where
    E::Model: ModelTrait<Entity = E>,
{
    let models = E::find().all(db).await.expect("they are read");
    let row = |model: E::Model| {
        E::Column::iter().map(|column| (column.as_str().to_owned(), format!("{:?}", model.get(column)))).collect()
    };
    models.into_iter().map(row).collect()
}

/// Every table that a plan is about.
async fn tables(home: &Home) -> BTreeMap<&'static str, Rows> {
    let db = Database::connect(home.config().url.expose_secret()).await.expect("the database opens");
    let tables = [
        ("users", rows::<entity::users::Entity>(&db).await),
        ("clients", rows::<entity::clients::Entity>(&db).await),
        ("client_sellers", rows::<entity::client_sellers::Entity>(&db).await),
        ("dids", rows::<entity::dids::Entity>(&db).await),
        ("campaigns", rows::<entity::campaigns::Entity>(&db).await),
        ("campaign_dids", rows::<entity::campaign_dids::Entity>(&db).await),
        ("campaign_client_settings", rows::<entity::campaign_client_settings::Entity>(&db).await),
    ];
    db.close().await.expect("it closes");
    tables.into()
}

/// What must be the same on both sides: rows by name instead of by id, of passwords only whether there is one.
fn comparable(tables: &BTreeMap<&'static str, Rows>) -> BTreeMap<&'static str, BTreeSet<Vec<(String, String)>>> {
    let name = |table: &str, id: &String| {
        let row = tables[table].iter().find(|row| row["id"] == *id).expect("foreign keys see to it");
        let own = ["username", "client_identifier", "number", "name"].into_iter().find_map(|column| row.get(column));
        own.cloned().expect("a name")
    };
    let value = |table: &str, column: &str, value: &String| match class(table, column) {
        Class::Exported => Some(value.clone()),
        Class::Refers(other) => Some(name(other, value)),
        Class::Password => Some(value.contains("None").to_string()),
        Class::Counter | Class::Other => None,
    };
    let row = |table: &str, row: &BTreeMap<String, String>| {
        row.iter().filter_map(|(column, text)| Some((column.clone(), value(table, column, text)?))).collect()
    };
    tables.iter().map(|(table, rows)| (*table, rows.iter().map(|one| row(table, one)).collect())).collect()
}

async fn applied_where_nothing_is_an_export_makes_the_same(home: Home) {
    let db = home.migrated().await;
    let document = Document::parse(PLAN).expect("a plan");
    apply(&db, &home.realtime(), &screening(), &document, false).await.expect("applied");
    for statement in [
        "UPDATE campaign_client_settings SET current_total_calls = 3, counted_before = 2",
        "UPDATE clients SET suspended_reason = 'leads astray', version = 7",
    ] {
        sql(&home, statement).await.expect(statement);
    }
    let text = plan::export(&db).await.expect("exported").to_toml().expect("TOML");
    assert!(!text.contains("-s-secret"), "{text}");
    for (file, _) in FILES {
        assert!(text.contains(&format!("password_file = \"{file}\"")), "{file} not in\n{text}");
    }

    let other = match home {
        Home::Sqlite(_) => Home::sqlite(),
        Home::Postgres(_) => Home::postgres(),
    };
    let there = other.migrated().await;
    let mut copy = Document::parse(&text).expect("its own TOML");
    copy.take_passwords(|_| Ok(None)).expect("no file is there yet");
    let refused = apply(&there, &other.realtime(), &screening(), &copy, false).await.expect_err("no passwords");
    let ApplyError::Problems(problems) = refused else { panic!("{refused}") };
    assert_eq!(problems.0.len(), FILES.len(), "{problems}");
    for (file, _) in FILES {
        assert!(problems.to_string().contains(&format!("there is no {file:?}")), "{file} not in\n{problems}");
    }
    let read =
        |path: &str| Ok(FILES.iter().find(|(file, _)| *file == path).map(|(_, password)| (*password).to_owned()));
    copy.take_passwords(read).expect("all are there");
    apply(&there, &other.realtime(), &screening(), &copy, false).await.expect("applied");

    let (from, to) = (tables(&home).await, tables(&other).await);
    assert_eq!(comparable(&from), comparable(&to), "{text}");
    assert_eq!(plan::export(&there).await.expect("exported").to_toml().expect("TOML"), text);
    // The plan tries each column: whoever adds one that is exported gives it a value there.
    for (table, rows) in &from {
        for column in rows[0].keys().filter(|column| class(table, column) == Class::Exported) {
            let values: BTreeSet<&String> = rows.iter().map(|row| &row[column]).collect();
            assert!(values.len() > 1, "{table}.{column} is {values:?} everywhere");
        }
    }
}

async fn an_export_without_its_password_files_keeps_what_is_stored(home: Home) {
    let db = home.migrated().await;
    let document = Document::parse(PLAN).expect("a plan");
    apply(&db, &home.realtime(), &screening(), &document, false).await.expect("applied");
    let before = tables(&home).await;
    let text = plan::export(&db).await.expect("exported").to_toml().expect("TOML");
    let mut again = Document::parse(&text).expect("its own TOML");
    again.take_passwords(|_| Ok(None)).expect("no file is there");
    let plan = apply(&db, &home.realtime(), &screening(), &again, true).await.expect("all are stored");
    assert!(plan.is_empty(), "{plan}");
    let mut missing = plan.missing_files.clone();
    missing.sort_unstable();
    assert_eq!(missing, FILES.map(|(file, _)| file), "they are named");
    assert_eq!(tables(&home).await, before);
}
