//! Composition root: connect, spawn, hand over.

mod elsewhere;
mod housekeeping;
mod looking;
mod reloading;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::elsewhere::Elsewhere;
use self::looking::{inspecting, watch_server};
pub use self::reloading::Reload;
use self::reloading::{Parts, Reloading};
use crate::api;
use crate::ari::{Node, NodeEvent, NodeHandle};
use crate::auth::authority::Authority;
use crate::auth::first_admin;
use crate::backup;
use crate::calls::dispatcher::{Dispatcher, NodeHealth};
use crate::calls::intake::Intake;
use crate::calls::meter;
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::calls::thread::CallsThread;
use crate::cdr::journal::{Journal, Left};
use crate::cdr::{importer, writer};
use crate::clock::Clock;
use crate::config::{self, Config, DataLock};
use crate::descriptors::{self, Needs};
use crate::in_force::InForce;
use crate::panics::{restarted, vital};
use crate::presence::Presence;
use crate::routing::book::Book;
use crate::routing::snapshot::Snapshot;
use crate::screen::{self, Resolver, Screen};
use crate::store::reports::Reports;
use crate::store::sight::Sight;
use crate::store::{self, Db};
use crate::supervisor::{Standing, Supervisor};
use crate::telemetry::{self, Metrics, name};

/// How often the database is asked whether the configuration changed, heard of or not.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// Changes that are heard of within this of each other are read together.
const GATHER: Duration = Duration::from_millis(50);
/// How long the last records may take to be written once the dispatcher has ended.
const FLUSH_AT_MOST: Duration = Duration::from_secs(10);
/// How long the database's connections may take to be closed: a silent one must not keep the next process from starting.
const CLOSE_AT_MOST: Duration = Duration::from_secs(3);
/// A database that has not answered for so long does not.
const SILENT: Duration = Duration::from_secs(60);
/// A decision holds the configuration for microseconds; who shows the use of caps, longer.
const RETIRE_WAIT: Duration = Duration::from_millis(10);
const RETIRE_TRIES: u32 = 100;
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Serves calls and API until `shutdown`; then hands over. Records are written before it returns.
///
/// # Errors
/// Whatever keeps it from starting: data directory in use, database, port, node settings.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_with(config, Resolver::system(), None, shutdown).await
}

/// As [`run`], with another way to look names up, and reading the configuration anew when that is asked for.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    resolver: Resolver,
    reload: Option<Reload>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.require_ari()?;
    let _lock = DataLock::take(&config.data_dir)?;
    let connections = descriptors(&config);
    let (metrics, clock, supervisor) = (Metrics::install()?, Clock::start(), Supervisor::of_environment());
    // Large tables take minutes to be brought up to date.
    let (db, reports) = supervisor.bears_with(open(&config)).await?;
    let (journal, left) = open_journal(&db, &config).await?;
    let registry = Arc::new(read_registry(&db, &journal, &config, clock).await?);
    prepare(&db, &config, clock).await?;

    let lost = watch_keeper(&journal);
    let (writing, ending) = begin_writing(&db, &journal, clock, &lost);
    let parts = Parts::of(&config, resolver, reports);

    // Everything below but the API outlives the dispatcher, so it gets a token of its own.
    let sockets = CancellationToken::new();
    let (events, queue) = mpsc::channel(config.calls.event_queue);
    let (calls, nodes) = connect_nodes(&config, events, clock, &sockets)?;
    let (health, healths) = watch::channel(Vec::new());
    let visits = api::Visits::new(db.clone(), clock, parts.config.clone(), sockets.clone());
    let sight = Arc::new(ArcSwap::from_pointee(store::sight::load(&db).await?));
    let handles: Vec<_> = nodes.iter().map(|(handle, _)| handle.clone()).collect();
    let context = context(&parts, &registry, &journal, clock);
    let dispatcher = Dispatcher::new(nodes, context, parts.bounds.clone(), health, left);
    let ((faults, found), (read_only, is_read_only)) = (watch::channel(Vec::new()), watch::channel(false));
    let state = api::State {
        registry: Arc::clone(&registry),
        journal: journal.clone(),
        nodes: healths.clone(),
        faults: found,
        read_only: is_read_only,
        desk: dispatcher.desk(),
        metrics: metrics.clone(),
        db: db.clone(),
        reports: parts.reports.clone(),
        clock,
        realtime: config.realtime.clone(),
        config: parts.config.clone(),
        authority: Arc::new(Authority::new(&config)?),
        visits: Arc::clone(&visits),
        sight: Arc::clone(&sight),
        screen: parts.screen.clone(),
        presence: Arc::new(Presence::new(handles.clone(), parts.config.clone(), clock)),
    };
    let serving = api::serve(connections, state, shutdown.clone()).await?;
    let api = tokio::spawn(vital("the API server", lost.clone(), serving));
    let inspecting =
        inspecting(&config, (db.clone(), Arc::clone(&registry)), &handles, healths.clone(), faults, &sockets);
    let standing = Standing { nodes: healths.clone(), registry: Arc::clone(&registry), pulse: dispatcher.pulse() };
    let reloading = Reloading::new(&parts, &registry, &db, &handles, &supervisor);
    let routing = Routing::new(&db, &config, registry, sight, (healths, journal.clone()), clock);
    let watching = follow(routing, &journal, (visits, parts.screen, metrics), &sockets);
    watching.spawn(watch_server(db.clone(), read_only, sockets.clone()));
    watching.spawn(inspecting);
    watching.spawn(reloading.follow(reload, sockets.clone()));
    // It is ready without Asterisk: what waits for that is no fault of this process.
    watching.spawn(supervisor.clone().follow(standing, shutdown.clone(), sockets.clone()));

    dispatch(&calls, dispatcher.run(queue, shutdown), &lost).await;
    end_all(&handles, &sockets, calls, &watching).await;
    let served = api.await;
    // What was recorded is written whatever else went wrong.
    supervisor.bears_with(flush(writing, &ending, &journal)).await?;
    close(db, &parts.reports.now()).await?;
    outcome(served, &lost)
}

fn begin_writing(
    db: &Db,
    journal: &Journal,
    clock: Clock,
    lost: &CancellationToken,
) -> (JoinHandle<()>, writer::Ending) {
    let ending = writer::Ending::default();
    let writing = writer::run(db.clone(), journal.clone(), clock, ending.clone());
    (tokio::spawn(vital("the writer of records", lost.clone(), writing)), ending)
}

/// Closes every socket properly, ends the calls' thread, and waits for whatever only follows the world.
async fn end_all(nodes: &[NodeHandle], sockets: &CancellationToken, calls: CallsThread, watching: &TaskTracker) {
    sockets.cancel();
    futures_util::future::join_all(nodes.iter().map(NodeHandle::closed)).await;
    calls.end().await;
    watching.wait().await;
}

fn context(parts: &Parts, registry: &Arc<Registry>, journal: &Journal, clock: Clock) -> Context {
    Context { registry: Arc::clone(registry), journal: journal.clone(), clock, limits: parts.limits.clone() }
}

type Served = Result<std::io::Result<()>, tokio::task::JoinError>;

/// What the process ends with.
fn outcome(served: Served, lost: &CancellationToken) -> anyhow::Result<()> {
    served.context("the API server panicked")?.context("the API server failed")?;
    anyhow::ensure!(
        !lost.is_cancelled(),
        "something panicked that the process cannot go on without; the log says what"
    );
    info!("stopped");
    Ok(())
}

/// Dispatches to the end, or until something panicked that must not be missing: then at once, without a hand-over. The dialplan falls back,
/// talks go on, and the next start adopts them.
async fn dispatch(calls: &CallsThread, run: impl Future<Output = ()> + Send + 'static, lost: &CancellationToken) {
    let mut dispatching = calls.runtime().spawn(vital("the dispatcher", lost.clone(), run));
    tokio::select! {
        // It was cancelled if its thread is gone, which is no clean end either.
        ended = &mut dispatching => if ended.is_err() { lost.cancel() },
        () = lost.cancelled() => dispatching.abort(),
    }
}

/// Cancelled when something panicked that must not be missing; the journal's keeper is on a thread of its own, which is watched here.
fn watch_keeper(journal: &Journal) -> CancellationToken {
    let lost = CancellationToken::new();
    let (mut standing, told) = (journal.standing(), lost.clone());
    // Its keeper lives as long as anyone can give it entries, or until it panics.
    tokio::spawn(async move {
        while standing.changed().await.is_ok() {}
        told.cancel();
    });
    lost
}

/// Starts whatever only follows the world: each begins anew should it panic. They end with `sockets`.
fn follow(
    routing: Routing,
    journal: &Journal,
    (visits, screen, metrics): (Arc<api::Visits>, InForce<Screen>, Metrics),
    sockets: &CancellationToken,
) -> TaskTracker {
    let (tasks, ends) = (TaskTracker::new(), || sockets.clone());
    let (db, clock) = (routing.db.clone(), routing.clock);
    let (registry, heard) = (Arc::clone(&routing.registry), Arc::clone(&routing.heard));
    let audit_kept = routing.config.auth.audit_kept;
    let stamp = backup::stamp::path(&routing.config.data_dir);
    for (index, node) in routing.config.nodes.iter().enumerate() {
        let Some(path) = node.fallback_spool.clone() else { continue };
        importer::begin_at_zero(&node.name);
        let (db, registry, journal, node) = (db.clone(), Arc::clone(&registry), journal.clone(), node.clone());
        let stop = ends();
        let import = move || {
            let (db, registry, journal) = (db.clone(), Arc::clone(&registry), journal.clone());
            let intake = Intake::new(&node);
            importer::Follower { db, registry, journal, intake, index, path: path.clone(), clock }.run(stop.clone())
        };
        tasks.spawn(restarted("the importer of the fallback's calls", ends(), import));
    }
    let (routing, stop) = (Arc::new(routing), ends());
    let watch = move || watch_configuration(Arc::clone(&routing), stop.clone());
    tasks.spawn(restarted("the watcher of the configuration", ends(), watch));
    let (of, stop) = (db.clone(), ends());
    let look = move || screen::watch(of.clone(), screen.clone(), clock, stop.clone());
    tasks.spawn(restarted("the watcher of clients' hosts", ends(), look));
    let (of, stop) = (db.clone(), ends());
    let listen = move || store::listen::run(of.clone(), Arc::clone(&heard), stop.clone());
    tasks.spawn(restarted("the listener to the database", ends(), listen));
    let stop = ends();
    let keep_house = move || housekeeping::run(db.clone(), audit_kept, clock, stop.clone());
    tasks.spawn(restarted("the upkeep of the database", ends(), keep_house));
    tasks.spawn(restarted("the watcher of rights", ends(), move || Arc::clone(&visits).watch()));
    let stop = ends();
    let meter = move || meter::run(Arc::clone(&registry), stop.clone());
    tasks.spawn(restarted("the meter of caps", ends(), meter));
    let stop = ends();
    let keep = move || keep_up(metrics.clone(), stamp.clone(), clock, stop.clone());
    tasks.spawn(restarted("the upkeep of metrics", ends(), keep));
    tasks.close();
    tasks
}

/// The registry as the database has it, and the records that it does not have yet.
async fn read_registry(db: &Db, journal: &Journal, config: &Config, clock: Clock) -> anyhow::Result<Registry> {
    let mut totals = store::snapshot::totals(db).await?;
    for (link, counted) in journal.counted().await {
        *totals.entry(link).or_default() += counted;
    }
    let book = Book::new(totals, config.breaker.client);
    let registry = Registry::new(book, store::snapshot::load(db).await?, config.limits.stream_backlog)
        .guarding_nodes(config.breaker.node);
    registry.confirm(clock.now().mono);
    note_revision(registry.snapshot().revision);
    Ok(registry)
}

async fn close(db: Db, reports: &Reports) -> anyhow::Result<()> {
    let closing = async {
        reports.close().await;
        db.close().await
    };
    match tokio::time::timeout(CLOSE_AT_MOST, closing).await {
        Ok(closed) => closed?,
        Err(_) => warn!("the database does not say that it is closed; stopping without"),
    }
    Ok(())
}

/// Raises the limit of descriptors; how many connections the API may have with what there is.
fn descriptors(config: &Config) -> usize {
    let share = descriptors::take(Needs::of(config));
    if let Some(needed) = share.lacking {
        let (connections, mend) = (share.connections, descriptors::MEND);
        warn!(needed, connections, mend, "the limit of file descriptors is too low: the API takes fewer connections");
    }
    share.connections
}

/// The database, and where reports of it are read.
async fn open(config: &Config) -> anyhow::Result<(Db, Reports)> {
    let db = Db::connect(&config.database).await?;
    store::migrate(&db, &config.realtime).await?;
    info!(database = db.target(), "database ready");
    let reports = Reports::of(&db, config.limits);
    Ok((db, reports))
}

/// The journal, and what an earlier run left in it.
async fn open_journal(db: &Db, config: &Config) -> anyhow::Result<(Journal, Left)> {
    let path = config.data_dir.join(store::journal::FILE);
    let (journal, left) = store::journal::open(path, config.journal).await?;
    store::journal::settle(db, &journal, writer::UNDER_WAY).await.context("cannot write what an earlier run left")?;
    Ok((journal, left))
}

/// What Asterisk reads, and who may sign in. A database that takes no changes has the clients' SIP settings as they were published last.
async fn prepare(db: &Db, config: &Config, clock: Clock) -> anyhow::Result<()> {
    match store::realtime::publish(db, &config.realtime).await {
        Err(error) if error.is_read_only() => warn!(%error, "the SIP settings are not published to Asterisk anew"),
        published => drop(published.context("cannot publish the SIP settings to Asterisk")?),
    }
    first_admin::ensure(db, config, clock).await?;
    Ok(())
}

type Nodes = Vec<(NodeHandle, Intake)>;

fn connect_nodes(
    config: &Config,
    events: mpsc::Sender<NodeEvent>,
    clock: Clock,
    sockets: &CancellationToken,
) -> anyhow::Result<(CallsThread, Nodes)> {
    let calls = CallsThread::start(clock).context("cannot start the calls' thread")?;
    let on_it = calls.runtime().enter();
    let instance = config::instance(&config.data_dir)?;
    let spawn = |(index, node): (usize, &config::Node)| {
        telemetry::begin_at_zero_on(&node.name);
        let (settings, claim) = (node.ari(config.calls.request_timeout), node.claim(&instance));
        let handle = Node::spawn_claiming(index, &settings, &events, clock.ari(), sockets, claim)?;
        Ok((handle, Intake::new(node)))
    };
    let nodes = config.nodes.iter().enumerate().map(spawn).collect::<anyhow::Result<Nodes>>()?;
    drop(on_it);
    Ok((calls, nodes))
}

/// What follows the stored configuration.
struct Routing {
    db: Db,
    config: Config,
    registry: Arc<Registry>,
    sight: Arc<ArcSwap<Sight>>,
    /// Told when the configuration may have changed.
    heard: Arc<Notify>,
    clock: Clock,
    nodes: watch::Receiver<Vec<NodeHealth>>,
    journal: Journal,
}

impl Routing {
    fn new(
        db: &Db,
        config: &Config,
        registry: Arc<Registry>,
        sight: Arc<ArcSwap<Sight>>,
        (nodes, journal): (watch::Receiver<Vec<NodeHealth>>, Journal),
        clock: Clock,
    ) -> Self {
        let (db, config, heard) = (db.clone(), config.clone(), Arc::default());
        Self { db, config, registry, sight, heard, clock, nodes, journal }
    }
}

/// Puts every change of the configuration in force within a second, here and in Asterisk.
async fn watch_configuration(routing: Arc<Routing>, shutdown: CancellationToken) {
    let mut poll = interval(POLL_EVERY);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failing, mut elsewhere) = (false, Elsewhere::default());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            // A database that is silent must not keep the process from stopping.
            refreshed = poll_and_refresh(&mut poll, &routing, &mut elsewhere) => match refreshed {
                Ok(()) => {
                    routing.registry.confirm(routing.clock.now().mono);
                    if std::mem::take(&mut failing) {
                        info!("the configuration can be read again");
                    }
                }
                // Once per outage: routing goes on from the snapshot in memory.
                Err(error) if !failing => {
                    failing = true;
                    warn!(error = telemetry::chain(&error), "the configuration cannot be read; routing goes on with the last one");
                }
                Err(_) => {}
            },
        }
    }
}

/// Folds samples, and looks when the last backup was, which another process makes.
async fn keep_up(metrics: Metrics, stamp: PathBuf, clock: Clock, shutdown: CancellationToken) {
    let mut upkeep = interval(UPKEEP_EVERY);
    while shutdown.run_until_cancelled(upkeep.tick()).await.is_some() {
        metrics.upkeep();
        let noted = tokio::fs::read_to_string(&stamp).await.ok();
        metrics::gauge!(name::BACKUP_AGE).set(backup::stamp::age(noted.as_deref(), clock.now().wall));
    }
}

async fn poll_and_refresh(poll: &mut Interval, routing: &Routing, elsewhere: &mut Elsewhere) -> anyhow::Result<()> {
    tokio::select! {
        _ = poll.tick() => {}
        () = routing.heard.notified() => tokio::time::sleep(GATHER).await,
    }
    // Of a connection that nobody holds any more at the other end no answer ever comes.
    let refreshing = async {
        elsewhere.follow(routing).await?;
        refresh(routing).await
    };
    tokio::time::timeout(SILENT, refreshing).await.map_err(|_| store::StoreError::Silent(SILENT))?
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; revisions stay far below 2^53")]
fn note_revision(revision: i64) {
    metrics::gauge!(name::ROUTING_REVISION).set(revision as f64);
}

async fn refresh(Routing { db, config, registry, sight, .. }: &Routing) -> anyhow::Result<()> {
    if store::snapshot::revision(db).await? == registry.snapshot().revision {
        return Ok(());
    }
    let snapshot = store::snapshot::load(db).await?;
    // What sellers may no longer see goes before anything else changes.
    sight.store(Arc::new(store::sight::load(db).await?));
    let revision = snapshot.revision;
    // Asterisk first: a client must be dialable before a call can be routed to it.
    store::realtime::publish(db, &config.realtime).await?;
    retire(registry.swap_snapshot(snapshot));
    note_revision(revision);
    info!(revision, "configuration changed");
    Ok(())
}

/// Lets go of the configuration that was in force. Whoever holds it last frees it, which takes milliseconds where it is large: not a call.
fn retire(old: Arc<Snapshot>) {
    tokio::spawn(async move {
        for _ in 0..RETIRE_TRIES {
            if Arc::strong_count(&old) == 1 {
                break;
            }
            tokio::time::sleep(RETIRE_WAIT).await;
        }
        // The runtime ends with the process, and then nobody need free it.
        drop(tokio::task::spawn_blocking(move || drop(old)).await);
    });
}

/// What the database takes in time is written; the rest is in the journal, for the next start.
async fn flush(mut writing: JoinHandle<()>, ending: &writer::Ending, journal: &Journal) -> anyhow::Result<()> {
    ending.closing.cancel();
    let ended = match tokio::time::timeout(FLUSH_AT_MOST, &mut writing).await {
        Ok(ended) => ended,
        Err(_) => {
            ending.give_up.cancel();
            writing.await
        }
    };
    ended.context("the writer of records panicked")?;
    if tokio::time::timeout(CLOSE_AT_MOST, journal.settled()).await.is_err() {
        error!("the journal cannot be written, and we stop: what it holds back in memory is lost");
    }
    Ok(())
}
