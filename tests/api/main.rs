//! The management API of the real application, over HTTP, on SQLite and on PostgreSQL.

#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "../support/fake_ari.rs"]
mod fake_ari;
#[path = "../support/held.rs"]
mod held;
#[path = "../support/patience.rs"]
mod patience;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/templates.rs"]
mod templates;

mod caller;
mod canary;
mod site;

mod accounts;
mod attacks;
mod audit;
mod backup;
mod calls;
mod campaigns;
mod clients;
mod connections;
mod counters;
mod dids;
mod events;
mod exports;
mod guards;
mod hidden;
mod idempotency;
mod injection;
mod internal;
mod legacy_ids;
mod lifecycle;
mod links;
mod live;
mod matrix;
mod nodes;
mod own_sessions;
mod read_only;
mod readiness;
mod refusals;
mod reports;
mod rights;
mod route;
mod sessions;
mod sip;
mod spellings;
mod spread;
mod tokens;
mod traffic;
mod walk;
mod withdrawn;

/// Makes one test for each database.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::site::Site::start($crate::site::Database::Sqlite).await).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::site::Site::start($crate::site::Database::Postgres).await).await; })+
        }
    };
}
