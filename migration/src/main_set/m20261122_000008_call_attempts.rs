//! One row for every dial.

use crate::dialect::step;

step! {
    /// The indexes answer "does any record refer to this link or client?" and lists of one client's calls.
    "CREATE TABLE call_attempts (
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
            'unavailable', 'misconfigured', 'redirected', 'cancelled', 'answered_late', 'failed')),
        q850_cause $SMALL NULL,
        sip_code $SMALL NULL,
        counted $BOOL NOT NULL,
        PRIMARY KEY (call_id, number)
    ) $STRICT;
    CREATE INDEX call_attempts_link ON call_attempts (link_id, started_at);
    CREATE INDEX call_attempts_client ON call_attempts (client_id, started_at);"
}
