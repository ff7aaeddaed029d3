//! Resetting the count of a link.

use crate::dialect::step;

step! {
    /// `current_total_calls` holds the counted attempts that ended at `counted_since` or later (NULL: all), `counted_before` the others: their
    /// sum only grows, and is what a running controller counts by.
    "ALTER TABLE campaign_client_settings ADD COLUMN counted_before $INT NOT NULL DEFAULT 0 CHECK (counted_before >= 0);
    ALTER TABLE campaign_client_settings ADD COLUMN counted_since $TIME NULL;"
}
