//! Which sellers may use a client, and what they see of it.

use crate::dialect::step;

step! {
    /// `client_sellers` matters only where `access` is `selected`. `retired_identifiers` holds, in lower case, the identifiers of deleted
    /// clients: records and call centres' own settings still name them, so no other client may take one.
    "ALTER TABLE clients ADD COLUMN access TEXT NOT NULL DEFAULT 'all' CHECK (access IN ('all', 'selected'));
    ALTER TABLE clients ADD COLUMN mask_name TEXT NULL CHECK (mask_name <> '');
    ALTER TABLE clients ADD COLUMN contact TEXT NULL;
    ALTER TABLE clients ADD COLUMN time_zone TEXT NULL;
    CREATE TABLE client_sellers (
        client_id $INT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
        seller_id $INT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        PRIMARY KEY (client_id, seller_id)
    ) $STRICT;
    CREATE INDEX client_sellers_seller ON client_sellers (seller_id);
    CREATE TABLE retired_identifiers (
        identifier TEXT NOT NULL PRIMARY KEY CHECK (identifier = lower(identifier))
    ) $STRICT;"
}
