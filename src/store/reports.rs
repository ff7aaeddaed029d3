//! Reports, long lists and exports: connections and places of their own, so that whoever asks for much keeps nobody from logging in; and an
//! end for each, when its time is up or nobody waits for it any more.

mod lanes;
mod places;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::lanes::Lanes;
use self::places::{Place, Places};
use super::{Db, StoreError};
use crate::config::Limits;
use crate::id::UserId;

pub use lanes::Lane;

/// How long a list waits for a place: others are read in milliseconds.
const LIST_WAITS: Duration = Duration::from_secs(2);
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
    /// It took longer than it may.
    #[error("the report took longer than {} s", .0.as_secs())]
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
    lanes: Lanes,
    limits: Limits,
}

impl Reports {
    /// On the same database as `core`, with as many connections as there may be reports and exports. None is made before it is needed.
    #[must_use]
    pub fn of(core: &Db, limits: Limits) -> Self {
        let lanes = Lanes::of(core, limits.reports + limits.exports, limits.report);
        Self(Arc::new(Shared {
            core: core.clone(),
            places: Places::new(limits.reports, limits.reports_per_user),
            lanes,
            limits,
        }))
    }

    /// The connections of all else.
    pub(super) fn core(&self) -> &Db {
        &self.0.core
    }

    /// Carries out a report of `asker`, where there is a place for it at once.
    pub(super) async fn report<T, F, W>(&self, asker: UserId, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let place = self.0.places.take(asker, Duration::ZERO).await?;
        self.run(Some(place), work).await
    }

    /// Reads a list for `asker`, which waits a moment for its place.
    pub(super) async fn list<T, F, W>(&self, asker: UserId, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let place = self.0.places.take(asker, LIST_WAITS).await?;
        self.run(Some(place), work).await
    }

    /// Reads the next part of an export, which has a place of its own (`limits.exports`).
    pub(super) async fn part<T, F, W>(&self, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        self.run(None, work).await
    }

    /// On a task of its own: when this future is dropped, that ends the query, and gives place and connection back once it has ended.
    async fn run<T, F, W>(&self, place: Option<Place>, work: F) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W + Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send,
        T: Send + 'static,
    {
        let abandoned = CancellationToken::new();
        let _waits = abandoned.clone().drop_guard();
        let shared = Arc::clone(&self.0);
        let carried_out = tokio::spawn(async move {
            let done = shared.carry_out(work, &abandoned).await;
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

impl Shared {
    async fn carry_out<T, F, W>(&self, work: F, abandoned: &CancellationToken) -> Result<T, ReportError>
    where
        F: FnOnce(Lane) -> W,
        W: Future<Output = Result<T, StoreError>>,
    {
        let mut taken = self.lanes.take().await?;
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
