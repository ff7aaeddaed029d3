//! Sessions: each a family of refresh tokens.

use crate::dialect::step;

step! {
    /// Only a hash of the one good refresh token is kept; an older one of the family ends the family.
    "CREATE TABLE sessions (
        id $UUID NOT NULL PRIMARY KEY,
        user_id $INT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        refresh_hash TEXT NOT NULL,
        created_at $TIME NOT NULL,
        expires_at $TIME NOT NULL,
        refreshed_at $TIME NOT NULL,
        revoked_at $TIME NULL
    ) $STRICT;
    CREATE INDEX sessions_user ON sessions (user_id);
    CREATE INDEX sessions_expires ON sessions (expires_at);"
}
