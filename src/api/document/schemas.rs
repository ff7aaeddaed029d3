//! What the library leaves out of schemas: where null is meant, that unknown fields are refused, whole numbers as such.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::needed;

/// Fields of bodies that may be left out and cannot be null.
const NEVER_NULL: [(&str, &[&str]); 9] = [
    ("NewDid", &["seller_id"]),
    ("DidPatch", &["seller_id", "status"]),
    ("NewClient", &["status", "send_headers", "access"]),
    ("ClientPatch", &["name", "sip", "status", "send_headers", "access"]),
    ("RegistrationChange", &["username"]),
    ("NewCampaign", &["seller_id", "routing_strategy", "dial_timeout_seconds", "status"]),
    ("CampaignPatch", &["name", "routing_strategy", "dial_timeout_seconds", "status"]),
    ("NewLink", &["forwarding_priority", "weight", "count_on", "status"]),
    ("LinkPatch", &["forwarding_priority", "weight", "count_on", "status"]),
];

/// Fields of bodies that must be there although null is among their values.
const REQUIRED: [(&str, &str); 1] = [("NewLink", "max_concurrency")];

pub(super) fn complete(document: &mut Value) {
    let mut bodies = BTreeSet::new();
    for path in document["paths"].as_object().into_iter().flatten() {
        for operation in path.1.as_object().into_iter().flatten() {
            bodies.extend(needed(document, &operation.1["requestBody"]));
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        each_object(schema, &mut |object| tidy(object));
        let is_body = bodies.contains(name);
        for (_, field) in REQUIRED.iter().filter(|(schema, _)| schema == name) {
            require(schema, field);
        }
        nullable(schema, if is_body { never_null(name) } else { &[] });
        if is_body && schema["properties"].is_object() && !schema["additionalProperties"].is_object() {
            schema["additionalProperties"] = json!(false);
        }
    }
    // A view with more fields fits one with fewer, too.
    if let Some(views) = document["components"]["schemas"].as_object_mut() {
        for view in views.values_mut().filter_map(Value::as_object_mut) {
            if let Some(one_of) = view.remove("oneOf") {
                view.insert("anyOf".to_owned(), one_of);
                view.remove("type");
            }
        }
    }
}

fn never_null(name: &str) -> &'static [&'static str] {
    NEVER_NULL.iter().find(|(schema, _)| *schema == name).map_or(&[], |(_, fields)| fields)
}

fn require(schema: &mut Value, field: &str) {
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(field.into());
        // Null is a value of it.
        schema["properties"][field]["nullable"] = json!(true);
    }
}

/// What need not be there may be null, but for `never`.
fn nullable(schema: &mut Value, never: &[&str]) {
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    for (name, property) in schema["properties"].as_object_mut().into_iter().flatten() {
        if required.contains(name) || never.contains(&name.as_str()) {
            continue;
        }
        // A reference says nothing but itself.
        if property["$ref"].is_string() {
            *property = json!({ "allOf": [property.take()] });
        }
        property["nullable"] = json!(true);
    }
}

/// Calls `change` with every object under `value`, itself last.
pub(super) fn each_object(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| each_object(value, change));
            change(fields);
        }
        Value::Array(items) => items.iter_mut().for_each(|value| each_object(value, change)),
        _ => {}
    }
}

/// Bounds of whole numbers are whole, what is unsigned is not below 0, and a reference is described once.
pub(super) fn tidy(schema: &mut serde_json::Map<String, Value>) {
    if schema.get("type").is_some_and(|kind| kind == "integer") {
        for bound in ["minimum", "maximum"] {
            // Exact: all bounds lie far below 2^53.
            #[allow(clippy::cast_possible_truncation, reason = "bounds are small whole numbers")]
            if let Some(number) = schema.get(bound).and_then(Value::as_f64) {
                schema.insert(bound.to_owned(), json!(number as i64));
            }
        }
        let unsigned = schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with('u'));
        if unsigned {
            schema.entry("minimum").or_insert(json!(0));
        }
    }
    if let Some(parts) = schema.get_mut("allOf").and_then(Value::as_array_mut) {
        parts.retain(|part| part.as_object().is_none_or(|part| part.keys().any(|key| key != "description")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_allowed_where_it_clears_and_nowhere_else() {
        let mut document = json!({
            "paths": { "/links": { "patch": { "requestBody": { "$ref": "#/components/schemas/LinkPatch" } } } },
            "components": { "schemas": {
                "LinkPatch": { "type": "object", "properties": {
                    "max_concurrency": { "type": "integer", "minimum": 0.0 },
                    "status": { "allOf": [{ "$ref": "#/components/schemas/Life" }, { "description": "Life." }] },
                } },
                "Life": { "type": "string" },
            } },
        });
        complete(&mut document);
        let patch = &document["components"]["schemas"]["LinkPatch"];
        assert_eq!(patch["additionalProperties"], false);
        assert_eq!(
            patch["properties"]["max_concurrency"],
            json!({ "type": "integer", "minimum": 0, "nullable": true })
        );
        assert_eq!(patch["properties"]["status"], json!({ "allOf": [{ "$ref": "#/components/schemas/Life" }] }));
    }
}
