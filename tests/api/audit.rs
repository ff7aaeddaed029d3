//! The audit as each role sees it.

use capconduit::auth::roles::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::{PASSWORD, Site};
use crate::traffic::{FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(a_hang_up_is_noted_and_shown_by_right, every_change_leaves_its_line);

async fn hang_up(traffic: &Traffic, who: &str, did: &str) -> String {
    let call = traffic.call(did);
    call.answered().await;
    let live = traffic.get("admin", "/live/calls").await;
    let id = live["items"][0]["call_id"].as_str().expect("it is live").to_owned();
    let path = format!("/live/calls/{id}");
    assert_eq!(traffic.send(who, Method::DELETE, &path, None).await.0, 202);
    call.ended().await;
    traffic.site.asterisk.until_empty().await;
    format!("call:{id}")
}

fn objects(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|line| line["object"].as_str()).collect()
}

async fn a_hang_up_is_noted_and_shown_by_right(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let own = hang_up(&traffic, "acme", OWN).await;
    let foreign = hang_up(&traffic, "staff", FOREIGN).await;
    traffic.records(2).await;

    let all = traffic.get("admin", "/audit?action=call.hang_up").await;
    assert_eq!(objects(&all), [&foreign, &own], "the newest comes first");
    assert_eq!((&all["items"][0]["actor"], &all["items"][1]["actor"]), (&"staff".into(), &"acme".into()));
    let line = &all["items"][1];
    assert_eq!(line["user_id"], traffic.users["acme"].0);
    assert!(line["credential"].as_str().is_some_and(|with| with.starts_with("token:")), "{line:#}");
    assert_eq!(line["address"], "127.0.0.1");

    let first = traffic.get("admin", "/audit?action=call.hang_up&limit=1").await;
    let cursor = first["next_cursor"].as_str().expect("there is another");
    let second = traffic.get("admin", &format!("/audit?action=call.hang_up&limit=1&cursor={cursor}")).await;
    assert_eq!((objects(&first), objects(&second)), (vec![foreign.as_str()], vec![own.as_str()]));
    assert_eq!(objects(&traffic.get("admin", &format!("/audit?object={own}")).await), [&own]);

    let seen = traffic.get("acme", "/audit").await;
    no_canary(&seen);
    assert!(objects(&seen).contains(&own.as_str()) && !objects(&seen).contains(&foreign.as_str()), "{seen:#}");
    assert!(seen["items"].as_array().expect("items").iter().all(|line| line["actor"] == "acme"), "{seen:#}");
    let others = format!("/audit?user_id={}", traffic.users["staff"]);
    assert!(objects(&traffic.get("acme", &others).await).is_empty());
    assert_eq!(traffic.refused("staff", Method::GET, "/audit", None).await, 403);
    traffic.settle().await;
}

/// Who does what by which request, and what the audit calls it.
type Change<'a> = (&'a Caller, Method, String, Option<Value>, &'a str);

/// Carries a change out, and reads its line as the admin sees it; the answer and the line.
async fn noted(admin: &Caller, (caller, method, path, body, action): Change<'_>) -> (Value, Value) {
    let newest = async || admin.get("/audit?limit=1").await.expect(200)["items"][0].clone();
    let before = newest().await["id"].as_i64();
    let with_body = |request: reqwest::RequestBuilder| match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = caller.send(method.clone(), &path, with_body).await;
    assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
    let line = newest().await;
    assert!(line["id"].as_i64() > before, "{method} {path} leaves a line");
    assert_eq!(line["action"], action, "{method} {path}: {line:#}");
    (serde_json::from_str(&answer.text).unwrap_or(Value::Null), line)
}

async fn every_change_leaves_its_line(site: Site) {
    let own = site.user("acme", Role::Seller).await;
    let (admin, acme) = (site.as_admin().await, site.as_user("acme").await);
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let mut lines = Vec::new();
    macro_rules! change {
        ($caller:expr, $method:expr, $path:expr, $body:expr, $action:literal) => {{
            let (answer, line) = noted(&admin, ($caller, $method.clone(), $path, $body, $action)).await;
            let [before, after] = ["before", "after"].map(|side| !line[side].is_null());
            let made = $action.ends_with(".create") || $action.ends_with(".add");
            let gone = $action.ends_with(".delete") || $action.ends_with(".remove") || $action.ends_with(".revoke");
            assert_eq!((before, after), (!made, !gone), "before and after: {line:#}");
            lines.push(line);
            answer
        }};
    }
    let body = json!({ "username": "eve", "name": "Eve", "role": "staff" });
    let id = change!(&admin, post, "/users".into(), Some(body), "user.create")["id"].clone();
    change!(&admin, patch, format!("/users/{id}"), Some(json!({ "name": "Eva" })), "user.update");
    let password = json!({ "password": "seven quiet lamps below" });
    change!(&admin, patch, format!("/users/{id}"), Some(password), "user.set_password");
    let sip = json!({ "host": "203.0.113.7" });
    let body = json!({ "client_identifier": "north", "name": "North", "sip": sip });
    let client = change!(&admin, post, "/clients".into(), Some(body), "client.create")["id"].clone();
    change!(&admin, patch, format!("/clients/{client}"), Some(json!({ "contact": "x" })), "client.update");
    change!(&admin, put, format!("/clients/{client}/sellers/{own}"), None, "client.seller.add");
    change!(&admin, delete, format!("/clients/{client}/sellers/{own}"), None, "client.seller.remove");
    let did = change!(&acme, post, "/dids".into(), Some(json!({ "number": OWN })), "did.create")["id"].clone();
    change!(&acme, patch, format!("/dids/{did}"), Some(json!({ "status": "paused" })), "did.update");
    let body = Some(json!({ "name": "Solar" }));
    let campaign = change!(&acme, post, "/campaigns".into(), body, "campaign.create")["id"].clone();
    let campaign = format!("/campaigns/{campaign}");
    change!(&acme, patch, campaign.clone(), Some(json!({ "name": "Wind" })), "campaign.update");
    change!(&acme, put, format!("{campaign}/dids/{did}"), None, "campaign.did.add");
    change!(&acme, delete, format!("{campaign}/dids/{did}"), None, "campaign.did.remove");
    let body = json!({ "client_id": client, "max_concurrency": 1 });
    let link = change!(&acme, post, format!("{campaign}/links"), Some(body), "link.create")["id"].clone();
    let link = format!("{campaign}/links/{link}");
    change!(&acme, patch, link.clone(), Some(json!({ "weight": 2 })), "link.update");
    change!(&acme, delete, link, None, "link.delete");
    change!(&acme, delete, campaign, None, "campaign.delete");
    change!(&acme, delete, format!("/dids/{did}"), None, "did.delete");
    change!(&admin, delete, format!("/clients/{client}"), None, "client.delete");
    let body = json!({ "name": "nightly", "scope": "read" });
    let (made, line) = noted(&admin, (&acme, post.clone(), "/auth/tokens".into(), Some(body), "token.create")).await;
    lines.push(line);
    change!(&acme, delete, format!("/auth/tokens/{}", made["token"]["id"]), None, "token.revoke");
    let body = json!({ "current_password": PASSWORD, "new_password": "seven quiet lamps below" });
    change!(&acme, post, "/auth/password".into(), Some(body), "user.change_password");
    lines.push(noted(&admin, (&acme, post.clone(), "/auth/logout".into(), None, "session.close")).await.1);
    for line in &lines {
        let who = [json!("admin"), json!("acme")];
        assert!(who.contains(&line["actor"]) && line["user_id"].is_i64() && line["at"].is_string(), "{line:#}");
        assert!(line["credential"].as_str().is_some_and(|it| it.starts_with("session:")), "{line:#}");
        assert_eq!(line["address"], "127.0.0.1", "{line:#}");
    }
    // Log-ins, good and refused; the command line; `apply`.
    let nobody = site.as_nobody();
    let log_in = json!({ "username": "acme", "password": "seven quiet lamps below" });
    let (_, line) = noted(&admin, (&nobody, post, "/auth/login".into(), Some(log_in), "session.open")).await;
    assert_eq!(
        (&line["actor"], &line["user_id"], &line["address"]),
        (&json!("acme"), &json!(own), &json!("127.0.0.1"))
    );
    nobody.post("/auth/login", json!({ "username": "acme", "password": PASSWORD })).await.refused(401, "credentials");
    site.user("ben", Role::Staff).await;
    let seller = |name: &str| format!("[[sellers]]\nusername = \"{name}\"\nname = \"{name}\"\n");
    site.apply(&(seller("acme") + &seller("zoe"))).await;
    let all = admin.get("/audit?limit=4").await.expect(200);
    let told: Vec<_> = all["items"].as_array().expect("items").iter().map(|it| (&it["action"], &it["actor"])).collect();
    let (apply, cli) = (json!("apply"), json!("cli"));
    assert_eq!(told[0], (&json!("plan.apply"), &apply));
    assert_eq!(told[2], (&json!("user.create"), &cli));
    assert_eq!((told[3].0, &all["items"][3]["object"]), (&json!("session.refuse"), &json!(format!("user:{own}"))));
    // What a seller did itself is what it reads, its log-ins included.
    let again = json!({ "username": "acme", "password": "seven quiet lamps below" });
    let tokens = nobody.post("/auth/login", again).await.expect(200);
    let acme = nobody.with_access_token(tokens["access_token"].as_str().expect("a token"));
    let seen = acme.get("/audit?limit=200").await.expect(200);
    let seen = seen["items"].as_array().expect("items");
    assert!(seen.iter().all(|line| line["user_id"] == own), "{seen:#?}");
    for action in ["session.open", "session.close", "did.create", "link.update", "token.revoke", "user.change_password"]
    {
        assert!(seen.iter().any(|line| line["action"] == action), "{action}");
    }
    site.settle().await;
}
