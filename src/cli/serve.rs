//! `capconduit serve`: signals become requests to hand over, or to read the configuration anew.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::{self, Reload};
use crate::config::{Config, Sources};
use crate::screen::Resolver;

/// Runs the app until SIGTERM or SIGINT, reading the configuration anew on SIGHUP; then lets it hand over; a second signal ends the process at once.
pub(super) async fn run(config: Config, sources: Sources) -> anyhow::Result<ExitCode> {
    config.require_ari()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let (shutdown, asked) = (CancellationToken::new(), Arc::new(Notify::new()));
    let reload = Reload { sources, asked: Arc::clone(&asked) };
    let app = app::run_with(config, Resolver::system(), Some(reload), shutdown.clone());
    tokio::pin!(app);
    loop {
        tokio::select! {
            ended = &mut app => return ended.map(|()| ExitCode::SUCCESS),
            Some(()) = hangup.recv() => asked.notify_one(),
            () = either(&mut terminate, &mut interrupt) => break,
        }
    }
    info!("stopping; a second signal ends at once");
    shutdown.cancel();
    tokio::select! {
        ended = app => ended.map(|()| ExitCode::SUCCESS),
        () = either(&mut terminate, &mut interrupt) => {
            warn!("stopped before all was handed over; the next start finds what is there");
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
