//! The call's record: folded from the call's history, written in batches off the call path.

pub mod fallback;
pub mod fold;
pub mod importer;
pub mod journal;
pub mod json;
pub mod legacy;
pub mod open;
pub mod record;
pub mod spool;
pub mod talk;
pub mod writer;
