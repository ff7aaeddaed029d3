//! The OpenAPI document as it is published: what the library makes of the handlers, and what only we know: who may do what and set
//! which field, which errors an operation can give, where null is meant, and examples. PURE.

mod examples;
mod operations;
mod role;
mod schemas;

use serde_json::{Value, json};

use crate::auth::roles::Role;

/// How a schema is referred to.
const SCHEMAS: &str = "#/components/schemas/";
/// How a response is referred to.
const RESPONSES: &str = "#/components/responses/";

/// The document of all operations, or of those that `role` reaches, with the fields that it may set, made of the library's.
pub(super) fn publish(generated: Value, role: Option<Role>) -> Value {
    let mut document = generated;
    // The library writes 3.0; in 3.1 null is a type like others, which is what we need to say.
    document["openapi"] = json!("3.1.0");
    document["info"]["license"] = json!({ "name": "MIT OR Apache-2.0", "url": "https://spdx.org/licenses/MIT.html" });
    document["servers"] = json!([{ "url": "/", "description": "Where this document comes from." }]);
    schemas::complete(&mut document);
    operations::complete(&mut document);
    if let Some(role) = role {
        role::narrow(&mut document, role);
    }
    role::drop_orphans(&mut document);
    examples::add(&mut document);
    document
}

/// YAML of the document, what introduces a thing before what it holds.
pub(super) fn yaml(document: &Value) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&ordered(document))
}

/// Keys that come first, in this order; the others follow by their letters.
const FIRST: [&str; 14] = [
    "openapi",
    "info",
    "servers",
    "tags",
    "paths",
    "title",
    "name",
    "type",
    "operationId",
    "summary",
    "description",
    "x-roles",
    "id",
    "$ref",
];

fn ordered(value: &Value) -> serde_yaml::Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.keys().collect();
            keys.sort_by_key(|key| (FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()), *key));
            keys.into_iter()
                .map(|key| (key.as_str().into(), ordered(&fields[key])))
                .collect::<serde_yaml::Mapping>()
                .into()
        }
        Value::Array(items) => items.iter().map(ordered).collect::<Vec<_>>().into(),
        Value::String(text) => text.as_str().into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Null => serde_yaml::Value::Null,
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or_default().into(),
        },
    }
}

/// Each operation with its path.
fn each_operation(document: &mut Value, mut change: impl FnMut(&str, &str, &mut Value)) {
    for (path, item) in fields(document, &["paths"]) {
        for (method, operation) in fields(item, &[]) {
            change(path, method, operation);
        }
    }
}

/// The fields of an object that lies at `place`, where there is one. (To index would make one.)
fn fields<'a>(value: &'a mut Value, place: &[&str]) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    let found = place.iter().try_fold(value, |value, key| value.get_mut(key));
    found.and_then(Value::as_object_mut).into_iter().flatten()
}

/// Calls `visit` with the name of each schema (or response) under `value`.
fn references(value: &Value, prefix: &str, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(prefix)) {
                visit(name);
            }
            fields.values().for_each(|value| references(value, prefix, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, prefix, visit)),
        _ => {}
    }
}

/// Names of the schemas that `value` needs, itself through others.
fn needed(document: &Value, value: &Value) -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        references(value, SCHEMAS, &mut |name| {
            if found.insert(name.to_owned()) {
                open.push(&document["components"]["schemas"][name]);
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::roles::{Operation, Reach, reach};

    fn document(role: Option<Role>) -> Value {
        super::super::document(role)
    }

    fn operations(document: &Value) -> Vec<Value> {
        let paths = document["paths"].as_object().unwrap().values();
        paths.flat_map(|path| path.as_object().unwrap().values().cloned()).collect()
    }

    #[test]
    fn a_role_finds_what_it_reaches_and_no_orphans() {
        for role in [Role::Admin, Role::Staff, Role::Seller] {
            let document = document(Some(role));
            let asking = |operation: &&Value| operation["x-roles"].is_object();
            let listed = operations(&document);
            let ids: BTreeSet<_> =
                listed.iter().filter(asking).filter_map(|o| o["operationId"].as_str()).map(str::to_owned).collect();
            let reached = Operation::ALL.iter().filter(|operation| reach(role, **operation) != Reach::None);
            assert_eq!(ids, reached.map(|operation| operation.id().to_owned()).collect(), "{role}");
            let schemas: BTreeSet<_> = document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
            let used = needed(&document, &json!([document["paths"], document["components"]["responses"]]));
            assert_eq!(schemas, used, "{role}");
        }
    }

    #[test]
    fn a_role_finds_the_fields_it_may_set_alone() {
        let has = |role, schema: &str, field: &str| {
            document(role)["components"]["schemas"][schema]["properties"][field].is_object()
        };
        assert!(has(None, "NewDid", "seller_id") && has(Some(Role::Staff), "NewDid", "seller_id"));
        assert!(
            !has(Some(Role::Seller), "NewDid", "seller_id") && !has(Some(Role::Seller), "NewCampaign", "seller_id")
        );
        assert!(has(Some(Role::Admin), "NewClient", "mask_name") && !has(Some(Role::Staff), "NewClient", "mask_name"));
        assert!(has(Some(Role::Staff), "LinkPatch", "status") && !has(Some(Role::Staff), "LinkPatch", "weight"));
        let seller = document(Some(Role::Seller)).to_string();
        for word in ["SellersClient", "listUsers"] {
            assert_eq!(seller.contains(word), word == "SellersClient", "{word}");
        }
        assert!(!seller.contains("\"#/components/schemas/Client\""));
    }

    #[test]
    fn every_operation_says_who_may_do_it_what_goes_wrong_and_gives_examples() {
        for role in [None, Some(Role::Admin), Some(Role::Staff), Some(Role::Seller)] {
            for operation in operations(&document(role)) {
                let id = operation["operationId"].as_str().unwrap();
                for word in ["summary", "description"] {
                    assert!(operation[word].as_str().is_some_and(|text| !text.is_empty()), "{id}: {word}");
                }
                assert!(operation["description"].as_str().unwrap().contains("Roles: "), "{id}");
                assert_eq!(operation["x-roles"].is_object(), id.parse::<Operation>().is_ok(), "{id}");
                assert!(operation["security"].is_array(), "{id}");
                if let Some(body) = operation["requestBody"].as_object() {
                    let media = body["content"].as_object().unwrap();
                    assert!(
                        media.values().all(|media| !media["example"].is_null()),
                        "{id}: src/api/document/examples.rs"
                    );
                }
                for (status, response) in operation["responses"].as_object().unwrap() {
                    assert!(
                        status.starts_with('2') || status == "503" || response["$ref"].is_string(),
                        "{id} {status}"
                    );
                    let media = response["content"].as_object().into_iter().flat_map(|media| media.values());
                    for media in media {
                        assert!(!media["example"].is_null(), "{id} {status}");
                    }
                }
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    assert!(parameter["description"].is_string(), "{id}: {parameter}");
                }
            }
        }
    }
}
