//! Headers on every answer (OWASP's secure headers). HSTS belongs to whoever ends TLS.

use poem::http::{HeaderValue, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use super::error;

/// For data: nothing of it may run or be framed.
const CSP_DATA: &str = "default-src 'none'; frame-ancestors 'none'";
/// For the embedded documentation, which runs a script of its own.
const CSP_DOCS: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     frame-ancestors 'none'";

/// Turns every error into a problem, and sets the headers on whatever is answered.
pub(super) async fn guard<E: Endpoint>(endpoint: std::sync::Arc<E>, request: Request) -> Result<Response> {
    let docs = request.uri().path().starts_with("/docs");
    let mut response = match endpoint.call(request).await {
        Ok(response) => response.into_response(),
        Err(error) => poem::error::ResponseError::as_response(&error::describe(&error)),
    };
    let csp = if docs { CSP_DOCS } else { CSP_DATA };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, csp),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("Cross-Origin-Resource-Policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}
