//! Answers and headers that several nouns share.

use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;

use super::error::{ApiError, FieldError};
use crate::plan;

/// Something was made.
#[derive(Debug, ApiResponse)]
pub(super) enum Created<T: ToJSON> {
    /// Made.
    #[oai(status = 201)]
    Made(Json<T>),
}

/// It is done, and there is nothing to tell.
#[derive(Debug, ApiResponse)]
pub(super) enum Done {
    /// Done.
    #[oai(status = 204)]
    Done,
}

/// The version that an `If-Match` header names.
pub(super) fn if_match(header: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(text) = header.map(str::trim).filter(|text| *text != "*") else { return Ok(None) };
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).parse();
    let refused = |_| FieldError::new("If-Match", "invalid", "use the object's version in quotes, such as \"3\"");
    version.map(Some).map_err(|error| ApiError::invalid(vec![refused(error)]))
}

/// Names of people and things: they go into records, logs and a SIP header.
pub(super) fn check_name(field: &str, name: &str, errors: &mut Vec<FieldError>) {
    if let Some(allowed) = plan::name_problem(name) {
        errors.push(FieldError::new(field, "name", allowed));
    }
}

/// Nothing, or what is wrong.
pub(super) fn none_or(errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
}
