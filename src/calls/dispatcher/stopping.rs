//! No new calls: because the process is to end, or for as long as the journal cannot keep what they commit to.

use std::time::Duration;

use tracing::{info, warn};

use super::Dispatcher;
use crate::calls::heartbeat;
use crate::calls::io::Input;

/// How long calls that were refused at the end of the drain may take to be gone.
const LAST_ENDINGS: Duration = Duration::from_secs(2);

/// How far a drain has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    /// When calls that are not answered yet are refused.
    pub(super) refuse_at: Duration,
    pub(super) refused: bool,
}

impl Dispatcher {
    /// Whether the process may end. When the drain time is over, callers who are not answered are refused, so that their
    /// carriers try elsewhere; those who talk are left to the next start.
    pub(super) fn is_drained(&self, drain: &mut Drain) -> bool {
        let (live, now) = (self.context.registry.live(), self.context.clock.now().mono);
        if live > 0 && now >= drain.refuse_at && !drain.refused {
            drain.refused = true;
            for node in 0..self.nodes.len() {
                for (call, _) in self.context.registry.calls_on(node) {
                    self.context.registry.tell(call, Input::Shed);
                }
            }
        }
        let over = drain.refused && now >= drain.refuse_at + LAST_ENDINGS;
        if live > 0 && over {
            warn!(live, "leaving calls to the next start: the drain time is over");
        }
        (live == 0 && !self.is_busy()) || over
    }

    /// No new calls: the dialplan falls back at once.
    pub(super) async fn withdraw(&mut self) {
        self.draining = true;
        info!(live = self.context.registry.live(), "draining: the heartbeat is withdrawn, running calls go on");
        self.fall_back_waiting();
        let farewells = self.nodes.iter_mut().filter(|node| node.up[0]).map(|node| {
            let beats = std::mem::take(&mut node.ready);
            heartbeat::farewell(node.handle.clone(), beats)
        });
        futures_util::future::join_all(farewells).await;
        self.nodes.iter_mut().for_each(|node| node.ready = false);
        self.tell_health();
    }

    /// The journal's word: new calls take the dialplan's fallback while it cannot keep what they commit to.
    pub(super) fn refuse(&mut self, refusing: bool) {
        if std::mem::replace(&mut self.refusing, refusing) == refusing {
            return;
        }
        if !refusing {
            return self.open_nodes();
        }
        self.fall_back_waiting();
        for node in 0..self.nodes.len() {
            if std::mem::take(&mut self.nodes[node].ready) {
                self.stop_beating(node);
            }
        }
        self.tell_health();
    }
}
