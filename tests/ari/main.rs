//! The ARI client against a fake Asterisk over real sockets.

#![allow(clippy::panic, reason = "a test's helpers fail by panicking")]

#[path = "../support/fake_ari.rs"]
mod fake_ari;
#[path = "../support/patience.rs"]
mod patience;

mod calls;
mod connection;
mod requests;

use std::time::Duration;

use capconduit::ari::{Clock, DownReason, Event, Info, Node, NodeEvent, NodeEventKind, NodeHandle};
use capconduit::config::Transport;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use fake_ari::FakeAri;
use patience::PATIENCE;

/// Deadline of the client's requests, unless a test chooses its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A fake Asterisk, a client, and the client's events.
struct Rig {
    fake: FakeAri,
    node: NodeHandle,
    events: mpsc::Receiver<NodeEvent>,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Rig {
    /// Connected, `Up` already taken from the queue.
    async fn up(transport: Transport) -> Self {
        let mut rig = Self::over(FakeAri::start().await, transport, REQUEST_TIMEOUT, 1024);
        rig.expect_up().await;
        rig
    }

    /// A client with one application, `cc-1`; nothing awaited yet.
    fn over(fake: FakeAri, transport: Transport, request_timeout: Duration, queue: usize) -> Self {
        let (sender, events) = mpsc::channel(queue);
        let (clock, shutdown) = (Clock::start(), CancellationToken::new());
        let config = fake.node("pbx", "cc", 1, transport);
        let node = Node::spawn(0, &config.ari(request_timeout), &sender, clock, &shutdown).expect("a usable node");
        Self { fake, node, events, clock, shutdown }
    }

    async fn next(&mut self) -> NodeEventKind {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event in time").expect("a client that runs").kind
    }

    async fn expect_up(&mut self) -> Info {
        match self.next().await {
            NodeEventKind::Up(info) => info,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    async fn expect_down(&mut self) -> DownReason {
        match self.next().await {
            NodeEventKind::Down { reason, .. } => reason,
            other => panic!("expected Down, got {other:?}"),
        }
    }

    /// The next event of a kind that is told apart.
    async fn event(&mut self) -> Event {
        loop {
            match self.next().await {
                NodeEventKind::Event(Event::Other { .. }) => {}
                NodeEventKind::Event(event) => return event,
                other => panic!("expected an event, got {other:?}"),
            }
        }
    }

    /// Skips what comes before an event of this kind about this channel.
    async fn event_of(&mut self, kind: &str, channel: &str) -> Event {
        loop {
            let event = self.event().await;
            if event.kind() == kind && event.channel_id() == Some(channel) {
                return event;
            }
        }
    }
}
