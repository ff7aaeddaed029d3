//! The real application against a fake Asterisk over real sockets, on SQLite and on PostgreSQL.

#![allow(clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "tests/watch uses all of it")]
#[path = "../support/exposition.rs"]
mod exposition;
#[path = "../support/fake_ari.rs"]
mod fake_ari;
#[path = "../support/patience.rs"]
mod patience;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/templates.rs"]
mod templates;

mod site;

mod anew;
mod breakers;
mod caps;
mod failover;
mod faults;
mod media;
mod overload;
mod records;
mod restart;
mod rivals;

/// Makes one test for each database.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::site::Database::Sqlite).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::site::Database::Postgres).await; })+
        }
    };
}
