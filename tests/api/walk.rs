//! The operations of the served document, and how each is filled in: what the document cannot tell stands in the tables here. An
//! operation, parameter or field that they do not know fails the test by its name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::canary::{Objects, World};

/// One operation of the document.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: reqwest::Method,
    /// Below `/api/v1`, with `{names}`.
    pub(crate) path: String,
    /// Whether it asks who calls.
    pub(crate) asks: bool,
    pub(crate) parameters: Vec<Value>,
    /// The properties of its body; `None` = it takes none.
    pub(crate) fields: Option<BTreeMap<String, Value>>,
}

/// Whose objects a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Acme's.
    Own,
    /// Its rival's.
    Foreign,
    /// Nobody's.
    Absent,
}

/// The operations below `/api/v1`, in the order in which they are walked: what ends or deletes comes last.
pub(crate) fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(path) = path.strip_prefix("/api/v1") else { continue };
        for (method, operation) in item.as_object().expect("methods") {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            found.push(Operation {
                id: operation["operationId"].as_str().expect("an id").to_owned(),
                method: method.to_ascii_uppercase().parse().expect("a method"),
                path: path.to_owned(),
                asks: operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty()),
                parameters: operation["parameters"].as_array().cloned().unwrap_or_default(),
                fields: (!operation["requestBody"].is_null()).then(|| properties(document, body)),
            });
        }
    }
    let turn = |operation: &Operation| match (operation.id.as_str(), operation.method.as_str()) {
        (_, "GET") => 0,
        ("hangUpCall", _) => 1,
        (_, "POST") if operation.id != "logout" => 2,
        (_, "PATCH") => 3,
        (_, "PUT") => 4,
        (_, "DELETE") => 5,
        _ => 6,
    };
    found.sort_by_key(|operation| (turn(operation), operation.path.clone()));
    found
}

/// The properties of an object's schema, with what it refers to.
fn properties(document: &Value, schema: &Value) -> BTreeMap<String, Value> {
    let schema = resolved(document, schema);
    let mut found = BTreeMap::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(properties(document, part));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let parts = ["allOf", "anyOf"]
            .into_iter()
            .filter_map(|of| property[of].as_array())
            .flatten()
            .map(|part| resolved(document, part).clone());
        let whole = parts.chain([resolved(document, property).clone()]).find(|part| !part["type"].is_null());
        found.insert(name.clone(), whole.unwrap_or(Value::Null));
    }
    found
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/components/schemas/"));
    name.map_or(schema, |name| &document["components"]["schemas"][name])
}

impl Operation {
    /// Names of the path's parameters, in order.
    pub(crate) fn path_parameters(&self) -> Vec<&str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
    }

    /// Every query with which it is to be asked: each word of what must be there, and each filter by a foreign object.
    pub(crate) fn queries(&self, world: &World) -> Vec<String> {
        let query = |parameter: &&Value| parameter["in"] == "query";
        let name = |parameter: &Value| parameter["name"].as_str().expect("a name").to_owned();
        let required = self.parameters.iter().filter(query).filter(|parameter| parameter["required"] == true);
        let mut queries = vec![String::new()];
        for parameter in required {
            let words = required_words(parameter);
            assert!(!words.is_empty(), "{}: tests/api/walk.rs does not know the query {}", self.id, name(parameter));
            let with =
                |query: &String| words.iter().map(|word| format!("{query}&{}={word}", name(parameter))).collect();
            queries = queries.iter().flat_map(|query| -> Vec<String> { with(query) }).collect();
        }
        let first = queries[0].clone();
        for parameter in self.parameters.iter().filter(query) {
            if let Some(value) = foreign_filter(&name(parameter), &world.foreign) {
                queries.push(format!("{first}&{}={value}", name(parameter)));
            }
        }
        queries.into_iter().map(|query| query.replacen('&', "?", 1)).collect()
    }

    /// A body that is good for a caller; `n` makes names and numbers that nobody has used. `names_seller`: whether the caller must say
    /// for which seller.
    pub(crate) fn body(&self, world: &World, names_seller: bool, n: usize) -> Option<Value> {
        self.fields.as_ref()?;
        let (own, seller) = (&world.own, names_seller.then_some(world.own.seller));
        let with_seller = |mut body: Value| {
            if let (Some(seller), Some(fields)) = (seller, body.as_object_mut()) {
                fields.insert("seller_id".to_owned(), seller.into());
            }
            body
        };
        Some(match self.id.as_str() {
            "login" => json!({ "username": "nobody", "password": "none of the good ones" }),
            "refreshSession" => json!({ "refresh_token": "none of the good ones" }),
            "createToken" => json!({ "name": "walk", "scope": "read" }),
            "createUser" => json!({ "username": format!("walk-{n}"), "name": "Walk", "role": "staff" }),
            "changePassword" => {
                json!({ "current_password": "none of the good ones", "new_password": "orchid brass under snow" })
            }
            "createClient" => {
                json!({ "client_identifier": format!("walk-{n}"), "name": "Walk", "sip": { "host": "127.0.0.9" } })
            }
            "updateUser" | "updateClient" => json!({}),
            "updateDid" | "updateCampaign" | "updateLink" => json!({ "status": "active" }),
            "createDid" => with_seller(json!({ "number": format!("+4420800{n:05}") })),
            "createDids" => json!({ "items": [with_seller(json!({ "number": format!("+4420801{n:05}") }))] }),
            "createCampaign" => with_seller(json!({ "name": format!("Walk {n}") })),
            "createLink" => json!({ "client_id": own.client, "max_concurrency": 1 }),
            "previewRoute" => json!({ "did": own.number }),
            "resetLinkCounter" => json!({ "expected": 0 }),
            "releaseNode" => json!({ "expected": 0 }),
            "setLegacyIds" => json!({ "items": [{ "id": own.link, "legacy_id": format!("old-{n}") }] }),
            unknown => panic!("tests/api/walk.rs has no body for {unknown}"),
        })
    }

    /// Fields of its body that name an object, each with the body that names a foreign one and one that names none.
    pub(crate) fn references(&self, world: &World) -> Vec<[Value; 2]> {
        let (own, foreign) = (&world.own, &world.foreign);
        match self.id.as_str() {
            "createLink" => {
                vec![[foreign.client, 999_999_999].map(|id| json!({ "client_id": id, "max_concurrency": 1 }))]
            }
            "previewRoute" => vec![
                [foreign.number.as_str(), "+442070000000"].map(|number| json!({ "did": number })),
                [foreign.link, 999_999_999].map(|id| json!({ "did": own.number, "usage": [{ "link_id": id }] })),
            ],
            id => {
                // `seller_id` is no field of a seller's, which the test sees to.
                let names = self
                    .fields
                    .iter()
                    .flat_map(BTreeMap::keys)
                    .find(|field| (field.ends_with("_id") || field.ends_with("_ids")) && *field != "seller_id");
                assert_eq!(names, None, "tests/api/walk.rs does not know what {id} refers to");
                Vec::new()
            }
        }
    }

    /// Statuses besides 2xx that a good request may get, because of what an earlier one or a call did.
    pub(crate) fn also(&self) -> &'static [u16] {
        match self.id.as_str() {
            // Records name them.
            "deleteDid" | "deleteCampaign" | "deleteLink" | "deleteClient" => &[409],
            // The seller's first link leads there.
            "createLink" => &[409],
            // The password was a wrong one.
            "changePassword" => &[422, 429],
            // Its calls have been counted; it is connected.
            "resetLinkCounter" | "releaseNode" => &[409],
            _ => &[],
        }
    }
}

/// Words for a query that must be there: all that its schema allows.
fn required_words(parameter: &Value) -> Vec<&'static str> {
    match parameter["name"].as_str().expect("a name") {
        "group_by" => vec!["hour", "day", "seller", "campaign", "did", "client", "link", "ending"],
        "format" => vec!["csv", "ndjson"],
        _ => Vec::new(),
    }
}

/// What a filter is to ask for so that it would find what the rival has.
fn foreign_filter(name: &str, foreign: &Objects) -> Option<String> {
    Some(match name {
        "seller_id" | "user_id" => foreign.seller.to_string(),
        "did_id" => foreign.did.to_string(),
        "client_id" => foreign.client.to_string(),
        "campaign_id" => foreign.campaign.to_string(),
        "link_id" => foreign.link.to_string(),
        "did" | "number" => foreign.number.replace('+', "%2B"),
        "caller" => "%2B447700918273".to_owned(),
        "object" => format!("did:{}", foreign.did),
        id if id.ends_with("_id") => panic!("tests/api/walk.rs does not know the filter {id}"),
        _ => return None,
    })
}

/// A value that is good for a property by its schema.
pub(crate) fn sample(schema: &Value) -> Value {
    if let Some(word) = schema["enum"].as_array().and_then(|words| words.first()) {
        return word.clone();
    }
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("integer" | "number") => json!(7),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => Value::Object(Map::new()),
        _ => json!("walk"),
    }
}

/// What stands for a path's parameter.
pub(crate) async fn named(world: &World, operation: &Operation, parameter: &str, target: Target) -> String {
    let objects = match target {
        Target::Own => &world.own,
        Target::Foreign => &world.foreign,
        Target::Absent if parameter == "kind" => return "nonsense".to_owned(),
        Target::Absent if ["call_id", "session_id"].contains(&parameter) => {
            return "00000000-0000-8000-8000-000000000000".to_owned();
        }
        Target::Absent => return "999999999".to_owned(),
    };
    let noun = operation.path.split('/').nth(1).unwrap_or_default();
    match (noun, parameter) {
        ("dids", "id") | ("campaigns", "did_id") => objects.did.to_string(),
        ("campaigns", "id") => objects.campaign.to_string(),
        ("campaigns", "link_id") => objects.link.to_string(),
        ("clients", "id") => objects.client.to_string(),
        ("clients", "seller_id") | ("users", "id") => objects.seller.to_string(),
        ("calls", "call_id") => objects.call.clone(),
        // Only admins reach them, and all of them.
        ("legacy_ids", "kind") => "links".to_owned(),
        ("nodes", "name") => "pbx".to_owned(),
        // Each is gone after the first good request.
        ("live", "call_id") => world.live_call(objects).await.0,
        ("auth", "session_id") => world.session(&objects.username).await,
        ("auth", "id") => world.token(&objects.username, "read").await.0.to_string(),
        _ => panic!("tests/api/walk.rs does not know {{{parameter}}} of {}", operation.id),
    }
}
