//! PURE: what an ARI event means to the call it belongs to.

use super::io::Input;
use super::late::Late;
use crate::ari::{self, ChannelState, Event};
use crate::clock::Now;

/// What an event of attempt n's channel means.
pub(super) fn leg_input(n: u32, event: &Event) -> Option<Input> {
    match event {
        Event::ChannelStateChange { channel, .. } => match channel.state {
            ChannelState::Ringing => Some(Input::LegRinging(n)),
            ChannelState::Up => Some(Input::LegAnswered(n)),
            _ => None,
        },
        Event::Dial { dialstatus, .. } => match dialstatus.as_str() {
            "PROGRESS" => Some(Input::LegProgress(n)),
            "RINGING" => Some(Input::LegRinging(n)),
            _ => None,
        },
        Event::ChannelTalkingStarted { .. } => Some(Input::LegSounds(n)),
        Event::ChannelDestroyed { cause, tech_cause, .. } => {
            Some(Input::LegGone { n, cause: Some(*cause), sip: *tech_cause })
        }
        _ => None,
    }
}

/// What an event of the inbound channel means.
pub(super) fn caller_input(event: &Event) -> Option<Input> {
    match event {
        Event::ChannelStateChange { channel, .. } if channel.state == ChannelState::Up => Some(Input::CallerUp),
        Event::ChannelHangupRequest { cause, soft, tech_cause, .. } => {
            // Soft hang-ups carry a flag of Asterisk's own in place of a Q.850 cause.
            Some(Input::CallerHangup { cause: cause.filter(|_| !soft), sip: *tech_cause })
        }
        Event::StasisEnd { .. } | Event::ChannelDestroyed { .. } => Some(Input::CallerGone),
        _ => None,
    }
}

/// When what a client read late happened.
pub(super) fn late(late: ari::Late) -> Late {
    Late { since: late.since.into(), likely: late.likely.map(Now::from) }
}
