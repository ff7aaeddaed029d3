//! Who competes, and one block of calls of one of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::replaced::{self, Sink};
use super::report::commit;
use super::sip::caller::{Call, Series, call};
use super::site::{self, Centres, STATIC_IP, Transport};
use crate::harness::sipp::CARRIER_IP;
use crate::harness::site::{Backend, Site};

/// What takes a call to a call centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The dialplan's own `Dial()`, and nothing else.
    Static,
    /// This controller.
    Controller,
    /// Another build of it.
    Other,
    /// The design that it replaces.
    Replaced,
}

impl Way {
    /// The address that its calls come from.
    pub(crate) fn carrier(self) -> &'static str {
        match self {
            Self::Static => STATIC_IP,
            Self::Controller | Self::Other => CARRIER_IP,
            Self::Replaced => replaced::IP,
        }
    }
}

/// One way of getting a call to a call centre, on one of the sites.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    /// For people.
    pub(crate) name: String,
    /// Which site.
    pub(crate) site: usize,
    /// What takes its calls.
    pub(crate) way: Way,
    /// The site's `Dial()`, with which it is compared.
    pub(crate) fixed: usize,
}

/// All that compete, and where.
#[derive(Debug)]
pub(crate) struct Contest {
    /// Where the calls end.
    pub(crate) centres: Centres,
    /// Where they come by.
    pub(crate) sites: Vec<Site>,
    /// Who competes: of each site first `Dial()`, then the controller.
    pub(crate) contestants: Vec<Contestant>,
    /// The design before this one: slower by so much that it takes part only where rates fit it.
    replaced: Contestant,
    /// `Dial()` and another build of the controller, on a site of their own; takes part where set-up is timed.
    other: Vec<Contestant>,
    sink: Sink,
}

impl Contestant {
    /// Whether it is this controller.
    pub(crate) fn is_ours(&self) -> bool {
        self.way == Way::Controller
    }

    /// Whether it is the design before this one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.way == Way::Replaced
    }

    /// Whether it is what the others are compared with.
    pub(crate) fn is_static(&self) -> bool {
        self.way == Way::Static
    }
}

/// What one block of calls came to.
#[derive(Debug)]
pub(crate) struct Block {
    /// Each call.
    pub(crate) calls: Vec<Call>,
    /// Asterisk's CPU time.
    pub(crate) asterisk: Duration,
    /// The controller's.
    pub(crate) controller: Duration,
}

impl Block {
    /// From INVITE to 200 of those that were answered.
    pub(crate) fn set_ups(&self) -> Vec<Duration> {
        self.calls.iter().filter_map(Call::set_up).collect()
    }

    /// How many were not answered.
    pub(crate) fn failures(&self) -> usize {
        self.calls.iter().filter(|call| call.set_up().is_none()).count()
    }

    /// A CPU time for each call, in milliseconds.
    pub(crate) fn per_call(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e3 / self.calls.len() as f64
    }
}

impl Contest {
    /// Starts the sites of these kinds, and one with another build of the controller.
    pub(crate) async fn start(kinds: &[(Backend, Transport)], other: Option<&Path>) -> Self {
        let centres = Centres::open().await;
        let (mut sites, mut contestants, sink) = (Vec::new(), Vec::new(), Sink::open().await);
        for &(backend, transport) in kinds {
            let database = match backend {
                Backend::Sqlite => "SQLite",
                Backend::Postgres => "PostgreSQL",
            };
            let way = match transport {
                Transport::Websocket => "WebSocket",
                Transport::Http => "HTTP",
            };
            sites.push(site::prepare(backend, transport).start(&site::plan(&centres)).await);
            let (site, fixed) = (sites.len() - 1, contestants.len());
            let name = format!("Dial(), {database} ({way}'s)");
            contestants.push(Contestant { name, site, way: Way::Static, fixed });
            let name = format!("CapConduit, {way}, {database}");
            contestants.push(Contestant { name, site, way: Way::Controller, fixed });
        }
        // On an Asterisk of its own, which starts a process for each of its calls: the others' would have grown by their loads.
        let prepared = sink.add(site::prepare(Backend::Sqlite, Transport::Websocket));
        sites.push(prepared.start(&site::plan(&centres)).await);
        let name = "func_odbc, GROUP_COUNT, AGI; SQLite".to_owned();
        let replaced = Contestant { name, site: sites.len() - 1, way: Way::Replaced, fixed: 0 };
        let mut contest = Self { centres, sites, contestants, replaced, other: Vec::new(), sink };
        if let Some(binary) = other {
            contest.add(binary).await;
        }
        contest
    }

    async fn add(&mut self, binary: &Path) {
        self.sites.push(site::prepare_other(binary).start(&site::plan(&self.centres)).await);
        let (site, fixed) = (self.sites.len() - 1, self.everyone().len());
        let commit = commit(site::checkout(binary));
        let contestant = |name: &str, way| Contestant { name: format!("{name} {commit}"), site, way, fixed };
        self.other = vec![contestant("Dial() beside", Way::Static), contestant("CapConduit at", Way::Other)];
    }

    /// Everybody, and the other build at the end.
    pub(crate) fn with_other(&self) -> Vec<Contestant> {
        self.everyone().into_iter().chain(self.other.iter().cloned()).collect()
    }

    /// Everybody, the design before this one at the end.
    pub(crate) fn everyone(&self) -> Vec<Contestant> {
        self.contestants.iter().chain([&self.replaced]).cloned().collect()
    }

    /// Two sites of one kind.
    pub(crate) fn pair(&self) -> [usize; 2] {
        [0, self.replaced.site]
    }

    /// What takes calls on this site this way.
    pub(crate) fn on(&self, site: usize, way: Way) -> Contestant {
        Contestant { name: format!("{way:?} on site {site}"), site, way, fixed: 0 }
    }

    /// Has one of them take a block of calls, and leaves it time to come to rest.
    pub(crate) async fn block(
        &mut self,
        who: &Contestant,
        did: &'static str,
        (calls, per_second): (usize, f64),
        talk: Duration,
    ) -> Block {
        let site = &mut self.sites[who.site];
        let from = SocketAddr::new(who.way.carrier().parse().expect("an address"), 0);
        let series = Series { from, to: site::sip(site), did, calls, per_second, talk, speech: None, first: 0 };
        let before = site::cpu(site);
        let calls = call(series).await;
        sleep(Duration::from_millis(500)).await;
        if who.is_replaced() {
            site::until_idle(site).await;
            let (posted, all) = (self.sink.take(), calls.len());
            if posted != all {
                println!("bench:   {}: its script posted {posted} records of {all} calls", who.name);
            }
        }
        let after = site::cpu(site);
        let mut failed = BTreeMap::new();
        calls
            .iter()
            .filter(|call| call.set_up().is_none())
            .for_each(|call| *failed.entry(call.status).or_insert(0) += 1);
        if !failed.is_empty() {
            println!("bench:   {}: not answered, by their final status: {failed:?}", who.name);
        }
        Block { calls, asterisk: after.0 - before.0, controller: after.1 - before.1 }
    }
}
