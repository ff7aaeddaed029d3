//! HTTP: the second transport, and the way of all list requests.

use std::io::{self, BufReader};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Url};
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};

use super::body::Chunks;
use super::error::{BadNode, Error, NO_ANSWER};
use super::request::Rendered;
use super::settings::Settings;
use super::ticket::{Outgoing, Response};
use super::{tls, tls_client};

/// Below Asterisk's `session_keep_alive` of 15 s, so that no request is written into a connection Asterisk closes.
const POOL_IDLE: Duration = Duration::from_secs(10);
/// Requests at once; Asterisk's `sessionlimit` is 100 by default, and the events' sockets count as well.
pub const AT_ONCE: usize = 64;
/// Longest wait for a TCP connection and its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A list of so many bytes takes milliseconds to read.
const LONG: u64 = 1 << 18;

const LOST: &str = "the connection was lost before the answer came";

/// One node's HTTP client; clones share one pool.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    /// `http://host:port/ari/`.
    base: String,
    authorization: HeaderValue,
    /// Where the URL is of https.
    tls: Option<Arc<ClientConfig>>,
    slots: Arc<Semaphore>,
    /// Who answers in place of Asterisk.
    #[cfg(test)]
    pub(super) stand_in: Option<StandIn>,
}

impl Http {
    /// Checks the node's URL and credentials.
    pub(super) fn new(node: &Settings) -> Result<Self, BadNode> {
        let bad = |field, value: &str, reason: String| BadNode {
            node: node.name.clone(),
            field,
            value: value.to_owned(),
            reason,
        };
        let url: Url = node.url.parse().map_err(|error| bad("url", &node.url, format!("{error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || !url.username().is_empty() {
            let reason = "use http://host:port or https://host:port, without credentials or a query";
            return Err(bad("url", &node.url, reason.to_owned()));
        }
        let base = format!("{}/ari/", url.as_str().trim_end_matches('/'));
        let shown = |field: &str| match (&node.ca_file, field) {
            (Some(path), "ca_file") => path.display().to_string(),
            _ => node.url.clone(),
        };
        let tls = tls_client::client(node).map_err(|(field, reason)| bad(field, &shown(field), reason))?;
        let configured = tls.as_deref().map_or_else(tls_client::unused, |tls| Ok(tls.clone()));
        // Asterisk runs nearby: a proxy from the environment, or a redirect, would carry the credentials elsewhere.
        let client = Client::builder()
            .tls_backend_preconfigured(configured.map_err(|reason| bad("url", &node.url, reason))?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(AT_ONCE)
            .build()
            .map_err(|error| bad("url", &node.url, format!("{error}")))?;
        let authorization = client
            .get(url)
            .basic_auth(&node.user, Some(node.password.expose_secret()))
            .build()
            .ok()
            .and_then(|request| request.headers().get(AUTHORIZATION).cloned())
            .ok_or_else(|| bad("user", &node.user, "user and password do not fit into a header".to_owned()))?;
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        Ok(Self {
            client,
            base,
            authorization,
            tls,
            slots,
            #[cfg(test)]
            stand_in: None,
        })
    }

    /// The `Authorization` header, marked sensitive.
    pub(super) fn authorization(&self) -> HeaderValue {
        let mut header = self.authorization.clone();
        header.set_sensitive(true);
        header
    }

    /// TLS, where the node is reached by it.
    pub(super) fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// Address of an application's WebSocket.
    pub(super) fn events_url(&self, app: &str) -> String {
        // `http` becomes `ws`, `https` becomes `wss`.
        let rest = self.base.strip_prefix("http").unwrap_or(&self.base);
        format!("ws{rest}events?app={}", utf8_percent_encode(app, NON_ALPHANUMERIC))
    }

    /// One request and its answer.
    pub(super) async fn call(&self, request: &Rendered, timeout: Duration) -> Result<Response, Error> {
        #[cfg(test)]
        if let Some(stand_in) = &self.stand_in {
            return stand_in.call(request, timeout).await;
        }
        read(self.send(request, timeout).await?).await
    }

    /// A list, which may be of tens of megabytes: what is short is read at once, a long one as it comes and by another thread, so that no
    /// call waits for it and the text of it is never in memory as a whole.
    pub(super) async fn list<T>(&self, request: &Rendered, timeout: Duration) -> Result<Vec<T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        #[cfg(test)]
        if let Some(stand_in) = &self.stand_in {
            return stand_in.call(request, timeout).await?.json();
        }
        let answer = self.send(request, timeout).await?;
        if !answer.status().is_success() || answer.content_length().is_some_and(|length| length < LONG) {
            return read(answer).await?.json();
        }
        let (feed, text) = Chunks::new();
        let reading = tokio::task::spawn_blocking(move || serde_json::from_reader(BufReader::new(text)));
        feed.all_of(answer.bytes_stream()).await;
        let list: Result<Vec<T>, _> = reading.await.map_err(|died| Error::Protocol(died.to_string()))?;
        list.map_err(|error| {
            if !error.is_io() {
                return Error::Protocol(error.to_string());
            }
            let lost = io::Error::from(error);
            let lost = lost.get_ref().and_then(|lost| lost.downcast_ref::<reqwest::Error>());
            lost.map_or(Error::OutcomeUnknown(LOST), unsent_or_unknown)
        })
    }

    async fn send(&self, request: &Rendered, timeout: Duration) -> Result<reqwest::Response, Error> {
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|e| Error::Protocol(e.to_string()))?;
        let mut call = self
            .client
            .request(method, format!("{}{}", self.base, request.path))
            .header(AUTHORIZATION, self.authorization())
            .timeout(timeout);
        if !request.query.is_empty() {
            call = call.query(&request.query);
        }
        if let Some(body) = &request.body {
            call = call.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        call.send().await.map_err(|error| unsent_or_unknown(&error))
    }

    async fn carry(&self, Outgoing { request, ticket }: Outgoing) {
        // The semaphore is never closed; were it, the ticket would be dropped unsent, which is what to say then.
        let Ok(Ok(_slot)) = tokio::time::timeout(ticket.remaining(), self.slots.acquire()).await else { return };
        if ticket.start() {
            let outcome = self.call(&request, ticket.remaining()).await;
            ticket.finish(outcome);
        }
    }
}

async fn read(answer: reqwest::Response) -> Result<Response, Error> {
    let status = answer.status();
    let body = answer.text().await.map_err(|error| unsent_or_unknown(&error))?;
    Response::from_parts(status.as_u16(), status.canonical_reason().unwrap_or("no reason given"), body)
}

/// Only a connection that never came about is certain not to have carried the request.
fn unsent_or_unknown(error: &reqwest::Error) -> Error {
    if error.is_connect() {
        if let Some(fault) = tls::fault(error) {
            return Error::Tls(fault);
        }
        Error::NotSent("no connection could be made")
    } else if error.is_builder() {
        Error::NotSent("the request could not be built")
    } else if error.is_timeout() {
        Error::OutcomeUnknown(NO_ANSWER)
    } else {
        Error::OutcomeUnknown(LOST)
    }
}

/// One request after the other, in the order of sending. Its worker ends, after the last request, with the lane.
#[derive(Debug)]
pub(super) struct HttpLane {
    http: Http,
    queue: OnceLock<mpsc::UnboundedSender<Outgoing>>,
}

impl HttpLane {
    pub(super) fn new(http: Http) -> Self {
        Self { http, queue: OnceLock::new() }
    }

    /// Queues a request; the worker starts with the first one.
    pub(super) fn send(&self, outgoing: Outgoing) {
        let queue = self.queue.get_or_init(|| {
            let (queue, mut requests) = mpsc::unbounded_channel();
            let http = self.http.clone();
            tokio::spawn(async move {
                while let Some(outgoing) = requests.recv().await {
                    http.carry(outgoing).await;
                }
            });
            queue
        });
        // A worker that is gone (runtime shutting down) gives the request back, and its ticket says NotSent.
        drop(queue.send(outgoing));
    }
}

/// Answers requests in place of a node's HTTP server, in a simulated world.
#[cfg(test)]
#[derive(Debug, Clone)]
pub(super) struct StandIn {
    pub(super) meters: Arc<super::meters::Meters>,
    pub(super) clock: super::clock::Clock,
    pub(super) queue: mpsc::UnboundedSender<Outgoing>,
}

#[cfg(test)]
impl StandIn {
    async fn call(&self, request: &Rendered, timeout: Duration) -> Result<Response, Error> {
        let (ticket, pending) = super::ticket::Ticket::issue(&self.meters, request.kind, self.clock, timeout);
        drop(self.queue.send(Outgoing { request: request.clone(), ticket }));
        pending.await
    }
}
