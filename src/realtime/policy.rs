//! PURE: where an installation lets clients be, and what it lets be stored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, SipSettings};
use crate::config::Network;

/// What an installation allows of clients' SIP settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Private and loopback addresses that clients may have.
    pub allowed_networks: Vec<Network>,
    /// Where carriers' calls come from.
    pub carriers: Vec<Network>,
    /// Our own addresses: a client there would be called in a circle.
    pub ours: Vec<IpAddr>,
    /// Whether a password may be stored readably.
    pub plaintext: bool,
}

/// Why no client may have an address; in a sentence it follows "which is".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// 127.0.0.0/8, ::1.
    #[error("a loopback address outside sip.allowed_networks")]
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    #[error("a link-local address")]
    LinkLocal,
    /// 224.0.0.0/4, ff00::/8.
    #[error("a multicast address")]
    Multicast,
    /// 0.0.0.0/8, ::.
    #[error("an unspecified address")]
    Unspecified,
    /// 255.255.255.255, and the rest of 240.0.0.0/4.
    #[error("a broadcast or reserved address")]
    Broadcast,
    /// RFC 1918, unique local, shared (carrier-grade NAT).
    #[error("a private address outside sip.allowed_networks")]
    Private,
    /// 64:ff9b:1::/48 and ::ffff:0:0:0/96: only the translator knows which IPv4 address it means.
    #[error("an address that is translated into an IPv4 one")]
    Translated,
    /// Our listener's or a node's.
    #[error("an address of this installation")]
    Ours,
    /// One of `sip.carriers`.
    #[error("a carrier's address (sip.carriers)")]
    Carriers,
}

impl Policy {
    /// Whether a client may have this address. One that carries an IPv4 address inside is judged by that too.
    ///
    /// # Errors
    /// Why not.
    pub fn address(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        if let IpAddr::V6(outer) = address
            && let Some(inner) = embedded(outer)
        {
            self.address(inner.into())?;
        }
        let kind = match address {
            IpAddr::V4(address) => kind_of_v4(address),
            IpAddr::V6(address) => kind_of_v6(address),
        };
        let opened = || self.allowed_networks.iter().any(|network| network.contains(address));
        match kind {
            Some(Forbidden::Loopback | Forbidden::Private) if opened() => {}
            Some(kind) => return Err(kind),
            None => {}
        }
        if self.ours.iter().any(|own| own.to_canonical() == address) {
            return Err(Forbidden::Ours);
        }
        if self.carriers.iter().any(|network| network.contains(address)) {
            return Err(Forbidden::Carriers);
        }
        Ok(())
    }

    /// Whether a client may have this host as far as its spelling tells: a name's addresses are another question.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn host(&self, host: &Host) -> Result<(), String> {
        let Host::Name(name) = host else {
            let Some(address) = host.address() else { return Ok(()) };
            if address != address.to_canonical() {
                return Err(format!("{address} is an IPv4 address in IPv6 form: write it as IPv4"));
            }
            return self.address(address).map_err(|why| format!("{address} is not allowed: it is {why}"));
        };
        let labels: Vec<&str> = name.split('.').collect();
        let last = labels.last().copied().unwrap_or_default();
        if last == "localhost" {
            return self
                .address(Ipv4Addr::LOCALHOST.into())
                .map_err(|why| format!("{name:?} is not allowed: it is {why}"));
        }
        // Old resolvers read 0x7f.1, and a search list makes a name without a dot another one on each node.
        if looks_like_a_number(last) {
            return Err(format!("{name:?} is not allowed: its last part looks like a number"));
        }
        if labels.len() < 2 {
            return Err(format!("{name:?} is not allowed: give the whole name, with its domain"));
        }
        Ok(())
    }

    /// Everything about one client's settings that this installation does not allow: field, and why.
    #[must_use]
    pub fn problems(&self, sip: &SipSettings) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if let Some(Err(problem)) = sip.host().map(|host| self.host(host)) {
            problems.push(("host".to_owned(), problem));
        }
        for (n, network) in sip.identify_by_ip.iter().enumerate() {
            let kind = match network.address() {
                IpAddr::V4(address) => kind_of_v4(address),
                IpAddr::V6(address) => kind_of_v6(address),
            };
            let never = kind.filter(|kind| !matches!(kind, Forbidden::Loopback | Forbidden::Private));
            let carriers =
                || self.carriers.iter().any(|carrier| carrier.overlaps(network)).then_some(Forbidden::Carriers);
            if let Some(why) = never.or_else(carriers) {
                problems
                    .push((format!("identify_by_ip[{n}]"), format!("{network} is not allowed: it is or holds {why}")));
            }
        }
        if sip.outbound_auth.as_ref().is_some_and(|auth| auth.realm.is_none()) && !self.plaintext {
            let problem = "is needed: without it the password would be stored readably, which this installation does not allow \
                           (sip.allow_plaintext_outbound_auth)";
            problems.push(("outbound_auth.realm".to_owned(), problem.to_owned()));
        }
        problems
    }
}

/// Fields of `one` that name an address by which, or at which, another client is known.
#[must_use]
pub fn overlaps(one: &SipSettings, other: &SipSettings) -> Vec<String> {
    let at = |sip: &SipSettings| sip.host().and_then(Host::address).map(Network::of);
    let known = |network: &Network| other.identify_by_ip.iter().any(|theirs| theirs.overlaps(network));
    let (here, there) = (at(one), at(other));
    let mut fields = Vec::new();
    if here.is_some_and(|here| known(&here)) {
        fields.push("host".to_owned());
    }
    for (n, network) in one.identify_by_ip.iter().enumerate() {
        if known(network) || there.is_some_and(|there| there.overlaps(network)) {
            fields.push(format!("identify_by_ip[{n}]"));
        }
    }
    fields
}

fn kind_of_v4(address: Ipv4Addr) -> Option<Forbidden> {
    let [first, second, ..] = address.octets();
    match first {
        0 => Some(Forbidden::Unspecified),
        127 => Some(Forbidden::Loopback),
        169 if second == 254 => Some(Forbidden::LinkLocal),
        224..=239 => Some(Forbidden::Multicast),
        240..=255 => Some(Forbidden::Broadcast),
        100 if second & 0xc0 == 64 => Some(Forbidden::Private),
        _ if address.is_private() => Some(Forbidden::Private),
        _ => None,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<Forbidden> {
    if address.is_unspecified() {
        return Some(Forbidden::Unspecified);
    }
    if address.is_loopback() {
        return Some(Forbidden::Loopback);
    }
    if address.is_multicast() {
        return Some(Forbidden::Multicast);
    }
    if matches!(address.segments(), [0x64, 0xff9b, 1, ..] | [0, 0, 0, 0, 0xffff, 0, ..]) {
        return Some(Forbidden::Translated);
    }
    let first = address.segments()[0];
    if first & 0xffc0 == 0xfe80 {
        return Some(Forbidden::LinkLocal);
    }
    // Unique local, and the site-local range that came before it.
    (first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0).then_some(Forbidden::Private)
}

/// The IPv4 address to which an IPv6 address leads: IPv4-compatible, NAT64 and 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(from(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

/// Decimal, octal or hexadecimal, as `inet_aton` reads them.
fn looks_like_a_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::SipForm;

    fn nets(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    fn checked(form: &SipForm) -> SipSettings {
        form.check(&mut |field, problem| panic!("{field}: {problem}")).expect("sound")
    }

    fn sip(host: &str, known: &[&str]) -> SipSettings {
        let identify_by_ip = Some(known.iter().map(ToString::to_string).collect());
        checked(&SipForm { host: Some(host.into()), identify_by_ip, ..SipForm::default() })
    }

    #[test]
    fn every_address_has_its_kind() {
        use Forbidden as F;
        let policy = Policy::default();
        for (address, expected) in [
            ("203.0.113.7", Ok(())),
            ("2001:db8::7", Ok(())),
            ("127.0.0.1", Err(F::Loopback)),
            ("127.255.255.254", Err(F::Loopback)),
            ("::1", Err(F::Loopback)),
            ("::ffff:127.0.0.1", Err(F::Loopback)),
            ("::127.0.0.1", Err(F::Loopback)),
            ("64:ff9b::7f00:1", Err(F::Loopback)),
            ("2002:7f00:1::1", Err(F::Loopback)),
            ("2002:a00:1::1", Err(F::Private)),
            ("169.254.169.254", Err(F::LinkLocal)),
            ("fe80::1", Err(F::LinkLocal)),
            ("febf::1", Err(F::LinkLocal)),
            ("224.0.0.1", Err(F::Multicast)),
            ("239.255.255.255", Err(F::Multicast)),
            ("ff02::1", Err(F::Multicast)),
            ("0.0.0.0", Err(F::Unspecified)),
            ("0.1.2.3", Err(F::Unspecified)),
            ("::", Err(F::Unspecified)),
            ("255.255.255.255", Err(F::Broadcast)),
            ("240.0.0.1", Err(F::Broadcast)),
            ("10.0.0.1", Err(F::Private)),
            ("172.16.0.1", Err(F::Private)),
            ("172.31.255.255", Err(F::Private)),
            ("172.32.0.1", Ok(())),
            ("192.168.1.1", Err(F::Private)),
            ("100.64.0.1", Err(F::Private)),
            ("100.127.255.255", Err(F::Private)),
            ("100.128.0.1", Ok(())),
            ("fd00::1", Err(F::Private)),
            ("fc00::1", Err(F::Private)),
            ("fec0::1", Err(F::Private)),
            ("64:ff9b:1::7f00:1", Err(F::Translated)),
            ("64:ff9b:1:ffff::cb00:7107", Err(F::Translated)),
            ("64:ff9b:2::1", Ok(())),
            ("::ffff:0:7f00:1", Err(F::Translated)),
            ("::ffff:0:203.0.113.7", Err(F::Translated)),
        ] {
            assert_eq!(policy.address(address.parse().expect("an address")), expected, "{address}");
        }
    }

    #[test]
    fn configuration_opens_private_and_loopback_only_and_never_ours_or_carriers() {
        let everything = nets(&["0.0.0.0/0", "::/0"]);
        let policy = Policy {
            allowed_networks: everything,
            carriers: nets(&["127.0.0.2"]),
            ours: vec!["127.0.0.1".parse().expect("an address")],
            plaintext: false,
        };
        for (address, expected) in [
            ("127.0.0.11", Ok(())),
            ("10.0.0.1", Ok(())),
            ("fd00::1", Ok(())),
            ("169.254.0.1", Err(Forbidden::LinkLocal)),
            ("224.0.0.1", Err(Forbidden::Multicast)),
            ("0.0.0.0", Err(Forbidden::Unspecified)),
            ("64:ff9b:1::1", Err(Forbidden::Translated)),
            ("127.0.0.1", Err(Forbidden::Ours)),
            ("::ffff:127.0.0.1", Err(Forbidden::Ours)),
            ("127.0.0.2", Err(Forbidden::Carriers)),
        ] {
            assert_eq!(policy.address(address.parse().expect("an address")), expected, "{address}");
        }
        let narrow = Policy { allowed_networks: nets(&["10.1.0.0/16"]), ..Policy::default() };
        assert_eq!(narrow.address("10.1.2.3".parse().expect("an address")), Ok(()));
        assert_eq!(narrow.address("10.2.2.3".parse().expect("an address")), Err(Forbidden::Private));
    }

    #[test]
    fn look_alikes_of_addresses_are_no_hosts() {
        let policy = Policy::default();
        for host in ["0x7f000001", "0x7f.1", "a.0x7f", "a.0x", "pbx", "localhost", "a.localhost", "::ffff:203.0.113.7"]
        {
            // Some are refused for their grammar already.
            if let Ok(host) = host.parse::<Host>() {
                assert!(policy.host(&host).is_err(), "{host}");
            }
        }
        for host in ["127.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "fe80::1%eth0", "a..b", "1.2.3.4.5", "[::1]"] {
            assert!(host.parse::<Host>().is_err(), "{host}");
        }
        for host in ["pbx.example", "203.0.113.7", "0x7f.example", "1.example", "2001:db8::1"] {
            assert_eq!(policy.host(&host.parse().expect(host)), Ok(()), "{host}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named_by_its_field() {
        let policy = Policy { carriers: nets(&["203.0.113.32/28"]), ..Policy::default() };
        let mut settings = sip("10.0.0.1", &["203.0.113.0/24", "198.51.100.7", "224.0.0.1"]);
        settings.outbound_auth =
            Some(crate::realtime::OutboundAuth { username: "us".parse().expect("a name"), realm: None });
        let fields: Vec<String> = policy.problems(&settings).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["host", "identify_by_ip[0]", "identify_by_ip[2]", "outbound_auth.realm"]);
        let lenient = Policy { plaintext: true, allowed_networks: nets(&["10.0.0.0/8"]), ..Policy::default() };
        assert_eq!(lenient.problems(&settings).len(), 1, "multicast");
    }

    #[test]
    fn no_two_clients_are_known_by_one_address() {
        let one = sip("203.0.113.7", &["198.51.100.0/28", "192.0.2.1"]);
        for (other, fields) in [
            (sip("203.0.113.7", &[]), vec![]),
            (sip("192.0.2.1", &[]), vec!["identify_by_ip[1]"]),
            (sip("b.example", &["203.0.113.0/24"]), vec!["host"]),
            (sip("b.example", &["198.51.100.9", "192.0.2.0/24"]), vec!["identify_by_ip[0]", "identify_by_ip[1]"]),
            (sip("b.example", &["198.51.100.16/28"]), vec![]),
        ] {
            assert_eq!(overlaps(&one, &other), fields, "{other:?}");
            assert_eq!(overlaps(&other, &one).is_empty(), fields.is_empty(), "either way");
        }
    }
}
