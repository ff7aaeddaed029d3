//! A fake Asterisk over real sockets: ARI's WebSocket and HTTP on one port, with channels, bridges and globals that
//! behave as the real one was seen to behave, scripted endpoints, callers, and faults on demand.
//!
//! Used by several test binaries: `#[path = "../support/fake_ari.rs"] mod fake_ari;`

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::panic, reason = "a test that waits in vain fails by panicking")]

#[path = "fake_ari/behaviour.rs"]
mod behaviour;
#[path = "fake_ari/caller.rs"]
mod caller;
#[path = "fake_ari/faults.rs"]
mod faults;
#[path = "fake_ari/rest.rs"]
mod rest;
#[path = "fake_ari/server.rs"]
mod server;
#[path = "fake_ari/world.rs"]
mod world;

use capconduit::config::{self, DidFrom, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use behaviour::Behaviour;
pub use caller::{CallerEnd, FakeCall};
pub use faults::Fault;
pub use world::{Seen, Stats, Via};

use super::patience::PATIENCE;
use world::World;

pub const USER: &str = "capconduit";
pub const PASSWORD: &str = "fake-secret";

/// State and its change signal; every change wakes whoever waits in [`Shared::until`].
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Looks at or changes the world.
    fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world: MutexGuard<'_, World> = self.world.lock().expect("no test panicked inside");
        let result = act(&mut world);
        drop(world);
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// Looks without waking anybody.
    fn peek<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.world.lock().expect("no test panicked inside"))
    }

    /// Waits until no request is spoiled any more, however long that takes.
    async fn until_mended(&self) {
        let mut changes = self.changed.subscribe();
        while !self.peek(|world| world.faults.rules.is_empty()) && changes.changed().await.is_ok() {}
    }

    /// Waits until `look` finds something.
    async fn until<R>(&self, what: &str, look: impl Fn(&World) -> Option<R>) -> R {
        let mut changes = self.changed.subscribe();
        let search = async {
            loop {
                if let Some(found) = self.peek(&look) {
                    return found;
                }
                changes.changed().await.expect("the sender lives as long as self");
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("waited {PATIENCE:?} in vain until {what}; the fake saw {:#?}", self.peek(World::summary)),
        }
    }
}

/// A running fake Asterisk. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct FakeAri {
    shared: Arc<Shared>,
    addr: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for FakeAri {
    fn drop(&mut self) {
        self.server.abort();
        self.shared.with(World::drop_sockets);
    }
}

impl FakeAri {
    /// An Asterisk 22.10.1 (REST over WebSocket) on a free port.
    pub async fn start() -> Self {
        Self::start_version("22.10.1").await
    }

    /// Any version; below 20.14 `auto` takes HTTP.
    pub async fn start_version(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { world: Mutex::new(World::new(version)), changed: watch::Sender::new(0) });
        shared.with(|world| world.myself = Arc::downgrade(&shared));
        let server = tokio::spawn(server::accept(listener, Arc::clone(&shared)));
        Self { shared, addr, server }
    }

    /// Ends, and waits until nobody listens on the port any more.
    pub async fn stop(mut self) {
        self.server.abort();
        // Cancelled is what it shall be.
        drop((&mut self.server).await);
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The configuration of this node, with `apps` applications named `<app>-1`…
    pub fn node(&self, name: &str, app: &str, apps: u16, transport: Transport) -> config::Node {
        let globals = [
            ("APP", app.to_owned()),
            ("APPS", apps.to_string()),
            ("DIALPLAN", "3".to_owned()),
            ("HOLD_SECONDS", "3".to_owned()),
        ];
        self.shared.with(|world| {
            world.dialplan = globals.map(|(name, value)| (format!("CAPCONDUIT_{name}"), value)).into();
            world.globals.extend(world.dialplan.clone());
        });
        config::Node {
            name: name.to_owned(),
            url: self.url(),
            ca_file: None,
            user: USER.to_owned(),
            password: PASSWORD.to_owned().into(),
            app: app.to_owned(),
            apps,
            fallback_spool: None,
            transport,
            did_from: DidFrom::RequestUri,
            default_region: None,
            prefix_rules: BTreeMap::new(),
        }
    }

    /// Makes an endpoint (a call centre) known, or changes how it behaves from the next dial on.
    pub fn endpoint(&self, name: &str, behaviour: Behaviour) {
        self.shared.with(|world| world.endpoints.entry(name.to_owned()).or_default().behaviour = behaviour);
    }

    /// What one endpoint has seen.
    pub fn stats(&self, endpoint: &str) -> Stats {
        self.shared.peek(|world| world.endpoints.get(endpoint).map(|e| e.stats).unwrap_or_default())
    }

    /// Waits until an endpoint's numbers satisfy.
    pub async fn until_stats(&self, endpoint: &str, what: &str, satisfied: impl Fn(&Stats) -> bool) -> Stats {
        let look = |world: &World| world.endpoints.get(endpoint).map(|e| e.stats).filter(&satisfied);
        self.shared.until(what, look).await
    }

    /// A caller dials `did`: its channel enters `app` with the arguments `inbound,<presentation>,<To>`.
    pub fn incoming(&self, app: &str, did: &str, caller: &str) -> FakeCall {
        self.incoming_with(app, did, caller, &["inbound", "allowed_not_screened", &format!("%3Csip%3A{did}%40pbx%3E")])
    }

    /// Likewise, with any arguments.
    pub fn incoming_with(&self, app: &str, did: &str, caller: &str, args: &[&str]) -> FakeCall {
        let id = self.shared.with(|world| world.incoming(app, did, caller, args));
        FakeCall::new(Arc::clone(&self.shared), id)
    }

    /// Waits until `app`'s socket is connected and its filter set.
    pub async fn until_ready(&self, app: &str) {
        let look =
            |world: &World| world.apps.get(app).filter(|app| app.socket.is_some() && app.filter_sets > 0).map(|_| ());
        self.shared.until("the application is connected with its filter", look).await;
    }

    /// Waits until `app` has no socket.
    pub async fn until_disconnected(&self, app: &str) {
        let look = |world: &World| world.apps.get(app).is_none_or(|app| app.socket.is_none()).then_some(());
        self.shared.until("the application is disconnected", look).await;
    }

    /// How many times `app`'s filter was set, and what it is.
    pub fn filter(&self, app: &str) -> (u32, Vec<String>) {
        self.shared.peek(|w| w.apps.get(app).map(|app| (app.filter_sets, app.disallowed.clone())).unwrap_or_default())
    }

    /// Waits until the filter was set this many times.
    pub async fn until_filter_sets(&self, app: &str, times: u32) {
        let look = |world: &World| world.apps.get(app).filter(|app| app.filter_sets >= times).map(|_| ());
        self.shared.until("the filter is set", look).await;
    }

    /// Whether `app` has a socket now.
    pub fn is_connected(&self, app: &str) -> bool {
        self.shared.peek(|world| world.apps.get(app).is_some_and(|app| app.socket.is_some()))
    }

    /// Every request so far that was understood, in order of execution.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.peek(|world| world.seen.clone())
    }

    /// Waits for a request whose `METHOD path` contains `text`.
    pub async fn until_request(&self, text: &str) -> Seen {
        let look = |world: &World| world.seen.iter().find(|seen| seen.line().contains(text)).cloned();
        self.shared.until(&format!("a request like {text:?}"), look).await
    }

    /// A global variable.
    pub fn global(&self, name: &str) -> Option<String> {
        self.shared.peek(|world| world.globals.get(name).cloned())
    }

    /// Sets a global variable.
    pub fn set_global(&self, name: &str, value: &str) {
        self.shared.with(|world| world.globals.insert(name.to_owned(), value.to_owned()));
    }

    /// The node's own time, in seconds since 1970.
    pub fn epoch(&self) -> i64 {
        self.shared.peek(World::epoch)
    }

    /// Waits until a global variable was asked for this many times more.
    pub async fn until_asked_for(&self, name: &str, times: usize) {
        let asked = |world: &World| {
            let variables = world.seen.iter().filter(|seen| seen.method == "GET" && seen.path == "asterisk/variable");
            variables.filter(|seen| seen.query.get("variable").is_some_and(|asked| asked == name)).count()
        };
        let before = self.shared.peek(asked);
        let look = |world: &World| (asked(world) >= before + times).then_some(());
        self.shared.until(&format!("the global {name} is asked for"), look).await;
    }

    /// Waits until all channels were listed this many times.
    pub async fn until_listed(&self, times: usize) {
        let look = |world: &World| {
            let lists = world.seen.iter().filter(|seen| seen.method == "GET" && seen.path == "channels").count();
            (lists >= times).then_some(())
        };
        self.shared.until("the channels are listed", look).await;
    }

    /// Forgets a global variable.
    pub fn clear_global(&self, name: &str) {
        self.shared.with(|world| world.globals.remove(name));
    }

    /// Waits until a global variable is set to a value that satisfies.
    pub async fn until_global(&self, name: &str, satisfied: impl Fn(&str) -> bool) {
        let look = |world: &World| world.globals.get(name).filter(|value| satisfied(value)).map(|_| ());
        self.shared.until(&format!("the global {name} is set"), look).await;
    }

    /// Ids of the channels that live now.
    pub fn channels(&self) -> Vec<String> {
        self.shared.peek(|world| world.channels.keys().cloned().collect())
    }

    /// Ids of the bridges that exist now.
    pub fn bridges(&self) -> Vec<String> {
        self.shared.peek(|world| world.bridges.keys().cloned().collect())
    }

    /// Waits until no channel and no bridge is left.
    pub async fn until_empty(&self) {
        let look = |world: &World| (world.channels.is_empty() && world.bridges.is_empty()).then_some(());
        self.shared.until("no channel and no bridge is left", look).await;
    }

    /// The callee side of a channel hangs up (or the carrier, for an inbound channel).
    pub fn hang_up_channel(&self, id: &str) {
        self.shared.with(|world| world.far_end_hangs_up(id));
    }

    /// Sends any event to `app` as it is.
    pub fn emit_raw(&self, app: &str, text: &str) {
        self.shared.with(|world| world.send_text(app, text.to_owned()));
    }

    /// A fault for the next `times` requests whose `METHOD path` contains `text`.
    pub fn fault(&self, text: &str, times: u32, fault: Fault) {
        self.shared.with(|world| world.faults.rules.push(faults::Rule { text: text.to_owned(), times, fault }));
    }

    /// No request is spoiled any more.
    pub fn mend(&self) {
        self.shared.with(|world| world.faults.rules.clear());
    }

    /// Closes every WebSocket (and HTTP connection), as a network fault would.
    pub fn drop_sockets(&self) {
        self.shared.with(World::drop_sockets);
    }

    /// From now on open sockets neither read nor write nor answer pings: half open. New connections work.
    pub fn freeze_sockets(&self) {
        self.shared.with(World::freeze_sockets);
    }

    /// While on, new connections are closed at once.
    pub fn refuse_connections(&self, on: bool) {
        self.shared.with(|world| world.faults.refuse = on);
    }

    /// While on, every event is sent twice.
    pub fn duplicate_events(&self, on: bool) {
        self.shared.with(|world| world.faults.duplicate = on);
    }

    /// While on, events leave in swapped pairs. Turning it off sends what is held.
    pub fn reorder_events(&self, on: bool) {
        self.shared.with(|world| world.set_reorder(on));
    }

    /// While on, a created channel's `StasisStart` comes before the response to the request that created it; else after.
    pub fn stasis_start_first(&self, on: bool) {
        self.shared.with(|world| world.faults.stasis_start_first = on);
    }

    /// Asterisk dies and starts again: all channels, bridges, globals and sockets are gone without a word.
    pub fn restart(&self) {
        self.shared.with(World::restart);
    }
}
