//! A record that needs no other rows.

use capconduit::cdr::record::{CallRecord, DialStatus, HungUpBy, Presentation};
use capconduit::id::CallId;
use chrono::{TimeZone, Utc};

/// A withheld caller to an unknown DID, `millis` after a fixed moment.
pub(crate) fn at(millis: i64, uniqueid: &str) -> CallRecord {
    let arrived_at = Utc.timestamp_millis_opt(1_795_000_000_000 + millis).single().expect("a moment");
    CallRecord {
        call_id: CallId::derive(arrived_at, "pbx", uniqueid),
        node: "pbx".into(),
        uniqueid: uniqueid.into(),
        linkedid: uniqueid.into(),
        sip_call_id: None,
        dialled_raw: "+442079460958".into(),
        dialled_number: Some("+442079460958".into()),
        caller_raw: None,
        caller_number: None,
        caller_name: None,
        caller_presentation: Presentation::Withheld,
        seller_id: None,
        seller_name: None,
        did_id: None,
        campaign_id: None,
        campaign_name: None,
        last_link_id: None,
        answered_link_id: None,
        answered_client_id: None,
        answered_client_name: None,
        arrived_at,
        ringing_at: None,
        answered_at: None,
        ended_at: arrived_at,
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        ring_ms: 0,
        talk_ms: 0,
        dialstatus: DialStatus::ChanUnavail,
        q850_cause: Some(1),
        sip_code: Some(404),
        hung_up_by: HungUpBy::System,
        ending: "unknown_did".into(),
        trace: None,
        timeline: serde_json::json!([]).into(),
        legacy: None,
        attempts: Vec::new(),
    }
}
