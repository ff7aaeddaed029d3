//! The OpenAPI document, held against programs that others wrote: linters, a generator of clients, a fuzzer. They run from the virtual
//! environment that `scripts/setup` makes in the cache folder, and reach nothing but this machine.

#![allow(clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "tests/api uses the rest")]
#[path = "../api/caller.rs"]
mod caller;
#[path = "../support/fake_ari.rs"]
mod fake_ari;
#[path = "../support/patience.rs"]
mod patience;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "tests/api uses the rest")]
#[path = "../api/site.rs"]
mod site;
#[path = "../support/templates.rs"]
mod templates;

mod fuzzed;
mod generated;
mod linted;
mod tools;
