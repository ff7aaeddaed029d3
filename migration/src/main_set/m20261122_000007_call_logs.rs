//! One row for every call.

use crate::dialect::step;

step! {
    /// No foreign key to any configured object: a record outlives them, with their names copied. Only the enums are checked, because a
    /// record that cannot be written is worse than an odd one. The indexes serve lists: newest first, of all or of one seller, DID, campaign.
    "CREATE TABLE call_logs (
        call_id $UUID NOT NULL PRIMARY KEY,
        node TEXT NOT NULL,
        uniqueid TEXT NOT NULL,
        linkedid TEXT NOT NULL,
        sip_call_id TEXT NULL,
        dialled_raw TEXT NOT NULL,
        dialled_number TEXT NULL,
        caller_raw TEXT NULL,
        caller_number TEXT NULL,
        caller_name TEXT NULL,
        caller_presentation TEXT NOT NULL CHECK (caller_presentation IN ('allowed', 'withheld', 'unavailable')),
        seller_id $INT NULL,
        seller_name TEXT NULL,
        did_id $INT NULL,
        campaign_id $INT NULL,
        campaign_name TEXT NULL,
        last_link_id $INT NULL,
        answered_link_id $INT NULL,
        answered_client_id $INT NULL,
        answered_client_name TEXT NULL,
        arrived_at $TIME NOT NULL,
        ringing_at $TIME NULL,
        answered_at $TIME NULL,
        ended_at $TIME NOT NULL,
        ring_ms $INT NOT NULL,
        talk_ms $INT NOT NULL,
        dialstatus TEXT NOT NULL CHECK (dialstatus IN ('ANSWER', 'BUSY', 'NOANSWER', 'CANCEL', 'CONGESTION', 'CHANUNAVAIL')),
        q850_cause $SMALL NULL,
        sip_code $SMALL NULL,
        hung_up_by TEXT NOT NULL CHECK (hung_up_by IN ('caller', 'client', 'system')),
        ending TEXT NOT NULL,
        trace $JSON NULL,
        timeline $JSON NOT NULL
    ) $STRICT;
    CREATE INDEX call_logs_arrived ON call_logs (arrived_at, call_id);
    CREATE INDEX call_logs_seller ON call_logs (seller_id, arrived_at, call_id);
    CREATE INDEX call_logs_did ON call_logs (did_id, arrived_at, call_id);
    CREATE INDEX call_logs_campaign ON call_logs (campaign_id, arrived_at, call_id);"
}
