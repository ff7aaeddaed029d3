//! PURE: compares Asterisk's channels and bridges with ours, after every (re)connect and at intervals.
//!
//! What Asterisk lists is evidence. What it does not list is gone where its end may have gone unheard; else the event of its end, or
//! its creation, may be on the way, and it is looked for again. Channels of other applications are never touched.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ari::{Bridge, Channel, ChannelState};
use crate::calls::execute::LEG_ARG;
use crate::calls::io::{Heed, Input};
use crate::id::{BridgeKind, CallId, CampaignId, ClientId, LinkId};
use crate::routing::caps::{Permit, PermitKey};

/// What we believe about one node, taken before its lists were asked for.
#[derive(Debug, Clone, Default)]
pub struct Belief {
    /// Live calls by their inbound channel.
    pub calls: BTreeMap<String, Known>,
    /// Permits held by those calls, and whether Asterisk had the channel of each.
    pub permits: BTreeMap<PermitKey, bool>,
    /// Channels that were missed long enough ago.
    pub missing_before: HashSet<String>,
    /// What was heard of the node since the last comparison.
    pub hearing: Hearing,
}

/// A live call before the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The call.
    pub call: CallId,
    /// Its task is gone.
    pub task_gone: bool,
    /// Its inbound channel was seen to go.
    pub caller_gone: bool,
}

/// What was heard of the node since the last comparison: it says what it means that a channel is not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hearing {
    /// Everything: the event of its end is on its way, or it is to be missed twice.
    #[default]
    All,
    /// Not everything: a channel that was there before is gone, without an event.
    Interrupted,
    /// Asterisk started anew: nothing of before lives.
    Anew,
}

impl Belief {
    /// Whether a channel that is not listed is gone; `seen` = Asterisk had it.
    fn takes_for_gone(&self, channel_id: &str, seen: bool) -> bool {
        match self.hearing {
            Hearing::Anew => true,
            Hearing::Interrupted if seen => true,
            Hearing::Interrupted | Hearing::All => self.missing_before.contains(channel_id),
        }
    }
}

/// What follows from the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// What a live call should know, and does unless the socket was away when it happened.
    Seen(CallId, Sight),
    /// The call's inbound channel is gone, and nobody saw it go.
    Missing(CallId),
    /// The attempt's channel is gone, and nobody saw it go.
    LegMissing(PermitKey),
    /// A channel that should be there is not listed: to be looked for again.
    Absent {
        /// Its id.
        channel_id: String,
    },
    /// A caller waits in our application and nobody knows it: route it.
    Arrive {
        /// Its channel.
        caller: Box<Channel>,
        /// Number of the last attempt an earlier run made for it; 0 for none.
        earlier_attempts: u32,
    },
    /// Two parties talk that an earlier run of the controller bridged: take the call over.
    Adopt(Box<Adoption>),
    /// A channel of ours that belongs to no call.
    HangUp {
        /// Its id.
        channel_id: String,
        /// For an outbound channel of an earlier run: what it holds until it is gone.
        permit: Option<(PermitKey, Permit)>,
    },
    /// A bridge of ours that belongs to no call.
    DeleteBridge(String),
    /// The call's task is gone, and so are all its channels: give its permits back and forget it.
    Forget {
        /// The call.
        call: CallId,
        /// What it held.
        permits: Vec<PermitKey>,
    },
}

/// A state in which a live call's channel was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The caller is answered.
    CallerUp,
    /// Attempt n rings.
    LegRinging(u32),
    /// Attempt n is answered.
    LegAnswered(u32),
}

impl Sight {
    /// The calls to which it may be news: those that heed no less than this.
    pub(super) fn news_to(self) -> Heed {
        match self {
            Self::LegRinging(_) => Heed::Everything,
            Self::CallerUp | Self::LegAnswered(_) => Heed::Answers,
        }
    }
}

impl From<Sight> for Input {
    fn from(sight: Sight) -> Self {
        match sight {
            Sight::CallerUp => Self::CallerUp,
            Sight::LegRinging(n) => Self::LegRinging(n),
            Sight::LegAnswered(n) => Self::LegAnswered(n),
        }
    }
}

/// A call to take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Its identity.
    pub call: CallId,
    /// The inbound channel.
    pub caller: Channel,
    /// The answered outbound channel.
    pub leg: Channel,
    /// Its attempt number.
    pub n: u32,
    /// The bridge in which they talk.
    pub bridge: BridgeKind,
    /// What it holds.
    pub permit: Permit,
}

/// Names of one node that say which channels are ours.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// Name of the node, part of every call id.
    pub node: &'a str,
    /// Names of its Stasis applications.
    pub apps: &'a [String],
}

/// Compares what we believe with what Asterisk lists.
#[must_use]
pub fn compare(ours: Ours<'_>, belief: &Belief, channels: &[Channel], bridges: &[Bridge]) -> Vec<Finding> {
    let listed = Listed::of(ours, channels, bridges);
    let live: HashSet<CallId> = belief.calls.values().map(|known| known.call).collect();
    let mut findings = Vec::new();
    findings.extend(known_calls(belief, &listed));
    findings.extend(permits(belief, &listed));

    let mut taken_over = HashSet::new();
    for caller in channels.iter().filter(|c| is_inbound(ours, c) && !belief.calls.contains_key(&c.id)) {
        let call = CallId::derive(caller.creationtime, ours.node, &caller.id);
        let finding = unknown_caller(call, caller, &listed);
        taken_over.insert(call);
        if !matches!(finding, Finding::Adopt(_)) {
            findings.extend(listed.legs_of(call).map(|(n, leg)| stray_leg((call, n), leg)));
        }
        findings.push(finding);
    }
    let orphan = |call: &CallId| !live.contains(call) && !taken_over.contains(call);
    let legs = channels.iter().filter_map(|c| our_leg(ours, c).map(|key| (key, c)));
    findings.extend(legs.filter(|((call, _), _)| orphan(call)).map(|(key, c)| stray_leg(key, c)));
    let stale = bridges.iter().filter(|b| b.channels.is_empty() && ours.apps.contains(&b.name));
    let stale = stale.filter(|b| CallId::parse_bridge(&b.id).is_some_and(|call| orphan(&call)));
    findings.extend(stale.map(|b| Finding::DeleteBridge(b.id.clone())));
    findings
}

/// What Asterisk lists, found by what is asked for: with thousands of calls a search of the lists for each would take seconds.
struct Listed<'a> {
    channels: BTreeMap<&'a str, &'a Channel>,
    /// Channels of attempts in our applications, by their call.
    legs: HashMap<CallId, Vec<(u32, &'a Channel)>>,
    bridges: HashMap<&'a str, &'a Bridge>,
}

impl<'a> Listed<'a> {
    fn of(ours: Ours<'_>, channels: &'a [Channel], bridges: &'a [Bridge]) -> Self {
        let channels: BTreeMap<&str, &Channel> = channels.iter().map(|c| (c.id.as_str(), c)).collect();
        let mut legs: HashMap<CallId, Vec<(u32, &Channel)>> = HashMap::new();
        for channel in channels.values() {
            if let Some((call, n)) = our_leg(ours, channel) {
                legs.entry(call).or_default().push((n, channel));
            }
        }
        Self { channels, legs, bridges: bridges.iter().map(|bridge| (bridge.id.as_str(), bridge)).collect() }
    }

    fn legs_of(&self, call: CallId) -> impl Iterator<Item = (u32, &'a Channel)> + '_ {
        self.legs.get(&call).into_iter().flatten().copied()
    }

    /// Which of the call's bridges this channel is in, and the ids of all channels in that.
    fn bridge_of(&self, call: CallId, channel_id: &str) -> Option<(BridgeKind, &'a [String])> {
        BridgeKind::ALL.into_iter().find_map(|kind| {
            let members = &self.bridges.get(call.bridge(kind).as_str())?.channels;
            members.iter().any(|member| member == channel_id).then_some((kind, &members[..]))
        })
    }
}

fn known_calls(belief: &Belief, listed: &Listed<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (channel_id, Known { call, task_gone, caller_gone }) in &belief.calls {
        let caller = listed.channels.get(channel_id.as_str());
        let legs = listed.legs_of(*call).map(|(n, leg)| ((*call, n), leg));
        if !task_gone {
            match caller {
                None if *caller_gone => {}
                None if belief.takes_for_gone(channel_id, true) => findings.push(Finding::Missing(*call)),
                None => findings.push(Finding::Absent { channel_id: channel_id.clone() }),
                Some(caller) if caller.state == ChannelState::Up => {
                    findings.push(Finding::Seen(*call, Sight::CallerUp));
                }
                Some(_) => {}
            }
            findings.extend(legs.filter_map(|(key, leg)| leg_seen(belief, key, leg)));
            continue;
        }
        let mut left: Vec<String> = legs.map(|(_, leg)| leg.id.clone()).collect();
        left.extend(caller.map(|c| c.id.clone()));
        if left.is_empty() {
            let permits = belief.permits.range((*call, 0)..=(*call, u32::MAX)).map(|(key, _)| *key).collect();
            findings.push(Finding::Forget { call: *call, permits });
        }
        findings.extend(left.into_iter().map(|channel_id| Finding::HangUp { channel_id, permit: None }));
    }
    findings
}

/// A live call's leg: how it stands, or that no attempt of the call holds it.
fn leg_seen(belief: &Belief, key: PermitKey, leg: &Channel) -> Option<Finding> {
    if !belief.permits.contains_key(&key) {
        return Some(Finding::HangUp { channel_id: leg.id.clone(), permit: None });
    }
    match leg.state {
        ChannelState::Ringing => Some(Finding::Seen(key.0, Sight::LegRinging(key.1))),
        ChannelState::Up => Some(Finding::Seen(key.0, Sight::LegAnswered(key.1))),
        _ => None,
    }
}

/// An outbound channel of an earlier run, which holds its permit until it is gone.
fn stray_leg(key: PermitKey, leg: &Channel) -> Finding {
    Finding::HangUp { channel_id: leg.id.clone(), permit: permit_of(leg).map(|permit| (key, permit)) }
}

fn permits(belief: &Belief, listed: &Listed<'_>) -> Vec<Finding> {
    let legs = belief.permits.iter().map(|((call, n), seen)| ((*call, *n), *seen, call.leg(*n)));
    legs.filter(|(_, _, channel_id)| !listed.channels.contains_key(channel_id.as_str()))
        .map(|(key, seen, channel_id)| match belief.takes_for_gone(&channel_id, seen) {
            true => Finding::LegMissing(key),
            false => Finding::Absent { channel_id },
        })
        .collect()
}

/// A caller that no live call knows: one to talk on, one left alone by its client, or one still to be routed.
fn unknown_caller(call: CallId, caller: &Channel, listed: &Listed<'_>) -> Finding {
    let hang_up = || Finding::HangUp { channel_id: caller.id.clone(), permit: None };
    let talking = listed.bridge_of(call, &caller.id).and_then(|(bridge, members)| {
        let is_up = |leg: &Channel| leg.state == ChannelState::Up && members.contains(&leg.id);
        listed.legs_of(call).find(|(_, leg)| is_up(leg)).map(|(n, leg)| (n, leg, bridge))
    });
    match talking {
        Some((n, leg, bridge)) if caller.state == ChannelState::Up => match permit_of(leg) {
            Some(permit) => {
                let (caller, leg) = (caller.clone(), leg.clone());
                Finding::Adopt(Box::new(Adoption { call, caller, leg, n, bridge, permit }))
            }
            None => hang_up(),
        },
        _ if caller.state == ChannelState::Up => hang_up(),
        _ => {
            let earlier_attempts = listed.legs_of(call).map(|(n, _)| n).max().unwrap_or(0);
            Finding::Arrive { caller: Box::new(caller.clone()), earlier_attempts }
        }
    }
}

/// Call and attempt number of an outbound channel in one of our applications.
fn our_leg(ours: Ours<'_>, channel: &Channel) -> Option<PermitKey> {
    let key = CallId::parse_leg(&channel.id)?;
    in_our_app(ours, channel).then_some(key)
}

fn is_inbound(ours: Ours<'_>, channel: &Channel) -> bool {
    let first = channel.app_data.split(',').nth(1).unwrap_or_default();
    in_our_app(ours, channel) && first != LEG_ARG
}

/// Whether a listed channel is a caller in one of the Stasis applications `<app>-<n>`.
#[must_use]
pub(crate) fn is_caller_of(app: &str, channel: &Channel) -> bool {
    let mut words = channel.app_data.split(',');
    let number = words.next().and_then(|name| name.strip_prefix(app)?.strip_prefix('-'));
    let numbered = number.is_some_and(|n| !n.is_empty() && n.bytes().all(|digit| digit.is_ascii_digit()));
    channel.app_name == "Stasis" && numbered && words.next() != Some(LEG_ARG)
}

fn in_our_app(ours: Ours<'_>, channel: &Channel) -> bool {
    let app = channel.app_data.split(',').next().unwrap_or_default();
    channel.app_name == "Stasis" && ours.apps.iter().any(|ours| ours == app)
}

/// Reads the `appArgs` of an outbound channel back: `<app>,leg,<campaign>,<link>,<client>`.
#[must_use]
pub fn permit_of(leg: &Channel) -> Option<Permit> {
    let mut words = leg.app_data.split(',').skip_while(|word| *word != LEG_ARG).skip(1).map(|w| w.parse().ok());
    Some(Permit {
        campaign: CampaignId(words.next()??),
        link: LinkId(words.next()??),
        client: ClientId(words.next()??),
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::ari::CallerId;

    fn channel(id: &str, state: ChannelState, app_data: &str) -> Channel {
        Channel {
            id: id.into(),
            name: format!("PJSIP/{id}"),
            state,
            protocol_id: String::new(),
            caller: CallerId::default(),
            exten: "+442071234567".into(),
            app_name: "Stasis".into(),
            app_data: app_data.into(),
            creationtime: DateTime::UNIX_EPOCH,
        }
    }

    fn call() -> CallId {
        CallId::derive(DateTime::UNIX_EPOCH, "pbx", "1.1")
    }

    fn caller(state: ChannelState) -> Channel {
        channel("1.1", state, "capconduit-1,inbound,allowed")
    }

    fn leg(state: ChannelState) -> Channel {
        channel(&call().leg(2), state, "capconduit-1,leg,5,6,7")
    }

    fn bridge(members: &[&str]) -> Bridge {
        let channels = members.iter().map(|m| (*m).to_owned()).collect();
        Bridge {
            id: call().bridge(BridgeKind::Native),
            name: "capconduit-1".into(),
            technology: "native_rtp".into(),
            channels,
        }
    }

    fn absent(channel_id: &str) -> Finding {
        Finding::Absent { channel_id: channel_id.into() }
    }

    fn hang_up(channel_id: &str) -> Finding {
        Finding::HangUp { channel_id: channel_id.into(), permit: None }
    }

    /// The leg of an earlier run, which holds its permit until it is gone.
    fn stray() -> Finding {
        let permit = Permit { campaign: CampaignId(5), link: LinkId(6), client: ClientId(7) };
        Finding::HangUp { channel_id: call().leg(2), permit: Some(((call(), 2), permit)) }
    }

    fn found(belief: &Belief, channels: &[Channel], bridges: &[Bridge]) -> Vec<Finding> {
        let apps = ["capconduit-1".to_owned()];
        compare(Ours { node: "pbx", apps: &apps }, belief, channels, bridges)
    }

    fn known(task_gone: bool) -> Belief {
        Belief {
            calls: [("1.1".to_owned(), Known { call: call(), task_gone, caller_gone: false })].into(),
            permits: [((call(), 2), true)].into(),
            ..Belief::default()
        }
    }

    #[test]
    fn a_live_call_is_told_how_its_channels_stand() {
        let channels = [caller(ChannelState::Up), leg(ChannelState::Up)];
        let findings = found(&known(false), &channels, &[bridge(&["1.1", &call().leg(2)])]);
        let seen = [Sight::CallerUp, Sight::LegAnswered(2)].map(|sight| Finding::Seen(call(), sight));
        assert_eq!(findings, seen, "what it knows is told again, for a socket that was away");
    }

    #[test]
    fn what_is_not_listed_after_the_socket_was_away_is_gone_a_leg_only_where_it_was_there() {
        let mut belief = Belief { hearing: Hearing::Interrupted, ..known(false) };
        let both = [Finding::Missing(call()), Finding::LegMissing((call(), 2))];
        assert_eq!(found(&belief, &[], &[]), both);
        belief.permits.insert((call(), 2), false);
        let unconfirmed = [Finding::Missing(call()), absent(&call().leg(2))];
        assert_eq!(found(&belief, &[], &[]), unconfirmed, "its creation may be on its way");
        belief.missing_before.insert(call().leg(2));
        assert_eq!(found(&belief, &[], &[]), both);
        assert_eq!(found(&Belief { hearing: Hearing::Anew, ..known(false) }, &[], &[]), both);
    }

    #[test]
    fn what_is_not_listed_while_the_socket_was_up_is_looked_for_again() {
        let mut belief = known(false);
        assert_eq!(found(&belief, &[], &[]), [absent("1.1"), absent(&call().leg(2))]);
        belief.missing_before.extend(["1.1".to_owned(), call().leg(2)]);
        assert_eq!(found(&belief, &[], &[]), [Finding::Missing(call()), Finding::LegMissing((call(), 2))]);
        for known in belief.calls.values_mut() {
            known.caller_gone = true;
        }
        assert_eq!(found(&belief, &[], &[]), [Finding::LegMissing((call(), 2))], "its end was seen");
    }

    #[test]
    fn bridged_parties_of_an_earlier_run_are_taken_over_with_their_permit() {
        let channels = [caller(ChannelState::Up), leg(ChannelState::Up)];
        let findings = found(&Belief::default(), &channels, &[bridge(&["1.1", &call().leg(2)])]);
        let [Finding::Adopt(adoption)] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((adoption.call, adoption.n), (call(), 2));
        assert_eq!(adoption.permit, Permit { campaign: CampaignId(5), link: LinkId(6), client: ClientId(7) });
    }

    #[test]
    fn a_caller_still_waiting_is_routed_anew_and_its_old_leg_hung_up() {
        let channels = [caller(ChannelState::Ring), leg(ChannelState::Ringing)];
        let findings = found(&Belief::default(), &channels, &[bridge(&["1.1", &call().leg(2)])]);
        assert_eq!(findings[0], stray());
        let [Finding::Arrive { caller, earlier_attempts: 2 }] = &findings[1..] else { panic!("{findings:?}") };
        assert_eq!(caller.id, "1.1");
    }

    #[test]
    fn a_caller_whose_client_hung_up_meanwhile_is_not_sold_again() {
        let findings = found(&Belief::default(), &[caller(ChannelState::Up)], &[bridge(&["1.1"])]);
        assert_eq!(findings, [hang_up("1.1")]);
    }

    #[test]
    fn a_caller_of_ours_is_told_by_its_application() {
        let listed = |app_name: &str, app_data: &str| {
            let caller = caller(ChannelState::Up);
            is_caller_of(
                "capconduit",
                &Channel { app_name: app_name.to_owned(), app_data: app_data.to_owned(), ..caller },
            )
        };
        assert!(listed("Stasis", "capconduit-1,inbound,allowed,x,y") && listed("Stasis", "capconduit-12,inbound"));
        for (app_name, app_data) in [
            ("Stasis", "capconduit-1,leg,1,2,3"),
            ("Stasis", "capconduit-doctor-1,inbound"),
            ("Stasis", "capconduit2-1,inbound"),
            ("Stasis", "capconduit-,inbound"),
            ("Dial", "capconduit-1,inbound"),
        ] {
            assert!(!listed(app_name, app_data), "{app_name} {app_data}");
        }
    }

    #[test]
    fn orphans_of_ours_are_cleared_and_strangers_left_alone() {
        let stranger = channel("9.9", ChannelState::Up, "other-app,inbound");
        let not_stasis = Channel { app_name: "Dial".into(), ..channel("8.8", ChannelState::Up, "capconduit-1") };
        let same_shape = channel(&call().leg(1), ChannelState::Up, "staging-1,leg,5,6,7");
        let conference = Bridge { id: "conference".into(), ..bridge(&[]) };
        let other_call = CallId::derive(DateTime::UNIX_EPOCH, "pbx", "7.7");
        let staging = Bridge { id: other_call.bridge(BridgeKind::Native), name: "staging-1".into(), ..bridge(&[]) };
        let channels = [stranger, not_stasis, same_shape, leg(ChannelState::Up)];
        let findings = found(&Belief::default(), &channels, &[conference, staging, bridge(&[])]);
        assert_eq!(findings, [stray(), Finding::DeleteBridge(call().bridge(BridgeKind::Native))]);
    }

    #[test]
    fn a_call_without_its_task_is_hung_up_and_then_forgotten() {
        let findings = found(&known(true), &[caller(ChannelState::Up), leg(ChannelState::Up)], &[]);
        assert_eq!(findings, [hang_up(&call().leg(2)), hang_up("1.1")]);
        let findings = found(&known(true), &[], &[]);
        assert!(findings.contains(&Finding::Forget { call: call(), permits: vec![(call(), 2)] }));
    }

    #[test]
    fn a_leg_that_no_attempt_of_its_live_call_holds_is_hung_up() {
        let belief = Belief { permits: BTreeMap::new(), ..known(false) };
        let findings = found(&belief, &[caller(ChannelState::Ring), leg(ChannelState::Ringing)], &[]);
        assert_eq!(findings, [hang_up(&call().leg(2))]);
    }

    #[test]
    fn only_complete_arguments_make_a_permit() {
        assert_eq!(permit_of(&channel("x", ChannelState::Up, "capconduit-1,leg,5,6")), None);
        assert_eq!(permit_of(&channel("x", ChannelState::Up, "capconduit-1,inbound,5,6,7")), None);
    }
}
