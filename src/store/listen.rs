//! Hears of changes of the configuration that any process commits to PostgreSQL: a trigger on `routing_revision` tells. Who is told
//! looks for itself; nothing is lost when a message is, because it looks now and then anyway.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Db;

/// As in the trigger's migration.
const CHANNEL: &str = "capconduit_routing";
/// Name of the connection in `pg_stat_activity`.
const APPLICATION: &str = "capconduit listener";
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MOST: Duration = Duration::from_secs(10);

/// Tells `heard` of every change, and whenever changes may have been missed, until `shutdown`. With SQLite there is nothing to hear.
pub async fn run(db: Db, heard: Arc<Notify>, shutdown: CancellationToken) {
    if db.is_postgres() {
        let options = db.connection.get_postgres_connection_pool().connect_options();
        let options = options.as_ref().clone().application_name(APPLICATION);
        shutdown.run_until_cancelled(listen(options, db.wait, &heard)).await;
    }
}

/// For ever: connects again, after growing waits, when the connection is lost.
async fn listen(options: PgConnectOptions, wait_for_it: Duration, heard: &Notify) {
    let mut wait = WAIT_FIRST;
    loop {
        match connect(&options, wait_for_it).await {
            Ok(listener) => {
                tracing::debug!("changes of other processes are heard");
                wait = WAIT_FIRST;
                let lost = hear(listener, heard).await;
                tracing::warn!(error = lost, "changes of other processes are not heard, only looked for");
            }
            // The loss was told before, and the database's absence is told by whoever needs more of it.
            Err(error) => tracing::debug!(%error, "changes of other processes cannot be heard yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MOST);
    }
}

/// A connection of its own: it must not take the pool's.
async fn connect(options: &PgConnectOptions, wait: Duration) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).acquire_timeout(wait);
    let mut listener = PgListener::connect_with(&pool.connect_with(options.clone()).await?).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Hears until the connection is lost; why it was.
async fn hear(mut listener: PgListener, heard: &Notify) -> String {
    // What was committed before it listened.
    heard.notify_one();
    loop {
        match listener.try_recv().await {
            Ok(Some(_)) => heard.notify_one(),
            Ok(None) => return "the connection was closed".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}
