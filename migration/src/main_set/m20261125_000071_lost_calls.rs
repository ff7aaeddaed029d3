//! Calls whose end was not seen.

use crate::dialect::step;

step! {
    /// Between `ended_after` and `ended_before` the call ended; NULL where its end was seen. An attempt may come out `unknown`: SQLite
    /// changes no CHECK of a table, so this one is made anew.
    "ALTER TABLE call_logs ADD COLUMN ended_after $TIME NULL;
    ALTER TABLE call_logs ADD COLUMN ended_before $TIME NULL;
    CREATE TABLE call_attempts_anew (
        call_id $UUID NOT NULL REFERENCES call_logs (call_id) ON DELETE CASCADE,
        number $INT NOT NULL CHECK (number >= 1),
        link_id $INT NOT NULL,
        client_id $INT NOT NULL,
        client_name TEXT NOT NULL,
        client_identifier TEXT NOT NULL,
        started_at $TIME NOT NULL,
        ringing_at $TIME NULL,
        answered_at $TIME NULL,
        ended_at $TIME NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('answered', 'busy', 'no_answer', 'no_progress', 'rejected', 'congestion',
            'unavailable', 'misconfigured', 'redirected', 'cancelled', 'answered_late', 'unknown', 'failed')),
        q850_cause $SMALL NULL,
        sip_code $SMALL NULL,
        counted $BOOL NOT NULL,
        call_arrived_at $TIME NULL,
        call_seller_id $INT NULL,
        call_ending TEXT NULL,
        call_talk_ms $INT NULL,
        call_answered_at $TIME NULL,
        PRIMARY KEY (call_id, number)
    ) $STRICT;
    INSERT INTO call_attempts_anew (call_id, number, link_id, client_id, client_name, client_identifier, started_at, ringing_at, answered_at,
            ended_at, outcome, q850_cause, sip_code, counted, call_arrived_at, call_seller_id, call_ending, call_talk_ms, call_answered_at)
        SELECT call_id, number, link_id, client_id, client_name, client_identifier, started_at, ringing_at, answered_at,
            ended_at, outcome, q850_cause, sip_code, counted, call_arrived_at, call_seller_id, call_ending, call_talk_ms, call_answered_at
        FROM call_attempts;
    DROP TABLE call_attempts;
    ALTER TABLE call_attempts_anew RENAME TO call_attempts;
    CREATE INDEX call_attempts_client ON call_attempts
        (client_id, call_arrived_at, call_id, call_seller_id, call_ending, call_talk_ms, call_answered_at);
    CREATE INDEX call_attempts_link ON call_attempts
        (link_id, call_arrived_at, call_id, call_seller_id, call_ending, call_talk_ms, call_answered_at);
    CREATE INDEX call_attempts_seller_client ON call_attempts
        (call_seller_id, client_id, call_arrived_at, call_id, call_ending, call_talk_ms, call_answered_at);"
}
