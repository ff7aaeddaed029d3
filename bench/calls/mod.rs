//! The bench: real calls through a real Asterisk, by every contestant in turns.
//!
//! `sip` makes and takes the calls and their audio, `site` is one Asterisk with its controller, `replaced` the design before this one,
//! `contest` who competes, `talks` a block of calls with audio, `rows` what is measured, `stats`, `plot` and `report` what comes of it.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(clippy::panic, reason = "what cannot be measured is no result, and says so")]
#![allow(clippy::print_stdout, reason = "who waits for minutes wants to see something")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and rates are small"
)]

pub(crate) mod contest;
pub(crate) mod plot;
mod replaced;
pub(crate) mod report;
pub(crate) mod rows;
mod sip;
pub(crate) mod site;
pub(crate) mod stats;
pub(crate) mod talks;
