//! Live calls, from arrival to their single ending.
