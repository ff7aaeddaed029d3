//! What a panic may end: the call or the errand in whose task it happens, never the process unseen.
//!
//! Each task is one of three kinds. A call's ([`caught`]; `calls/guard.rs` clears up after it), as an errand's and a connection's, ends
//! alone. What only follows the world and keeps nothing ([`restarted`]) begins anew. Without what must not be missing ([`vital`])
//! the process ends with an error, for the service manager to start it again: talks outlive it, and the next start adopts them.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::error;

#[cfg(panic = "abort")]
compile_error!("build with panic = \"unwind\": else a panic in one call ends all of them");

/// How long what panicked is left before it begins anew.
const PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread polls something whose panic is caught and told by whoever catches it.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Where the latest panic of this thread happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
pub struct Panic {
    /// What it said.
    pub message: String,
    /// `file:line:column`; `unknown` where [`install`] was not called.
    pub place: String,
    payload: Box<dyn Any + Send>,
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panic({self})")
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.place, self.message)
    }
}

impl Panic {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let place = PLACE.take().unwrap_or_else(|| "unknown".to_owned());
        Self { message: words(payload.as_ref()), place, payload }
    }
}

/// What a panic says: a text, unless someone panics with something else on purpose.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no text)".to_owned())
}

/// Makes every panic of this process one line of the log. One that is caught here is told by whoever catches it, who knows more.
pub fn install() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PLACE.set(panic.location().map(ToString::to_string));
        if GUARDED.get() {
            return;
        }
        // Without a log there is standard error, where the standard library's own line goes.
        if tracing::dispatcher::has_been_set() { tell(panic) } else { before(panic) }
    }));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    error!(place, error = words_of(panic), "panicked");
}

fn words_of(panic: &PanicHookInfo<'_>) -> String {
    panic.payload_as_str().unwrap_or("(no text)").to_owned()
}

/// Runs `future`; a panic of it ends it alone.
///
/// # Errors
/// The panic.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panic> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let outer = GUARDED.replace(true);
        // Unwind safe: after a panic the future is never polled again. What it shares with others is the book of permits, whose every
        // change is complete before anything can panic, and channels and maps, which no panic leaves half changed.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        GUARDED.set(outer);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(Panic::new(payload))),
        }
    })
    .await
}

/// As [`caught`], for what does not wait.
///
/// # Errors
/// The panic.
pub fn caught_now<T>(act: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = GUARDED.replace(true);
    // Unwind safe: as in `caught`, and `act` is used up.
    let acted = catch_unwind(AssertUnwindSafe(act));
    GUARDED.set(outer);
    acted.map_err(Panic::new)
}

/// Runs what `make` makes until it returns; where it panics instead, another one after a pause, until `shutdown`. For what keeps nothing
/// that others need.
pub async fn restarted<F: Future<Output = ()>>(
    name: &'static str,
    shutdown: CancellationToken,
    mut make: impl FnMut() -> F,
) {
    let run = async |run: F| {
        trap(|| name.to_owned());
        run.await;
    };
    while let Err(panic) = caught(run(make())).await {
        error!(place = panic.place, error = panic.message, "{name} panicked; it begins anew");
        if shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Runs what the process cannot do without. Where it panics, `lost` is cancelled: whoever holds it ends the process with an error.
pub async fn vital<T>(name: &'static str, lost: CancellationToken, future: impl Future<Output = T>) -> T {
    let run = async {
        trap(|| name.to_owned());
        future.await
    };
    match caught(run).await {
        Ok(done) => done,
        Err(panic) => {
            error!(place = panic.place, error = panic.message, "{name} panicked; the process cannot go on without it");
            lost.cancel();
            // Not told again: the task's own handle says that it panicked.
            resume_unwind(panic.payload)
        }
    }
}

/// Where tests let things panic; elsewhere this is nothing.
#[cfg(not(test))]
#[inline]
pub(crate) fn trap(_key: impl FnOnce() -> String) {}

#[cfg(test)]
pub(crate) use traps::{left_of, set_trap, trap};

#[cfg(test)]
mod traps {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};

    static SET: Mutex<Option<HashMap<String, u32>>> = Mutex::new(None);

    /// Lets whatever comes by this key panic, so many times.
    pub(crate) fn set_trap(key: &str, times: u32) {
        SET.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(key.to_owned(), times);
    }

    /// How many times it would still panic there.
    pub(crate) fn left_of(key: &str) -> u32 {
        let set = SET.lock().unwrap_or_else(PoisonError::into_inner);
        set.as_ref().and_then(|traps| traps.get(key)).copied().unwrap_or_default()
    }

    /// Panics where a trap is set for this key.
    pub(crate) fn trap(key: impl FnOnce() -> String) {
        let mut set = SET.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(traps) = set.as_mut() else { return };
        let key = key();
        let left = traps.get_mut(&key).filter(|left| **left > 0);
        let Some(left) = left else { return };
        *left -= 1;
        drop(set);
        panic!("a trap: {key}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words_and_its_place() {
        install();
        let panic = caught(async { panic!("lost {}", 7) }).await.expect_err("it panics");
        assert_eq!(panic.message, "lost 7");
        assert!(panic.place.starts_with("src/panics.rs:"), "{}", panic.place);
        assert_eq!(caught(async { 7 }).await.expect("no panic"), 7);
        let panic = caught_now(|| std::panic::panic_any(7_u8)).map(drop).expect_err("it panics");
        assert_eq!(panic.message, "(no text)");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_restarted_begins_anew_until_it_returns_or_all_ends() {
        let (shutdown, runs) = (CancellationToken::new(), AtomicU32::new(0));
        let run = || async { assert!(runs.fetch_add(1, Ordering::Relaxed) >= 2, "not yet") };
        restarted("the test", shutdown.clone(), run).await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        shutdown.cancel();
        restarted("the test", shutdown, || async { panic!("always") }).await;
    }

    #[tokio::test]
    async fn without_what_is_vital_the_process_is_told_to_end() {
        let lost = CancellationToken::new();
        let kept = tokio::spawn(vital("the test", lost.clone(), async { 7 }));
        assert!(kept.await.is_ok_and(|it| it == 7) && !lost.is_cancelled());
        let task = tokio::spawn(vital("the test", lost.clone(), async { panic!("gone") }));
        lost.cancelled().await;
        assert!(task.await.expect_err("it panicked").is_panic());
    }
}
