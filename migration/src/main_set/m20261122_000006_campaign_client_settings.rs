//! Links: one campaign–client pair with its own caps.

use crate::dialect::step;

step! {
    /// A NULL limit means no limit, 0 means none allowed. `current_total_calls` changes only in the transaction that writes records.
    "CREATE TABLE campaign_client_settings (
        id $ID,
        campaign_id $INT NOT NULL REFERENCES campaigns (id),
        client_id $INT NOT NULL REFERENCES clients (id),
        max_concurrency $INT NULL CHECK (max_concurrency BETWEEN 0 AND 4294967295),
        total_calls_allowed $INT NULL CHECK (total_calls_allowed >= 0),
        current_total_calls $INT NOT NULL DEFAULT 0 CHECK (current_total_calls >= 0),
        forwarding_priority $INT32 NOT NULL DEFAULT 1,
        weight $INT32 NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 10000),
        ring_timeout_seconds $INT NULL CHECK (ring_timeout_seconds BETWEEN 1 AND 600),
        count_on TEXT NOT NULL DEFAULT 'answered' CHECK (count_on IN ('answered', 'attempted')),
        status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'archived')),
        UNIQUE (campaign_id, client_id)
    ) $STRICT;
    CREATE INDEX campaign_client_settings_client ON campaign_client_settings (client_id);"
}
