//! How many reports there may be at once: of one user, and of all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::ReportError;
use crate::id::UserId;

/// How many of a user's may wait for its places: each holds a connection of the API's.
const WAITING_AT_MOST: usize = 4;

#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    per_user: usize,
    users: Mutex<HashMap<UserId, Arc<Semaphore>>>,
}

/// One of them; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _of_user: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(all: usize, per_user: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_user, users: Mutex::default() }
    }

    /// One for `user`, waited for so long at most; zero: at once or not at all. The user's own comes first: whoever waits for it keeps
    /// nobody else out.
    pub(super) async fn take(&self, user: UserId, patience: Duration) -> Result<Place, ReportError> {
        let of_user = self.of(user);
        // It is held by the map, by each who has a place, and by each who waits for one.
        if Arc::strong_count(&of_user) > 1 + self.per_user + WAITING_AT_MOST {
            return Err(ReportError::OwnPlaces(self.per_user));
        }
        let of_user = timeout(patience, of_user.acquire_owned()).await;
        let of_user = of_user.ok().and_then(Result::ok).ok_or(ReportError::OwnPlaces(self.per_user))?;
        let of_all = timeout(patience, Arc::clone(&self.all).acquire_owned()).await;
        let of_all = of_all.ok().and_then(Result::ok).ok_or(ReportError::AllPlaces)?;
        Ok(Place { _of_user: of_user, _of_all: of_all })
    }

    fn of(&self, user: UserId) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Each place, and each who waits for one, holds its user's.
        users.retain(|_, places| Arc::strong_count(places) > 1);
        Arc::clone(users.entry(user).or_insert_with(|| Arc::new(Semaphore::new(self.per_user))))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn a_user_has_so_many_places_and_all_users_have_so_many() {
        let places = Places::new(3, 2);
        let (one, other) = (UserId(1), UserId(2));
        let first = places.take(one, NOW).await.expect("the first");
        let _second = places.take(one, NOW).await.expect("the second");
        assert!(matches!(places.take(one, NOW).await, Err(ReportError::OwnPlaces(2))));
        let _third = places.take(other, NOW).await.expect("another user's");
        assert!(matches!(places.take(other, NOW).await, Err(ReportError::AllPlaces)));
        drop(first);
        let _fourth = places.take(other, NOW).await.expect("what was given back");
        assert!(matches!(places.take(one, NOW).await, Err(ReportError::AllPlaces)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_of_a_user_wait() {
        let (places, long) = (Places::new(5, 1), Duration::from_secs(2));
        let _held = places.take(UserId(1), NOW).await.expect("free");
        let mut waiting: Vec<_> = (0..WAITING_AT_MOST).map(|_| Box::pin(places.take(UserId(1), long))).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        let mut other = Box::pin(places.take(UserId(1), long));
        assert!(matches!(futures_util::poll!(&mut other), Poll::Ready(Err(ReportError::OwnPlaces(1)))));
        drop(waiting.pop());
        assert!(futures_util::poll!(Box::pin(places.take(UserId(1), long))).is_pending());
        places.take(UserId(2), NOW).await.expect("another user's is free");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_no_longer_than_is_said_and_nobody_is_remembered() {
        let places = Places::new(2, 1);
        let held = places.take(UserId(1), NOW).await.expect("free");
        let waiting = places.take(UserId(1), Duration::from_secs(2));
        let given_back = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        let (taken, ()) = tokio::join!(waiting, given_back);
        let taken = taken.expect("given back in time");
        let late = places.take(UserId(1), Duration::from_secs(2)).await;
        assert!(matches!(late, Err(ReportError::OwnPlaces(1))));
        drop(taken);
        let _other = places.take(UserId(2), NOW).await.expect("free");
        assert_eq!(places.users.lock().expect("no panic").len(), 1, "only who has one is kept");
    }
}
