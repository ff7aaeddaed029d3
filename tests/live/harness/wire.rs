//! The wire between the controller and a node's ARI, for tests that cut it or look at what goes through it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP relay. It works while the test awaits something, and ends with the test.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where the controller finds ARI: `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    cuts: watch::Sender<u32>,
    sent: Arc<Mutex<Vec<u8>>>,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    /// Lays it from `port` to the ARI at `url`.
    pub(crate) async fn lay(port: u16, url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap_or(url).to_owned();
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.unwrap_or_else(|e| panic!("cannot listen on port {port}: {e}"));
        let (cuts, sent, received) = (watch::Sender::new(0), Arc::default(), Arc::default());
        let (cut, there, back) = (cuts.clone(), Arc::clone(&sent), Arc::clone(&received));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut cut) = (target.clone(), cut.subscribe());
                let (there, back) = (Arc::clone(&there), Arc::clone(&back));
                tokio::spawn(async move {
                    tokio::select! {
                        // Who closes or fails first ends both ways; the other side notices by itself.
                        _over = relay(near, &target, (&there, &back)) => {}
                        _cut = cut.changed() => {}
                    }
                });
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), cuts, sent, received }
    }

    /// Closes every connection that is open now; new ones are relayed again.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// The states in which Asterisk's events of this kind have shown these channels, by the channels' ids, in order.
    pub(crate) fn shown(&self, kind: &str, channel_id: &str) -> Vec<String> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&received);
        let value = |event: &str, key: &str| {
            let (_, after) = event.split_once(&format!("\"{key}\":\""))?;
            after.split('"').next().map(str::to_owned)
        };
        let events = text.split("\"type\":\"").filter(|event| event.starts_with(&format!("{kind}\"")));
        let channels = events.filter_map(|event| event.split_once("\"channel\":")).map(|(_, channel)| channel);
        let of = channels.filter(|channel| value(channel, "id").is_some_and(|id| id == channel_id));
        of.filter_map(|channel| value(channel, "state")).collect()
    }

    /// Whether the controller has sent this text as plain HTTP. What it sends on a WebSocket is masked (RFC 6455
    /// section 5.3), and never seen here.
    pub(crate) fn carried(&self, text: &str) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

async fn relay(near: TcpStream, target: &str, seen: (&Mutex<Vec<u8>>, &Mutex<Vec<u8>>)) -> std::io::Result<()> {
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        ended = carry(near_in, far_out, seen.0) => ended,
        ended = carry(far_in, near_out, seen.1) => ended,
    }
}

/// One way, until it ends.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut buffer = [0; 16_384];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..length]);
        to.write_all(&buffer[..length]).await?;
    }
}
