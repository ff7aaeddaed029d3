//! PURE: which call centre takes a call, and why.

pub mod number;
pub mod snapshot;
