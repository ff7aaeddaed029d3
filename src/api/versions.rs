//! `ETag`: an answer that is one object carries its version, ready to be sent back as `If-Match`.

use poem::http::{HeaderValue, header};
use poem::{Response, Result};
use poem_openapi::registry::{MetaHeader, MetaOperation, MetaSchema, MetaSchemaRef, Registry};
use serde::Deserialize;

use super::error::ApiError;

#[derive(Deserialize)]
struct Versioned {
    version: Option<i64>,
}

/// Whether the operation answers with one object that has a version.
pub(super) fn answers_one(operation: &MetaOperation, registry: &Registry) -> bool {
    let good = operation.responses.responses.iter().filter(|response| matches!(response.status, Some(200 | 201)));
    good.flat_map(|response| &response.content).any(|content| has_version(&content.schema, registry))
}

/// Tells of the header in the OpenAPI document.
pub(super) fn document(operation: &mut MetaOperation) {
    for response in operation.responses.responses.iter_mut().filter(|it| matches!(it.status, Some(200 | 201))) {
        response.headers.push(MetaHeader {
            name: "ETag".to_owned(),
            description: Some(
                "The object's version in quotes, such as `\"3\"`: send it back as `If-Match`.".to_owned(),
            ),
            required: false,
            deprecated: false,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        });
    }
}

fn has_version(schema: &MetaSchemaRef, registry: &Registry) -> bool {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => schema,
        MetaSchemaRef::Reference(name) => match registry.schemas.get(name) {
            Some(schema) => schema,
            None => return false,
        },
    };
    let is_number = |schema: &MetaSchemaRef| matches!(schema, MetaSchemaRef::Inline(it) if it.ty == "integer");
    let own = schema.properties.iter().any(|(name, schema)| *name == "version" && is_number(schema));
    let parts = schema.all_of.iter().chain(&schema.any_of).chain(&schema.one_of);
    own || parts.into_iter().any(|part| has_version(part, registry))
}

/// Sets the header from the body's `version`, where there is one.
pub(super) async fn attach(mut response: Response) -> Result<Response> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let body = response.take_body().into_bytes().await.map_err(|error| ApiError::internal(&error))?;
    let version = serde_json::from_slice::<Versioned>(&body).ok().and_then(|object| object.version);
    if let Some(tag) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.set_body(body);
    Ok(response)
}
