//! Ids of the old platform.

use reqwest::Method;
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::Traffic;

on_both_databases!(admins_set_old_ids_all_or_none_and_each_is_unique_among_its_kind);

async fn put(traffic: &Traffic, kind: &str, items: Value) -> (u16, Value) {
    traffic.send("admin", Method::PUT, &format!("/legacy_ids/{kind}"), Some(json!({ "items": items }))).await
}

fn fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.filter_map(|error| error["field"].as_str()).collect()
}

async fn admins_set_old_ids_all_or_none_and_each_is_unique_among_its_kind(site: Site) {
    let traffic = Traffic::on(site).await;
    let version = traffic.get("admin", "/campaigns/1/links/1").await["version"].as_i64().expect("a version");
    let both = json!([{"id": 1, "legacy_id": "a-1"}, {"id": 2, "legacy_id": "2"}]);
    for repeat in 0..2 {
        let (status, answer) = put(&traffic, "links", both.clone()).await;
        assert_eq!((status, &answer["items"]), (200, &both), "{answer}");
        let changed = traffic.get("admin", "/campaigns/1/links/1").await["version"].as_i64();
        assert_eq!(changed, Some(version + 1), "what changes nothing (time {repeat}) makes no version");
    }
    // Two may change theirs, and the same id may stand for something of another kind.
    let swapped = json!([{"id": 1, "legacy_id": "2"}, {"id": 2, "legacy_id": "a-1"}]);
    assert_eq!(put(&traffic, "links", swapped.clone()).await.0, 200);
    for kind in ["campaigns", "dids"] {
        assert_eq!(put(&traffic, kind, json!([{"id": 1, "legacy_id": "2"}])).await.0, 200, "{kind}");
    }
    assert_eq!(put(&traffic, "users", json!([{"id": traffic.users["acme"].0, "legacy_id": "2"}])).await.0, 200);

    let (status, problem) =
        put(&traffic, "links", json!([{"id": 3, "legacy_id": "new"}, {"id": 2, "legacy_id": "2"}])).await;
    assert_eq!((status, &problem["code"]), (409, &json!("legacy_id_taken")), "{problem}");
    for (items, wrong) in [
        (json!([{"id": 3, "legacy_id": "x"}, {"id": 99, "legacy_id": "y"}]), "items[1].id"),
        (json!([{"id": 3, "legacy_id": "x"}, {"id": 3, "legacy_id": "y"}]), "items[1].id"),
        (json!([{"id": 3, "legacy_id": "x"}, {"id": 1, "legacy_id": "x"}]), "items[1].legacy_id"),
        (json!([{"id": 3, "legacy_id": "a b"}]), "items[0].legacy_id"),
        (json!([{"id": 3, "legacy_id": "\u{0}"}]), "items[0].legacy_id"),
        (json!([{"id": 3, "legacy_id": 7}]), "items[0].legacy_id"),
    ] {
        let (status, problem) = put(&traffic, "links", items.clone()).await;
        assert!(status == 422 && fields(&problem).contains(&wrong), "{items}: {status} {problem}");
    }
    assert_eq!(traffic.get("admin", "/legacy_ids/links").await["items"], swapped, "nothing of these was done");
    assert_eq!(put(&traffic, "links", json!([{"id": 1, "legacy_id": null}])).await.0, 200);
    assert_eq!(
        traffic.get("admin", "/legacy_ids/links?limit=1").await["items"],
        json!([{"id": 2, "legacy_id": "a-1"}])
    );
    assert_eq!(put(&traffic, "clients", json!([{"id": 1, "legacy_id": "1"}])).await.0, 404, "clients have none");

    for who in ["staff", "acme"] {
        assert_eq!(traffic.refused(who, Method::GET, "/legacy_ids/links", None).await, 403, "{who}");
        assert_eq!(
            traffic.refused(who, Method::PUT, "/legacy_ids/links", Some(json!({"items": both}))).await,
            403,
            "{who}"
        );
    }
    let lines = traffic.get("admin", "/audit?limit=200").await;
    let lines = lines["items"].as_array().expect("lines").iter();
    let set: Vec<_> = lines.filter(|line| line["action"] == "legacy_id.set" && line["object"] == "link:1").collect();
    assert_eq!(set.len(), 3, "set, swapped, taken away: {set:?}");
    assert_eq!((&set[0]["before"]["legacy_id"], &set[0]["after"]["legacy_id"]), (&json!("2"), &Value::Null));
    traffic.settle().await;
}
