//! API tokens for scripts.

use crate::dialect::step;

step! {
    /// A token is 256 random bits, so that a plain SHA-256 of it cannot be turned back.
    "CREATE TABLE api_tokens (
        id $ID,
        user_id $INT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        scope TEXT NOT NULL CHECK (scope IN ('read', 'write')),
        created_at $TIME NOT NULL,
        expires_at $TIME NULL,
        last_used_at $TIME NULL,
        revoked_at $TIME NULL
    ) $STRICT;
    CREATE INDEX api_tokens_user ON api_tokens (user_id);"
}
