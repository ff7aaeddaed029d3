//! PURE: which SIP transports a node has, read from its `pjsip.conf`, and whether a client can be reached by them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::realtime::{Host, SipTransport};

/// What a node can send SIP by: protocol, and whether it is IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transports(BTreeSet<(&'static str, bool)>);

impl Transports {
    /// Of the whole text of a `pjsip.conf`, what it includes in its place.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut order = Vec::new();
        for line in text.lines().map(|line| line.split(';').next().unwrap_or_default().trim()) {
            if let Some(header) = line.strip_prefix('[') {
                let (name, kind) = header.split_once(']').unwrap_or((header, ""));
                let mut keys = BTreeMap::new();
                // What it inherits, and whether it is only a pattern for others.
                for parent in kind.trim_matches(['(', ')', ' ']).split(',').map(str::trim) {
                    keys.extend(sections.get(parent).cloned().unwrap_or_default());
                }
                let is_pattern = kind.contains('!');
                let name = if is_pattern { name.to_owned() } else { format!("{name}#{}", order.len()) };
                order.push((name.clone(), is_pattern));
                sections.insert(name, keys);
            } else if let (Some((key, value)), Some((name, _))) = (line.split_once('='), order.last()) {
                let value = value.trim_start_matches('>').trim().to_ascii_lowercase();
                sections.entry(name.clone()).or_default().insert(key.trim().to_ascii_lowercase(), value);
            }
        }
        let real = order.iter().filter(|(_, is_pattern)| !is_pattern).filter_map(|(name, _)| sections.get(name));
        Self(
            real.filter(|keys| keys.get("type").is_some_and(|kind| kind == "transport"))
                .filter_map(transport)
                .collect(),
        )
    }

    /// Whether a client at `host` can be reached by `transport`.
    #[must_use]
    pub fn reach(&self, host: &Host, transport: SipTransport) -> bool {
        let protocol = transport.as_str();
        let is_v6 = host.address().map(|address| address.is_ipv6());
        self.0.iter().any(|(has, v6)| *has == protocol && is_v6.is_none_or(|is_v6| is_v6 == *v6))
    }
}

fn transport(keys: &BTreeMap<String, String>) -> Option<(&'static str, bool)> {
    let protocol = keys.get("protocol").map_or("udp", String::as_str);
    let protocol = ["udp", "tcp", "tls"].into_iter().find(|known| *known == protocol)?;
    let bind = keys.get("bind").map(String::as_str).unwrap_or_default();
    let address = bind.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(bind);
    Some((protocol, address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6())))
}

/// What is missing where a client cannot be reached: `tcp`, or `udp over IPv6`.
#[must_use]
pub fn missing(host: &Host, transport: SipTransport) -> String {
    let v6 = if host.address().is_some_and(|address| address.is_ipv6()) { " over IPv6" } else { "" };
    format!("{transport}{v6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_reached_by_the_transports_that_there_are() {
        let text = "[base](!)\ntype = transport\nprotocol = tcp ; for all of them\n[transport-udp]\ntype = transport\nprotocol = udp\n\
                    bind = 0.0.0.0:5060\n[other](base)\nbind = [::]:5060\n[tls]\ntype=aor\nprotocol=tls\n";
        let transports = Transports::of(text);
        let host = |text: &str| text.parse::<Host>().expect("a host");
        for (at, transport, reached) in [
            ("203.0.113.7", SipTransport::Udp, true),
            ("pbx.example.com", SipTransport::Udp, true),
            ("2001:db8::7", SipTransport::Udp, false),
            ("2001:db8::7", SipTransport::Tcp, true),
            ("203.0.113.7", SipTransport::Tcp, false),
            ("pbx.example.com", SipTransport::Tcp, true),
            ("203.0.113.7", SipTransport::Tls, false),
        ] {
            assert_eq!(transports.reach(&host(at), transport), reached, "{at} {transport}");
        }
        assert_eq!(missing(&host("2001:db8::7"), SipTransport::Udp), "udp over IPv6");
        assert_eq!(missing(&host("pbx.example.com"), SipTransport::Tls), "tls");
    }
}
