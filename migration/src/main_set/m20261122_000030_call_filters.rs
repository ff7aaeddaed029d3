//! What filtered lists of calls need.

use crate::dialect::step;

step! {
    /// Each serves one filter, in the order of the list. Long talk times are few: their own index finds them, and sorting them is cheap.
    "CREATE INDEX call_logs_dialled ON call_logs (dialled_number, arrived_at, call_id);
    CREATE INDEX call_logs_caller ON call_logs (caller_number, arrived_at, call_id);
    CREATE INDEX call_logs_ending ON call_logs (ending, arrived_at, call_id);
    CREATE INDEX call_logs_talk ON call_logs (talk_ms);"
}
