//! Clients and their SIP: where they may be, who they are known by, what is kept secret, and what the nodes see of them.

use std::time::Duration;

use capconduit::config::Network;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::Behaviour;
use crate::site::{Database, Site};

fn client(identifier: &str, sip: Value) -> Value {
    json!({ "client_identifier": identifier, "name": identifier, "sip": sip })
}

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

/// Waits until a client's `suspended_reason` satisfies; the client then.
async fn until_suspended(staff: &Caller, path: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let client = staff.get(path).await.expect(200);
            if satisfied(&client["suspended_reason"]) {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::patience::PATIENCE, wait).await.expect("the hosts are looked at again")
}

async fn hosts_are_where_clients_may_be(site: Site) {
    let staff = site.as_staff().await;
    site.dns.set("rebound.example", &["203.0.113.9", "10.0.0.1"]);
    site.dns.set("mapped.example", &["::ffff:169.254.169.254"]);
    site.dns.set("good.example", &["203.0.113.9", "2001:db8::9"]);
    for host in [
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.1.1",
        "224.0.0.5",
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1", // ours: the listener is there
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:203.0.113.7",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "fe80::1%eth0",
        "203.0.113.7.",
        "localhost",
        "pbx",
        "rebound.example",
        "mapped.example",
    ] {
        let refused = staff.post("/clients", client("x", json!({ "host": host }))).await;
        assert_eq!(refused.wrong_fields(), ["sip.host"], "{host}: {}", refused.text);
    }
    for (n, host) in
        ["203.0.113.7", "127.0.0.11", "good.example", "not-there-yet.example", "2001:db8::7"].iter().enumerate()
    {
        let made = staff.post("/clients", client(&format!("c{n}"), json!({ "host": host }))).await.expect(201);
        assert_eq!(made["suspended_reason"], Value::Null, "{made}");
        let path = format!("/clients/{}", made["id"]);
        assert_eq!(staff.patch(&path, json!({ "sip": { "host": "10.0.0.1" } })).await.wrong_fields(), ["sip.host"]);
        assert_eq!(
            staff.patch(&path, json!({ "sip": { "host": "rebound.example" } })).await.wrong_fields(),
            ["sip.host"]
        );
    }
    let plan = "[[clients]]\nidentifier = \"y\"\nname = \"Y\"\nsip = { host = \"rebound.example\" }\n\
                [[clients]]\nidentifier = \"z\"\nname = \"Z\"\nsip = { host = \"10.0.0.1\" }\n";
    let problems = site.try_apply(plan).await.expect_err("neither is allowed");
    for part in ["clients[\"y\"].sip.host: ", "10.0.0.1, which is a private address", "clients[\"z\"].sip.host: "] {
        assert!(problems.contains(part), "{part} not in {problems}");
    }
    site.settle().await;
}

async fn a_name_that_leads_astray_suspends_its_client_until_it_is_clean_again(site: Site) {
    let (staff, seller) = (site.as_staff().await, site.as_seller("acme").await);
    site.dns.set("sip.example", &["203.0.113.9"]);
    let made = staff.post("/clients", client("north", json!({ "host": "sip.example" }))).await.expect(201);
    let path = format!("/clients/{}", made["id"]);
    let routed = async || {
        let snapshot = capconduit::store::snapshot::load(&site.db).await.expect("the snapshot is read");
        snapshot.clients.values().map(|client| client.status.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(routed().await, ["active"]);
    site.dns.set("sip.example", &["203.0.113.9", "127.0.0.1"]);
    let suspended = until_suspended(&staff, &path, Value::is_string).await;
    let reason = suspended["suspended_reason"].as_str().expect("a sentence");
    assert!(reason.contains("127.0.0.1") && reason.contains("sip.example"), "{reason}");
    assert_eq!((&suspended["status"], &suspended["version"]), (&json!("active"), &json!(1)), "nobody changed it");
    assert_eq!(routed().await, ["paused"], "it is offered no calls");
    let seen = seller.get(&path).await;
    assert!(!seen.text.contains("suspended") && !seen.text.contains("127.0.0.1"), "{}", seen.text);
    // Not to resolve is no proof of innocence; to be somewhere else is.
    site.dns.set("sip.example", &[]);
    let late = staff.post("/clients", client("south", json!({ "host": "late.example" }))).await.expect(201);
    let late = format!("/clients/{}", late["id"]);
    site.dns.set("late.example", &["10.0.0.1"]);
    // Whoever comes later was looked at later: a whole round went by.
    until_suspended(&staff, &late, Value::is_string).await;
    assert!(staff.get(&path).await.expect(200)["suspended_reason"].is_string());
    site.dns.set("sip.example", &["203.0.113.9"]);
    let clean = until_suspended(&staff, &path, Value::is_null).await;
    assert_eq!(clean["version"], json!(1));
    // Another port leads to the same host.
    let bent = staff.patch(&late, json!({ "sip": { "port": 5070, "qualify_seconds": 0 } })).await.expect(200);
    assert!(bent["suspended_reason"].is_string(), "{bent}");
    // Another host is another matter.
    let moved = staff.patch(&late, json!({ "sip": { "host": "203.0.113.8" } })).await.expect(200);
    assert_eq!(moved["suspended_reason"], Value::Null);
    let lines = site.sql("SELECT action FROM audit WHERE actor = 'sip' ORDER BY id").await;
    assert_eq!(lines.expect("read"), ["client.suspend", "client.suspend", "client.resume"]);
    let lines = site.sql("SELECT action FROM audit WHERE actor <> 'sip' ORDER BY id DESC LIMIT 2").await;
    assert_eq!(lines.expect("read"), ["client.update", "client.resume"]);
    site.settle().await;
}

async fn no_address_is_two_clients_or_a_carriers(site: Site) {
    let staff = site.as_staff().await;
    let known = |list: &[&str]| json!({ "host": "a.example", "identify_by_ip": list });
    for (list, wrong) in [
        (vec!["203.0.113.0/23"], "sip.identify_by_ip[0]"),
        (vec!["203.0.113.7", "2001:db8::/63"], "sip.identify_by_ip[1]"),
        (vec!["203.0.113.7/24"], "sip.identify_by_ip[0]"),
        (vec!["a.example"], "sip.identify_by_ip[0]"),
        (vec!["192.0.2.9"], "sip.identify_by_ip[0]"), // a carrier's
        (vec!["192.0.2.0/24"], "sip.identify_by_ip[0]"),
    ] {
        assert_eq!(staff.post("/clients", client("x", known(&list))).await.wrong_fields(), [wrong], "{list:?}");
    }
    assert_eq!(staff.post("/clients", client("x", json!({ "host": "192.0.2.9" }))).await.wrong_fields(), ["sip.host"]);
    let north = staff.post("/clients", client("north", known(&["203.0.113.0/24", "2001:db8::/64"]))).await.expect(201);
    assert_eq!(north["sip"]["identify_by_ip"], json!(["203.0.113.0/24", "2001:db8::/64"]));
    let fixed = staff.post("/clients", client("fixed", json!({ "host": "198.51.100.1" }))).await.expect(201);
    for (sip, field) in [
        (known(&["203.0.113.9"]), "sip.identify_by_ip[0]"),
        (known(&["198.51.100.9", "2001:db8::5"]), "sip.identify_by_ip[1]"),
        (known(&["198.51.100.0/28"]), "sip.identify_by_ip[0]"),
        (json!({ "host": "203.0.113.9" }), "sip.host"),
    ] {
        let refused = staff.post("/clients", client("x", sip)).await.refused(409, "address_taken");
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
    let plan = "[[clients]]\nidentifier = \"a\"\nname = \"A\"\nsip = { host = \"a.example\", identify_by_ip = [\"203.0.113.9\"] }\n\
                [[clients]]\nidentifier = \"b\"\nname = \"B\"\nsip = { host = \"203.0.113.9\" }\n";
    let problems = site.try_apply(plan).await.expect_err("they overlap");
    assert!(problems.contains("clients[\"b\"].sip.host: client \"a\" is known by"), "{problems}");
    // An archived one is in nobody's way, and comes back only where nobody took its place.
    let north = format!("/clients/{}", north["id"]);
    staff.patch(&north, json!({ "status": "archived" })).await.expect(200);
    let fixed = format!("/clients/{}", fixed["id"]);
    staff.patch(&fixed, json!({ "sip": { "identify_by_ip": ["203.0.113.9"] } })).await.expect(200);
    staff.patch(&north, json!({ "status": "active" })).await.refused(409, "address_taken");
    staff.patch(&fixed, json!({ "sip": { "identify_by_ip": null } })).await.expect(200);
    staff.patch(&north, json!({ "status": "active" })).await.expect(200);
    site.settle().await;
}

async fn of_those_who_ask_at_once_for_one_address_one_gets_it(site: Site) {
    let staff = site.as_staff().await;
    let asked = (0..8).map(|n| {
        let (staff, sip) = (staff.clone(), json!({ "host": "a.example", "identify_by_ip": ["203.0.113.9"] }));
        tokio::spawn(async move { staff.post("/clients", client(&format!("c{n}"), sip)).await })
    });
    let mut made = 0;
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await.expect("asked");
        if answer.status == 201 {
            made += 1;
        } else {
            answer.refused(409, "address_taken");
        }
    }
    assert_eq!(made, 1);
    site.settle().await;
}

async fn a_foreign_endpoints_name_is_not_taken(site: Site) {
    let staff = site.as_staff().await;
    site.asterisk.endpoint("itsp", Behaviour::default());
    let new = |identifier: &str| client(identifier, json!({ "host": "203.0.113.7" }));
    staff.post("/clients", new("itsp")).await.refused(409, "endpoint_taken");
    let made = staff.post("/clients", new("north")).await.expect(201);
    // Used, it is known to the node, and ours all the same.
    site.asterisk.endpoint("north", Behaviour::default());
    staff.post("/clients", new("North")).await.refused(409, "identifier_taken");
    staff.delete(&format!("/clients/{}", made["id"])).await.expect(204);
    staff.post("/clients", new("NORTH")).await.refused(409, "identifier_taken");
    // A node that is away keeps nobody from making clients.
    site.asterisk.refuse_connections(true);
    site.asterisk.drop_sockets();
    site.asterisk.until_disconnected("capconduit-1").await;
    staff.post("/clients", new("south")).await.expect(201);
    site.settle().await;
}

async fn what_we_answer_challenges_with_stays_inside(site: Site) {
    let staff = site.as_staff().await;
    let auth = |auth: Value| json!({ "host": "203.0.113.7", "outbound_auth": auth });
    for (given, wrong) in [
        (json!({ "username": "us", "realm": "r" }), "sip.outbound_auth.password"),
        (json!({ "username": "us", "password": "hunter2-canary" }), "sip.outbound_auth.realm"),
        (json!({ "username": "u s", "password": "hunter2-canary", "realm": "r" }), "sip.outbound_auth.username"),
        (json!({ "username": "us", "password": "hunter2-canary", "realm": "a\"b" }), "sip.outbound_auth.realm"),
        (json!({ "username": "us", "password": null, "realm": "r" }), "sip.outbound_auth.password"),
        (json!({ "password": "hunter2-canary", "realm": "r" }), "sip.outbound_auth.username"),
    ] {
        let refused = staff.post("/clients", client("x", auth(given.clone()))).await;
        assert!(refused.wrong_fields().iter().all(|field| field == wrong), "{given}: {}", refused.text);
        assert!(!refused.text.contains("hunter2"), "{}", refused.text);
    }
    let given = json!({ "username": "us", "password": "hunter2-canary", "realm": "north.example" });
    let made = staff.post("/clients", client("north", auth(given))).await;
    let path = format!("/clients/{}", made.expect(201)["id"]);
    assert_eq!(made.expect(201)["sip"]["outbound_auth"], json!({ "username": "us", "realm": "north.example" }));
    let digest =
        "SELECT outbound_md5_cred FROM clients WHERE outbound_md5_cred IS NOT NULL AND outbound_password IS NULL";
    let first = site.sql(digest).await.expect("read").remove(0);
    let mut heard = vec![made, staff.get(&path).await, staff.get("/clients").await];
    heard.push(staff.patch(&path, json!({ "sip": { "port": 5070 } })).await);
    assert_eq!(site.sql(digest).await.expect("read"), std::slice::from_ref(&first), "kept");
    let realm = json!({ "sip": { "outbound_auth": { "realm": "other" } } });
    assert_eq!(
        staff.patch(&path, realm).await.wrong_fields(),
        ["sip.outbound_auth.password"],
        "a digest is for its realm"
    );
    let anew = json!({ "sip": { "outbound_auth": { "password": "second-canary" } } });
    heard.push(staff.patch(&path, anew).await);
    let second = site.sql(digest).await.expect("read").remove(0);
    assert_ne!(first, second);
    let audit = "SELECT COALESCE(CAST(before AS TEXT), '') || COALESCE(CAST(after AS TEXT), '') FROM audit";
    let mut text = site.sql(audit).await.expect("read").join("\n");
    assert!(text.contains("outbound_auth_password"), "{text}");
    text.push_str(&capconduit::store::plan::export(&site.db).await.expect("exported").to_toml().expect("TOML"));
    assert!(text.contains("north.example"), "it is exported without: {text}");
    heard.iter().for_each(|answer| text.push_str(&answer.text));
    for secret in ["hunter2", "canary", &first, &second] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    heard.push(staff.patch(&path, json!({ "sip": { "outbound_auth": null } })).await);
    assert_eq!(site.sql(digest).await.expect("read"), Vec::<String>::new());
    site.settle().await;
}

async fn a_new_password_is_shown_once(site: Site) {
    let (admin, staff) = (site.as_admin().await, site.as_staff().await);
    let new = client("reg", json!({ "registration": { "username": "reg" } }));
    let made = staff.post("/clients", new).await.expect(201);
    let path = format!("/clients/{}", made["id"]);
    let anew = json!({ "sip": { "registration": { "password": null } } });
    let again = staff.patch(&path, anew).await.expect(200);
    let passwords = [&made, &again].map(|answer| answer["generated_password"].as_str().expect("shown").to_owned());
    assert_ne!(passwords[0], passwords[1]);
    let mut text = String::new();
    for answer in [staff.get(&path).await, staff.get("/clients").await, admin.get("/audit").await] {
        text.push_str(&answer.expect(200).to_string());
    }
    text.push_str(&staff.patch(&path, json!({ "name": "Other" })).await.expect(200).to_string());
    text.push_str(&capconduit::store::plan::export(&site.db).await.expect("exported").to_toml().expect("TOML"));
    for password in passwords {
        assert!(!text.contains(&password), "{text}");
    }
    site.settle().await;
}

async fn staff_see_what_the_nodes_see(site: Site) {
    let (staff, seller) = (site.as_staff().await, site.as_seller("acme").await);
    let mut new = client("north", json!({ "host": "203.0.113.7" }));
    new["max_concurrency"] = json!(3);
    let made = staff.post("/clients", new).await.expect(201);
    let path = format!("/clients/{}/state", made["id"]);
    seller.get(&path).await.refused(403, "role");
    staff.get("/clients/999999/state").await.refused(404, "not_found");
    let campaign = seller.post("/campaigns", json!({ "name": "Solar" })).await.expect(201);
    let links = format!("/campaigns/{}/links", campaign["id"]);
    let body = json!({ "client_id": made["id"], "max_concurrency": 2, "total_calls_allowed": 100 });
    let link = seller.post(&links, body).await.expect(201);
    let absent = staff.get(&path).await.expect(200);
    assert_eq!((&absent["used"], &absent["limit"]), (&json!(0), &json!(3)));
    let node = &absent["nodes"][0];
    assert_eq!((&node["node"], &node["answers"], &node["endpoint"]), (&json!("pbx"), &json!(true), &json!("absent")));
    assert_eq!(node["reachability"], json!("unknown"));
    site.asterisk.endpoint("north", Behaviour::default());
    let seen = async |what: &str, satisfied: &dyn Fn(&Value) -> bool| {
        let wait = async {
            loop {
                let state = staff.get(&path).await.expect(200);
                if satisfied(&state) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(crate::patience::PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"))
    };
    // The link is in the running process within a second.
    let state = seen("the link", &|state| state["links"] != json!([])).await;
    let wanted = json!([{
        "link_id": link["id"], "campaign_id": campaign["id"], "campaign_name": "Solar", "status": "paused", "used": 0, "limit": 2,
        "total_used": 0, "total_limit": 100, "campaign_used": 0, "campaign_limit": null,
    }]);
    assert_eq!(state["links"], wanted);
    // What a node says of a client is good for a second.
    seen("the endpoint", &|state| state["nodes"][0]["endpoint"] == "present").await;
    site.asterisk.refuse_connections(true);
    site.asterisk.drop_sockets();
    let away = seen("that the node is away", &|state| state["nodes"][0]["answers"] == false).await;
    assert_eq!(away["nodes"][0]["endpoint"], "unknown", "{away}");
    site.settle().await;
}

/// Names are looked up again so often that a test need not wait; 192.0.2.0/24 is a carrier's.
async fn start(database: Database) -> Site {
    Site::start_with(database, |config| {
        config.sip.resolve_every = Duration::from_millis(50);
        config.sip.carriers = vec![network("192.0.2.0/28")];
    })
    .await
}

macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::start(crate::site::Database::Sqlite).await).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::start(crate::site::Database::Postgres).await).await; })+
        }
    };
}

tests!(
    hosts_are_where_clients_may_be,
    a_name_that_leads_astray_suspends_its_client_until_it_is_clean_again,
    no_address_is_two_clients_or_a_carriers,
    of_those_who_ask_at_once_for_one_address_one_gets_it,
    a_foreign_endpoints_name_is_not_taken,
    what_we_answer_challenges_with_stays_inside,
    a_new_password_is_shown_once,
    staff_see_what_the_nodes_see,
);
