//! `capconduit serve`: signals become a request to drain.

use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app;
use crate::config::Config;

/// Runs the app until SIGTERM or SIGINT, then lets it drain; a second signal ends the process at once.
pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    config.require_ari()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let shutdown = CancellationToken::new();
    let app = app::run(config, shutdown.clone());
    tokio::pin!(app);
    tokio::select! {
        ended = &mut app => return ended.map(|()| ExitCode::SUCCESS),
        () = either(&mut terminate, &mut interrupt) => info!("stopping: no new calls; a second signal ends at once"),
    }
    shutdown.cancel();
    tokio::select! {
        ended = app => ended.map(|()| ExitCode::SUCCESS),
        () = either(&mut terminate, &mut interrupt) => {
            warn!("stopped before all calls had ended; the next start adopts them");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
