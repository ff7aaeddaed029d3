//! PURE: JSON that a record carries as text: written once, handed on as it is, and read only by whoever asks for it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// One JSON value as text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Writes it; `None` where it is nothing that JSON can hold.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Option<Self> {
        to_raw_value(value).ok().map(Self)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// What it says.
    #[must_use]
    pub fn value(&self) -> Value {
        // Text that is no JSON cannot come in here.
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// What it says in this form; `None` where it has another.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.text()).ok()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for Json {
    /// The order of an object's keys says nothing.
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() || self.value() == other.value()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_stays_as_it_was_written_and_compares_by_what_it_says() {
        let written: Json = serde_json::from_str(r#"{"b": [1, null], "a": "x"}"#).expect("JSON");
        assert_eq!(serde_json::to_string(&written).expect("JSON"), r#"{"b": [1, null], "a": "x"}"#);
        assert_eq!(written, Json::from(json!({"a": "x", "b": [1, null]})));
        assert_ne!(written, Json::from(json!({"a": "x", "b": [1, 2]})));
        assert_eq!(Json::from(json!([7])).read::<Vec<u8>>(), Some(vec![7]));
        assert_eq!(Json::from(json!([7])).read::<String>(), None);
    }
}
