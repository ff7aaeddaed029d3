//! Asks one node what [`super::judge`] needs to know, over the same ARI client that `serve` uses but in an application of its own
//! (`<app>-doctor-1`), so that a running controller notices nothing.
//!
//! The dialplan cannot be read over ARI, so it is run: a `Local` channel dials an extension of each context, and its far half ends
//! with the cause that our dialplan gives. The near half's cause is of no use: it is 16 instead now and then. A call that has been
//! in the inbound context before (`CAPCONDUIT_REASON` is set) ends there without a record. Only when no controller answers and the
//! fallback has no last resort, a probe takes the whole way of a call, [`PROBE_DID`] being dialled; it leaves one line in the spool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::judge::INBOUND;
use crate::ari::{
    BadNode, Endpoint, Error, Event, HangUpReason, Info, Node, NodeEvent, NodeEventKind, NodeHandle, Request,
};
use crate::calls::dispatcher::{DRAINED, drained_since};
use crate::calls::execute::endpoint;
use crate::calls::heartbeat;
use crate::cdr::fallback::PROBE_DID;
use crate::clock::Clock;
use crate::config;
use crate::inspect;
use crate::needs::{DIALPLAN, MODULES_BESIDE, Needs};
use crate::routing::snapshot::{Client, ClientIdentifier};

/// How long the socket and each event may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a controller may take to be there that has just been started, and how soon it is looked for again.
const STARTS: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(200);

/// Value of `CAPCONDUIT_REASON` for probes that shall leave no trace.
const SEEN: &str = "doctor";

/// What a node said.
#[derive(Debug)]
pub(super) struct Facts {
    /// Who it is; with an error nothing else was asked.
    pub(super) info: Result<Info, NoAnswer>,
    /// Its dialplan's global variables.
    pub(super) globals: Globals,
    /// Its clock minus ours, in seconds.
    pub(super) clock_skew: Option<i64>,
    /// Each Stasis application of the configuration, and whether it is registered.
    pub(super) apps: Vec<(String, bool)>,
    /// The modules that run; an error where they cannot be listed.
    pub(super) modules: Result<BTreeSet<String>, String>,
    /// The node's own `extensions.conf`, where this host has it.
    pub(super) copy: Option<Copy>,
    /// Functions that the copy uses, that no module is known to bring, and that cannot be read.
    pub(super) unreadable: Vec<String>,
    /// What the event socket and the dialplan did; an error where the socket did not come up.
    pub(super) dialplan: Result<Dialplan, String>,
    /// Each active client, and whether Asterisk could dial it.
    pub(super) endpoints: Vec<(ClientIdentifier, Result<Reach, String>)>,
}

/// Why a node did not say who it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// It could not even be asked.
    #[error(transparent)]
    BadNode(#[from] BadNode),
    /// It refused, was not reached, or kept silent.
    #[error(transparent)]
    Request(#[from] Error),
}

/// Whether Asterisk could dial a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It made a channel to it.
    Dialable,
    /// It knows the endpoint but no address: the client has not registered, or does not answer OPTIONS.
    NoContact,
    /// It does not know the endpoint.
    Unknown,
}

/// A copy of `extensions.conf`.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// Asterisk's configuration folder.
    pub(super) folder: PathBuf,
    /// Where it is: there, or in a folder of ours below.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) text: String,
}

impl Copy {
    /// In the folder that a node on this host says that its configuration is in; `None` where that is not ours to read, or somebody else's.
    fn of(folder: &str) -> Option<Self> {
        let folder = Path::new(folder).to_owned();
        let ours = [folder.join("capconduit.d/extensions.conf"), folder.join("extensions.conf")];
        ours.into_iter().filter(|_| !folder.as_os_str().is_empty()).find_map(|path| {
            let text = std::fs::read_to_string(&path).ok().filter(|text| text.contains("[capconduit-inbound]"))?;
            Some(Self { folder: folder.clone(), path, text })
        })
    }
}

/// Global variables; empty where not set.
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) app: String,
    pub(super) apps: String,
    pub(super) heartbeat: String,
    pub(super) epoch: String,
    pub(super) last_resort: String,
    pub(super) spool: String,
    pub(super) dialplan: String,
    /// Set where the node has a site's calls as well.
    pub(super) beside: String,
    pub(super) drained: String,
}

/// What came of dialling into the contexts: the Q.850 cause each gave, or why there is none.
#[derive(Debug)]
pub(super) struct Dialplan {
    /// From asking for a channel to its `StasisStart`.
    pub(super) round_trip: Option<Duration>,
    pub(super) inbound: Result<i16, String>,
    pub(super) fallback: Result<i16, String>,
    pub(super) clients: Result<i16, String>,
    /// `None` where it was not tried.
    pub(super) falling_back: Option<Result<i16, String>>,
}

/// PURE: whether a controller is about to be there, or to be gone: `serve` runs and does not take the node's calls yet, or only part of what it leaves
/// there is there.
fn is_starting(serving: bool, globals: &Globals, apps: &[(String, bool)]) -> bool {
    let registered = apps.iter().filter(|(_, registered)| *registered).count();
    let (all, fresh) = (registered == apps.len(), is_fresh(globals));
    let part = registered > 0 && !all || all != fresh;
    drained_since(&globals.drained).is_none() && (part || serving && !all)
}

/// Whether the heartbeat, in the node's own seconds, is one that the dialplan accepts.
pub(super) fn is_fresh(globals: &Globals) -> bool {
    heartbeat::is_fresh(&globals.heartbeat, &globals.epoch)
}

/// Asks everything of one node.
pub(super) async fn node(
    index: usize,
    node: &config::Node,
    request_timeout: Duration,
    serving: bool,
    clients: &[Arc<Client>],
    clock: Clock,
) -> Facts {
    let own = config::Node { app: format!("{}-doctor", node.app), apps: 1, ..node.clone() };
    let (events, queue) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let handle = match Node::spawn(index, &own.ari(request_timeout), &events, clock.ari(), &stop) {
        Ok(handle) => handle,
        Err(error) => return Facts::unreachable(error.into()),
    };
    let mut probe = Probe { handle, queue, clock, made: 0 };
    let facts = probe.examine(node, serving, clients).await;
    stop.cancel();
    // Closed properly, so that Asterisk logs no broken socket.
    let _ = tokio::time::timeout(PATIENCE, probe.handle.closed()).await;
    facts
}

impl Facts {
    fn unreachable(error: NoAnswer) -> Self {
        Self {
            info: Err(error),
            globals: Globals::default(),
            clock_skew: None,
            apps: Vec::new(),
            modules: Err("not asked".to_owned()),
            copy: None,
            unreadable: Vec::new(),
            dialplan: Err("not asked".to_owned()),
            endpoints: Vec::new(),
        }
    }
}

struct Probe {
    handle: NodeHandle,
    queue: mpsc::Receiver<NodeEvent>,
    clock: Clock,
    made: u32,
}

impl Probe {
    async fn examine(&mut self, node: &config::Node, serving: bool, clients: &[Arc<Client>]) -> Facts {
        let info = match self.handle.info().await {
            Ok(info) => info,
            Err(error) => return Facts::unreachable(error.into()),
        };
        let (mut globals, mut apps) = (self.globals().await, self.apps(node).await);
        let until = self.clock.now().mono + STARTS;
        while is_starting(serving, &globals, &apps) && self.clock.now().mono < until {
            tokio::time::sleep(AGAIN).await;
            (globals, apps) = (self.globals().await, self.apps(node).await);
        }
        let now: DateTime<Utc> = self.clock.now().wall;
        let clock_skew = globals.epoch.parse::<i64>().ok().map(|theirs| theirs - now.timestamp());
        let modules = self.handle.running_modules().await.map_err(|error| error.to_string());
        let copy = if inspect::is_local(node) { Copy::of(&self.global("ASTETCDIR").await) } else { None };
        let dialplan = self.dialplan(&globals).await;
        let unreadable = match &modules {
            Ok(running) => self.unreadable(copy.as_ref().map_or(DIALPLAN, |copy| &copy.text), running).await,
            Err(_) => Vec::new(),
        };
        let mut endpoints = Vec::new();
        for client in clients {
            endpoints.push((client.identifier.clone(), self.reach(&client.identifier).await));
        }
        Facts { info: Ok(info), globals, clock_skew, apps, modules, copy, unreadable, dialplan, endpoints }
    }

    async fn globals(&mut self) -> Globals {
        Globals {
            app: self.global("CAPCONDUIT_APP").await,
            apps: self.global("CAPCONDUIT_APPS").await,
            heartbeat: self.global("CAPCONDUIT_HEARTBEAT").await,
            epoch: self.global("EPOCH").await,
            last_resort: self.global("CAPCONDUIT_LAST_RESORT").await,
            spool: self.global("CAPCONDUIT_SPOOL").await,
            dialplan: self.global("CAPCONDUIT_DIALPLAN").await,
            beside: self.global("CAPCONDUIT_BESIDE").await,
            drained: self.global(DRAINED).await,
        }
    }

    /// The controller's applications, and whether each is registered.
    async fn apps(&mut self, node: &config::Node) -> Vec<(String, bool)> {
        let mut apps = Vec::new();
        for n in 1..=node.apps {
            let app = format!("{}-{n}", node.app);
            let registered = self.handle.http(Request::GetApplication { app: &app }).await.is_ok();
            apps.push((app, registered));
        }
        apps
    }

    /// Makes a channel to the client without dialling it (nothing is sent over SIP), and takes it away again. ARI's list of
    /// endpoints would not do: a realtime endpoint is missing there until somebody has used it.
    async fn reach(&mut self, client: &ClientIdentifier) -> Result<Reach, String> {
        let id = self.next_id();
        let app = self.handle.app_name(0).to_owned();
        let create = Request::CreateChannel {
            channel_id: &id,
            endpoint: endpoint(client),
            far_id: None,
            app: &app,
            app_args: "doctor",
            originator: None,
            variables: &[],
        };
        match self.handle.http(create).await {
            Ok(_) => {
                self.end(&id).await;
                Ok(Reach::Dialable)
            }
            // What Asterisk says of an endpoint that it does not know, and of one without a contact.
            Err(Error::Rejected { status: 500, .. }) => {
                match self.handle.http(Request::GetEndpoint { endpoint: endpoint(client) }).await {
                    Ok(_) => Ok(Reach::NoContact),
                    Err(Error::Rejected { status: 404, .. }) => Ok(Reach::Unknown),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Functions that the dialplan uses, that no module is known to bring, and that a channel cannot read.
    async fn unreadable(&mut self, dialplan: &str, running: &BTreeSet<String>) -> Vec<String> {
        let needs = Needs::of(dialplan, MODULES_BESIDE);
        let unknown = needs.unknown_functions(running);
        if unknown.is_empty() {
            return Vec::new();
        }
        let (id, app) = (self.next_id(), self.handle.app_name(0).to_owned());
        let into = Endpoint::local(PROBE_DID, "capconduit-clients");
        // Without a channel nothing is known of them.
        if self.probe(&id, &app, into, SEEN).await.is_err() {
            return Vec::new();
        }
        let mut unreadable = Vec::new();
        for name in unknown {
            let variable = format!("{name}()");
            let read = self.handle.http(Request::GetChannelVariable { channel_id: &id, variable: &variable }).await;
            if read.is_err_and(|error| error.status() == Some(500)) {
                unreadable.push(name.to_owned());
            }
        }
        self.end(&id).await;
        unreadable
    }

    /// Empty where it is not set or cannot be read.
    async fn global(&self, variable: &str) -> String {
        self.handle.global(variable).await.unwrap_or_default()
    }

    async fn dialplan(&mut self, globals: &Globals) -> Result<Dialplan, String> {
        self.wait(|kind| matches!(kind, NodeEventKind::Up(_)).then_some(()))
            .await
            .ok_or_else(|| format!("the event socket did not come up within {} s", PATIENCE.as_secs()))?;
        let mut round_trip = None;
        let mut run = async |probe: &mut Self, context, exten, reason| {
            let (took, cause) = probe.dial(context, exten, reason).await?;
            round_trip = Some(round_trip.map_or(took, |best: Duration| best.min(took)));
            Ok(cause)
        };
        let inbound = run(self, "capconduit-inbound", PROBE_DID, SEEN).await;
        let fallback = run(self, "capconduit-fallback", "T", SEEN).await;
        let clients = run(self, "capconduit-clients", PROBE_DID, SEEN).await;
        let falling_back = if inbound == Ok(INBOUND) && !is_fresh(globals) && globals.last_resort.is_empty() {
            Some(run(self, "capconduit-inbound", PROBE_DID, "").await)
        } else {
            None
        };
        Ok(Dialplan { round_trip, inbound, fallback, clients, falling_back })
    }

    /// Makes a channel that, once dialled, runs an extension of our own dialplan. `reason`: by which the dialplan knows a call that has been
    /// there; empty = not set.
    async fn probe(&self, id: &str, app: &str, endpoint: Endpoint<'_>, reason: &str) -> Result<(), String> {
        let variables = [("CAPCONDUIT_REASON".to_owned(), reason.to_owned())];
        self.ask(Request::CreateChannel {
            channel_id: id,
            endpoint,
            far_id: Some(&format!("{id}-far")),
            app,
            app_args: "",
            originator: None,
            variables: if reason.is_empty() { &[] } else { &variables },
        })
        .await
        .map(drop)
    }

    /// Dials into the dialplan; how long the first event took, and the cause with which the dialplan ended the call.
    async fn dial(
        &mut self,
        context: &'static str,
        exten: &'static str,
        reason: &'static str,
    ) -> Result<(Duration, i16), String> {
        let id = self.next_id();
        let app = self.handle.app_name(0).to_owned();
        let started = self.clock.now().mono;
        self.probe(&id, &app, Endpoint::local(exten, context), reason).await?;
        let cause = self.follow(&app, &id, started).await;
        if cause.is_err() {
            self.end(&id).await;
        }
        cause
    }

    async fn follow(&mut self, app: &str, id: &str, started: Duration) -> Result<(Duration, i16), String> {
        let begun = self.wait(|kind| match kind {
            NodeEventKind::Event(Event::StasisStart { channel, .. }) if channel.id == id => Some(()),
            _ => None,
        });
        begun.await.ok_or("no StasisStart came for a channel of our own")?;
        let took = self.clock.now().mono.saturating_sub(started);
        let far = format!("{id}-far");
        self.ask(Request::Subscribe { app, channel_id: &far }).await?;
        self.ask(Request::Dial { channel_id: id, caller: None, timeout: 2 }).await?;
        let ended = self.wait(|kind| match kind {
            NodeEventKind::Event(Event::ChannelDestroyed { channel, cause, .. }) if channel.id == far => Some(*cause),
            _ => None,
        });
        Ok((took, ended.await.ok_or("the call into the dialplan did not end")?))
    }

    fn next_id(&mut self) -> String {
        self.made += 1;
        format!("capconduit-doctor-{}-{}", std::process::id(), self.made)
    }

    /// Ends a channel of ours. It may be gone already; then this is answered 404, which is as well.
    async fn end(&self, id: &str) {
        let _ = self.ask(Request::HangUp { channel_id: id, reason: Some(HangUpReason::Word("normal")) }).await;
    }

    async fn ask(&self, request: Request<'_>) -> Result<(), String> {
        self.handle.http(request).await.map(drop).map_err(|error| error.to_string())
    }

    /// The first thing that `pick` takes from the queue, within [`PATIENCE`].
    async fn wait<T>(&mut self, pick: impl Fn(&NodeEventKind) -> Option<T>) -> Option<T> {
        let queue = &mut self.queue;
        let found = async {
            while let Some(event) = queue.recv().await {
                if let Some(found) = pick(&event.kind) {
                    return Some(found);
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, found).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_about_to_be_there_is_waited_for() {
        let globals = |heartbeat: &str, drained: &str| Globals {
            heartbeat: heartbeat.to_owned(),
            epoch: "1000".to_owned(),
            drained: drained.to_owned(),
            ..Globals::default()
        };
        let (fresh, old) = (globals("1000", ""), globals("900", ""));
        let apps = |registered: [bool; 2]| registered.map(|registered| ("app".to_owned(), registered)).to_vec();
        let starting = |serving, globals: &Globals, registered| is_starting(serving, globals, &apps(registered));
        for serving in [true, false] {
            assert!(!starting(serving, &fresh, [true, true]), "all is there");
            assert!(starting(serving, &fresh, [false, false]), "the one before has just left");
            assert!(
                starting(serving, &old, [true, false]) && starting(serving, &old, [true, true]),
                "its sockets come up"
            );
            assert!(!starting(serving, &globals("0", "999"), [true, true]), "a drained node has no heartbeat");
        }
        assert!(starting(true, &old, [false, false]), "it was started just now");
        assert!(!starting(false, &old, [false, false]), "nobody is there");
    }
}
