//! Calls whose end was not seen.

use crate::dialect::step;

step! {
    /// Between these two times the call ended; NULL where its end was seen.
    "ALTER TABLE call_logs ADD COLUMN ended_after $TIME NULL;
    ALTER TABLE call_logs ADD COLUMN ended_before $TIME NULL;"
}
