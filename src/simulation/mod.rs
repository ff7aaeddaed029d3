//! Calls by the million through the real dispatcher, tasks, machine, registry and book, against a model of Asterisk, callers and clients in
//! virtual time. Everything follows from one seed: `just simulate SEED` runs it again, step by step.
//!
//! `world` holds the calendar and the controller's lives, `asterisk` and `parties` what is around it, `faults` what goes wrong, `truth` what
//! really happened and must hold at every step, `invariants` what must hold in the end, `setting` how a world is furnished.

mod asterisk;
mod chance;
mod faults;
mod invariants;
mod journal;
mod parties;
mod setting;
mod store;
mod tests;
mod truth;
mod world;
