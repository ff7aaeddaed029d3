//! PURE: which call centre takes a call, and why.

pub mod book;
pub mod breaker;
pub mod caps;
pub mod decision;
pub mod number;
pub mod snapshot;
pub mod strategy;
pub mod trace;
pub mod usage;
pub mod uses;
pub(crate) mod visits;
