//! Live calls, from arrival to their single ending.

pub(crate) mod attempt;
pub mod ending;
pub mod facts;
pub mod io;
pub mod machine;
#[cfg(test)]
mod machine_test;
