//! The calls' own thread. Sockets, dispatcher and every call's task run on it, one at a time: from an event to the request that follows
//! no other thread has to be woken, which costs more than the work itself. What API and database do is done elsewhere, and so is the
//! comparison with long lists; whatever is done here every call waits for, so what follows from lists is done in slices.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::telemetry::name;

/// How often the thread is asked for its attention.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// The longest wait is shown for this long at least, and for twice as long at most.
const SHOWN_FOR: Duration = Duration::from_secs(15);

/// The thread, until it is ended or dropped.
#[derive(Debug)]
pub struct CallsThread {
    runtime: Handle,
    /// Dropped with it: a thread of which nobody knows would hold the sockets.
    end: DropGuard,
    thread: std::thread::JoinHandle<()>,
}

impl CallsThread {
    /// Starts it; it waits for work.
    ///
    /// # Errors
    /// When the system grants no thread, or nothing to wait with.
    pub fn start(clock: Clock) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.spawn(watch(clock));
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let ended = end.clone();
        let run = move || {
            runtime.block_on(ended.cancelled());
            // A look-up of a name that is under way cannot be broken off: nobody waits for it.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("calls".to_owned()).spawn(run)?;
        Ok(Self { runtime: handle, end: end.drop_guard(), thread })
    }

    /// Where to start what belongs on it.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Breaks off what still runs on it, and returns when it has ended.
    pub async fn end(self) {
        drop(self.end);
        // It panics no more than what runs on it, each of which is caught.
        drop(tokio::task::spawn_blocking(move || self.thread.join()).await);
    }
}

/// Measures how long what is due waits for the thread.
async fn watch(clock: Clock) {
    let (shown, mut longest) = (metrics::gauge!(name::CALLS_THREAD_WAIT), Longest::default());
    loop {
        let due = clock.now().mono + ASK_EVERY;
        tokio::time::sleep(ASK_EVERY).await;
        let now = clock.now().mono;
        shown.set(longest.note(now, now.saturating_sub(due)).as_secs_f64());
    }
}

/// The longest of late.
#[derive(Debug, Default)]
struct Longest {
    since: Duration,
    before: Duration,
    now: Duration,
}

impl Longest {
    /// Notes a wait; returns the longest.
    fn note(&mut self, now: Duration, waited: Duration) -> Duration {
        if now.saturating_sub(self.since) >= SHOWN_FOR {
            (self.since, self.before, self.now) = (now, self.now, Duration::ZERO);
        }
        self.now = self.now.max(waited);
        self.before.max(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_shown_for_a_while() {
        let (ms, at) = (Duration::from_millis, Duration::from_secs);
        let mut longest = Longest::default();
        assert_eq!(longest.note(at(14), ms(30)), ms(30));
        assert_eq!(longest.note(at(16), ms(2)), ms(30));
        assert_eq!(longest.note(at(29), ms(3)), ms(30), "15 s later still");
        assert_eq!(longest.note(at(44), ms(1)), ms(3), "and after 30 s no more");
    }
}
