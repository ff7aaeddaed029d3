//! The whole thing for real: Asterisk, SIP and RTP over loopback, the `capconduit` binary, SQLite and PostgreSQL.
//!
//! Needs what `just setup` installs; nothing is skipped when it is missing, the tests fail and say so. Each test has a
//! site of its own (`harness::site`), so they run side by side.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail by panicking, and phones' figures are printed"
)]

mod harness;

/// Runs each behaviour with SQLite and with PostgreSQL behind the controller and Asterisk.
macro_rules! on_both {
    ($($behaviour:ident),+ $(,)?) => {$(
        mod $behaviour {
            #[tokio::test]
            async fn sqlite() {
                super::$behaviour(crate::harness::site::Backend::Sqlite).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$behaviour(crate::harness::site::Backend::Postgres).await;
            }
        }
    )+};
}
pub(crate) use on_both;

mod anew;
mod answered;
mod attack;
mod backup;
mod beside;
mod breakers;
mod cancelled;
mod caps;
mod chaos;
mod clients;
mod configured;
mod doctor;
mod failover;
mod fallback;
mod figures;
mod heard;
mod identity;
mod malformed;
mod media;
mod merged;
mod migrating;
mod nodes;
mod over_the_api;
mod phone;
mod phones;
mod privacy;
mod readme;
mod refused;
mod replaced;
mod resilience;
mod rivals;
mod rotated;
mod secrets;
mod spellings;
mod tls;
mod upgrade;
mod withheld;
