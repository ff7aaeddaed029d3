//! `Idempotency-Key`: a request that is repeated is carried out once, and answered alike.
//!
//! The answer is kept after the change has been committed, in a statement of its own: a process that dies in between leaves a key that
//! is free again when its lease is over.
//!
//! What is stored of a request is made with the key of access tokens (`auth.key`): nobody can try passwords against it without that
//! key. Processes that share the key share the answers; under a new key a repeated request counts as another one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use poem::error::ResponseError as _;
use poem::http::{Method, StatusCode};
use poem::{Endpoint, IntoResponse as _, Request, Response, Result};
use poem_openapi::registry::{MetaHeader, MetaOperationParam, MetaParamIn, MetaSchema, MetaSchemaRef};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::State;
use super::body;
use super::error::{ApiError, describe};
use super::security;
use crate::auth::access::AccessKey;
use crate::auth::principal::Principal;
use crate::auth::roles::Operation;
use crate::auth::secrets;
use crate::store::idempotency::{self, Answer, Claim, Keyed};

/// The request's header.
pub(super) const HEADER: &str = "Idempotency-Key";
/// On an answer that is given again.
pub(super) const REPLAYED: &str = "Idempotency-Replayed";
/// Characters of a key at most.
const KEY_AT_MOST: usize = 255;
/// Bytes of a refusal that is kept; a longer one is made anew. What was done is kept at any length: it must not be done again.
const REFUSAL_AT_MOST: usize = 256 * 1024;
/// How long a run may take: less than its lease, so that there are never two.
const RUN_AT_MOST: Duration = Duration::from_secs(60);
/// When to ask again for the answer of a request that runs.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often an answer is tried to be kept, and how long the first pause is; each further one is twice as long. All end within what the
/// lease has left after the longest run.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// When some of a user's keys have come free, at the earliest.
const TOO_MANY_WAIT: Duration = Duration::from_secs(3600);

/// Whether a key means anything to an operation: POST that changes something, passwords and log-out aside.
pub(super) fn is_keyed(method: &Method, operation: Operation) -> bool {
    let own = matches!(operation, Operation::Logout | Operation::ChangePassword);
    *method == Method::POST && operation.writes() && !own
}

/// The header as the OpenAPI document tells it.
pub(super) fn parameter() -> MetaOperationParam {
    let schema = MetaSchema {
        min_length: Some(1),
        max_length: Some(KEY_AT_MOST),
        pattern: Some("^[!-~]+$".to_owned()),
        ..MetaSchema::new("string")
    };
    let description = "Makes it safe to send the request again: for 24 hours the same user's same request with the same key gets the \
        same answer (2xx and most 4xx; without passwords, tokens and other secrets, which are shown once only) and is not carried out \
        again. Another request with the key is 422 `idempotency_key_reused`; while the first one runs it is 409 \
        `idempotency_in_progress` with `Retry-After`. Use a random one, such as a UUID, for each thing to be done.";
    MetaOperationParam {
        name: HEADER.to_owned(),
        schema: MetaSchemaRef::Inline(Box::new(schema)),
        in_type: MetaParamIn::Header,
        description: Some(description.to_owned()),
        required: false,
        deprecated: false,
        explode: true,
        style: None,
    }
}

/// The header of an answer that is given again, likewise.
pub(super) fn replayed_header() -> MetaHeader {
    MetaHeader {
        name: REPLAYED.to_owned(),
        description: Some("`true` where the answer is that of an earlier request with the same key.".to_owned()),
        required: false,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
    }
}

/// Carries a request out, or answers it as the first one with its key was.
pub(super) async fn once<E>(operation: Operation, endpoint: Arc<E>, mut request: Request) -> Result<Response>
where
    E: Endpoint<Output = Response> + 'static,
{
    let Some(state) = request.data::<State>().cloned() else { return endpoint.call(request).await };
    // Whoever may not do it hears so from the handler, whatever it may have been answered before.
    let who = security::who(&request).filter(|who| who.may(operation).is_ok()).cloned();
    let Some(who) = who else { return endpoint.call(request).await };
    let Some(key) = key(&request)? else { return endpoint.call(request).await };
    let body = request.take_body().into_bytes_limit(body::BYTES_AT_MOST).await?;
    let keyed = Keyed {
        user: who.user,
        operation: operation.id(),
        key: digest(&[key.as_bytes()]),
        request: fingerprint(&state.authority.key, &who, &request, &body)?,
        holder: secrets::session_id(),
    };
    request.set_body(body);
    match idempotency::claim(&state.db, &keyed, state.clock.now().wall).await.map_err(ApiError::from)? {
        Claim::Answered(answer) => again(answer).map_err(Into::into),
        Claim::Running => {
            let detail = "The first request with this Idempotency-Key is still being carried out.";
            Err(ApiError::conflict("idempotency_in_progress", detail).after(ASK_AGAIN).into())
        }
        Claim::Reused => {
            let detail = "This Idempotency-Key belongs to another request: use a new one.";
            Err(ApiError::unprocessable("idempotency_key_reused", detail).into())
        }
        Claim::TooMany => {
            let detail =
                "Too many of your Idempotency-Keys are less than a day old: wait, or send the request without one.";
            Err(ApiError::too_many("too_many_keys", detail, TOO_MANY_WAIT).into())
        }
        // On its own, so that a caller who goes away meanwhile finds the answer when it asks again.
        Claim::Run => match tokio::spawn(run(state, endpoint, request, keyed)).await {
            Ok(response) => Ok(response),
            Err(error) => Err(ApiError::internal(&error).into()),
        },
    }
}

/// The key that was sent.
fn key(request: &Request) -> Result<Option<String>, ApiError> {
    let Some(value) = request.headers().get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=KEY_AT_MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(Some(text.to_owned()));
    }
    Err(ApiError::bad_header(HEADER, "send it once, with 1 to 255 visible ASCII characters and no blanks"))
}

/// All that makes it this request and no other. The role is part of it: an answer that a staff member got is not the seller's it became.
fn fingerprint(key: &AccessKey, who: &Principal, request: &Request, body: &[u8]) -> Result<String, ApiError> {
    let uri = request.original_uri();
    let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
    let kind = request.content_type().unwrap_or_default();
    let digest = digest(&[who.role.as_str().as_bytes(), path.as_bytes(), kind.as_bytes(), body]);
    key.mark("idempotency", &digest).map_err(|error| ApiError::internal(&error))
}

/// SHA-256 (hex) over parts, each with its length.
fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn run<E: Endpoint<Output = Response>>(
    state: State,
    endpoint: Arc<E>,
    request: Request,
    keyed: Keyed,
) -> Response {
    let finished = AssertUnwindSafe(endpoint.call(request)).catch_unwind();
    let refused = |error: ApiError| error.as_response();
    let response = match tokio::time::timeout(RUN_AT_MOST, finished).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(error))) => refused(describe(&error)),
        // The panic itself is told where panics are.
        Ok(Err(_)) => refused(ApiError::internal(&Panicked)),
        // What it did is not known: the key stays taken until its lease is over.
        Err(error) => return refused(ApiError::internal(&error)),
    };
    settle(&state, &keyed, response).await
}

#[derive(Debug, thiserror::Error)]
#[error("the handler panicked")]
struct Panicked;

/// Keeps the answer where it is to be given again, else gives the key back.
async fn settle(state: &State, keyed: &Keyed, mut response: Response) -> Response {
    let status = response.status();
    let content_type = response.content_type().map(str::to_owned);
    let settled = if is_kept(status) {
        let body = match response.take_body().into_bytes().await {
            Ok(body) => body,
            Err(error) => return ApiError::internal(&error).as_response(),
        };
        response.set_body(body.clone());
        if !status.is_success() && body.len() > REFUSAL_AT_MOST {
            idempotency::release(&state.db, keyed).await
        } else {
            let body = without_secrets(&String::from_utf8_lossy(&body));
            let answer = Answer { status: status.as_u16(), content_type, body };
            patiently(|| idempotency::keep(&state.db, keyed, &answer)).await.map(drop)
        }
    } else {
        idempotency::release(&state.db, keyed).await
    };
    if let Err(error) = settled {
        tracing::warn!(%error, operation = keyed.operation, "the answer to a request with an Idempotency-Key was not kept");
    }
    response
}

/// Tries again what must not fail for a moment's sake: the change is committed, and without its answer it could be made twice.
async fn patiently<T, E, F: Future<Output = Result<T, E>>>(mut attempt: impl FnMut() -> F) -> Result<T, E> {
    for pause in (1..TRIES).scan(FIRST_PAUSE, |next, _| Some(std::mem::replace(next, *next * 2))) {
        if let Ok(done) = attempt().await {
            return Ok(done);
        }
        tokio::time::sleep(pause).await;
    }
    attempt().await
}

/// Whether an answer would be the same for the same request: what was done, and what is wrong with the request.
fn is_kept(status: StatusCode) -> bool {
    let refusals = [400, 404, 409, 412, 413, 415, 422];
    status.is_success() || refusals.contains(&status.as_u16())
}

/// An answer's JSON without the secrets in it.
fn without_secrets(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    // Untouched it stays as it is, to the byte.
    if strip(&mut value) { value.to_string() } else { body.to_owned() }
}

fn strip(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|field, value| !(value.is_string() && is_secret(field)));
            let inside = fields.values_mut().map(strip).filter(|found| *found).count() > 0;
            fields.len() != before || inside
        }
        Value::Array(values) => values.iter_mut().map(strip).filter(|found| *found).count() > 0,
        _ => false,
    }
}

/// Whether a text under this name is one that is shown once only.
fn is_secret(field: &str) -> bool {
    ["password", "secret", "token"].iter().any(|word| field.ends_with(word))
}

fn again(answer: Answer) -> Result<Response, ApiError> {
    let status = StatusCode::from_u16(answer.status).map_err(|error| ApiError::internal(&error))?;
    let mut response = Response::builder().status(status).header(REPLAYED, "true");
    if let Some(content_type) = &answer.content_type {
        response = response.content_type(content_type);
    }
    Ok(response.body(answer.body).into_response())
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    #[test]
    fn secrets_are_left_out_and_nothing_else_is_touched() {
        for (answered, kept) in [
            (r#"{"id": 1,  "has_password": true}"#, r#"{"id": 1,  "has_password": true}"#),
            (r#"{"secret":"cck_x","token":{"id":1}}"#, r#"{"token":{"id":1}}"#),
            (r#"{"generated_password":"x","id":1}"#, r#"{"id":1}"#),
            (r#"{"items":[{"access_token":"x"}]}"#, r#"{"items":[{}]}"#),
            ("", ""),
            ("no JSON", "no JSON"),
        ] {
            assert_eq!(without_secrets(answered), kept);
        }
    }

    #[test]
    fn what_depends_on_the_moment_is_not_kept() {
        let kept = |status: u16| is_kept(StatusCode::from_u16(status).unwrap());
        assert!([200, 201, 204, 400, 404, 409, 412, 422].into_iter().all(kept));
        assert!(![401, 403, 408, 429, 500, 503].into_iter().any(kept));
    }

    #[test]
    fn keys_are_visible_ascii() {
        let sent = |sent: &str| {
            key(&Request::builder().header(HEADER, HeaderValue::from_bytes(sent.as_bytes()).unwrap()).finish())
        };
        assert_eq!(key(&Request::builder().finish()).unwrap(), None);
        assert_eq!(sent("a-1!~").unwrap().as_deref(), Some("a-1!~"));
        assert!(sent(&"x".repeat(255)).is_ok());
        for refused in ["x".repeat(256).as_str(), "a b", "é", ""] {
            assert_eq!(sent(refused).unwrap_err().status(), StatusCode::BAD_REQUEST, "{refused:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "the paused clock of the test's runtime is looked at")]
    async fn an_answer_is_tried_to_be_kept_again_within_the_lease() {
        for (failures, kept, tries) in [(0, true, 1), (4, true, 5), (5, false, 5)] {
            let (begun, tried) = (tokio::time::Instant::now(), std::cell::Cell::new(0));
            let attempt = || {
                tried.set(tried.get() + 1);
                std::future::ready(if tried.get() > failures { Ok(()) } else { Err(()) })
            };
            assert_eq!((patiently(attempt).await.is_ok(), tried.get()), (kept, tries));
            assert!(RUN_AT_MOST + begun.elapsed() < idempotency::LEASE.to_std().unwrap());
        }
    }

    #[test]
    fn no_two_requests_share_a_digest_by_shifting_their_parts() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[b"a"]).len(), 64);
    }
}
