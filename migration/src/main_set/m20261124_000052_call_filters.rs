//! What filtered lists of calls need when there are millions of them.

use crate::dialect::step;

step! {
    /// Each index serves one filter in the order of the list. The columns behind `call_id` let the other filters be checked in the index
    /// itself: rows are wide, and reading those that do not match is what takes the time. Long talks are few: two indexes hold these
    /// alone (the limits stand in `store/calls.rs`, too). Dials carry what is asked of their calls, so that a client's or link's calls are
    /// found in order, whoever else has calls.
    "DROP INDEX call_logs_arrived;
    DROP INDEX call_logs_seller;
    DROP INDEX call_logs_did;
    DROP INDEX call_logs_campaign;
    DROP INDEX call_logs_dialled;
    DROP INDEX call_logs_caller;
    DROP INDEX call_logs_ending;
    DROP INDEX call_logs_talk;
    CREATE INDEX call_logs_arrived ON call_logs (arrived_at, call_id, seller_id, ending, talk_ms, answered_at);
    CREATE INDEX call_logs_seller ON call_logs (seller_id, arrived_at, call_id, ending, talk_ms, answered_at);
    CREATE INDEX call_logs_seller_ending ON call_logs (seller_id, ending, arrived_at, call_id, talk_ms, answered_at);
    CREATE INDEX call_logs_did ON call_logs (did_id, arrived_at, call_id, seller_id, ending, talk_ms, answered_at);
    CREATE INDEX call_logs_campaign ON call_logs (campaign_id, arrived_at, call_id, seller_id, ending, talk_ms, answered_at);
    CREATE INDEX call_logs_dialled ON call_logs (dialled_number, arrived_at, call_id, seller_id, ending, talk_ms, answered_at);
    CREATE INDEX call_logs_caller ON call_logs (caller_number, arrived_at, call_id, seller_id, did_id, ending, talk_ms, answered_at);
    CREATE INDEX call_logs_ending ON call_logs (ending, arrived_at, call_id, seller_id, campaign_id, did_id, talk_ms, answered_at);
    CREATE INDEX call_logs_talk_4_min ON call_logs (arrived_at, call_id, seller_id, ending, talk_ms) WHERE talk_ms >= 240000;
    CREATE INDEX call_logs_talk_16_min ON call_logs (arrived_at, call_id, seller_id, ending, talk_ms) WHERE talk_ms >= 960000;
    ALTER TABLE call_attempts ADD COLUMN call_arrived_at $TIME NULL;
    ALTER TABLE call_attempts ADD COLUMN call_seller_id $INT NULL;
    ALTER TABLE call_attempts ADD COLUMN call_ending TEXT NULL;
    ALTER TABLE call_attempts ADD COLUMN call_talk_ms $INT NULL;
    ALTER TABLE call_attempts ADD COLUMN call_answered_at $TIME NULL;
    UPDATE call_attempts SET call_arrived_at = call_logs.arrived_at, call_seller_id = call_logs.seller_id,
        call_ending = call_logs.ending, call_talk_ms = call_logs.talk_ms, call_answered_at = call_logs.answered_at
        FROM call_logs WHERE call_logs.call_id = call_attempts.call_id;
    DROP INDEX call_attempts_client;
    DROP INDEX call_attempts_link;
    CREATE INDEX call_attempts_client ON call_attempts
        (client_id, call_arrived_at, call_id, call_seller_id, call_ending, call_talk_ms, call_answered_at);
    CREATE INDEX call_attempts_link ON call_attempts
        (link_id, call_arrived_at, call_id, call_seller_id, call_ending, call_talk_ms, call_answered_at);"
}
