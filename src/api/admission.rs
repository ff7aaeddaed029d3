//! Who calls is found out once for each request, and how much each may ask: a user over all its sessions and tokens, and an address
//! that no user is known by.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poem::{Endpoint, Request, Result};

use super::State;
use super::error::ApiError;
use super::rates::{Buckets, Rate};
use super::security::{self, Known};
use crate::auth::throttle;
use crate::config;
use crate::id::UserId;

/// What asks for nothing dear, and must answer however busy it is here: with a credential they count, as that is looked up.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// Has a token of its own, which is compared and not looked up.
const METRICS: &str = "/metrics";
/// Numbers that a seller asked for and cannot have: so many at once, and then one in so long. Each tells that somebody has it.
const GUESSES: Rate = Rate { each: Duration::from_secs(180), burst: 20 };

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    User(UserId),
    /// `None`: a peer without address.
    Address(Option<IpAddr>),
}

/// What was asked lately, over the whole process.
#[derive(Debug)]
pub(super) struct Rates {
    requests: Mutex<Buckets<Subject>>,
    guesses: Mutex<Buckets<UserId>>,
}

impl Rates {
    pub(super) fn new(config: &config::Api) -> Self {
        let each = Duration::from_secs(1) / config.requests_per_second.max(1);
        let requests = Buckets::new(Rate { each, burst: config.burst.max(1) });
        Self { requests: Mutex::new(requests), guesses: Mutex::new(Buckets::new(GUESSES)) }
    }

    /// Refuses a seller that has asked for too many numbers that it cannot have.
    pub(super) fn may_guess(&self, seller: UserId, now: Duration) -> Result<(), ApiError> {
        lock(&self.guesses).left(&seller, now).map(drop).map_err(too_many_guesses)
    }

    /// Counts `numbers` that the seller cannot have; of how many it may be told so.
    pub(super) fn guessed(&self, seller: UserId, numbers: u32, now: Duration) -> Result<u32, ApiError> {
        lock(&self.guesses).take(seller, numbers, now).map_err(too_many_guesses)
    }

    fn admit(&self, subject: Subject, now: Duration) -> Result<(), ApiError> {
        let refused = |wait| ApiError::too_many("rate_limited", "Too many requests: wait a little.", wait);
        lock(&self.requests).take(subject, 1, now).map(drop).map_err(refused)
    }
}

fn lock<T>(buckets: &Mutex<T>) -> MutexGuard<'_, T> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many_guesses(wait: Duration) -> ApiError {
    let detail = "Too many of the numbers you asked for cannot be had: wait before you make DIDs again.";
    ApiError::too_many("too_many_unavailable", detail, wait)
}

/// Finds out who calls, for all that follows, and refuses whoever asks too much.
pub(super) async fn admit<E: Endpoint>(endpoint: Arc<E>, mut request: Request) -> Result<E::Output> {
    if request.uri().path() == METRICS {
        return endpoint.call(request).await;
    }
    let state: State = request.data().cloned().ok_or_else(ApiError::not_found)?;
    let rates: Arc<Rates> = request.data().cloned().ok_or_else(ApiError::not_found)?;
    let who = Known::find(&request, &state).await;
    if !PROBES.contains(&request.uri().path()) || security::has_credential(&request) {
        let address = || security::client_address(&request, &state.config.api.trusted_proxies).map(throttle::network);
        let subject = who.principal().map_or_else(|| Subject::Address(address()), |known| Subject::User(known.user));
        rates.admit(subject, state.clock.now().mono)?;
    }
    request.set_data(who);
    endpoint.call(request).await
}
