//! One Stasis application, as its lanes see it: whether its socket is there, and the way to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::clock::micros;
use super::late::silent_since;
use super::ticket::Outgoing;

/// How long a socket that is opened anew may take to come up before the next one's turn.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);

/// One Stasis application, as its lanes see it.
#[derive(Debug)]
pub(super) struct App {
    index: u16,
    name: String,
    /// `Some` while the socket is up.
    requests: Mutex<Option<mpsc::UnboundedSender<Outgoing>>>,
    /// Monotonic time in microseconds up to which everything from the other side was heard; 0 before its first frame.
    heard: AtomicU64,
    /// Monotonic time in microseconds at which the oldest request was queued that has no answer yet; 0 where few wait.
    waiting: AtomicU64,
    /// Asks the socket to be opened anew.
    pub(super) renewal: Notify,
    /// How often it came up.
    connections: watch::Sender<u64>,
}

impl App {
    pub(super) fn new(index: u16, name: String) -> Self {
        Self {
            index,
            name,
            requests: Mutex::new(None),
            heard: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            renewal: Notify::new(),
            connections: watch::Sender::new(0),
        }
    }

    /// Has its socket opened anew, where it has one, and waits until that is up.
    pub(super) async fn renew(&self) {
        let mut connections = self.connections.subscribe();
        connections.mark_unchanged();
        if self.is_up() {
            self.renewal.notify_one();
            // Where it does not come up soon, the log says why.
            drop(timeout(RENEWED_WITHIN, connections.changed()).await);
        }
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Everything was heard up to this monotonic time.
    pub(super) fn hear(&self, mono: Duration) {
        self.heard.store(micros(mono), Ordering::Relaxed);
    }

    /// Since when the oldest request waits for its answer; `None` where few do.
    pub(super) fn wait_since(&self, queued_at: Option<Duration>) {
        self.waiting.store(queued_at.map_or(0, micros), Ordering::Relaxed);
    }

    /// How long the oldest request has waited for its answer; zero where few do.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        match self.waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.saturating_sub(Duration::from_micros(since)),
        }
    }

    /// Up to when everything was heard, should nothing more come; `None` before the first frame.
    pub(super) fn heard(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.heard.load(Ordering::Relaxed))).filter(|heard| !heard.is_zero())
    }

    /// Up to when everything was heard, where that is longer ago than on a socket that works.
    pub(super) fn silent_since(&self, now: Duration) -> Option<Duration> {
        silent_since(self.heard()?, now)
    }

    pub(super) fn is_up(&self) -> bool {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Queues a request for the socket. Without one it is dropped, and its ticket says that it was not sent.
    pub(super) fn send(&self, outgoing: Outgoing) {
        if let Some(requests) = self.requests.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            drop(requests.send(outgoing));
        }
    }

    /// Opens (`Some`) or closes the way for requests.
    pub(super) fn set(&self, requests: Option<mpsc::UnboundedSender<Outgoing>>) {
        if requests.is_some() {
            self.connections.send_modify(|count| *count += 1);
        }
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = requests;
    }
}
