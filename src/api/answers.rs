//! Answers and headers that several nouns share.

use poem::http::HeaderMap;
use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;

use super::error::{ApiError, FieldError};
use crate::text;

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

/// The header that names the version a change is made for.
pub(super) const IF_MATCH: &str = "If-Match";
/// What it may be.
pub(super) const IF_MATCH_ALLOWED: &str =
    "use the object's ETag as it came, such as \"3\", or * for whichever version is there";

/// Refuses a condition that the framework would leave out, as if none had been made.
pub(super) fn refuse_odd_if_match(headers: &HeaderMap) -> Result<(), ApiError> {
    let odd = headers.get(IF_MATCH).is_some_and(|value| value.to_str().map_or(true, str::is_empty));
    if odd { Err(ApiError::bad_header(IF_MATCH, IF_MATCH_ALLOWED)) } else { Ok(()) }
}

/// The version that an `If-Match` header names; `None` without one, and for `*`, which any object that is there fits.
pub(super) fn if_match(header: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(text) = header.map(str::trim).filter(|text| *text != "*") else { return Ok(None) };
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    let version = version.parse().ok().filter(|_| digits);
    version.map(Some).ok_or_else(|| ApiError::bad_header(IF_MATCH, IF_MATCH_ALLOWED))
}

/// Names of people and things: they go into records, logs and a SIP header.
pub(super) fn check_name(field: &str, name: &str, errors: &mut Vec<FieldError>) {
    if let Some(allowed) = text::name_problem(name) {
        errors.push(FieldError::new(field, "name", allowed));
    }
}

/// Nothing, or what is wrong.
pub(super) fn none_or(errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
}

#[cfg(test)]
mod tests {
    use super::if_match;

    #[test]
    fn a_version_comes_as_its_etag_or_any_will_do() {
        assert_eq!(if_match(None).unwrap(), None);
        assert_eq!(if_match(Some("*")).unwrap(), None);
        for three in ["\"3\"", "3", " \"3\" "] {
            assert_eq!(if_match(Some(three)).unwrap(), Some(3), "{three}");
        }
        for refused in ["", "\"\"", "W/\"3\"", "\"3", "+3", "-3", "\"3\", \"4\"", "\"99999999999999999999\"", "abc"] {
            assert_eq!(if_match(Some(refused)).unwrap_err().code(), "malformed", "{refused}");
        }
    }
}
