//! x
mod table;
pub mod view;
