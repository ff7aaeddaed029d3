//! Looks at what the process depends on, again and again: the database's server, the nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ari::NodeHandle;
use crate::calls::dispatcher::NodeHealth;
use crate::calls::registry::Registry;
use crate::config::Config;
use crate::inspect;
use crate::panics::restarted;
use crate::store::{self, Db};

/// How often the database is asked whether it takes changes.
const LOOK_AT_SERVER: Duration = Duration::from_secs(1);

/// Tells when the database comes to take no changes, and when it takes them again.
pub(super) async fn watch_server(db: Db, read_only: watch::Sender<bool>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_AT_SERVER)).await.is_some() {
        // One that does not answer is told of where the configuration is read.
        let looked = shutdown.run_until_cancelled(store::server::look(&db)).await;
        let Some(Ok(server)) = looked else { continue };
        if read_only.send_replace(server.read_only) != server.read_only {
            if server.read_only {
                warn!(
                    database = db.target(),
                    "the database takes no changes (a standby, or read only): calls go on, their records wait here"
                );
            } else {
                info!(database = db.target(), "the database takes changes again");
            }
        }
    }
}

/// Looks at the nodes for what stops calls there.
pub(super) fn inspecting(
    config: &Config,
    known: (Db, Arc<Registry>),
    handles: &[NodeHandle],
    healths: watch::Receiver<Vec<NodeHealth>>,
    faults: watch::Sender<Vec<Vec<inspect::NodeFault>>>,
    sockets: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let nodes: Vec<_> = handles.iter().cloned().zip(config.nodes.iter().cloned()).collect();
    let stop = sockets.clone();
    let look = move || inspect::watch(nodes.clone(), known.clone(), healths.clone(), faults.clone(), stop.clone());
    restarted("the inspector of nodes", sockets.clone(), look)
}
