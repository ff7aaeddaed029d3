//! The document of one role: what it reaches, the fields it may set, the answers it gets.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{RESPONSES, SCHEMAS, each_operation, fields, needed, references};
use crate::auth::roles::{self, Fields, Operation, Reach, Role};

/// Answers that differ by role: their name, what sellers get, what others get.
const VIEWS: [(&str, &str, &str); 1] = [("ClientView", "SellersClient", "Client")];

pub(super) fn narrow(document: &mut Value, role: Role) {
    let reader = match role {
        Role::Admin => "admins",
        Role::Staff => "staff",
        Role::Seller => "sellers",
    };
    document["info"]["title"] = json!(format!("CapConduit for {reader}"));
    let mut narrowed = Vec::new();
    for (_, path) in fields(document, &["paths"]) {
        let Some(path) = path.as_object_mut() else { continue };
        path.retain(|_, operation| match rule(operation) {
            Some(rule) => roles::reach(role, rule) != Reach::None,
            // What asks for a token of its own is for no role.
            None => operation["security"].as_array().is_none_or(Vec::is_empty),
        });
        for operation in path.values() {
            let Some(rule) = rule(operation) else { continue };
            narrowed.push((operation["requestBody"].clone(), roles::fields(role, rule)));
        }
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|_, path| path.as_object().is_some_and(|path| !path.is_empty()));
    }
    for (body, settable) in narrowed {
        set_only(document, &body, settable);
    }
    for (view, sellers, others) in VIEWS {
        let to = format!("{SCHEMAS}{}", if role == Role::Seller { sellers } else { others });
        point(document, &format!("{SCHEMAS}{view}"), &to);
    }
}

fn rule(operation: &Value) -> Option<Operation> {
    operation["operationId"].as_str()?.parse().ok()
}

/// Takes the fields that a role may not set out of a body's schema: each schema belongs to bodies with the same fields.
fn set_only(document: &mut Value, body: &Value, settable: Fields) {
    let mut own = BTreeSet::new();
    references(body, SCHEMAS, &mut |name| {
        own.insert(name.to_owned());
    });
    for name in needed(document, body) {
        let Some(schema) = document["components"]["schemas"].get_mut(name.as_str()) else { continue };
        // What the body is made of may have fields of the body's own, or of objects in them.
        let keeps = |field: &str| if own.contains(&name) { settable.has(field) } else { !settable.bars(field) };
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.retain(|field, _| keeps(field));
        }
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|field| field.as_str().is_some_and(keeps));
        }
    }
}

fn point(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get_mut("$ref").filter(|reference| **reference == from) {
                *reference = json!(to);
            }
            fields.values_mut().for_each(|value| point(value, from, to));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| point(value, from, to)),
        _ => {}
    }
}

/// Takes out the schemas, responses, ways to sign in and tags that nothing refers to.
pub(super) fn drop_orphans(document: &mut Value) {
    let mut responses = BTreeSet::new();
    references(&document["paths"], RESPONSES, &mut |name| {
        responses.insert(name.to_owned());
    });
    keep(&mut document["components"]["responses"], &responses);
    let schemas = needed(document, &json!([document["paths"], document["components"]["responses"]]));
    keep(&mut document["components"]["schemas"], &schemas);
    let (mut tags, mut schemes) = (BTreeSet::new(), BTreeSet::new());
    each_operation(document, |_, _, operation| {
        let asked = operation["security"].as_array().into_iter().flatten().filter_map(|asked| asked.as_object());
        schemes.extend(asked.flat_map(|asked| asked.keys().cloned()));
        let named = operation["tags"].as_array().into_iter().flatten();
        tags.extend(named.filter_map(|tag| tag.as_str().map(str::to_owned)));
    });
    keep(&mut document["components"]["securitySchemes"], &schemes);
    if let Some(known) = document["tags"].as_array_mut() {
        known.retain(|tag| tag["name"].as_str().is_some_and(|name| tags.contains(name)));
    }
}

fn keep(of: &mut Value, names: &BTreeSet<String>) {
    if let Some(all) = of.as_object_mut() {
        all.retain(|name, _| names.contains(name));
    }
}
