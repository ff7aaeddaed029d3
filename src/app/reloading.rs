//! The configuration, read anew while the process runs (SIGHUP): what may come into force at once does, what needs a restart is named, and
//! a faulty file changes nothing.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::ari::NodeHandle;
use crate::calls::dispatcher::Bounds;
use crate::calls::facts::Limits;
use crate::calls::registry::Registry;
use crate::config::{self, Config, Faults, Setting, Sources};
use crate::in_force::InForce;
use crate::screen::{Resolver, Screen};
use crate::store::Db;
use crate::store::reports::Reports;
use crate::supervisor::Supervisor;
use crate::telemetry;

/// Where the configuration came from, and who asks for it to be read anew.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What was read.
    pub sources: Sources,
    /// Notified when it shall be read again.
    pub asked: Arc<Notify>,
}

/// The parts of the configuration that may change.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) config: InForce<Config>,
    pub(super) limits: InForce<Limits>,
    pub(super) bounds: InForce<Bounds>,
    pub(super) screen: InForce<Screen>,
    pub(super) reports: InForce<Reports>,
}

impl Parts {
    pub(super) fn of(config: &Config, resolver: Resolver, reports: Reports) -> Self {
        Self {
            config: config.clone().into(),
            limits: Limits::new(&config.calls, config.rejections).into(),
            bounds: Bounds::new(&config.calls).into(),
            screen: Screen::new(config, resolver).into(),
            reports: reports.into(),
        }
    }
}

/// A configuration as it was read.
#[derive(Debug, Clone)]
struct Read {
    config: Config,
    settings: Vec<Setting>,
}

impl Read {
    fn of(sources: &Sources) -> Result<Self, Faults> {
        let (settings, faults) = sources.examine()?;
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        Ok(Self { config: sources.config()?, settings })
    }

    fn changes(&self, after: &Self) -> config::Changes {
        config::changes((&self.config, &self.settings), (&after.config, &after.settings))
    }
}

/// Whom a change concerns.
#[derive(Debug, Clone)]
pub(super) struct Reloading {
    parts: Parts,
    registry: Arc<Registry>,
    db: Db,
    nodes: Vec<NodeHandle>,
    supervisor: Supervisor,
}

impl Reloading {
    pub(super) fn new(
        parts: &Parts,
        registry: &Arc<Registry>,
        db: &Db,
        nodes: &[NodeHandle],
        supervisor: &Supervisor,
    ) -> Self {
        let (parts, registry, nodes) = (parts.clone(), Arc::clone(registry), nodes.to_vec());
        Self { parts, registry, db: db.clone(), nodes, supervisor: supervisor.clone() }
    }

    /// Reads the configuration whenever that is asked for, until `end`.
    pub(super) async fn follow(self, reload: Option<Reload>, end: CancellationToken) {
        let Some(reload) = reload else { return };
        // What the process started with was checked then.
        let Ok(start) = Read::of(&reload.sources) else { return };
        let mut last = start.clone();
        while end.run_until_cancelled(reload.asked.notified()).await.is_some() {
            self.supervisor.reloading();
            match reload.sources.again().and_then(|sources| Read::of(&sources)) {
                Ok(read) => {
                    let (now, at_start) = (last.changes(&read).at_once, start.changes(&read).at_restart);
                    self.take(&read.config).await;
                    info!(changed = now.join(", "), "the configuration was read anew");
                    if !at_start.is_empty() {
                        warn!(keys = at_start.join(", "), "a restart brings these changes of the configuration");
                    }
                    last = read;
                }
                Err(faults) => error!(error = %faults, "the configuration cannot be used: nothing is changed"),
            }
            self.supervisor.ready();
        }
    }

    /// Brings into force what of `new` may be.
    async fn take(&self, new: &Config) {
        let before = self.parts.config.now();
        let mut now = before.reloaded(new);
        let timeout = now.calls.request_timeout;
        for (node, (old, new)) in self.nodes.iter().zip(before.nodes.iter().zip(&mut now.nodes)) {
            if old.password.expose_secret() != new.password.expose_secret()
                && let Err(error) = node.renew(&new.ari(timeout)).await
            {
                error!(node = node.name(), %error, "the node does not take its new password: the old one stays in use");
                new.password = old.password.clone();
            }
        }
        if let Err(error) = telemetry::set_filter(&now.log.filter) {
            error!(%error, "the log's filter stays as it was");
        }
        self.parts.limits.put(Limits::new(&now.calls, now.rejections));
        self.parts.bounds.put(Bounds::new(&now.calls));
        self.registry.guard(now.breaker.client, now.breaker.node);
        self.nodes.iter().for_each(|node| node.set_request_timeout(now.calls.request_timeout));
        self.parts.screen.put(self.parts.screen.now().again(&now));
        if before.limits != now.limits {
            // Reports under way end as they began; connections of the old ones close with them.
            self.parts.reports.put(Reports::of(&self.db, now.limits));
        }
        self.parts.config.put(now);
    }
}
