//! Carries out what a call's machine asks of Asterisk: one typed request for each `Op`.

use super::ending::q850_for_sip;
use super::io::Op;
use super::machine::Call;
use crate::ari::{HangUpReason, Lane, Pending, Request};
use crate::routing::number::Dialled;
use crate::routing::snapshot::CallerId;

/// Normal call clearing (Q.850).
const NORMAL_CLEARING: u8 = 16;
/// How much longer than set-up and talk time together Asterisk lets an outbound channel live by itself.
const LEG_MARGIN_SECONDS: u64 = 30;

/// First `appArgs` word of our outbound channels; then campaign, link and client id, so that whoever lists
/// Asterisk's channels can rebuild the permits.
pub(crate) const LEG_ARG: &str = "leg";

/// Queues the request on the call's lane at once. `None`: there is nothing to ask.
pub(crate) fn ask(call: &Call, lane: &Lane, op: Op) -> Option<Pending> {
    let id = call.facts.call_id;
    let caller = call.facts.channel_id.as_str();
    let bridge_id = &id.bridge();
    let pending = match op {
        Op::CreateLeg(n) => return create_leg(call, lane, n),
        Op::CreateBridge => lane.send(Request::CreateBridge { bridge_id, name: lane.app_name() }),
        Op::AddCaller => lane.send(Request::AddChannel { bridge_id, channel_id: caller }),
        // The caller is in the bridge: joining it would tell the leg who that is, and so would dialling it in the caller's name.
        Op::AddLeg(n) if !passes(call, n) => lane.send(Request::AddUnseen { bridge_id, channel_id: &id.leg(n) }),
        Op::AddLeg(n) => lane.send(Request::AddChannel { bridge_id, channel_id: &id.leg(n) }),
        Op::Dial { n, timeout } => {
            // Asterisk counts whole seconds: round up, it only stands behind our own timer.
            let timeout = u32::try_from(timeout.as_secs() + 1).unwrap_or(u32::MAX);
            let caller = passes(call, n).then_some(caller);
            lane.send(Request::Dial { channel_id: &id.leg(n), caller, timeout })
        }
        Op::RingCaller => lane.send(Request::Ring { channel_id: caller }),
        Op::AnswerCaller => lane.send(Request::Answer { channel_id: caller }),
        Op::HangUpLeg(n) => lane.send(hang_up(&id.leg(n), NORMAL_CLEARING)),
        Op::HangUpCaller(None) => lane.send(hang_up(caller, NORMAL_CLEARING)),
        Op::HangUpCaller(Some(sip)) => lane.send(hang_up(caller, q850_for_sip(sip))),
        Op::LimitCaller(limit) => {
            let value = &limit.as_secs().to_string();
            lane.send(Request::SetChannelVariable { channel_id: caller, variable: "TIMEOUT(absolute)", value })
        }
        Op::DestroyBridge => lane.send(Request::DeleteBridge { bridge_id }),
    };
    Some(pending)
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
        endpoint: &attempt.client.identifier,
        app: lane.app_name(),
        app_args: &format!("{LEG_ARG},{},{},{}", campaign.id, attempt.link.id, attempt.client.id),
        originator: Some(&call.facts.channel_id),
        variables: &variables,
    }))
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
    use super::{header_text, shown};
    use crate::routing::number::Dialled;
    use crate::routing::snapshot::CallerId;

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
