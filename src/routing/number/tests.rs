use proptest::prelude::*;

use super::*;
use crate::id::{DidId, UserId};
use crate::routing::snapshot::Status;

fn in_region(region: &str) -> Normaliser {
    Normaliser::new(Some(region), &BTreeMap::new())
}

fn with_rules(rules: &[(&str, &str)]) -> Normaliser {
    Normaliser::new(None, &rules.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect())
}

#[test]
fn numbers_become_e164_by_region() {
    for (region, raw, expected) in [
        ("GB", "020 7946 0958", None), // a space cannot stand in a SIP user part
        ("GB", "02079460958", Some("+442079460958")),
        ("GB", "(020)7946-0958", Some("+442079460958")),
        ("GB", "00442079460958", Some("+442079460958")),
        ("GB", "442079460958", Some("+442079460958")),
        ("GB", "+4402079460958", Some("+442079460958")),
        ("GB", "0049301234567", Some("+49301234567")),
        ("GB", "+12025550173", Some("+12025550173")),
        ("US", "2025550173", Some("+12025550173")),
        ("US", "12025550173", Some("+12025550173")),
        ("US", "011442079460958", Some("+442079460958")),
        ("US", "+1.202.555.0173;npdi;rn=+12025550000", Some("+12025550173")),
        ("IT", "0612345678", Some("+390612345678")), // Italy keeps the zero
        ("DE", "030123456", Some("+4930123456")),
        ("GB", "999", None),
        ("US", "911", None),
    ] {
        assert_eq!(in_region(region).e164(raw).as_deref(), expected, "{raw} in {region}");
    }
}

#[test]
fn without_a_region_only_a_plus_makes_a_number() {
    let none = Normaliser::default();
    assert_eq!(none.e164("+442079460958").as_deref(), Some("+442079460958"));
    for raw in ["442079460958", "00442079460958", "12025550173", "02079460958"] {
        assert_eq!(none.e164(raw), None, "{raw}");
    }
}

#[test]
fn the_longest_prefix_rule_applies_once() {
    let rules = with_rules(&[("00", "+"), ("0044", "+44"), ("9", ""), ("4420", "+4420")]);
    for (raw, expected) in [
        ("00442079460958", Some("+442079460958")),
        ("0049301234567", Some("+49301234567")),
        ("442079460958", Some("+442079460958")),
        ("9+442079460958", None),  // a plus inside is no number
        ("900442079460958", None), // one rule only
        ("+442079460958", Some("+442079460958")),
    ] {
        assert_eq!(rules.e164(raw).as_deref(), expected, "{raw}");
    }
}

#[test]
fn what_is_no_number_stays_raw() {
    let long = "4".repeat(200);
    for raw in [
        "abc123",
        "12 34",
        "",
        "+",
        "+-",
        "-",
        "1800FLOWERS",
        "+1800FLOWERS",
        "٠٢٠٧٩٤٦٠٩٥٨",
        "+44207946095８",
        "02079460958x12",
        "02079460958,12",
        "++442079460958",
        "+44+2079460958",
        "*69",
        "02079460958#",
        "+020794609580",
        "+0044207946095",
        "+999123456789",
        "+4420794609580000",
        long.as_str(),
    ] {
        let dialled = in_region("GB").dialled(raw);
        assert_eq!((dialled.raw.as_str(), dialled.e164), (raw, None), "{raw}");
    }
    assert_eq!(in_region("GB").dialled("a\0b\n").raw, "a\u{fffd}b\u{fffd}");
}

/// DIDs by number: the ids count from 1, and each is a seller's of the same id. Which are raw tells the one rule.
pub(super) fn snapshot(numbers: &[&str]) -> Snapshot {
    let did = |id, raw| Did {
        id: DidId(id),
        raw,
        seller: UserId(id),
        seller_name: "s".into(),
        status: Status::Active,
        campaign: None,
    };
    let raw = |number: &str| written::read(number).is_ok_and(|read| read.is_raw());
    let dids = numbers.iter().zip(1..).map(|(number, id)| ((*number).to_owned(), did(id, raw(number)))).collect();
    Snapshot { dids, ..Snapshot::default() }
}

#[test]
fn e164_decides_which_did_it_is_then_the_exact_text() {
    let snapshot = snapshot(&["+442079460958", "02079460958", "sales", "999"]);
    let find = |raw: &str| find_did(&snapshot, &in_region("GB").dialled(raw)).map(|did| did.id.0);
    for (raw, expected) in [
        ("02079460958", Some(1)),
        ("442079460958", Some(1)),
        ("00442079460958", Some(1)),
        ("+442079460958;npdi", Some(1)),
        ("sales;phone-context=x", Some(3)),
        ("999", Some(4)),
        ("Sales", None),
        ("72537", None),
        ("99", None),
        ("", None),
        ("0999", None),
    ] {
        assert_eq!(find(raw), expected, "{raw}");
    }
    // A node that reads the text as a number that nobody has, or as none, finds it by its text.
    let elsewhere = |region: &str| find_did(&snapshot, &in_region(region).dialled("02079460958")).map(|did| did.id.0);
    assert_eq!((elsewhere("US"), elsewhere("JP")), (Some(2), Some(2)));
    // A number is found by what the node reads, never by its text alone.
    let odd = with_rules(&[("+44", "+4930")]);
    assert_eq!(find_did(&snapshot, &odd.dialled("+442079460958")), None);
}

#[test]
fn withheld_callers_stay_withheld() {
    let gb = in_region("GB");
    let shown = gb.caller("02079460958", "allowed_not_screened");
    assert_eq!(shown.presentation, Presentation::Allowed);
    assert_eq!((shown.raw.as_deref(), shown.e164.as_deref()), (Some("02079460958"), Some("+442079460958")));
    for (raw, word, expected) in [
        ("02079460958", "prohib_passed_screen", Presentation::Withheld),
        ("02079460958", "prohib", Presentation::Withheld),
        ("02079460958", "unavailable", Presentation::Unavailable),
        ("02079460958", "", Presentation::Withheld),
        ("02079460958", "something new", Presentation::Withheld),
        ("Anonymous", "allowed", Presentation::Withheld),
        ("anonymous", "unavailable", Presentation::Withheld),
        ("restricted", "allowed_passed_screen", Presentation::Withheld),
        ("unknown", "allowed", Presentation::Unavailable),
        ("unavailable;x=y", "allowed", Presentation::Unavailable),
        (" ", "allowed", Presentation::Unavailable),
        ("", "prohib_not_screened", Presentation::Withheld),
    ] {
        let caller = gb.caller(raw, word);
        assert_eq!(caller, Caller { raw: None, e164: None, presentation: expected }, "{raw} {word}");
    }
    let named = gb.caller("alice", "allowed");
    assert_eq!((named.raw.as_deref(), named.e164), (Some("alice"), None));
}

#[test]
fn the_user_of_a_to_header_is_found() {
    for (header, expected) in [
        ("<sip:+442079460958@host>", Some("+442079460958")),
        ("sip:+442079460958@host", Some("+442079460958")),
        ("sip:+442079460958@host;user=phone", Some("+442079460958")),
        ("\"A <sip:evil@x> \\\" B\" <sip:123@host:5060;transport=udp>;tag=a<b", Some("123")),
        ("Bob <SIPS:bob@[2001:db8::1]:5061>", Some("bob")),
        ("<sip:+44;npdi;rn=+45@host>", Some("+44")),
        ("<sip:user:secret@host>", Some("user")),
        ("<sip:%2B44%32@host>", Some("+442")),
        ("<sip:a%3Bb@host>", Some("a;b")),
        ("tel:+44-20-7946-0958;phone-context=example.com", Some("+44-20-7946-0958")),
        ("<tel:7042;phone-context=example.com>", Some("7042")),
        ("<sip:host>", None),
        ("<sip:@host>", None),
        ("<sip:%00@host>", None),
        ("<sip:%ff@host>", None),
        ("<sip:123@host", None),
        ("<mailto:a@b>", None),
        ("\"unclosed <sip:1@h>", None),
        ("", None),
        ("<>", None),
    ] {
        assert_eq!(user_of_to(header).as_deref(), expected, "{header}");
    }
}

#[test]
fn regions_are_two_capital_letters_that_the_library_knows() {
    assert!(is_region("GB") && is_region("US"));
    for code in ["gb", "ZZ", "GBR", "", "001", "É"] {
        assert!(!is_region(code), "{code}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_a_result_is_e164(raw in ".{0,60}", region in "GB|US|IT|DE|JP|RU", word in ".{0,12}") {
        let normaliser = in_region(&region);
        if let Some(number) = normaliser.e164(&raw) {
            prop_assert!(is_e164(&number), "{number}");
        }
        let _ = normaliser.caller(&raw, &word);
        let _ = user_of_to(&raw);
    }

    #[test]
    fn letters_never_become_digits(head in "\\+?[0-9]{0,12}", letter in "[A-Za-zａ-ｚ０-９٠-٩ #*,/]", tail in "[0-9]{0,6}") {
        prop_assert_eq!(in_region("US").e164(&format!("{head}{letter}{tail}")), None);
    }

    #[test]
    fn a_number_is_its_own_e164(raw in "\\+?[0-9().-]{3,20}", region in "GB|US|IT|DE|JP|RU") {
        if let Some(number) = in_region(&region).e164(&raw) {
            prop_assert_eq!(Normaliser::default().e164(&number), Some(number.clone()), "from {}", raw);
            prop_assert_eq!(in_region("GB").e164(&number), Some(number));
        }
    }

    /// Whatever stands around it: the user is what a carrier encoded, and nothing of the display name.
    #[test]
    fn the_user_of_a_header_is_the_one_that_was_written(
        user in "[^\\p{Cc};]{1,30}", display in "[^\\p{Cc}\"\\\\]{0,20}", quoted: bool, parameters in "(;[a-z]{1,5}=[a-z0-9]{0,5}){0,3}",
    ) {
        let encoded = percent_encoding::utf8_percent_encode(&user, percent_encoding::NON_ALPHANUMERIC);
        let name = if quoted { format!("\"{display}\" ") } else { String::new() };
        let header = format!("{name}<sip:{encoded}{parameters}@pbx.example;user=phone>;tag=a6");
        prop_assert_eq!(user_of_to(&header), Some(user));
    }

    #[test]
    fn headers_never_panic(header in "[\"<>;:@%\\\\a-z0-9+ ]{0,40}") {
        let _ = user_of_to(&header);
    }
}
