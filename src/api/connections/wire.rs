//! A connection's socket, which notes what its peer does and keeps back what the HTTP library would answer by itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use poem::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::gate::Held;
use crate::clock::Clock;

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: TcpStream,
    /// What the library answered to what is no request: we say it better.
    pub(super) refused: Option<StatusCode>,
    /// The peer sends no more.
    pub(super) ended: bool,
    held: Arc<Held>,
    clock: Clock,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, held: Arc<Held>, clock: Clock) -> Self {
        Self { socket, refused: None, ended: false, held, clock }
    }

    /// Keeps back what is not ours to write; `None` where it is.
    fn keep_back(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.held.pulse().is_owed() {
            return None;
        }
        if self.refused.is_none() {
            self.refused = Some(status(bytes).unwrap_or(StatusCode::BAD_REQUEST));
        }
        Some(bytes.len())
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut pulse = self.held.pulse();
        match written {
            Poll::Ready(_) => pulse.taken(),
            Poll::Pending => pulse.stalls(self.clock.now().mono),
        }
        written
    }
}

/// The status of an answer's first line.
fn status(bytes: &[u8]) -> Option<StatusCode> {
    bytes.strip_prefix(b"HTTP/1.")?.get(2..5).and_then(|code| StatusCode::from_bytes(code).ok())
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.held.pulse().came(self.clock.now().mono);
        } else {
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(kept) = self.keep_back(bytes) {
            return Poll::Ready(Ok(kept));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first: &[u8] = bytes.iter().find(|part| !part.is_empty()).map_or(&[], |part| &**part);
        if let Some(kept) = self.keep_back(first) {
            return Poll::Ready(Ok(kept));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.held.pulse().flushed();
        Poll::Ready(Ok(()))
    }

    /// Whoever serves the connection closes it, when all is said.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_status_is_read_from_its_first_line() {
        for (line, wanted) in [
            ("HTTP/1.1 400 Bad Request\r\n", Some(400)),
            ("HTTP/1.0 431 Request Header Fields Too Large\r\n", Some(431)),
            ("HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(status(line.as_bytes()).map(|status| status.as_u16()), wanted, "{line}");
        }
    }
}
