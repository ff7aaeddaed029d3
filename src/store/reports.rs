//! Reports, long lists and exports: connections and places of their own, so that whoever asks for much keeps nobody from logging in; and an
//! end for each, when its time is up or nobody waits for it any more.

mod lanes;
mod log;
mod places;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::lanes::{Lanes, Taken};
use self::log::{Log, Reading};
use self::places::{Kind, Place, Places};
use super::{Db, StoreError};
use crate::config::Limits;
use crate::id::UserId;

pub use lanes::Lane;

/// How long a list waits for its place and its connection together, and a report for its connection: others are read in milliseconds.
const WAITS: Duration = Duration::from_secs(2);
/// How often a query is told to end until it has. One that stands between two statements hears nothing.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often at most: then nothing is known of its connection, which is left alone.
const TELL_AT_MOST: u32 = 40;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The asker has as many under way as there may be of one user.
    #[error("the user has {0} reports under way")]
    OwnPlaces(usize),
    /// All users together have as many under way as there may be.
    #[error("all places for reports are taken")]
    AllPlaces,
    /// What is quickly read takes long at present, or as many are under way as there may be.
    #[error("what is quickly read takes long at present")]
    Busy,
    /// It took longer than it may.
    #[error("the report took longer than {} s", .0.as_secs_f64())]
    TooLong(Duration),
    /// Nobody waits for it any more.
    #[error("nobody waits for the report any more")]
    Abandoned,
    /// As for everything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The main database for what reads much of it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reports(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where a query that runs is told to end.
    core: Db,
    places: Places,
    lanes: Arc<Lanes>,
    /// SQLite's write-ahead log.
    log: Option<Log>,
    limits: Limits,
}

/// How many connections there are at most for reports and exports.
pub(crate) const fn connections(limits: &Limits) -> usize {
    Places::count(limits.reports) + limits.exports
}

impl Reports {
    /// On the same database as `core`, with as many connections as there may be reports, lists and exports. None is made before it is
    /// needed.
    #[must_use]
    pub fn of(core: &Db, limits: Limits) -> Self {
        Self::with_log(core, limits, log::AT_MOST)
    }

    fn with_log(core: &Db, limits: Limits, log_at_most: u64) -> Self {
        Self(Arc::new(Shared {
            core: core.clone(),
            places: Places::new(limits.reports, limits.reports_per_user),
            lanes: Arc::new(Lanes::of(core, connections(&limits), limits.report)),
            log: Log::of(core, log_at_most),
            limits,
        }))
    }

    /// Carries out a report of `asker`, where there is a place for it at once.
    pub(super) async fn report<T, F, W>(&self, asker: UserId, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let admitted = self.admit(Kind::Report, asker).await?;
        self.run(admitted, Reading::Long, work).await
    }

    /// Reads a list for `asker`, which waits a moment for its place.
    pub(super) async fn list<T, F, W>(&self, asker: UserId, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let admitted = self.admit(Kind::List, asker).await?;
        self.run(admitted, Reading::Short, work).await
    }

    /// Reads what is found in milliseconds whatever else is asked for, in a place that is no user's.
    pub(super) async fn quick<T, F, W>(&self, asker: UserId, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let admitted = self.admit(Kind::Quick, asker).await?;
        self.run(admitted, Reading::Short, work).await
    }

    /// Reads the next part of an export, which has a place of its own (`limits.exports`).
    pub(super) async fn part<T, F, W>(&self, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        // Longer than others: a file that is cut off has to be asked for anew.
        let taken = timeout(self.0.core.wait, self.0.lanes.take()).await.map_err(|_| ReportError::AllPlaces)?;
        self.run((None, taken.ok_or(ReportError::Abandoned)?), Reading::Long, work).await
    }

    /// Place and connection, for both of which it waits no longer than [`WAITS`].
    async fn admit(&self, kind: Kind, asker: UserId) -> Result<Admitted, ReportError> {
        let mut lacking = ReportError::AllPlaces;
        let admitted = async {
            let place = self.0.places.take(kind, asker, &mut lacking).await?;
            let taken = self.0.lanes.take().await.ok_or(ReportError::Abandoned)?;
            Ok((Some(place), taken))
        };
        let admitted = timeout(WAITS, admitted).await;
        admitted.unwrap_or(Err(lacking))
    }

    /// On a task of its own: when this future is dropped, that ends the query, and gives place and connection back once it has ended.
    async fn run<T, F, W>(&self, (place, taken): Admitted, reading: Reading, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let abandoned = CancellationToken::new();
        let _waits = abandoned.clone().drop_guard();
        let shared = Arc::clone(&self.0);
        let carried_out = tokio::spawn(async move {
            let done = shared.carry_out(taken, reading, work, &abandoned).await;
            drop(place);
            done
        });
        match carried_out.await {
            Ok(done) => done,
            // As if it had been carried out here; only the end of the runtime cancels it.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ReportError::Abandoned),
            },
        }
    }

    /// Closes its connections; SQLite folds its write-ahead log into the file with the last one.
    pub async fn close(&self) {
        self.0.lanes.close().await;
    }
}

/// A place, where it has one of its own, and a connection.
type Admitted = (Option<Place>, Taken);

impl Shared {
    async fn carry_out<T, F, W>(
        &self,
        mut taken: Taken,
        reading: Reading,
        work: F,
        abandoned: &CancellationToken,
    ) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W,
        W: Future<Output = Result<T, StoreError>>,
    {
        let _reads = match &self.log {
            // No longer than those under way may take.
            Some(log) => tokio::select! {
                reads = timeout(self.limits.report + TELL_EVERY * TELL_AT_MOST, log.enter(reading)) => reads.ok(),
                () = abandoned.cancelled() => return Err(ReportError::Abandoned),
            },
            None => None,
        };
        let lane = taken.lane();
        let mut work = pin!(work(lane.clone()));
        let ended = tokio::select! {
            done = &mut work => return done.map_err(|error| self.read(error)),
            () = sleep(self.limits.report) => ReportError::TooLong(self.limits.report),
            () = abandoned.cancelled() => ReportError::Abandoned,
        };
        for _ in 0..TELL_AT_MOST {
            lane.tell_to_end(&self.core).await;
            if timeout(TELL_EVERY, &mut work).await.is_ok() {
                return Err(ended);
            }
        }
        tracing::warn!("a report's query does not end; its connection is given up");
        taken.give_up();
        Err(ended)
    }

    /// PostgreSQL may look at its clock before we look at ours.
    fn read(&self, error: StoreError) -> ReportError {
        if error.was_ended() { ReportError::TooLong(self.limits.report) } else { error.into() }
    }
}
