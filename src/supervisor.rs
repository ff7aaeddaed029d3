//! What systemd, or any supervisor that speaks `sd_notify(3)`, is told of this process: that it is ready, how it stands, that it lives, that
//! it is stopping. Where there is none (no `NOTIFY_SOCKET`) nobody is told anything.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::calls::dispatcher::NodeHealth;
use crate::calls::registry::Registry;

/// How much may wait to be told; what comes beyond that is left out, as the next will say the same.
const WAITING_AT_MOST: usize = 64;
/// How often the status is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often, and by how much, the time is extended that something may take.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY_MICROS: u32 = 20_000_000;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    Ready,
    Alive,
    Status(String),
    Stopping,
    /// It takes its time.
    Busy,
    /// It reads its configuration anew, until it is ready again.
    Reloading,
}

/// The supervisor; clones are the same. Whoever tells it something never waits for it: a thread of its own does.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor(Option<SyncSender<News>>);

impl Supervisor {
    /// The one of the environment, where there is one.
    pub(crate) fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let (news, told) = sync_channel(WAITING_AT_MOST);
        let tell = move || {
            let mut failed = false;
            while let Ok(news) = told.recv() {
                // Without it the process is taken for hung, and is started again: worth one line.
                if let Err(error) = tell(&news)
                    && !std::mem::replace(&mut failed, true)
                {
                    warn!(%error, "systemd cannot be told how this process stands (NOTIFY_SOCKET)");
                }
            }
        };
        match std::thread::Builder::new().name("supervisor".to_owned()).spawn(tell) {
            Ok(_) => Self(Some(news)),
            Err(error) => {
                warn!(%error, "systemd cannot be told how this process stands");
                Self(None)
            }
        }
    }

    fn tell(&self, news: News) {
        if let Some(told) = &self.0 {
            // Too much waits: it is not listening.
            drop(told.try_send(news));
        }
    }

    /// It may be asked and may take calls.
    pub(crate) fn ready(&self) {
        self.tell(News::Ready);
    }

    /// It reads its configuration anew, until it is ready again.
    pub(crate) fn reloading(&self) {
        self.tell(News::Reloading);
    }

    /// Carries out what may take longer than the supervisor would wait.
    pub(crate) async fn bears_with<T>(&self, work: impl Future<Output = T>) -> T {
        let extend = async {
            let mut turns = interval(EXTEND_EVERY);
            loop {
                turns.tick().await;
                self.tell(News::Busy);
            }
        };
        tokio::select! {
            done = work => done,
            () = extend => unreachable!("it never ends"),
        }
    }

    /// Tells that the process may be asked and may take calls, and passes on how it stands until `end`; from `shutdown` on it is stopping, which may take as long as its calls do.
    pub(crate) async fn follow(self, standing: Standing, shutdown: CancellationToken, end: CancellationToken) {
        if self.0.is_none() {
            return;
        }
        self.ready();
        let (mut looks, mut extends, mut last) = (interval(LOOK_EVERY), interval(EXTEND_EVERY), String::new());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    self.tell(News::Stopping);
                    extends.reset_immediately();
                }
                _ = extends.tick(), if stopping => self.tell(News::Busy),
                () = standing.pulse.notified() => self.tell(News::Alive),
                _ = looks.tick() => {
                    let status = status(&standing.nodes.borrow(), standing.registry.live());
                    if status != last {
                        self.tell(News::Status(status.clone()));
                        last = status;
                    }
                }
            }
        }
    }
}

/// What is passed on.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) nodes: watch::Receiver<Vec<NodeHealth>>,
    pub(crate) registry: Arc<Registry>,
    /// A sign of life of the calls' thread ([`crate::calls::dispatcher::Dispatcher::pulse`]).
    pub(crate) pulse: Arc<Notify>,
}

fn tell(news: &News) -> std::io::Result<()> {
    match news {
        News::Ready => sd_notify::notify(&[NotifyState::Ready]),
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        News::Status(status) => sd_notify::notify(&[NotifyState::Status(status)]),
        News::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        // `Type=notify-reload` wants the time, too.
        News::Reloading => sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]),
        News::Busy => sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(EXTEND_BY_MICROS)]),
    }
}

/// For people: `2 of 3 nodes, 41 calls`.
fn status(nodes: &[NodeHealth], calls: usize) -> String {
    let ready = nodes.iter().filter(|node| node.ready).count();
    let (all, nodes) = (nodes.len(), if nodes.len() == 1 { "node" } else { "nodes" });
    format!("{ready} of {all} {nodes}, {calls} {}", if calls == 1 { "call" } else { "calls" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::dispatcher::NodeStanding;

    #[test]
    fn the_status_counts_nodes_and_calls() {
        let node = |ready| NodeHealth {
            name: "pbx".to_owned(),
            ready,
            standing: if ready { NodeStanding::Ready } else { NodeStanding::Away },
        };
        assert_eq!(status(&[node(true), node(false), node(true)], 41), "2 of 3 nodes, 41 calls");
        assert_eq!(status(&[node(false)], 1), "0 of 1 node, 1 call");
        assert_eq!(status(&[], 0), "0 of 0 nodes, 0 calls");
    }
}
