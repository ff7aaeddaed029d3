use chrono_tz::Europe::London;
use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::reading::dialstatus;
use super::*;
use crate::routing::number::Normaliser;

fn moment(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect(text).to_utc()
}

/// Long after every time of these tests but for those that look at it.
pub(super) fn later() -> DateTime<Utc> {
    moment("2026-12-01T12:00:00Z")
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn report(value: Value) -> Report {
    read(&fields(value), later(), London).expect("it is understood")
}

fn unreadable(value: Value) -> Vec<String> {
    report(value).unreadable
}

pub(super) fn answered_call() -> Value {
    json!({
        "uniqueid": "pbx-1795349909.10", "linkedid": "", "dnid": "02079460001", "caller_number": "07700900123", "caller_name": "Ann",
        "start": "2026-11-22 14:00:00", "answer": "2026-11-22 14:00:07", "end": "2026-11-22 14:01:07", "dialstatus": "ANSWER",
        "hangupcause": "16", "effective_ccs_id": 77, "user_id": "3", "campaign_id": " 5 ", "did_id": "",
    })
}

#[test]
fn numbers_may_be_texts_what_is_empty_is_absent_and_what_is_not_known_is_ignored() {
    let mut posted = answered_call();
    posted["anything"] = json!({"else": []});
    let report = report(posted);
    assert_eq!((report.uniqueid.as_str(), report.linkedid.as_str()), ("pbx-1795349909.10", "pbx-1795349909.10"));
    assert_eq!((report.start, report.end), (moment("2026-11-22T14:00:00Z"), moment("2026-11-22T14:01:07Z")));
    assert_eq!((report.dialstatus, report.cause), (Some(DialStatus::Answer), Some(16)));
    let [link, user, campaign] = ["77", "3", "5"].map(|id| Some(id.to_owned()));
    assert_eq!(report.ids, Ids { link, user, campaign, did: None });
}

#[test]
fn little_is_enough() {
    let report =
        report(json!({"uniqueid": "1.1", "dialstatus": "", "start": null, "effective_ccs_id": 0, "hangupcause": 0}));
    assert_eq!((report.start, report.answer, report.end), (later(), None, later()));
    assert_eq!((report.dialstatus, report.cause, report.ids), (None, None, Ids::default()));
    assert_eq!((report.dnid.as_str(), report.caller_number.as_str(), report.caller_name), ("", "", None));
}

#[test]
fn other_names_of_a_field_are_known() {
    let report = report(json!({"agi_uniqueid": "1.1", "callerid_num": 447_700_900_123_i64, "calleridname": "unknown",
        "agi_dnid": "+442079460001", "start_time": 1_795_349_909, "dial_status": "NO ANSWER", "hangup_cause": 19}));
    assert_eq!((report.caller_number.as_str(), report.caller_name), ("447700900123", None));
    assert_eq!(
        (report.dnid.as_str(), report.dialstatus, report.cause),
        ("+442079460001", Some(DialStatus::NoAnswer), Some(19))
    );
    assert_eq!(report.start.timestamp(), 1_795_349_909);
}

#[test]
fn only_what_says_nothing_is_refused() {
    for posted in [json!({}), json!({"uniqueid": ""}), json!({"node": "pbx"}), json!({"anything": 1})] {
        let fault = read(&fields(posted.clone()), later(), London).expect_err("nothing is reported");
        assert_eq!((fault.field, fault.code), ("uniqueid", "required"), "{posted}");
    }
}

#[test]
fn what_cannot_be_read_is_left_out_and_named() {
    for (posted, expected) in [
        (json!({"uniqueid": 1795349909.1}), vec!["uniqueid"]),
        (json!({"uniqueid": "1 1"}), vec!["uniqueid"]),
        (json!({"dnid": "1"}), vec!["uniqueid"]),
        (json!({"uniqueid": "1.1", "linkedid": [1]}), vec!["linkedid"]),
        (json!({"uniqueid": "1.1", "start": "yesterday"}), vec!["start"]),
        (json!({"uniqueid": "1.1", "start": "1999-12-31 23:59:59"}), vec!["start"]),
        (json!({"uniqueid": "1.1", "end": "2026-12-24 12:00:00"}), vec!["end"]),
        (json!({"uniqueid": "1.1", "end": "99999999999999999999"}), vec!["end"]),
        (json!({"uniqueid": "1.1", "start": "2026-11-22 14:00:01", "end": "2026-11-22 14:00:00"}), vec!["end"]),
        (json!({"uniqueid": "1.1", "answer": "2026-11-22 14:00:01", "end": "2026-11-22 14:00:00"}), vec!["end"]),
        (json!({"uniqueid": "1.1", "start": "2026-11-22 14:00:01", "answer": "2026-11-22 14:00:00"}), vec!["start"]),
        (json!({"uniqueid": "1.1", "dialstatus": "MAYBE", "hangupcause": 128}), vec!["dialstatus", "hangupcause"]),
        (json!({"uniqueid": "1.1", "hangupcause": "WHATEVER", "node": "a b"}), vec!["hangupcause", "node"]),
        (json!({"uniqueid": "1.1", "did_id": true, "user_id": "x\u{0}y"}), vec!["did_id", "user_id"]),
        (
            json!({"uniqueid": "1.1", "hung_up_by": "nobody", "caller_name": "Zo\u{fffd}"}),
            vec!["caller_name", "hung_up_by"],
        ),
    ] {
        assert_eq!(unreadable(posted.clone()), expected, "{posted}");
    }
    assert_eq!(report(json!({"uniqueid": "1.1", "node": "a b"})).node.as_deref(), Some("a_b"));
}

#[test]
fn what_programs_write_for_nothing_is_nothing() {
    for nothing in ["None", "null", "NULL", "", " ", "-", "(null)"] {
        let posted = json!({"uniqueid": "1.1", "linkedid": nothing, "start": nothing, "answer": nothing, "end": nothing,
            "dialstatus": nothing, "hangupcause": nothing, "hung_up_by": nothing, "effective_ccs_id": nothing, "did_id": nothing});
        let found = report(posted);
        assert_eq!(found, report(json!({"uniqueid": "1.1"})), "{nothing:?}");
    }
    for zero in ["0000-00-00 00:00:00", "0000-00-00T00:00:00Z", "0", "0.000000", "00:00:00"] {
        let found = report(
            json!({"uniqueid": "1.1", "start": "2026-11-22 14:00:00", "answer": zero, "end": "2026-11-22 14:00:09"}),
        );
        assert_eq!((found.answer, found.unreadable), (None, Vec::new()), "{zero}");
    }
    assert_eq!(report(json!({"uniqueid": "1.1", "hangupcause": "NORMAL_CLEARING"})).cause, Some(16));
}

/// Two calls whose ids cannot be told apart are two all the same, and a repeat is the same.
#[test]
fn without_a_readable_id_a_report_is_known_by_all_that_it_says() {
    let id = |start: &str| report(json!({"uniqueid": 1795349909.1, "start": start, "other": 1})).uniqueid;
    assert_eq!(id("2026-11-22 14:00:00"), id("2026-11-22 14:00:00"));
    assert_ne!(id("2026-11-22 14:00:00"), id("2026-11-22 14:00:01"));
    assert!(id("2026-11-22 14:00:00").starts_with("unreadable-"));
}

#[test]
fn times_that_contradict_each_other_make_no_talk() {
    let talk = |start: &str, answer: &str, end: &str| {
        let record = made_of(report(
            json!({"uniqueid": "1.1", "dialstatus": "ANSWER", "start": start, "answer": answer, "end": end}),
        ));
        record.talk_ms
    };
    assert_eq!(talk("2026-11-22 14:00:05", "2026-11-22 14:00:06", "2026-11-22 14:00:00"), 0);
    assert_eq!(talk("2026-11-22 14:00:00", "2026-11-22 14:00:09", "2026-11-22 14:00:05"), 0);
    assert_eq!(talk("2026-11-22 14:00:03", "2026-11-22 14:00:02", "2026-11-22 14:00:05"), 3_000);
}

#[test]
fn texts_of_people_are_kept_whatever_they_hold() {
    let report = report(
        json!({"uniqueid": "1.1", "caller_name": format!("Zoë\u{0}\n{}", "x".repeat(300)), "dnid": "9".repeat(200)}),
    );
    let name = report.caller_name.expect("a name");
    assert!(name.starts_with("Zoë\u{fffd}\u{fffd}x") && name.chars().count() == 255, "{name}");
    assert_eq!(report.dnid.len(), 80);
}

/// Start and end as posted, when they came, the zone, and what they mean.
const TIMES: &str = "
    # Winter, summer, another zone, and times that carry their own.
    2026-01-10 10:00:00 | 2026-01-10 10:00:30 | 2026-10-25T02:20:00Z | Europe/London | 2026-01-10T10:00:00Z | 2026-01-10T10:00:30Z
    2026-07-10 10:00:00 | 2026-07-10 10:00:30.25 | 2026-10-25T02:20:00Z | Europe/London | 2026-07-10T09:00:00Z | 2026-07-10T09:00:30.25Z
    2026-07-10T10:00:00 | 2026-07-10 10:00:30 | 2026-10-25T02:20:00Z | Asia/Kathmandu | 2026-07-10T04:15:00Z | 2026-07-10T04:15:30Z
    2026-07-10T10:00:00+03:00 | 1783667030.5 | 2026-10-25T02:20:00Z | Europe/London | 2026-07-10T07:00:00Z | 2026-07-10T07:03:50.5Z
    # The clock went forward at 01:00 UTC: 01:30 was never shown; by the offset before it is 01:30 UTC.
    2026-03-29 00:59:30 | 2026-03-29 01:30:00 | 2026-10-25T02:20:00Z | Europe/London | 2026-03-29T00:59:30Z | 2026-03-29T01:30:00Z
    2026-03-29 00:59:30 | 2026-03-29 02:30:00 | 2026-10-25T02:20:00Z | Europe/London | 2026-03-29T00:59:30Z | 2026-03-29T01:30:00Z
    # It went back at 01:00 UTC: 01:00 to 02:00 were shown twice. In the first hour the second has not come yet.
    2026-10-25 01:10:00 | 2026-10-25 01:20:00 | 2026-10-25T00:20:01Z | Europe/London | 2026-10-25T00:10:00Z | 2026-10-25T00:20:00Z
    2026-10-25 01:10:00 | 2026-10-25 01:20:00 | 2026-10-25T01:20:01Z | Europe/London | 2026-10-25T01:10:00Z | 2026-10-25T01:20:00Z
    # Over the change: ten past in the second hour follows ten to in the first.
    2026-10-25 01:50:00 | 2026-10-25 01:10:00 | 2026-10-25T01:10:01Z | Europe/London | 2026-10-25T00:50:00Z | 2026-10-25T01:10:00Z
    2026-10-25 00:30:00 | 2026-10-25 02:10:00 | 2026-10-25T02:20:00Z | Europe/London | 2026-10-24T23:30:00Z | 2026-10-25T02:10:00Z
    2026-10-25 02:30:00 | 2026-10-25 03:10:00 | 2026-10-25T02:11:00Z | Europe/Paris | 2026-10-25T01:30:00Z | 2026-10-25T02:10:00Z";

#[test]
fn times_without_a_zone_are_read_by_the_zone_whatever_its_clock_does() {
    for line in TIMES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [start, end, received, zone, start_means, end_means] = cells[..] else { panic!("{line}: six cells") };
        let posted = fields(json!({"uniqueid": "1.1", "start": start, "end": end}));
        let zone: Tz = zone.parse().expect("a zone");
        let report = read(&posted, moment(received), zone).unwrap_or_else(|fault| panic!("{line}: {fault:?}"));
        assert_eq!((report.start, report.end), (moment(start_means), moment(end_means)), "{line}");
    }
}

#[test]
fn an_answer_lies_between_start_and_end_in_a_repeated_hour_too() {
    let posted = fields(
        json!({"uniqueid": "1.1", "start": "2026-10-25 01:55:00", "answer": "2026-10-25 01:58:00", "end": "2026-10-25 01:03:00"}),
    );
    let report = read(&posted, moment("2026-10-25T01:03:01Z"), London).expect("it is understood");
    assert_eq!(report.answer, Some(moment("2026-10-25T00:58:00Z")));
    assert_eq!(report.start, moment("2026-10-25T00:55:00Z"));
}

#[test]
fn a_clock_that_is_ahead_of_ours_makes_no_fault_and_no_call_of_the_future() {
    let posted = fields(json!({"uniqueid": "1.1", "start": "2026-12-01 12:00:02", "answer": "0.000000"}));
    let report = read(&posted, later(), London).expect("it is understood");
    assert_eq!((report.start, report.end, report.answer), (later(), later(), None));
    // In the wrong zone: it keeps its length.
    let posted = fields(
        json!({"uniqueid": "1.1", "start": "2026-12-01 13:58:00", "answer": "2026-12-01 13:58:10", "end": "2026-12-01 14:00:00"}),
    );
    let report = read(&posted, later(), London).expect("it is understood");
    assert_eq!(
        (report.start, report.answer, report.end),
        (moment("2026-12-01T11:58:00Z"), Some(moment("2026-12-01T11:58:10Z")), later())
    );
}

fn link(count_on: CountOn) -> DialledLink {
    let (client_name, client_identifier) = ("North".to_owned(), "north".to_owned());
    DialledLink { id: LinkId(4), count_on, client: ClientId(9), client_name, client_identifier }
}

fn made(value: Value, parties: Parties) -> CallRecord {
    made_for(report(value), parties)
}

/// The record of a report that names nobody.
pub(super) fn made_of(report: Report) -> CallRecord {
    made_for(report, Parties::default())
}

fn made_for(report: Report, parties: Parties) -> CallRecord {
    let numbers = Normaliser::new(Some("GB"), &Default::default());
    let caller = numbers.caller(&report.caller_number, &report.caller_presentation);
    record(&Reported { dialled: numbers.dialled(&report.dnid), caller, node: "pbx".to_owned(), report }, parties)
}

/// `DIALSTATUS`, cause: the call's ending, the attempt's outcome, whether it counts on answers and on attempts.
#[test]
fn every_dialstatus_has_its_ending_and_counts_as_its_link_says() {
    use AttemptOutcome as O;
    use Ending as E;
    for (word, cause, ending, outcome, on_answer, on_attempt) in [
        ("ANSWER", 16, E::Completed, O::Answered, true, true),
        ("BUSY", 17, E::NobodyAnswered, O::Busy, false, true),
        ("NOANSWER", 19, E::NobodyAnswered, O::NoAnswer, false, true),
        ("NOANSWER", 0, E::NobodyAnswered, O::NoAnswer, false, true),
        ("NOANSWER", 16, E::NobodyAnswered, O::NoAnswer, false, true),
        ("NOANSWER", 21, E::NobodyAnswered, O::Rejected, false, true),
        ("NOANSWER", 1, E::NobodyAnswered, O::Misconfigured, false, true),
        ("CANCEL", 127, E::CallerCancelled, O::Cancelled, false, true),
        ("CONGESTION", 34, E::NobodyAnswered, O::Congestion, false, true),
        ("DONTCALL", 16, E::NobodyAnswered, O::NoAnswer, false, true),
        ("CHANUNAVAIL", 20, E::NobodyAnswered, O::Unavailable, false, false),
        ("INVALIDARGS", 0, E::NobodyAnswered, O::Unavailable, false, false),
        ("", 16, E::Failed, O::Failed, false, false),
    ] {
        for (count_on, counted) in [(CountOn::Answered, on_answer), (CountOn::Attempted, on_attempt)] {
            let posted = json!({"uniqueid": "1.1", "dialstatus": word, "hangupcause": cause});
            let record = made(posted, Parties { link: Some(link(count_on)), ..Parties::default() });
            assert_eq!(
                (record.ending.as_str(), record.attempts[0].outcome),
                (ending.as_str(), outcome),
                "{word} {cause}"
            );
            assert_eq!((record.attempts[0].counted, record.attempts.len()), (counted, 1), "{word} {count_on}");
            assert_eq!(record.answered_at.is_some(), word == "ANSWER");
        }
    }
    assert_eq!(dialstatus("no_answer"), Some(DialStatus::NoAnswer));
}

#[test]
fn the_record_says_what_was_reported() {
    let parties = Parties {
        link: Some(link(CountOn::Answered)),
        campaign: Some((CampaignId(5), "Solar".to_owned())),
        seller: Some((UserId(3), "Acme".to_owned())),
        did: Some(DidId(8)),
        unknown_ids: vec!["did_id=9".to_owned()],
    };
    let record = made(answered_call(), parties);
    assert_eq!(
        (record.dialled_number.as_deref(), record.caller_number.as_deref()),
        (Some("+442079460001"), Some("+447700900123"))
    );
    assert_eq!((record.talk_ms, record.dialstatus, record.q850_cause), (60_000, DialStatus::Answer, Some(16)));
    assert_eq!((record.last_link_id, record.answered_link_id), (Some(LinkId(4)), Some(LinkId(4))));
    assert_eq!((record.answered_client_id, record.answered_client_name.as_deref()), (Some(ClientId(9)), Some("North")));
    assert_eq!(
        (record.seller_id, record.campaign_id, record.did_id),
        (Some(UserId(3)), Some(CampaignId(5)), Some(DidId(8)))
    );
    let legacy = Legacy { unknown_ids: vec!["did_id=9".to_owned()], unreadable_fields: Vec::new() };
    assert_eq!(record.legacy, Some(legacy));
    assert_eq!(record.hung_up_by, HungUpBy::System, "the old script does not say");
}

#[test]
fn an_answer_of_the_dialplan_itself_is_none() {
    let mut posted = answered_call();
    posted["dialstatus"] = json!("BUSY");
    let record = made(posted, Parties { link: Some(link(CountOn::Answered)), ..Parties::default() });
    assert_eq!((record.answered_at, record.talk_ms, record.answered_link_id), (None, 0, None));
}

#[test]
fn a_withheld_caller_leaves_neither_number_nor_name() {
    let mut posted = answered_call();
    posted["caller_presentation"] = json!("prohib_passed_screen");
    let record = made(posted, Parties::default());
    assert_eq!((record.caller_number, record.caller_raw, record.caller_name), (None, None, None));
    assert_eq!(record.caller_presentation, Presentation::Withheld);
}
