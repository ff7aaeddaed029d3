//! PURE: reads an inbound channel into the facts of a call.

use std::sync::Arc;

use super::facts::CallFacts;
use super::merged::Invite;
use crate::ari::{Channel, Info};
use crate::cdr::record::Presentation;
use crate::config::DidFrom;
use crate::id::CallId;
use crate::routing::number::{Caller, Dialled, Normaliser, user_of_to};

/// How one node's inbound channels are read.
#[derive(Debug)]
pub struct Intake {
    node: Arc<str>,
    did_from: DidFrom,
    normaliser: Normaliser,
    /// Of the Asterisk that was found last.
    can_progress: bool,
}

impl Intake {
    /// Reads channels as the node's configuration says.
    #[must_use]
    pub fn new(node: &crate::config::Node) -> Self {
        Self {
            node: Arc::from(node.name.as_str()),
            did_from: node.did_from,
            normaliser: node.normaliser(),
            can_progress: false,
        }
    }

    /// Notes which Asterisk the node is: it may have been upgraded since the last connection.
    pub(super) fn found(&mut self, asterisk: &Info) {
        self.can_progress = asterisk.has_progress();
    }

    /// The facts of the call that `channel` brings. `args` are those of `Stasis()`, as asterisk/etc/extensions.conf
    /// gives them: `inbound`, the caller's presentation, the percent-encoded To header, and, from version 2 on, the percent-encoded From
    /// tag and CSeq.
    #[must_use]
    pub fn facts(&self, channel: &Channel, args: &[String]) -> CallFacts {
        let arg = |at: usize| args.get(at).map_or("", String::as_str);
        let decoded = |at: usize| percent_encoding::percent_decode_str(arg(at)).decode_utf8_lossy();
        let to = decoded(2);
        let caller = self.caller(&channel.caller.number, arg(1));
        let shown = caller.presentation != Presentation::Withheld;
        CallFacts {
            call_id: CallId::derive(channel.creationtime, &self.node, &channel.id),
            node: Arc::clone(&self.node),
            channel_id: channel.id.clone(),
            invite: Invite::new(Some(&channel.protocol_id), &decoded(3)),
            sip_call_id: (!channel.protocol_id.is_empty()).then(|| channel.protocol_id.clone()),
            dialled: self.dialled(&channel.exten, &to),
            caller_name: (shown && !channel.caller.name.is_empty()).then(|| channel.caller.name.clone()),
            caller,
            can_progress: self.can_progress,
        }
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What was dialled, by the user part of the Request-URI or by the To header, whichever names the node's DIDs.
    #[must_use]
    pub fn dialled(&self, exten: &str, to: &str) -> Dialled {
        match self.did_from {
            DidFrom::RequestUri => self.dialled_exten(exten),
            DidFrom::To => self.normaliser.dialled(&user_of_to(to).unwrap_or_default()),
        }
    }

    /// What was dialled, where nothing but the user part of the Request-URI is known.
    #[must_use]
    pub fn dialled_exten(&self, exten: &str) -> Dialled {
        self.normaliser.dialled(exten)
    }

    /// Who calls, by number and Asterisk's `CALLERID(num-pres)`.
    #[must_use]
    pub fn caller(&self, number: &str, presentation: &str) -> Caller {
        self.normaliser.caller(number, presentation)
    }

    /// As [`Self::facts`], for a channel found in Asterisk's list: the arguments stand in its application data.
    #[must_use]
    pub fn facts_of_listed(&self, channel: &Channel) -> CallFacts {
        let args: Vec<String> = channel.app_data.split(',').skip(1).map(str::to_owned).collect();
        self.facts(channel, &args)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::ari::{CallerId, ChannelState};
    use crate::config::Config;

    fn intake(did_from: DidFrom) -> Intake {
        let mut config = Config::from_layers(None, []).expect("the defaults are valid");
        config.nodes[0].did_from = did_from;
        Intake::new(&config.nodes[0])
    }

    fn channel(number: &str) -> Channel {
        Channel {
            id: "1.1".into(),
            name: "PJSIP/carrier-1".into(),
            state: ChannelState::Ring,
            protocol_id: "abc@carrier".into(),
            caller: CallerId { number: number.into(), name: "Ann \"x\" <y>".into() },
            exten: "+442071234567".into(),
            app_name: "Stasis".into(),
            app_data: "capconduit-1,inbound,allowed,%3Csip%3A%2B442079999999%40x%3E".into(),
            creationtime: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_did_comes_from_where_the_node_says() {
        let channel = channel("+447700900123");
        let from_uri = intake(DidFrom::RequestUri).facts_of_listed(&channel);
        assert_eq!(from_uri.dialled.e164.as_deref(), Some("+442071234567"));
        assert_eq!(from_uri.caller.e164.as_deref(), Some("+447700900123"));
        assert_eq!(from_uri.caller_name.as_deref(), Some("Ann \"x\" <y>"));
        assert_eq!(from_uri.sip_call_id.as_deref(), Some("abc@carrier"));
        let from_to = intake(DidFrom::To).facts_of_listed(&channel);
        assert_eq!(from_to.dialled.e164.as_deref(), Some("+442079999999"));
    }

    #[test]
    fn a_withheld_caller_leaves_neither_number_nor_name() {
        let args = ["inbound", "prohib_passed_screen", ""].map(str::to_owned);
        let facts = intake(DidFrom::RequestUri).facts(&channel("+447700900123"), &args);
        assert_eq!(facts.caller.presentation, Presentation::Withheld);
        assert_eq!((facts.caller.raw, facts.caller.e164, facts.caller_name), (None, None, None));
    }

    /// The first dialplan, which users have copies of, does not tell From tag and CSeq.
    #[test]
    fn an_invite_is_known_where_the_dialplan_tells_it() {
        let before = intake(DidFrom::RequestUri).facts_of_listed(&channel(""));
        assert_eq!((before.invite, before.sip_call_id.as_deref()), (None, Some("abc@carrier")));
        let mut channel = channel("");
        channel.app_data.push_str(",tag%2C1%201%20INVITE");
        let told = intake(DidFrom::To).facts_of_listed(&channel);
        assert_eq!(told.invite, Invite::new(Some("abc@carrier"), "tag,1 1 INVITE"));
        assert_eq!(told.dialled.e164.as_deref(), Some("+442079999999"));
    }

    #[test]
    fn a_missing_argument_is_no_panic() {
        let facts = intake(DidFrom::To).facts(&channel(""), &[]);
        assert_eq!(facts.dialled.raw, "");
    }
}
