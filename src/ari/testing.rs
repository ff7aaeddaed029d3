//! Faults that no test can cause from outside.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static PANICS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// The next connections of this application panic, so many of them.
pub(crate) fn panic_in(app: &str, times: u32) {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).insert(app.to_owned(), times);
}

/// How many of its connections would still panic.
pub(crate) fn panics_left(app: &str) -> u32 {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).get(app).copied().unwrap_or_default()
}

pub(super) fn panic_if_asked(app: &str) {
    let asked = {
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.get_mut(app).filter(|left| **left > 0).map(|left| *left -= 1)
    };
    assert!(asked.is_none(), "a connection of {app} that a test lets panic");
}
