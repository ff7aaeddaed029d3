//! Answers that are given again: `Idempotency-Key`.

use crate::dialect::step;

step! {
    /// Only a digest of the key is kept. A row without status is a request that runs, until `leased_until`.
    "CREATE TABLE idempotency_keys (
        id $ID,
        user_id $INT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        operation TEXT NOT NULL,
        key_hash TEXT NOT NULL,
        request_hash TEXT NOT NULL,
        holder $UUID NOT NULL,
        created_at $TIME NOT NULL,
        leased_until $TIME NOT NULL,
        status $INT32 NULL CHECK (status BETWEEN 200 AND 499),
        content_type TEXT NULL,
        body TEXT NULL,
        UNIQUE (user_id, operation, key_hash)
    ) $STRICT;
    CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);"
}
