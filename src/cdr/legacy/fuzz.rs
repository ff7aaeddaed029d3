//! PURE: Whatever the old dialplan's script posts: no panic, what cannot be read is named, and what is taken makes a sound record.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::reading::FIELDS;
use super::tests::{answered_call, later, made_of};
use super::*;
use crate::mutations::{any_value, changed};

fn look(value: &Value) -> Result<(), TestCaseError> {
    let Value::Object(fields) = value else { return Ok(()) };
    match read(fields, later(), chrono_tz::Europe::London) {
        Err(fault) => prop_assert_eq!((fault.field, fault.code), ("uniqueid", "required")),
        Ok(report) => {
            prop_assert!(!report.uniqueid.is_empty() && report.uniqueid.len() <= 149);
            let known = |field: &String| FIELDS.iter().any(|(name, _)| name == field);
            prop_assert!(report.unreadable.iter().all(known), "{report:?}");
            prop_assert!(report.start <= report.end && report.end <= later(), "{report:?}");
            prop_assert!(report.answer.is_none_or(|at| report.start <= at && at <= report.end), "{report:?}");
            prop_assert!(report.dnid.chars().count() <= 80, "{report:?}");
            let record = made_of(report);
            prop_assert!(record.talk_ms >= 0 && record.ring_ms >= 0, "{record:?}");
            for text in [Some(&record.dialled_raw), record.caller_raw.as_ref(), record.caller_name.as_ref()] {
                prop_assert!(!text.is_some_and(|text| text.contains(char::is_control)), "{record:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_changed_report_makes_a_sound_record(value in changed(vec![answered_call()])) {
        look(&value)?;
    }

    #[test]
    fn any_values_for_any_fields_make_a_sound_record(
        fields in prop::collection::vec((prop::sample::select(FIELDS), any::<bool>(), any_value()), 0..8),
        times in prop::collection::vec("[0-9]{1,20}|[0-9]{1,6}-[0-9]{1,2}-[0-9]{1,2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:?[0-9]{2})?", 3),
    ) {
        let mut value = Map::new();
        value.insert("uniqueid".to_owned(), "pbx-1.1".into());
        for (field, time) in ["start", "answer", "end"].into_iter().zip(times) {
            value.insert(field.to_owned(), time.into());
        }
        for ((name, others), other, odd) in fields {
            let name = others.first().copied().filter(|_| other).unwrap_or(name);
            value.insert(name.to_owned(), odd);
        }
        look(&Value::Object(value))?;
    }
}
