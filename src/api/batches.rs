//! Whether API tokens are good, asked for many at a time: where an address has sent too many that nobody has, each further one costs no
//! question of its own, and a right one among them, seen before or not, is let through all the same.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, oneshot};

use super::error::ApiError;

/// Hashes in one question: databases bound the values of a statement.
const AT_ONCE: usize = 1000;

/// Those who wait. One question is under way at a time; whoever comes meanwhile is in the next one. Nobody is refused, so that there are as
/// many as there are requests in hand.
#[derive(Debug, Default)]
pub(super) struct Batches {
    waiting: Mutex<VecDeque<Asked>>,
    turn: Turn<()>,
}

#[derive(Debug)]
struct Asked {
    hash: String,
    answer: oneshot::Sender<Result<bool, ApiError>>,
}

impl Batches {
    /// Whether `hash` is among those that `ask` finds; `ask` is given the hashes of all who wait.
    ///
    /// # Errors
    /// What `ask` says.
    pub(super) async fn is_known<F>(&self, hash: &str, ask: impl Fn(HashSet<String>) -> F) -> Result<bool, ApiError>
    where
        F: Future<Output = Result<HashSet<String>, ApiError>>,
    {
        'anew: loop {
            let (answer, mut told) = oneshot::channel();
            self.lock().push_back(Asked { hash: hash.to_owned(), answer });
            loop {
                let turn = tokio::select! {
                    biased;
                    told = &mut told => match told {
                        Ok(known) => return known,
                        // Whoever asked for this one has gone away meanwhile.
                        Err(_) => continue 'anew,
                    },
                    turn = self.turn.lock() => turn,
                };
                // It may have been answered by whose turn it was before.
                if told.is_empty() && !told.is_terminated() {
                    self.ask_for_those_who_wait(&ask).await;
                }
                drop(turn);
            }
        }
    }

    async fn ask_for_those_who_wait<F>(&self, ask: impl Fn(HashSet<String>) -> F)
    where
        F: Future<Output = Result<HashSet<String>, ApiError>>,
    {
        let asked = self.next();
        let known = ask(asked.iter().map(|asked| asked.hash.clone()).collect()).await;
        for Asked { hash, answer } in asked {
            // Who has gone away needs no answer.
            let _ = answer.send(known.as_ref().map(|known| known.contains(&hash)).map_err(Clone::clone));
        }
    }

    /// The first who wait still.
    fn next(&self) -> Vec<Asked> {
        let mut waiting = self.lock();
        let mut next = Vec::new();
        while next.len() < AT_ONCE {
            match waiting.pop_front() {
                Some(asked) if asked.answer.is_closed() => {}
                Some(asked) => next.push(asked),
                None => break,
            }
        }
        next
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Asked>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// A database that knows `right`, counts the questions, and answers each when it is let.
    #[derive(Default)]
    struct Database {
        questions: AtomicUsize,
        largest: AtomicUsize,
        gate: Option<Semaphore>,
    }

    impl Database {
        async fn ask(&self, hashes: HashSet<String>) -> Result<HashSet<String>, ApiError> {
            self.questions.fetch_add(1, Ordering::Relaxed);
            self.largest.fetch_max(hashes.len(), Ordering::Relaxed);
            if let Some(gate) = &self.gate {
                gate.acquire().await.expect("it stays open").forget();
            }
            Ok(hashes.into_iter().filter(|hash| hash.starts_with("right")).collect())
        }
    }

    #[tokio::test]
    async fn a_right_one_behind_a_flood_is_known_and_the_flood_costs_few_questions() {
        let (batches, database) =
            (Batches::default(), Database { gate: Some(Semaphore::new(0)), ..Database::default() });
        let ask = |hashes| database.ask(hashes);
        let flood = (0..5000).map(|n| format!("wrong {n}"));
        let hashes: Vec<String> = flood.chain(["right, never seen before".to_owned()]).collect();
        let asked = join_all(hashes.iter().map(|hash| batches.is_known(hash, ask)));
        let open = async {
            // Only now do answers come: all wait by then.
            tokio::task::yield_now().await;
            database.gate.as_ref().expect("a gate").add_permits(100);
        };
        let (answers, ()) = tokio::join!(asked, open);
        let known: Vec<bool> = answers.into_iter().map(|known| known.expect("an answer")).collect();
        assert!(known[5000] && !known[..5000].contains(&true));
        let questions = database.questions.load(Ordering::Relaxed);
        assert!((6..=7).contains(&questions), "{questions} questions for 5001 keys");
        assert_eq!(database.largest.load(Ordering::Relaxed), AT_ONCE);
        assert!(batches.lock().is_empty());
    }

    #[tokio::test]
    async fn whoever_asks_for_all_and_goes_away_leaves_nobody_without_an_answer() {
        let (batches, database) =
            (Arc::new(Batches::default()), Arc::new(Database { gate: Some(Semaphore::new(0)), ..Database::default() }));
        let ask = |hash: &'static str| {
            let (batches, database) = (Arc::clone(&batches), Arc::clone(&database));
            async move { batches.is_known(hash, |hashes| database.ask(hashes)).await }
        };
        let mut first = Box::pin(ask("right 1"));
        assert!(first.as_mut().now_or_never().is_none(), "it asks");
        let mut second = Box::pin(ask("right 2"));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        drop(first);
        database.gate.as_ref().expect("a gate").add_permits(10);
        assert!(second.await.expect("an answer"));
        assert!(batches.lock().is_empty(), "who has gone is forgotten");
    }

    #[tokio::test]
    async fn an_error_is_told_to_all_who_wait() {
        let batches = Batches::default();
        let fail = |_| async { Err(ApiError::not_found()) };
        assert!(join_all((0..10).map(|_| batches.is_known("right", fail))).await.iter().all(Result::is_err));
    }
}
