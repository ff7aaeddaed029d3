//! Exports: how many at once, how long, and that they end with the right to them.

use std::time::Duration;

use capconduit::cdr::record::CallRecord;
use capconduit::id::CallId;
use capconduit::store::records;
use reqwest::Response;
use serde_json::json;

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::patience::PATIENCE;
use crate::site::{Database, Site};
use crate::traffic::{OWN, Traffic};

on_both_databases!(an_export_ends_with_the_right_to_it_and_is_seen_to_be_cut_off);

const PATH: &str = "/calls/export?format=ndjson";

/// More calls of acme than sockets and buffers hold: an export that is not read does not end.
async fn with_many_calls(site: Site) -> Traffic {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::busy());
    traffic.call(OWN).ended().await;
    let template = traffic.records(1).await.remove(0);
    let name = "n".repeat(16_000);
    let call = |n: i64| CallRecord {
        call_id: CallId::derive(template.arrived_at, "pbx", &n.to_string()),
        arrived_at: template.arrived_at - chrono::Duration::seconds(n + 1),
        caller_name: Some(name.clone()),
        attempts: vec![],
        ..template.clone()
    };
    for batch in 0..4 {
        let calls: Vec<_> = (batch * 500..(batch + 1) * 500).map(call).collect();
        records::write(&traffic.site.db, &calls).await.expect("written");
    }
    traffic
}

/// Reads to where it ends.
async fn rest(mut response: Response) -> String {
    let mut text = Vec::new();
    loop {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("it goes on or ends");
        match chunk {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) | Err(_) => return String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

async fn an_export_ends_with_the_right_to_it_and_is_seen_to_be_cut_off(site: Site) {
    let traffic = with_many_calls(site).await;
    let mut exports = Vec::new();
    for _ in 0..2 {
        let mut export = traffic.open("acme", PATH).await;
        assert_eq!(export.status(), 200);
        assert!(export.chunk().await.expect("no error").is_some(), "it has begun");
        exports.push(export);
    }
    let refused = traffic.open("acme", PATH).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.text().await.expect("text").contains("too_many_exports"));
    assert_eq!(traffic.open("rival", PATH).await.text().await.expect("whole"), "{\"rows\":0}\n");
    // The same look at rights that ends the stream ends the exports.
    let mut stream = traffic.open("acme", "/live/events").await;
    let admin = traffic.site.as_admin().await;
    let disable = json!({ "status": "disabled", "stop_routing": false });
    admin.patch(&format!("/users/{}", traffic.users["acme"]), disable).await.expect(200);
    let end = async { while stream.chunk().await.expect("no error").is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
    for export in exports {
        let text = rest(export).await;
        assert!(!text.contains("\"rows\":"), "{} bytes came, and the count", text.len());
    }
    traffic.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_takes_too_long_is_cut_off() {
    let soon = Duration::from_millis(50);
    let site = Site::start_with(Database::Sqlite, |config| config.limits.export = soon).await;
    let traffic = with_many_calls(site).await;
    for (format, count) in [("csv", "\nrows,"), ("ndjson", "\"rows\":")] {
        // On a busy machine it is cut off before its first byte.
        if let Ok(begun) = traffic.try_open("acme", &format!("/calls/export?format={format}")).await {
            let text = rest(begun).await;
            assert!(!text.contains(count), "{} bytes came, and the count", text.len());
        }
    }
    traffic.settle().await;
}
