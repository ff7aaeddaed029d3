//! Carries out what a call's machine asks of Asterisk: one typed request for each `Op`.

use std::net::SocketAddr;

use super::ending::q850_for_sip;
use super::io::{Input, Op};
use super::machine::Call;
use crate::ari::{Endpoint, HangUpReason, Lane, Pending, Request};
use crate::id::BridgeKind;
use crate::routing::number::Dialled;
use crate::routing::snapshot::{CallerId, ClientIdentifier};

/// Normal call clearing (Q.850).
const NORMAL_CLEARING: u8 = 16;
/// How much longer than set-up and talk time together Asterisk lets an outbound channel live by itself.
const LEG_MARGIN_SECONDS: u64 = 30;

/// `TALK_DETECT(set)`: silence lasts so many milliseconds before it is one, sound is what is louder than so much (mean of the samples'
/// absolute values, of 32,767). Digital silence is 8 in A-law; a microphone in a quiet room is some 30.
const FIRST_SOUND: &str = "2500,16";
/// What Asterisk keeps of a channel's far end: the latest answer to its INVITE, provisional ones included.
const LATEST_ANSWER: &str = "EVAL(${HANGUPCAUSE(${CHANNEL(name)},tech)})";
/// Where a channel's audio is sent to.
const MEDIA_ADDRESS: &str = "CHANNEL(rtp,dest)";

/// First `appArgs` word of our outbound channels; then campaign, link and client id, so that whoever lists
/// Asterisk's channels can rebuild the permits.
pub(crate) const LEG_ARG: &str = "leg";

/// Queues the request on the call's lane at once. `None`: there is nothing to ask.
pub(crate) fn ask(call: &Call, lane: &Lane, op: Op) -> Option<Pending> {
    let id = call.facts.call_id;
    let caller = call.facts.channel_id.as_str();
    let pending = match op {
        Op::CreateLeg(n) => return create_leg(call, lane, n),
        Op::CreateBridge(kind) => {
            let (bridge_id, proxied) = (&id.bridge(kind), kind == BridgeKind::Proxied);
            lane.send(Request::CreateBridge { bridge_id, name: lane.app_name(), proxied })
        }
        Op::AddCaller(kind) => add(lane, &id.bridge(kind), &[caller], false),
        // The leg knows who calls from its dial; where it shall not know, joining must not tell.
        Op::Join { n, bridge, with_caller } => {
            let leg = &id.leg(n);
            let both = [caller, leg.as_str()];
            add(lane, &id.bridge(bridge), if with_caller { &both } else { &both[1..] }, !passes(call, n))
        }
        Op::Listen(n) => set(lane, &id.leg(n), "TALK_DETECT(set)", FIRST_SOUND),
        Op::StopListening(n) => set(lane, &id.leg(n), "TALK_DETECT(remove)", ""),
        Op::Mute(n) => lane.send(Request::Mute { channel_id: &id.leg(n) }),
        Op::Unmute(n) => lane.send(Request::Unmute { channel_id: &id.leg(n) }),
        Op::Look(n) => get(lane, &id.leg(n), LATEST_ANSWER),
        Op::LookForMedia(n) => get(lane, &id.leg(n), MEDIA_ADDRESS),
        Op::Dial { n, timeout } => {
            // Asterisk counts whole seconds: round up, it only stands behind our own timer.
            let timeout = u32::try_from(timeout.as_secs() + 1).unwrap_or(u32::MAX);
            let caller = passes(call, n).then_some(caller);
            lane.send(Request::Dial { channel_id: &id.leg(n), caller, timeout })
        }
        Op::RingCaller => lane.send(Request::Ring { channel_id: caller }),
        Op::StopRinging => lane.send(Request::StopRinging { channel_id: caller }),
        Op::Progress => lane.send(Request::Progress { channel_id: caller }),
        Op::AnswerCaller => lane.send(Request::Answer { channel_id: caller }),
        Op::HangUpLeg(n) => lane.send(hang_up(&id.leg(n), NORMAL_CLEARING)),
        Op::HangUpCaller(None) => lane.send(hang_up(caller, NORMAL_CLEARING)),
        Op::HangUpCaller(Some(sip)) => lane.send(hang_up(caller, q850_for_sip(sip))),
        Op::LimitCaller(limit) => set(lane, caller, "TIMEOUT(absolute)", &limit.as_secs().to_string()),
        Op::DestroyBridge(kind) => lane.send(Request::DeleteBridge { bridge_id: &id.bridge(kind) }),
    };
    Some(pending)
}

fn add(lane: &Lane, bridge_id: &str, channel_ids: &[&str], unseen: bool) -> Pending {
    lane.send(Request::AddChannels { bridge_id, channel_ids, unseen })
}

fn set(lane: &Lane, channel_id: &str, variable: &str, value: &str) -> Pending {
    lane.send(Request::SetChannelVariable { channel_id, variable, value })
}

fn get(lane: &Lane, channel_id: &str, variable: &str) -> Pending {
    lane.send(Request::GetChannelVariable { channel_id, variable })
}

/// What Asterisk's answer to a look at a channel means to the call; `None`: the request was none.
pub(crate) fn seen(op: Op, value: &str) -> Option<Input> {
    match op {
        Op::Look(n) => Some(Input::LegSeen { n, sip: sip_status(value) }),
        Op::LookForMedia(n) => Some(Input::LegMedia { n, usable: is_address(value) }),
        _ => None,
    }
}

/// The status in `SIP 182 Queued`, as Asterisk keeps the latest answer of a channel's far end.
fn sip_status(cause: &str) -> Option<u16> {
    cause.strip_prefix("SIP ")?.split(' ').next()?.parse().ok()
}

/// Whether this is where media can be sent: an address and a port. Before any SDP was agreed on there is neither.
fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0)
}

/// Whether the client is shown who calls.
fn passes(call: &Call, n: u32) -> bool {
    call.attempt(n).is_none_or(|attempt| attempt.client.caller_id == CallerId::Pass)
}

fn hang_up(channel_id: &str, cause: u8) -> Request<'_> {
    Request::HangUp { channel_id, reason: Some(HangUpReason::Q850(cause)) }
}

/// Hangs up a channel that no call stands behind. A caller that was not answered yet is told 503, on which carriers re-route.
pub(crate) fn abandon(channel_id: &str) -> Request<'_> {
    hang_up(channel_id, q850_for_sip(503))
}

fn create_leg(call: &Call, lane: &Lane, n: u32) -> Option<Pending> {
    let attempt = call.attempt(n)?;
    let campaign = call.campaign.as_ref()?;
    let limit = attempt.ring_timeout + call.max_duration();
    let mut variables = vec![("TIMEOUT(absolute)".to_owned(), (limit.as_secs() + LEG_MARGIN_SECONDS).to_string())];
    variables.extend(taken(&call.facts.channel_id));
    variables.extend(shown(attempt.client.caller_id, &call.facts.dialled));
    if attempt.client.send_headers {
        let id = call.facts.call_id.to_string();
        variables.push(("PJSIP_HEADER(add,X-CapConduit-Call-Id)".to_owned(), id));
        variables.push(("PJSIP_HEADER(add,X-CapConduit-Campaign)".to_owned(), header_text(&campaign.name)));
    }
    Some(lane.send(Request::CreateChannel {
        channel_id: &call.facts.call_id.leg(n),
        endpoint: endpoint(&attempt.client.identifier),
        far_id: None,
        app: lane.app_name(),
        app_args: &format!("{LEG_ARG},{},{},{}", campaign.id, attempt.link.id, attempt.client.id),
        originator: Some(&call.facts.channel_id),
        variables: &variables,
    }))
}

/// Whom a channel is made for. What names a client names an endpoint.
pub(crate) fn endpoint(client: &ClientIdentifier) -> Endpoint<'_> {
    Endpoint::pjsip(client.as_str()).expect("[A-Za-z0-9_-]{1,40} is a part of what may name one")
}

/// Tells the dialplan that somebody took the caller ([capconduit-unseen] in `extensions.conf`), in a request that is made anyway.
fn taken(caller: &str) -> Option<(String, String)> {
    let plain = caller.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    plain.then(|| (format!("SHARED(CAPCONDUIT_TAKEN,{caller})"), "1".to_owned()))
}

/// What makes the leg's identity: nothing where the caller's is copied when it is dialled ([`passes`]). `i`: nobody is told of the change.
fn shown(caller_id: CallerId, dialled: &Dialled) -> Vec<(String, String)> {
    let set = |datum: &str, value: &str| (format!("CONNECTEDLINE({datum},i)"), value.to_owned());
    let safe = |number: &&str| number.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+*#._-".contains(&byte));
    match (caller_id, Some(dialled.e164.as_deref().unwrap_or(&dialled.raw)).filter(safe)) {
        (CallerId::Pass, _) => Vec::new(),
        (CallerId::Did, Some(did)) => vec![set("num", did), set("pres", "allowed")],
        (CallerId::Withhold, _) | (CallerId::Did, None) => vec![set("pres", "prohib")],
    }
}

/// A name as it may stand in a SIP header: printable ASCII; anything else, which could end the header or the
/// value Asterisk parses, becomes `_`.
fn header_text(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_.:+/()#&".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{endpoint, header_text, shown};
    use crate::routing::number::Dialled;
    use crate::routing::snapshot::{CallerId, ClientIdentifier};

    proptest! {
        #[test]
        fn whatever_names_a_client_names_an_endpoint(name in "[A-Za-z0-9_-]{1,40}") {
            let client: ClientIdentifier = name.parse().expect("an identifier");
            prop_assert_eq!(endpoint(&client).to_string(), format!("PJSIP/{name}"));
        }
    }

    #[test]
    fn a_client_is_shown_what_its_policy_says() {
        let dialled = |raw: &str, e164: Option<&str>| Dialled { raw: raw.into(), e164: e164.map(str::to_owned) };
        let to = dialled("02079460001", Some("+442079460001"));
        let pair = |datum: &str, value: &str| (format!("CONNECTEDLINE({datum},i)"), value.to_owned());
        assert_eq!(shown(CallerId::Pass, &to), []);
        assert_eq!(shown(CallerId::Withhold, &to), [pair("pres", "prohib")]);
        assert_eq!(shown(CallerId::Did, &to), [pair("num", "+442079460001"), pair("pres", "allowed")]);
        assert_eq!(shown(CallerId::Did, &dialled("sales", None)), [pair("num", "sales"), pair("pres", "allowed")]);
        assert_eq!(shown(CallerId::Did, &dialled("${SHELL(id)}", None)), [pair("pres", "prohib")]);
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(header_text("Solar UK (2026)"), "Solar UK (2026)");
        assert_eq!(header_text("x\r\nTo: evil"), "x__To: evil");
        assert_eq!(header_text("${SHELL(id)};\"<sip:é>,\\"), "__SHELL(id)____sip:____");
    }
}
