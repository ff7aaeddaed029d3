//! One call's task: feeds its machine, carries out the effects, sleeps until the next deadline.

use std::sync::Arc;

use futures_channel::mpsc;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tracing::{debug, error, info};

use super::attempt::Leg;
use super::breakers;
use super::execute;
use super::facts::Limits;
use super::guard::{self, Remains, trap};
use super::io::{Effect, Failure, Heed, Input, Op};
use super::live::{LiveView, Mark};
use super::machine::Call;
use super::news::{CallNews, Happening, Step, Teller};
use super::registry::Registry;
use crate::ari::{Error, Lane, Variable};
use crate::cdr::fold;
use crate::cdr::journal::Journal;
use crate::cdr::open::OpenCall;
use crate::cdr::record::CallRecord;
use crate::clock::{Clock, Now};
use crate::in_force::InForce;
use crate::mistakes::{Mistake, on};
use crate::panics::{self, Panic};
use crate::routing::breaker::At;
#[cfg(test)]
use crate::routing::caps::Permit;
use crate::telemetry::name;

/// What a call's task works with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) registry: Arc<Registry>,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) limits: InForce<Limits>,
}

/// What a call waits for, and what came of it.
type Asked = BoxFuture<'static, Answer>;

enum Answer {
    /// Of Asterisk; of a look at a channel, what was seen.
    Request(Op, Result<Option<String>, Error>),
    /// Of the journal: whether it has this attempt.
    Commit(u32, bool),
}

/// What the journal was told of the call last: only what another run would have to know is told it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    routed: bool,
    attempts: usize,
    gone: usize,
    /// Whether it is known, too, that the caller was answered.
    answered: Option<bool>,
    ended: bool,
}

impl Told {
    fn of(call: &Call) -> Self {
        Self {
            routed: call.trace.is_some(),
            attempts: call.attempts.len(),
            gone: call.attempts.iter().filter(|attempt| attempt.leg == Leg::Gone).count(),
            answered: call.attempts.last().and_then(|attempt| attempt.answered).map(|answer| answer.before.is_some()),
            ended: call.end.is_some(),
        }
    }
}

struct CallTask {
    call: Call,
    lane: Lane,
    context: Context,
    asked: FuturesUnordered<Asked>,
    /// What others last saw of it.
    shown: Option<Mark>,
    /// What comparisons last heard of it.
    heeds: Heed,
    /// What listeners were told of it.
    teller: Teller,
    /// Its record has been handed over.
    recorded: bool,
    /// What the journal was told of it; `None`: nothing yet.
    told: Option<Told>,
}

/// Runs a call to its end. It ends when there is evidence that all its channels are gone.
pub(crate) fn run(
    call: Call,
    first: Input,
    lane: Lane,
    context: Context,
    inputs: mpsc::UnboundedReceiver<Input>,
) -> impl Future<Output = ()> + Send {
    CallTask::new(call, lane, context).live(Begins::With(first), inputs)
}

/// Runs a call that is already under way to its end; `heard` is what has happened to it, and when, while it was taken over.
pub(crate) fn drive(
    call: Call,
    heard: Vec<(Now, Input)>,
    lane: Lane,
    context: Context,
    inputs: mpsc::UnboundedReceiver<Input>,
) -> impl Future<Output = ()> + Send {
    CallTask::new(call, lane, context).live(Begins::UnderWay(heard), inputs)
}

/// How a task begins.
enum Begins {
    /// With the call's first input.
    With(Input),
    /// With what has happened to it already, and when.
    UnderWay(Vec<(Now, Input)>),
}

impl CallTask {
    /// In a box: a future that holds it by value would hold it several times over, and be copied with it into its task.
    fn new(call: Call, lane: Lane, context: Context) -> Box<Self> {
        let (asked, teller) = (FuturesUnordered::new(), Teller::default());
        Box::new(Self {
            call,
            lane,
            context,
            asked,
            shown: None,
            heeds: Heed::default(),
            teller,
            recorded: false,
            told: None,
        })
    }

    /// To the call's end, which is a clean one even if anything of this panics.
    async fn live(mut self: Box<Self>, begins: Begins, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let life = async {
            match begins {
                Begins::With(input) => self.feed(input),
                Begins::UnderWay(heard) => {
                    self.show();
                    self.note();
                    heard.into_iter().for_each(|(at, input)| self.feed_at(input, at));
                }
            }
            self.drive(&mut inputs).await;
        };
        if let Err(panic) = panics::caught(life).await {
            self.clear_up(panic, inputs).await;
        }
    }

    fn clear_up(self: Box<Self>, panic: Panic, inputs: mpsc::UnboundedReceiver<Input>) -> BoxFuture<'static, ()> {
        let Self { call, lane, context, recorded, .. } = *self;
        Box::pin(guard::clear(Remains { call, lane, context, recorded }, panic, inputs))
    }

    async fn drive(&mut self, inputs: &mut mpsc::UnboundedReceiver<Input>) {
        while !self.call.is_done() {
            let deadline = self.call.deadline().map(|at| self.context.clock.instant(at));
            let tick = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What happened comes before what has not: an answer in the inbox beats the timer that expired meanwhile.
                biased;
                Some(input) = inputs.next() => self.feed(input),
                Some(answer) = self.asked.next(), if !self.asked.is_empty() => self.answered(answer),
                () = tick => self.feed(self.due()),
            }
        }
        self.context.registry.remove(self.call.facts.call_id);
        self.tell((Happening::Ended, self.call.attempts.len().checked_sub(1)));
        // A node that answers nothing is known by it only when the deadlines pass: most callers have gone by then.
        while let Some(answer) = self.asked.next().await {
            if let Answer::Request(op, outcome) = answer {
                self.note_outcome(op, &outcome.map(drop));
            }
        }
    }

    /// What a deadline that has passed means.
    fn due(&self) -> Input {
        let now = self.context.clock.now();
        if now.mono < self.call.expiry() {
            return Input::Tick;
        }
        Input::Expired { heard_until: self.heard_until() }
    }

    /// Up to when whatever happened to the call was heard.
    fn heard_until(&self) -> Now {
        let (call, now) = (self.call.facts.call_id, self.context.clock.now());
        self.context.registry.heard_until(call, self.lane.silent_since(), now)
    }

    /// What the outcome of a request shows of the node.
    fn note_outcome(&self, op: Op, outcome: &Result<(), Error>) {
        self.context.registry.node_breakers.note(&self.call, op, outcome, self.context.clock.now());
    }

    /// Steps the machine, and again with what its synchronous effects bring, until only requests are under way.
    fn feed(&mut self, input: Input) {
        self.feed_at(input, self.context.clock.now());
    }

    /// The same with what happened some time ago.
    fn feed_at(&mut self, input: Input, at: Now) {
        let mut next = Some((input, at));
        while let Some((input, now)) = next.take() {
            let before = self.call.label();
            let event = input.to_string();
            let effects = self.call.step(input, now);
            trap(&self.call, &event);
            self.log(&before, &event, !effects.is_empty());
            for effect in effects {
                // Route and TakeNext are always the last effect of their step, so one answer is all there can be.
                let brought = self.carry_out(effect).map(|input| (input, self.context.clock.now()));
                next = next.or(brought);
            }
        }
        self.show();
        self.note();
    }

    /// Tells the journal how the call stands, where another run would have to know.
    fn note(&mut self) {
        let now = Told::of(&self.call);
        if !self.call.is_done() && self.told != Some(now) {
            let dials_as_before = self.told.is_some_and(|told| told.attempts == now.attempts);
            let open = self.open();
            self.context.journal.note(open, dials_as_before);
        }
    }

    /// The call as the journal is now told of it.
    fn open(&mut self) -> OpenCall {
        let before = self.told.replace(Told::of(&self.call));
        let with_trace = before.is_none_or(|before| !before.routed);
        OpenCall::of(&self.call, with_trace, self.context.clock.now(), self.context.clock.stamp())
    }

    /// Tells the registry how the call stands, where that has changed, and listeners what happened.
    fn show(&mut self) {
        trap(&self.call, "show");
        let mark = Mark::of(&self.call);
        if self.shown != Some(mark) {
            self.context.registry.show(LiveView::of(&self.call));
            self.shown = Some(mark);
        }
        let heeds = self.call.heed();
        if std::mem::replace(&mut self.heeds, heeds) != heeds {
            self.context.registry.heed(self.call.facts.call_id, heeds);
        }
        for step in self.teller.news(&self.call) {
            self.tell(step);
        }
    }

    fn tell(&self, step: Step) {
        self.context.registry.announce(|| CallNews::of(&self.call, step, self.context.clock.now()));
    }

    fn log(&self, before: &str, event: &str, acted: bool) {
        let (call, after) = (self.call.facts.call_id, self.call.label());
        // The message is named to stand behind the call: `call=… A -> event -> B`.
        if before != after {
            info!(%call, message = format_args!("{before} -> {event} -> {after}"));
        } else if acted || event != "tick" {
            debug!(%call, message = format_args!("{before} -> {event} -> {after}"));
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        let id = self.call.facts.call_id;
        let registry = &self.context.registry;
        let at = At { node: &self.call.facts.node, now: self.context.clock.now() };
        match effect {
            Effect::Route { n } => {
                let snapshot = registry.snapshot();
                let (decision, offer) = registry.book().admit(&snapshot, &self.call.facts.dialled, at, (id, n));
                return Some(Input::Routed(Box::new((decision, offer))));
            }
            Effect::TakeNext { n, from } => {
                let snapshot = registry.snapshot();
                let campaign = self.call.campaign.as_ref().map(|c| c.id)?;
                let offer = registry.book().take_next(&snapshot, campaign, (&self.call.plan, from), at, (id, n));
                return Some(Input::Taken(offer.map(Box::new)));
            }
            Effect::Sign { n, sign } => {
                let attempt = self.call.attempt(n)?;
                breakers::note_sign(registry, at, &attempt.client, (id, n), sign);
            }
            Effect::Commit { n } => {
                let open = self.open();
                let kept = self.context.journal.commit(open);
                self.asked.push(Box::pin(async move { Answer::Commit(n, kept.await.is_ok()) }));
            }
            Effect::Release { n, counted } => {
                let released = registry.book().ledger.release((id, n), counted);
                #[cfg(test)]
                if !released && on(Mistake::ReleasedTwice) {
                    let attempt = self.call.attempt(n).map(|it| (it.link.id, it.client.id));
                    let campaign = self.call.campaign.as_ref().map(|campaign| campaign.id);
                    if let (Some((link, client)), Some(campaign)) = (attempt, campaign) {
                        registry.book().ledger.release_again(Permit { campaign, link, client });
                    }
                }
                if !released {
                    error!(call = %id, n, "a permit was released that was not held");
                }
            }
            Effect::Leave { n, counted } => registry.yield_permit((id, n), counted),
            Effect::Forget => {
                self.context.journal.forget(id);
                registry.disown(id);
            }
            Effect::Ask(op) => self.ask(op),
            Effect::Finish => self.finish(),
        }
        None
    }

    fn ask(&mut self, op: Op) {
        if op == Op::CreateLeg(1) {
            let took = self.context.clock.now().mono.saturating_sub(self.call.arrived.mono);
            metrics::histogram!(name::ROUTE_SECONDS).record(took.as_secs_f64());
        }
        if let Some(pending) = execute::ask(&self.call, &self.lane, op) {
            let looks = matches!(op, Op::Look(_) | Op::LookForMedia(_));
            let answer = async move {
                let answer = pending.await?;
                looks.then(|| answer.json::<Variable>().map(|variable| variable.value)).transpose()
            };
            self.asked.push(Box::pin(async move { Answer::Request(op, answer.await) }));
        }
    }

    fn answered(&mut self, answer: Answer) {
        let (op, outcome) = match answer {
            Answer::Request(op, outcome) => (op, outcome),
            Answer::Commit(n, true) => return self.feed(Input::Committed(n)),
            Answer::Commit(n, false) => return self.feed(Input::NotCommitted(n)),
        };
        let (value, outcome) = match outcome {
            Ok(value) => (value, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.note_outcome(op, &outcome);
        let Err(error) = outcome else {
            match op {
                Op::CreateLeg(n) => self.context.registry.leg_seen(self.call.facts.call_id, n),
                Op::Join { n, .. } => self.feed(Input::Joined(n)),
                Op::Dial { n, .. } => self.feed(Input::Dialled(n)),
                _ => value.and_then(|value| execute::seen(op, &value)).into_iter().for_each(|seen| self.feed(seen)),
            }
            return;
        };
        let failure = match &error {
            Error::Rejected { status, .. } => Failure::Rejected(*status),
            Error::NotSent(_) if error.is_unanswered() => Failure::Late,
            Error::NotSent(_) | Error::Tls(_) => Failure::NotSent,
            Error::OutcomeUnknown(_) | Error::Protocol(_) => Failure::Unknown,
        };
        debug!(call = %self.call.facts.call_id, %op, %error, "request failed");
        self.feed(match (op, failure) {
            (Op::HangUpLeg(n), Failure::Rejected(404)) => Input::LegAbsent { n, heard_until: self.heard_until() },
            (Op::HangUpCaller(_), Failure::Rejected(404)) => Input::CallerAbsent { heard_until: self.heard_until() },
            _ => Input::RequestFailed(op, failure),
        });
    }

    fn finish(&mut self) {
        if on(Mistake::NoRecordWithoutDial) && self.call.attempts.is_empty() {
            self.recorded = true;
            return self.context.journal.forget(self.call.facts.call_id);
        }
        let record = fold::record(&self.call, self.context.clock.now());
        hand_over(&self.context, record);
        self.recorded = true;
    }
}

/// The call is over: its record goes to the journal, whatever else goes wrong.
pub(super) fn hand_over(context: &Context, record: CallRecord) {
    if let Err(panic) = panics::caught_now(|| measure(&record)) {
        error!(call = %record.call_id, place = panic.place, error = panic.message, "a call's end could not be measured");
    }
    context.journal.finish(record);
}

/// Counts and logs a call that has ended.
pub(super) fn measure(record: &CallRecord) {
    info!(
        call = %record.call_id, ending = record.ending, hung_up_by = %record.hung_up_by,
        client = record.answered_client_name, talk_ms = record.talk_ms, attempts = record.attempts.len(), "call ended"
    );
    metrics::counter!(name::CALLS, "ending" => record.ending.clone()).increment(1);
    for attempt in &record.attempts {
        metrics::counter!(name::ATTEMPTS, "outcome" => attempt.outcome.as_str()).increment(1);
    }
    if let Some(answered) = record.answered_at {
        let setup = (answered - record.arrived_at).to_std().unwrap_or_default();
        metrics::histogram!(name::SETUP_SECONDS).record(setup.as_secs_f64());
    }
}
