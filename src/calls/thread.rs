//! The calls' own thread. Sockets, dispatcher and every call's task run on it, one at a time: from an event to the request that follows
//! no other thread has to be woken, which costs more than the work itself. What API and database do is done elsewhere; whatever is done
//! here, such as the comparison with a node's lists, every call waits for.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

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
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
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
