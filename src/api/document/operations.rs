//! What the library does not know of an operation: who may do it, and which errors it can give.

use serde_json::{Map, Value, json};

use super::{RESPONSES, each_operation, examples, fields, schemas};
use crate::auth::roles::{Operation, Reach, Role, reach};

/// Media type of errors.
const PROBLEM: &str = "application/problem+json";

/// An error that operations give: status, its name in the document, what it means, and an example's `code` and `detail`.
type Fault = (u16, &'static str, &'static str, &'static str, &'static str);

const FAULTS: [Fault; 12] = [
    (
        400,
        "Malformed",
        "The request cannot be read.",
        "malformed",
        "The body is no JSON: expected value at line 1 column 1.",
    ),
    (
        401,
        "Unauthorized",
        "Nobody is known by the token or key, or none was sent.",
        "credential",
        "Log in, and send the access token.",
    ),
    (403, "Forbidden", "The role, or this API token, may not do this.", "role", "Your role may not do this."),
    (
        404,
        "NotFound",
        "There is no such object, or it is not visible to the caller, who cannot tell which; in the path and in the body alike.",
        "not_found",
        "There is no such thing, or it is not yours.",
    ),
    (409, "Conflict", "It contradicts what is there; `code` says how.", "in_use", "links lead to it"),
    (
        412,
        "Stale",
        "The object has changed since the version in `If-Match`.",
        "stale",
        "The object has changed: its version is 4 now. Read it again.",
    ),
    (413, "TooLarge", "The body is too large.", "too_large", "The body is too large."),
    (
        414,
        "UriTooLong",
        "Path and query are too long.",
        "uri_too_long",
        "Path and query are too long: use 8192 bytes at most.",
    ),
    (415, "MediaType", "The body is not of a media type that is known here.", "media_type", "Send application/json."),
    (422, "Invalid", "A rule is broken; `errors` names each field.", "invalid", "name: must have 1 to 100 characters"),
    (
        429,
        "TooMany",
        "Too many requests; `Retry-After` says in how many seconds to try again.",
        "throttled",
        "Too many wrong passwords: wait a little.",
    ),
    (500, "Internal", "Something failed here.", "internal", "Something failed here. It is logged; try again later."),
];

/// Reads and creations whose body or query names objects that may be absent; whatever has an id in its path can be.
const REFERS: [&str; 4] = ["createDid", "createDids", "createCampaign", "previewRoute"];

pub(super) fn complete(document: &mut Value) {
    each_operation(document, |path, method, operation| {
        media_types(operation);
        parameters(path, operation);
        faults(path, method, operation);
        who(operation);
        // A tag of the noun and one of the operation.
        if let Some(tags) = operation.get_mut("tags").and_then(Value::as_array_mut) {
            tags.dedup();
        }
    });
    document["components"]["responses"] = FAULTS.iter().map(described).collect::<Map<_, _>>().into();
}

/// JSON is UTF-8 whatever is said; programs compare media types as texts.
fn media_types(operation: &mut Value) {
    for (_, response) in fields(operation, &["responses"]) {
        if response["description"] == "" {
            response["description"] = json!("As asked.");
        }
        let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { continue };
        let plain = |kind: &str| kind.split(';').next().unwrap_or(kind).to_owned();
        *content = std::mem::take(content).into_iter().map(|(kind, media)| (plain(&kind), media)).collect();
    }
}

fn parameters(path: &str, operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = parameter.as_object_mut() {
            fields.remove("deprecated");
            fields.remove("explode");
            fields.entry("description").or_insert_with(|| json!("Id of the object."));
        }
        schemas::each_object(&mut parameter["schema"], &mut |schema| schemas::tidy(schema));
        match parameter["name"].as_str() {
            Some("limit") => {
                for (key, value) in [("minimum", 1), ("maximum", 200), ("default", 50)] {
                    parameter["schema"][key] = json!(value);
                }
            }
            Some(name) => {
                if let Some(example) = examples::parameter(path, name) {
                    parameter["example"] = example;
                }
            }
            None => {}
        }
    }
}

/// Keeps those of the library's list of errors that this operation can give.
fn faults(path: &str, method: &str, operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let (asks, has_body) = (operation["security"].is_array(), operation["requestBody"].is_object());
    let has = |place: &str| {
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.any(|parameter| parameter["in"] == place || parameter["name"] == place)
    };
    let changes = method != "get" && id != "previewRoute";
    let gives = |status: u16| match status {
        // U+0000 in a path or query is.
        400 => true,
        401 => asks || has_body,
        403 => asks,
        404 => path.contains('{') || REFERS.contains(&id.as_str()),
        409 => changes && asks,
        412 => has("If-Match"),
        413 | 415 => has_body,
        414 => path.contains('{') || has("query"),
        422 => has_body || has("query") || has("header"),
        _ => asks || has_body,
    };
    let given: Vec<_> = FAULTS.iter().map(|fault| (fault.0, fault.1, gives(fault.0))).collect();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, name, given) in given {
        let status = status.to_string();
        let ours = responses.get(&status).is_none_or(|response| !response["content"][PROBLEM].is_null());
        if ours && given {
            responses.insert(status, json!({ "$ref": format!("{RESPONSES}{name}") }));
        } else if ours {
            responses.remove(&status);
        }
    }
}

/// The role that is needed, in words and for programs.
fn who(operation: &mut Value) {
    let rule = operation["operationId"].as_str().and_then(|id| id.parse::<Operation>().ok());
    let told = match rule {
        None if operation["security"].is_array() => "Roles: none; what calls has a token of its own.".to_owned(),
        None => {
            operation["security"] = json!([]);
            "Roles: none is needed; nobody is asked who calls.".to_owned()
        }
        Some(rule) => {
            let reaches = |role| match reach(role, rule) {
                Reach::None => None,
                Reach::Own => Some((role, "own")),
                Reach::All => Some((role, "all")),
            };
            let roles: Vec<_> = [Role::Admin, Role::Staff, Role::Seller].into_iter().filter_map(reaches).collect();
            let names = roles.iter().map(|(role, _)| (role.to_string(), json!(reach_of(&roles, *role))));
            operation["x-roles"] = names.collect::<Map<_, _>>().into();
            let words = roles.iter().map(|(role, reach)| match *reach {
                "own" => format!("{role} (its own)"),
                _ => role.to_string(),
            });
            let token = match (rule.for_tokens(), rule.writes()) {
                (false, _) => "not by API tokens",
                (true, true) => "by API tokens of scope `write`",
                (true, false) => "by API tokens of either scope",
            };
            format!("Roles: {}; {token}.", words.collect::<Vec<_>>().join(", "))
        }
    };
    let description = operation["description"].as_str().unwrap_or_default().trim_end();
    operation["description"] = json!(format!("{description}\n\n{told}"));
}

fn reach_of(roles: &[(Role, &'static str)], role: Role) -> &'static str {
    roles.iter().find(|(known, _)| *known == role).map_or("none", |(_, reach)| reach)
}

fn described(&(status, name, means, code, detail): &Fault) -> (String, Value) {
    let errors = if status == 422 {
        json!([{ "field": "name", "code": "name", "detail": "must have 1 to 100 characters" }])
    } else {
        json!([])
    };
    let title = poem::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let example = json!({
        "type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, "errors": errors,
    });
    let mut response = json!({
        "description": means,
        "content": { PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" }, "example": example } },
    });
    let header = match status {
        401 => Some(("WWW-Authenticate", "Always `Bearer`.", json!({ "type": "string" }))),
        429 => Some(("Retry-After", "Seconds to wait.", json!({ "type": "integer", "minimum": 1 }))),
        _ => None,
    };
    if let Some((name, means, schema)) = header {
        response["headers"] = json!({ name: { "description": means, "schema": schema } });
    }
    (name.to_owned(), response)
}
