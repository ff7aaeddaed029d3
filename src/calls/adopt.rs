//! Takes over a call whose parties an earlier run of the controller had bridged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::attempt::Attempt;
use super::facts::CallFacts;
use super::io::Input;
use super::machine::{BEHIND, Call};
use super::reconcile::Adoption;
use super::task::{self, Context};
use crate::ari::{Lane, Request, Variable};
use crate::clock::Now;
use crate::id::ClientId;
use crate::routing::book::Offer;
use crate::routing::breaker::At;
use crate::routing::caps::Permit;
use crate::routing::snapshot::{CallerId, Campaign, Client, ClientIdentifier, CountOn, Link, Snapshot, Status};

/// Rebuilds the call and runs it to its end.
pub(super) async fn run(
    facts: CallFacts,
    adoption: Adoption,
    lane: Lane,
    context: Context,
    inputs: mpsc::UnboundedReceiver<Input>,
) {
    let left = time_left(&lane, &adoption.caller.id).await;
    let now = context.clock.now();
    let snapshot = context.registry.snapshot().clone();
    let at = At { node: &facts.node, now };
    let mut decision = context.registry.book().decide(&snapshot, &facts.dialled, at);
    let campaign = snapshot.campaigns.get(&adoption.permit.campaign).cloned();
    decision.campaign = campaign.or(decision.campaign);
    let since = |at: chrono::DateTime<chrono::Utc>| now.before((now.wall - at).to_std().unwrap_or_default());
    let (arrived, started) = (since(adoption.caller.creationtime), since(adoption.leg.creationtime));
    let limit = decision.campaign.as_deref().and_then(|c| c.max_duration).unwrap_or(context.limits.max_duration);
    let answered = answered_at(now, limit, left).filter(|at| at.mono >= started.mono).unwrap_or(started);
    let offer = offer(&snapshot, decision.campaign.as_deref(), &adoption);
    let attempt = Attempt::adopt(adoption.n, offer, started, answered);
    let call = Call::adopt(facts, context.limits, arrived, decision, attempt, now);
    task::drive(call, lane, context, inputs).await;
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
