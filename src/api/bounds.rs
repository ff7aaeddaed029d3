//! No text and no list of a request is without a bound: where a schema names none, these hold, in the document and in `body.rs`.

use std::collections::BTreeSet;

use poem_openapi::registry::{MetaApi, MetaSchema, MetaSchemaRef, Registry};

/// Characters of a text at most.
pub(super) const TEXT: usize = 1000;
/// Items of a list at most.
pub(super) const ITEMS: usize = 1000;

/// The characters that a text of this schema may have; `None` where its form bounds it.
pub(super) fn text(schema: &MetaSchema) -> Option<usize> {
    let bounded = schema.ty != "string" || !schema.enum_items.is_empty() || schema.format.is_some();
    if bounded { schema.max_length } else { Some(schema.max_length.unwrap_or(TEXT)) }
}

/// Writes the bounds into every schema that a request's body is made of.
pub(super) fn register(registry: &mut Registry, apis: &[MetaApi]) {
    let operations = apis.iter().flat_map(|api| &api.paths).flat_map(|path| &path.operations);
    let bodies = operations.filter_map(|operation| operation.request.as_ref()).flat_map(|request| &request.content);
    let mut waiting: Vec<String> = bodies.flat_map(|content| references(&content.schema)).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(schema) = registry.schemas.get_mut(&name) {
            bound(schema);
            waiting.extend(inside(schema).flat_map(references));
        }
    }
}

fn bound(schema: &mut MetaSchema) {
    schema.max_length = text(schema);
    if schema.ty == "array" {
        schema.max_items = Some(schema.max_items.unwrap_or(ITEMS));
    }
    let properties = schema.properties.iter_mut().map(|(_, schema)| schema);
    let lists = [&mut schema.all_of, &mut schema.any_of, &mut schema.one_of];
    let parts = properties.chain(lists.into_iter().flatten()).chain(schema.items.as_deref_mut());
    for part in parts {
        if let MetaSchemaRef::Inline(part) = part {
            bound(part);
        }
    }
}

fn inside(schema: &MetaSchema) -> impl Iterator<Item = &MetaSchemaRef> {
    let properties = schema.properties.iter().map(|(_, schema)| schema);
    let lists = schema.all_of.iter().chain(&schema.any_of).chain(&schema.one_of);
    properties.chain(lists).chain(schema.items.as_deref())
}

fn references(schema: &MetaSchemaRef) -> Vec<String> {
    match schema {
        MetaSchemaRef::Reference(name) => vec![name.clone()],
        MetaSchemaRef::Inline(schema) => inside(schema).flat_map(references).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Whatever is added later: a text or list in a body has a bound in the document.
    #[test]
    fn no_text_or_list_of_a_body_is_unbounded() {
        let document: Value = serde_json::from_str(&crate::api::service().spec()).unwrap();
        let mut bodies = 0;
        for operation in
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
        {
            if let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") {
                bodies += 1;
                check(&document, schema, operation["operationId"].as_str().unwrap(), 0);
            }
        }
        assert!(bodies > 5, "{bodies}");
    }

    fn check(document: &Value, schema: &Value, at: &str, depth: usize) {
        assert!(depth < 20, "{at}: bodies are not nested without end");
        if let Some(name) = schema["$ref"].as_str() {
            let found = document.pointer(name.trim_start_matches('#')).unwrap();
            return check(document, found, at, depth + 1);
        }
        if schema["type"] == "string" {
            let bounded = ["maxLength", "enum", "format"].iter().any(|word| !schema[*word].is_null());
            assert!(bounded, "{at}: {schema}");
        }
        if schema["type"] == "array" {
            assert!(schema["maxItems"].is_number(), "{at}: {schema}");
            check(document, &schema["items"], at, depth + 1);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            check(document, property, &format!("{at}.{name}"), depth + 1);
        }
        for part in ["allOf", "anyOf", "oneOf"].iter().filter_map(|word| schema[*word].as_array()).flatten() {
            check(document, part, at, depth + 1);
        }
    }
}
