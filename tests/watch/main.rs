//! What a site watches the program by: alert rules, their runbook, and the dashboard, held against what the program can write, by Prometheus'
//! own tools and Grafana's own schema. That alerts fire, in a real Prometheus, while there is reason for it: `tests/live/alerts.rs`.

#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "../support/exposition.rs"]
mod exposition;
#[path = "../support/patience.rs"]
mod patience;
#[path = "../spec/tools.rs"]
#[allow(dead_code, reason = "tests/spec uses the rest")]
mod tools;

mod dashboard;
mod names;
mod promql;
mod rules;
mod scrape;
