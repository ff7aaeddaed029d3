//! `rights.txt`: who may set and see which fields, written by hand.

use std::collections::{BTreeMap, BTreeSet};

use capconduit::auth::roles::Role;
use serde_json::Value;

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// By operation and role.
    set: BTreeMap<(String, String), BTreeSet<String>>,
    /// What sellers see, by operation.
    see: BTreeMap<String, BTreeSet<String>>,
}

impl Rights {
    pub(crate) fn read() -> Self {
        let mut rights = Self::default();
        let lines = include_str!("rights.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in lines {
            let (what, fields) = line.split_once(':').unwrap_or_else(|| panic!("rights.txt: {line}"));
            let fields = || fields.split_whitespace().map(str::to_owned);
            match what.split(' ').collect::<Vec<_>>()[..] {
                ["set", operation, roles] => {
                    for role in roles.split(',') {
                        let known = rights.set.entry((operation.to_owned(), role.to_owned())).or_default();
                        known.extend(fields());
                    }
                }
                ["see", operation] => rights.see.entry(operation.to_owned()).or_default().extend(fields()),
                _ => panic!("rights.txt: {line}"),
            }
        }
        rights
    }

    /// The fields that `role` may set in an operation: none but these.
    pub(crate) fn may_set(&self, operation: &str, role: Role) -> BTreeSet<String> {
        self.set.get(&(operation.to_owned(), role.to_string())).cloned().unwrap_or_default()
    }

    /// Sellers see what is written down, and no more: a property that is new in an answer is theirs once it is named.
    pub(crate) fn compare(&self, seen: &BTreeMap<String, BTreeSet<String>>) {
        let mut more = Vec::new();
        for (operation, properties) in seen {
            let known = self.see.get(operation);
            let new = properties.iter().filter(|name| known.is_none_or(|known| !known.contains(*name)));
            more.extend(new.map(|name| format!("{operation}: {name}")));
        }
        assert_eq!(more, Vec::<String>::new(), "sellers see what rights.txt does not say");
    }
}

/// Adds the names of all properties in a JSON text, or in each line of it.
pub(crate) fn properties(text: &str, into: &mut BTreeSet<String>) {
    let values = serde_json::from_str(text).map(|value| vec![value]);
    let values: Vec<Value> = values.unwrap_or_else(|_| {
        text.lines().filter_map(|line| serde_json::from_str(line.trim_start_matches("data:")).ok()).collect()
    });
    values.iter().for_each(|value| walk(value, into));
}

fn walk(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                // Keys that are data: numbers of a report, headers of a client.
                if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
                    into.insert(name.clone());
                }
                walk(value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, into)),
        _ => {}
    }
}
