//! One call's record, as `capconduit calls --json` prints it.

use serde_json::Value;

/// A record; fields are named as in `cdr::record::CallRecord`.
#[derive(Debug, Clone)]
pub(crate) struct Record(pub(crate) Value);

impl Record {
    /// A text field; empty when it is null or absent.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or("")
    }

    /// A number; `None` when it is null or absent.
    pub(crate) fn number(&self, field: &str) -> Option<i64> {
        self.0[field].as_i64()
    }

    /// `client outcome` of every attempt, in order.
    pub(crate) fn attempts(&self) -> Vec<String> {
        let attempts = self.0["attempts"].as_array();
        let attempts = attempts.unwrap_or_else(|| panic!("a record without attempts: {}", self.0));
        let word = |attempt: &Value, field: &str| attempt[field].as_str().unwrap_or("?").to_owned();
        attempts.iter().map(|one| format!("{} {}", word(one, "client_identifier"), word(one, "outcome"))).collect()
    }
}
