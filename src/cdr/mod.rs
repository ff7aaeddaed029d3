//! The call's record: what is kept of a call after it ended.

pub mod record;
