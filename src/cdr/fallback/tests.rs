use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::id::{CampaignId, DidId, UserId};
use crate::routing::snapshot::{Did, Status};

const START: &str = "1795349909.992";

/// As the README has it, with the keys that came later.
fn example() -> String {
    format!(
        "v=1 start={START} answer=1795349910.296 end=1795349910.793 uniqueid=n1-1795349909.0 linkedid=n1-1795349909.0 \
         reason=heartbeat ended_by=last_resort dialstatus=ANSWER cause=16 last_resort=PJSIP%2Foverflow \
         presentation=allowed_not_screened did=%2B442071234567 caller=07700900123 caller_name=Ann%20%22x%22 \
         to=%3Csip%3A%2B442079999999%40x%3E sip_call_id=a%40b"
    )
}

/// The example with other values, or without a key.
fn with(changes: &[(&str, Option<&str>)]) -> String {
    let example = example();
    let words = example.split(' ').filter_map(|word| {
        let key = word.split('=').next().unwrap_or_default();
        match changes.iter().find(|(changed, _)| *changed == key) {
            Some((_, Some(value))) => Some(format!("{key}={value}")),
            Some((_, None)) => None,
            None => Some(word.to_owned()),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn intake(keys: &str) -> Intake {
    let toml = format!("[[asterisk]]\nname = \"pbx\"\ndefault_region = \"GB\"\n{keys}\n");
    let config = Config::from_layers(Some((Path::new("test.toml"), &toml)), []).expect("a configuration");
    Intake::new(&config.nodes[0])
}

/// Late enough for the times that tests make up.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(4_102_444_800, 0).expect("2100")
}

fn read_now(line: &[u8]) -> Result<Line, Fault> {
    read(line, now())
}

fn recorded(line: &str, intake: &Intake, snapshot: &Snapshot) -> CallRecord {
    record(&read_now(line.as_bytes()).expect(line), intake, snapshot)
}

fn plain(changes: &[(&str, Option<&str>)]) -> CallRecord {
    recorded(&with(changes), &intake(""), &Snapshot::default())
}

fn events(record: &CallRecord) -> Vec<String> {
    let events = record.timeline.read::<Vec<serde_json::Value>>().into_iter().flatten();
    events.map(|one| format!("{} {}", one["at_ms"], one["event"].as_str().unwrap_or_default())).collect()
}

#[test]
fn a_call_that_the_last_resort_answered_is_read_whole() {
    let record = plain(&[]);
    assert_eq!(record.call_id, CallId::derive(record.arrived_at, "pbx", "n1-1795349909.0"));
    assert_eq!(record.arrived_at.timestamp_millis(), 1_795_349_909_992);
    assert_eq!((record.talk_ms, record.ring_ms, record.sip_code, record.q850_cause), (497, 0, Some(200), Some(16)));
    assert_eq!((record.dialstatus, record.hung_up_by), (DialStatus::Answer, HungUpBy::Client));
    assert_eq!(
        (record.dialled_number.as_deref(), record.caller_number.as_deref()),
        (Some("+442071234567"), Some("+447700900123"))
    );
    assert_eq!((record.caller_name.as_deref(), record.sip_call_id.as_deref()), (Some("Ann \"x\""), Some("a@b")));
    assert_eq!((record.ending.as_str(), record.attempts.len(), record.seller_id), ("fallback", 0, None));
    assert_eq!(
        events(&record),
        [
            "0 taken by the dialplan's fallback: heartbeat",
            "0 dialled the last resort PJSIP/overflow",
            "304 the last resort answered",
            "801 ended",
        ]
    );
}

#[test]
fn the_did_stands_where_the_node_has_it_and_names_its_seller_and_campaign_of_now() {
    let to = intake("did_from = \"to\"");
    let mut snapshot = Snapshot::default();
    let (id, seller) = (DidId(7), UserId(3));
    let did = Did {
        id,
        raw: false,
        seller,
        seller_name: "Acme".into(),
        status: Status::Paused,
        campaign: Some(CampaignId(9)),
    };
    snapshot.dids.insert("+442079999999".into(), did);
    let record = recorded(&example(), &to, &snapshot);
    assert_eq!(record.dialled_number.as_deref(), Some("+442079999999"));
    assert_eq!(
        (record.did_id, record.seller_id, record.seller_name.as_deref()),
        (Some(id), Some(seller), Some("Acme"))
    );
    assert_eq!(record.campaign_id, None, "the campaign is none that is known");
    assert_eq!(recorded(&example(), &intake(""), &snapshot).did_id, None);
    // A line without the header has at least what was asked for.
    assert_eq!(recorded(&with(&[("to", None)]), &to, &snapshot).dialled_raw, "+442071234567");
}

#[test]
fn a_caller_who_gave_up_while_nobody_was_there_is_no_call_of_the_fallback() {
    let unseen =
        [("reason", Some("unseen")), ("answer", Some("")), ("dialstatus", Some("")), ("last_resort", Some(""))];
    let record = plain(&[&unseen[..], &[("cause", Some("127")), ("ended_by", Some("caller"))]].concat());
    assert_eq!(
        (record.ending.as_str(), record.sip_code, record.hung_up_by),
        ("caller_cancelled", Some(487), HungUpBy::Caller)
    );
    assert_eq!(record.dialstatus, DialStatus::Cancel);
    assert_eq!(events(&record), ["0 nobody took it: the controller was away", "801 ended"]);
    let record = plain(&[&unseen[..], &[("cause", Some("19")), ("ended_by", Some("system"))]].concat());
    assert_eq!((record.ending.as_str(), record.sip_code, record.hung_up_by), ("failed", Some(480), HungUpBy::System));
}

#[test]
fn what_ari_could_not_tell_was_refused_and_is_its_sellers_where_the_did_can_be_read() {
    let refused =
        [("reason", Some("malformed")), ("answer", Some("")), ("dialstatus", Some("")), ("last_resort", Some(""))];
    let refused = |more: &[(&'static str, Option<&'static str>)]| with(&[&refused[..], more].concat());
    let mut snapshot = Snapshot::default();
    let did = Did {
        id: DidId(7),
        raw: false,
        seller: UserId(3),
        seller_name: "Acme".into(),
        status: Status::Active,
        campaign: None,
    };
    snapshot.dids.insert("+442071234567".into(), did);
    for (did, call_id, cause, sip, seller) in
        [("%2B442071234567", "a%FF%40b", "21", 403, Some(UserId(3))), ("%2B44207123%FF", "a%40b", "28", 484, None)]
    {
        let more =
            [("did", Some(did)), ("sip_call_id", Some(call_id)), ("cause", Some(cause)), ("ended_by", Some("system"))];
        let record = recorded(&refused(&more), &intake(""), &snapshot);
        assert_eq!((record.ending.as_str(), record.sip_code, record.seller_id), ("failed", Some(sip), seller));
        assert_eq!((record.hung_up_by, record.dialstatus), (HungUpBy::System, DialStatus::Congestion));
        assert!(events(&record)[0].contains("is no UTF-8"), "{:?}", events(&record));
    }
    // Sent there by the controller, where an older dialplan has a last resort.
    let taken = recorded(&with(&[("reason", Some("malformed"))]), &intake(""), &snapshot);
    assert_eq!((taken.ending.as_str(), taken.sip_code), ("fallback", Some(200)));
}

/// A line as `asterisk/etc/extensions.conf` wrote it before it had a version.
#[test]
fn a_line_of_the_first_dialplan_is_read_as_ever() {
    let line = "v=1 start=1795996971.772 answer= end=1795996971.774 uniqueid=n1-1.36 linkedid=n1-1.36 reason=heartbeat ended_by=system \
                dialstatus= cause=42 last_resort= presentation=allowed_not_screened did=%2B442071234567 caller=%2B442071838750 \
                caller_name=Ada to=%3Csip%3A%2B442071234567%40127.0.0.1%3E sip_call_id=abc%40x";
    let record = recorded(line, &intake(""), &Snapshot::default());
    assert_eq!((record.ending.as_str(), record.sip_code), ("fallback", Some(503)));
}

#[test]
fn what_the_carrier_heard_is_told_where_the_causes_tell_it() {
    use DialStatus as S;
    let none = ("answer", Some(""));
    for (dialstatus, cause, ended_by, expected) in [
        ("", "42", "system", (S::Congestion, Some(503), HungUpBy::System)),
        ("", "127", "caller", (S::Cancel, Some(487), HungUpBy::Caller)),
        ("CANCEL", "127", "caller", (S::Cancel, Some(487), HungUpBy::Caller)),
        ("BUSY", "17", "system", (S::Busy, Some(486), HungUpBy::System)),
        ("NOANSWER", "19", "system", (S::NoAnswer, Some(480), HungUpBy::System)),
        ("CHANUNAVAIL", "42", "", (S::ChanUnavail, Some(503), HungUpBy::System)),
        ("CONGESTION", "0", "system", (S::Congestion, None, HungUpBy::System)),
        // It hung up before the caller was answered.
        ("ANSWER", "16", "last_resort", (S::Answer, None, HungUpBy::Client)),
    ] {
        let values = [none, ("dialstatus", Some(dialstatus)), ("cause", Some(cause)), ("ended_by", Some(ended_by))];
        let record = plain(&values);
        assert_eq!((record.dialstatus, record.sip_code, record.hung_up_by), expected, "{dialstatus} {cause}");
        assert_eq!(record.talk_ms, 0);
    }
    let refused = plain(&[none, ("dialstatus", Some("")), ("last_resort", Some("")), ("reason", Some("draining"))]);
    assert_eq!(events(&refused), ["0 taken by the dialplan's fallback: draining", "801 ended"]);
}

#[test]
fn a_withheld_caller_leaves_neither_number_nor_name() {
    for presentation in ["prohib", "prohib_passed_screen", "", "later_word"] {
        let record = plain(&[("presentation", Some(presentation))]);
        assert_eq!(record.caller_presentation, Presentation::Withheld, "{presentation}");
        assert_eq!((record.caller_raw, record.caller_number, record.caller_name), (None, None, None));
    }
}

#[test]
fn a_clock_that_was_set_back_bends_times_and_loses_no_call() {
    let record = plain(&[("end", Some("1795349000.000"))]);
    assert_eq!((record.ended_at, record.answered_at, record.talk_ms), (record.arrived_at, Some(record.arrived_at), 0));
}

#[test]
fn what_the_dialplan_does_not_write_is_refused_by_its_key_and_what_is_not_known_is_let_be() {
    let long = "x".repeat(81);
    for (key, value) in [
        ("v", Some("2")),
        ("v", None),
        ("start", None),
        ("start", Some("")),
        ("start", Some("soon")),
        ("start", Some("-5")),
        ("start", Some("17.")),
        ("start", Some("99999999999999999999")),
        ("end", Some("8999999999")),
        ("answer", Some("1795349910,3")),
        ("uniqueid", Some("")),
        ("uniqueid", Some("a\u{7f}")),
        ("linkedid", Some("é")),
        ("dialstatus", Some("MAYBE")),
        ("cause", Some("128")),
        ("cause", Some("-1")),
        ("ended_by", Some("nobody")),
        ("did", Some("%2")),
        ("did", Some("%zz")),
        ("did", Some(long.as_str())),
        ("caller", Some(long.as_str())),
    ] {
        let line = with(&[(key, value)]);
        assert_eq!(read_now(line.as_bytes()).expect_err(&line).field, key, "{line}");
    }
    assert_eq!(read_now(b"").expect_err("nothing").field, "v");
    assert_eq!(read_now(format!("{} did=1", example()).as_bytes()).expect_err("twice").field, "did");
    assert_eq!(read_now(format!("{} odd", example()).as_bytes()).expect_err("no key").field, "line");
    assert_eq!(read_now(&vec![b'a'; LINE_LENGTH + 1]).expect_err("too long").field, "line");
    let later = [example().as_bytes(), b" mood=\xff  =  did2=%"].concat();
    assert_eq!(read_now(&later), read_now(example().as_bytes()));
}

#[test]
fn a_line_from_the_future_is_refused_with_the_reason() {
    let day = 86_400.0;
    let at = |ahead: f64| format!("{:.3}", 1_795_349_909.0 + ahead);
    let now = DateTime::from_timestamp(1_795_349_909, 0).expect("a moment");
    let line = |start: &str, end: &str| with(&[("start", Some(start)), ("answer", None), ("end", Some(end))]);
    assert!(read(line(&at(0.0), &at(day)).as_bytes(), now).is_ok(), "clocks differ");
    for (start, end, field) in [(2.0 * day, 2.0 * day, "start"), (0.0, 1.1 * day, "end"), (2e9, 2e9, "start")] {
        let fault = read(line(&at(start), &at(end)).as_bytes(), now).expect_err("not yet");
        assert!(fault.field == field && fault.detail.contains("in the future"), "{fault}");
    }
}

#[test]
fn text_that_is_no_utf_8_or_cannot_be_printed_is_replaced() {
    let record =
        plain(&[("did", Some("%00%ff1")), ("sip_call_id", Some("a%0Ab%C3")), ("caller_name", Some("%C3%A9%00"))]);
    assert_eq!(record.dialled_raw, "\u{fffd}\u{fffd}1");
    assert_eq!(record.sip_call_id.as_deref(), Some("a\u{fffd}b\u{fffd}"));
    assert_eq!(record.caller_name.as_deref(), Some("é\u{fffd}"));
}

#[test]
fn the_doctors_probe_is_told_from_a_call_to_that_name() {
    let probe =
        |id| read_now(with(&[("did", Some(PROBE_DID)), ("sip_call_id", Some(id))]).as_bytes()).unwrap().is_probe();
    assert_eq!((probe(""), probe("a@b")), (true, false));
}

#[test]
fn a_line_behind_a_torn_one_is_found() {
    let whole = example();
    let torn = format!("{}{whole}", &whole[..70]);
    assert_eq!(split(torn.as_bytes()), (Some(&whole.as_bytes()[..70]), whole.as_bytes()));
    assert_eq!(split(whole.as_bytes()), (None, whole.as_bytes()));
    assert_eq!(split(b"v=1"), (None, &b"v=1"[..]));
}

/// Asterisk's `URIENCODE`: all but what RFC 3986 calls unreserved.
fn encode(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    bytes.iter().map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

proptest! {
    #[test]
    fn no_line_of_bytes_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..600)) {
        let (_, whole) = split(&line);
        drop(read_now(whole));
    }

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(
        key in prop::sample::select(&KEYS[..]), value in "[-0-9.%a-zA-Z_=\u{0}-\u{ff}]{0,40}",
    ) {
        if let Ok(line) = read_now(with(&[(key, Some(&value))]).as_bytes()) {
            drop(record(&line, &intake(""), &Snapshot::default()));
        }
    }

    #[test]
    fn what_the_dialplan_encodes_is_read_back(
        did in prop::collection::vec(any::<u8>(), 0..80),
        call in prop::collection::vec(any::<u8>(), 0..255),
        name in "\\PC{0,20}",
        millis in 1_000_000_000_000_i64..4_000_000_000_000,
    ) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(char::is_control, "\u{fffd}");
        let start = format!("{}.{:03}", millis / 1000, millis % 1000);
        let line = with(&[
            ("start", Some(&start)), ("end", Some(&start)), ("did", Some(&encode(&did))),
            ("sip_call_id", Some(&encode(&call))), ("caller_name", Some(&encode(name.as_bytes()))),
        ]);
        let read = read_now(line.as_bytes());
        prop_assert!(name.len() <= NUMBER_LENGTH || read.is_err());
        if name.len() <= NUMBER_LENGTH {
            let read = read.expect("it is the dialplan's");
            prop_assert_eq!((read.did, read.sip_call_id, read.caller_name), (text(&did), text(&call), text(name.as_bytes())));
            prop_assert_eq!(read.start.timestamp_millis(), millis);
        }
    }
}
