//! PURE: compares Asterisk's channels and bridges with ours, after every (re)connect and at intervals.
//!
//! What Asterisk lists is evidence; what it does not list is gone. Channels of other applications are never touched.

use std::collections::{HashMap, HashSet};

use crate::ari::{Bridge, Channel, ChannelState};
use crate::calls::execute::LEG_ARG;
use crate::id::{CallId, CampaignId, ClientId, LinkId};
use crate::routing::caps::{Permit, PermitKey};

/// What we believe about one node, taken before its lists were asked for.
#[derive(Debug, Clone, Default)]
pub struct Belief {
    /// Live calls by their inbound channel; `true` = its task is gone.
    pub calls: HashMap<String, (CallId, bool)>,
    /// Permits held by those calls.
    pub permits: Vec<PermitKey>,
    /// Permits that the previous comparison already found without a channel.
    pub missing_before: HashSet<PermitKey>,
}

/// What follows from the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The caller's channel is gone.
    CallerGone(CallId),
    /// The attempt's channel is gone, seen twice.
    LegGone(PermitKey),
    /// The attempt has no channel; seen for the first time, so it may still be on its way.
    LegMissing(PermitKey),
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
    HangUp(String),
    /// A bridge of ours that belongs to no call.
    DeleteBridge(String),
    /// The call's task is gone, and so are all its channels: give its permits back and forget it.
    Forget(CallId),
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
    let listed: HashMap<&str, &Channel> = channels.iter().map(|c| (c.id.as_str(), c)).collect();
    let live: HashSet<CallId> = belief.calls.values().map(|(call, _)| *call).collect();
    let mut findings = Vec::new();
    findings.extend(known_calls(belief, &listed));
    findings.extend(permits(belief, &listed));

    let mut taken_over = HashSet::new();
    for caller in channels.iter().filter(|c| is_inbound(ours, c) && !belief.calls.contains_key(&c.id)) {
        let call = CallId::derive(caller.creationtime, ours.node, &caller.id);
        let finding = unknown_caller(call, caller, channels, bridges);
        taken_over.insert(call);
        if !matches!(finding, Finding::Adopt(_)) {
            findings.extend(legs_of(call, channels).map(|(_, leg)| Finding::HangUp(leg.id.clone())));
        }
        findings.push(finding);
    }
    let orphan = |call: &CallId| !live.contains(call) && !taken_over.contains(call);
    let legs = channels.iter().filter(|c| CallId::parse_leg(&c.id).is_some_and(|(call, _)| orphan(&call)));
    findings.extend(legs.map(|c| Finding::HangUp(c.id.clone())));
    let stale = bridges.iter().filter(|b| b.channels.is_empty());
    let stale = stale.filter(|b| CallId::parse_bridge(&b.id).is_some_and(|call| orphan(&call)));
    findings.extend(stale.map(|b| Finding::DeleteBridge(b.id.clone())));
    findings
}

fn known_calls(belief: &Belief, listed: &HashMap<&str, &Channel>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (channel_id, (call, task_gone)) in &belief.calls {
        let caller_there = listed.contains_key(channel_id.as_str());
        if !task_gone {
            findings.extend((!caller_there).then_some(Finding::CallerGone(*call)));
            continue;
        }
        let legs = listed.keys().filter(|id| CallId::parse_leg(id).is_some_and(|(c, _)| c == *call));
        let caller = caller_there.then_some(channel_id.as_str());
        let left: Vec<String> = legs.copied().chain(caller).map(str::to_owned).collect();
        if left.is_empty() {
            findings.push(Finding::Forget(*call));
        }
        findings.extend(left.into_iter().map(Finding::HangUp));
    }
    findings
}

fn permits(belief: &Belief, listed: &HashMap<&str, &Channel>) -> Vec<Finding> {
    let missing = belief.permits.iter().filter(|(call, n)| !listed.contains_key(call.leg(*n).as_str()));
    missing
        .map(|key| match belief.missing_before.contains(key) {
            true => Finding::LegGone(*key),
            false => Finding::LegMissing(*key),
        })
        .collect()
}

/// A caller that no live call knows: one to talk on, one left alone by its client, or one still to be routed.
fn unknown_caller(call: CallId, caller: &Channel, channels: &[Channel], bridges: &[Bridge]) -> Finding {
    let members = bridges.iter().find(|b| b.id == call.bridge()).map_or(&[][..], |b| &b.channels[..]);
    let bridged = |c: &Channel| members.contains(&c.id);
    let talking = legs_of(call, channels).find(|(_, leg)| leg.state == ChannelState::Up && bridged(leg));
    match talking {
        Some((n, leg)) if caller.state == ChannelState::Up && bridged(caller) => match permit_of(leg) {
            Some(permit) => {
                Finding::Adopt(Box::new(Adoption { call, caller: caller.clone(), leg: leg.clone(), n, permit }))
            }
            None => Finding::HangUp(caller.id.clone()),
        },
        _ if caller.state == ChannelState::Up => Finding::HangUp(caller.id.clone()),
        _ => {
            let earlier_attempts = legs_of(call, channels).map(|(n, _)| n).max().unwrap_or(0);
            Finding::Arrive { caller: Box::new(caller.clone()), earlier_attempts }
        }
    }
}

fn legs_of(call: CallId, channels: &[Channel]) -> impl Iterator<Item = (u32, &Channel)> {
    channels.iter().filter_map(move |c| {
        let (of, n) = CallId::parse_leg(&c.id)?;
        (of == call).then_some((n, c))
    })
}

fn is_inbound(ours: Ours<'_>, channel: &Channel) -> bool {
    let (app, args) = channel.app_data.split_once(',').unwrap_or((&channel.app_data, ""));
    let first = args.split(',').next().unwrap_or_default();
    channel.app_name == "Stasis" && ours.apps.iter().any(|ours| ours == app) && first != LEG_ARG
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
            context: "capconduit-inbound".into(),
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
        Bridge { id: call().bridge(), technology: "native_rtp".into(), channels }
    }

    fn found(belief: &Belief, channels: &[Channel], bridges: &[Bridge]) -> Vec<Finding> {
        let apps = ["capconduit-1".to_owned()];
        compare(Ours { node: "pbx", apps: &apps }, belief, channels, bridges)
    }

    fn known(task_gone: bool) -> Belief {
        Belief {
            calls: [("1.1".to_owned(), (call(), task_gone))].into(),
            permits: vec![(call(), 2)],
            missing_before: HashSet::new(),
        }
    }

    #[test]
    fn nothing_follows_where_all_is_as_believed() {
        let channels = [caller(ChannelState::Up), leg(ChannelState::Up)];
        assert_eq!(found(&known(false), &channels, &[bridge(&["1.1", &call().leg(2)])]), []);
    }

    #[test]
    fn what_is_not_listed_is_gone_a_leg_only_when_missed_twice() {
        let mut belief = known(false);
        assert_eq!(found(&belief, &[], &[]), [Finding::CallerGone(call()), Finding::LegMissing((call(), 2))]);
        belief.missing_before.insert((call(), 2));
        assert_eq!(found(&belief, &[caller(ChannelState::Ring)], &[]), [Finding::LegGone((call(), 2))]);
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
        assert_eq!(findings[0], Finding::HangUp(call().leg(2)));
        let [Finding::Arrive { caller, earlier_attempts: 2 }] = &findings[1..] else { panic!("{findings:?}") };
        assert_eq!(caller.id, "1.1");
    }

    #[test]
    fn a_caller_whose_client_hung_up_meanwhile_is_not_sold_again() {
        let findings = found(&Belief::default(), &[caller(ChannelState::Up)], &[bridge(&["1.1"])]);
        assert_eq!(findings, [Finding::HangUp("1.1".into())]);
    }

    #[test]
    fn orphans_of_ours_are_cleared_and_strangers_left_alone() {
        let stranger = channel("9.9", ChannelState::Up, "other-app,inbound");
        let not_stasis = Channel { app_name: "Dial".into(), ..channel("8.8", ChannelState::Up, "capconduit-1") };
        let foreign_bridge = Bridge { id: "conference".into(), technology: String::new(), channels: Vec::new() };
        let findings =
            found(&Belief::default(), &[stranger, not_stasis, leg(ChannelState::Up)], &[foreign_bridge, bridge(&[])]);
        assert_eq!(findings, [Finding::HangUp(call().leg(2)), Finding::DeleteBridge(call().bridge())]);
    }

    #[test]
    fn a_call_without_its_task_is_hung_up_and_then_forgotten() {
        let findings = found(&known(true), &[caller(ChannelState::Up), leg(ChannelState::Up)], &[]);
        assert_eq!(findings, [Finding::HangUp(call().leg(2)), Finding::HangUp("1.1".into())]);
        let findings = found(&known(true), &[], &[]);
        assert!(findings.contains(&Finding::Forget(call())));
    }

    #[test]
    fn only_complete_arguments_make_a_permit() {
        assert_eq!(permit_of(&channel("x", ChannelState::Up, "capconduit-1,leg,5,6")), None);
        assert_eq!(permit_of(&channel("x", ChannelState::Up, "capconduit-1,inbound,5,6,7")), None);
    }
}
