//! Pages of configured origins may call the API from a browser. Off unless configured; no cookies are used, so none are allowed.

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use super::State;

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// What a page may send besides what every page may.
const SENT: &str = "Authorization, X-API-Key, Content-Type, If-Match, Idempotency-Key, Last-Event-ID";
/// What a page may read besides what every page may.
const READ: &str = "ETag, Retry-After, Allow, Content-Disposition, Idempotency-Replayed";
/// Seconds for which a browser need not ask again.
const KEPT_FOR: &str = "600";

/// Answers a browser's question before a request, which comes without credential, and tells it on answers what the page may read.
pub(super) async fn allow<E: Endpoint>(endpoint: Arc<E>, request: Request) -> Result<Response> {
    let origins = request.data::<State>().map(|state| state.config.now());
    let Some(config) = origins.filter(|config| !config.api.cors_origins.is_empty()) else {
        return Ok(endpoint.call(request).await?.into_response());
    };
    let origin = request.headers().get(header::ORIGIN).cloned();
    let origin = origin.filter(|it| config.api.cors_origins.iter().any(|allowed| it.as_bytes() == allowed.as_bytes()));
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if asks => preflight(),
        _ => endpoint.call(request).await?.into_response(),
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, header::ORIGIN.into());
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    }
    Ok(response)
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    set(headers, header::ACCESS_CONTROL_MAX_AGE, KEPT_FOR);
    response
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
