//! What moving over from the old platform needs.

use crate::dialect::step;

step! {
    /// `legacy_id` is the id that an object had there. `call_logs.legacy` stands in records of calls that the old dialplan handled and
    /// reported (`CallRecord::legacy`); one channel of a node is reported once, and a call that was handled here is found by its channel.
    "ALTER TABLE users ADD COLUMN legacy_id TEXT NULL CHECK (legacy_id <> '');
    ALTER TABLE dids ADD COLUMN legacy_id TEXT NULL CHECK (legacy_id <> '');
    ALTER TABLE campaigns ADD COLUMN legacy_id TEXT NULL CHECK (legacy_id <> '');
    ALTER TABLE campaign_client_settings ADD COLUMN legacy_id TEXT NULL CHECK (legacy_id <> '');
    ALTER TABLE call_logs ADD COLUMN legacy $JSON NULL;
    CREATE UNIQUE INDEX users_legacy ON users (legacy_id);
    CREATE UNIQUE INDEX dids_legacy ON dids (legacy_id);
    CREATE UNIQUE INDEX campaigns_legacy ON campaigns (legacy_id);
    CREATE UNIQUE INDEX campaign_client_settings_legacy ON campaign_client_settings (legacy_id);
    CREATE INDEX call_logs_channel ON call_logs (node, uniqueid);
    CREATE UNIQUE INDEX call_logs_legacy ON call_logs (node, uniqueid) WHERE legacy IS NOT NULL;"
}
