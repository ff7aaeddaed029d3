//! Looks at each connected node for what stops calls there, or quietly changes them, although it is connected and answers.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ari::{Error, NodeHandle};
use crate::calls::dispatcher::NodeHealth;
use crate::calls::heartbeat;
use crate::calls::registry::Registry;
use crate::config;
use crate::id::ClientId;
use crate::needs::{DIALPLAN, Lack, MODULES, Needs};
use crate::store::Db;
use crate::store::plan::{self, Address};
use crate::transports::{self, Transports};

/// How often the dialplan's globals are read.
const EVERY: Duration = Duration::from_secs(2);
/// Every so many looks the modules are listed again.
const MODULES_EVERY: u32 = 30;
/// A heartbeat that did not arrive at so many looks in a row does not arrive.
const STALE_LOOKS: u32 = 2;
/// The version of `extensions.conf` that this controller is delivered with.
pub const DIALPLAN_VERSION: u32 = 3;

/// What is wrong with a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFault {
    /// A sentence, and how to mend it.
    pub text: String,
    /// Whether every call falls back, or none comes through.
    pub stops: bool,
}

/// The dialplan's globals that matter here; empty where not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Globals {
    app: String,
    apps: String,
    dialplan: String,
    shed: String,
}

/// Which version of `extensions.conf` a node says that it has; the first had no number, and a text that is no number is nobody's of ours.
#[must_use]
pub fn dialplan_version(global: &str) -> u32 {
    if global.is_empty() { 1 } else { global.parse().unwrap_or(0) }
}

/// PURE: what is wrong by a node's globals, by what it lacks, and by whether our heartbeat arrives.
#[must_use]
pub fn judge(node: &config::Node, globals: &Globals, lacks: &[Lack], beats: bool) -> Vec<NodeFault> {
    let mut faults = Vec::new();
    let mut fault = |stops: bool, text: String| faults.push(NodeFault { text, stops });
    let mend = "capconduit_site_globals.conf and the controller's configuration must agree";
    if globals.app.is_empty() {
        fault(
            true,
            "its dialplan is not ours (CAPCONDUIT_APP is not set): install extensions.conf and reload the dialplan"
                .to_owned(),
        );
    } else if globals.app != node.app {
        let text = format!(
            "every call falls back: its dialplan hands calls to {}-…, this controller is {}-…: {mend}",
            globals.app, node.app
        );
        fault(true, text);
    } else if globals.apps.parse::<u16>().is_ok_and(|apps| apps > node.apps) {
        let text = format!(
            "some calls fall back: its dialplan spreads calls over {} applications, this controller has {}: {mend}",
            globals.apps, node.apps
        );
        fault(false, text);
    }
    if !globals.app.is_empty() && !beats {
        let text = "every call falls back: the controller's heartbeat does not arrive (ari.conf: read_only = no?)";
        fault(true, text.to_owned());
    }
    if globals.shed.parse::<u32>().is_ok_and(|percent| percent >= 100) {
        fault(
            true,
            "every call is refused as overloaded: it does not keep up with the controller's requests".to_owned(),
        );
    }
    let version = dialplan_version(&globals.dialplan);
    if !globals.app.is_empty() && version < DIALPLAN_VERSION {
        let text = format!(
            "its extensions.conf is older than this controller (version {version} instead of {DIALPLAN_VERSION}): `capconduit doctor` says what it lacks"
        );
        fault(false, text);
    }
    for Lack { what, why, in_dialplan, .. } in lacks.iter().filter(|lack| !lack.optional) {
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        fault(*in_dialplan, format!("it lacks {what}{why}: load it (modules.conf)"));
    }
    faults
}

/// PURE: who cannot be reached from a node with these transports, and what is said of each.
#[must_use]
pub fn unreached(transports: &Transports, addresses: &[Address]) -> Vec<(ClientId, String)> {
    let lacks = addresses.iter().filter(|address| !transports.reach(&address.host, address.transport));
    let told = |Address { client, identifier, host, transport }: &Address| {
        let missing = transports::missing(host, *transport);
        (
            *client,
            format!(
                "client {identifier} is reached by {missing}, for which the node has no transport: Asterisk answers 503 by itself"
            ),
        )
    };
    lacks.map(told).collect()
}

/// The transports of a node on this host, by its own configuration in `folder`; `None` where that cannot be read.
#[must_use]
pub fn transports(folder: &Path) -> Option<Transports> {
    Some(Transports::of(&included(folder, &folder.join("pjsip.conf"), 0)?))
}

/// A file's text with what it includes, as Asterisk reads it.
fn included(folder: &Path, path: &Path, depth: usize) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut whole = String::new();
    for line in text.lines() {
        let file = line.trim().strip_prefix("#include").or_else(|| line.trim().strip_prefix("#tryinclude"));
        let file = file.map(|file| file.trim().trim_matches(['"', '<', '>']));
        match file.filter(|_| depth < 8) {
            Some(file) => whole.push_str(&included(folder, &folder.join(file), depth + 1).unwrap_or_default()),
            None => whole.push_str(line),
        }
        whole.push('\n');
    }
    Some(whole)
}

/// Whether a node is on this host, by its URL.
#[must_use]
pub fn is_local(node: &config::Node) -> bool {
    let Ok(url) = node.url.parse::<reqwest::Url>() else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What one look needs to remember of the ones before.
#[derive(Debug, Default)]
struct Memory {
    looks: u32,
    stale: u32,
    running: Option<BTreeSet<String>>,
    transports: Option<Transports>,
    /// Who cannot be reached by these, and at which revision of the configuration that was found.
    unreached: Option<(i64, Vec<(ClientId, String)>)>,
}

/// Looks again and again, and tells what it finds; `healths` says which nodes are believed to be ready.
pub async fn watch(
    nodes: Vec<(NodeHandle, config::Node)>,
    (db, registry): (Db, Arc<Registry>),
    healths: watch::Receiver<Vec<NodeHealth>>,
    found: watch::Sender<Vec<Vec<NodeFault>>>,
    shutdown: CancellationToken,
) {
    let mut memories: Vec<Memory> = nodes.iter().map(|_| Memory::default()).collect();
    let needs = Needs::of(DIALPLAN, MODULES);
    loop {
        for (index, ((handle, node), memory)) in nodes.iter().zip(&mut memories).enumerate() {
            let ready = healths.borrow().get(index).is_some_and(|health| health.ready);
            let looking = async {
                let mut faults = look(handle, node, &needs, ready, memory).await;
                let unreached = reached_by_none(&db, registry.snapshot().revision, memory).await;
                faults.extend(unreached.iter().map(|(_, text)| NodeFault { text: text.clone(), stops: false }));
                let clients: HashSet<ClientId> = unreached.iter().map(|(client, _)| *client).collect();
                if registry.lacking.load().get(handle.name()).is_none_or(|known| *known != clients) {
                    let mut lacking = HashMap::clone(&registry.lacking.load());
                    lacking.insert(handle.name().to_owned(), clients);
                    registry.lacking.store(Arc::new(lacking));
                }
                faults
            };
            let Some(faults) = shutdown.run_until_cancelled(looking).await else { return };
            tell(handle.name(), index, &found, faults);
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Who cannot be reached from the node of this memory, as far as that is known. The database is asked only where the configuration has
/// changed.
async fn reached_by_none<'a>(db: &Db, revision: i64, memory: &'a mut Memory) -> &'a [(ClientId, String)] {
    let Memory { transports, unreached: known, .. } = memory;
    if let Some(transports) = transports
        && known.as_ref().is_none_or(|(at, _)| *at != revision)
    {
        // A database that does not answer is told of elsewhere.
        *known = plan::addresses(db).await.ok().map(|addresses| (revision, unreached(transports, &addresses)));
    }
    known.as_ref().map(|(_, unreached)| unreached.as_slice()).unwrap_or_default()
}

fn tell(node: &str, index: usize, found: &watch::Sender<Vec<Vec<NodeFault>>>, faults: Vec<NodeFault>) {
    found.send_if_modified(|all| {
        if all.len() <= index {
            all.resize(index + 1, Vec::new());
        }
        if all[index] == faults {
            return false;
        }
        for fault in faults.iter().filter(|fault| !all[index].contains(fault)) {
            warn!(%node, stops = fault.stops, fault = fault.text, "something is wrong with the node");
        }
        if faults.is_empty() {
            info!(%node, "nothing is wrong with the node any more");
        }
        all[index] = faults;
        true
    });
}

/// A node's globals, and whether its heartbeat is fresh.
async fn read(handle: &NodeHandle) -> Result<(Globals, bool), Error> {
    let globals = Globals {
        app: handle.global("CAPCONDUIT_APP").await?,
        apps: handle.global("CAPCONDUIT_APPS").await?,
        dialplan: handle.global("CAPCONDUIT_DIALPLAN").await?,
        shed: handle.global("CAPCONDUIT_SHED").await?,
    };
    let beat = handle.global("CAPCONDUIT_HEARTBEAT").await?;
    Ok((globals, heartbeat::is_fresh(&beat, &handle.global("EPOCH").await?)))
}

/// One look at a node; nothing is wrong with one that is not ready: that is told otherwise.
async fn look(
    handle: &NodeHandle,
    node: &config::Node,
    needs: &Needs,
    ready: bool,
    memory: &mut Memory,
) -> Vec<NodeFault> {
    if !ready {
        *memory = Memory::default();
        return Vec::new();
    }
    // A node that does not answer is told of by what becomes of its calls.
    let Ok((globals, fresh)) = read(handle).await else { return Vec::new() };
    memory.stale = if fresh { 0 } else { memory.stale.saturating_add(1) };
    if memory.looks.is_multiple_of(MODULES_EVERY) {
        memory.running = handle.running_modules().await.ok();
        (memory.transports, memory.unreached) = (None, None);
        if is_local(node) {
            let folder = handle.global("ASTETCDIR").await.ok().filter(|folder| !folder.is_empty());
            memory.transports = folder.and_then(|folder| transports(Path::new(&folder)));
        }
    }
    memory.looks = memory.looks.wrapping_add(1);
    let lacks = memory.running.as_ref().map(|running| needs.lacks(running, &[])).unwrap_or_default();
    judge(node, &globals, &lacks, memory.stale < STALE_LOOKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> config::Node {
        config::Config::from_layers(None, []).expect("the defaults").nodes.remove(0)
    }

    fn good() -> Globals {
        Globals { app: "capconduit".into(), apps: "1".into(), dialplan: DIALPLAN_VERSION.to_string(), shed: "0".into() }
    }

    #[test]
    fn what_stops_calls_is_told_from_what_changes_them() {
        assert_eq!(judge(&node(), &good(), &[], true), []);
        let lack = |in_dialplan, optional| Lack { what: "module x.so".into(), why: "y".into(), optional, in_dialplan };
        for (globals, lacks, beats, part, stops) in [
            (Globals::default(), vec![], true, "not ours", true),
            (Globals { app: "other".into(), ..good() }, vec![], true, "every call falls back", true),
            (Globals { apps: "4".into(), ..good() }, vec![], true, "some calls fall back", false),
            (good(), vec![], false, "heartbeat does not arrive", true),
            (Globals { shed: "100".into(), ..good() }, vec![], true, "overloaded", true),
            (Globals { dialplan: String::new(), ..good() }, vec![], true, "version 1 instead of", false),
            (good(), vec![lack(true, false)], true, "lacks module x.so (y)", true),
            (good(), vec![lack(false, false)], true, "lacks module x.so (y)", false),
        ] {
            let faults = judge(&node(), &globals, &lacks, beats);
            let [fault] = &faults[..] else { panic!("{part}: {faults:?}") };
            assert!(fault.text.contains(part) && fault.stops == stops, "{part}: {fault:?}");
        }
        assert_eq!(judge(&node(), &good(), &[lack(true, true)], true), [], "calls can do without");
        assert_eq!(judge(&node(), &Globals { shed: "40".into(), ..good() }, &[], true), []);
    }
}
