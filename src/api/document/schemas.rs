//! What the library leaves out of schemas: where null is meant (in the words of OpenAPI 3.1, where it is a type), that unknown fields are
//! refused, whole numbers as such.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{fields, needed};

/// Fields of bodies that may be left out and cannot be null.
const NEVER_NULL: &[(&str, &[&str])] = &[
    ("NewDid", &["seller_id"]),
    ("DidPatch", &["seller_id", "status"]),
    ("NewClient", &["status", "send_headers", "access"]),
    ("ClientPatch", &["name", "sip", "status", "send_headers", "access"]),
    ("RegistrationChange", &["username"]),
    ("OutboundAuthChange", &["username"]),
    ("NewCampaign", &["seller_id", "routing_strategy", "dial_timeout_seconds", "early_media", "status"]),
    ("CampaignPatch", &["name", "routing_strategy", "dial_timeout_seconds", "early_media", "status"]),
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
    for (name, schema) in fields(document, &["components", "schemas"]) {
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
    let views = fields(document, &["components", "schemas"]);
    for view in views.filter_map(|(_, view)| view.as_object_mut()) {
        if let Some(one_of) = view.remove("oneOf") {
            view.insert("anyOf".to_owned(), one_of);
            view.remove("type");
        }
    }
}

fn never_null(name: &str) -> &'static [&'static str] {
    NEVER_NULL.iter().find(|(schema, _)| *schema == name).map_or(&[], |(_, fields)| fields)
}

fn require(schema: &mut Value, field: &str) {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push(field.into());
        allow_null(&mut schema["properties"][field]);
    }
}

/// What need not be there may be null, but for `never`.
fn nullable(schema: &mut Value, never: &[&str]) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    for (name, property) in fields(schema, &["properties"]) {
        if !required.contains(name) && !never.contains(&name.as_str()) {
            allow_null(property);
        }
    }
}

/// Null as one more value. What has no type at all, such as the audit's objects, may be anything already.
fn allow_null(property: &mut Value) {
    if let Some(kind) = property["type"].as_str() {
        property["type"] = json!([kind, "null"]);
        if let Some(words) = property.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
        return;
    }
    let Some(schema) = property.as_object_mut() else { return };
    let named = schema.remove("$ref").map(|to| json!([{ "$ref": to }])).or_else(|| schema.remove("allOf"));
    if let Some(Value::Array(mut kinds)) = named {
        kinds.push(json!({ "type": "null" }));
        schema.insert("anyOf".to_owned(), kinds.into());
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
                    "count_on": { "$ref": "#/components/schemas/Life" },
                    "ring": { "$ref": "#/components/schemas/Life" },
                    "status": { "allOf": [{ "$ref": "#/components/schemas/Life" }, { "description": "Life." }] },
                } },
                "Life": { "type": "string" },
            } },
        });
        complete(&mut document);
        let patch = &document["components"]["schemas"]["LinkPatch"];
        assert_eq!(patch["additionalProperties"], false);
        assert_eq!(patch["properties"]["max_concurrency"], json!({ "type": ["integer", "null"], "minimum": 0 }));
        let either = json!({ "anyOf": [{ "$ref": "#/components/schemas/Life" }, { "type": "null" }] });
        assert_eq!(patch["properties"]["ring"], either);
        assert_eq!(patch["properties"]["count_on"], json!({ "$ref": "#/components/schemas/Life" }));
        assert_eq!(patch["properties"]["status"], json!({ "allOf": [{ "$ref": "#/components/schemas/Life" }] }));
    }
}
