//! A JSON body whose faults are named by field: what is no JSON is 400, what breaks the schema is 422.

use poem::{Request, RequestBody, Result};
use poem_openapi::error::ContentTypeError;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::ParseFromJSON;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::Value;

use super::bounds;
use super::error::{ApiError, FieldError, is_full};
use super::json::{self, PLACE_AT_MOST, Read};

/// Bytes of a body.
pub(super) const BYTES_AT_MOST: usize = 256 * 1024;
/// Characters of a field's name: no field of ours has a longer one, and errors repeat names.
const NAME_AT_MOST: usize = 100;

/// A request's body. A field that `T` does not have is refused, and so are one that is there twice, and U+0000 in any text.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        match request.content_type() {
            Some(kind) if Json::<T>::check_content_type(kind) => {}
            Some(kind) => return Err(ContentTypeError::NotSupported { content_type: kind.to_owned() }.into()),
            None => return Err(ContentTypeError::ExpectContentType.into()),
        }
        let bytes = body.take()?.into_bytes_limit(BYTES_AT_MOST).await?;
        Ok(Self(parse(&bytes)?))
    }
}

fn parse<T: ParseFromJSON>(bytes: &[u8]) -> Result<T, ApiError> {
    let Read { value, twins } =
        json::read(bytes).map_err(|error| ApiError::malformed(format!("The body is no JSON: {error}.")))?;
    refuse_long_names(&value)?;
    if !twins.is_empty() {
        let twice = |place| FieldError::new(place, "twice", "is there twice: send it once");
        return Err(ApiError::invalid(twins.into_iter().map(twice).collect()));
    }
    let mut registry = Registry::new();
    T::register(&mut registry);
    let mut errors = Vec::new();
    check("", &T::schema_ref(), &registry, &value, &mut errors);
    refuse_nul(&value, &mut errors);
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    T::parse_from_json(Some(value)).map_err(|error| {
        let message = error.into_message();
        // The library's validators put the field between backticks.
        let field = message.split('`').nth(1).unwrap_or_default().to_owned();
        ApiError::invalid(vec![FieldError::new(field, "invalid", message)])
    })
}

/// Notes fields that are unknown, missing or of another type than `schema` says.
fn check(path: &str, schema: &MetaSchemaRef, registry: &Registry, value: &Value, errors: &mut Vec<FieldError>) {
    let schema: &MetaSchema = match schema {
        MetaSchemaRef::Inline(schema) => schema,
        MetaSchemaRef::Reference(name) => match registry.schemas.get(name) {
            Some(schema) => schema,
            None => return,
        },
    };
    for part in &schema.all_of {
        check(path, part, registry, value, errors);
    }
    let fits = match schema.ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !fits {
        errors.push(FieldError::new(path, "type", format!("must be of type {}", schema.ty)));
        return;
    }
    if let (Some(most), Value::String(text)) = (bounds::text(schema), value)
        && text.chars().nth(most).is_some()
    {
        errors.push(FieldError::new(path, "length", format!("must have {most} characters at most")));
    }
    if !schema.enum_items.is_empty() && !schema.enum_items.contains(value) {
        let words: Vec<_> = schema.enum_items.iter().filter_map(Value::as_str).collect();
        errors.push(FieldError::new(path, "value", format!("must be one of {}", words.join(", "))));
    }
    if let (Some(items), Value::Array(values)) = (&schema.items, value) {
        let most = schema.max_items.unwrap_or(bounds::ITEMS);
        if values.len() > most {
            errors.push(FieldError::new(path, "length", format!("must have {most} items at most")));
            return;
        }
        for (index, value) in values.iter().enumerate() {
            if is_full(errors) {
                return;
            }
            check(&format!("{path}[{index}]"), items, registry, value, errors);
        }
    }
    if let Value::Object(fields) = value {
        check_object(path, schema, registry, fields, errors);
    }
}

fn check_object(
    path: &str,
    schema: &MetaSchema,
    registry: &Registry,
    fields: &serde_json::Map<String, Value>,
    errors: &mut Vec<FieldError>,
) {
    // A reference with a description is wrapped in schemas that say nothing about fields.
    if schema.ty != "object" || schema.additional_properties.is_some() {
        return;
    }
    let name = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    for (field, value) in fields {
        if is_full(errors) {
            return;
        }
        match schema.properties.iter().find(|(known, _)| known == field) {
            None => errors.push(FieldError::new(name(field), "unknown_field", "is not known here")),
            // Whether null is allowed is the type's own matter.
            Some(_) if value.is_null() => {}
            Some((_, schema)) => check(&name(field), schema, registry, value, errors),
        }
    }
    for field in schema.required.iter().filter(|field| !fields.contains_key(**field)) {
        errors.push(FieldError::new(name(field), "required", "is missing"));
    }
}

/// Refuses names that would have to be repeated at length.
fn refuse_long_names(value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Array(values) => values.iter().try_for_each(refuse_long_names),
        Value::Object(fields) => fields.iter().try_for_each(|(field, value)| {
            if field.chars().nth(NAME_AT_MOST).is_some() {
                let begin: String = field.chars().take(NAME_AT_MOST).filter(|letter| *letter != '\0').collect();
                let detail = format!("is not known here: names have {NAME_AT_MOST} characters at most");
                return Err(ApiError::invalid(vec![FieldError::new(begin, "unknown_field", detail)]));
            }
            refuse_long_names(value)
        }),
        _ => Ok(()),
    }
}

/// Notes the first text, name or value, that has U+0000: PostgreSQL has no text with it.
fn refuse_nul(value: &Value, errors: &mut Vec<FieldError>) {
    if let Some(place) = nul_in(value) {
        let place: String = place.trim_start_matches('.').chars().take(PLACE_AT_MOST).collect();
        errors.push(FieldError::new(place, "nul", "must not have the character U+0000"));
    }
}

/// Where U+0000 is. Only the way to the one that is found is written down.
fn nul_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(values) => {
            let found = |(index, value)| nul_in(value).map(|rest| format!("[{index}]{rest}"));
            values.iter().enumerate().find_map(found)
        }
        Value::Object(fields) => fields.iter().find_map(|(field, value)| {
            let rest = if field.contains('\0') { Some(String::new()) } else { nul_in(value) };
            rest.map(|rest| format!(".{field}{rest}"))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use poem::error::ResponseError as _;
    use poem::http::StatusCode;
    use poem_openapi::Object;
    use poem_openapi::types::MaybeUndefined;

    use super::*;

    #[derive(Debug, Object)]
    struct Outer {
        name: String,
        #[oai(validator(max_length = 3))]
        code: Option<String>,
        limit: MaybeUndefined<u32>,
        /// Described.
        inner: Option<Inner>,
        list: Option<Vec<u16>>,
    }

    #[derive(Debug, Object)]
    struct Inner {
        port: u16,
    }

    fn faults(body: &str) -> (StatusCode, String) {
        let error = parse::<Outer>(body.as_bytes()).expect_err("it is refused");
        (error.status(), error.to_string())
    }

    #[test]
    fn what_is_no_json_is_malformed_and_what_breaks_the_schema_names_its_field() {
        assert_eq!(faults("{").0, StatusCode::BAD_REQUEST);
        let (long, many) = (format!(r#"{{"name":"{}"}}"#, "x".repeat(1001)), vec!["1"; 1001].join(","));
        let many = format!(r#"{{"name":"a","list":[{many}]}}"#);
        for (body, told) in [
            ("{}", "name: is missing"),
            ("[]", "must be of type object"),
            (r#"{"name":"a","owner":1}"#, "owner: is not known here"),
            (r#"{"name":1}"#, "name: must be of type string"),
            (r#"{"name":"a","inner":{"port":1,"x":2}}"#, "inner.x: is not known here"),
            (r#"{"name":"a","inner":{}}"#, "inner.port: is missing"),
            (r#"{"name":"a","list":[1,"2"]}"#, "list[1]: must be of type integer"),
            (r#"{"name":"a","code":"long"}"#, "code: must have 3 characters at most"),
            (&long, "name: must have 1000 characters at most"),
            (&many, "list: must have 1000 items at most"),
            (r#"{"name":null}"#, ""),
            (r#"{"name":"a","name":"a"}"#, "name: is there twice"),
            (r#"{"name":"a","inner":{"port":1,"port":2}}"#, "inner.port: is there twice"),
            (r#"{"name":"a","unknown":[{"x":1,"x":2}]}"#, "unknown[0].x: is there twice"),
        ] {
            let (status, text) = faults(body);
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
            assert!(text.contains(told), "{body}: {text}");
        }
    }

    #[test]
    fn null_clears_and_absence_keeps() {
        let parsed = |body: &str| parse::<Outer>(body.as_bytes()).expect("it is taken").limit;
        assert_eq!(parsed(r#"{"name":"a"}"#), MaybeUndefined::Undefined);
        assert_eq!(parsed(r#"{"name":"a","limit":null}"#), MaybeUndefined::Null);
        assert_eq!(parsed(r#"{"name":"a","limit":7}"#), MaybeUndefined::Value(7));
    }

    #[test]
    fn errors_stay_few_and_short_whatever_is_sent() {
        let refused = |body: &str| parse::<Outer>(body.as_bytes()).expect_err("it is refused");
        let told = |error: &ApiError| {
            error.errors().iter().map(|error| (error.field.clone(), error.code.clone())).collect::<Vec<_>>()
        };
        // Deep and wide with a long name at each level: paths for all would take gigabytes.
        let wide = vec![r#""\u0000""#; 20_000].join(",");
        let deep = format!("{}[{wide}]{}", r#"{"nnnnnnnnnn":"#.repeat(100), "}".repeat(100));
        let nul = refused(&format!(r#"{{"name":"a","x":{deep}}}"#));
        assert_eq!(told(&nul)[0], ("x".to_owned(), "unknown_field".to_owned()));
        assert_eq!(told(&nul)[1].1, "nul");
        assert!(told(&nul).len() == 2 && told(&nul)[1].0.chars().count() == PLACE_AT_MOST, "{nul:?}");
        let nul = refused(r#"{"name":"a","inner":{"port":1},"list":["1","\u0000"]}"#);
        assert_eq!(told(&nul).last(), Some(&("list[1]".to_owned(), "nul".to_owned())));
        let long = refused(&format!(r#"{{"name":"a","inner":{{"{}":1}}}}"#, "x".repeat(200_000)));
        assert_eq!(told(&long), [("x".repeat(NAME_AT_MOST), "unknown_field".to_owned())]);
        let many: Vec<_> = (0..5000).map(|n| format!(r#""x{n}":1"#)).collect();
        assert_eq!(refused(&format!("{{{}}}", many.join(","))).errors().len(), 100);
        let many = vec![r#""x""#; 1000].join(",");
        assert_eq!(refused(&format!(r#"{{"name":"a","list":[{many}]}}"#)).errors().len(), 100);
    }
}
