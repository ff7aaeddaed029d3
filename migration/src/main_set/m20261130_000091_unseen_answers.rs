//! Calls whose answer was not seen, and how long a talk may have been.

use crate::dialect::step;

step! {
    /// Between `answered_after` and `answered_before` the caller was answered; NULL where that was seen. `talk_min_ms` and `talk_max_ms` are
    /// NULL where `talk_ms` is certain. What is uncertain is rare: sums find it by an index of its own.
    "ALTER TABLE call_logs ADD COLUMN answered_after $TIME NULL;
    ALTER TABLE call_logs ADD COLUMN answered_before $TIME NULL;
    ALTER TABLE call_logs ADD COLUMN talk_min_ms $INT NULL;
    ALTER TABLE call_logs ADD COLUMN talk_max_ms $INT NULL;
    UPDATE call_logs SET
        talk_min_ms = CASE WHEN ended_after > answered_at THEN $MS(ended_after $) - $MS(answered_at $) ELSE 0 END,
        talk_max_ms = $MS(ended_before $) - $MS(answered_at $)
        WHERE answered_at IS NOT NULL AND ended_after < ended_before;
    CREATE INDEX call_logs_uncertain ON call_logs (arrived_at, call_id) WHERE talk_max_ms IS NOT NULL;"
}
