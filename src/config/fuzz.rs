//! Whatever a file and an environment say: no panic, every fault by its key, and no secret in any of it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::tests::{CANARY, load};
use super::*;
use crate::mutations::TEXTS;

/// Every key of the example, as `section`, `key`; `asterisk` is a list.
fn keys() -> Vec<(String, String)> {
    let example: toml::Table = include_str!("../../capconduit.example.toml").parse().expect("TOML");
    let mut keys = Vec::new();
    for (section, value) in &example {
        let table = value.as_array().map_or(value, |list| &list[0]).as_table().expect("a section");
        keys.extend(table.keys().map(|key| (section.clone(), key.clone())));
    }
    // These have no default.
    let secrets = [("asterisk", "password"), ("api", "metrics_token"), ("auth", "key"), ("auth", "admin_password")];
    keys.extend(secrets.map(|(section, key)| (section.to_owned(), key.to_owned())));
    keys.push(("internal".to_owned(), "log_call_token".to_owned()));
    keys
}

fn header(section: &str) -> String {
    if section == "asterisk" { "[[asterisk]]".to_owned() } else { format!("[{section}]") }
}

/// Any TOML value.
fn value() -> impl Strategy<Value = String> {
    let quoted = |text: String| toml::Value::from(text).to_string();
    prop_oneof![
        select(&TEXTS[..]).prop_map(move |text| quoted(text.to_owned())),
        "\\PC{0,30}".prop_map(quoted),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        Just("1e300".to_owned()),
        Just("nan".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("[]".to_owned()),
        Just("[[[1]], \"x\"]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("{}".to_owned()),
        Just(format!("{}1{}", "[".repeat(60), "]".repeat(60))),
    ]
}

fn variable() -> impl Strategy<Value = String> {
    let known = keys().into_iter().map(|(section, key)| match section.as_str() {
        "asterisk" => format!("CAPCONDUIT__ASTERISK__0__{}", key.to_ascii_uppercase()),
        _ => format!("CAPCONDUIT__{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase()),
    });
    prop_oneof![
        4 => select(known.collect::<Vec<_>>()),
        1 => "CAPCONDUIT__[A-Z_0-9\\[\\].]{0,20}",
        1 => "CAPCONDUIT__ASTERISK__[0-9]{1,20}__URL",
        1 => "CAPCONDUIT__\\PC{0,12}",
    ]
}

proptest! {
    #[test]
    fn any_values_for_any_keys_are_taken_or_refused_by_a_key(
        lines in vec((select(keys()), value()), 0..6),
        environment in vec((variable(), "\\PC{0,20}"), 0..4),
        broken in prop::option::of("\\PC{0,40}"),
    ) {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for ((section, key), value) in lines {
            sections.entry(section).or_default().insert(key, value);
        }
        let mut text = String::new();
        for (section, lines) in &sections {
            text += &format!("{}\n", header(section));
            lines.iter().for_each(|(key, value)| text += &format!("{key} = {value}\n"));
        }
        text += &broken.unwrap_or_default();
        let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        match load(&text, &environment) {
            Ok(config) => {
                prop_assert!(!config.nodes.is_empty());
                prop_assert!(REJECTION_CODES.contains(&config.rejections.all_full), "{}", config.rejections.all_full);
                prop_assert!(config.calls.drain <= Duration::from_secs(1 << 32), "{:?}", config.calls);
            }
            Err(faults) => {
                prop_assert!(!faults.0.is_empty());
                for fault in faults.0 {
                    prop_assert!(!fault.key.is_empty() && !fault.text.is_empty(), "{fault:?}");
                }
            }
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_its_own_key_and_by_no_other(
        (section, key) in select(keys()),
        odd in select(vec!["{ a = { b = 1 } }", "nan", "[{ a = 1 }]"]),
    ) {
        let faults = load(&format!("{}\n{key} = {odd}\n", header(&section)), &[]).expect_err("no key has such a value");
        let name = if section == "asterisk" { format!("asterisk[0].{key}") } else { format!("{section}.{key}") };
        for fault in &faults.0 {
            let of_it = fault.key.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            prop_assert!(of_it, "{name}: {faults}");
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_by_its_name(
        (section, _) in select(keys()), key in "zz_[a-z]{1,9}", value in value(),
    ) {
        let faults = load(&format!("{}\n{key} = {value}\n", header(&section)), &[]).expect_err("it is not known");
        prop_assert!(faults.0.iter().any(|fault| fault.key.ends_with(&format!(".{key}"))), "{faults}");
    }

    /// Under whatever key it stands, well or badly written.
    #[test]
    fn a_secret_is_told_nowhere(
        (section, key) in select(keys().into_iter().filter(|(_, key)| {
            matches!(key.as_str(), "password" | "metrics_token" | "key" | "admin_password" | "log_call_token")
        }).collect::<Vec<_>>()),
        (before, after) in ("\\PC{0,8}", "\\PC{0,8}"),
        form in 0..6,
    ) {
        let secret = format!("{before}{CANARY}{after}");
        let quoted = toml::Value::from(secret.clone()).to_string();
        let line = match form {
            0 => format!("{key} = {quoted}"),
            1 => format!("{key} = {secret}"),
            2 => format!("{key} = [{quoted}]"),
            3 => format!("{key}x = {quoted}"),
            4 => format!("{key} = {quoted} {quoted}"),
            _ => format!("{key} = {{ is = {quoted} }}"),
        };
        let told = match load(&format!("{}\n{line}\n", header(&section)), &[]) {
            Ok(config) => format!("{config:?}"),
            Err(faults) => format!("{faults} {faults:?}"),
        };
        prop_assert!(!told.contains(CANARY), "{told}");
    }
}
