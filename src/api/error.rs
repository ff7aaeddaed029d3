//! What a caller is told when something is refused: `application/problem+json` (RFC 9457) with a stable `code`.

use std::time::Duration;

use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError, ResponseError};
use poem::http::{StatusCode, header};
use poem::{Body, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object, error as openapi};

use super::answers;
use crate::auth::principal::Refusal;
use crate::store::StoreError;

/// When to try again what a database does not take that is read only.
const READ_ONLY_RETRY: Duration = Duration::from_secs(5);
const MEDIA_TYPE: &str = "application/problem+json";
/// Wrong fields that one refusal names; whoever looks for them may stop there.
pub(super) const ERRORS_AT_MOST: usize = 100;

/// What was refused, and why.
#[derive(Debug, Clone, Object)]
struct Problem {
    /// Always `about:blank`: `code` says what is wrong.
    #[oai(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, in a stable word for programs.
    code: String,
    /// What is wrong, in a sentence for people.
    detail: String,
    /// Each field that is wrong, of many the first 100.
    errors: Vec<FieldError>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(super) struct FieldError {
    /// The field, such as `sip.port` or `dids[0]`.
    pub(super) field: String,
    /// What is wrong, in a stable word for programs.
    pub(super) code: String,
    /// What is wrong and what is allowed, in a sentence for people.
    pub(super) detail: String,
}

impl FieldError {
    /// `code` is stable; `detail` says what is allowed and never holds a secret.
    pub(super) fn new(field: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.to_owned(), detail: detail.into() }
    }
}

/// Whether no further error would be named.
pub(super) fn is_full(errors: &[FieldError]) -> bool {
    errors.len() >= ERRORS_AT_MOST
}

/// Bytes of path and query at most.
pub(super) const URI_AT_MOST: usize = 8192;

/// A refusal on its way to the caller; never holds a message of the database.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {detail}")]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// 400: it cannot even be read.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 414: longer than [`URI_AT_MOST`].
    pub(super) fn uri_too_long() -> Self {
        let detail = format!("Path and query are too long: use {URI_AT_MOST} bytes at most.");
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail)
    }

    /// What a connection is refused with where no request can be read.
    pub(super) fn of_connection(status: StatusCode, code: &'static str, detail: &str) -> Self {
        Self::new(status, code, detail)
    }

    /// 401: nobody is known by what was sent.
    pub(super) fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: the role may do it elsewhere, but not here.
    pub(super) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404: absent, or not visible to the caller, who cannot tell which.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing, or it is not yours.")
    }

    /// 409: it contradicts what is there.
    pub(super) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The same, with each field that is wrong: the first [`ERRORS_AT_MOST`].
    pub(super) fn with_errors(self, mut errors: Vec<FieldError>) -> Self {
        errors.truncate(ERRORS_AT_MOST);
        Self { errors, ..self }
    }

    /// 412: the object has changed since the version that `If-Match` names.
    pub(super) fn precondition_failed(current: i64) -> Self {
        let detail = format!("The object has changed: its version is {current} now. Read it again.");
        Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
    }

    /// 422: read, but against a rule; each wrong field is named.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.field, only.detail),
            several if is_full(several) => {
                format!("{ERRORS_AT_MOST} fields or more are not allowed as they are: see errors for the first.")
            }
            several => format!("{} fields are not allowed as they are: see errors.", several.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with_errors(errors)
    }

    /// 429: not before `retry_after`.
    pub(super) fn too_many(code: &'static str, detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail) }
    }

    /// 503: not now, but perhaps after `retry_after`.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// 400: a header that cannot be read as what it is; `allowed` says what can.
    pub(super) fn bad_header(name: &str, allowed: &str) -> Self {
        let errors = vec![FieldError::new(name, "invalid", allowed)];
        Self { errors, ..Self::malformed(format!("{name}: {allowed}.")) }
    }

    /// 415: it would have to be unpacked.
    pub(super) fn packed() -> Self {
        let detail = "The body is packed: send it as it is, without Content-Encoding.";
        let errors = vec![FieldError::new("Content-Encoding", "content_encoding", "use identity, or leave it out")];
        Self { errors, ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", detail) }
    }

    /// 422 with a word of its own.
    pub(super) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// The same, to be tried again not before `retry_after`.
    pub(super) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The stable word.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// Each field that is wrong.
    pub(super) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// 500: ours. Logs `error`, which the caller does not get to see.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "an API request failed");
        let detail = "Something failed here. It is logged; try again later.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    fn problem(&self) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, detail) = match refusal {
            Refusal::Role => ("role", "Your role may not do this."),
            Refusal::Token => ("token", "No API token may do this: log in."),
            Refusal::Scope => ("scope", "This API token may only read."),
            Refusal::PasswordChange => (
                "password_change_required",
                "Somebody else has set your password: change it first (POST /auth/password).",
            ),
        };
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_read_only() {
            let detail = "The database takes no changes at present (it is a standby, or read-only); calls go on. Try again later.";
            return Self::unavailable("read_only", detail, READ_ONLY_RETRY);
        }
        Self::internal(&error)
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        let mut response = Response::builder().status(self.status).header(header::CONTENT_TYPE, MEDIA_TYPE);
        if let Some(wait) = self.retry_after {
            response = response.header(header::RETRY_AFTER, wait.as_secs() + 1);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response = response.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        response.body(Body::from_string(self.problem().to_json_string()))
    }
}

impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        let response = |(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType { content_type: MEDIA_TYPE, schema: Problem::schema_ref() }],
            headers: vec![],
        };
        let responses = [
            (400, "The request cannot be read."),
            (401, "Nobody is known by the token or key, or none was sent."),
            (403, "The role, or this API token, may not do this."),
            (404, "There is no such object, or it is not visible to the caller."),
            (409, "It contradicts what is there; `code` says how."),
            (412, "The object has changed since the version in `If-Match`."),
            (413, "The body is too large."),
            (414, "Path and query are too long."),
            (415, "The body is not JSON."),
            (422, "A rule is broken; `errors` names each field."),
            (429, "Too many requests; `Retry-After` says in how many seconds to try again."),
            (500, "Something failed here."),
            (
                503,
                "Too much of this is under way, or the database takes no changes; `Retry-After` says when to try again.",
            ),
        ];
        MetaResponses { responses: responses.map(response).into() }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}

/// Anything that went wrong on the way to or from a handler, as a problem.
pub(super) fn describe(error: &poem::Error) -> ApiError {
    if let Some(error) = error.downcast_ref::<ApiError>() {
        return error.clone();
    }
    if let Some(error) = error.downcast_ref::<openapi::ParseParamError>() {
        if error.name == answers::IF_MATCH {
            return ApiError::bad_header(error.name, answers::IF_MATCH_ALLOWED);
        }
        return ApiError::invalid(vec![FieldError::new(error.name, "invalid", error.reason.clone())]);
    }
    // No object has an id that is no id.
    if error.is::<NotFoundError>() || error.is::<openapi::ParsePathError>() {
        return ApiError::not_found();
    }
    if error.is::<MethodNotAllowedError>() {
        return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", "This path does not know the method.");
    }
    if let Some(error) = error.downcast_ref::<openapi::ContentTypeError>() {
        let detail = format!("Send application/json ({error}).");
        return ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail);
    }
    if matches!(error.downcast_ref(), Some(ReadBodyError::PayloadTooLarge)) {
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large.");
    }
    if error.status().is_server_error() {
        return ApiError::internal(error);
    }
    ApiError::new(error.status(), "refused", "The request cannot be served as it is.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_hundred_fields_at_most() {
        let errors = |count| (0..count).map(|n| FieldError::new(format!("f{n}"), "type", "")).collect::<Vec<_>>();
        for (found, named) in [(1, 1), (99, 99), (100, 100), (5000, 100)] {
            assert_eq!(ApiError::invalid(errors(found)).errors().len(), named);
            assert_eq!(ApiError::conflict("x", "").with_errors(errors(found)).errors().len(), named);
        }
        assert!(ApiError::invalid(errors(5000)).to_string().contains("100 fields or more"));
    }
}
