//! PURE: JSON in which no name is twice in one object: RFC 8259, section 4, leaves open which of the two counts, so that what a proxy
//! lets through could be another thing than what is carried out here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Characters of a place in a body, such as `items[3].number`.
pub(super) const PLACE_AT_MOST: usize = 200;
/// Twins that are named.
const TWINS_AT_MOST: usize = 100;

/// What was read: of names that are twice the last value, and the places of these names, the first hundred.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    pub(super) value: Value,
    pub(super) twins: Vec<String>,
}

/// Reads a whole text. Nested deeper than 128 levels is refused.
pub(super) fn read(bytes: &[u8]) -> serde_json::Result<Read> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut twins = Vec::new();
    let value = Reading { place: Place::Whole, twins: &mut twins }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Read { value, twins })
}

/// Where in the text it is read; written down only where a twin is found.
#[derive(Clone, Copy)]
enum Place<'p> {
    Whole,
    Field(&'p Place<'p>, &'p str),
    Item(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Field(Place::Whole, name) => f.write_str(name),
            Self::Field(within, name) => write!(f, "{within}.{name}"),
            Self::Item(within, index) => write!(f, "{within}[{index}]"),
        }
    }
}

struct Reading<'p, 't> {
    place: Place<'p>,
    twins: &'t mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let place = Place::Item(&self.place, values.len());
            match items.next_element_seed(Reading { place, twins: &mut *self.twins })? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let place = Place::Field(&self.place, &name);
            if values.contains_key(&name) && self.twins.len() < TWINS_AT_MOST {
                self.twins.push(place.to_string().chars().take(PLACE_AT_MOST).collect());
            }
            let value = fields.next_value_seed(Reading { place, twins: &mut *self.twins })?;
            values.insert(name, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn twins(text: &str) -> Vec<String> {
        read(text.as_bytes()).expect("JSON").twins
    }

    #[test]
    fn names_that_are_twice_are_named_by_their_place_at_any_depth() {
        for (text, places) in [
            (r#"{"a":1,"a":2}"#, vec!["a"]),
            (r#"{"a":1,"\u0061":1}"#, vec!["a"]),
            (r#"{"sip":{"host":"x","port":1,"host":"x"}}"#, vec!["sip.host"]),
            (r#"{"items":[{"number":"1"},{"number":"2","number":"3"}]}"#, vec!["items[1].number"]),
            (r#"[[{"a":null,"a":null}]]"#, vec!["[0][0].a"]),
            (r#"{"a":{"b":1,"b":2},"a":3}"#, vec!["a.b", "a"]),
            (r#"{"a":1,"A":2,"b":{"a":3},"c":[{"a":1},{"a":2}]}"#, vec![]),
        ] {
            assert_eq!(twins(text), places, "{text}");
        }
    }

    #[test]
    fn twins_that_are_named_are_few_and_short() {
        let many: Vec<_> = (0..300).map(|n| format!(r#""x{n}":1,"x{n}":2"#)).collect();
        assert_eq!(twins(&format!("{{{}}}", many.join(","))).len(), TWINS_AT_MOST);
        let long = "n".repeat(1000);
        assert_eq!(twins(&format!(r#"{{"{long}":1,"{long}":2}}"#))[0].len(), PLACE_AT_MOST);
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        for text in ["", "{", "{}x", "{\"a\":1,}", "[1,]", "nul", "\u{feff}{}", "1e999"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_the_library_reads(value in values()) {
            let text = value.to_string();
            let whole: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(read(text.as_bytes()).expect("JSON"), Read { value: whole, twins: Vec::new() });
        }
    }
}
