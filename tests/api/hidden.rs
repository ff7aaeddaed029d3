//! Characters that are not seen, or turn what is seen around: refused in names, readable where they are stored already.

use reqwest::Method;
use serde_json::json;

use crate::site::Site;

const SPOOFS: [&str; 10] = [
    "So\u{202e}lar",
    "So\u{200b}lar",
    "So\u{2060}lar",
    "So\u{feff}lar",
    "So\u{2028}lar",
    "So\u{2029}lar",
    "So\u{2066}lar",
    "So\u{e0041}lar",
    "So\u{200c}lar",
    "So\u{fe0f}lar",
];
const GOOD: &str = "می\u{200c}خواهم क\u{94d}\u{200d}ष";

async fn names_hide_nothing_and_join_their_letters(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    for name in SPOOFS {
        let client = json!({ "client_identifier": "north", "name": name, "sip": { "host": "127.0.0.9" } });
        let masked =
            json!({ "client_identifier": "north", "name": "N", "mask_name": name, "sip": { "host": "127.0.0.9" } });
        let contact =
            json!({ "client_identifier": "north", "name": "N", "contact": name, "sip": { "host": "127.0.0.9" } });
        let user = json!({ "username": "eve", "name": name, "role": "staff" });
        let token = json!({ "name": name, "scope": "read" });
        for (caller, path, body, field) in [
            (&acme, "/campaigns", json!({ "name": name }), "name"),
            (&acme, "/auth/tokens", token, "name"),
            (&admin, "/clients", client, "name"),
            (&admin, "/clients", masked, "mask_name"),
            (&admin, "/clients", contact, "contact"),
            (&admin, "/users", user, "name"),
        ] {
            let answer = caller.post(path, body).await;
            assert_eq!(answer.wrong_fields(), [field], "{path} {name:?}");
            assert!(answer.text.contains("U+"), "it is named: {}", answer.text);
        }
    }
    assert_eq!(acme.post("/campaigns", json!({ "name": GOOD })).await.expect(201)["name"], GOOD);
    site.settle().await;
}

async fn what_is_stored_already_is_read_and_changed_in_all_else(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let campaign = acme.post("/campaigns", json!({ "name": "Solar" })).await.expect(201)["id"].clone();
    let client = json!({ "client_identifier": "north", "name": "North", "sip": { "host": "127.0.0.9" } });
    let client = admin.post("/clients", client).await.expect(201)["id"].clone();
    let user = site.user("eve", capconduit::auth::roles::Role::Staff).await;
    let old = SPOOFS[0];
    for change in [
        format!("UPDATE campaigns SET name = '{old}'"),
        format!("UPDATE clients SET name = '{old}', mask_name = '{old}', contact = '{old}'"),
        format!("UPDATE users SET name = '{old}' WHERE id = {user}"),
    ] {
        site.sql(&change).await.expect("as an earlier version left it");
    }
    for (caller, path, other) in [
        (&acme, format!("/campaigns/{campaign}"), json!({ "max_concurrency": 3 })),
        (&admin, format!("/clients/{client}"), json!({ "max_concurrency": 3 })),
        (&admin, format!("/users/{user}"), json!({ "role": "admin" })),
    ] {
        let read = caller.get(&path).await.expect(200);
        assert_eq!(read["name"], old, "{path}");
        let mut same = other.clone();
        same["name"] = json!(old);
        for change in [other, same] {
            let changed = caller.send(Method::PATCH, &path, |request| request.json(&change)).await.expect(200);
            assert_eq!(changed["name"], old);
        }
        let worse = caller.patch(&path, json!({ "name": SPOOFS[1] })).await;
        assert_eq!(worse.wrong_fields(), ["name"], "{path}");
        assert_eq!(caller.patch(&path, json!({ "name": "Solar" })).await.expect(200)["name"], "Solar");
    }
    site.settle().await;
}

async fn a_plan_brings_no_new_ones_and_keeps_what_is_stored(site: Site) {
    let plan = |name: &str| format!("[[sellers]]\nusername = \"acme\"\nname = \"{name}\"\n");
    let refused = site.try_apply(&plan(SPOOFS[0])).await.expect_err("it is new");
    assert!(refused.contains("sellers[\"acme\"].name") && refused.contains("U+202E"), "{refused}");
    site.apply(&plan("Acme")).await;
    site.sql(&format!("UPDATE users SET name = '{}' WHERE username = 'acme'", SPOOFS[0])).await.expect("as it was");
    site.apply(&format!("{}status = \"disabled\"\n", plan(SPOOFS[0]))).await;
    site.settle().await;
}

crate::on_both_databases!(
    names_hide_nothing_and_join_their_letters,
    what_is_stored_already_is_read_and_changed_in_all_else,
    a_plan_brings_no_new_ones_and_keeps_what_is_stored,
);
