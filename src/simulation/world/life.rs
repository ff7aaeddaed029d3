//! One life of the controller: the real dispatcher, tasks and registry, from a start to a kill.

use std::cmp::Reverse;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::line::Parcel;
use super::{What, World};
use crate::ari::simulated::{Asked, Side};
use crate::ari::{DownReason, Info, Node, NodeEvent, NodeEventKind};
use crate::calls::dispatcher::Dispatcher;
use crate::calls::intake::Intake;
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::cdr::record::CallRecord;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::routing::book::Book;

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Killed,
    /// All is over, and was right.
    Quiet,
    Wrong,
}

pub(super) struct Life {
    sides: Vec<Side>,
    events: mpsc::Sender<NodeEvent>,
    records: mpsc::UnboundedReceiver<CallRecord>,
    clock: Clock,
    /// The monotonic clock at the beginning of the world, which may lie before this life.
    beginning: Duration,
    began: Duration,
    pub(super) registry: Arc<Registry>,
    pub(super) over: bool,
}

/// What the controller gives out.
enum Got {
    Asked(usize, bool, Box<Asked>),
    Record(Box<CallRecord>),
    /// It waits.
    Nothing,
}

/// One life in a runtime of its own: when that is dropped, every task is, at whatever await point it stands.
pub(super) fn run(world: &mut World) -> Passed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output can always be had");
    world.lives += 1;
    runtime.block_on(async {
        let mut life = start(world);
        let passed = live(world, &mut life).await;
        if passed == Passed::Killed {
            killed(world, &mut life);
        }
        passed
    })
}

fn start(world: &mut World) -> Life {
    clock::simulated::set(Some(world.wall()));
    let clock = Clock::start();
    let began = clock.now().mono;
    let config = Config::from_layers(None, []).expect("the defaults are valid");
    let (events, queue) = mpsc::channel(config.calls.event_queue);
    let mut sides = Vec::new();
    let mut nodes = Vec::new();
    for (index, asterisk) in world.nodes.iter().enumerate() {
        let mut node = config.nodes[0].clone();
        node.name.clone_from(&asterisk.name);
        let (handle, side) = Node::simulated(index, &node, world.setting.request_timeout, clock);
        nodes.push((handle, Intake::new(&node)));
        sides.push(side);
    }
    let book = Book::with_totals(world.store.totals.clone());
    let registry = Arc::new(Registry::new(book, world.setting.snapshot.clone(), 16));
    let (records_in, records) = mpsc::unbounded_channel();
    let context = Context { registry: Arc::clone(&registry), records: records_in, clock, limits: world.setting.limits };
    let (health, _) = watch::channel(Vec::new());
    let dispatcher = Dispatcher::new(nodes, context, config.calls.max_live, health);
    tokio::spawn(dispatcher.run(queue, CancellationToken::new(), Duration::ZERO));
    for node in 0..world.nodes.len() {
        world.lines[node].alive |= world.lives == 1;
        let after = world.chance.millis(5, 60);
        world.later(after, What::Connect(node));
    }
    world.say(|| "the controller starts".to_owned());
    Life { sides, events, records, clock, beginning: began.saturating_sub(world.now), began, registry, over: false }
}

/// Lets world and controller go on, until the life or the world is over.
async fn live(world: &mut World, life: &mut Life) -> Passed {
    loop {
        if !world.truth.wrong.is_empty() {
            return Passed::Wrong;
        }
        if life.over {
            return Passed::Quiet;
        }
        let next = world.calendar.peek().map_or(world.now, |Reverse(next)| next.at);
        match life.wait_until(next).await {
            Got::Asked(node, over_http, asked) => {
                world.now = world.now.max(life.now());
                if let Some(left) = &mut world.dies_in {
                    *left -= 1;
                    if *left == 0 {
                        world.dies_in = None;
                        if world.chance.percent(50) {
                            world.asked(node, over_http, *asked);
                        }
                        return Passed::Killed;
                    }
                }
                world.asked(node, over_http, *asked);
            }
            Got::Record(record) => {
                world.now = world.now.max(life.now());
                world.store.finished(*record);
                world.later(Duration::from_millis(100), What::Store);
            }
            Got::Nothing => {
                world.step(Some(life));
                // Sometimes the controller acts between two things of the same moment, sometimes not.
                if world.chance.percent(50) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Nobody is left to hear an answer; what was on its way to Asterisk still arrives.
fn killed(world: &mut World, life: &mut Life) {
    world.say(|| "the controller is killed".to_owned());
    while let Ok(record) = life.records.try_recv() {
        drop(record);
    }
    world.store.forget();
    world.forget_waiting();
    let calendar = std::mem::take(&mut world.calendar);
    let reaches_nobody = |what: &What| {
        matches!(what, What::Parcel(_, Parcel::Answer { .. } | Parcel::Event { .. }) | What::Up(..) | What::Connect(_) | What::Missed(..))
    };
    world.calendar = calendar.into_iter().filter(|Reverse(entry)| !reaches_nobody(&entry.what)).collect();
}

impl Life {
    fn now(&self) -> Duration {
        self.clock.now().mono.saturating_sub(self.beginning)
    }

    /// Waits for something from the controller, at most until this time of the world.
    async fn wait_until(&mut self, at: Duration) -> Got {
        let until = self.clock.instant(self.beginning + at);
        let mut sleep = pin!(tokio::time::sleep_until(until));
        let due = self.now() >= at;
        std::future::poll_fn(|context| {
            for (node, side) in self.sides.iter_mut().enumerate() {
                if let Some(asked) = side.poll_socket(context) {
                    return Poll::Ready(Got::Asked(node, false, Box::new(asked)));
                }
                if let Some(asked) = side.poll_http(context) {
                    return Poll::Ready(Got::Asked(node, true, Box::new(asked)));
                }
            }
            if let Poll::Ready(Some(record)) = self.records.poll_recv(context) {
                return Poll::Ready(Got::Record(Box::new(record)));
            }
            if due {
                return Poll::Ready(Got::Nothing);
            }
            sleep.as_mut().poll(context).map(|()| Got::Nothing)
        })
        .await
    }

    pub(super) fn tell(&self, node: usize, kind: NodeEventKind) {
        let event = NodeEvent { node, app: 0, at: self.clock.now(), kind };
        // The queue is far larger than a world; were it full, the events would be missed in the checks.
        drop(self.events.try_send(event));
    }

    pub(super) fn connect(&mut self, node: usize, info: Info) {
        self.sides[node].connect();
        self.tell(node, NodeEventKind::Up(info));
    }

    pub(super) fn disconnect(&mut self, node: usize, reason: DownReason) {
        let was_up = self.sides[node].is_connected();
        self.sides[node].disconnect();
        if was_up {
            self.tell(node, NodeEventKind::Down(reason));
        }
    }

    /// The wall clock jumps: what it would have shown when the world began.
    pub(super) fn set_wall(&self, at_beginning: DateTime<Utc>) {
        clock::simulated::set(Some(at_beginning + (self.began - self.beginning)));
    }
}
