//! How a node is reached, and what a client of it is to do.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// One Asterisk node, as its client needs it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How logs, metrics and errors call it.
    pub name: String,
    /// Base URL of Asterisk's HTTP server, `http://host:port` or `https://host:port`, without `/ari`.
    pub url: String,
    /// PEM file of the certificates that sign the node's, where `url` is of https; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// ARI user (`ari.conf`).
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// Names of the Stasis applications, each with a socket of its own; at least one.
    pub apps: Vec<String>,
    /// How requests travel.
    pub transport: Transport,
    /// Deadline of each request, from when it is queued.
    pub request_timeout: Duration,
    /// What the names of all metrics begin with, such as `myapp_`; they end as in [`crate::ari::metric`].
    pub metrics_prefix: &'static str,
}

/// Whether a node of this URL is reached by TLS.
#[must_use]
pub fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// REST over WebSocket where the Asterisk found has it (20.14, 22.4, 23), else HTTP.
    #[default]
    Auto,
    /// REST over WebSocket.
    Websocket,
    /// HTTP with keep-alive.
    Http,
}
