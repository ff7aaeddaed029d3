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
use crate::ari::simulated::{self, Asked, Side};
use crate::ari::{DownReason, Event, Info, Late, NodeEvent, NodeEventKind};
use crate::calls::dispatcher::{Bounds, Dispatcher};
use crate::calls::intake::Intake;
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::cdr::journal::{Entry, Inbox, Journal, Refusing, Standing};
use crate::clock::simulated::AtStart;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::routing::book::Book;
use crate::simulation::store::BATCH;

/// Twice a second a node is asked for a sign of life (`ari/connection.rs`).
const PING_EVERY: Duration = Duration::from_millis(500);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Killed,
    /// It was told to end, and did.
    HandedOver,
    /// All is over, and was right.
    Quiet,
    Wrong,
}

pub(super) struct Life {
    sides: Vec<Side>,
    events: mpsc::Sender<NodeEvent>,
    entries: Inbox,
    standing: watch::Sender<Standing>,
    clock: Clock,
    /// The monotonic clock at the beginning of the world, which may lie before this life.
    beginning: Duration,
    began: Duration,
    pub(super) registry: Arc<Registry>,
    pub(super) over: bool,
    shutdown: CancellationToken,
    dispatching: tokio::task::JoinHandle<()>,
}

/// What the controller gives out.
enum Got {
    Asked(usize, bool, Box<Asked>),
    Entry(Box<Entry>),
    /// It waits.
    Nothing,
}

/// One life in a runtime of its own: when that is dropped, every task is, at whatever await point it stands.
pub(super) fn run(world: &mut World) -> Passed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output can always be had");
    world.lives += 1;
    world.controller_lives = true;
    runtime.block_on(async {
        let mut life = start(world);
        let passed = live(world, &mut life).await;
        if matches!(passed, Passed::Killed | Passed::HandedOver) {
            world.visits.extend(life.registry.take_visits());
            ended(world, &mut life, passed);
        }
        passed
    })
}

fn start(world: &mut World) -> Life {
    clock::simulated::set(Some(AtStart { wall: world.wall(), since_boot: world.now }));
    let clock = Clock::start();
    let began = clock.now().mono;
    let config = Config::from_layers(None, []).expect("the defaults are valid");
    let (events, queue) = mpsc::channel(config.calls.event_queue);
    let mut sides = Vec::new();
    let mut nodes = Vec::new();
    for (index, asterisk) in world.nodes.iter().enumerate() {
        let mut node = config.nodes[0].clone();
        node.name.clone_from(&asterisk.name);
        let (handle, side) = simulated::node(index, &node.ari(world.setting.request_timeout), clock.ari());
        nodes.push((handle, Intake::new(&node)));
        sides.push(side);
    }
    let left = world.journal.left();
    let calls_left = left.calls.clone();
    // As `app.rs` does.
    let book = Book::new(world.store.settle(&mut world.journal, 2 * BATCH), config.breaker.client);
    let registry = Registry::new(book, world.setting.snapshot.clone(), 16).guarding_nodes(config.breaker.node);
    let registry = Arc::new(registry);
    let (journal, entries, standing) = Journal::new();
    let context = Context { registry: Arc::clone(&registry), journal, clock, limits: world.setting.limits.into() };
    let (health, _) = watch::channel(Vec::new());
    let dispatcher =
        Dispatcher::new(nodes, context, Bounds::new(&config.calls).into(), health, left).with_long_lists_from(16);
    let shutdown = CancellationToken::new();
    let dispatching = tokio::spawn(dispatcher.run(queue, shutdown.clone()));
    for node in 0..world.nodes.len() {
        world.lines[node].alive |= world.lives == 1;
        let after = world.chance.millis(5, 60);
        world.later(after, What::Connect(node));
    }
    world.say(|| "the controller starts".to_owned());
    for open in &calls_left {
        let counted: Vec<_> = open.counted().collect();
        world.say(|| format!("left: {} legs {:?}, counted for {counted:?}", open.record.call_id, open.legs));
    }
    world.write();
    let beginning = began.saturating_sub(world.now);
    Life { sides, events, entries, standing, clock, beginning, began, registry, over: false, shutdown, dispatching }
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
        if life.dispatching.is_finished() {
            return Passed::HandedOver;
        }
        let next = world.calendar.peek().map_or(world.now, |Reverse(next)| next.at);
        let got = life.wait_until(next).await;
        if !matches!(got, Got::Nothing) {
            world.now = world.now.max(life.now());
        }
        let dies = world.dies_in.is_some_and(|left| left <= 1);
        world.dies_in = world.dies_in.map(|left| left - 1).filter(|left| *left > 0);
        match got {
            Got::Asked(..) if dies && world.chance.percent(50) => {}
            Got::Asked(node, over_http, asked) => world.asked(node, over_http, *asked),
            Got::Entry(entry) => world.give(*entry),
            Got::Nothing => {
                world.step(Some(life));
                // Sometimes the controller acts between two things of the same moment, sometimes not.
                if world.chance.percent(50) {
                    tokio::task::yield_now().await;
                }
            }
        }
        if dies && !life.shutdown.is_cancelled() && world.chance.percent(40) {
            world.say(|| "the controller is told to end".to_owned());
            life.shutdown.cancel();
        } else if dies {
            return Passed::Killed;
        }
    }
}

/// Nobody is left to hear an answer; what was on its way to Asterisk still arrives.
fn ended(world: &mut World, life: &mut Life, passed: Passed) {
    world.say(|| format!("the controller is gone: {passed:?}"));
    while let Some(entry) = life.entries.try_recv() {
        world.journal.give(entry);
    }
    if passed == Passed::HandedOver {
        // Where it can be written, it is waited for.
        world.journal.commit(world.now);
    }
    world.journal.forget_given();
    world.truth.forget(&world.journal);
    world.writing = false;
    world.forget_waiting();
    let calendar = std::mem::take(&mut world.calendar);
    let reaches_nobody = |what: &What| {
        use What as W;
        let parcel = matches!(what, W::Parcel(_, Parcel::Answer { .. } | Parcel::Event { .. }));
        parcel || matches!(what, W::Up(..) | W::Connect(_) | W::Missed(..) | W::Commit | W::Write)
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
            if let Poll::Ready(Some(entry)) = self.entries.poll_recv(context) {
                return Poll::Ready(Got::Entry(Box::new(entry)));
            }
            if due {
                return Poll::Ready(Got::Nothing);
            }
            sleep.as_mut().poll(context).map(|()| Got::Nothing)
        })
        .await
    }

    fn tell(&self, node: usize, late: Option<Late>, kind: NodeEventKind) {
        let event = NodeEvent { node, app: 0, at: self.clock.now().into(), late, kind };
        // The queue is far larger than a world; were it full, the events would be missed in the checks.
        drop(self.events.try_send(event));
    }

    /// An event is read from the socket. `stalled`: when nothing came through it last.
    pub(super) fn event(&mut self, node: usize, stalled: Option<(Duration, Duration)>, event: Event) {
        self.hear(node, stalled);
        let at = self.clock.now().into();
        let late = self.sides[node].late(at, event.timestamp());
        self.tell(node, late, NodeEventKind::Event(event));
    }

    /// A frame comes now, and before it the answers to the pings of each second.
    pub(super) fn hear(&mut self, node: usize, stalled: Option<(Duration, Duration)>) {
        let (now, beginning) = (self.clock.now().mono, self.beginning);
        let side = &mut self.sides[node];
        let stalled =
            stalled.map(|(from, to)| (beginning + from, beginning + to)).filter(|(from, _)| side.heard() <= *from);
        if let Some((from, to)) = stalled {
            side.hear(from);
            if now > to + PING_EVERY {
                side.hear(to);
            }
        }
        if now > side.heard() + PING_EVERY {
            side.hear(now - PING_EVERY * 3 / 5);
        }
        side.hear(now);
    }

    /// Nothing more will come: what was heard until now, unless the socket stands still.
    pub(super) fn hear_before_the_end(&mut self, node: usize, stalled: Option<(Duration, Duration)>) {
        let now = self.now();
        match stalled.filter(|(_, to)| *to > now) {
            Some((from, _)) if self.beginning + from > self.sides[node].heard() => {
                self.sides[node].hear(self.beginning + from)
            }
            Some(_) => {}
            None => self.hear(node, stalled),
        }
    }

    pub(super) fn connect(&mut self, node: usize, info: Info) {
        let now = self.clock.now().mono;
        self.sides[node].connect(now);
        self.tell(node, None, NodeEventKind::Up(info));
    }

    /// Whether the controller believes the socket to be there.
    pub(super) fn is_connected(&self, node: usize) -> bool {
        self.sides[node].is_connected()
    }

    pub(super) fn disconnect(&mut self, node: usize, reason: DownReason) {
        let was_up = self.sides[node].is_connected();
        self.sides[node].disconnect();
        if was_up {
            let heard = self.sides[node].all_heard();
            self.tell(node, None, NodeEventKind::Down { reason, heard });
        }
    }

    /// What the clocks showed when this life began, had the wall clock shown this when the world did.
    pub(super) fn at_start(&self, at_beginning: DateTime<Utc>) -> AtStart {
        let since_boot = self.began - self.beginning;
        AtStart { wall: at_beginning + since_boot, since_boot }
    }

    /// Whether the journal can be written.
    pub(super) fn stand(&self, fails: bool) {
        let refusing = fails.then_some(Refusing::Failing);
        self.standing.send_if_modified(|told| std::mem::replace(&mut told.refusing, refusing) != refusing);
    }
}
