use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::tests::snapshot;
use super::*;
use crate::routing::number::written::{Number, read};

fn node(region: Option<&str>, rules: &[(&str, &str)]) -> Normaliser {
    let rules: BTreeMap<_, _> = rules.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    Normaliser::new(region, &rules)
}

fn overlaps(readers: &Readers, dids: &[(&str, i64)]) -> Vec<(usize, usize)> {
    let claims: Vec<_> = dids
        .iter()
        .map(|(number, seller)| Claim { number, raw: read(number).is_ok_and(|read| read.is_raw()), seller: *seller })
        .collect();
    let all = readers.overlaps(&claims, |_| true);
    for at in 0..claims.len() {
        let with: Vec<_> = all.iter().copied().filter(|(raw, other)| *raw == at || *other == at).collect();
        assert_eq!(readers.overlaps(&claims, |wanted| wanted == at), with, "asked for {at} alone");
    }
    all
}

#[test]
fn another_sellers_number_in_the_words_of_any_country_or_node_overlaps() {
    let none = Readers::default();
    for (text, number) in [
        ("4155550101", "+14155550101"),
        ("14155550101", "+14155550101"),
        ("0014155550101", "+14155550101"),
        ("01114155550101", "+14155550101"),
        ("(415)555-0101", "+14155550101"),
        ("02079460958", "+442079460958"),
        ("0044(0)2079460958", "+442079460958"),
        ("810442079460958", "+442079460958"),
        ("030123456", "+4930123456"),
        ("0612345678", "+390612345678"),
        ("12345", "+49212345"), // nobody reads it so
    ] {
        let expected = if text == "12345" { vec![] } else { vec![(1, 0)] };
        assert_eq!(overlaps(&none, &[(number, 1), (text, 2)]), expected, "{text}");
        assert_eq!(overlaps(&none, &[(number, 1), (text, 1)]), [], "one's own");
    }
    let short = [("+442079460958", 1), ("0958", 2), ("958", 3), ("sales", 4), ("sales;x=y", 5), ("sales;x=z", 4)];
    assert_eq!(overlaps(&none, &short), [(4, 3)]);
    let by_rule = Readers::new([node(None, &[("0958", "+442079460958"), ("9", "+44207946095")])]);
    assert_eq!(overlaps(&by_rule, &[("+442079460958", 1), ("0958", 2)]), [(1, 0)]);
    assert_eq!(overlaps(&by_rule, &[("+442079460958", 1), ("98", 2)]), [(1, 0)], "too short for any country");
}

#[test]
fn what_no_call_can_match_is_told() {
    let known = snapshot(&["+442079460958", "02079460958", "999", "a@b", "030123456"]);
    let why = |readers: &Readers, number: &str| readers.unmatched(&known, number, &known.dids[number]);
    let (gb, de) = (node(Some("GB"), &[]), node(Some("DE"), &[]));
    let one = Readers::new([gb.clone()]);
    assert_eq!(why(&one, "02079460958"), Some(Unmatched::Read("+442079460958".into())));
    assert_eq!(why(&Readers::new([gb, de.clone()]), "02079460958"), None, "one node reads it as it is, or as nobody's");
    assert_eq!(why(&Readers::new([de]), "030123456"), None, "nobody has the number as which it is read");
    assert_eq!(why(&one, "a@b"), Some(Unmatched::NoUserPart));
    for number in ["+442079460958", "999"] {
        assert_eq!(why(&one, number), None, "{number}");
    }
    assert_eq!(why(&Readers::default(), "02079460958"), None, "there is no node");
}

/// Countries with plans of every kind: trunk 0, none, 8, zeros that stay, other access codes.
const REGIONS: &[&str] = &["US", "GB", "DE", "IT", "FR", "ES", "RU", "JP", "AU", "BR", "HU", "SM"];

fn region() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), proptest::sample::select(REGIONS).prop_map(Some)]
}

fn rules() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[0-9+]{1,4}", "|\\+|\\+1|\\+44|\\+4420794|0|1415"), 0..3)
}

/// Texts that are likely to be each other's spellings: few numbers, however a carrier may send them.
fn text() -> impl Strategy<Value = String> {
    let number = proptest::sample::select(&["4155550101", "2079460958", "30123456", "0612345678", "9161234567"][..]);
    let before = proptest::sample::select(
        &["", "0", "00", "011", "1", "+1", "44", "+44", "0044", "+49", "0049", "+39", "+7", "8", "9"][..],
    );
    let after = proptest::sample::select(&["", ";npdi", ".0"][..]);
    (before, number, after).prop_map(|(before, number, after)| format!("{before}{number}{after}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever DID is made or moved to another seller, by whatever spelling, and however nodes read, now or later: who owns a
    /// text that a node reads as somebody's number goes on owning it. And where it may be made at all, every text keeps its owner
    /// on the nodes as they are and on one in any country.
    #[test]
    fn a_did_takes_no_text_of_anothers(
        stored in proptest::collection::vec(text(), 1..5), new in text(), dialled in text(),
        now in (region(), rules()), later in (region(), rules()),
    ) {
        let number = |text: &String| read(text).ok().map(|number| number.text().to_owned());
        let mut stored: Vec<String> = stored.iter().filter_map(number).collect();
        stored.sort();
        stored.dedup();
        let Some(new) = number(&new).filter(|new| !stored.contains(new)) else { return Ok(()) };
        let before: Vec<&str> = stored.iter().map(String::as_str).collect();
        let after: Vec<&str> = before.iter().copied().chain([new.as_str()]).collect();
        let owner = |node: &Normaliser, dids: &[&str]| {
            find_did(&snapshot(dids), &node.dialled(&dialled)).map(|did| did.seller)
        };
        let reads = |(region, rules): &(Option<&str>, Vec<(String, String)>)| {
            Normaliser::new(*region, &rules.iter().cloned().collect())
        };
        for node in [reads(&now), reads(&later)] {
            let is_number = node.e164(&dialled).is_some_and(|number| before.contains(&number.as_str()));
            if is_number {
                prop_assert_eq!(owner(&node, &before), owner(&node, &after), "{} takes {}", new, dialled);
            }
        }
        let claims: Vec<_> = after.iter().zip(1..).map(|(text, seller)| {
            Claim { number: text, raw: matches!(read(text), Ok(Number::Raw(_))), seller }
        }).collect();
        let readers = Readers::new([reads(&now)]);
        if readers.overlaps(&claims, |at| at == before.len()).is_empty() {
            for node in [reads(&now), reads(&(later.0, Vec::new()))] {
                if let Some(owned) = owner(&node, &before) {
                    prop_assert_eq!(Some(owned), owner(&node, &after), "{} takes {}", new, dialled);
                }
            }
        }
    }
}
