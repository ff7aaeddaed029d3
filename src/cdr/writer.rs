//! Brings finished records from the journal to the database in batches, off the call path.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::journal::Journal;
use super::record::CallRecord;
use crate::clock::{Clock, jitter};
use crate::store::records::Batch;
use crate::store::{Db, StoreError, records};
use crate::telemetry::name;

/// Records in one transaction at most.
pub const BATCH: usize = 1_000;
/// Records at most of which the database may have what the journal still holds, should the process be killed: those being written, and
/// those written before them, whose deletion may not be committed (it is, before the next ones are read).
pub const UNDER_WAY: usize = 2 * BATCH;
/// How long a first record waits for company.
const LINGER: Duration = Duration::from_millis(100);
/// A database that has not answered for so long does not: its connection may be one that nobody holds any more at the other end.
const SILENT: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How the writer is told to end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// No more records will come: write what is there, then return.
    pub closing: CancellationToken,
    /// The database is not waited for any longer: what it does not have stays in the journal, for the next start.
    pub give_up: CancellationToken,
}

/// Writes what waits in the journal until it is told to end.
pub async fn run(db: Db, journal: Journal, clock: Clock, ending: Ending) {
    let mut standing = journal.standing();
    let mut next = None;
    loop {
        let ready = match next.take() {
            None => read(&journal, 0).await,
            read_ahead => read_ahead,
        };
        let Some(ready) = ready else {
            metrics::gauge!(name::RECORD_LAG).set(0.0);
            tokio::select! {
                biased;
                changed = standing.wait_for(|standing| standing.waiting > 0) => if changed.is_err() { return },
                () = ending.closing.cancelled() => return,
            }
            // Either way what came is written; in company where there is time.
            drop(timeout(LINGER, ending.closing.cancelled()).await);
            continue;
        };
        let last = ready.places.last().copied().unwrap_or_default();
        // The next batch is read, and made ready, while this one is written.
        let (written, ahead) = tokio::join!(write(&db, &journal, clock, ready, &ending.give_up), read(&journal, last));
        if !written {
            return;
        }
        next = ahead;
    }
}

/// What is to be written next.
struct Ready {
    places: Vec<i64>,
    records: Vec<CallRecord>,
    batch: Batch,
}

/// The oldest records behind `after`, ready to be written; `None` where there are none.
async fn read(journal: &Journal, after: i64) -> Option<Ready> {
    let waiting = journal.oldest(after, BATCH).await;
    if waiting.is_empty() {
        return None;
    }
    let prepare = move || {
        let (places, records): (Vec<i64>, Vec<CallRecord>) =
            waiting.into_iter().map(|it| (it.place, it.record)).unzip();
        let batch = Batch::of(&records);
        Ready { places, records, batch }
    };
    // A thousand records take milliseconds, which no call shall wait for.
    match tokio::task::spawn_blocking(prepare).await {
        Ok(ready) => Some(ready),
        // The runtime ends, or it has panicked, and so do we.
        Err(died) => died.try_into_panic().map_or(None, |panic| std::panic::resume_unwind(panic)),
    }
}

/// Writes one batch, whatever that takes; `false` when it was given up. Writing is idempotent by call id, so a batch whose outcome is
/// unknown is simply written again.
async fn write(db: &Db, journal: &Journal, clock: Clock, ready: Ready, give_up: &CancellationToken) -> bool {
    let Ready { places, records, batch } = ready;
    let mut wait = RETRY_FIRST;
    let mut tries = 0_u32;
    loop {
        metrics::gauge!(name::RECORD_LAG).set(lag(&records, clock).as_secs_f64());
        // Dropping a write half-way is safe: it is one transaction, and idempotent.
        let Some(written) = give_up.run_until_cancelled(timeout(SILENT, records::write_batch(db, &batch))).await else {
            return false;
        };
        let Err(failed) = written.unwrap_or(Err(StoreError::Silent(SILENT))) else {
            metrics::counter!(name::RECORDS_WRITTEN).increment(records.len() as u64);
            if tries > 0 {
                info!(records = records.len(), tries, "records written after all");
            }
            journal.written(places);
            return true;
        };
        metrics::counter!(name::RECORD_FAILURES).increment(1);
        if failed.is_refusal() && one_by_one(db, journal, &places, &records).await.is_ok() {
            return true;
        }
        tries += 1;
        // Once per outage: the lag is a metric.
        if tries == 1 {
            warn!(error = %failed, records = records.len(), "records cannot be written; they wait in the journal");
        }
        if give_up.run_until_cancelled(sleep(wait.mul_f64(0.5 + jitter() / 2.0))).await.is_none() {
            return false;
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// One record that the database refuses must not keep the others from being written: it is set aside.
async fn one_by_one(db: &Db, journal: &Journal, places: &[i64], records: &[CallRecord]) -> Result<(), StoreError> {
    for (place, record) in places.iter().zip(records) {
        match records::write(db, std::slice::from_ref(record)).await {
            Ok(_) => journal.written(vec![*place]),
            Err(refused) if refused.is_refusal() => {
                error!(call = %record.call_id, error = %refused, "the database refuses this record: it is kept in the journal's table set_aside");
                metrics::counter!(name::RECORDS_SET_ASIDE).increment(1);
                journal.set_aside(*place, refused.to_string());
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// How long ago the oldest call of the batch ended.
fn lag(records: &[CallRecord], clock: Clock) -> Duration {
    let oldest = records.iter().map(|record| record.ended_at).min();
    oldest.and_then(|ended| (clock.now().wall - ended).to_std().ok()).unwrap_or_default()
}
