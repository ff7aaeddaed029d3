//! A user agent of the tests' own: what it sends, and when, is the test's to say, and every packet it receives is noted.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time, in threads that do nothing else")]

pub(crate) mod caller;
pub(crate) mod centre;
pub(crate) mod continuity;
pub(crate) mod line;
pub(crate) mod media;
pub(crate) mod sdp;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Since a moment that all user agents of this process share: times of messages and packets can be compared.
pub(crate) fn since() -> Duration {
    BEGINNING.elapsed()
}
