//! What tells a refresh token of the family from one that was made up.

use crate::dialect::step;

step! {
    /// Hash of the secret that all refresh tokens of a session share. Sessions opened before have none and cannot be refreshed any
    /// more: their users log in again.
    "ALTER TABLE sessions ADD COLUMN family_hash TEXT NOT NULL DEFAULT '';"
}
