//! The documentation's page and the OpenAPI document: each written and compressed once, known by its hash, and never copied for a request.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Query;
use poem::{Request, Response, Result, handler};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::error::ApiError;
use super::{document, service};
use crate::auth::roles::Role;

const GZIP: &str = "gzip";

/// Which document is asked for.
#[derive(Debug, Deserialize)]
struct Reader {
    role: Option<Role>,
}

/// The library's page with the document that is published in the place of its own.
#[handler]
pub(super) async fn page(request: &Request) -> Result<Response> {
    static PAGE: OnceCell<Text> = OnceCell::const_new();
    let write = || {
        let service = service();
        service.swagger_ui_html().replace(&service.spec(), &document(None).to_string())
    };
    Ok(PAGE.get_or_try_init(|| Text::make("text/html; charset=utf-8", write)).await?.answer(request))
}

/// The OpenAPI document as JSON: whole, or of `?role=`.
#[handler]
pub(super) async fn openapi_json(request: &Request, Query(Reader { role }): Query<Reader>) -> Result<Response> {
    static DOCUMENTS: [OnceCell<Text>; 4] = [const { OnceCell::const_new() }; 4];
    let place = role.map_or(0, |role| 1 + role as usize);
    let write = move || document(role).to_string();
    Ok(DOCUMENTS[place].get_or_try_init(|| Text::make("application/json", write)).await?.answer(request))
}

/// A text that is the same for everybody as long as the process runs.
#[derive(Debug)]
struct Text {
    kind: &'static str,
    plain: Bytes,
    gzip: Bytes,
    hash: String,
}

impl Text {
    /// On a thread of its own: it takes longer than others should wait.
    async fn make(kind: &'static str, write: impl FnOnce() -> String + Send + 'static) -> Result<Self, ApiError> {
        let made = tokio::task::spawn_blocking(move || Self::of(kind, write())).await;
        made.map_err(|error| ApiError::internal(&error))?.map_err(|error| ApiError::internal(&error))
    }

    fn of(kind: &'static str, text: String) -> std::io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes())?;
        let gzip = encoder.finish()?;
        let hash = Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { kind, plain: text.into(), gzip: gzip.into(), hash })
    }

    /// The text, compressed for whoever takes that; nothing for whoever has it. The cache must ask each time, which is answered in a line.
    fn answer(&self, request: &Request) -> Response {
        let gzipped = takes_gzip(request);
        let suffix = if gzipped { "-gzip" } else { "" };
        let mut answer = Response::builder()
            .content_type(self.kind)
            .header(header::ETAG, format!("\"{}{suffix}\"", self.hash))
            .header(header::VARY, header::ACCEPT_ENCODING);
        if self.is_had(request) {
            return answer.status(StatusCode::NOT_MODIFIED).finish();
        }
        if gzipped {
            answer = answer.header(header::CONTENT_ENCODING, GZIP);
        }
        answer.body(if gzipped { self.gzip.clone() } else { self.plain.clone() })
    }

    fn is_had(&self, request: &Request) -> bool {
        let tags = request.headers().get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tags =
            tags.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'));
        tags.map(|tag| tag.strip_suffix("-gzip").unwrap_or(tag)).any(|tag| tag == self.hash || tag == "*")
    }
}

/// Whether `Accept-Encoding` has gzip, or anything, and not with a weight of zero (RFC 9110, section 12.5.3).
fn takes_gzip(request: &Request) -> bool {
    let values = request.headers().get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        let taken = weight.unwrap_or(1.0) > 0.0;
        if name.trim().eq_ignore_ascii_case(GZIP) {
            return taken;
        }
        any |= name.trim() == "*" && taken;
    }
    any
}

/// What a cache may do with an answer under these paths: keep it, and ask each time whether it is still the one.
pub(super) fn cached(path: &str, status: StatusCode) -> Option<HeaderValue> {
    let ours = path.starts_with("/docs") || path == "/openapi.json";
    let kept = ours && matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED);
    kept.then(|| HeaderValue::from_static("no-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: header::HeaderName, value: &str) -> Request {
        Request::builder().header(name, value).finish()
    }

    #[test]
    fn only_whoever_takes_gzip_gets_it() {
        for (accepted, taken) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("deflate, *", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("*;q=0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&asking(header::ACCEPT_ENCODING, accepted)), taken, "{accepted:?}");
        }
        assert!(!takes_gzip(&Request::default()));
    }

    #[test]
    fn whoever_has_it_is_told_so_however_it_came() {
        let text = Text::of("text/plain", "some text".to_owned()).expect("memory takes it");
        for (tag, had) in [
            (format!("\"{}\"", text.hash), true),
            (format!("\"x\", W/\"{}-gzip\"", text.hash), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
        ] {
            let status = text.answer(&asking(header::IF_NONE_MATCH, &tag)).status();
            assert_eq!(status == StatusCode::NOT_MODIFIED, had, "{tag}");
        }
    }

    /// Each answer is of the same bytes in memory.
    #[tokio::test]
    async fn no_answer_copies_the_text() {
        let text = Text::of("text/plain", "some text".to_owned()).expect("memory takes it");
        for (accepted, whole) in [("gzip", &text.gzip), ("identity", &text.plain)] {
            let answered = text.answer(&asking(header::ACCEPT_ENCODING, accepted)).into_body().into_bytes().await;
            assert_eq!(answered.expect("a body").as_ptr(), whole.as_ptr(), "{accepted}");
        }
    }
}
