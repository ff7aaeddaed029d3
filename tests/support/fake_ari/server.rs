//! The port: WebSocket upgrades for `/ari/events`, HTTP with keep-alive for the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Upgrade, Response as Upgraded};
use tokio_util::sync::CancellationToken;

use super::faults::Fault;
use super::rest;
use super::world::{Seen, Via};
use super::{PASSWORD, Shared, USER};

/// What becomes of a request.
enum Reaction {
    Answer(rest::Answer),
    Nothing,
    Disconnect,
}

/// The switches one connection was accepted under. A task notices them a little later than a request may come, so
/// they are looked at again under the world's lock before anything is carried out.
#[derive(Clone)]
struct Switches {
    kill: CancellationToken,
    freeze: CancellationToken,
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (refuse, kill, freeze) =
            shared.peek(|world| (world.faults.refuse, world.kill.clone(), world.freeze.clone()));
        let switches = Switches { kill: kill.clone(), freeze };
        if refuse {
            continue;
        }
        stream.set_nodelay(true).expect("an open socket");
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { kill.run_until_cancelled(serve(stream, &switches, &shared)).await });
    }
}

async fn serve(stream: TcpStream, switches: &Switches, shared: &Shared) {
    const EVENTS: &[u8] = b"GET /ari/events";
    let mut start = [0_u8; EVENTS.len()];
    loop {
        match stream.peek(&mut start).await {
            Ok(read) if read == EVENTS.len() => break,
            Ok(read) if read > 0 => tokio::task::yield_now().await,
            _ => return,
        }
    }
    if start == EVENTS {
        websocket(stream, switches, shared).await;
    } else {
        http(stream, switches, shared).await;
    }
}

/// Carries one request out, with whatever fault is asked for.
async fn execute(shared: &Shared, switches: &Switches, request: Seen) -> Reaction {
    let fault = shared.with(|world| world.faults.next_for(&request.line()));
    match fault {
        Some(Fault::Ignore) => return Reaction::Nothing,
        Some(Fault::Status(status)) => return Reaction::Answer((status, json!({"message": "as the test wants it"}))),
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::Held) => shared.until_mended().await,
        _ => {}
    }
    let answer = shared.with(|world| {
        if switches.kill.is_cancelled() || (request.via == Via::WebSocket && switches.freeze.is_cancelled()) {
            return None;
        }
        world.seen.push(request.clone());
        Some(rest::handle(world, &request))
    });
    let Some(answer) = answer else { return Reaction::Nothing };
    match fault {
        Some(Fault::SwallowAnswer) => Reaction::Nothing,
        Some(Fault::Disconnect) => Reaction::Disconnect,
        _ => Reaction::Answer(answer),
    }
}

// ---- WebSocket

async fn websocket(stream: TcpStream, switches: &Switches, shared: &Shared) {
    let mut app = String::new();
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    let check = |upgrade: &Upgrade, response: Upgraded| {
        let sent = upgrade.headers().get("authorization").and_then(|value| value.to_str().ok());
        let query = parse_query(upgrade.uri().query().unwrap_or_default());
        match query.get("app") {
            Some(name) if authorized(sent) => {
                name.clone_into(&mut app);
                Ok(response)
            }
            other => {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = if other.is_some() { 401 } else { 400 }.try_into().expect("a status");
                Err(refusal)
            }
        }
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
    let (mut sink, mut frames) = socket.split();
    let (outbox, mut letters) = mpsc::unbounded_channel::<String>();
    let generation = shared.with(|world| world.connect(&app, outbox.clone()));
    let write = async {
        while let Some(letter) = letters.recv().await {
            if sink.send(Message::text(letter)).await.is_err() {
                return;
            }
        }
    };
    // One thread per socket carries out requests strictly in order, and answers pings only in between.
    let read = async {
        while let Some(Ok(frame)) = frames.next().await {
            match frame {
                Message::Text(text) => {
                    let Some((id, request)) = parse_rest_request(&text) else { continue };
                    match execute(shared, switches, request).await {
                        Reaction::Answer(answer) => drop(outbox.send(rest_response(&app, &id, answer))),
                        Reaction::Nothing => {}
                        Reaction::Disconnect => return,
                    }
                    shared.with(|world| world.after_response());
                }
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    let frozen = tokio::select! {
        () = switches.freeze.cancelled() => true,
        () = read => false,
        () = write => false,
    };
    if frozen {
        // Half open: nothing is read or written any more, and the kernel keeps the connection.
        std::future::pending::<()>().await;
    }
    shared.with(|world| world.disconnect(&app, generation));
}

fn parse_rest_request(text: &str) -> Option<(String, Seen)> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let pairs = frame["query_strings"].as_array().into_iter().flatten();
    let pair = |entry: &Value| Some((entry["name"].as_str()?.to_owned(), entry["value"].as_str()?.to_owned()));
    let body = frame["message_body"].as_str().filter(|_| frame["content_type"] == "application/json");
    let seen = Seen {
        via: Via::WebSocket,
        method: frame["method"].as_str()?.to_owned(),
        path: decoded(frame["uri"].as_str()?),
        query: pairs.filter_map(pair).collect(),
        body: body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default(),
    };
    Some((frame["request_id"].as_str()?.to_owned(), seen))
}

fn rest_response(app: &str, id: &str, (status, body): rest::Answer) -> String {
    let mut response = json!({
        "type": "RESTResponse", "transaction_id": "", "request_id": id, "status_code": status,
        "reason_phrase": reason(status), "uri": "", "application": app,
    });
    if !body.is_null() {
        response["content_type"] = json!("application/json");
        response["message_body"] = json!(body.to_string());
    }
    response.to_string()
}

// ---- HTTP

async fn http(mut stream: TcpStream, switches: &Switches, shared: &Shared) {
    let mut buffer = Vec::new();
    while let Some((authorized, request)) = read_request(&mut stream, &mut buffer).await {
        let reaction = if authorized {
            execute(shared, switches, request).await
        } else {
            Reaction::Answer((401, json!({"error": "Authentication required"})))
        };
        match reaction {
            Reaction::Answer((status, body)) => {
                let body = if body.is_null() { String::new() } else { body.to_string() };
                let head = format!(
                    "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    reason(status),
                    body.len()
                );
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Reaction::Nothing => std::future::pending().await,
            Reaction::Disconnect => return,
        }
        shared.with(|world| world.after_response());
    }
}

/// The next request of a kept-alive connection; `None` at its end.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(bool, Seen)> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).ok()?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap_or(0));
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&buffer[head_end..head_end + length]).unwrap_or_default();
    buffer.drain(..head_end + length);
    let mut line = head.lines().next()?.split(' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decoded(path.strip_prefix("/ari/")?);
    let seen = Seen { via: Via::Http, method, path, query: parse_query(query), body };
    Some((authorized(header("authorization").as_deref()), seen))
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(&value.replace('+', " ")))).collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Compares with `Basic base64(user:password)`.
fn authorized(sent: Option<&str>) -> bool {
    sent.is_some_and(|sent| sent == format!("Basic {}", base64(format!("{USER}:{PASSWORD}").as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4_usize {
            let six = usize::try_from((word >> (18 - 6 * place)) & 63).expect("six bits");
            text.push(if place <= chunk.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    text
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        409 => "Conflict",
        422 => "Unprocessable Entity",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
