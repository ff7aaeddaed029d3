//! Nothing that anybody writes or dials becomes a dial string, a variable's name, or more than one value of anything: every field that
//! reaches Asterisk, with what means something to it, through API, plan and calls.

use std::collections::BTreeSet;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::fake_ari::{Behaviour, CallerEnd, Seen};
use crate::site::{Database, Site};

const HOSTILE: [&str; 18] = [
    "500&PJSIP/itsp/1900",
    "north&Local/1900@capconduit-inbound/n",
    "north/sip:1900@itsp.example",
    "1900@itsp",
    "${SHELL(id)}",
    "$[1+1]",
    "a,b",
    "a;b",
    "a|b",
    "a^3Bb",
    "a\r\nContact: <sip:evil@example>",
    "a\nb",
    "a\0b",
    "\"a\" <sip:1900@itsp>",
    "'; DROP TABLE ps_endpoints; --",
    "../../etc/passwd",
    "a/n",
    "ｎｏｒｔｈ＆PJSIP∕itsp",
];

/// As a refusal names it, and the document with the value in its place; `None` where any text may be taken, as data.
type Field = (&'static str, fn(&str) -> Value);

const OF_CLIENTS: &[Field] = &[
    ("client_identifier", |it| json!({ "client_identifier": it, "name": "x", "sip": { "host": "127.0.0.11" } })),
    ("sip.host", |it| json!({ "client_identifier": "x", "name": "x", "sip": { "host": it } })),
    (
        "sip.transport",
        |it| json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "transport": it } }),
    ),
    (
        "sip.codecs",
        |it| json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "codecs": [it] } }),
    ),
    (
        "sip.dtmf_mode",
        |it| json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "dtmf_mode": it } }),
    ),
    (
        "sip.caller_id",
        |it| json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "caller_id": it } }),
    ),
    (
        "sip.identify_by_ip",
        |it| json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "identify_by_ip": [it] } }),
    ),
    (
        "sip.registration.username",
        |it| json!({ "client_identifier": "x", "name": "x", "sip": { "registration": { "username": it, "password": "of-the-client" } } }),
    ),
    ("sip.outbound_auth.username", |it| {
        let auth = json!({ "username": it, "realm": "r", "password": "for-the-client" });
        json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "outbound_auth": auth } })
    }),
    ("sip.outbound_auth.realm", |it| {
        let auth = json!({ "username": "u", "realm": it, "password": "for-the-client" });
        json!({ "client_identifier": "x", "name": "x", "sip": { "host": "127.0.0.11", "outbound_auth": auth } })
    }),
];

/// What of a realm or an authentication's user may be taken: they stand in quotes in a SIP header, and nowhere else.
fn may_be_taken(field: &str, value: &str) -> bool {
    let allowed = match field {
        "sip.outbound_auth.realm" => " _.:,@/+-",
        "sip.outbound_auth.username" | "sip.registration.username" => "_.@+-",
        _ => return false,
    };
    value.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c))
}

fn assert_refused(answer: &Answer, field: &str, value: &str) {
    let told = answer.wrong_fields();
    assert!(told.iter().all(|told| told.starts_with(field)) && !told.is_empty(), "{field} {value:?}: {}", answer.text);
}

/// The same document as a plan.
fn plan_of(client: &Value) -> String {
    let mut client = client.clone();
    let identifier = client["client_identifier"].take();
    client.as_object_mut().expect("an object").remove("client_identifier");
    client["identifier"] = identifier;
    toml::to_string(&json!({ "clients": [client] })).expect("TOML")
}

async fn try_plan(site: &Site, plan: &str) -> Result<(), String> {
    let document = capconduit::plan::Document::parse(plan).map_err(|error| error.to_string())?;
    document.check().map_err(|problems| problems.to_string())?;
    site.try_apply(plan).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_hostile_settings_is_refused_by_api_and_plan() {
    let site = Site::start(Database::Sqlite).await;
    let admin = site.as_admin().await;
    let mut made_so_far = 0;
    for value in HOSTILE {
        for (field, document) in OF_CLIENTS {
            let mut document = document(value);
            // An identifier is never given again.
            if *field != "client_identifier" {
                made_so_far += 1;
                document["client_identifier"] = json!(format!("x{made_so_far}"));
            }
            let answer = admin.post("/clients", document.clone()).await;
            if may_be_taken(field, value) {
                let made = answer.expect(201);
                admin.delete(&format!("/clients/{}", made["id"])).await.expect(204);
                continue;
            }
            assert_refused(&answer, field, value);
            let problem = try_plan(&site, &plan_of(&document)).await.expect_err(field);
            let last = field.rsplit('.').next().expect("a word").trim_start_matches("client_");
            assert!(problem.contains(last) || problem.starts_with("line "), "{field} {value:?}: {problem}");
        }
    }
    assert_rows_are_harmless(&site).await;
    site.settle().await;
}

/// Names and numbers are people's own: they may say anything printable, and are data wherever they go.
async fn objects(site: &Site, admin: &Caller) -> Vec<String> {
    let body = json!({ "username": "acme", "name": "Acme", "role": "seller", "password": "violet tractor hums low" });
    let seller = admin.post("/users", body).await.expect(201)["id"].clone();
    let mut clients = Vec::new();
    for policy in ["pass", "did", "withhold"] {
        let body = json!({
            "client_identifier": policy, "name": "${SHELL(id)} & \"Co\"", "send_headers": true,
            "sip": { "host": "127.0.0.11", "caller_id": policy },
        });
        clients.push(admin.post("/clients", body).await.expect(201)["id"].clone());
        site.asterisk.endpoint(policy, Behaviour::answers(0));
    }
    let mut numbers = Vec::new();
    for (n, value) in HOSTILE.iter().enumerate() {
        let did = admin.post("/dids", json!({ "number": value, "raw": true, "seller_id": seller })).await;
        let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible {
            assert_refused(&did, "number", value);
        }
        let printable = !value.contains(char::is_control);
        let campaign = admin.post("/campaigns", json!({ "name": value, "seller_id": seller })).await;
        if !printable {
            assert_refused(&campaign, "name", value);
        }
        if let (true, true) = (visible, printable) {
            let (did, campaign) = (did.expect(201)["id"].clone(), campaign.expect(201)["id"].clone());
            let put = |request: reqwest::RequestBuilder| request;
            admin.send(reqwest::Method::PUT, &format!("/campaigns/{campaign}/dids/{did}"), put).await.expect(204);
            let links = format!("/campaigns/{campaign}/links");
            let link = json!({ "client_id": clients[n % clients.len()], "max_concurrency": null });
            let link = admin.post(&links, link).await.expect(201)["id"].clone();
            admin.patch(&format!("{links}/{link}"), json!({ "status": "active" })).await.expect(200);
            numbers.push((*value).to_owned());
        }
    }
    site.in_force().await;
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dialled_and_named_reaches_asterisk_only_as_data() {
    let site = Site::start(Database::Sqlite).await;
    let admin = site.as_admin().await;
    let numbers = objects(&site, &admin).await;
    assert!(numbers.len() >= 8, "{numbers:?}");
    let before = site.asterisk.requests().len();
    for (n, caller) in HOSTILE.iter().enumerate() {
        // A number that is somebody's, and one that is nobody's.
        let did = &numbers[n % numbers.len()];
        let to = utf8_percent_encode(caller, NON_ALPHANUMERIC).to_string();
        let call = site.asterisk.incoming_with("capconduit-1", did, caller, &["inbound", "allowed_not_screened", &to]);
        call.answered().await;
        call.hang_up();
        call.ended().await;
        let lost =
            site.asterisk.incoming_with("capconduit-1", &format!("{caller}x"), caller, &["inbound", caller, caller]);
        assert_eq!(lost.ended().await, CallerEnd::Ended { sip: 404, cause: 1 }, "{caller:?}");
    }
    site.asterisk.until_empty().await;
    let requests = site.asterisk.requests().split_off(before);
    let created: BTreeSet<_> = requests.iter().filter_map(|it| it.body["endpoint"].as_str()).collect();
    assert_eq!(created, BTreeSet::from(["PJSIP/did", "PJSIP/pass", "PJSIP/withhold"]), "each of our own was dialled");
    requests.iter().for_each(assert_harmless);
    assert_rows_are_harmless(&site).await;
    site.settle().await;
}

fn is_made_of(text: &str, others: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// What is asked of a channel and holds more than names: nothing in it comes from outside.
const OUR_FUNCTIONS: [&str; 2] = ["CHANNEL(rtp,dest)", "EVAL(${HANGUPCAUSE(${CHANNEL(name)},tech)})"];

/// A request says what we say, and of what others wrote only what may stand there.
fn assert_harmless(request: &Seen) {
    assert!(is_made_of(&request.path, "/.-"), "{request:?}");
    for (name, value) in &request.query {
        let allowed = match name.as_str() {
            // Functions that are ours to the last byte.
            "variable" => OUR_FUNCTIONS.contains(&value.as_str()) || is_made_of(value, "_()"),
            // Whose a node is, and since when: instance and time of our own.
            "value" => is_made_of(value, "._-@"),
            _ => is_made_of(value, "._-"),
        };
        assert!(allowed, "{name} of {request:?}");
    }
    if request.path != "channels/create" {
        let members = request.body["channel"].as_array().map_or(1, Vec::len);
        let ids = request.body["channel"][0].as_str().unwrap_or_default();
        assert!(members == 1 && is_made_of(ids, ".-"), "{request:?}");
        return;
    }
    let text = |field: &str| request.body[field].as_str().unwrap_or_default();
    assert!(text("endpoint").strip_prefix("PJSIP/").is_some_and(|endpoint| is_made_of(endpoint, "_-")), "{request:?}");
    let words: Vec<_> = text("appArgs").split(',').collect();
    assert!(
        words.len() == 4 && words[0] == "leg" && words[1..].iter().all(|id| id.parse::<u32>().is_ok()),
        "{request:?}"
    );
    assert!(is_made_of(text("channelId"), "-") && is_made_of(text("originator"), "."), "{request:?}");
    for (name, value) in request.body["variables"].as_object().expect("variables") {
        let value = value.as_str().expect("a text");
        let allowed = match name.as_str() {
            "TIMEOUT(absolute)" => value.bytes().all(|byte| byte.is_ascii_digit()),
            "PJSIP_HEADER(add,X-CapConduit-Call-Id)" => is_made_of(value, "-"),
            // A header of its own, in which nothing ends it, quotes it, or is evaluated.
            "PJSIP_HEADER(add,X-CapConduit-Campaign)" => is_made_of(value, " -_.:+/()#&"),
            "CONNECTEDLINE(num,i)" => is_made_of(value, "+*#._-"),
            "CONNECTEDLINE(pres,i)" => ["allowed", "prohib"].contains(&value),
            // On the caller's channel, whose id Asterisk has made.
            taken => {
                let caller = taken.strip_prefix("SHARED(CAPCONDUIT_TAKEN,").and_then(|rest| rest.strip_suffix(')'));
                caller.is_some_and(|caller| is_made_of(caller, "._-")) && value == "1"
            }
        };
        assert!(allowed, "{name} = {value:?}");
    }
}

/// Nothing in the rows that Asterisk reads means more to it than its own column.
async fn assert_rows_are_harmless(site: &Site) {
    use sqlx::{Column, Connection, Row};
    let path = site.folder().join("realtime/realtime.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("it opens");
    for table in ["ps_endpoints", "ps_aors", "ps_auths", "ps_endpoint_id_ips"] {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch_all(&mut connection).await;
        for row in rows.expect("they are read") {
            for column in row.columns() {
                let Ok(Some(value)) = row.try_get::<Option<String>, _>(column.ordinal()) else { continue };
                assert!(is_made_of(&value, "!,.:/@_+- "), "{table}.{} = {value:?}", column.name());
            }
        }
    }
}
