//! Asterisk nodes: how they are, and the override for one that stays silent.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::body::Body;
use super::error::{ApiError, FieldError};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::calls::dispatcher::{Emptying, NodeView, NotEmptied, NotReleased, Order};
use crate::store::calls;

/// Node endpoints.
#[derive(Debug)]
pub(super) struct Nodes;

/// One Asterisk node.
#[derive(Debug, Object)]
struct Node {
    /// Configured name.
    name: String,
    /// All of its sockets are connected.
    connected: bool,
    /// Connected and compared with Asterisk's own lists, and not drained: its calls are decided here. Otherwise its dialplan falls back.
    ready: bool,
    /// An operator empties it: new calls take the dialplan's fallback, talks go on. It is empty when `live_calls` is 0.
    drained: bool,
    /// Since when it is connected, or is not.
    since: DateTime<Utc>,
    /// When it was last heard, whatever it said. Null before the first time.
    last_heard_at: Option<DateTime<Utc>>,
    /// Asterisk's version. Null before the first connection.
    version: Option<String>,
    /// When this Asterisk started, by its own clock. Null before the first connection.
    startup_time: Option<DateTime<Utc>>,
    /// Its calls that are not known to be gone, those that an earlier run of the controller left included.
    live_calls: u64,
    /// Permits that these calls hold.
    permits_held: u64,
    /// Part of its new calls that its dialplan refuses at the moment, in percent, because Asterisk does not keep up with the
    /// controller's requests; 0 where all is well.
    shed_percent: u8,
    /// Permits without a channel, and channels without a permit, that the last comparison found; 0 where all is well.
    drift: u64,
    /// How many were found, and repaired, since the controller's start.
    drift_repaired: u64,
}

impl From<NodeView> for Node {
    fn from(node: NodeView) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            name: node.name,
            connected: node.connected,
            ready: node.ready,
            drained: node.drained,
            since: node.since,
            last_heard_at: node.heard,
            version: node.version,
            startup_time: node.startup_time,
            live_calls: count(node.calls),
            permits_held: count(node.permits),
            shed_percent: node.shed_percent,
            drift: count(node.drift),
            drift_repaired: node.drift_repaired,
        }
    }
}

/// All nodes.
#[derive(Debug, Object)]
struct NodeList {
    /// In the order of the configuration.
    items: Vec<Node>,
}

/// How many calls the node is believed to have.
#[derive(Debug, Object)]
struct Release {
    /// `live_calls` as it was read.
    expected: u64,
}

impl From<NotReleased> for ApiError {
    fn from(refusal: NotReleased) -> Self {
        match refusal {
            NotReleased::Unknown => Self::not_found(),
            NotReleased::Connected => {
                Self::conflict("node_connected", "A socket of the node is connected: it is asked itself what lives.")
            }
            NotReleased::Taken => {
                Self::conflict("node_taken", "Another controller has the node: that one knows what lives.")
            }
            NotReleased::Calls(actual) => {
                Self::conflict("calls_changed", format!("The node has {actual} calls by now."))
                    .with_errors(vec![FieldError::new("expected", "calls_changed", actual.to_string())])
            }
            NotReleased::Ending => Self::conflict("ending", "The controller is ending. Ask again after its start."),
        }
    }
}

impl From<NotEmptied> for ApiError {
    fn from(refusal: NotEmptied) -> Self {
        match refusal {
            NotEmptied::Unknown => Self::not_found(),
            NotEmptied::Away => {
                Self::conflict("node_away", "The node is not connected: it takes no calls, and cannot be told.")
            }
            NotEmptied::Taken => Self::conflict("node_taken", "Another controller has the node: ask that one."),
            NotEmptied::Refused => Self::conflict(
                "node_refused",
                "The node did not take it: Asterisk's answer is in the controller's log.",
            ),
            NotEmptied::Ending => Self::conflict("ending", "The controller is ending. Ask again after its start."),
        }
    }
}

impl Nodes {
    async fn empty(&self, auth: Auth, state: &State, node: String, drained: bool) -> Result<Json<Node>, ApiError> {
        let (principal, _) = auth.may(if drained { Operation::DrainNode } else { Operation::EndNodeDrain })?;
        let order = Emptying { node, drained };
        state.desk.may_empty(order.clone()).await?;
        let at = state.clock.now().wall;
        calls::note_drain(&state.db, (&principal).into(), &order.node, drained, at).await?;
        Ok(Json(state.desk.empty(order).await?.into()))
    }
}

#[OpenApi(prefix_path = "/api/v1/nodes", tag = "Tag::Nodes")]
impl Nodes {
    /// List the Asterisk nodes
    ///
    /// As they are at this moment. Admins and staff.
    #[oai(path = "/", method = "get", operation_id = "listNodes")]
    async fn list(&self, auth: Auth, Data(state): Data<&State>) -> Result<Json<NodeList>, ApiError> {
        auth.may(Operation::ListNodes)?;
        let items = state.desk.nodes().await.into_iter().map(Node::from).collect();
        Ok(Json(NodeList { items }))
    }

    /// Release a silent node
    ///
    /// Says that nothing of the node's calls lives any more: they end as `lost`, and their permits are free at once. Until somebody says so a node
    /// that is only silent keeps them, for its calls may go on. What does live is hung up when the node is back. Admins only; noted in the
    /// audit. Example: `{"expected": 12}`.
    /// 409 `node_connected` while any of its sockets is; 409 `calls_changed` where it has another number of calls by now, which is
    /// `errors[0].detail`.
    #[oai(path = "/:name/release", method = "post", operation_id = "releaseNode")]
    async fn release(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// The node's name.
        name: Path<String>,
        Body(release): Body<Release>,
    ) -> Result<Json<Node>, ApiError> {
        let (principal, _) = auth.may(Operation::ReleaseNode)?;
        let expected = usize::try_from(release.expected).unwrap_or(usize::MAX);
        let order = Order { node: name.0, expected };
        state.desk.may_release(order.clone()).await?;
        let at = state.clock.now().wall;
        calls::note_release(&state.db, (&principal).into(), &order.node, release.expected, at).await?;
        Ok(Json(state.desk.release(order).await?.into()))
    }

    /// Drain a node
    ///
    /// Empties it: from now on its new calls take the dialplan's fallback, callers who are not answered within `calls.drain_seconds` are refused
    /// with 503 unless they hear a client already, talks go on until they end. It stays drained over restarts of the controller, until it takes calls again
    /// (`DELETE`) or its Asterisk is started anew. Repeating it changes nothing. Admins only; noted in the audit.
    /// 409 `node_away` while it is not connected.
    #[oai(path = "/:name/drain", method = "post", operation_id = "drainNode")]
    async fn drain(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// The node's name.
        name: Path<String>,
    ) -> Result<Json<Node>, ApiError> {
        self.empty(auth, state, name.0, true).await
    }

    /// Let a drained node take calls again
    ///
    /// Of one that is not drained it changes nothing. Admins only; noted in the audit.
    #[oai(path = "/:name/drain", method = "delete", operation_id = "endNodeDrain")]
    async fn end_drain(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// The node's name.
        name: Path<String>,
    ) -> Result<Json<Node>, ApiError> {
        self.empty(auth, state, name.0, false).await
    }
}
