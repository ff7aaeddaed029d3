//! Looks under way and those just had: asked for twice within a moment, it is looked once; and so many at most wait for their turn.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// How long what was seen is shown again.
const FRESH: Duration = Duration::from_secs(1);
/// Looks that wait or are under way at most. One takes up to a few seconds.
const AT_MOST: usize = 8;

/// A look that others may wait for, too: when it ended, and what it saw.
pub(super) type Look<T> = Shared<BoxFuture<'static, (Duration, T)>>;

#[derive(Debug)]
pub(super) struct Looks<K, T: Clone>(Mutex<HashMap<K, Look<T>>>);

impl<K, T: Clone> Default for Looks<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Clone + Debug + Send + Sync + 'static> Looks<K, T> {
    /// The look at `key` that is under way or has just ended, else a new one, which goes on whoever waits. `None`: too many wait already.
    pub(super) fn at(
        &self,
        key: K,
        now: Duration,
        begin: impl FnOnce() -> BoxFuture<'static, (Duration, T)>,
    ) -> Option<Look<T>> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, look| look.peek().is_none_or(|(at, _)| now.saturating_sub(*at) < FRESH));
        if let Some(look) = looks.get(&key) {
            return Some(look.clone());
        }
        if looks.values().filter(|look| look.peek().is_none()).count() >= AT_MOST {
            return None;
        }
        let look = begin().shared();
        tokio::spawn(look.clone());
        looks.insert(key, look.clone());
        Some(look)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn seen(at: Duration, what: &'static str) -> impl FnOnce() -> BoxFuture<'static, (Duration, &'static str)> {
        move || ready((at, what)).boxed()
    }

    #[tokio::test]
    async fn what_was_seen_is_good_for_a_second() {
        let looks = Looks::default();
        assert_eq!(looks.at("north", ms(0), seen(ms(100), "first")).expect("room").await.1, "first");
        for (now, shown) in [(100, "first"), (1099, "first"), (1100, "second")] {
            assert_eq!(looks.at("north", ms(now), seen(ms(now), "second")).expect("room").await.1, shown, "{now} ms");
        }
        assert_eq!(looks.at("south", ms(1100), seen(ms(1100), "other")).expect("room").await.1, "other");
    }

    #[tokio::test]
    async fn so_many_wait_and_the_next_is_refused_at_once() {
        let looks = Looks::default();
        let held = |_: &usize| pending().boxed();
        let waiting: Vec<Look<()>> = (0..AT_MOST).map(|n| looks.at(n, ms(0), || held(&n)).expect("room")).collect();
        assert!(looks.at(99, ms(0), || held(&99)).is_none(), "one more client");
        // However many ask for what is looked at already: nothing more is begun.
        assert!(looks.at(0, ms(0), || -> BoxFuture<'static, _> { unreachable!("it is under way") }).is_some());
        assert!(waiting.iter().all(|look| look.peek().is_none()));
    }

    #[tokio::test]
    async fn a_look_that_nobody_waits_for_ends_and_makes_room() {
        let looks = Looks::default();
        let (end, ends) = tokio::sync::oneshot::channel();
        let begun = looks.at(0, ms(0), || async move { ends.await.map_or((ms(5), ()), |()| (ms(5), ())) }.boxed());
        let watched = begun.clone().expect("room");
        drop(begun);
        for n in 1..AT_MOST {
            assert!(looks.at(n, ms(0), || pending().boxed()).is_some());
        }
        assert!(looks.at(99, ms(0), || pending().boxed()).is_none());
        end.send(()).expect("it waits");
        watched.await;
        assert!(looks.at(99, ms(5), || pending().boxed()).is_some());
    }
}
