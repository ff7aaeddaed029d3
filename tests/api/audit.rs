//! The audit as each role sees it.

use capconduit::auth::roles::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::{PASSWORD, Site};
use crate::traffic::{FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(
    a_hang_up_is_noted_and_shown_by_right,
    every_change_of_an_object_leaves_its_line,
    log_ins_the_command_line_and_apply_leave_their_lines,
    who_became_a_seller_reads_nothing_of_before,
);

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

    let admin = traffic.site.as_admin().await;
    for (query, field) in [("from=%2B262000-01-01T00:00:00Z", "from"), ("to=-9000-01-01T00:00:00Z", "to")] {
        assert_eq!(admin.get(&format!("/audit?{query}")).await.wrong_fields(), [field]);
    }

    let seen = traffic.get("acme", "/audit").await;
    no_canary(&seen);
    assert!(objects(&seen).contains(&own.as_str()) && !objects(&seen).contains(&foreign.as_str()), "{seen:#}");
    assert!(seen["items"].as_array().expect("items").iter().all(|line| line["actor"] == "acme"), "{seen:#}");
    let others = format!("/audit?user_id={}", traffic.users["staff"]);
    assert!(objects(&traffic.get("acme", &others).await).is_empty());
    assert_eq!(traffic.refused("staff", Method::GET, "/audit", None).await, 403);
    traffic.settle().await;
}

/// Carries changes out, and reads their lines as the admin sees them.
struct Noted {
    admin: Caller,
    lines: Vec<Value>,
}

impl Noted {
    /// The answer to a change, which has left a line of this action, with the object before and after where there was and is one.
    async fn change(&mut self, who: &Caller, how: Method, path: String, body: Option<Value>, action: &str) -> Value {
        let before = self.newest().await["id"].as_i64();
        let with_body = |request: reqwest::RequestBuilder| match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = who.send(how, &path, with_body).await;
        assert!(answer.status.is_success(), "{action} {path}: {}", answer.text);
        let line = self.newest().await;
        assert!(line["id"].as_i64() > before && line["action"] == action, "{action} {path}: {line:#}");
        let (made, gone) = (action.ends_with("create") || action.ends_with("add"), ["delete", "remove", "revoke"]);
        let gone = gone.iter().any(|word| action.ends_with(word));
        if !action.starts_with("session.") {
            let sides = (!line["before"].is_null(), !line["after"].is_null());
            assert_eq!(sides, (!made, !gone), "before and after: {line:#}");
        }
        self.lines.push(line);
        serde_json::from_str(&answer.text).unwrap_or(Value::Null)
    }

    async fn newest(&self) -> Value {
        self.admin.get("/audit?limit=1").await.expect(200)["items"][0].clone()
    }

    /// Each line says who it was, by what credential, and from where.
    fn all_say_who(&self) {
        for line in &self.lines {
            let who = [json!("admin"), json!("acme")];
            assert!(who.contains(&line["actor"]) && line["user_id"].is_i64() && line["at"].is_string(), "{line:#}");
            assert!(line["credential"].as_str().is_some_and(|it| it.starts_with("session:")), "{line:#}");
            assert_eq!(line["address"], "127.0.0.1", "{line:#}");
        }
    }
}

async fn every_change_of_an_object_leaves_its_line(site: Site) {
    let own = site.user("acme", Role::Seller).await;
    let (admin, acme) = (site.as_admin().await, site.as_user("acme").await);
    let (post, put, patch, delete) = (|| Method::POST, || Method::PUT, || Method::PATCH, || Method::DELETE);
    let mut noted = Noted { admin: admin.clone(), lines: Vec::new() };
    let body = json!({ "username": "eve", "name": "Eve", "role": "staff" });
    let user = noted.change(&admin, post(), "/users".into(), Some(body), "user.create").await;
    let user = format!("/users/{}", user["id"]);
    noted.change(&admin, patch(), user.clone(), Some(json!({ "name": "Eva" })), "user.update").await;
    let password = json!({ "password": "seven quiet lamps below" });
    noted.change(&admin, patch(), user, Some(password), "user.set_password").await;
    let body = json!({ "client_identifier": "north", "name": "North", "sip": { "host": "203.0.113.7" } });
    let client_id = noted.change(&admin, post(), "/clients".into(), Some(body), "client.create").await["id"].clone();
    let client = format!("/clients/{client_id}");
    noted.change(&admin, patch(), client.clone(), Some(json!({ "contact": "x" })), "client.update").await;
    noted.change(&admin, put(), format!("{client}/sellers/{own}"), None, "client.seller.add").await;
    noted.change(&admin, delete(), format!("{client}/sellers/{own}"), None, "client.seller.remove").await;
    let did = json!({ "number": OWN });
    let did = noted.change(&acme, post(), "/dids".into(), Some(did), "did.create").await["id"].clone();
    noted.change(&acme, patch(), format!("/dids/{did}"), Some(json!({ "status": "paused" })), "did.update").await;
    let body = json!({ "name": "Solar" });
    let campaign = noted.change(&acme, post(), "/campaigns".into(), Some(body), "campaign.create").await;
    let campaign = format!("/campaigns/{}", campaign["id"]);
    noted.change(&acme, patch(), campaign.clone(), Some(json!({ "name": "Wind" })), "campaign.update").await;
    noted.change(&acme, put(), format!("{campaign}/dids/{did}"), None, "campaign.did.add").await;
    noted.change(&acme, delete(), format!("{campaign}/dids/{did}"), None, "campaign.did.remove").await;
    let body = json!({ "client_id": client_id, "max_concurrency": 1 });
    let link = noted.change(&acme, post(), format!("{campaign}/links"), Some(body), "link.create").await;
    let link = format!("{campaign}/links/{}", link["id"]);
    noted.change(&acme, patch(), link.clone(), Some(json!({ "weight": 2 })), "link.update").await;
    noted.change(&acme, delete(), link, None, "link.delete").await;
    noted.change(&acme, delete(), campaign, None, "campaign.delete").await;
    noted.change(&acme, delete(), format!("/dids/{did}"), None, "did.delete").await;
    noted.change(&admin, delete(), client, None, "client.delete").await;
    noted.all_say_who();
    site.settle().await;
}

async fn who_became_a_seller_reads_nothing_of_before(site: Site) {
    let (owner, eve) = (site.user("acme", Role::Seller).await, site.user("eve", Role::Staff).await);
    let admin = site.as_admin().await;
    let did = json!({ "number": OWN, "seller_id": owner });
    site.as_user("eve").await.post("/dids", did).await.expect(201);
    let change = json!({ "role": "seller", "password": PASSWORD });
    for (change, name) in [(change, "Solar"), (json!({ "name": "Eva" }), "Wind")] {
        admin.patch(&format!("/users/{eve}"), change).await.expect(200);
        site.user("eve", Role::Seller).await;
        let eve = site.as_user("eve").await;
        eve.post("/campaigns", json!({ "name": name })).await.expect(201);
        let seen = eve.get("/audit").await.expect(200);
        let actions: Vec<_> =
            seen["items"].as_array().expect("items").iter().map(|line| line["action"].clone()).collect();
        assert!(actions.contains(&json!("campaign.create")) && !actions.contains(&json!("did.create")), "{seen:#}");
    }
    let seen = site.as_user("eve").await.get("/audit?action=campaign.create").await.expect(200);
    assert_eq!(objects(&seen).len(), 2, "another name is no other role");
    let all = admin.get(&format!("/audit?user_id={eve}&action=did.create")).await.expect(200);
    assert_eq!(objects(&all).len(), 1);
    site.settle().await;
}

async fn log_ins_the_command_line_and_apply_leave_their_lines(site: Site) {
    const OTHER: &str = "seven quiet lamps below";
    let own = site.user("acme", Role::Seller).await;
    let (admin, acme, nobody) = (site.as_admin().await, site.as_user("acme").await, site.as_nobody());
    let mut noted = Noted { admin: admin.clone(), lines: Vec::new() };
    let body = json!({ "name": "nightly", "scope": "read" });
    let made = noted.change(&acme, Method::POST, "/auth/tokens".into(), Some(body), "token.create").await;
    let token = format!("/auth/tokens/{}", made["token"]["id"]);
    noted.change(&acme, Method::DELETE, token, None, "token.revoke").await;
    let body = json!({ "current_password": PASSWORD, "new_password": OTHER });
    noted.change(&acme, Method::POST, "/auth/password".into(), Some(body), "user.change_password").await;
    noted.change(&acme, Method::POST, "/auth/logout".into(), None, "session.close").await;
    noted.all_say_who();
    let log_in = json!({ "username": "acme", "password": OTHER });
    let tokens = noted.change(&nobody, Method::POST, "/auth/login".into(), Some(log_in), "session.open").await;
    let line = noted.newest().await;
    assert_eq!((&line["actor"], &line["user_id"]), (&json!("acme"), &json!(own)));
    assert_eq!(line["address"], "127.0.0.1");
    nobody.post("/auth/login", json!({ "username": "acme", "password": PASSWORD })).await.refused(401, "credentials");
    let refused = noted.newest().await;
    assert_eq!((&refused["action"], &refused["object"]), (&json!("session.refuse"), &json!(format!("user:{own}"))));
    site.user("ben", Role::Staff).await;
    let cli = admin.get("/audit?action=user.create&limit=1").await.expect(200)["items"][0].clone();
    assert_eq!((&cli["actor"], &cli["after"]["username"]), (&json!("cli"), &json!("ben")));
    let seller = |name: &str| format!("[[sellers]]\nusername = \"{name}\"\nname = \"{name}\"\n");
    site.apply(&(seller("acme") + &seller("zoe"))).await;
    let applied = noted.newest().await;
    assert_eq!((&applied["action"], &applied["actor"]), (&json!("plan.apply"), &json!("apply")));
    // What a seller did itself is what it reads, its log-ins included.
    let acme = nobody.with_access_token(tokens["access_token"].as_str().expect("a token"));
    let seen = acme.get("/audit?limit=200").await.expect(200);
    let seen = seen["items"].as_array().expect("items");
    assert!(seen.iter().all(|line| line["user_id"] == own), "{seen:#?}");
    for action in ["session.open", "session.close", "token.create", "token.revoke", "user.change_password"] {
        assert!(seen.iter().any(|line| line["action"] == action), "{action}");
    }
    site.settle().await;
}
