//! The wire between the controller and a node's ARI, for tests that cut it or look at what goes through it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP relay. It works while the test awaits something, and ends with the test.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where the controller finds ARI: `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    cuts: watch::Sender<u32>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    /// Lays it from `port` to the ARI at `url`.
    pub(crate) async fn lay(port: u16, url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap_or(url).to_owned();
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.unwrap_or_else(|e| panic!("cannot listen on port {port}: {e}"));
        let (cuts, sent) = (watch::Sender::new(0), Arc::new(Mutex::new(Vec::new())));
        let (cut, seen) = (cuts.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, seen, mut cut) = (target.clone(), Arc::clone(&seen), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        // Who closes or fails first ends both ways; the other side notices by itself.
                        _over = relay(near, &target, &seen) => {}
                        _cut = cut.changed() => {}
                    }
                });
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), cuts, sent }
    }

    /// Closes every connection that is open now; new ones are relayed again.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Whether the controller has sent this text as plain HTTP. What it sends on a WebSocket is masked (RFC 6455
    /// section 5.3), and never seen here.
    pub(crate) fn carried(&self, text: &str) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

async fn relay(near: TcpStream, target: &str, seen: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let there = async {
        let mut buffer = [0; 16_384];
        loop {
            let length = near_in.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..length]);
            far_out.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = copy(&mut far_in, &mut near_out) => ended.map(drop),
    }
}
