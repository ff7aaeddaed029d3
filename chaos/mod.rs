//! Chaos on the real thing: real calls while everything around them is killed, stopped, slowed and cut, and then the accounts.
//!
//! `scene` is what there is, `load` who calls whom, `fault` and `blow` what happens to it, `run` all of it in order;
//! `alerts` is what an operator is told of faults meanwhile, by `prometheus`;
//! `witness` and `ledger` are what was seen and what was written, `verdict` joins them, `report` tells it.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(clippy::panic, clippy::print_stderr, reason = "what cannot be measured is no result, and says so")]

pub(crate) mod adoption;
pub(crate) mod alerts;
pub(crate) mod beside;
mod blow;
mod dice;
mod fault;
mod ledger;
mod load;
pub(crate) mod outage;
pub(crate) mod prometheus;
mod report;
pub(crate) mod ringing;
pub(crate) mod run;
pub(crate) mod scene;
mod verdict;
#[cfg(test)]
mod verdict_test;
mod wire;
mod witness;
