//! Tells listeners what calls announce, and which use of caps has changed: beside the calls' thread, which wakes nobody but this. Use is
//! looked at a few times a second, so that no call has to tell: changes in between are told as one, and their number is bounded however
//! many calls there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::registry::Registry;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs until `shutdown`.
pub(crate) async fn run(registry: Arc<Registry>, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(async { tokio::join!(registry.relay(), look(&registry)) }).await;
}

async fn look(registry: &Registry) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        registry.announce_use();
    }
}
