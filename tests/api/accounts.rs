//! Users, first start, command line.

use std::os::unix::fs::PermissionsExt as _;

use capconduit::auth::first_admin;
use capconduit::auth::roles::Role;
use capconduit::clock::Clock;
use capconduit::config::Config;
use capconduit::store::Db;
use serde_json::json;
use tempfile::TempDir;

use crate::site::{Database, PASSWORD, Site};

const OTHER: &str = "seven quiet lamps below";

async fn an_admin_makes_reads_and_lists_users(site: Site) {
    let admin = site.as_admin().await;
    let body = json!({ "username": "acme", "name": "Acme", "role": "seller", "password": OTHER });
    let made = admin.post("/users", body.clone()).await.expect(201);
    assert_eq!((&made["role"], &made["status"], &made["version"]), (&json!("seller"), &json!("active"), &json!(1)));
    assert_eq!(admin.get(&format!("/users/{}", made["id"])).await.expect(200), made);
    admin.post("/users", body).await.refused(409, "username_taken");
    for (wrong, field) in [
        (json!({ "username": "Acme", "name": "x", "role": "seller" }), "username"),
        (json!({ "username": "b", "name": " x", "role": "seller" }), "name"),
        (json!({ "username": "b", "name": "x", "role": "king" }), "role"),
        (json!({ "username": "b", "name": "x", "role": "seller", "password": "short" }), "password"),
        (json!({ "username": "b", "name": "x", "role": "seller", "version": 7 }), "version"),
        (json!({ "username": "b", "name": "x" }), "role"),
    ] {
        assert_eq!(admin.post("/users", wrong).await.wrong_fields(), [field]);
    }
    let first = admin.get("/users?limit=1").await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = admin.get(&format!("/users?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&first["items"][0]["username"], &second["items"][0]["username"]), (&json!("admin"), &json!("acme")));
    assert_eq!(second["next_cursor"], json!(null));
    assert_eq!(admin.get("/users?role=seller").await.expect(200)["items"], json!([made]));
    assert_eq!(admin.get(&format!("/users?role=seller&cursor={cursor}")).await.wrong_fields(), ["cursor"]);
    site.settle().await;
}

async fn a_password_set_by_somebody_else_is_changed_before_anything_else(site: Site) {
    let admin = site.as_admin().await;
    let body = json!({ "username": "eve", "name": "Eve", "role": "admin", "password": OTHER });
    let id = admin.post("/users", body).await.expect(201)["id"].clone();
    let tokens = site.log_in("eve", OTHER).await;
    assert_eq!(tokens["user"]["must_change_password"], json!(true));
    let eve = site.as_nobody().with_access_token(tokens["access_token"].as_str().expect("a token"));
    eve.get("/users").await.refused(403, "password_change_required");
    eve.get("/auth/me").await.expect(200);
    let change = json!({ "current_password": OTHER, "new_password": PASSWORD });
    eve.post("/auth/password", change).await.expect(204);
    eve.get("/users").await.expect(200);
    // Set again by the admin: the session is over at once.
    admin.patch(&format!("/users/{id}"), json!({ "password": OTHER })).await.expect(200);
    eve.get("/auth/me").await.refused(401, "credential");
    let own = admin.get("/auth/me").await.expect(200)["user"]["id"].clone();
    admin.patch(&format!("/users/{own}"), json!({ "password": OTHER })).await.refused(409, "own_password");
    site.settle().await;
}

async fn role_and_status_count_for_the_next_request(site: Site) {
    let (admin, staff) = (site.as_admin().await, site.as_staff().await);
    let id = staff.get("/auth/me").await.expect(200)["user"]["id"].clone();
    let path = format!("/users/{id}");
    staff.get("/users").await.refused(403, "role");
    admin.patch(&path, json!({ "role": "admin" })).await.expect(200);
    staff.get("/users").await.expect(200);
    admin.patch(&path, json!({ "role": "seller" })).await.expect(200);
    staff.get("/users").await.refused(403, "role");
    admin.patch(&path, json!({ "status": "disabled" })).await.wrong_fields();
    admin.patch(&path, json!({ "status": "disabled", "stop_routing": false })).await.expect(200);
    staff.get("/auth/me").await.refused(401, "credential");
    admin.patch(&path, json!({ "status": "active" })).await.expect(200);
    staff.get("/auth/me").await.refused(401, "credential");
    site.settle().await;
}

async fn a_stale_change_is_refused_and_an_absent_field_stays(site: Site) {
    let admin = site.as_admin().await;
    let id = site.user("ann", Role::Staff).await;
    let path = format!("/users/{id}");
    let version = admin.get(&path).await.expect(200)["version"].as_i64().expect("a number");
    let rename = |name: &'static str, version: i64| {
        let (admin, path) = (admin.clone(), path.clone());
        async move {
            let change = |request: reqwest::RequestBuilder| {
                request.header("If-Match", format!("\"{version}\"")).json(&json!({ "name": name }))
            };
            admin.send(reqwest::Method::PATCH, &path, change).await
        }
    };
    let after = rename("Ann", version).await.expect(200);
    assert_eq!(
        (&after["name"], &after["role"], &after["version"]),
        (&json!("Ann"), &json!("staff"), &json!(version + 1))
    );
    rename("Anna", version).await.refused(412, "stale");
    assert_eq!(admin.get(&path).await.expect(200)["name"], json!("Ann"));
    site.settle().await;
}

async fn the_last_active_admin_stays_whoever_races(site: Site) {
    let admin = site.as_admin().await;
    let own = admin.get("/auth/me").await.expect(200)["user"]["id"].clone();
    for change in [json!({ "status": "disabled" }), json!({ "role": "staff" })] {
        admin.patch(&format!("/users/{own}"), change).await.refused(409, "last_admin");
    }
    let other = site.user("eve", Role::Admin).await;
    let eve = site.as_user("eve").await;
    let disable = json!({ "status": "disabled" });
    let (of_other, of_own) = (format!("/users/{other}"), format!("/users/{own}"));
    let (one, two) = tokio::join!(admin.patch(&of_other, disable.clone()), eve.patch(&of_own, disable.clone()));
    let done = [&one, &two].into_iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1, "{} {}", one.text, two.text);
    site.settle().await;
}

const PLAN: &str = "[[sellers]]\nusername = \"acme\"\nname = \"Acme\"\n\
    [[clients]]\nidentifier = \"north\"\nname = \"North\"\nsip = { host = \"127.0.0.11\" }\n\
    [[dids]]\nnumber = \"+442071234567\"\nseller = \"acme\"\n\
    [[campaigns]]\nname = \"Solar\"\nseller = \"acme\"\nrouting_strategy = \"priority\"\ndids = [\"+442071234567\"]\n\
    [[campaigns.links]]\nclient = \"north\"\n";

async fn disabling_a_seller_says_whether_its_routing_stops(site: Site) {
    site.apply(PLAN).await;
    let admin = site.as_admin().await;
    let id = site.user("acme", Role::Seller).await;
    let path = format!("/users/{id}");
    admin.patch(&path, json!({ "role": "staff" })).await.refused(409, "owns_objects");
    let disabled = json!({ "status": "disabled" });
    assert_eq!(admin.patch(&path, disabled).await.wrong_fields(), ["stop_routing"]);
    assert_eq!(admin.patch(&path, json!({ "stop_routing": true })).await.wrong_fields(), ["stop_routing"]);
    admin.patch(&path, json!({ "status": "disabled", "stop_routing": false })).await.expect(200);
    assert_eq!(site.sql("SELECT status FROM campaigns").await.expect("read"), ["active"]);
    admin.patch(&path, json!({ "status": "active" })).await.expect(200);
    admin.patch(&path, json!({ "status": "disabled", "stop_routing": true })).await.expect(200);
    assert_eq!(site.sql("SELECT status FROM campaigns").await.expect("read"), ["paused"]);
    // And the running process follows.
    let revision = capconduit::store::snapshot::revision(&site.db).await.expect("read");
    let tokens = site.log_in("admin", PASSWORD).await;
    let outside = site.outside().with_access_token(tokens["access_token"].as_str().expect("a token"));
    loop {
        let ready: serde_json::Value = outside.get("/readyz").await.expect(200);
        if ready["details"]["routing_revision"] == json!(revision) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    site.settle().await;
}

/// Where no password is configured and nobody looks on, it is in a file for its owner alone, and good for a change of password.
async fn first_start(database: Database) {
    let random = |config: &mut Config| config.auth.admin_password = None;
    let mut site = Site::start_with(database, random).await;
    let path = site.folder().join("first-admin-password");
    let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).expect("read");
    let password = text.lines().find_map(|line| line.strip_prefix("password ")).expect("a password").to_owned();
    let tokens = site.log_in("admin", &password).await;
    assert_eq!(tokens["user"]["must_change_password"], json!(true));
    std::fs::remove_file(&path).expect("removed");
    site.restart().await;
    assert!(!path.exists(), "only the first start makes one");
    site.log_in("admin", &password).await;
    site.settle().await;
}

/// Two hosts that start at once on one new database: one makes its admin and tells the password, the other makes none.
async fn two_first_starts(database: Database) {
    let site = Site::start_with(database, |_| {}).await;
    for round in 0..5 {
        site.sql("DELETE FROM sessions").await.expect("none");
        site.sql("DELETE FROM users").await.expect("none");
        let folders = [TempDir::new().expect("a folder"), TempDir::new().expect("a folder")];
        let start = |host: usize, username: &'static str| {
            let mut config = site.config.clone();
            config.data_dir = folders[host].path().to_owned();
            config.auth.admin_password = None;
            config.auth.admin_username = username.to_owned();
            let database = config.database.clone();
            tokio::spawn(async move {
                let db = Db::connect(&database).await.expect("it opens");
                first_admin::ensure(&db, &config, Clock::start()).await
            })
        };
        // Of the same name, and of another.
        let (one, two) = (start(0, "admin"), start(1, if round % 2 == 0 { "admin" } else { "root" }));
        one.await.expect("no panic").expect("it starts");
        two.await.expect("no panic").expect("it starts");
        assert_eq!(site.sql("SELECT role FROM users").await.expect("read"), ["admin"]);
        let told = folders
            .iter()
            .filter_map(|folder| std::fs::read_to_string(folder.path().join("first-admin-password")).ok());
        let told: Vec<String> = told.collect();
        let [told] = told.as_slice() else { panic!("told {} times", told.len()) };
        let word = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).expect("a line").to_owned();
        site.log_in(&word("username "), &word("password ")).await;
    }
    site.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_first_starts_at_once_one_makes_the_admin_sqlite() {
    two_first_starts(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_first_starts_at_once_one_makes_the_admin_postgres() {
    two_first_starts(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_makes_an_admin_with_a_random_password_in_a_file_sqlite() {
    first_start(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_makes_an_admin_with_a_random_password_in_a_file_postgres() {
    first_start(Database::Postgres).await;
}

crate::on_both_databases!(
    an_admin_makes_reads_and_lists_users,
    a_password_set_by_somebody_else_is_changed_before_anything_else,
    role_and_status_count_for_the_next_request,
    a_stale_change_is_refused_and_an_absent_field_stays,
    the_last_active_admin_stays_whoever_races,
    disabling_a_seller_says_whether_its_routing_stops,
);
