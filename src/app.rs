//! Composition root: connect, spawn, drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api;
use crate::ari::{Node, NodeEvent};
use crate::auth::authority::Authority;
use crate::auth::first_admin;
use crate::calls::dispatcher::Dispatcher;
use crate::calls::facts::Limits;
use crate::calls::intake::Intake;
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::cdr::writer;
use crate::clock::Clock;
use crate::config::{Config, DataLock};
use crate::presence::Presence;
use crate::routing::book::Book;
use crate::screen::{self, Resolver, Screen};
use crate::store::{self, Db};
use crate::telemetry::{Metrics, name};

/// How often the database is asked whether the configuration changed.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How long the last records may take to be written once the dispatcher has ended.
const FLUSH_AT_MOST: Duration = Duration::from_secs(10);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Serves calls and API until `shutdown`; then drains. Records are written before it returns.
///
/// # Errors
/// Whatever keeps it from starting: data directory in use, database, port, node settings.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_with(config, Resolver::system(), shutdown).await
}

/// As [`run`], with another way to look names up.
///
/// # Errors
/// As [`run`].
pub async fn run_with(config: Config, resolver: Resolver, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.require_ari()?;
    let _lock = DataLock::take(&config.data_dir)?;
    let metrics = Metrics::install()?;
    let clock = Clock::start();
    let db = open(&config).await?;
    let registry = Arc::new(Registry::new(
        Book::with_totals(store::snapshot::totals(&db).await?),
        store::snapshot::load(&db).await?,
    ));
    store::realtime::publish(&db, &config.realtime).await.context("cannot publish the SIP settings to Asterisk")?;

    first_admin::ensure(&db, &config, clock).await?;

    let (records, finished) = mpsc::unbounded_channel();
    let ending = writer::Ending::default();
    let writing = tokio::spawn(writer::run(db.clone(), finished, ending.clone()));
    let limits = Limits::new(&config.calls, config.rejections);
    let context = Context { registry: Arc::clone(&registry), records, clock, limits };

    // Everything below outlives the dispatcher's draining, so it gets a token of its own.
    let sockets = CancellationToken::new();
    let (events, queue) = mpsc::channel(config.calls.event_queue);
    let nodes = connect_nodes(&config, &events, clock, &sockets)?;
    drop(events);
    let (health, healths) = watch::channel(Vec::new());
    let screen = Arc::new(Screen::new(&config, resolver));
    let handles: Vec<_> = nodes.iter().map(|(handle, _)| handle.clone()).collect();
    let asked = handles.iter().cloned().zip(config.nodes.iter().cloned()).collect();
    let presence = Arc::new(Presence::new(asked, clock, config.calls.request_timeout));
    let state = api::State {
        registry: Arc::clone(&registry),
        nodes: healths,
        metrics: metrics.clone(),
        db: db.clone(),
        clock,
        config: Arc::new(config.clone()),
        authority: Arc::new(Authority::new(&config)?),
        screen: Arc::clone(&screen),
        presence,
    };
    let api = tokio::spawn(api::serve(config.api.listen, state, sockets.clone()).await?);
    tokio::spawn(keep_up(metrics, sockets.clone()));
    let screening = screen::watch(db.clone(), screen, clock, config.sip.resolve_every, sockets.clone());
    let screening = tokio::spawn(screening);
    let watching = tokio::spawn(watch_configuration(db.clone(), config.clone(), registry, sockets.clone()));

    Dispatcher::new(nodes, context, config.calls.max_live, health).run(queue, shutdown, config.calls.drain).await;
    sockets.cancel();
    for handle in handles {
        handle.closed().await;
    }
    watching.await.context("the watcher of the configuration panicked")?;
    screening.await.context("the watcher of clients' hosts panicked")?;
    api.await.context("the API server panicked")?.context("the API server failed")?;
    flush(writing, &ending).await?;
    db.close().await?;
    info!("stopped");
    Ok(())
}

async fn open(config: &Config) -> anyhow::Result<Db> {
    let db = Db::connect(&config.database).await?;
    store::migrate(&db, &config.realtime).await?;
    info!(database = db.target(), "database ready");
    Ok(db)
}

type Nodes = Vec<(crate::ari::NodeHandle, Intake)>;

fn connect_nodes(
    config: &Config,
    events: &mpsc::Sender<NodeEvent>,
    clock: Clock,
    sockets: &CancellationToken,
) -> anyhow::Result<Nodes> {
    let spawn = |(index, node)| {
        let handle = Node::spawn(index, node, config.calls.request_timeout, events, clock, sockets)?;
        Ok((handle, Intake::new(node)))
    };
    config.nodes.iter().enumerate().map(spawn).collect()
}

/// Puts every change of the configuration in force within a second, here and in Asterisk.
async fn watch_configuration(db: Db, config: Config, registry: Arc<Registry>, shutdown: CancellationToken) {
    let mut poll = interval(POLL_EVERY);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            // A database that is silent must not keep the process from stopping.
            refreshed = poll_and_refresh(&mut poll, &db, &config, &registry) => match refreshed {
                Ok(()) if failing => {
                    failing = false;
                    info!("the configuration can be read again");
                }
                Ok(()) => {}
                // Once per outage: routing goes on from the snapshot in memory.
                Err(error) if !failing => {
                    failing = true;
                    warn!(error = format!("{error:#}"), "the configuration cannot be read; routing goes on with the last one");
                }
                Err(_) => {}
            },
        }
    }
}

async fn keep_up(metrics: Metrics, shutdown: CancellationToken) {
    let mut upkeep = interval(UPKEEP_EVERY);
    while shutdown.run_until_cancelled(upkeep.tick()).await.is_some() {
        metrics.upkeep();
    }
}

async fn poll_and_refresh(poll: &mut Interval, db: &Db, config: &Config, registry: &Registry) -> anyhow::Result<()> {
    poll.tick().await;
    refresh(db, config, registry).await
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; revisions stay far below 2^53")]
async fn refresh(db: &Db, config: &Config, registry: &Registry) -> anyhow::Result<()> {
    if store::snapshot::revision(db).await? == registry.snapshot().revision {
        return Ok(());
    }
    let snapshot = store::snapshot::load(db).await?;
    let revision = snapshot.revision;
    // Asterisk first: a client must be dialable before a call can be routed to it.
    store::realtime::publish(db, &config.realtime).await?;
    registry.swap_snapshot(snapshot);
    metrics::gauge!(name::ROUTING_REVISION).set(revision as f64);
    info!(revision, "configuration changed");
    Ok(())
}

async fn flush(mut writing: tokio::task::JoinHandle<()>, ending: &writer::Ending) -> anyhow::Result<()> {
    ending.closing.cancel();
    let ended = match tokio::time::timeout(FLUSH_AT_MOST, &mut writing).await {
        Ok(ended) => ended,
        Err(_) => {
            ending.give_up.cancel();
            writing.await
        }
    };
    ended.context("the writer of records panicked")
}
