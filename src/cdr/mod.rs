//! The call's record: folded from the call's history, written in batches off the call path.

pub mod fold;
pub mod legacy;
pub mod record;
pub mod writer;
