//! Examples: bodies are written by hand, answers are made of their schemas. A test outside (`tests/spec`) compares all with the schemas.

use serde_json::{Map, Value, json};

use super::{SCHEMAS, fields};

/// The body of each operation that takes one, with all roles' fields.
const BODIES: &[(&str, &str)] = &[
    ("login", r#"{"username": "acme", "password": "violet tractor hums low"}"#),
    ("refreshSession", r#"{"refresh_token": "ccr_Zm9yIHRoZSBkb2N1bWVudCBvbmx5LCBuZXZlciBnb29k"}"#),
    ("changePassword", r#"{"current_password": "violet tractor hums low", "new_password": "brass orchid under snow"}"#),
    ("createToken", r#"{"name": "nightly report", "scope": "read", "expires_at": "2027-06-30T00:00:00Z"}"#),
    ("createUser", r#"{"username": "ann", "name": "Ann", "role": "staff", "password": "brass orchid under snow"}"#),
    ("updateUser", r#"{"status": "disabled", "stop_routing": true}"#),
    (
        "logCall",
        r#"{"uniqueid": "1795349909.10", "dnid": "+442079460001", "caller_number": "+447700900123",
            "start": "2026-11-22 14:00:00", "answer": "2026-11-22 14:00:07", "end": "2026-11-22 14:01:07",
            "dialstatus": "ANSWER", "hangupcause": "16", "effective_ccs_id": 77}"#,
    ),
    (
        "createClient",
        r#"{"client_identifier": "north", "name": "North Calls", "mask_name": "Call centre 7", "max_concurrency": 30,
            "time_zone": "Europe/London", "sip": {"host": "203.0.113.7", "codecs": ["alaw", "ulaw"]}}"#,
    ),
    ("updateClient", r#"{"sip": {"host": null, "registration": {"username": "north"}}, "mask_name": null}"#),
    ("createDid", r#"{"number": "+442071234567", "seller_id": 3}"#),
    (
        "createDids",
        r#"{"items": [{"number": "+442071234567", "seller_id": 3}, {"number": "+442071234568", "seller_id": 3}]}"#,
    ),
    ("updateDid", r#"{"status": "paused"}"#),
    (
        "createCampaign",
        r#"{"name": "Solar UK", "seller_id": 3, "routing_strategy": "weighted", "dial_timeout_seconds": 15}"#,
    ),
    ("updateCampaign", r#"{"status": "active", "max_concurrency": 10, "setup_budget_seconds": null}"#),
    ("createLink", r#"{"client_id": 7, "max_concurrency": 5, "total_calls_allowed": 1000}"#),
    ("updateLink", r#"{"status": "active", "weight": 3}"#),
    ("resetLinkCounter", r#"{"expected": 1000}"#),
    ("releaseNode", r#"{"expected": 12}"#),
    ("setLegacyIds", r#"{"items": [{"id": 9, "legacy_id": "123"}, {"id": 10, "legacy_id": null}]}"#),
    (
        "previewRoute",
        r#"{"did": "+442071234567", "caller": "+447700900123", "usage": [{"link_id": 9, "used": 4, "total_used": null}]}"#,
    ),
];

/// What fields are called and what they may hold; taken where the type fits.
const VALUES: &[(&str, &str)] = &[
    ("id", "7"),
    ("did_id", "12"),
    ("seller_id", "3"),
    ("user_id", "3"),
    ("campaign_id", "5"),
    ("campaign_ids", "[5]"),
    ("link_id", "9"),
    ("client_id", "7"),
    ("candidates", "[9]"),
    ("last_offered", "9"),
    ("version", "3"),
    ("number", r#""+442071234567""#),
    ("did", r#""+442071234567""#),
    ("dialled_raw", r#""02071234567""#),
    ("caller", r#""+447700900123""#),
    ("caller_name", r#""Ann""#),
    ("caller_presentation", r#""allowed""#),
    ("username", r#""acme""#),
    ("seller_name", r#""Acme""#),
    ("campaign_name", r#""Solar UK""#),
    ("client_name", r#""North Calls""#),
    ("client_identifier", r#""north""#),
    ("mask_name", r#""Call centre 7""#),
    ("contact", r#""North's night desk, +44 20 7946 0000""#),
    ("time_zone", r#""Europe/London""#),
    ("host", r#""203.0.113.7""#),
    ("port", "5060"),
    ("transport", r#""udp""#),
    ("codecs", r#"["alaw", "ulaw"]"#),
    ("dtmf_mode", r#""rfc4733""#),
    ("identify_by_ip", r#"["203.0.113.7"]"#),
    ("qualify_seconds", "60"),
    ("generated_password", r#""shown-once-and-never-again""#),
    ("call_id", r#""0199c3a0-7c3e-7d2b-8a51-3f0e5b7c9d10""#),
    ("uniqueid", r#""pbx-1795512600.42""#),
    ("sip_call_id", r#""a84b4c76e66710@carrier.example""#),
    ("node", r#""pbx""#),
    ("ending", r#""completed""#),
    ("hung_up_by", r#""caller""#),
    ("dialstatus", r#""ANSWER""#),
    ("sip_code", "200"),
    ("q850_cause", "16"),
    ("outcome", r#""answered""#),
    ("verdict", r#""candidate""#),
    ("explanation", r#""It can take the call.""#),
    ("event", r#""attempt 1 to North Calls""#),
    ("state", r#""talking""#),
    ("strategy", r#""priority""#),
    ("action", r#""did.update""#),
    ("object", r#""did:12""#),
    ("actor", r#""acme""#),
    ("address", r#""198.51.100.4""#),
    ("before", r#"{"status": "active"}"#),
    ("after", r#"{"status": "paused"}"#),
    ("next_cursor", r#""eyJrIjo3LCJmIjoiIn0""#),
    ("refusal", "null"),
    ("weight", "1"),
    ("answer_rate", "0.8"),
];

/// What parameters may be where no field is called so.
const PARAMETERS: &[(&str, &str)] = &[
    ("If-Match", r#""\"3\"""#),
    ("from", r#""2026-11-01T00:00:00Z""#),
    ("to", r#""2026-12-01T00:00:00Z""#),
    ("answered", "true"),
    ("min_talk_ms", "1000"),
    ("session_id", r#""6f1c8a54-2f0b-4b1e-9d0a-52c4a3c0e7b1""#),
];

/// The nouns of paths, and the field that has their ids.
const NOUNS: &[(&str, &str)] =
    &[("/dids/", "did_id"), ("/campaigns/", "campaign_id"), ("/clients/", "client_id"), ("/users/", "user_id")];

/// Answers that are no JSON, by media type.
const TEXTS: [(&str, &str); 2] = [
    (
        "text/csv",
        "call_id,arrived_at,did\r\n0199c3a0-7c3e-7d2b-8a51-3f0e5b7c9d10,2026-11-24T09:30:00+00:00,+442071234567\r\nrows,1\r\n",
    ),
    (
        "application/x-ndjson",
        "{\"call_id\":\"0199c3a0-7c3e-7d2b-8a51-3f0e5b7c9d10\",\"did\":\"+442071234567\"}\n{\"rows\":1}\n",
    ),
];

/// A body that is CSV.
const DIDS: &str = "number,status\r\n+442071234567,active\r\n+442071234568,paused\r\n";
/// The same by admins and staff.
const DIDS_BY_SELLER: &str = "number,seller_id\r\n+442071234567,3\r\n+442071234568,3\r\n";

/// How deep a schema is followed: none refers to itself, and should one ever, its example ends.
const DEPTH: u8 = 12;

pub(super) fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    super::each_operation(document, |_, _, operation| {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        for (_, media) in fields(operation, &["requestBody", "content"]) {
            if media["schema"]["type"] == "string" {
                // CSV; to sellers the second column is not known.
                let whole = schemas["NewDid"]["properties"]["seller_id"].is_object();
                media["example"] = json!(if whole { DIDS_BY_SELLER } else { DIDS });
            } else if let Some(body) = body(&id) {
                media["example"] = only_known(body, &media["schema"], &schemas);
            }
        }
        for (_, response) in fields(operation, &["responses"]) {
            for (kind, media) in fields(response, &["content"]) {
                let text = TEXTS.iter().find(|(known, _)| known == kind).map(|(_, text)| json!(text));
                media["example"] = text.unwrap_or_else(|| sample("", &media["schema"], &schemas, DEPTH));
            }
        }
    });
}

/// An example of a path's parameter, a filter or a header.
pub(super) fn parameter(path: &str, name: &str) -> Option<Value> {
    let noun = NOUNS.iter().find(|(noun, _)| name == "id" && path.contains(noun)).map(|(_, field)| *field);
    let name = noun.unwrap_or(name);
    // A page's cursor belongs to its list.
    let mut known = PARAMETERS.iter().chain(VALUES).filter(|(known, _)| *known == name && name != "next_cursor");
    known.next().and_then(|(_, text)| serde_json::from_str(text).ok())
}

fn body(id: &str) -> Option<Value> {
    BODIES.iter().find(|(operation, _)| *operation == id).and_then(|(_, text)| serde_json::from_str(text).ok())
}

/// What a schema that only refers to another one means; of several, the first.
fn resolved<'a>(schema: &'a Value, schemas: &'a Value) -> &'a Value {
    let parts = schema["allOf"].as_array().or_else(|| schema["anyOf"].as_array());
    let to = parts.and_then(|parts| parts.first()).unwrap_or(schema);
    match to["$ref"].as_str().and_then(|to| to.strip_prefix(SCHEMAS)) {
        Some(name) => resolved(&schemas[name], schemas),
        None => to,
    }
}

/// Without fields that the schema, narrowed to a role, does not have.
fn only_known(value: Value, schema: &Value, schemas: &Value) -> Value {
    let schema = resolved(schema, schemas);
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            let known = fields.into_iter().filter(|(name, _)| schema["properties"][name].is_object());
            known
                .map(|(name, value)| (name.clone(), only_known(value, &schema["properties"][&name], schemas)))
                .collect()
        }
        Value::Array(items) => items.into_iter().map(|item| only_known(item, &schema["items"], schemas)).collect(),
        other => other,
    }
}

/// A value that fits a schema, by the name of its field.
fn sample(name: &str, schema: &Value, schemas: &Value, depth: u8) -> Value {
    let nullable = schema["type"].is_array() || schema["anyOf"][1]["type"] == "null";
    let schema = resolved(schema, schemas);
    if let Some(word) = schema["enum"].as_array().and_then(|words| words.first()) {
        return word.clone();
    }
    if let Some(value) = known(name, schema, nullable) {
        return value;
    }
    match kind(schema) {
        Some("object") if depth > 0 => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties
                .map(|(name, part)| (name.clone(), sample(name, part, schemas, depth - 1)))
                .collect::<Map<_, _>>()
                .into()
        }
        Some("object") => json!({}),
        Some("array") => json!([sample(name, &schema["items"], schemas, depth)]),
        Some("integer") => schema.get("minimum").filter(|least| **least != 0).cloned().unwrap_or(json!(1)),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        _ if schema["format"] == "date-time" => json!("2026-11-24T09:30:00Z"),
        _ => json!(name.replace('_', " ")),
    }
}

/// The type, besides null.
fn kind(schema: &Value) -> Option<&str> {
    schema["type"].as_str().or_else(|| schema["type"][0].as_str())
}

/// The value of the table, where it is of the schema's type.
fn known(name: &str, schema: &Value, nullable: bool) -> Option<Value> {
    let (_, text) = VALUES.iter().find(|(known, _)| *known == name)?;
    let value: Value = serde_json::from_str(text).ok()?;
    let fits = match kind(schema) {
        Some("string") => value.is_string() && schema["format"].is_null(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some(_) => false,
        None => true,
    };
    (fits || (nullable && value.is_null())).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_body_is_json() {
        for (name, text) in BODIES.iter().chain(VALUES).chain(PARAMETERS) {
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{name}: {text}");
        }
    }
}
