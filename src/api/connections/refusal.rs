//! What is answered where no request can be read: the same problem document, with the same headers, as any refusal of ours.

use poem::error::ResponseError as _;
use poem::http::{HeaderValue, StatusCode, header};

use super::pulse::Late;
use crate::api::error::ApiError;
use crate::api::headers;
use crate::clock::Clock;

/// Why there will be no answer to the request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// What came is no request that can be read; the status is the HTTP library's.
    Unreadable(StatusCode),
    /// It is of HTTP/2.
    Http2,
    /// The peer was late.
    Late(Late),
}

impl Unanswered {
    /// What the peer is told; `None` where it has asked for nothing, or cannot be told.
    fn error(self) -> Option<ApiError> {
        let told = match self {
            Self::Unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "header_too_large",
                "The request's line and headers are too long or too many: use 64 KB and 100 headers at most.",
            ),
            Self::Unreadable(StatusCode::URI_TOO_LONG) => return Some(ApiError::uri_too_long()),
            Self::Unreadable(_) => (StatusCode::BAD_REQUEST, "malformed", "This is no HTTP/1.1 request."),
            Self::Http2 => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http_version", "Use HTTP/1.1."),
            Self::Late(Late::Header { begun: true } | Late::Body) => {
                (StatusCode::REQUEST_TIMEOUT, "too_slow", "The request did not come whole in time: send it again.")
            }
            Self::Late(Late::Header { begun: false } | Late::Idle | Late::Stall) => return None,
        };
        let (status, code, detail) = told;
        Some(ApiError::of_connection(status, code, detail))
    }

    /// The whole answer, after which the connection is closed.
    pub(super) async fn bytes(self, clock: Clock) -> Option<Vec<u8>> {
        let mut response = self.error()?.as_response();
        headers::secure(response.headers_mut(), false);
        let (mut head, body) = response.into_parts();
        let body = body.into_bytes().await.ok()?;
        let date = clock.now().wall.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        head.headers.insert(header::DATE, HeaderValue::try_from(date).ok()?);
        let reason = head.status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
        for (name, value) in &head.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        Some(bytes)
    }
}
