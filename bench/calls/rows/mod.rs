//! One file for each thing that is measured.

pub(crate) mod alone;
pub(crate) mod ceiling;
pub(crate) mod decision;
pub(crate) mod failover;
pub(crate) mod first_audio;
pub(crate) mod holds;
pub(crate) mod listeners;
pub(crate) mod media;
pub(crate) mod records;
pub(crate) mod set_up;
pub(crate) mod soak;
pub(crate) mod swap;
