//! Where clients' hosts lead: names are looked up when they are set, and again and again while they stand.
//!
//! A name that does not resolve, or not in time, is no violation: nothing is called there, and names are often set before they exist.
//! It lifts no suspension either. Asterisk looks a name up by itself when it dials, so that a name that changes between two of our
//! look-ups is called once more at most until the next.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::Config;
use crate::in_force::InForce;
use crate::plan::{Document, Screening};
use crate::realtime::{Host, Policy};
use crate::store::Db;
use crate::store::change::Refusal;
use crate::store::suspensions::{self, Placed};
use crate::telemetry::name;

/// How long one name may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many names are looked up at once.
pub(crate) const AT_ONCE: usize = 16;

type Lookup = dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync;

/// Turns names into addresses.
#[derive(Clone)]
pub struct Resolver(Arc<Lookup>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        })
    }

    /// Any other, such as a test's.
    pub fn new(
        lookup: impl Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(lookup))
    }

    /// `None` when it is not known in time.
    async fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let found = timeout(PATIENCE, (self.0)(name.to_owned())).await;
        found.ok()?.ok().filter(|found| !found.is_empty())
    }
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every address of it is allowed.
    Clean,
    /// It is not allowed; a sentence says why.
    Forbidden(String),
    /// It does not resolve now.
    Unresolved,
}

/// Judges hosts.
#[derive(Debug, Clone)]
pub struct Screen {
    policy: Policy,
    /// Names under which nodes are reached: their addresses are ours too.
    own_names: Vec<String>,
    /// How often names are looked up again.
    every: Duration,
    resolver: Resolver,
}

impl Screen {
    /// As the configuration says. Ours are the listener's address, unless that is all of the machine's, and the nodes'.
    #[must_use]
    pub fn new(config: &Config, resolver: Resolver) -> Self {
        let listener = config.api.listen.ip();
        let mut ours: Vec<IpAddr> = (!listener.is_unspecified()).then_some(listener).into_iter().collect();
        let mut own_names = Vec::new();
        for node in &config.nodes {
            let url = node.url.parse::<reqwest::Url>().ok();
            let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
            match host.trim_matches(['[', ']']).parse() {
                Ok(address) => ours.push(address),
                Err(_) => own_names.push(host.to_owned()),
            }
        }
        let sip = &config.sip;
        let policy = Policy {
            allowed_networks: sip.allowed_networks.clone(),
            carriers: sip.carriers.clone(),
            ours,
            plaintext: sip.allow_plaintext_outbound_auth,
        };
        Self { policy, own_names, every: sip.resolve_every, resolver }
    }

    /// The same resolver under another configuration.
    #[must_use]
    pub fn again(&self, config: &Config) -> Self {
        Self::new(config, self.resolver.clone())
    }

    /// What needs no look-up.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Judges a host, asking where its name leads.
    pub async fn judge(&self, host: &Host) -> Verdict {
        if let Err(why) = self.policy.host(host) {
            return Verdict::Forbidden(why);
        }
        let Host::Name(name) = host else { return Verdict::Clean };
        let Some(addresses) = self.resolver.addresses(name).await else { return Verdict::Unresolved };
        let mut policy = self.policy.clone();
        for own in &self.own_names {
            policy.ours.extend(self.resolver.addresses(own).await.into_iter().flatten());
        }
        let wrong = addresses.into_iter().find_map(|address| Some((address, policy.address(address).err()?)));
        match wrong {
            Some((address, why)) => Verdict::Forbidden(format!("{name:?} leads to {address}, which is {why}")),
            None => Verdict::Clean,
        }
    }

    /// What a document's clients are judged by, their names looked up.
    pub async fn screening(&self, document: &Document) -> Screening {
        let names = document.clients.iter().filter_map(|client| client.sip.host.as_ref()?.parse::<Host>().ok());
        let judged = names.filter(|host| host.address().is_none() && self.policy.host(host).is_ok()).map(
            async |host| match self.judge(&host).await {
                Verdict::Forbidden(why) => Some((host.to_string(), why)),
                Verdict::Clean | Verdict::Unresolved => None,
            },
        );
        let hosts: BTreeMap<_, _> = join_all(judged).await.into_iter().flatten().collect();
        Screening { policy: self.policy.clone(), hosts }
    }
}

/// Looks every client's host up again until `shutdown`, first at once: who is where no client may be is suspended, who is clean again is
/// not any more.
pub async fn watch(db: Db, screen: InForce<Screen>, clock: Clock, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        let now = screen.now();
        let round = shutdown.run_until_cancelled(look_again(&db, &now, clock)).await;
        match round {
            None => return,
            Some(Ok(())) => failing = false,
            // Once per outage.
            Some(Err(error)) if !failing => {
                failing = true;
                warn!(error = %error, "clients' hosts cannot be looked up again");
            }
            Some(Err(_)) => {}
        }
        if shutdown.run_until_cancelled(sleep(now.every)).await.is_none() {
            return;
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; there are far less than 2^53 clients")]
async fn look_again(db: &Db, screen: &Screen, clock: Clock) -> Result<(), Refusal> {
    let mut suspended = 0_usize;
    for clients in suspensions::placed(db).await?.chunks(AT_ONCE) {
        let verdicts = join_all(clients.iter().map(|client| screen.judge(&client.host))).await;
        for (client, verdict) in clients.iter().zip(verdicts) {
            let is_now = match verdict {
                Verdict::Unresolved => client.suspended,
                Verdict::Clean => client.suspended && !lift(db, client, clock).await?,
                Verdict::Forbidden(why) => {
                    if !client.suspended && suspensions::suspend(db, client, Some(&why), clock.now().wall).await? {
                        warn!(client = %client.identifier, reason = why, "a client is suspended for its host");
                    }
                    true
                }
            };
            suspended += usize::from(is_now);
        }
    }
    metrics::gauge!(name::CLIENTS_SUSPENDED).set(suspended as f64);
    Ok(())
}

async fn lift(db: &Db, client: &Placed, clock: Clock) -> Result<bool, Refusal> {
    if !suspensions::suspend(db, client, None, clock.now().wall).await? {
        return Ok(false);
    }
    info!(client = %client.identifier, "a client's host is clean again: it is not suspended any more");
    Ok(true)
}
