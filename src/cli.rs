//! x
pub mod doctor;
mod table;
pub mod view;
