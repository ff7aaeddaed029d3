//! A database that takes no changes, as after a failover that nobody has finished: calls go on, and it is said what does not.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::Behaviour;
use crate::patience::PATIENCE;
use crate::site::{Database, Site};
use crate::traffic::{OWN, Traffic};

async fn until_ready(traffic: &Traffic, ready: u16) {
    let outside = traffic.site.outside();
    let poll = async {
        while outside.get("/readyz").await.status != ready {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("readyz is not {ready}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_refused_with_a_sentence_calls_go_on_and_their_records_wait() {
    let traffic = Traffic::on(Site::start(Database::Postgres).await).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    until_ready(&traffic, 200).await;
    traffic.site.read_only(true).await;
    until_ready(&traffic, 503).await;

    let change = Some(json!({ "name": "Wind" }));
    let (status, refusal) = traffic.send("admin", Method::PATCH, "/campaigns/1", change.clone()).await;
    assert_eq!((status, &refusal["code"]), (503, &json!("read_only")), "{refusal}");
    assert!(refusal["detail"].as_str().is_some_and(|detail| detail.contains("takes no changes")), "{refusal}");
    let call = traffic.call(OWN);
    call.answered().await;
    call.hang_up();
    let told = traffic.site.outside().with_api_token(traffic.key("admin")).get("/readyz").await;
    let details = serde_json::from_str::<Value>(&told.text).expect("JSON")["details"].clone();
    assert_eq!((told.status.as_u16(), &details["database"]), (503, &json!(true)), "it answers: {details}");
    assert_eq!(details["database_read_only"], true, "{details}");

    traffic.site.read_only(false).await;
    until_ready(&traffic, 200).await;
    traffic.records(1).await;
    let (status, changed) = traffic.send("admin", Method::PATCH, "/campaigns/1", change).await;
    assert_eq!(status, 200, "{changed}");
    traffic.settle().await;
}
