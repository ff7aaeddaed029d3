//! PURE: Plans that went wrong on their way: no panic, every problem by its place, no password in any of it, and what is taken is sound.

use proptest::prelude::*;
use serde_json::Value;

use super::tests::{DEMO, PRUNE, documents, stored};
use super::*;
use crate::mutations::{TEXTS, changed};

const PASSWORD: &str = "hunter2-canary";

fn sample() -> Value {
    let table: toml::Table = DEMO.replace("hunter2", PASSWORD).parse().expect("TOML");
    serde_json::to_value(table).expect("JSON")
}

/// TOML has no null, and no number beyond 64 bits with a sign.
fn as_toml(mut value: Value) -> Option<String> {
    fn fit(value: &mut Value) {
        match value {
            Value::Null => *value = Value::Bool(false),
            Value::Number(number) if number.as_i64().is_none() && !number.is_f64() => *value = Value::from(i64::MAX),
            Value::Array(values) => values.iter_mut().for_each(fit),
            Value::Object(fields) => fields.values_mut().for_each(fit),
            _ => {}
        }
    }
    fit(&mut value);
    toml::to_string(&value).ok()
}

/// A document that was taken: it can be planned, and it reads back to itself.
fn taken(document: &Document, state: &State) -> Result<(), TestCaseError> {
    let plan = match diff(&Current::default(), state, PRUNE) {
        Ok(plan) => plan.to_string(),
        // Sound, but for a password that nothing is stored for.
        Err(problems) => {
            prop_assert!(problems.to_string().contains("password: is missing"), "{problems}");
            return Ok(());
        }
    };
    prop_assert!(!plan.contains(PASSWORD), "{plan}");
    let current = stored(state);
    let text = Document::from(&current).to_toml().expect("TOML");
    let again = Document::parse(&text).expect("its own TOML").check().expect("its own values");
    prop_assert_eq!(diff(&current, &again, PRUNE).expect("fits").to_string(), "No changes.", "{}", text);
    let shown = format!("{document:?}");
    prop_assert!(!shown.contains(PASSWORD), "{shown}");
    Ok(())
}

fn look(text: &str) -> Result<(), TestCaseError> {
    match Document::parse(text) {
        Err(error) => {
            let error = error.to_string();
            prop_assert!(error.starts_with("line ") && !error.contains(PASSWORD), "{error}");
        }
        Ok(document) => match document.check() {
            Ok(state) => taken(&document, &state)?,
            Err(problems) => {
                for problem in &problems.0 {
                    let place =
                        ["sellers", "clients", "dids", "campaigns"].iter().any(|part| problem.starts_with(part));
                    prop_assert!(place && problem.contains(": ") && !problem.contains(PASSWORD), "{problem}");
                }
            }
        },
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_changed_plan_is_refused_by_its_places_or_sound(document in changed(vec![sample()])) {
        if let Some(text) = as_toml(document) {
            look(&text)?;
        }
    }

    #[test]
    fn a_sound_plan_with_one_odd_text_is_refused_by_its_place_or_sound(
        document in documents::document(), at in any::<usize>(), odd in prop::sample::select(&TEXTS[..]),
    ) {
        let text = document.to_toml().expect("TOML");
        let quotes: Vec<_> = text.match_indices(" = \"").map(|(at, _)| at + 3).collect();
        if let Some(start) = quotes.get(at % quotes.len().max(1)) {
            let end = text[*start..].find('\n').map_or(text.len(), |line| start + line);
            look(&format!("{}{}{}", &text[..*start], toml::Value::from(odd), &text[end..]))?;
        }
    }

    #[test]
    fn two_sound_plans_follow_each_other(from in documents::document(), to in documents::document()) {
        let (from, to) = (from.check().expect("sound"), to.check().expect("sound"));
        if let Ok(plan) = diff(&stored(&from), &to, PRUNE) {
            prop_assert_eq!(plan.to_string() == "No changes.", from == to, "{}", plan);
        }
    }
}
