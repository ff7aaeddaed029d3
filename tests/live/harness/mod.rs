//! A whole CapConduit site for one test: real Asterisk, the real controller, sipp call centres and a sipp carrier, all on
//! ports and in a folder of their own, and all gone when the test is.

#![allow(clippy::panic, clippy::print_stdout, reason = "a test that cannot go on panics, and says where its logs are")]

pub(crate) mod accounts;
#[allow(dead_code, reason = "only tests use TLS")]
pub(crate) mod certificate;
#[path = "../../support/child.rs"]
pub(crate) mod child;
pub(crate) mod controller;
#[allow(dead_code, reason = "tests/watch uses all of it")]
#[path = "../../support/exposition.rs"]
pub(crate) mod exposition;
#[allow(dead_code, reason = "tests and bench read different things")]
pub(crate) mod message;
pub(crate) mod node;
#[path = "../../support/patience.rs"]
pub(crate) mod patience;
#[allow(dead_code, reason = "the demo does not need it")]
pub(crate) mod person;
#[allow(dead_code, reason = "only tests call with real phones")]
pub(crate) mod phone;
pub(crate) mod plan;
#[path = "../../support/ports.rs"]
pub(crate) mod ports;
#[path = "../../support/postgres.rs"]
pub(crate) mod postgres;
#[allow(dead_code, reason = "the demo does not need it")]
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod rtp;
pub(crate) mod sipp;
pub(crate) mod site;
#[path = "../../support/templates.rs"]
pub(crate) mod templates;
pub(crate) mod trace;
#[allow(dead_code, reason = "only tests say every step of a call")]
pub(crate) mod ua;
pub(crate) mod wire;

use std::time::Duration;

use tokio::time::{sleep, timeout};

pub(crate) use patience::PATIENCE as LIMIT;

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`LIMIT`]; `what` is what the message says.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let held = timeout(LIMIT, async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(held.await.is_ok(), "after {LIMIT:?} still not so: {what}");
}
