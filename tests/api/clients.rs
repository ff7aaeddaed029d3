//! Clients: who may do what, what sellers see, and that secrets stay inside.

use capconduit::auth::roles::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

/// In every field that sellers must not see.
const CANARY: &str = "canary";

fn north() -> Value {
    json!({
        "client_identifier": "canary-north", "name": "canary North", "sip": { "host": "canary.example.com", "codecs": ["opus"] },
        "contact": "canary contact", "time_zone": "Europe/London", "max_concurrency": 30, "mask_name": "Alias",
    })
}

async fn sellers_see_id_alias_and_status_and_nothing_else(site: Site) {
    let (admin, staff, seller) = (site.as_admin().await, site.as_staff().await, site.as_seller("acme").await);
    let made = admin.post("/clients", north()).await.expect(201);
    let path = format!("/clients/{}", made["id"]);
    assert_eq!((&made["version"], &made["access"], &made["sip"]["port"]), (&json!(1), &json!("all"), &json!(5060)));
    assert_eq!(admin.get(&path).await.expect(200), made);
    assert_eq!(staff.get(&path).await.expect(200), made);
    let shown = json!({ "id": made["id"], "name": "Alias", "status": "active" });
    let (list, one) = (seller.get("/clients").await, seller.get(&path).await);
    assert_eq!((&list.expect(200)["items"], one.expect(200)), (&json!([shown.clone()]), shown.clone()));
    for answer in [list, one] {
        assert!(!answer.text.contains(CANARY), "{}", answer.text);
    }
    for refused in [
        seller.post("/clients", north()).await,
        seller.patch(&path, json!({ "status": "paused" })).await,
        seller.delete(&path).await,
        seller.get(&format!("{path}/sellers")).await,
        seller.send(Method::PUT, &format!("{path}/sellers/1"), |request| request).await,
    ] {
        refused.refused(403, "role");
    }
    // Only for selected sellers: to the others it is as if it were not there.
    staff.patch(&path, json!({ "access": "selected" })).await.expect(200);
    seller.get(&path).await.refused(404, "not_found");
    assert_eq!(seller.get("/clients").await.expect(200)["items"], json!([]));
    let acme = site.user("acme", Role::Seller).await;
    staff.send(Method::PUT, &format!("{path}/sellers/{acme}"), |request| request).await.expect(204);
    let sellers = json!({ "items": [{ "id": acme, "username": "acme" }] });
    assert_eq!(staff.get(&format!("{path}/sellers")).await.expect(200), sellers);
    let seller = site.as_user("acme").await;
    assert_eq!(seller.get(&path).await.expect(200), shown);
    staff.delete(&format!("{path}/sellers/{acme}")).await.expect(204);
    seller.get(&path).await.refused(404, "not_found");
    site.settle().await;
}

async fn passwords_are_shown_once_and_only_when_generated(site: Site) {
    let staff = site.as_staff().await;
    let new = json!({ "client_identifier": "reg", "name": "Reg", "sip": { "registration": { "username": "reg" } } });
    let made = staff.post("/clients", new).await.expect(201);
    let password = made["generated_password"].as_str().expect("shown once").to_owned();
    assert_eq!(password.len(), 24);
    let path = format!("/clients/{}", made["id"]);
    let stored = async || site.sql("SELECT md5_cred FROM clients WHERE md5_cred IS NOT NULL").await.expect("read");
    let first = stored().await.remove(0);
    let mut heard = vec![staff.get(&path).await, staff.get("/clients").await];
    // Other changes keep it, another username needs a new one, and a chosen one is never shown.
    heard.push(staff.patch(&path, json!({ "name": "Other", "sip": { "codecs": ["g722"] } })).await);
    assert_eq!(stored().await, std::slice::from_ref(&first));
    let renamed = staff.patch(&path, json!({ "sip": { "registration": { "username": "new" } } })).await.expect(200);
    let second = stored().await.remove(0);
    assert!(renamed["generated_password"].is_string() && second != first, "{renamed}");
    let chosen = json!({ "sip": { "registration": { "password": "a chosen password" } } });
    heard.push(staff.patch(&path, chosen).await);
    let third = stored().await.remove(0);
    assert_ne!(third, second);
    let moved = json!({ "sip": { "registration": null, "host": "203.0.113.7" } });
    heard.push(staff.patch(&path, moved).await);
    assert_eq!(stored().await, Vec::<String>::new());
    let audit = "SELECT COALESCE(CAST(before AS TEXT), '') || COALESCE(CAST(after AS TEXT), '') FROM audit";
    let mut text = site.sql(audit).await.expect("read").join("\n");
    assert!(text.contains("sip_password"), "{text}");
    for answer in &heard {
        assert!(answer.expect(200)["generated_password"].is_null(), "{}", answer.text);
        text.push_str(&answer.text);
    }
    for secret in [&password, &first, &second, &third, "a chosen password"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    site.settle().await;
}

async fn what_is_wrong_is_named_by_its_field(site: Site) {
    let (admin, staff) = (site.as_admin().await, site.as_staff().await);
    for (field, value) in [
        ("client_identifier", json!("no dots.")),
        ("client_identifier", json!("Carrier1")),
        ("name", json!(" x")),
        ("name", json!("")),
        ("status", json!("gone")),
        ("max_concurrency", json!(-1)),
        ("max_concurrency", json!(4_294_967_296_i64)),
        ("time_zone", json!("Mars/Base")),
        ("version", json!(2)),
        ("context", json!("internal")),
        ("sip.host", json!({ "host": "under_score" })),
        ("sip.host", json!({})),
        ("sip.host", json!({ "host": "a.example", "registration": { "username": "a" } })),
        ("sip.context", json!({ "host": "a.example", "context": "internal" })),
        ("sip.codecs", json!({ "host": "a.example", "codecs": ["mp3"] })),
        ("sip.transport", json!({ "host": "a.example", "transport": "ws" })),
        ("sip.registration.username", json!({ "registration": { "username": "a b" } })),
    ] {
        let mut body = json!({ "client_identifier": "x", "name": "X", "sip": { "host": "a.example" } });
        body[field.split('.').next().expect("a field")] = value.clone();
        assert_eq!(admin.post("/clients", body).await.wrong_fields(), [field], "{value}");
    }
    let body = json!({ "client_identifier": "x", "name": "X", "sip": { "host": "a.example", "port": 0 } });
    assert_eq!(admin.post("/clients", body).await.wrong_fields().len(), 1);
    // A field that the role may not set is not known to it.
    assert_eq!(staff.post("/clients", north()).await.wrong_fields(), ["mask_name"]);
    let made = admin.post("/clients", north()).await.expect(201);
    let path = format!("/clients/{}", made["id"]);
    assert_eq!(staff.patch(&path, json!({ "mask_name": null })).await.wrong_fields(), ["mask_name"]);
    for fixed in ["client_identifier", "id", "version"] {
        assert_eq!(admin.patch(&path, json!({ fixed: "other" })).await.wrong_fields(), [fixed]);
    }
    assert_eq!(admin.patch(&path, json!({ "name": null })).await.wrong_fields(), ["name"]);
    let cleared = admin.patch(&path, json!({ "max_concurrency": null, "contact": null })).await.expect(200);
    assert_eq!((&cleared["max_concurrency"], &cleared["name"]), (&json!(null), &made["name"]), "absent keeps");
    let mut again = north();
    again["client_identifier"] = json!("CANARY-North");
    admin.post("/clients", again.clone()).await.refused(409, "identifier_taken");
    let stale = |request: reqwest::RequestBuilder| request.header("If-Match", "\"1\"").json(&json!({ "name": "Late" }));
    admin.send(Method::PATCH, &path, stale).await.refused(412, "stale");
    admin.delete(&path).await.expect(204);
    admin.get(&path).await.refused(404, "not_found");
    admin.post("/clients", again).await.refused(409, "identifier_taken");
    site.settle().await;
}

async fn asterisk_gets_a_new_client_without_a_restart(site: Site) {
    let admin = site.as_admin().await;
    admin.post("/clients", north()).await.expect(201);
    let capconduit::config::Realtime::Sqlite { path } = &site.config.realtime else {
        panic!("it is a file by default")
    };
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("it opens");
    let there = async {
        let contact = "SELECT contact FROM ps_aors WHERE id = 'canary-north'";
        while sqlx::query(contact).fetch_optional(&pool).await.expect("read").is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::patience::PATIENCE, there).await.expect("the running process published it");
    pool.close().await;
    site.settle().await;
}

crate::on_both_databases!(
    sellers_see_id_alias_and_status_and_nothing_else,
    passwords_are_shown_once_and_only_when_generated,
    what_is_wrong_is_named_by_its_field,
    asterisk_gets_a_new_client_without_a_restart,
);
