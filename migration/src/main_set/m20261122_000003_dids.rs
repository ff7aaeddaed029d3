//! Inbound numbers.

use crate::dialect::step;

step! {
    /// `(id, seller_id)` is unique so that `campaign_dids` can hold a DID to its own seller's campaigns.
    "CREATE TABLE dids (
        id $ID,
        number TEXT NOT NULL UNIQUE CHECK (length(number) BETWEEN 1 AND 64),
        seller_id $INT NOT NULL REFERENCES users (id),
        status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'archived')),
        UNIQUE (id, seller_id)
    ) $STRICT;
    CREATE INDEX dids_seller ON dids (seller_id);"
}
