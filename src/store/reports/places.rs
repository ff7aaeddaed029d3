//! How many reports there may be at once: of one user, and of all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ReportError;
use crate::id::UserId;

/// How many of a user's may wait for its places: each holds a connection of the API's.
const WAITING_AT_MOST: usize = 4;

/// How many lists that are quickly read there may be at once: each takes milliseconds, unless the database is held up.
pub(super) const QUICK: usize = 4;
/// Places that lists have and reports have not: a report may take as long as it may, and nobody would read a list meanwhile.
pub(super) const FOR_LISTS: usize = 1;

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A summary, which waits for nothing.
    Report,
    /// A list.
    List,
    /// A list of what is quickly found: no user has places for it.
    Quick,
}

#[derive(Debug)]
pub(super) struct Places {
    /// Of reports, and of reports and lists together.
    reports: Arc<Semaphore>,
    all: Arc<Semaphore>,
    quick: Arc<Semaphore>,
    per_user: usize,
    users: Mutex<HashMap<UserId, Arc<Semaphore>>>,
}

/// One of them; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _taken: Vec<OwnedSemaphorePermit>,
}

impl Places {
    /// So many for reports, and one more for lists alone.
    pub(super) fn new(reports: usize, per_user: usize) -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        let (reports, all, quick) = (of(reports), of(reports + FOR_LISTS), of(QUICK));
        Self { reports, all, quick, per_user, users: Mutex::default() }
    }

    /// How many there are in all.
    pub(super) const fn count(reports: usize) -> usize {
        reports + FOR_LISTS + QUICK
    }

    /// One for `user`; `lacking` is what is waited for. The user's own comes first: whoever waits for it keeps nobody else out.
    pub(super) async fn take(&self, kind: Kind, user: UserId, lacking: &mut ReportError) -> Result<Place, ReportError> {
        if kind == Kind::Quick {
            *lacking = ReportError::Busy;
            let quick = one(Arc::clone(&self.quick), kind).await.ok_or(ReportError::Busy)?;
            return Ok(Place { _taken: vec![quick] });
        }
        *lacking = ReportError::OwnPlaces(self.per_user);
        let of_user = self.of(user);
        // It is held by the map, by each who has a place, and by each who waits for one.
        if Arc::strong_count(&of_user) > 1 + self.per_user + WAITING_AT_MOST {
            return Err(ReportError::OwnPlaces(self.per_user));
        }
        let mut taken = vec![one(of_user, kind).await.ok_or(ReportError::OwnPlaces(self.per_user))?];
        *lacking = ReportError::AllPlaces;
        if kind == Kind::Report {
            taken.push(one(Arc::clone(&self.reports), kind).await.ok_or(ReportError::AllPlaces)?);
        }
        taken.push(one(Arc::clone(&self.all), kind).await.ok_or(ReportError::AllPlaces)?);
        Ok(Place { _taken: taken })
    }

    fn of(&self, user: UserId) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Each place, and each who waits for one, holds its user's.
        users.retain(|_, places| Arc::strong_count(places) > 1);
        Arc::clone(users.entry(user).or_insert_with(|| Arc::new(Semaphore::new(self.per_user))))
    }
}

/// One of these, for a report at once or not at all.
async fn one(of: Arc<Semaphore>, kind: Kind) -> Option<OwnedSemaphorePermit> {
    if kind == Kind::Report { of.try_acquire_owned().ok() } else { of.acquire_owned().await.ok() }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    const ONE: UserId = UserId(1);
    const OTHER: UserId = UserId(2);

    impl Places {
        async fn get(&self, kind: Kind, user: UserId) -> Result<Place, ReportError> {
            self.take(kind, user, &mut ReportError::Abandoned).await
        }
    }

    #[tokio::test]
    async fn a_user_has_so_many_places_and_all_users_have_so_many() {
        let places = Places::new(3, 2);
        let report = |user| places.get(Kind::Report, user);
        let first = report(ONE).await.expect("the first");
        let _second = report(ONE).await.expect("the second");
        assert!(matches!(report(ONE).await, Err(ReportError::OwnPlaces(2))));
        let _third = report(OTHER).await.expect("another user's");
        assert!(matches!(report(OTHER).await, Err(ReportError::AllPlaces)));
        drop(first);
        let _fourth = report(OTHER).await.expect("what was given back");
        assert!(matches!(report(ONE).await, Err(ReportError::AllPlaces)));
    }

    #[tokio::test]
    async fn reports_leave_lists_a_place_and_what_is_quick_its_own() {
        let places = Places::new(2, 2);
        let _reports = [places.get(Kind::Report, ONE).await, places.get(Kind::Report, ONE).await].map(Result::unwrap);
        let list = places.get(Kind::List, OTHER).await.expect("there is one for lists");
        let mut next = Box::pin(places.get(Kind::List, OTHER));
        assert!(poll!(&mut next).is_pending(), "the next one waits");
        let mut quick = Vec::new();
        for _ in 0..QUICK {
            quick.push(places.get(Kind::Quick, ONE).await.expect("whoever asks"));
        }
        assert!(poll!(Box::pin(places.get(Kind::Quick, ONE))).is_pending(), "so many at once");
        drop(list);
        next.await.expect("its turn has come");
    }

    #[tokio::test]
    async fn lists_take_what_reports_leave() {
        let places = Places::new(1, 2);
        let _lists = [places.get(Kind::List, ONE).await, places.get(Kind::List, ONE).await].map(Result::unwrap);
        assert!(matches!(places.get(Kind::Report, OTHER).await, Err(ReportError::AllPlaces)));
    }

    #[tokio::test]
    async fn only_so_many_of_a_user_wait() {
        let places = Places::new(5, 1);
        let _held = places.get(Kind::List, ONE).await.expect("free");
        let mut waiting: Vec<_> = (0..WAITING_AT_MOST).map(|_| Box::pin(places.get(Kind::List, ONE))).collect();
        for one in &mut waiting {
            assert!(poll!(one).is_pending());
        }
        let mut other = Box::pin(places.get(Kind::List, ONE));
        assert!(matches!(poll!(&mut other), Poll::Ready(Err(ReportError::OwnPlaces(1)))));
        drop(waiting.pop());
        assert!(poll!(Box::pin(places.get(Kind::List, ONE))).is_pending());
        places.get(Kind::List, OTHER).await.expect("another user's is free");
    }

    #[tokio::test]
    async fn it_is_told_what_is_waited_for_and_nobody_is_remembered() {
        let places = Places::new(1, 1);
        let (mut own, mut of_all) = (ReportError::Abandoned, ReportError::Abandoned);
        let held = places.get(Kind::List, ONE).await.expect("free");
        assert!(poll!(Box::pin(places.take(Kind::List, ONE, &mut own))).is_pending());
        assert!(matches!(own, ReportError::OwnPlaces(1)));
        let _other = places.get(Kind::List, OTHER).await.expect("the last");
        assert!(poll!(Box::pin(places.take(Kind::List, UserId(3), &mut of_all))).is_pending());
        assert!(matches!(of_all, ReportError::AllPlaces));
        drop(held);
        let _third = places.get(Kind::List, UserId(3)).await.expect("free");
        assert_eq!(places.users.lock().expect("no panic").len(), 2, "only who has one is kept");
    }
}
