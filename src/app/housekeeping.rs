//! The upkeep of the database: what is past its time is removed, and statistics are kept.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::store::{Db, retention, statistics};

const EVERY: Duration = Duration::from_secs(600);

/// Again and again until `shutdown`, and from the start on: a table may have grown since it was last looked at.
pub(super) async fn run(db: Db, audit_kept: TimeDelta, clock: Clock, shutdown: CancellationToken) {
    let mut turns = interval(EVERY);
    while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
        let pruned = retention::prune(&db, audit_kept, clock.now().wall);
        match shutdown.run_until_cancelled(pruned).await {
            Some(Ok(removed)) => debug!(?removed, "what was past its time is removed"),
            Some(Err(error)) => {
                warn!(%error, "what is past its time could not be removed; trying again later");
            }
            None => {}
        }
        if let Some(Err(error)) = shutdown.run_until_cancelled(statistics::keep(&db)).await {
            warn!(%error, "the database's statistics could not be brought up to date; trying again later");
        }
    }
}
