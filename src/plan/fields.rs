//! PURE: objects as lists of named values, for the lines of a plan.

use std::fmt::Display;

use super::state::{Access, Campaign, Client, Did, Link, Seller};
use crate::realtime::{OutboundAuth, Reach, SipSettings};

/// One named value. The lists of two objects of one kind have the same names in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    name: &'static str,
    value: String,
    /// Whether it is the default and thus not worth a word when the object is new.
    quiet: bool,
}

/// The values of a new object that are worth a word.
pub(super) fn describe(new: &[Field]) -> Vec<String> {
    new.iter().filter(|field| !field.quiet).map(|field| format!("{} {}", field.name, field.value)).collect()
}

/// `name old → new` for every value that differs.
pub(super) fn compare(old: &[Field], new: &[Field]) -> Vec<String> {
    let pairs = old.iter().zip(new).filter(|(old, new)| old.value != new.value);
    pairs.map(|(old, new)| format!("{} {} → {}", new.name, old.value, new.value)).collect()
}

fn shown(name: &'static str, value: impl Display) -> Field {
    Field { name, value: value.to_string(), quiet: false }
}

fn quiet_when(default: impl Display, name: &'static str, value: impl Display) -> Field {
    let value = value.to_string();
    Field { name, quiet: value == default.to_string(), value }
}

fn optional(absent: &'static str, name: &'static str, value: Option<impl Display>) -> Field {
    quiet_when(absent, name, value.map_or_else(|| absent.to_owned(), |value| value.to_string()))
}

fn quoted(name: &'static str, text: Option<&String>) -> Field {
    optional("none", name, text.map(|text| format!("{text:?}")))
}

fn legacy_id(id: Option<&String>) -> Field {
    optional("none", "legacy_id", id)
}

pub(super) fn seller(seller: &Seller) -> Vec<Field> {
    vec![
        shown("name", format_args!("{:?}", seller.name)),
        quiet_when("active", "status", seller.status),
        legacy_id(seller.legacy_id.as_ref()),
    ]
}

pub(super) fn client(client: &Client) -> Vec<Field> {
    let named: Vec<&str> = client.sellers.iter().flatten().map(String::as_str).collect();
    let mut fields = vec![
        quiet_when(&client.identifier, "identifier", &client.identifier),
        shown("name", format_args!("{:?}", client.name)),
        quiet_when("active", "status", client.status),
        optional("no limit", "max_concurrency", client.max_concurrency),
        quiet_when(false, "send_headers", client.send_headers),
        quiet_when(Access::All, "access", client.access.unwrap_or(Access::All)),
        quiet_when("[]", "sellers", format_args!("[{}]", named.join(" "))),
        quoted("mask_name", client.mask_name.as_ref()),
        quoted("contact", client.contact.as_ref()),
        quoted("time_zone", client.time_zone.as_ref()),
    ];
    fields.extend(sip(&client.sip));
    fields
}

fn sip(sip: &SipSettings) -> Vec<Field> {
    let reach = match &sip.reach {
        Reach::Address { host, port, transport, qualify_seconds } => {
            let qualify =
                if *qualify_seconds == 0 { String::new() } else { format!(" qualified every {qualify_seconds} s") };
            format!("{host} port {port} {transport}{qualify}")
        }
        Reach::Registration { username } => format!("registers as {username}"),
    };
    let list = |items: Vec<String>| format!("[{}]", items.join(" "));
    vec![
        shown("sip", reach),
        quiet_when("[alaw ulaw]", "sip.codecs", list(sip.codecs.iter().map(ToString::to_string).collect())),
        quiet_when(false, "sip.direct_media", sip.direct_media),
        quiet_when("rfc4733", "sip.dtmf_mode", sip.dtmf_mode),
        quiet_when("pass", "sip.caller_id", sip.caller_id),
        optional("none", "sip.outbound_auth", sip.outbound_auth.as_ref().map(outbound)),
        quiet_when("[]", "sip.identify_by_ip", list(sip.identify_by_ip.iter().map(ToString::to_string).collect())),
    ]
}

fn outbound(auth: &OutboundAuth) -> String {
    match &auth.realm {
        Some(realm) => format!("as {} in realm {:?}", auth.username, realm.to_string()),
        None => format!("as {} in any realm", auth.username),
    }
}

pub(super) fn did(did: &Did) -> Vec<Field> {
    vec![
        quiet_when(false, "raw", did.raw),
        shown("seller", &did.seller),
        quiet_when("active", "status", did.status),
        legacy_id(did.legacy_id.as_ref()),
    ]
}

pub(super) fn campaign(campaign: &Campaign) -> Vec<Field> {
    let dids: Vec<&str> = campaign.dids.iter().map(String::as_str).collect();
    vec![
        shown("routing_strategy", campaign.strategy),
        quiet_when(20, "dial_timeout_seconds", campaign.dial_timeout_seconds),
        optional("default", "setup_budget_seconds", campaign.setup_budget_seconds),
        optional("default", "max_duration_seconds", campaign.max_duration_seconds),
        optional("no limit", "max_concurrency", campaign.max_concurrency),
        quiet_when(true, "early_media", campaign.early_media),
        optional("default", "rejections.inactive_campaign", campaign.rejections.inactive_campaign),
        optional("default", "rejections.no_active_link", campaign.rejections.no_active_link),
        optional("default", "rejections.all_full", campaign.rejections.all_full),
        optional("default", "rejections.nobody_answered", campaign.rejections.nobody_answered),
        quiet_when("active", "status", campaign.status),
        quiet_when("[]", "dids", format_args!("[{}]", dids.join(" "))),
        legacy_id(campaign.legacy_id.as_ref()),
    ]
}

pub(super) fn link(link: &Link) -> Vec<Field> {
    vec![
        optional("no limit", "max_concurrency", link.max_concurrency),
        optional("no limit", "total_calls_allowed", link.total_calls_allowed),
        quiet_when(1, "forwarding_priority", link.forwarding_priority),
        quiet_when(1, "weight", link.weight),
        optional("the campaign's", "ring_timeout_seconds", link.ring_timeout_seconds),
        quiet_when("answered", "count_on", link.count_on),
        quiet_when("active", "status", link.status),
        legacy_id(link.legacy_id.as_ref()),
    ]
}
