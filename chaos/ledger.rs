//! What was written down: the records in PostgreSQL and the fallback's lines, read past the controller.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::scene::Scene;

/// One row of `call_logs`, with its attempts.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    /// The call's id.
    pub(crate) call_id: String,
    /// The carrier's SIP Call-ID.
    pub(crate) sip_call_id: Option<String>,
    /// The typed reason of the end.
    pub(crate) ending: String,
    /// Answer.
    pub(crate) answered_at: Option<DateTime<Utc>>,
    /// Answer to end in milliseconds.
    pub(crate) talk_ms: i64,
    /// At least, as is certain.
    pub(crate) talk_min_ms: i64,
    /// At most.
    pub(crate) talk_max_ms: i64,
    /// Where the answer was not seen: it was after this.
    pub(crate) answered_after: Option<DateTime<Utc>>,
    /// Where the answer was not seen: it was before this.
    pub(crate) answered_before: Option<DateTime<Utc>>,
    /// Where the end was not seen: it was after this.
    pub(crate) ended_after: Option<DateTime<Utc>>,
    /// Where the end was not seen: it was before this.
    pub(crate) ended_before: Option<DateTime<Utc>>,
    /// Its dials.
    pub(crate) attempts: Vec<Attempt>,
}

/// One row of `call_attempts`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attempt {
    /// The client's name in the plan.
    pub(crate) client_identifier: String,
}

/// A link's count and the attempts that make it up.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Count {
    /// The campaign.
    pub(crate) campaign: String,
    /// The client.
    pub(crate) client: String,
    /// `current_total_calls` of the link.
    pub(crate) current_total_calls: i64,
    /// Its counted attempts.
    pub(crate) counted: i64,
}

const ROWS: &str = "SELECT c.call_id, c.sip_call_id, c.ending, c.answered_at, c.talk_ms, \
    coalesce(c.talk_min_ms, c.talk_ms) AS talk_min_ms, coalesce(c.talk_max_ms, c.talk_ms) AS talk_max_ms, \
    c.answered_after, c.answered_before, c.ended_after, c.ended_before, \
    coalesce((SELECT json_agg(a ORDER BY a.number) FROM call_attempts a WHERE a.call_id = c.call_id), '[]') AS attempts \
    FROM call_logs c ORDER BY c.arrived_at";
const COUNTS: &str = "SELECT g.name AS campaign, t.client_identifier AS client, l.current_total_calls, \
    (SELECT count(*) FROM call_attempts a WHERE a.link_id = l.id AND a.counted) AS counted \
    FROM campaign_client_settings l JOIN campaigns g ON g.id = l.campaign_id JOIN clients t ON t.id = l.client_id";

impl Scene {
    /// All records.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.select(ROWS)
    }

    /// Every link's count.
    pub(crate) fn counts(&self) -> Vec<Count> {
        self.select(COUNTS)
    }

    fn select<T: for<'de> Deserialize<'de>>(&self, query: &str) -> Vec<T> {
        let text = self.database.psql(&format!("SELECT coalesce(json_agg(r), '[]') FROM ({query}) r"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("psql does not answer as expected: {e}"))
    }

    /// Whether each of the fallback's lines has a record.
    pub(crate) fn all_imported(&self) -> bool {
        let rows = self.rows();
        let recorded: HashSet<&str> = rows.iter().filter_map(|row| row.sip_call_id.as_deref()).collect();
        self.spooled().iter().all(|id| recorded.contains(id.as_str()))
    }

    /// SIP Call-IDs of the fallback's lines.
    pub(crate) fn spooled(&self) -> Vec<String> {
        let value =
            |line: &String| line.split(' ').find_map(|word| word.strip_prefix("sip_call_id=")).map(str::to_owned);
        let ids = self.node.spooled().iter().filter_map(value).collect::<Vec<_>>();
        ids.iter().map(|id| percent_decode_str(id).decode_utf8_lossy().into_owned()).collect()
    }
}
