use chrono::TimeZone;
use serde_json::json;

use super::*;
use crate::cdr::record::{AttemptOutcome, AttemptRecord, DialStatus, HungUpBy};
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};

fn at(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(1_795_000_000_000 + millis).unwrap()
}

fn attempt(number: u32, client: &str, outcome: AttemptOutcome) -> AttemptRecord {
    AttemptRecord {
        number,
        link_id: LinkId(number.into()),
        client_id: ClientId(number.into()),
        client_name: client.to_owned(),
        client_identifier: client.to_lowercase(),
        started_at: at(10),
        ringing_at: Some(at(100)),
        answered_at: None,
        ended_at: at(1_600),
        outcome,
        q850_cause: Some(17),
        sip_code: Some(486),
        counted: false,
    }
}

fn answered() -> CallRecord {
    let mut second = attempt(2, "Beta", AttemptOutcome::Answered);
    second.answered_at = Some(at(5_100));
    second.ended_at = at(46_100);
    second.counted = true;
    CallRecord {
        call_id: CallId::derive(at(0), "pbx", "1.1"),
        node: "pbx".into(),
        uniqueid: "1.1".into(),
        linkedid: "1.1".into(),
        sip_call_id: Some("abc@carrier".into()),
        dialled_raw: "02079460958".into(),
        dialled_number: Some("+442079460958".into()),
        caller_raw: Some("07700900123".into()),
        caller_number: Some("+447700900123".into()),
        caller_name: Some("Bob\u{1b}[2J".into()),
        caller_presentation: Presentation::Allowed,
        seller_id: Some(UserId(1)),
        seller_name: Some("Acme".into()),
        did_id: Some(DidId(1)),
        campaign_id: Some(CampaignId(1)),
        campaign_name: Some("Solar".into()),
        last_link_id: Some(LinkId(2)),
        answered_link_id: Some(LinkId(2)),
        answered_client_id: Some(ClientId(2)),
        answered_client_name: Some("Beta".into()),
        arrived_at: at(0),
        ringing_at: Some(at(100)),
        answered_at: Some(at(5_100)),
        ended_at: at(46_100),
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        ring_ms: 5_000,
        talk_ms: 41_049,
        dialstatus: DialStatus::Answer,
        q850_cause: Some(16),
        sip_code: Some(200),
        hung_up_by: HungUpBy::Caller,
        ending: "completed".into(),
        trace: Some(trace().into()),
        timeline: json!([{"at_ms": 0, "event": "arrived"}, {"at_ms": 5100, "event": "answered(2)"}]).into(),
        legacy: None,
        attempts: vec![attempt(1, "Alpha", AttemptOutcome::Busy), second],
    }
}

fn trace() -> serde_json::Value {
    let link = |id: i64, verdict: &str, position: Option<usize>| {
        json!({"link": id, "client_id": id, "client": format!("Client {id}"), "identifier": format!("c{id}"), "verdict": verdict,
            "position": position, "used": 3, "limit": 3, "total_used": 7, "total_limit": 8, "client_used": 9, "client_limit": null,
            "priority": 1, "weight": 5, "credit_millionths": 0})
    };
    json!({"revision": 42, "did": 1, "seller": 1, "campaign_id": 1, "campaign": "Solar", "strategy": "round_robin",
        "campaign_used": 4, "campaign_limit": 10, "last_offered": 2, "candidates": [2, 1],
        "links": [link(1, "candidate", Some(2)), link(2, "candidate", Some(1)), link(3, "link_full", None),
            link(4, "total_reached", None), link(5, "client_paused", None), link(6, "campaign_full", None), link(7, "new word", None)]})
}

fn column(table: &str, heading: &str) -> Vec<String> {
    let mut lines = table.lines();
    let head: Vec<char> = lines.next().unwrap().chars().collect();
    let start = head.iter().collect::<String>().find(heading).unwrap();
    let cell = |line: &str| {
        let rest: String = line.chars().skip(start).collect();
        rest.split("  ").find(|cell| !cell.is_empty()).unwrap_or_default().trim().to_owned()
    };
    lines.map(cell).collect()
}

#[test]
fn calls_are_one_line_each() {
    let mut withheld = answered();
    withheld.call_id = CallId::derive(at(60_000), "pbx", "1.2");
    withheld.caller_presentation = Presentation::Withheld;
    (withheld.caller_raw, withheld.caller_number, withheld.caller_name) = (None, None, None);
    (withheld.answered_client_name, withheld.answered_at) = (None, None);
    withheld.attempts.truncate(1);
    withheld.campaign_name = Some("A campaign with a very long name".into());
    let mut unknown = answered();
    unknown.call_id = CallId::derive(at(120_000), "pbx", "1.3");
    (unknown.dialled_number, unknown.dialled_raw) = (None, "abc\u{1b}[31m".into());
    (unknown.campaign_name, unknown.answered_client_name, unknown.ringing_at) = (None, None, None);
    (unknown.sip_code, unknown.attempts) = (Some(404), vec![]);

    let table = calls(&[answered(), withheld, unknown]);
    assert_eq!(column(&table, "DID"), ["+442079460958", "+442079460958", "abc\u{fffd}[31m"]);
    assert_eq!(column(&table, "caller"), ["+447700900123", "withheld", "+447700900123"]);
    assert_eq!(column(&table, "campaign"), ["Solar", "A campaign with a v…", "-"]);
    assert_eq!(column(&table, "client"), ["Beta", "(Alpha)", "-"]);
    assert_eq!(column(&table, "talk s"), ["41.0", "-", "41.0"]);
    assert!(!table.contains('\u{1b}'), "callers must not steer the terminal");
    assert_eq!(calls(&[]), "no calls yet\n");
}

#[test]
fn shown_ids_tell_calls_apart_and_lead_back_to_them() {
    let mut same_moment = answered();
    same_moment.call_id = CallId::derive(at(0), "pbx", "1.9");
    let records = [answered(), same_moment];
    let shown = last_column(&calls(&records));
    for (record, short) in records.iter().zip(&shown) {
        let (first, last) = id_range(short).unwrap();
        assert!(first <= record.call_id && record.call_id <= last, "{short}");
        let others = records.iter().filter(|other| first <= other.call_id && other.call_id <= last);
        assert_eq!(others.count(), 1, "{short} names one call");
    }
    let full = records[0].call_id.to_string();
    assert_eq!(id_range(&full), Some((records[0].call_id, records[0].call_id)));
    for bad in ["", "-", "xyz", &format!("{full}0")] {
        assert_eq!(id_range(bad), None, "{bad}");
    }
}

fn last_column(table: &str) -> Vec<String> {
    table.lines().skip(1).filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

#[test]
fn why_tells_the_decision_in_words_with_its_figures() {
    let text = why(&answered());
    for part in [
        "+442079460958 (sent as 02079460958), seller Acme",
        "+447700900123 \"Bob\u{fffd}[2J\"",
        "completed by caller: answered by Beta, talked 41.0 s, rang 5.0 s",
        "SIP 200 to the caller, Q.850 cause 16, dialstatus ANSWER",
        "strategy round_robin in campaign Solar (calls: 4 of 10), routing revision 42",
        "link full: 3 of 3",
        "link's total reached (calls in flight count): 7 of 8",
        "client is not active",
        "campaign full: 4 of 10",
        "9, no limit",
        "new word",
        "     5.100  answered(2)",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    let first = text.lines().position(|line| line.contains("Client 2 (c2)")).unwrap();
    let second = text.lines().position(|line| line.contains("Client 1 (c1)")).unwrap();
    assert!(first < second, "candidates come in the order they were tried");
    let busy = text.lines().find(|line| line.contains("Alpha (alpha)")).unwrap();
    let cells: Vec<&str> = busy.split_whitespace().collect();
    assert_eq!(cells, ["1", "Alpha", "(alpha)", "1", "busy", "486", "17", "0.0", "1.5", "-", "no"]);
}

#[test]
fn why_says_within_which_time_an_unseen_end_was() {
    let mut lost = answered();
    assert!(!why(&lost).contains("not seen"));
    lost.ending = "lost".to_owned();
    (lost.ended_after, lost.ended_before) = (Some(at(46_100)), Some(at(136_100)));
    let text = why(&lost);
    let line = text.lines().find(|line| line.contains("not seen")).unwrap();
    let (after, before) = (instant(at(46_100)), instant(at(136_100)));
    assert!(line.ends_with(&format!("between {after} and {before}")), "{line}");
    assert!(text.contains("answered by Beta, talked 41.0-131.0 s"), "{text}");
}

#[test]
fn an_unseen_answer_is_told_with_its_time_and_a_talk_that_may_have_been_with_its_bounds() {
    let mut found = answered();
    (found.answered_after, found.answered_before) = (Some(at(2_100)), Some(at(6_100)));
    let text = why(&found);
    let line = text.lines().find(|line| line.contains("its answer was not seen")).unwrap();
    let (after, before) = (instant(at(2_100)), instant(at(6_100)));
    assert!(line.ends_with(&format!("between {after} and {before}")), "{line}");
    assert!(calls(&[found.clone()]).contains(" 40.0-44.0 "));

    (found.answered_at, found.answered_client_name, found.talk_ms) = (None, None, 0);
    let text = why(&found);
    assert!(text.contains("perhaps answered, talked 0.0-44.0 s"), "{text}");
    assert!(text.contains("its answer, if it came, was not seen"), "{text}");
    assert!(calls(&[found]).contains(" 0.0-44.0 "));
}

#[test]
fn why_bears_a_trace_it_does_not_know_and_a_call_without_one() {
    let mut record = answered();
    record.trace = Some(json!({"later": "form"}).into());
    assert!(why(&record).contains("\"later\": \"form\""));
    (record.trace, record.attempts, record.timeline) = (None, vec![], json!(null).into());
    record.ending = "unknown_did".into();
    let text = why(&record);
    for part in ["no campaign was reached: unknown_did", "nobody was dialled", "none was kept"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
