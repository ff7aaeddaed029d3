//! What the nodes know of an endpoint.

use futures_util::future::join_all;

use crate::ari::{NodeHandle, Request};
use crate::routing::snapshot::ClientIdentifier;

/// The name of a connected node that has an endpoint of this name. Asked only for an identifier that no client of ours has or had, so
/// that it is somebody else's. A node that is away, or does not answer in time (`calls.request_timeout_ms`), is passed over: it must not
/// keep clients from being made, and `doctor` and the client's state tell afterwards.
pub(super) async fn node_with<'a>(nodes: &'a [NodeHandle], identifier: &ClientIdentifier) -> Option<&'a str> {
    let asked = nodes.iter().filter(|node| node.is_up(0)).map(async |node| {
        let found = node.http(Request::GetEndpoint { endpoint: identifier }).await;
        found.is_ok().then(|| node.name())
    });
    join_all(asked).await.into_iter().flatten().next()
}
