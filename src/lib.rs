//! CapConduit: an ARI-driven call controller.
//!
//! Modules in call-path order; ARCHITECTURE.md walks one call through them.

// What tests share with the crate's own names it as they do.
#[cfg(test)]
extern crate self as capconduit;
#[cfg(test)]
#[path = "../tests/support/mutations.rs"]
mod mutations;

pub mod api;
pub mod app;
pub mod ari;
pub mod auth;
pub mod backup;
pub mod calls;
pub mod cdr;
pub mod cli;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod dropin;
pub mod id;
pub mod in_force;
pub mod inspect;
mod mistakes;
pub mod needs;
pub mod panics;
pub mod plan;
pub mod presence;
pub mod realtime;
pub mod routing;
pub mod screen;
#[cfg(test)]
mod simulation;
pub mod store;
mod supervisor;
pub mod telemetry;
pub mod text;
pub mod transports;
