//! One request under way: exactly one outcome, decided by whoever knows it first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::clock::Clock;
use super::error::{Error, LATE_IN_QUEUE, NO_ANSWER};
use super::meters::Meters;
use super::request::Rendered;

/// Waiting for its turn; nothing has reached a socket.
const QUEUED: u8 = 0;
/// Handed to a socket.
const SENT: u8 = 1;
/// Given up by the one who waited, while still queued: must never be sent.
const ABANDONED: u8 = 2;

/// A request with less time left is not sent: its answer could hardly come in time, and its outcome would be unknown.
const LEAST_LEFT: Duration = Duration::from_millis(5);

const NOT_CONNECTED: &str = "there is no connection to Asterisk";
const CONNECTION_LOST: &str = "the connection was lost before the answer came";

/// A positive answer (2xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status, 200 to 299.
    pub status: u16,
    /// JSON text; empty where Asterisk sent none (204).
    pub body: String,
}

impl Response {
    /// Tells an answer from a refusal.
    ///
    /// # Errors
    /// [`Error::Rejected`] for every status but 2xx.
    pub(super) fn from_parts(status: u16, reason: &str, body: String) -> Result<Self, Error> {
        if (200..300).contains(&status) {
            return Ok(Self { status, body });
        }
        #[derive(Deserialize)]
        struct Refusal {
            message: Option<String>,
            error: Option<String>,
        }
        let refusal = serde_json::from_str::<Refusal>(&body).ok();
        let message = refusal.and_then(|refusal| refusal.message.or(refusal.error));
        Err(Error::Rejected { status, message: message.unwrap_or_else(|| reason.to_owned()) })
    }

    /// Whether the body is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.body.trim().is_empty()
    }

    /// Reads the body as one of the model's objects.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the body is not one.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.body).map_err(|error| Error::Protocol(error.to_string()))
    }
}

/// A request on its way to the socket.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Rendered,
    pub(super) ticket: Ticket,
}

/// The sender's end of one request. Dropped without [`Ticket::finish`] it answers by how far the request came.
#[derive(Debug)]
pub(super) struct Ticket {
    meters: Arc<Meters>,
    kind: &'static str,
    clock: Clock,
    queued_at: Duration,
    deadline: Duration,
    stage: Arc<AtomicU8>,
    reply: Option<oneshot::Sender<Result<Response, Error>>>,
}

impl Ticket {
    /// Starts the request's deadline.
    pub(super) fn issue(meters: &Arc<Meters>, kind: &'static str, clock: Clock, timeout: Duration) -> (Self, Pending) {
        let (reply, answer) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(QUEUED));
        let queued_at = clock.mono();
        let deadline = queued_at + timeout;
        let sleep = Box::pin(tokio::time::sleep_until(clock.instant(deadline)));
        let pending = Pending { answer, sleep, stage: Arc::clone(&stage) };
        (Self { meters: Arc::clone(meters), kind, clock, queued_at, deadline, stage, reply: Some(reply) }, pending)
    }

    /// Call right before the bytes go to the socket. `false`: it is too late, send nothing and drop the ticket.
    pub(super) fn start(&self) -> bool {
        self.remaining() > LEAST_LEFT
            && self.stage.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.clock.mono() >= self.deadline
    }

    /// Monotonic time at which it was queued.
    pub(super) fn queued_at(&self) -> Duration {
        self.queued_at
    }

    /// Time left until the deadline.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_sub(self.clock.mono())
    }

    /// Tells the outcome.
    pub(super) fn finish(mut self, outcome: Result<Response, Error>) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<Response, Error>) {
        let Some(reply) = self.reply.take() else { return };
        let word = outcome.as_ref().map_or_else(Error::kind, |_| "ok");
        self.meters.request(self.kind, word, self.clock.mono().saturating_sub(self.queued_at));
        // The one who asked may not care for the answer: then there is nobody to tell.
        drop(reply.send(outcome));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = match (self.stage.load(Ordering::Acquire) == SENT, self.is_late()) {
            (true, true) => Error::OutcomeUnknown(NO_ANSWER),
            (true, false) => Error::OutcomeUnknown(CONNECTION_LOST),
            (false, _) if self.remaining() <= LEAST_LEFT => Error::NotSent(LATE_IN_QUEUE),
            (false, _) => Error::NotSent(NOT_CONNECTED),
        };
        self.settle(Err(outcome));
    }
}

/// A request's answer to come, at its deadline at the latest. Dropping it does not cancel the request.
#[derive(Debug)]
#[must_use = "await the outcome, or drop it on purpose: the request is sent either way"]
pub struct Pending {
    answer: oneshot::Receiver<Result<Response, Error>>,
    sleep: Pin<Box<Sleep>>,
    stage: Arc<AtomicU8>,
}

impl Future for Pending {
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            // A ticket always settles, also when dropped; a closed channel is only possible after an earlier Ready.
            return Poll::Ready(answer.unwrap_or(Err(Error::OutcomeUnknown(CONNECTION_LOST))));
        }
        if self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let was = self.stage.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        Poll::Ready(Err(match was {
            Ok(_) | Err(ABANDONED) => Error::NotSent(LATE_IN_QUEUE),
            Err(_) => Error::OutcomeUnknown(NO_ANSWER),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(millis: u64) -> (Ticket, Pending) {
        Ticket::issue(&Arc::new(Meters::new("n", "")), "ring", Clock::start(), Duration::from_millis(millis))
    }

    #[tokio::test]
    async fn a_ticket_dropped_before_sending_is_not_sent() {
        let (ticket, pending) = issue(10_000);
        drop(ticket);
        assert_eq!(pending.await, Err(Error::NotSent(NOT_CONNECTED)));
    }

    #[tokio::test]
    async fn a_ticket_dropped_after_sending_is_unknown() {
        let (ticket, pending) = issue(10_000);
        assert!(ticket.start());
        drop(ticket);
        assert_eq!(pending.await, Err(Error::OutcomeUnknown(CONNECTION_LOST)));
    }

    #[tokio::test]
    async fn what_was_given_up_in_the_queue_is_never_sent() {
        let (ticket, pending) = issue(50);
        assert_eq!(pending.await, Err(Error::NotSent(LATE_IN_QUEUE)));
        assert!(!ticket.start());
    }

    #[tokio::test]
    async fn a_sent_request_without_an_answer_is_unknown() {
        let (ticket, pending) = issue(50);
        assert!(ticket.start());
        assert_eq!(pending.await, Err(Error::OutcomeUnknown(NO_ANSWER)));
    }

    #[test]
    fn a_refusal_carries_asterisks_words() {
        let refused = |body: &str| Response::from_parts(404, "Not Found", body.to_owned());
        let rejected = |message: &str| Err(Error::Rejected { status: 404, message: message.to_owned() });
        assert_eq!(refused(r#"{"message":"Channel not found"}"#), rejected("Channel not found"));
        assert_eq!(refused(r#"{"error":"Allocation failed"}"#), rejected("Allocation failed"));
        assert_eq!(refused("<html>"), rejected("Not Found"));
        assert_eq!(refused(""), rejected("Not Found"));
    }
}
