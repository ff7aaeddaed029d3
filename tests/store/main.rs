//! The store on real SQLite files and a real PostgreSQL: every test runs on both.

#![allow(clippy::panic, reason = "a test helper fails its test by panicking")]

mod helpers;
mod migrating;
#[path = "../support/postgres.rs"]
mod postgres;
mod recording;
