//! A TCP relay that can be slow, silent or cut: between the controller and ARI, and between the controller and PostgreSQL.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// What comes goes on at once.
    Sound,
    /// What comes goes on after this time.
    Slow(Duration),
    /// Nothing goes on, connections stay open and new ones are taken: half open. Once the wire is sound again it all arrives, as TCP sees to.
    Silent,
}

/// One relay, with a thread of its own: it keeps time whatever the program does beside it. It ends with the program.
#[derive(Debug)]
pub(crate) struct Wire {
    condition: watch::Sender<Condition>,
    cuts: watch::Sender<u32>,
}

impl Wire {
    /// Lays it from `port` on 127.0.0.1 to `target`.
    pub(crate) fn lay(port: u16, target: SocketAddr) -> Self {
        let (condition, cuts) = (watch::Sender::new(Condition::Sound), watch::Sender::new(0));
        let listener = std::net::TcpListener::bind(("127.0.0.1", port));
        let listener = listener.unwrap_or_else(|e| panic!("cannot listen on port {port}: {e}"));
        listener.set_nonblocking(true).expect("a listener can be made not to block");
        let (seen, cut) = (condition.clone(), cuts.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener of this process");
                while let Ok((near, _)) = listener.accept().await {
                    let (condition, mut cut) = (seen.subscribe(), cut.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            // Who closes or fails first ends both ways; the other side notices by itself.
                            _over = relay(near, target, condition) => {}
                            _cut = cut.changed() => {}
                        }
                    });
                }
            });
        });
        Self { condition, cuts }
    }

    /// From now on it is so.
    pub(crate) fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    /// Closes every connection that is open now, with what is on its way; new ones are relayed again.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }
}

async fn relay(near: TcpStream, target: SocketAddr, condition: watch::Receiver<Condition>) -> std::io::Result<()> {
    until_heard(&condition).await;
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        ended = carry(near_in, far_out, condition.clone()) => ended,
        ended = carry(far_in, near_out, condition) => ended,
    }
}

/// One direction, until its sender closes.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    condition: watch::Receiver<Condition>,
) -> std::io::Result<()> {
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let (reading, writing) = (condition.clone(), condition);
    let read = async move {
        let mut buffer = [0; 16_384];
        loop {
            let length = from.read(&mut buffer).await?;
            let slow = match *reading.borrow() {
                Condition::Slow(by) => by,
                Condition::Sound | Condition::Silent => Duration::ZERO,
            };
            // An end is heard as late as everything else: as an empty piece.
            if send.send((Instant::now() + slow, buffer[..length].to_vec())).is_err() || length == 0 {
                std::future::pending::<()>().await;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = receive.recv().await {
            sleep_until(due).await;
            until_heard(&writing).await;
            if piece.is_empty() {
                break;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::select! { ended = read => ended, ended = write => ended }
}

/// Waits while the wire is silent.
async fn until_heard(condition: &watch::Receiver<Condition>) {
    let mut condition = condition.clone();
    // It fails only when the program ends.
    let _heard = condition.wait_for(|now| *now != Condition::Silent).await;
}
