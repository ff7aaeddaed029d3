//! The upkeep of the database: what a new version's steps leave for later is made, what is past its time is removed, and statistics are
//! kept.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::store::later::Completion;
use crate::store::retention::{Removal, Removed};
use crate::store::{Db, StoreError, statistics};

const EVERY: Duration = Duration::from_secs(600);
/// For each part of the time that removing takes, so many are everybody else's.
const REST: u32 = 3;

/// Again and again until `shutdown`, and from the start on: a table may have grown since it was last looked at.
pub(super) async fn run(db: Db, audit_kept: TimeDelta, clock: Clock, shutdown: CancellationToken) {
    let mut turns = interval(EVERY);
    while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
        if let Some(Err(error)) = shutdown.run_until_cancelled(complete(&db, clock)).await {
            warn!(%error, "the database lacks an index; trying again later (`capconduit migrate` makes it, too)");
        }
        match shutdown.run_until_cancelled(remove(&db, audit_kept, clock)).await {
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

/// Makes what the steps of a new version leave for later.
async fn complete(db: &Db, clock: Clock) -> Result<(), StoreError> {
    let Some(mut completion) = Completion::begin(db).await? else { return Ok(()) };
    loop {
        let begun = clock.now().mono;
        if !completion.step().await? {
            return Ok(());
        }
        sleep(rest(clock.now().mono.saturating_sub(begun))).await;
    }
}

/// Slice by slice, with a pause after each: SQLite has one writer, and whoever waits for its turn there tries again only now and then.
async fn remove(db: &Db, audit_kept: TimeDelta, clock: Clock) -> Result<Removed, StoreError> {
    let mut removal = Removal::new(audit_kept, clock.now().wall);
    loop {
        let begun = clock.now().mono;
        if !removal.slice(db).await? {
            return Ok(removal.removed());
        }
        sleep(rest(clock.now().mono.saturating_sub(begun))).await;
    }
}

/// How long others have their turn after a slice that took so long.
fn rest(took: Duration) -> Duration {
    took.saturating_mul(REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_three_quarters_of_the_time() {
        for took in [Duration::ZERO, Duration::from_micros(700), Duration::from_secs(4)] {
            assert_eq!(rest(took), (took + rest(took)) * 3 / 4);
        }
        assert_eq!(rest(Duration::MAX), Duration::MAX);
    }
}
