//! One request being served: from its head to the end of its answer it is noted what is waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use poem::{Body, Request};

use super::gate::Held;
use crate::clock::Clock;

/// While a request is served and its answer handed over.
pub(super) struct Serving {
    held: Arc<Held>,
    clock: Clock,
}

impl Serving {
    pub(super) fn begin(held: &Arc<Held>, clock: Clock) -> Self {
        held.pulse().asked();
        Self { held: Arc::clone(held), clock }
    }

    /// Its answer begins, with this body.
    pub(super) fn answers<B>(self, body: B) -> Answer<B> {
        self.held.pulse().answers();
        Answer { body, _serving: self }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.held.pulse().answered(self.clock.now().mono);
    }
}

/// An answer's body, at whose end the request has been served.
pub(super) struct Answer<B> {
    body: B,
    _serving: Serving,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The request, whose body notes while it is waited for.
pub(super) fn received(mut request: Request, held: &Arc<Held>, clock: Clock) -> Request {
    let body = request.take_body();
    if body.is_empty() {
        return request;
    }
    let stream = body.into_bytes_stream().boxed();
    request.set_body(Body::from_bytes_stream(Received { stream, held: Arc::clone(held), clock }));
    request
}

/// A request's body.
struct Received<S> {
    stream: S,
    held: Arc<Held>,
    clock: Clock,
}

impl<S: Stream + Unpin> Stream for Received<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let next = Pin::new(&mut self.stream).poll_next(cx);
        match next {
            Poll::Pending => self.held.pulse().body_waits(self.clock.now().mono),
            Poll::Ready(None) => self.held.pulse().body_ended(),
            Poll::Ready(Some(_)) => {}
        }
        next
    }
}

impl<S> Drop for Received<S> {
    fn drop(&mut self) {
        self.held.pulse().body_ended();
    }
}
