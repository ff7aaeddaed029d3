//! A SIP caller and a SIP call centre that are light enough to stand beside what they measure, with timestamps of their own
//! (sipp's clock ticks every 4 ms), and the audio of those that have any.

pub(crate) mod audio;
pub(crate) mod caller;
pub(crate) mod centre;
