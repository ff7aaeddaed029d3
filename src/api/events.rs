//! What happens, as it happens: Server-Sent Events of live calls and of the use of caps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use poem::web::Data;
use poem::web::sse;
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;
use poem_openapi::{Enum, Object, OpenApi, Union};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::error::ApiError;
use super::live::{self, LiveCall};
use super::render::{ClientName, Viewer};
use super::security::Auth;
use super::visits::{Kind, Visit};
use super::{State, Tag};
use crate::auth::principal::Principal;
use crate::auth::roles::{Operation, Reach};
use crate::calls::news::{CallNews, Happening, News};
use crate::id::CampaignId;
use crate::routing::snapshot::Snapshot;
use crate::routing::usage::UseChange;
use crate::store::sight::Sight;

/// A comment this often tells both ends that the other is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Endpoint of the event stream.
#[derive(Debug)]
pub(super) struct Api;

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum EventName {
    /// The stream has begun: read the lists now, and nothing is missed.
    #[oai(rename = "ready")]
    Ready,
    /// Events were lost because they were read too slowly: read the lists again.
    #[oai(rename = "lagged")]
    Lagged,
    /// A call arrived, and was decided.
    #[oai(rename = "call.arrived")]
    Arrived,
    /// A client is dialled.
    #[oai(rename = "call.attempt_started")]
    AttemptStarted,
    /// That client's phone rings, or it sends early media.
    #[oai(rename = "call.ringing")]
    Ringing,
    /// That client has answered, and so has been the caller.
    #[oai(rename = "call.answered")]
    Answered,
    /// That client did not take the call; the next one may follow.
    #[oai(rename = "call.attempt_failed")]
    AttemptFailed,
    /// How the call ended is settled; its channels are being taken down.
    #[oai(rename = "call.clearing")]
    Clearing,
    /// The call is over; its record follows within moments.
    #[oai(rename = "call.ended")]
    Ended,
    /// More or less of a link's caps is used, or they were changed.
    #[oai(rename = "link.use")]
    LinkUse,
    /// More or less of a campaign's cap is used, or it was changed.
    #[oai(rename = "campaign.use")]
    CampaignUse,
    /// More or less of a client's cap is used, or it was changed. Not told to sellers.
    #[oai(rename = "client.use")]
    ClientUse,
}

impl From<Happening> for EventName {
    fn from(what: Happening) -> Self {
        match what {
            Happening::Arrived => Self::Arrived,
            Happening::AttemptStarted => Self::AttemptStarted,
            Happening::Ringing => Self::Ringing,
            Happening::Answered => Self::Answered,
            Happening::AttemptFailed => Self::AttemptFailed,
            Happening::Clearing => Self::Clearing,
            Happening::Ended => Self::Ended,
        }
    }
}

/// One event: its lines `id:`, `event:` and `data:`.
#[derive(Debug, Object)]
struct LiveEvent {
    /// Counts from 1 within this stream.
    id: u64,
    /// What it tells.
    event: EventName,
    /// The details, as one line of JSON.
    data: EventData,
}

/// Details of an event.
#[derive(Debug, Union)]
#[allow(clippy::large_enum_variant, reason = "most events are of calls, and few wait")]
enum EventData {
    Call(CallEvent),
    Link(LinkUseEvent),
    Campaign(CampaignUseEvent),
    Client(ClientUseEvent),
    Stream(StreamNote),
}

/// Details of `call.…`.
#[derive(Debug, Object)]
struct CallEvent {
    /// When it was told.
    at: DateTime<Utc>,
    /// The call as it stood then.
    call: LiveCall,
    /// The dial that it is about; null where none was made.
    attempt: Option<AttemptEvent>,
    /// Why the call ended, as in its record; null until that is settled.
    ending: Option<String>,
    /// Who ended it: `caller`, `client` or `system`; null until that is settled.
    hung_up_by: Option<String>,
}

/// The dial that an event is about.
#[derive(Debug, Object)]
struct AttemptEvent {
    /// Counts from 1 within the call.
    number: u32,
    /// The link it is made for.
    link_id: i64,
    /// The client that is dialled.
    client: ClientName,
    /// How it came out, as in the record; null while its channel is there.
    outcome: Option<String>,
}

/// Details of `link.use`.
#[derive(Debug, Object)]
struct LinkUseEvent {
    /// When it was seen.
    at: DateTime<Utc>,
    /// Row id of the link.
    link_id: i64,
    /// Row id of its campaign.
    campaign_id: i64,
    /// Its client.
    client: ClientName,
    /// Calls of the link ringing or talking.
    used: u32,
    /// Its `max_concurrency`; null = no limit.
    limit: Option<u32>,
    /// Calls counted against its total, without those in flight.
    total_used: u64,
    /// Its `total_calls_allowed`; null = no limit.
    total_limit: Option<u64>,
}

/// Details of `campaign.use`.
#[derive(Debug, Object)]
struct CampaignUseEvent {
    /// When it was seen.
    at: DateTime<Utc>,
    /// Row id of the campaign.
    campaign_id: i64,
    /// Its name.
    campaign_name: String,
    /// Calls of the campaign ringing or talking.
    used: u32,
    /// Its `max_concurrency`; null = no limit.
    limit: Option<u32>,
}

/// Details of `client.use`.
#[derive(Debug, Object)]
struct ClientUseEvent {
    /// When it was seen.
    at: DateTime<Utc>,
    /// The client.
    client: ClientName,
    /// Calls of the client ringing or talking, over all sellers.
    used: u32,
    /// Its `max_concurrency`; null = no limit.
    limit: Option<u32>,
}

/// Details of `ready` and `lagged`.
#[derive(Debug, Object)]
struct StreamNote {
    /// When it was told.
    at: DateTime<Utc>,
}

#[OpenApi(prefix_path = "/api/v1/live", tag = "Tag::Live")]
impl Api {
    /// Stream live events
    ///
    /// Server-Sent Events (`text/event-stream`) of live calls and of the use of caps, as they happen. Any role; sellers get those of
    /// their own calls, links and campaigns. Try it with
    /// `curl -N -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/api/v1/live/events`:
    ///
    /// ```text
    /// id: 4
    /// event: call.answered
    /// data: {"at":"2026-11-24T10:15:02.481+00:00","call":{"call_id":"019a…","state":"talking",…},"attempt":{"number":1,"link_id":7,…},…}
    /// ```
    ///
    /// The first event is `ready`: read `/live/calls` and `/live/links` after it, and nothing is missed. Use of caps is looked at four
    /// times a second; changes in between are told as one. A comment line comes every 15 s. A reader that falls behind loses events and
    /// gets `lagged` in their place: read the lists again.
    ///
    /// The stream ends when the access token expires, on log-out, when the API token is revoked or expires, and with any change of the
    /// user (role, status, password, name): within a second, whatever process made the change. It also ends when the server stops.
    /// Reconnect, with a fresh token where needed. Nothing is replayed: ids count within one stream, and `Last-Event-ID` is ignored.
    /// 429 `too_many_streams` where the user has 5 streams, or all users together 200 (by default); that a reader has gone is noticed
    /// within 30 s.
    #[oai(path = "/events", method = "get", operation_id = "streamLiveEvents")]
    async fn events(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
    ) -> Result<EventStream<BoxStream<'static, LiveEvent>>, ApiError> {
        let until = auth.until();
        let (principal, reach) = auth.may(Operation::StreamLiveEvents)?;
        let visit = state.visits.begin(Kind::Stream, &principal, until).await?;
        let feed = Feed::new(state.clone(), principal, reach, visit);
        let stream = EventStream::new(unfold(feed, Feed::next).boxed()).keep_alive(HEARTBEAT);
        Ok(stream.to_event(|told| {
            let name = told.event.to_json().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
            sse::Event::message(told.data.to_json_string()).event_type(name).id(told.id.to_string())
        }))
    }
}

/// One stream.
struct Feed {
    state: State,
    principal: Principal,
    reach: Reach,
    visit: Visit,
    news: Receiver<News>,
    /// Rendered and not sent yet.
    waiting: VecDeque<(EventName, EventData)>,
    sent: u64,
    sight: Arc<Sight>,
    viewer: Viewer,
}

impl Feed {
    fn new(state: State, principal: Principal, reach: Reach, visit: Visit) -> Self {
        // From here on nothing is missed.
        let news = state.registry.listen();
        let sight = state.sight.load_full();
        let viewer = viewer(&principal, &sight);
        let ready = EventData::Stream(StreamNote { at: state.clock.now().wall });
        let waiting = [(EventName::Ready, ready)].into();
        Self { news, sight, viewer, waiting, sent: 0, state, principal, reach, visit }
    }

    /// The next event, when there is one; `None` ends the stream.
    async fn next(mut self) -> Option<(LiveEvent, Self)> {
        loop {
            if self.visit.has_ended() {
                return None;
            }
            if let Some((event, data)) = self.waiting.pop_front() {
                self.sent += 1;
                return Some((LiveEvent { id: self.sent, event, data }, self));
            }
            tokio::select! {
                biased;
                () = self.visit.ended() => return None,
                news = self.news.recv() => match news {
                    Ok(news) => self.take(&news),
                    Err(RecvError::Lagged(_)) => {
                        let note = StreamNote { at: self.state.clock.now().wall };
                        self.waiting.push_back((EventName::Lagged, EventData::Stream(note)));
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Renders what the caller may know of it, by the rights and names of this moment.
    fn take(&mut self, news: &News) {
        let sight = self.state.sight.load();
        if !Arc::ptr_eq(&sight, &self.sight) {
            self.sight = Arc::clone(&sight);
            self.viewer = viewer(&self.principal, &self.sight);
        }
        drop(sight);
        match news {
            News::Call(news) if live::sees(&self.principal, self.reach, &news.call) => {
                self.waiting.push_back((news.what.into(), EventData::Call(self.call(news))));
            }
            News::Call(_) => {}
            News::Use(changes) => {
                let (snapshot, at) = (self.state.registry.snapshot().clone(), self.state.clock.now().wall);
                let told: Vec<_> = changes.iter().filter_map(|change| self.usage(change, &snapshot, at)).collect();
                self.waiting.extend(told);
            }
        }
    }

    fn call(&self, news: &CallNews) -> CallEvent {
        let attempt = news.attempt.as_ref().map(|attempt| AttemptEvent {
            number: attempt.number,
            link_id: attempt.link.0,
            client: self.viewer.client(attempt.client, &attempt.client_name, &attempt.client_identifier),
            outcome: news.outcome.map(|outcome| outcome.to_string()),
        });
        CallEvent {
            at: news.at.wall,
            call: live::shown(&news.call, &self.viewer, news.at),
            attempt,
            ending: news.ending.map(|(ending, _)| ending.to_owned()),
            hung_up_by: news.ending.map(|(_, by)| by.to_string()),
        }
    }

    fn usage(&self, change: &UseChange, snapshot: &Snapshot, at: DateTime<Utc>) -> Option<(EventName, EventData)> {
        match *change {
            UseChange::Link { link, campaign, client, used, limit, total_used, total_limit } => {
                let names = snapshot.clients.get(&client);
                let (name, identifier) = names.map_or(("", ""), |it| (it.name.as_str(), it.identifier.as_str()));
                let data = LinkUseEvent {
                    at,
                    link_id: link.0,
                    campaign_id: campaign.0,
                    client: self.viewer.client_now(client, name, identifier),
                    used,
                    limit,
                    total_used,
                    total_limit,
                };
                self.owns(campaign).then_some((EventName::LinkUse, EventData::Link(data)))
            }
            UseChange::Campaign { campaign, used, limit } => {
                let name = snapshot.campaigns.get(&campaign).map(|campaign| campaign.name.clone()).unwrap_or_default();
                let data = CampaignUseEvent { at, campaign_id: campaign.0, campaign_name: name, used, limit };
                self.owns(campaign).then_some((EventName::CampaignUse, EventData::Campaign(data)))
            }
            // Other sellers' calls have a part in it.
            UseChange::Client { .. } if self.reach != Reach::All => None,
            UseChange::Client { client, used, limit } => {
                let names = snapshot.clients.get(&client)?;
                let client = self.viewer.client(client, &names.name, names.identifier.as_str());
                Some((EventName::ClientUse, EventData::Client(ClientUseEvent { at, client, used, limit })))
            }
        }
    }

    fn owns(&self, campaign: CampaignId) -> bool {
        self.reach == Reach::All || self.sight.owner(campaign) == Some(self.principal.user)
    }
}

fn viewer(principal: &Principal, sight: &Sight) -> Viewer {
    Viewer::new(principal.role, sight.aliases.clone(), sight.withdrawn_from(principal.user))
}
