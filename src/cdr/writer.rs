//! Writes finished calls to the database in batches, off the call path.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::record::CallRecord;
use crate::clock::{Clock, jitter};
use crate::store::{Db, records};
use crate::telemetry::name;

/// Records in one transaction at most.
const BATCH: usize = 500;
/// How long a first record waits for company.
const LINGER: Duration = Duration::from_millis(100);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How the writer is told to end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// No more records will come: write what is there, then return.
    pub closing: CancellationToken,
    /// A database that is away is not waited for any longer: what cannot be written is logged whole.
    pub give_up: CancellationToken,
}

/// Writes what comes until it is told to end.
pub async fn run(db: Db, clock: Clock, mut finished: mpsc::UnboundedReceiver<CallRecord>, ending: Ending) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let more = tokio::select! {
            biased;
            count = finished.recv_many(&mut batch, BATCH) => count > 0,
            // Calls that go on without us keep their senders, so the end of the channel cannot be waited for.
            () = ending.closing.cancelled() => false,
        };
        if !more {
            return;
        }
        if batch.len() < BATCH && !ending.closing.is_cancelled() {
            fill(&mut batch, &mut finished).await;
        }
        metrics::gauge!(name::RECORDS_WAITING).set(as_gauge(batch.len() + finished.len()));
        write(&db, clock, &batch, &ending.give_up).await;
        batch.clear();
        metrics::gauge!(name::RECORD_LAG).set(0.0);
        metrics::gauge!(name::RECORDS_WAITING).set(as_gauge(finished.len()));
    }
}

async fn fill(batch: &mut Vec<CallRecord>, finished: &mut mpsc::UnboundedReceiver<CallRecord>) {
    let more = async {
        while batch.len() < BATCH {
            match finished.recv().await {
                Some(record) => batch.push(record),
                None => return,
            }
        }
    };
    // Either way the batch holds what came.
    drop(timeout(LINGER, more).await);
}

/// Writing is idempotent by call id, so a batch whose outcome is unknown is simply written again.
async fn write(db: &Db, clock: Clock, batch: &[CallRecord], give_up: &CancellationToken) {
    let mut wait = RETRY_FIRST;
    let mut tries = 0_u32;
    loop {
        metrics::gauge!(name::RECORD_LAG).set(lag(batch, clock).as_secs_f64());
        let written = tokio::select! {
            written = records::write(db, batch) => written.map_err(|error| error.to_string()),
            // Dropping a write half-way is safe: it is one transaction, and idempotent.
            () = give_up.cancelled() => Err("no answer from the database".to_owned()),
        };
        let Err(failed) = written else {
            metrics::counter!(name::RECORDS_WRITTEN).increment(batch.len() as u64);
            if tries > 0 {
                info!(records = batch.len(), tries, "records written after all");
            }
            return;
        };
        tries += 1;
        metrics::counter!(name::RECORD_FAILURES).increment(1);
        if give_up.is_cancelled() {
            error!(error = %failed, records = ?batch, "the database is away and we must stop: these records stand here only");
            return;
        }
        warn!(error = %failed, records = batch.len(), tries, "records could not be written; trying again");
        tokio::select! {
            () = sleep(wait.mul_f64(0.5 + jitter() / 2.0)) => {}
            () = give_up.cancelled() => {}
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// How long ago the oldest call of the batch ended.
fn lag(batch: &[CallRecord], clock: Clock) -> Duration {
    let oldest = batch.iter().map(|record| record.ended_at).min();
    oldest.and_then(|ended| (clock.now().wall - ended).to_std().ok()).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 records do not fit into memory")]
fn as_gauge(count: usize) -> f64 {
    count as f64
}
