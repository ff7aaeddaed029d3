//! What PostgreSQL is given after the steps, outside of their transaction and beside all else that goes on: indexes of large tables, which
//! are built without keeping anybody from writing, and values of rows that were there before a column.
//!
//! SQLite has one writer and no such way: there the steps make all of it.

/// An index, and what is to be in the rows before it can be relied on. Where it is there, all of it has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// The index's name.
    pub index: &'static str,
    /// Makes it, in no transaction.
    pub create: &'static str,
    /// Rows to be filled before.
    pub fill: Option<Fill>,
}

/// Values of old rows, slice by slice in the order of a UUID key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// The last key of the slice behind `$1`; no row where what is left is less than a slice.
    pub last: &'static str,
    /// Fills rows whose key is behind `$1`, up to `$2` (NULL: to the end).
    pub rows: &'static str,
}

/// All that is made later, in this order.
pub const LATER: [Later; 2] = [
    Later {
        index: "call_logs_uncertain",
        create: "CREATE INDEX CONCURRENTLY call_logs_uncertain ON call_logs (arrived_at, call_id) WHERE talk_max_ms IS NOT NULL",
        fill: Some(Fill {
            last: "SELECT call_id FROM call_logs WHERE call_id > $1 ORDER BY call_id OFFSET 9999 LIMIT 1",
            rows: "UPDATE call_logs SET
                talk_min_ms = CASE WHEN ended_after > answered_at
                    THEN CAST(ROUND(EXTRACT(EPOCH FROM ended_after) * 1000) AS BIGINT)
                        - CAST(ROUND(EXTRACT(EPOCH FROM answered_at) * 1000) AS BIGINT) ELSE 0 END,
                talk_max_ms = CAST(ROUND(EXTRACT(EPOCH FROM ended_before) * 1000) AS BIGINT)
                    - CAST(ROUND(EXTRACT(EPOCH FROM answered_at) * 1000) AS BIGINT)
                WHERE call_id > $1 AND ($2::uuid IS NULL OR call_id <= $2)
                    AND answered_at IS NOT NULL AND ended_after < ended_before AND talk_max_ms IS NULL",
        }),
    },
    Later { index: "audit_at", create: "CREATE INDEX CONCURRENTLY audit_at ON audit (at)", fill: None },
];
