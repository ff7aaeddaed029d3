//! The WebSocket: how it is opened, and how a request is written on it.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use rustls::ClientConfig;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config, tungstenite};

use super::request::Rendered;

/// One application's WebSocket, over TCP or TLS.
pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Bytes read at once at most. Each read begins with zeroing as many, and what comes at once is an event or a few, of a kilobyte each.
const READ_BUFFER: usize = 16 * 1024;

/// Opens the events' socket, by TLS where that is given. Nagle's algorithm is off.
pub(super) async fn connect(
    url: &str,
    authorization: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Stream, tungstenite::Error> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert(AUTHORIZATION, authorization);
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let connector = tls.map_or(Connector::Plain, Connector::Rustls);
    let (stream, _) = connect_async_tls_with_config(request, Some(config), true, Some(connector)).await?;
    Ok(stream)
}

#[derive(Serialize)]
struct RestRequest<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    request_id: String,
    method: &'static str,
    uri: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query_strings: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_body: Option<String>,
}

#[derive(Serialize)]
struct Pair<'a> {
    name: &'static str,
    value: &'a str,
}

/// The text frame of a request. Values of `query_strings` travel as they are: Asterisk decodes only the path.
pub(super) fn frame(id: u64, request: &Rendered) -> Result<String, serde_json::Error> {
    serde_json::to_string(&RestRequest {
        kind: "RESTRequest",
        request_id: id.to_string(),
        method: request.method,
        uri: &request.path,
        query_strings: request.query.iter().map(|(name, value)| Pair { name, value }).collect(),
        content_type: request.body.is_some().then_some("application/json"),
        message_body: request.body.as_ref().map(ToString::to_string),
    })
}
