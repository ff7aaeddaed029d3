//! Headers on every answer (OWASP's REST cheat sheet), and how long it took. HSTS belongs to whoever ends TLS.

use std::sync::Arc;

use poem::error::ResponseError as _;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};
use poem_openapi::OperationId;

use super::{State, docs, error, methods, metrics};

/// For data: nothing of it may run or be framed.
const CSP_DATA: &str = "default-src 'none'; frame-ancestors 'none'";
/// For the embedded documentation, which runs a script of its own.
const CSP_DOCS: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// No answer needs any of a browser's powers.
const NO_POWERS: &str =
    "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()";

/// Turns every error into a problem, sets the headers on whatever is answered, and measures it.
pub(super) async fn guard<E: Endpoint>(endpoint: Arc<E>, request: Request) -> Result<Response> {
    let clock = request.data::<State>().map(|state| state.clock);
    let began = clock.map(|clock| clock.now().mono);
    let path = request.uri().path().to_owned();
    let (mut response, operation) = match endpoint.call(request).await {
        Ok(response) => {
            let response = response.into_response();
            let operation = response.data::<OperationId>().copied();
            (response, operation)
        }
        Err(error) => (error::describe(&error).as_response(), error.data::<OperationId>().copied()),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allowed) = HeaderValue::from_str(&methods::of(&path))
    {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    let kept = docs::cached(&path, response.status());
    secure(response.headers_mut(), path.starts_with("/docs"));
    if let Some(kept) = kept {
        response.headers_mut().insert(header::CACHE_CONTROL, kept);
    }
    if let Some((clock, began)) = clock.zip(began) {
        metrics::note_request(operation, response.status(), clock.now().mono.saturating_sub(began));
    }
    Ok(response)
}

pub(super) fn secure(headers: &mut HeaderMap, docs: bool) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, if docs { CSP_DOCS } else { CSP_DATA }),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("Cross-Origin-Resource-Policy", HeaderValue::from_static("same-origin"));
    headers.insert("Permissions-Policy", HeaderValue::from_static(NO_POWERS));
}
