//! A body that comes over the network, for a reader that blocks: what it reads is handed over piece by piece, so that the reader's thread
//! touches nothing of the runtime, which may end first.

use std::io::{self, Read};

use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Bytes;

/// Pieces that wait for the reader; the network waits behind them.
const WAITING: usize = 4;

/// The end that reads the network.
#[derive(Debug)]
pub(super) struct Feed(mpsc::Sender<io::Result<Bytes>>);

/// The end that blocks.
#[derive(Debug)]
pub(super) struct Chunks {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Chunks {
    pub(super) fn new() -> (Feed, Self) {
        let (feed, pieces) = mpsc::channel(WAITING);
        (Feed(feed), Self { pieces, piece: Bytes::new() })
    }
}

impl Feed {
    /// Hands all of the body over, an error as well; less where the reader wants no more.
    pub(super) async fn all_of<E>(self, body: impl Stream<Item = Result<Bytes, E>>)
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut body = std::pin::pin!(body.map_err(io::Error::other));
        while let Some(piece) = body.next().await {
            if self.0.send(piece).await.is_err() {
                return;
            }
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(into.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read(pieces: Vec<Result<&'static str, &'static str>>) -> io::Result<String> {
        let (feed, mut chunks) = Chunks::new();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            chunks.read_to_string(&mut text).map(|_| text)
        });
        feed.all_of(stream::iter(pieces.into_iter().map(|piece| piece.map(Bytes::from)))).await;
        reading.await.expect("no panic")
    }

    #[tokio::test]
    async fn a_body_is_read_in_order_and_its_error_is_the_readers() {
        let pieces = (0..100).map(|_| Ok("ab")).chain([Ok(""), Ok("c")]).collect();
        assert_eq!(read(pieces).await.expect("a body"), "ab".repeat(100) + "c");
        assert_eq!(read(vec![Ok("a"), Err("lost")]).await.expect_err("lost").to_string(), "lost");
    }

    #[tokio::test]
    async fn a_reader_that_has_enough_holds_nobody_up() {
        let (feed, chunks) = Chunks::new();
        drop(chunks);
        feed.all_of(stream::iter((0..100).map(|_| Ok::<_, io::Error>(Bytes::from("ab"))))).await;
    }
}
