//! Refused before anything is read: what two readers may read in two ways, because it is there twice, and bodies that are packed.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use poem::http::header::{self, HeaderMap};
use poem::{Endpoint, Request, Result};

use super::error::ApiError;

/// Headers of which only one is read, here or by a proxy in front.
const ONCE: [&str; 10] = [
    "Authorization",
    "X-API-Key",
    "X-Internal-API-Token",
    "Host",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "If-Match",
    "Idempotency-Key",
    "Origin",
];
/// Characters of a query parameter's name that a refusal repeats.
const NAME_AT_MOST: usize = 100;

/// Lets through what is there once.
pub(super) async fn refuse<E: Endpoint>(endpoint: Arc<E>, request: Request) -> Result<E::Output> {
    twin_header(request.headers())?;
    twin_parameter(request.uri().query().unwrap_or_default())?;
    endpoint.call(request).await
}

fn twin_header(headers: &HeaderMap) -> Result<(), ApiError> {
    match ONCE.iter().find(|name| headers.get_all(**name).iter().nth(1).is_some()) {
        Some(name) => Err(ApiError::bad_header(name, "send it once")),
        None => Ok(()),
    }
}

fn twin_parameter(query: &str) -> Result<(), ApiError> {
    let mut names: Vec<Cow<'_, str>> = query.split('&').filter(|pair| !pair.is_empty()).map(name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let name: String = pair[0].chars().take(NAME_AT_MOST).collect();
            Err(ApiError::malformed(format!("The query has the parameter {name:?} twice: send it once.")))
        }
        None => Ok(()),
    }
}

/// The name of a parameter (application/x-www-form-urlencoded).
fn name(pair: &str) -> Cow<'_, str> {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    if !name.contains(['+', '%']) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(percent_decode_str(&name.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// Refuses a body that would have to be unpacked before it can be read (RFC 9110, section 8.4): its length would be unknown.
pub(super) fn packed(headers: &HeaderMap) -> Result<(), ApiError> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let plain =
        |value: &header::HeaderValue| value.to_str().is_ok_and(|text| text.trim().eq_ignore_ascii_case("identity"));
    if codings.into_iter().all(plain) { Ok(()) } else { Err(ApiError::packed()) }
}

#[cfg(test)]
mod tests {
    use poem::error::ResponseError as _;
    use poem::http::HeaderValue;

    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let given = given.iter().map(|(name, value)| {
            (header::HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_static(value))
        });
        given.collect()
    }

    #[test]
    fn a_header_that_is_there_twice_is_refused_by_its_name() {
        for name in ONCE {
            assert!(twin_header(&headers(&[(name, "a")])).is_ok(), "{name}");
            for second in ["a", "b"] {
                let refused = twin_header(&headers(&[(name, "a"), (name, second)])).expect_err(name);
                assert_eq!(refused.errors()[0].field, name);
            }
        }
        assert!(twin_header(&headers(&[("Accept", "a"), ("Accept", "b"), ("X-Forwarded-For", "c")])).is_ok());
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_refused_however_it_is_spelt() {
        for query in ["a=1&a=2", "a=1&a=1", "a&a", "a=1&b=2&%61=3", "a+b=1&a%20b=2", "=1&=2"] {
            assert_eq!(twin_parameter(query).expect_err(query).status(), 400);
        }
        for query in ["", "a=1", "a=1&A=2", "a=1&b=1&&", "a=b=c&b=a"] {
            assert!(twin_parameter(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn only_identity_is_no_packing() {
        for coding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "x", ""] {
            let refused = packed(&headers(&[("Content-Encoding", coding)])).expect_err(coding);
            assert_eq!(refused.status(), 415, "{coding}");
        }
        assert!(packed(&headers(&[])).is_ok());
        assert!(packed(&headers(&[("Content-Encoding", "Identity")])).is_ok());
        assert!(packed(&headers(&[("Content-Encoding", "identity"), ("Content-Encoding", "gzip")])).is_err());
    }
}
