//! Answers that go on for long, streams and exports: how many there may be at once, and that each ends when its caller's right does.
//!
//! One look at the database, a few times a second, serves all of them: it sees what other processes change as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use uuid::Uuid;

use super::error::ApiError;
use crate::auth::principal::{Credential, Principal};
use crate::clock::Clock;
use crate::config::Config;
use crate::id::UserId;
use crate::in_force::InForce;
use crate::store::standing::{self, Standing};
use crate::store::{Db, StoreError};

/// How often rights are looked at: a lost one counts within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the database may leave rights unknown before everything ends.
const UNKNOWN_AT_MOST: Duration = Duration::from_secs(3);

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stream,
    Export,
}

/// All answers that go on; one per process.
#[derive(Debug)]
pub struct Visits {
    db: Db,
    clock: Clock,
    config: InForce<Config>,
    shutdown: CancellationToken,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug, Clone)]
struct Open {
    kind: Kind,
    credential: Credential,
    /// As its user was when it began.
    standing: Standing,
    /// End of the access token.
    until: Option<DateTime<Utc>>,
    ended: CancellationToken,
}

/// One answer that goes on. Its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    visits: Arc<Visits>,
    id: u64,
    ended: CancellationToken,
}

impl Visit {
    /// Waits until it must end: the caller's right has ended or changed, or the process stops.
    pub(super) fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }

    /// Whether it must end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visits.open().remove(&self.id);
    }
}

impl Visits {
    /// None yet. They all end with `shutdown`.
    #[must_use]
    pub fn new(db: Db, clock: Clock, config: InForce<Config>, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self { db, clock, config, shutdown, next: AtomicU64::new(0), open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one. `until`: end of the caller's access token.
    pub(super) async fn begin(
        self: &Arc<Self>,
        kind: Kind,
        principal: &Principal,
        until: Option<DateTime<Utc>>,
    ) -> Result<Visit, ApiError> {
        let credential = principal.credential;
        let (sessions, tokens) = split([credential].iter());
        let standings = look(&self.db, &sessions, &tokens, self.clock.now().wall).await?;
        // Since the request was let in, its right may have ended.
        let standing = standings.of(credential).filter(|standing| standing.role == principal.role);
        let standing = standing
            .ok_or_else(|| ApiError::unauthorized("credential", "The token is not good (any more): log in again."))?;
        let ended = self.shutdown.child_token();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open();
        self.has_room(kind, principal.user, &open)?;
        open.insert(id, Open { kind, credential, standing, until, ended: ended.clone() });
        drop(open);
        Ok(Visit { visits: Arc::clone(self), id, ended })
    }

    fn has_room(&self, kind: Kind, user: UserId, open: &HashMap<u64, Open>) -> Result<(), ApiError> {
        let limits = self.config.now().limits;
        let (most, most_of_user, code, what) = match kind {
            Kind::Stream => (limits.streams, limits.streams_per_user, "too_many_streams", "event streams"),
            Kind::Export => (limits.exports, limits.exports_per_user, "too_many_exports", "exports"),
        };
        let of_kind = || open.values().filter(|visit| visit.kind == kind);
        // As long as it takes to notice that the reader of an idle stream has gone: two comments.
        let wait = Duration::from_secs(30);
        if of_kind().filter(|visit| visit.standing.user == user).count() >= most_of_user {
            let detail = format!("You have {most_of_user} {what} open already: end one first.");
            return Err(ApiError::too_many(code, detail, wait));
        }
        if of_kind().count() >= most {
            return Err(ApiError::too_many(code, format!("There are too many {what} at the moment."), wait));
        }
        Ok(())
    }

    /// Ends those whose right has ended or changed, until the shutdown.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known_at = self.clock.now().mono;
        while self.shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            let asked: Vec<_> = self.open().iter().map(|(id, visit)| (*id, visit.clone())).collect();
            let (sessions, tokens) = split(asked.iter().map(|(_, visit)| &visit.credential));
            let now = self.clock.now();
            match timeout(UNKNOWN_AT_MOST, look(&self.db, &sessions, &tokens, now.wall)).await {
                Ok(Ok(standings)) => {
                    known_at = now.mono;
                    let gone = |visit: &Open| standings.of(visit.credential) != Some(visit.standing);
                    let late = |visit: &Open| visit.until.is_some_and(|until| until <= now.wall);
                    asked
                        .iter()
                        .filter(|(_, visit)| gone(visit) || late(visit))
                        .for_each(|(_, visit)| visit.ended.cancel());
                }
                Ok(Err(_)) | Err(_) if self.clock.now().mono.saturating_sub(known_at) >= UNKNOWN_AT_MOST => {
                    if !asked.is_empty() {
                        tracing::warn!(count = asked.len(), "rights cannot be looked at: streams and exports end");
                    }
                    asked.iter().for_each(|(_, visit)| visit.ended.cancel());
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

struct Standings {
    sessions: HashMap<Uuid, Standing>,
    tokens: HashMap<i64, Standing>,
}

impl Standings {
    fn of(&self, credential: Credential) -> Option<Standing> {
        match credential {
            Credential::Session(id) => self.sessions.get(&id).copied(),
            Credential::Token { id, .. } => self.tokens.get(&id).copied(),
        }
    }
}

fn split<'a>(credentials: impl Iterator<Item = &'a Credential>) -> (Vec<Uuid>, Vec<i64>) {
    let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
    for credential in credentials {
        match credential {
            Credential::Session(id) => sessions.push(*id),
            Credential::Token { id, .. } => tokens.push(*id),
        }
    }
    (sessions, tokens)
}

async fn look(db: &Db, sessions: &[Uuid], tokens: &[i64], now: DateTime<Utc>) -> Result<Standings, StoreError> {
    Ok(Standings {
        sessions: standing::of_sessions(db, sessions, now).await?,
        tokens: standing::of_tokens(db, tokens, now).await?,
    })
}
