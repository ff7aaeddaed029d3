//! Changes that other processes commit to PostgreSQL are heard of.

use std::sync::Arc;
use std::time::Duration;

use capconduit::plan::Document;
use capconduit::store::{apply, listen};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::helpers::{Home, sql};
use crate::patience::PATIENCE;

const LISTENERS: &str = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'capconduit listener' \
    AND query LIKE 'LISTEN%' AND datname = current_database()";

async fn listener(home: &Home) -> String {
    let found = async {
        loop {
            if let Some(pid) = sql(home, LISTENERS).await.expect("read").pop() {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it listens")
}

async fn told(heard: &Notify) {
    tokio::time::timeout(PATIENCE, heard.notified()).await.expect("it is told");
}

/// Nobody looks here: what is told was heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_another_process_is_heard_also_after_the_connection_was_lost() {
    let home = Home::postgres();
    let (here, there) = (home.migrated().await, home.connect().await);
    let (heard, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let listening = tokio::spawn(listen::run(here.clone(), Arc::clone(&heard), stop.clone()));
    told(&heard).await;
    let change = async |name: &str| {
        let document =
            Document::parse(&format!("[[sellers]]\nusername = \"acme\"\nname = \"{name}\"\n")).expect("a plan");
        apply::apply(&there, &home.realtime(), &Default::default(), &document, true).await.expect("applied");
    };
    change("One").await;
    told(&heard).await;
    let pid = listener(&home).await;
    sql(&home, &format!("SELECT pg_terminate_backend({pid})::text")).await.expect("its connection is cut");
    // When it listens again it tells, because it may have missed something.
    told(&heard).await;
    assert_ne!(listener(&home).await, pid);
    change("Two").await;
    told(&heard).await;
    stop.cancel();
    listening.await.expect("it stops");
}
