//! Cursors come back as anything: no panic, nobody reads on from a place that was not given to him, and every refusal names its field.

use proptest::prelude::*;

use super::*;
use crate::mutations::{any_value, changed_text};

type Key = (i64, String);

fn cursor(key: &Key, filters: &str) -> String {
    let window = Window::<Key>::new(Some(1), None, filters).expect("a first page");
    let page = window.page(vec![key.clone(), key.clone()], Clone::clone, |_| 0_i64).expect("a page");
    page.next_cursor.expect("another follows")
}

fn refused(error: &ApiError) -> bool {
    matches!(error.code(), "invalid" | "malformed")
}

proptest! {
    #[test]
    fn a_cursor_brings_its_key_back_under_its_own_filters_only(
        id: i64, text in "[^\0]{0,40}", filters in ".{0,30}", others in ".{0,30}",
    ) {
        let cursor = cursor(&(id, text.clone()), &filters);
        let window = Window::<Key>::new(None, Some(&cursor), &filters).expect("its own cursor");
        prop_assert_eq!(window.after, Some((id, text)));
        if others != filters {
            prop_assert!(refused(&Window::<Key>::new(None, Some(&cursor), &others).expect_err("other filters")));
        }
        // A list with keys of another kind.
        prop_assert!(refused(&Window::<i64>::new(None, Some(&cursor), &filters).expect_err("another kind")));
    }

    #[test]
    fn any_text_is_refused(cursor in "\\PC{0,80}|[A-Za-z0-9_=-]{0,80}", limit: u32) {
        let error = Window::<Key>::new(Some(1 + limit % 200), Some(&cursor), "").expect_err("nobody gave it");
        prop_assert!(refused(&error));
    }

    #[test]
    fn any_json_in_a_cursors_clothes_is_refused_or_has_a_key_that_fits(
        json in prop_oneof![
            any_value().prop_map(|value| value.to_string()),
            changed_text(vec![serde_json::json!({"k": [7, "a"], "f": "47DEQpj8HBSa"})]),
        ],
    ) {
        let cursor = URL_SAFE_NO_PAD.encode(&json);
        match Window::<Key>::new(None, Some(&cursor), "") {
            Ok(window) => {
                let told: Value = serde_json::from_str(&json).expect("it was read");
                let (id, text) = window.after.expect("a key");
                prop_assert!(!text.contains('\0') && told["k"][0] == id && told["k"][1] == text.as_str(), "{json}");
            }
            Err(error) => prop_assert!(refused(&error)),
        }
    }
}
