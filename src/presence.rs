//! What the nodes know of clients' endpoints, asked at the moment it is wanted.
//!
//! ARI itself tells whether an endpoint has been used, is online, and which channels it has. The state and round trip of its contacts are
//! told by dialplan functions alone, and those need a channel: one to the client is made, without dialling it, so that nothing is
//! sent over SIP. It belongs to an application of its own (`<app>-state-1`), which no call goes through.

mod looks;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::looks::Looks;
use crate::ari::{EndpointState, Error, HangUpReason, Node, NodeEventKind, NodeHandle, Request, Variable};
use crate::calls::execute::endpoint;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::in_force::InForce;
use crate::routing::snapshot::ClientIdentifier;

/// How the channels begin that are made for asking.
const PROBE: &str = "capconduit-state-";
/// Contacts that are asked for at most; our own clients have one.
const CONTACTS: usize = 4;
/// After this Asterisk hangs such a channel up by itself, whatever became of us.
const PROBE_SECONDS: u32 = 10;

/// The ways to ask.
#[derive(Debug)]
pub struct Presence {
    nodes: Vec<NodeHandle>,
    config: InForce<Config>,
    clock: Clock,
    /// Asterisk gives an application to the last socket that asks for it: one asks at a time. Counts the channels made.
    turn: Mutex<u64>,
    /// By identifier and AOR.
    looks: Looks<(ClientIdentifier, String), Arc<[Seen]>>,
}

/// By what the nodes know a client.
#[derive(Debug, Clone, Copy)]
struct Client<'a> {
    identifier: &'a ClientIdentifier,
    aor: &'a str,
}

/// An endpoint as one node sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The node's name.
    pub node: String,
    /// Whether it has the endpoint, as far as it has been used; `None`: it could not be asked.
    pub endpoint: Option<bool>,
    /// ARI's `online`, `offline` or `unknown`; empty where it does not have it.
    pub state: String,
    /// Channels to or from the client.
    pub channels: u32,
    /// Its contacts; `None` where they could not be asked for.
    pub contacts: Option<Vec<Contact>>,
}

/// Where an endpoint can be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// Asterisk's word: `Reachable`, `Unreachable`, or another where it was never asked by OPTIONS.
    pub status: String,
    /// From OPTIONS to its answer, when last asked.
    pub round_trip: Option<Duration>,
}

impl Presence {
    /// `nodes`: those of the configuration, in its order.
    #[must_use]
    pub fn new(nodes: Vec<NodeHandle>, config: InForce<Config>, clock: Clock) -> Self {
        Self { nodes, config, clock, turn: Mutex::new(0), looks: Looks::default() }
    }

    /// The name of a connected node that has an endpoint of this name. Asked only for an identifier that no client of ours has or had, so
    /// that it is somebody else's. A node that is away, or does not answer in time (`calls.request_timeout_ms`), is passed over: it must
    /// not keep clients from being made, and `doctor` and the client's state tell afterwards.
    pub async fn node_with(&self, identifier: &ClientIdentifier) -> Option<&str> {
        let connected = self.nodes.iter().filter(|node| node.is_up(0));
        let asked = connected.map(async |node| {
            let found = node.http(Request::GetEndpoint { endpoint: endpoint(identifier) }).await;
            found.is_ok().then(|| node.name())
        });
        join_all(asked).await.into_iter().flatten().next()
    }

    /// What every node sees of a client, or saw within the last second, in the order of the configuration; of each within a few times a
    /// request's time-out. Goes on to its end, and so cleans up, even when nobody waits for it any more. `None`: others wait for their turn
    /// already, as many as may. `aor` is the id of its AOR ([`crate::realtime::aor`]).
    pub async fn look(self: &Arc<Self>, identifier: &ClientIdentifier, aor: String) -> Option<Arc<[Seen]>> {
        let look = self.looks.at((identifier.clone(), aor.clone()), self.clock.now().mono, || {
            let (this, identifier) = (Arc::clone(self), identifier.clone());
            async move {
                let seen = this.look_through(Client { identifier: &identifier, aor: &aor }).await;
                (this.clock.now().mono, Arc::from(seen))
            }
            .boxed()
        });
        Some(look?.await.1)
    }

    async fn look_through(&self, client: Client<'_>) -> Vec<Seen> {
        let mut turn = self.turn.lock().await;
        *turn += 1;
        let channel = format!("{PROBE}{}-{turn}", std::process::id());
        let config = self.config.now();
        join_all(self.nodes.iter().map(|node| self.look_at(node, &config, client, &channel))).await
    }

    async fn look_at(&self, node: &NodeHandle, config: &Config, client: Client<'_>, channel: &str) -> Seen {
        let contacts = match node.is_up(0) {
            // First: what an endpoint is, Asterisk knows only once it is used.
            true => self.contacts(node.index(), config, client, channel).await,
            false => None,
        };
        let answer = node.http(Request::GetEndpoint { endpoint: endpoint(client.identifier) }).await;
        let mut seen =
            Seen { node: node.name().to_owned(), endpoint: None, state: String::new(), channels: 0, contacts };
        match answer.and_then(|answer| answer.json::<EndpointState>()) {
            Ok(endpoint) => {
                let channels = endpoint.channel_ids.iter().filter(|id| !id.starts_with(PROBE)).count();
                seen.channels = u32::try_from(channels).unwrap_or(u32::MAX);
                (seen.endpoint, seen.state) = (Some(true), endpoint.state);
            }
            Err(error) if error.status() == Some(404) => seen.endpoint = Some(false),
            Err(error) => tracing::debug!(node = node.name(), error = %error, "a node does not tell of a client"),
        }
        seen
    }

    /// `None` when they could not be asked for.
    async fn contacts(&self, index: usize, config: &Config, client: Client<'_>, channel: &str) -> Option<Vec<Contact>> {
        let (node, request_timeout) = (config.nodes.get(index)?, config.calls.request_timeout);
        let own = config::Node { app: format!("{}-state", node.app), apps: 1, ..node.clone() };
        let (events, mut queue) = mpsc::channel(256);
        let stop = CancellationToken::new();
        let _closing = stop.clone().drop_guard();
        let handle = Node::spawn_aside(index, &own.ari(request_timeout), &events, self.clock.ari(), &stop).ok()?;
        let up = timeout(request_timeout, async {
            while !matches!(queue.recv().await?.kind, NodeEventKind::Up(_)) {}
            Some(())
        });
        let contacts = match up.await {
            Ok(Some(())) => through(&handle, client, channel, request_timeout).await,
            _ => None,
        };
        stop.cancel();
        // Closed properly, so that Asterisk logs no broken socket.
        let _ = timeout(request_timeout, handle.closed()).await;
        contacts
    }
}

/// Asks through a channel that is taken away again.
async fn through(handle: &NodeHandle, client: Client<'_>, channel: &str, patience: Duration) -> Option<Vec<Contact>> {
    let limit = [("TIMEOUT(absolute)".to_owned(), PROBE_SECONDS.to_string())];
    let create = Request::CreateChannel {
        channel_id: channel,
        endpoint: endpoint(client.identifier),
        far_id: None,
        app: handle.app_name(0),
        app_args: "state",
        originator: None,
        variables: &limit,
    };
    let contacts = match handle.http(create).await {
        Ok(_) => timeout(patience, contacts_of(handle, client.aor, channel)).await.ok().flatten(),
        // "Allocation failed": unknown, or without a contact that could be called.
        Err(Error::Rejected { status: 500, .. }) => return Some(Vec::new()),
        // It may be there all the same.
        Err(_) => None,
    };
    // It may be gone already; then this is answered 404, which is as well.
    let _ = handle.http(Request::HangUp { channel_id: channel, reason: Some(HangUpReason::Word("normal")) }).await;
    contacts
}

/// Asks for the contacts through a channel that is there.
async fn contacts_of(handle: &NodeHandle, aor: &str, channel: &str) -> Option<Vec<Contact>> {
    let read = async |variable: String| {
        let asked = Request::GetChannelVariable { channel_id: channel, variable: &variable };
        handle.http(asked).await.and_then(|answer| answer.json::<Variable>()).map(|variable| variable.value)
    };
    let ids = read(format!("PJSIP_AOR({aor},contact)")).await.ok()?;
    let mut contacts = Vec::new();
    for id in ids.split(',').filter(|id| is_contact(id)).take(CONTACTS) {
        let status = read(format!("PJSIP_CONTACT({id},status)")).await.ok()?;
        let round_trip = read(format!("PJSIP_CONTACT({id},rtt)")).await.ok()?;
        // Microseconds, or `N/A`.
        let round_trip = round_trip.parse().ok().filter(|_| status == "Reachable").map(Duration::from_micros);
        contacts.push(Contact { status, round_trip });
    }
    Some(contacts)
}

/// Asterisk's ids of contacts (`north@@<hash>`, `north;@<hash>`) go back to it inside a function: nothing else may.
fn is_contact(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.+;@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::is_contact;

    #[test]
    fn only_ids_of_contacts_go_back_to_asterisk() {
        for id in ["north@@0123456789abcdef0123456789abcdef", "n_o+1@asterisk.00ff;@0123456789abcdef0123456789abcdef"] {
            assert!(is_contact(id), "{id}");
        }
        for id in ["", "a)b", "${X}", "a,b", "sip:a@b", "a b"] {
            assert!(!is_contact(id), "{id}");
        }
    }
}
