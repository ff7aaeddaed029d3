//! Who calls is found out once for each request, and how much each may ask: a user over all its sessions and tokens, and an address
//! that no user is known by.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poem::{Endpoint, Request, Result};

use super::State;
use super::batches::Batches;
use super::error::ApiError;
use super::rates::{Buckets, Rate};
use super::security::{self, Known};
use super::strangers::Strangers;
use crate::auth::throttle;
use crate::config;
use crate::id::UserId;
use crate::store::tokens;

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
    /// API tokens from an address that nobody has. Apart from the rest, and no matter to right ones: they hold up no script there.
    WrongTokens(Option<IpAddr>),
}

fn rate(config: &config::Api) -> Rate {
    Rate { each: Duration::from_secs(1) / config.requests_per_second.max(1), burst: config.burst.max(1) }
}

/// What was asked lately, over the whole process.
#[derive(Debug)]
pub(super) struct Rates {
    requests: Mutex<Buckets<Subject>>,
    guesses: Mutex<Buckets<UserId>>,
    /// API tokens from where too many were wrong.
    doubted: Batches,
    strangers: Mutex<Strangers>,
}

impl Rates {
    pub(super) fn new(config: &config::Api) -> Self {
        let requests = Buckets::new(rate(config));
        let (doubted, strangers) = (Batches::default(), Mutex::default());
        Self { requests: Mutex::new(requests), guesses: Mutex::new(Buckets::new(GUESSES)), doubted, strangers }
    }

    /// How much may be asked from now on.
    fn keep_to(&self, config: &config::Api) {
        lock(&self.requests).keep_to(rate(config));
    }

    /// Takes one guess of a seller before it is known whether it will be one: of requests at once no more learn than there are guesses.
    pub(super) fn guess(&self, seller: UserId, now: Duration) -> Result<(), ApiError> {
        lock(&self.guesses).take(seller, 1, now).map(drop).map_err(too_many_guesses)
    }

    /// It was none.
    pub(super) fn no_guess(&self, seller: UserId) {
        lock(&self.guesses).give_back(&seller);
    }

    /// Takes up to `numbers` guesses more; how many there were.
    pub(super) fn guess_more(&self, seller: UserId, numbers: u32, now: Duration) -> u32 {
        if numbers == 0 { 0 } else { lock(&self.guesses).take(seller, numbers, now).unwrap_or(0) }
    }

    /// Refuses whoever asked too much, without counting.
    fn is_open(&self, subject: Subject, now: Duration) -> Result<(), ApiError> {
        lock(&self.requests).left(&subject, now).map(drop).map_err(too_many_requests)
    }

    /// Warns of a peer that names others as those who ask and is not believed: where it is a proxy of ours, all who come through it are
    /// taken for one.
    fn tell_of_stranger(&self, request: &Request, state: &State) {
        let Some(peer) = security::disbelieved(request, &state.config.now().api.trusted_proxies) else { return };
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.is_news(throttle::network(peer), state.clock.now().mono) {
            tracing::warn!(
                %peer,
                "X-Forwarded-For comes from a peer that is not in api.trusted_proxies and is not believed: add the peer if it is your \
                 reverse proxy, else all who come through it count as one address"
            );
        }
    }

    fn admit(&self, subject: Subject, now: Duration) -> Result<(), ApiError> {
        lock(&self.requests).take(subject, 1, now).map(drop).map_err(too_many_requests)
    }
}

fn lock<T>(buckets: &Mutex<T>) -> MutexGuard<'_, T> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many_requests(wait: Duration) -> ApiError {
    ApiError::too_many("rate_limited", "Too many requests: wait a little.", wait)
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
    let config = state.config.now();
    rates.keep_to(&config.api);
    let address = security::client_address(&request, &config.api.trusted_proxies).map(throttle::network);
    rates.tell_of_stranger(&request, &state);
    // A session is known by its signature; whether an API token is one costs a look-up, which wrong ones are not to have without end.
    let hash = security::api_token_hash(&request);
    let doubt = hash.as_ref().and_then(|hash| {
        let throttled = rates.is_open(Subject::WrongTokens(address), state.clock.now().mono).err()?;
        Some((hash, throttled))
    });
    if let Some((hash, throttled)) = doubt {
        let (db, now) = (&state.db, state.clock.now().wall);
        let ask = |hashes| async move { tokens::good_among(db, hashes, now).await.map_err(ApiError::from) };
        if !rates.doubted.is_known(hash, ask).await? {
            return Err(throttled.into());
        }
    }
    let who = Known::find(&request, &state).await;
    if hash.is_some() && who.principal().is_none() {
        rates.admit(Subject::WrongTokens(address), state.clock.now().mono)?;
    }
    if !PROBES.contains(&request.uri().path()) || security::has_credential(&request) {
        let subject = who.principal().map_or(Subject::Address(address), |known| Subject::User(known.user));
        rates.admit(subject, state.clock.now().mono)?;
    }
    request.set_data(who);
    endpoint.call(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of requests at once that all wait for the database together.
    #[test]
    fn requests_at_once_learn_no_more_than_there_are_guesses() {
        let requests = Mutex::new(Buckets::new(Rate { each: Duration::from_secs(1), burst: 1 }));
        let guesses = Mutex::new(Buckets::new(GUESSES));
        let rates = Rates { requests, guesses, doubted: Batches::default(), strangers: Mutex::default() };
        let (seller, now) = (UserId(7), Duration::from_secs(100));
        let begun = (0..1000).filter(|_| rates.guess(seller, now).is_ok()).count();
        assert_eq!(begun, 20);
        assert_eq!(rates.guess_more(seller, 5, now), 0);
        rates.no_guess(seller);
        assert!(rates.guess(seller, now).is_ok() && rates.guess(seller, now).is_err());
    }
}
