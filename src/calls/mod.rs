//! Live calls, from arrival to their single ending.

pub(crate) mod adopt;
pub(crate) mod answer;
pub(crate) mod attempt;
mod breakers;
pub mod dispatcher;
pub mod ending;
pub(crate) mod execute;
pub mod facts;
pub(crate) mod guard;
pub(crate) mod heartbeat;
pub mod holds;
pub mod intake;
pub mod io;
pub mod late;
pub(crate) mod left;
pub mod live;
pub(crate) mod locked;
pub mod machine;
pub mod merged;
pub(crate) mod meter;
pub mod news;
pub mod node_breaker;
mod recent;
pub mod reconcile;
pub mod registry;
mod shedding;
pub(crate) mod task;
pub mod thread;
mod told;
mod translate;

#[cfg(test)]
pub(crate) mod machine_test;
