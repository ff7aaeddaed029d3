//! Takes over calls of an earlier run of the controller: those whose parties are bridged, and those whose callers still wait.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::StreamExt;

use super::answer::Answer;
use super::attempt::Attempt;
use super::facts::CallFacts;
use super::io::Input;
use super::left;
use super::machine::{BEHIND, Call};
use super::reconcile::Adoption;
use super::task::{self, Context};
use crate::ari::{Lane, Request, Variable};
use crate::cdr::open::OpenCall;
use crate::cdr::record::{AttemptOutcome, CallRecord};
use crate::clock::Now;
use crate::id::{ClientId, LinkId};
use crate::routing::book::Offer;
use crate::routing::breaker::At;
use crate::routing::caps::Permit;
use crate::routing::snapshot::{CallerId, Campaign, Client, ClientIdentifier, CountOn, Link, Snapshot, Status};
use crate::routing::trace::TraceView;

/// What an earlier run noted of a call.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) call: OpenCall,
    /// When it arrived: by monotonic time, so that no jump of the clock makes it older or younger.
    pub(super) arrived: Now,
    /// How old it was when that run last knew how it stood.
    pub(super) lived: Duration,
    /// It was sent to the fallback, and nothing has told yet that it is there.
    pub(super) handed_over: bool,
    /// Attempts whose channels were gone while the caller still waited: none of them was the answer.
    pub(super) ruled_out: Vec<u32>,
}

impl Noted {
    /// Its record as a call of which nothing is there any more, gone so long after its arrival at most.
    pub(super) fn lost(mut self, gone: Duration) -> (CallRecord, Vec<left::Verdict>) {
        left::rule_out(&mut self.call, &self.ruled_out);
        left::lost(self.call, self.lived, gone)
    }
}

/// Rebuilds the call and runs it to its end.
pub(super) async fn run(
    facts: CallFacts,
    adoption: Adoption,
    noted: Option<Noted>,
    lane: Lane,
    context: Context,
    mut inputs: mpsc::UnboundedReceiver<Input>,
) {
    let (mut heard, limits) = (Vec::new(), context.limits.copy());
    let snapshot = context.registry.snapshot().clone();
    let at = At { node: &facts.node, now: context.clock.now() };
    let mut decision = context.registry.book().decide(&snapshot, &facts.dialled, at);
    let campaign = snapshot.campaigns.get(&adoption.permit.campaign).cloned();
    decision.campaign = campaign.or(decision.campaign);
    // What is in force now may be another decision than the one that brought the call here.
    decision.trace = None;
    let limit = decision.campaign.as_deref().and_then(|c| c.max_duration).unwrap_or(limits.max_duration);
    let offer = offer(&snapshot, decision.campaign.as_deref(), &adoption);
    let now = context.clock.now();
    let died = noted.as_ref().map(|noted| now.when(noted.arrived.mono + noted.lived));
    let known = noted.as_ref().and_then(|noted| times(noted, adoption.n, now));
    let (arrived, attempt) = match &known {
        Some(times) => (times.arrived, times.attempt(adoption.n, offer)),
        None => {
            // They talked when they were listed, whatever has happened since.
            let listed = now;
            let left = listening(time_left(&lane, &adoption.caller.id), &mut inputs, &context, &mut heard).await;
            let now = context.clock.now();
            let since = |at: chrono::DateTime<chrono::Utc>| now.before((now.wall - at).to_std().unwrap_or_default());
            let (arrived, started) = (since(adoption.caller.creationtime), since(adoption.leg.creationtime));
            let arrived = noted.as_ref().map_or(arrived, |noted| noted.arrived);
            let started = noted.as_ref().and_then(|noted| started_at(noted, adoption.n)).unwrap_or(started);
            // That run would have noted the answer: it came when it lived no more.
            let earliest = died.filter(|died| died.mono > started.mono).unwrap_or(started);
            let likely = answered_at(now, limit, left).unwrap_or(earliest);
            (arrived, Attempt::adopt(adoption.n, offer, started, Answer::found(earliest, likely, listed)))
        }
    };
    let before = noted.map(|noted| Box::new(left::all_but(noted.call, adoption.n).0));
    let up = attempt.answered.map_or(attempt.started, |answer| answer.after);
    let lived = died.filter(|died| died.mono > up.mono).unwrap_or(up);
    let (times, met) = ((arrived, lived), (attempt, adoption.bridge));
    // What was heard meanwhile happened then.
    let adopted = heard.first().map_or_else(|| context.clock.now(), |(at, _): &(Now, Input)| *at);
    let call = Call::adopt(facts, limits, times, decision, met, before, adopted);
    task::drive(call, heard, lane, context, inputs).await;
}

/// Waits for an answer, and notes what happens to the call meanwhile, and when.
async fn listening<T>(
    answer: impl Future<Output = T>,
    inputs: &mut mpsc::UnboundedReceiver<Input>,
    context: &Context,
    heard: &mut Vec<(Now, Input)>,
) -> T {
    let mut answer = pin!(answer);
    loop {
        tokio::select! {
            biased;
            Some(input) = inputs.next() => heard.push((context.clock.now(), input)),
            answer = &mut answer => return answer,
        }
    }
}

/// What an earlier run knew of an answered attempt.
struct Times {
    arrived: Now,
    started: Now,
    ringing: Option<Now>,
    answered: Answer,
}

impl Times {
    fn attempt(&self, n: u32, offer: Offer) -> Attempt {
        let mut attempt = Attempt::adopt(n, offer, self.started, self.answered);
        attempt.ringing = self.ringing;
        attempt
    }
}

/// `None` where the journal did not come to note the answer. Its caller is found to be answered now.
fn times(noted: &Noted, n: u32, now: Now) -> Option<Times> {
    let at = |wall| noted_at(noted, wall);
    let record = &noted.call.record;
    let attempt = record.attempts.iter().find(|attempt| attempt.number == n)?;
    let client = at(attempt.answered_at?);
    let after = record.answered_after.map_or(client, at);
    let answered = match record.answered_before.map(at) {
        _ if noted.call.answer_open => Answer::found(after, client, now),
        Some(before) => Answer::found(after, client, before),
        None => Answer::of_caller(client, None),
    };
    Some(Times {
        arrived: noted.arrived,
        started: at(attempt.started_at),
        ringing: attempt.ringing_at.map(at),
        answered,
    })
}

/// When an attempt that the journal has began.
fn started_at(noted: &Noted, n: u32) -> Option<Now> {
    let attempt = noted.call.record.attempts.iter().find(|attempt| attempt.number == n)?;
    Some(noted_at(noted, attempt.started_at))
}

/// A time of a noted call, by the monotonic clock: its record has them all from one that no jump bends.
fn noted_at(noted: &Noted, wall: chrono::DateTime<chrono::Utc>) -> Now {
    let since = (wall - noted.call.record.arrived_at).to_std().unwrap_or_default();
    Now { mono: noted.arrived.mono + since, wall }
}

/// A call whose caller still waits: its selection goes on where an earlier run left it. Asterisk may list a later attempt than that run
/// came to note: its number, `earlier_attempts`, is taken as well.
pub(super) fn resume(facts: CallFacts, noted: Noted, earlier_attempts: u32, context: &Context) -> Call {
    let now = context.clock.now();
    let snapshot = context.registry.snapshot().clone();
    let at = At { node: &facts.node, now };
    let mut decision = context.registry.book().decide(&snapshot, &facts.dialled, at);
    let plan = plan(&noted.call);
    if let Some(campaign) = noted.call.record.campaign_id.and_then(|id| snapshot.campaigns.get(&id)) {
        decision.campaign = Some(Arc::clone(campaign));
    }
    let before = Box::new(left::unanswered(noted.call).0);
    Call::resume(facts, context.limits.copy(), noted.arrived, decision, before, plan, now)
        .numbered_after(earlier_attempts)
}

/// The plan that an earlier run decided on, and where in it selection stood: at an attempt that was under way, else behind the last one.
fn plan(open: &OpenCall) -> Option<(Vec<LinkId>, usize)> {
    let trace: TraceView = open.record.trace.as_ref()?.read()?;
    let Some(last) = open.record.attempts.last() else { return Some((trace.candidates, 0)) };
    let position = trace.candidates.iter().position(|link| *link == last.link_id)?;
    let under_way = open.legs.iter().any(|leg| leg.n == last.number) && last.outcome == AttemptOutcome::Unknown;
    Some((trace.candidates, if under_way { position } else { position + 1 }))
}

/// Seconds until Asterisk would end the caller's channel by itself: set at the answer, so it tells when that was.
async fn time_left(lane: &Lane, channel_id: &str) -> Option<Duration> {
    let answer = lane.send(Request::GetChannelVariable { channel_id, variable: "TIMEOUT(absolute)" }).await.ok()?;
    let seconds: f64 = answer.json::<Variable>().ok()?.value.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn answered_at(now: Now, max_duration: Duration, left: Option<Duration>) -> Option<Now> {
    let talked = (max_duration + BEHIND).checked_sub(left?)?;
    Some(now.before(talked))
}

/// The link and client of the attempt as configured now; by their ids alone where they were removed meanwhile.
fn offer(snapshot: &Snapshot, campaign: Option<&Campaign>, adoption: &Adoption) -> Offer {
    let Permit { link, client, .. } = adoption.permit;
    let found = campaign.and_then(|c| c.links.iter().find(|l| l.id == link)).cloned();
    Offer {
        position: 0,
        link: found.unwrap_or(Link {
            id: link,
            client,
            status: Status::Archived,
            withdrawn: false,
            max_concurrency: None,
            total_calls_allowed: None,
            counted_before: 0,
            forwarding_priority: 1,
            weight: 1,
            ring_timeout: None,
            count_on: CountOn::Answered,
        }),
        client: snapshot.clients.get(&client).cloned().unwrap_or_else(|| Arc::new(removed(client, adoption))),
    }
}

fn removed(id: ClientId, adoption: &Adoption) -> Client {
    // `PJSIP/<identifier>-<serial>` is how Asterisk names the channel; its endpoint is the identifier.
    let name = adoption.leg.name.trim_start_matches("PJSIP/");
    let identifier = name.rsplit_once('-').map_or(name, |(endpoint, _)| endpoint);
    Client {
        id,
        name: identifier.to_owned(),
        identifier: identifier.parse().unwrap_or_else(|_| ClientIdentifier::unknown()),
        status: Status::Archived,
        max_concurrency: None,
        send_headers: false,
        caller_id: CallerId::Withhold,
    }
}
