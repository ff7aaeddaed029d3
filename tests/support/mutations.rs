//! Sound JSON made unsound in the ways that come from outside: wrong types, huge numbers, what is missing or not known, deep nesting, and
//! text that breaks off or has a wrong byte in it.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What stands for a number that no JSON value of ours can hold, until the text is written.
const HUGE: &str = "@huge@";
/// Numbers as only a text can hold them.
const NUMBERS: [&str; 6] = ["1e999", "-1e999", "99999999999999999999999999", "-9223372036854775809", "0.1e-400", "1e1"];

/// Texts that mean something to somebody on the way.
pub(crate) const TEXTS: [&str; 22] = [
    "",
    " ",
    "\0",
    "a\r\nVia: SIP/2.0/UDP evil",
    "500&PJSIP/itsp/1900",
    "${SHELL(id)}",
    ",",
    ";",
    "|",
    "\"",
    "'; DROP TABLE users; --",
    "/n",
    "@",
    "ａｄｍｉｎ",
    "\u{202e}txt",
    "\u{1f4a3}",
    "0000-00-00T00:00:00.000+0000",
    "9999-12-31T23:59:60.999+0000",
    "-262143-01-01T00:00:00Z",
    "+262142-12-31T23:59:59.999999999+2359",
    "99999999999999999999999999",
    "NaN",
];

/// One change of a document; its place is a number, taken modulo the places there are.
#[derive(Debug, Clone)]
enum Change {
    Replace(Value),
    Remove,
    Add(String, Value),
    Nest(usize),
    Huge,
}

/// Any value, small or odd.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        Just(json!(u64::MAX)),
        Just(json!(0.5)),
        Just(json!(HUGE)),
        any::<f64>().prop_map(|it| json!(it)),
        prop::sample::select(&TEXTS[..]).prop_map(|it| json!(it)),
        "\\PC{0,20}".prop_map(|it| json!(it)),
        "[a-z]{1000}".prop_map(|it| json!(it.repeat(20))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec(("[a-z_]{0,8}", inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any_value().prop_map(Change::Replace),
        2 => Just(Change::Remove),
        2 => ("[a-z_]{1,12}", any_value()).prop_map(|(key, value)| Change::Add(key, value)),
        1 => prop_oneof![1_usize..10, 120_usize..140, Just(2_000)].prop_map(Change::Nest),
        1 => Just(Change::Huge),
    ]
}

/// One of the samples after up to five changes.
pub(crate) fn changed(samples: Vec<Value>) -> impl Strategy<Value = Value> {
    (prop::sample::select(samples), vec((any::<usize>(), change()), 0..6)).prop_map(|(mut document, changes)| {
        for (place, change) in changes {
            let mut places = Vec::new();
            walk(&document, String::new(), &mut places);
            apply(&mut document, &places[place % places.len()], change);
        }
        document
    })
}

/// The text of a changed sample, sometimes damaged as a text.
pub(crate) fn changed_text(samples: Vec<Value>) -> impl Strategy<Value = String> {
    let damage = prop_oneof![
        6 => Just(None),
        1 => any::<usize>().prop_map(|at| Some((at, None))),
        2 => (any::<usize>(), any::<char>()).prop_map(|(at, c)| Some((at, Some(c)))),
    ];
    (changed(samples), prop::sample::select(&NUMBERS[..]), damage).prop_map(|(document, number, damage)| {
        let text = document.to_string().replace(&format!("\"{HUGE}\""), number);
        let Some((at, what)) = damage else { return text };
        let (before, after) = split(&text, at);
        what.map_or_else(|| before.to_owned(), |c| format!("{before}{c}{}", after.get(1..).unwrap_or_default()))
    })
}

fn split(text: &str, at: usize) -> (&str, &str) {
    let mut at = at % (text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.split_at(at)
}

/// Every place in a document, as JSON pointers.
fn walk(value: &Value, at: String, places: &mut Vec<String>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| walk(value, format!("{at}/{}", escaped(key)), places));
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, value)| walk(value, format!("{at}/{n}"), places));
        }
        _ => {}
    }
    places.push(at);
}

fn apply(document: &mut Value, place: &str, change: Change) {
    if let (Change::Remove, Some((parent, key))) = (&change, place.rsplit_once('/')) {
        let key = key.replace("~1", "/").replace("~0", "~");
        match document.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(&key)),
            Some(Value::Array(values)) => drop(key.parse().map(|n: usize| values.remove(n))),
            _ => {}
        }
        return;
    }
    let Some(value) = document.pointer_mut(place) else { return };
    match change {
        Change::Replace(other) => *value = other,
        Change::Remove => *value = Value::Null,
        Change::Huge => *value = json!(HUGE),
        Change::Add(key, added) => match value {
            Value::Object(fields) => drop(fields.insert(key, added)),
            Value::Array(values) => values.push(added),
            _ => {}
        },
        Change::Nest(depth) => (0..depth.min(130)).for_each(|_| *value = json!([value.take()])),
    }
}
