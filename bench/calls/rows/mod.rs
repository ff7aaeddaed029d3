//! One file for each thing that is measured.

pub(crate) mod ceiling;
pub(crate) mod failover;
pub(crate) mod set_up;
