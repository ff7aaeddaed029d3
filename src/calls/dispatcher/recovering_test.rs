//! After kill -9 with many callers ringing: the work grows with the calls and no faster, and it is done in slices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Bounds, Dispatcher, visits};
use crate::ari::simulated::{self, Asked, Side};
use crate::ari::{ChannelState, Event, Info, NodeEvent, NodeEventKind, Subject};
use crate::calls::intake::Intake;
use crate::calls::io::Input;
use crate::calls::machine_test::bench::{Bench, limits};
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::cdr::journal::{Inbox, Journal, Left, Standing};
use crate::cdr::open::OpenCall;
use crate::clock::Clock;
use crate::config::Config;
use crate::id::CallId;
use crate::routing::book::Book;
use crate::routing::decision::tests::link;

/// What an Asterisk has after the controller was killed: callers who wait, each with a leg that rings.
struct Recovery {
    side: Side,
    events: mpsc::Sender<NodeEvent>,
    registry: Arc<Registry>,
    clock: Clock,
    callers: Vec<CallId>,
    created: usize,
    /// Requests that are not answered, for as long as this lives.
    open: Vec<Asked>,
    _journal: (Inbox, watch::Sender<Standing>),
}

fn arrived(n: usize) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + i64::try_from(n).expect("few"), 0).expect("a time")
}

fn caller(n: usize) -> String {
    format!("{}.1", arrived(n).timestamp())
}

fn channel(id: &str, state: &str, app_data: &str, created: DateTime<Utc>) -> Value {
    json!({
        "id": id, "name": format!("PJSIP/{id}"), "state": state, "protocol_id": "", "caller": {"name": "", "number": ""},
        "connected": {"name": "", "number": ""}, "dialplan": {"context": "from-carrier", "exten": "+442071234567", "priority": 4,
        "app_name": "Stasis", "app_data": app_data}, "creationtime": created.format("%Y-%m-%dT%H:%M:%S%.3f%z").to_string(),
    })
}

fn info() -> Value {
    let started = "2023-01-01T00:00:00.000+0000";
    json!({"system": {"version": "22.10.1"}, "status": {"startup_time": started, "last_reload_time": started}})
}

impl Recovery {
    fn start(callers: usize) -> Self {
        let (clock, config) = (Clock::start(), Config::from_layers(None, []).expect("the defaults are valid"));
        let mut node = config.nodes[0].clone();
        node.name = "pbx".to_owned();
        let (handle, side) = simulated::node(0, &node.ari(Duration::from_secs(5)), clock.ari());
        let mut bench = Bench::new(&[link(1)]);
        [Input::LegReady(1), Input::LegRinging(1)].into_iter().for_each(|input| drop(bench.give(input)));
        let open = OpenCall::of(&bench.call, true, bench.now, clock.stamp());
        let calls: Vec<OpenCall> = (0..callers)
            .map(|n| {
                let mut open = open.clone();
                open.record.call_id = CallId::derive(arrived(n), "pbx", &caller(n));
                (open.record.uniqueid, open.record.node) = (caller(n), "pbx".into());
                open
            })
            .collect();
        let callers = calls.iter().map(|open| open.record.call_id).collect();
        let registry = Arc::new(Registry::new(Book::default(), bench.snapshot, 16));
        let (journal, inbox, standing) = Journal::new();
        let context = Context { registry: Arc::clone(&registry), journal, clock, limits: limits().into() };
        let (events, queue) = mpsc::channel(65_536);
        let left = Left { calls, alive: None, same_boot: true };
        let (health, _) = watch::channel(Vec::new());
        let dispatcher = Dispatcher::new(
            vec![(handle, Intake::new(&node))],
            context,
            Bounds { max_live: 100_000, drain: Duration::ZERO }.into(),
            health,
            left,
        );
        // The probe leaves no time in which another thread could be waited for.
        let dispatcher = dispatcher.with_long_lists_from(usize::MAX);
        tokio::spawn(dispatcher.run(queue, CancellationToken::new()));
        let (created, open) = (0, Vec::new());
        let mut this = Self { side, events, registry, clock, callers, created, open, _journal: (inbox, standing) };
        this.side.connect(clock.now().mono);
        this.tell(NodeEventKind::Up(serde_json::from_value::<Info>(info()).expect("it is one")));
        this
    }

    fn tell(&self, kind: NodeEventKind) {
        let event = NodeEvent { node: 0, app: 0, at: self.clock.now().into(), late: None, kind };
        self.events.try_send(event).expect("there is room");
    }

    fn gone(&self, id: &str) {
        let channel = Subject { id: id.to_owned(), state: ChannelState::Ringing };
        let (timestamp, cause, cause_txt) = (self.clock.now().wall, 16, String::new());
        self.tell(NodeEventKind::Event(Event::ChannelDestroyed {
            timestamp,
            channel,
            cause,
            cause_txt,
            tech_cause: None,
        }));
    }

    async fn asked(&mut self) -> (bool, Asked) {
        std::future::poll_fn(|context| {
            let asked = self.side.poll_socket(context).map(|asked| (false, asked));
            match asked.or_else(|| self.side.poll_http(context).map(|asked| (true, asked))) {
                Some(asked) => std::task::Poll::Ready(asked),
                None => std::task::Poll::Pending,
            }
        })
        .await
    }

    fn list(&self) -> Value {
        let of = |(n, call): (usize, &CallId)| {
            let (caller, leg) = (caller(n), call.leg(1));
            let app = "capconduit-1";
            [
                channel(&caller, "Ring", &format!("{app},inbound,allowed"), arrived(n)),
                channel(&leg, "Ringing", &format!("{app},leg,1,1,1"), arrived(n)),
            ]
        };
        self.callers.iter().enumerate().flat_map(of).collect()
    }

    /// Plays Asterisk until `over`; `hung_up` is told of each leg that is hung up.
    async fn until(&mut self, over: impl Fn(&Self) -> bool, hung_up: impl Fn(&Self, &str)) {
        let play = async {
            while !over(self) {
                let (over_http, asked) = self.asked().await;
                if !asked.reply.start() {
                    continue;
                }
                match (asked.method, asked.path.as_str(), over_http) {
                    ("GET", "channels", _) => asked.reply.answer(200, self.list().to_string()),
                    ("GET", "bridges", _) => asked.reply.answer(200, "[]".to_owned()),
                    ("GET", "asterisk/info", _) => asked.reply.answer(200, info().to_string()),
                    ("DELETE", path, _) => {
                        let id = path.trim_start_matches("channels/").to_owned();
                        asked.reply.answer(204, String::new());
                        hung_up(self, &id);
                        self.gone(&id);
                    }
                    ("POST", "channels/create", _) => {
                        self.created += 1;
                        self.open.push(asked);
                    }
                    _ => self.open.push(asked),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), play).await.expect("it gets there");
    }
}

/// Visits until so many callers are decided, and the most that was done at a time; in a runtime of its own, which ends with it.
fn visits_for(callers: usize) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without input and output can always be had").block_on(visited(callers))
}

async fn visited(callers: usize) -> (u64, u64) {
    let before = visits::count();
    let mut recovery = Recovery::start(callers);
    let most = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&most);
    tokio::spawn(async move {
        let mut last = visits::done();
        loop {
            tokio::task::yield_now().await;
            let now = visits::done();
            told.fetch_max(now - last, Ordering::Relaxed);
            last = now;
        }
    });
    recovery.until(|it| it.created == callers, |_, _| {}).await;
    assert_eq!(recovery.registry.live(), callers, "each is decided, once");
    assert_eq!(recovery.registry.book().ledger.len(), callers, "and holds what it did not hold before");
    (visits::count() - before, most.load(Ordering::Relaxed))
}

#[test]
fn four_times_the_ringing_callers_are_four_times_the_work() {
    let (few, _) = visits_for(500);
    let (many, at_a_time) = visits_for(2_000);
    assert!(few >= 500 && many <= 5 * few, "{few} visits for 500 callers, {many} for 2000");
    assert!(many <= 2_000 * 20, "{many} visits for 2000 callers");
    // The runtime may give the dispatcher two turns between two of the probe's.
    assert!(at_a_time <= 2 * crate::ari::SLICE as u64, "{at_a_time} things done at a time");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_lists_are_acted_on_is_not_dialled_for() {
    let callers = 200;
    let mut recovery = Recovery::start(callers);
    let first = recovery.callers[0].leg(1);
    // Its end comes when most of the calls are still to be looked at.
    let leaves = |it: &Recovery, id: &str| {
        if id == first {
            let channel = Subject { id: caller(callers - 1), state: ChannelState::Ring };
            it.tell(NodeEventKind::Event(Event::StasisEnd { timestamp: it.clock.now().wall, channel }));
        }
    };
    recovery.until(|it| it.created == callers - 1 && it.registry.live() == callers - 1, leaves).await;
    assert!(recovery.registry.has_ended(recovery.callers[callers - 1]), "it has its record");
    assert_eq!(recovery.registry.book().ledger.len(), callers - 1);
}
