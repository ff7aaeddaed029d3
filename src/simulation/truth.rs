//! What really happened, kept beside the controller and never shown to it; what must hold of it at every moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::journal::Journal;
use super::parties::Caller;
use crate::id::{CallId, CampaignId, ClientId, LinkId};
use crate::routing::caps::Permit;
use crate::routing::snapshot::{CountOn, Snapshot};

/// Where the end of a channel came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The party at its far end.
    Party,
    /// The controller asked for it.
    Controller,
    /// Asterisk itself: its time limits, its death.
    Asterisk,
}

/// One INVITE to a client.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) permit: Permit,
    pub(super) gone: Option<Duration>,
    /// Until then no controller can know of it: one that was killed took it along, and its node has not listed its channels since.
    unknown_until: Duration,
}

/// One inbound call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) id: Option<CallId>,
    pub(super) channel: String,
    pub(super) node: usize,
    pub(super) entered: Option<Duration>,
    /// The dialplan's fallback has it.
    pub(super) fell_back: bool,
    /// The controller has asked for something on its behalf.
    pub(super) taken: bool,
    pub(super) dials: BTreeMap<u32, Dial>,
    /// Attempt and moment from which both parties talked.
    pub(super) met: Option<(u32, Duration)>,
    /// When they talked no more, and who ended it.
    pub(super) parted: Option<(Duration, Ended)>,
    pub(super) caller_left: Option<(Place, Duration)>,
    pub(super) caller_gone: Option<Duration>,
    /// Faults that touched it.
    pub(super) faults: u32,
    /// The controller, alive, was not told something of it once its parties had met.
    missed: bool,
}

/// Who ended a talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Caller,
    Client,
    Controller,
    Asterisk,
}

/// All calls of a world, and the caps they must not pass.
#[derive(Debug)]
pub(super) struct Truth {
    snapshot: Snapshot,
    calls: Vec<Call>,
    by_id: HashMap<CallId, usize>,
    links: HashMap<LinkId, Used>,
    clients: HashMap<ClientId, u32>,
    campaigns: HashMap<CampaignId, u32>,
    longest_talk: Duration,
    /// Until then a controller may have lists of a moment ago: what is answered meanwhile may be hung up as an orphan.
    pub(super) comparing_until: Duration,
    /// Calls of which a controller that was killed took something with it that the journal had not committed yet: an attempt of a link
    /// without a total may be among it, and its number is then used again.
    pub(super) forgotten: HashSet<CallId>,
    /// What was found to be wrong.
    pub(super) wrong: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Used {
    live: u32,
    counted: u64,
    /// Of those, how many a living controller could not see.
    missed: u64,
}

impl Truth {
    pub(super) fn new(snapshot: Snapshot, longest_talk: Duration) -> Self {
        Self {
            snapshot,
            calls: Vec::new(),
            by_id: HashMap::new(),
            links: HashMap::new(),
            clients: HashMap::new(),
            campaigns: HashMap::new(),
            longest_talk,
            comparing_until: Duration::ZERO,
            forgotten: HashSet::new(),
            wrong: Vec::new(),
        }
    }

    pub(super) fn longest_talk(&self) -> Duration {
        self.longest_talk
    }

    pub(super) fn add(&mut self, caller: Caller, node: usize) -> usize {
        self.calls.push(Call {
            caller,
            id: None,
            channel: String::new(),
            node,
            entered: None,
            fell_back: false,
            taken: false,
            dials: BTreeMap::new(),
            met: None,
            parted: None,
            caller_left: None,
            caller_gone: None,
            faults: 0,
            missed: false,
        });
        self.calls.len() - 1
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(super) fn call(&self, call: usize) -> &Call {
        &self.calls[call]
    }

    pub(super) fn call_mut(&mut self, call: usize) -> &mut Call {
        &mut self.calls[call]
    }

    /// Calls that are in Asterisk.
    pub(super) fn living(&mut self) -> impl Iterator<Item = &mut Call> {
        let lives = |call: &&mut Call| {
            call.entered.is_some()
                && (call.caller_gone.is_none() || call.dials.values().any(|dial| dial.gone.is_none()))
        };
        self.calls.iter_mut().filter(lives)
    }

    pub(super) fn index(&self, id: CallId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The call that a channel belongs to. Callers are found from the back: the young ones are asked for mostly.
    pub(super) fn call_of(&self, node: usize, channel: &str) -> Option<usize> {
        let by_leg = CallId::parse_leg(channel).and_then(|(call, _)| self.index(call));
        by_leg.or_else(|| self.calls.iter().rposition(|call| call.node == node && call.channel == channel))
    }

    /// A fault touches whatever call this channel belongs to.
    pub(super) fn fault(&mut self, node: usize, channel: &str) {
        if let Some(call) = self.call_of(node, channel) {
            self.calls[call].faults += 1;
        }
    }

    /// Nobody was told an event of this channel, although a controller lives.
    pub(super) fn missed(&mut self, node: usize, channel: &str) {
        let Some(index) = self.call_of(node, channel) else { return };
        let call = &mut self.calls[index];
        let Some((n, _)) = call.met.filter(|_| !call.missed) else { return };
        call.missed = true;
        if let Some(permit) = self.calls[index].dials.get(&n).map(|dial| dial.permit)
            && self.count_on(permit) == CountOn::Answered
        {
            self.links.entry(permit.link).or_default().missed += 1;
        }
    }

    pub(super) fn comes(&mut self, call: usize, id: CallId, channel: &str) {
        self.by_id.insert(id, call);
        let call = &mut self.calls[call];
        call.id = Some(id);
        channel.clone_into(&mut call.channel);
    }

    /// It enters the application, perhaps again.
    pub(super) fn entered(&mut self, call: usize, now: Duration) {
        self.calls[call].entered.get_or_insert(now);
    }

    pub(super) fn fell_back(&mut self, call: usize) {
        self.calls[call].fell_back = true;
    }

    /// Since when the parties talk, if they do.
    pub(super) fn talks(&self, call: usize) -> Option<Duration> {
        let call = &self.calls[call];
        call.met.filter(|_| call.parted.is_none()).map(|(_, at)| at)
    }

    /// An INVITE goes out to a client: no cap may be passed by it.
    pub(super) fn dialled(&mut self, id: CallId, n: u32, permit: Option<Permit>, now: Duration) {
        let (Some(index), Some(permit)) = (self.index(id), permit) else {
            self.wrong.push(format!("{id}-{n} was dialled without a call or without a permit"));
            return;
        };
        let call = &mut self.calls[index];
        let again = call.dials.insert(n, Dial { permit, gone: None, unknown_until: Duration::ZERO }).is_some();
        if again && !self.forgotten.contains(&id) {
            self.wrong.push(format!("{id}-{n} was dialled twice"));
        }
        let call = &self.calls[index];
        if call.met.is_some() && !call.missed {
            self.wrong.push(format!("{id}-{n} was dialled for a caller who had been answered"));
        }
        self.links.entry(permit.link).or_default().live += 1;
        *self.clients.entry(permit.client).or_default() += 1;
        *self.campaigns.entry(permit.campaign).or_default() += 1;
        if self.count_on(permit) == CountOn::Attempted {
            self.links.entry(permit.link).or_default().counted += 1;
        }
        self.check_caps(permit, now);
    }

    /// An attempt that may use up a total is in the journal before it is dialled.
    pub(super) fn check_kept(&mut self, channel: &str, journal: &Journal) {
        let Some((id, n)) = CallId::parse_leg(channel) else { return };
        let dial = self.index(id).and_then(|call| self.calls[call].dials.get(&n));
        if dial.is_some_and(|dial| self.total_of(dial.permit).is_some()) && !journal.has(id, n) {
            self.wrong.push(format!("{channel} was dialled before the journal had it"));
        }
    }

    pub(super) fn total_of(&self, permit: Permit) -> Option<u64> {
        let campaign = &self.snapshot.campaigns[&permit.campaign];
        campaign.links.iter().find(|link| link.id == permit.link).and_then(|link| link.total_calls_allowed)
    }

    fn count_on(&self, permit: Permit) -> CountOn {
        let campaign = &self.snapshot.campaigns[&permit.campaign];
        campaign.links.iter().find(|link| link.id == permit.link).map_or(CountOn::Answered, |link| link.count_on)
    }

    /// A controller is killed: attempts that the journal does not have, nobody knows until their nodes have listed their channels.
    pub(super) fn forget(&mut self, journal: &Journal) {
        self.forgotten.extend(journal.lost.iter().copied());
        for call in &mut self.calls {
            let Some(id) = call.id.filter(|id| journal.lost.contains(id)) else { continue };
            let unknown = call.dials.iter_mut().filter(|(n, dial)| dial.gone.is_none() && !journal.has(id, **n));
            unknown.for_each(|(_, dial)| dial.unknown_until = Duration::MAX);
        }
    }

    /// A controller has this node's channels at this time.
    pub(super) fn listed(&mut self, node: usize, at: Duration) {
        let calls = self.calls.iter_mut().filter(|call| call.node == node);
        calls.flat_map(|call| call.dials.values_mut()).for_each(|dial| dial.unknown_until = dial.unknown_until.min(at));
    }

    /// Attempts like this that live, and that no controller can know of.
    fn unknown(&self, now: Duration, like: impl Fn(Permit) -> bool) -> u32 {
        let dials = self.calls.iter().flat_map(|call| call.dials.values());
        let unknown = dials.filter(|dial| dial.gone.is_none() && dial.unknown_until > now && like(dial.permit));
        u32::try_from(unknown.count()).unwrap_or(u32::MAX)
    }

    fn check_caps(&mut self, permit: Permit, now: Duration) {
        let unknown = [
            self.unknown(now, |it| it.link == permit.link),
            self.unknown(now, |it| it.client == permit.client),
            self.unknown(now, |it| it.campaign == permit.campaign),
        ];
        let campaign = &self.snapshot.campaigns[&permit.campaign];
        let Some(link) = campaign.links.iter().find(|link| link.id == permit.link) else { return };
        let used = self.links.get(&permit.link).copied().unwrap_or_default();
        let client = self.clients.get(&permit.client).copied().unwrap_or(0);
        let all = self.campaigns.get(&permit.campaign).copied().unwrap_or(0);
        let client_max = self.snapshot.clients[&permit.client].max_concurrency;
        let limits = [
            ("link", permit.link.0, u64::from(used.live - unknown[0]), link.max_concurrency.map(u64::from)),
            ("total of link", permit.link.0, used.counted - used.missed, link.total_calls_allowed),
            ("client", permit.client.0, u64::from(client - unknown[1]), client_max.map(u64::from)),
            ("campaign", permit.campaign.0, u64::from(all - unknown[2]), campaign.max_concurrency.map(u64::from)),
        ];
        for (what, id, used, limit) in limits {
            if limit.is_some_and(|limit| used > limit) {
                let mut text = format!("cap passed at {now:?}: {what} {id} has {used} of {}", limit.unwrap_or(0));
                for call in self.calls.iter().filter(|call| call.caller_gone.is_none() || now.is_zero()) {
                    for (n, dial) in call.dials.iter().filter(|(_, dial)| dial.gone.is_none()) {
                        let id = call.id.map(|id| id.to_string()).unwrap_or_default();
                        let _ = write!(
                            text,
                            "\n    lives: {id}-{n} link {} client {}",
                            dial.permit.link, dial.permit.client
                        );
                    }
                }
                for call in
                    self.calls.iter().filter(|call| what.starts_with("total") && self.counted_of(call, permit.link) > 0)
                {
                    let _ = write!(text, "\n    counts: {}", call.story());
                }
                self.wrong.push(text);
            }
        }
    }

    /// Both parties are up in one bridge. `false`: they were already, or the caller is on its way out.
    pub(super) fn met(&mut self, index: usize, n: u32, now: Duration) -> bool {
        let call = &mut self.calls[index];
        if call.met.is_some() || call.caller_left.is_some() {
            return false;
        }
        call.met = Some((n, now));
        call.missed = now < self.comparing_until;
        let missed = call.missed;
        let Some(permit) = call.dials.get(&n).map(|dial| dial.permit) else { return true };
        if self.count_on(permit) == CountOn::Answered {
            let used = self.links.entry(permit.link).or_default();
            used.counted += 1;
            used.missed += u64::from(missed);
            self.check_caps(permit, now);
        }
        true
    }

    pub(super) fn caller_left(&mut self, index: usize, by: Place, now: Duration) {
        let call = &mut self.calls[index];
        if call.caller_left.is_none() {
            call.caller_left = Some((by, now));
            call.part(
                now,
                match by {
                    Place::Party => Ended::Caller,
                    Place::Controller => Ended::Controller,
                    Place::Asterisk => Ended::Asterisk,
                },
            );
        }
    }

    pub(super) fn leg_left(&mut self, id: CallId, n: u32, by: Place, now: Duration) {
        let Some(index) = self.index(id) else { return };
        let call = &mut self.calls[index];
        if call.met.is_some_and(|(met, _)| met == n) {
            call.part(
                now,
                match by {
                    Place::Party => Ended::Client,
                    Place::Controller => Ended::Controller,
                    Place::Asterisk => Ended::Asterisk,
                },
            );
        }
    }

    pub(super) fn caller_gone(&mut self, index: usize, now: Duration) {
        self.calls[index].caller_gone.get_or_insert(now);
    }

    /// Attempts of this call that really count against the link.
    pub(super) fn counted_of(&self, call: &Call, link: LinkId) -> usize {
        let counts = |n: u32, permit: Permit| match self.count_on(permit) {
            CountOn::Answered => call.met.is_some_and(|(met, _)| met == n),
            CountOn::Attempted => true,
        };
        call.dials.iter().filter(|(n, dial)| dial.permit.link == link && counts(**n, dial.permit)).count()
    }

    /// Calls of this link that really count, and that a controller could know of.
    pub(super) fn counted(&self, link: LinkId) -> u64 {
        self.links.get(&link).map_or(0, |used| used.counted - used.missed)
    }

    pub(super) fn leg_gone(&mut self, id: CallId, n: u32, now: Duration) {
        let Some(index) = self.index(id) else { return };
        let Some(dial) = self.calls[index].dials.get_mut(&n).filter(|dial| dial.gone.is_none()) else { return };
        dial.gone = Some(now);
        let permit = dial.permit;
        self.links.entry(permit.link).or_default().live -= 1;
        *self.clients.entry(permit.client).or_default() -= 1;
        *self.campaigns.entry(permit.campaign).or_default() -= 1;
    }
}

impl Call {
    fn part(&mut self, now: Duration, by: Ended) {
        if self.met.is_some() && self.parted.is_none() {
            self.parted = Some((now, by));
        }
    }

    /// Whether both parties hung up at about the same time.
    pub(super) fn both_left(&self) -> bool {
        let Some((parted, _)) = self.parted else { return false };
        let leg = self.met.and_then(|(n, _)| self.dials.get(&n)).and_then(|dial| dial.gone);
        let caller = self.caller_left.map(|(_, at)| at);
        let near = |at: Duration| at.abs_diff(parted) < Duration::from_millis(100);
        caller.is_some_and(near) && leg.is_some_and(near)
    }

    /// What it was, for people.
    pub(super) fn story(&self) -> String {
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        format!(
            "call {id} (channel {}, node {}): entered {:?}, dials {:?}, met {:?}, parted {:?}, caller left {:?}, gone {:?}, \
             missed {}, faults {}",
            self.channel,
            self.node,
            self.entered,
            self.dials.keys().collect::<Vec<_>>(),
            self.met,
            self.parted,
            self.caller_left,
            self.caller_gone,
            self.missed,
            self.faults
        )
    }
}
