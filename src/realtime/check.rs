//! PURE: from the form to checked settings, naming every problem.

use super::{Codec, DtmfMode, Host, OutboundAuth, Password, Reach, Realm, SipForm, SipName, SipSettings, SipTransport};
use crate::config::Network;
use crate::routing::snapshot::CallerId;

impl SipForm {
    /// Checks every value. Problems go to `report` as (field, what is wrong); `None` when there were any.
    pub fn check(&self, report: &mut dyn FnMut(&str, String)) -> Option<SipSettings> {
        let reach = self.check_reach(report);
        let codecs = self.check_codecs(report);
        let dtmf_mode = self.dtmf_mode.as_deref().unwrap_or(DtmfMode::Rfc4733.as_str()).parse();
        let dtmf_mode = dtmf_mode.map_err(|error| report("dtmf_mode", error)).ok();
        let caller_id = self.caller_id.as_deref().unwrap_or(CallerId::Pass.as_str()).parse();
        let caller_id = caller_id.map_err(|error| report("caller_id", error)).ok();
        let identify_by_ip = self.check_identify(report);
        let outbound_auth = self.check_outbound(report);
        Some(SipSettings {
            reach: reach?,
            codecs: codecs?,
            direct_media: self.direct_media.unwrap_or(false),
            dtmf_mode: dtmf_mode?,
            caller_id: caller_id?,
            identify_by_ip: identify_by_ip?,
            outbound_auth: outbound_auth?,
        })
    }

    fn check_reach(&self, report: &mut dyn FnMut(&str, String)) -> Option<Reach> {
        match (&self.host, &self.registration) {
            (Some(host), None) => self.check_address(host, report),
            (None, Some(registration)) => {
                for (field, given) in [
                    ("port", self.port.is_some()),
                    ("transport", self.transport.is_some()),
                    ("qualify_seconds", self.qualify_seconds.is_some()),
                ] {
                    if given {
                        report(field, "is allowed only beside host".to_owned());
                    }
                }
                check_password("registration", registration.password.as_ref(), report);
                let username: Result<SipName, _> = registration.username.parse();
                let wrong =
                    |allowed| report("registration.username", format!("{:?}: {allowed}", registration.username));
                Some(Reach::Registration { username: username.map_err(wrong).ok()? })
            }
            _ => {
                report("host", "exactly one of host and registration is needed".to_owned());
                None
            }
        }
    }

    fn check_address(&self, host: &str, report: &mut dyn FnMut(&str, String)) -> Option<Reach> {
        let transport: Result<SipTransport, _> =
            self.transport.as_deref().unwrap_or(SipTransport::Udp.as_str()).parse();
        let transport = transport.map_err(|error| report("transport", error)).ok();
        let default_port = if transport == Some(SipTransport::Tls) { 5061 } else { 5060 };
        let port = u16::try_from(self.port.unwrap_or(default_port)).ok().filter(|port| *port > 0);
        if port.is_none() {
            report("port", format!("{} is not allowed: 1 to 65535", self.port.unwrap_or(default_port)));
        }
        let qualify = self.qualify_seconds.unwrap_or(0);
        let qualify_seconds = u32::try_from(qualify).ok().filter(|seconds| *seconds <= 3600);
        if qualify_seconds.is_none() {
            report("qualify_seconds", format!("{qualify} is not allowed: 0 (never) to 3600"));
        }
        let host = host.parse::<Host>().map_err(|allowed| report("host", format!("{host:?}: {allowed}"))).ok();
        Some(Reach::Address { host: host?, port: port?, transport: transport?, qualify_seconds: qualify_seconds? })
    }

    /// `None` when there were problems.
    fn check_identify(&self, report: &mut dyn FnMut(&str, String)) -> Option<Vec<Network>> {
        let mut networks: Vec<Network> = Vec::new();
        let mut sound = true;
        for (n, text) in self.identify_by_ip.iter().flatten().enumerate() {
            let problem = match identified(text) {
                Ok(network) if networks.contains(&network) => "is there twice",
                Ok(network) => {
                    networks.push(network);
                    continue;
                }
                Err(problem) => problem,
            };
            report(&format!("identify_by_ip[{n}]"), format!("{text:?} {problem}"));
            sound = false;
        }
        sound.then_some(networks)
    }

    /// `None` when there were problems.
    fn check_outbound(&self, report: &mut dyn FnMut(&str, String)) -> Option<Option<OutboundAuth>> {
        let Some(form) = &self.outbound_auth else { return Some(None) };
        let username: Result<SipName, _> = form.username.parse();
        let username =
            username.map_err(|allowed| report("outbound_auth.username", format!("{:?}: {allowed}", form.username)));
        let realm: Option<Result<Realm, _>> = form.realm.as_deref().map(str::parse);
        let realm =
            realm.transpose().map_err(|allowed| report("outbound_auth.realm", format!("{:?}: {allowed}", form.realm)));
        check_password("outbound_auth", form.password.as_ref(), report);
        if let (None, Some(problem)) = (&form.realm, form.password.as_ref().and_then(Password::plaintext_problem)) {
            report("outbound_auth.password", problem.to_owned());
        }
        Some(Some(OutboundAuth { username: username.ok()?, realm: realm.ok()? }))
    }

    fn check_codecs(&self, report: &mut dyn FnMut(&str, String)) -> Option<Vec<Codec>> {
        let Some(given) = &self.codecs else { return Some(vec![Codec::Alaw, Codec::Ulaw]) };
        let mut codecs = Vec::new();
        let mut sound = true;
        for text in given {
            match text.parse() {
                Ok(codec) if codecs.contains(&codec) => {
                    report("codecs", format!("{text:?} is there twice"));
                    sound = false;
                }
                Ok(codec) => codecs.push(codec),
                Err(error) => {
                    report("codecs", error);
                    sound = false;
                }
            }
        }
        if given.is_empty() {
            report("codecs", "is empty: name at least one".to_owned());
        }
        (sound && !given.is_empty()).then_some(codecs)
    }
}

/// An entry of `identify_by_ip`.
fn identified(text: &str) -> Result<Network, &'static str> {
    let network: Network =
        text.parse().map_err(|_| "is not an IPv4 or IPv6 address, or a range such as 203.0.113.0/28")?;
    // An IPv4 address in IPv6's clothes is the IPv4 address; a range of them is refused for its spelling.
    let network = if network.bits() == 128 { Network::of(network.address()) } else { network };
    if network.address() != network.address().to_canonical() {
        return Err("is an IPv4 range in IPv6 form: write it as IPv4");
    }
    let widest = if network.is_ipv4() { 24 } else { 64 };
    if network.bits() < widest {
        return Err("is too wide: /24 at most for IPv4, /64 for IPv6");
    }
    // `10.0.0.5/24` may be meant as one address or as the range.
    if network.has_host_bits() {
        return Err("names an address inside a range: write the range's first address, or the address alone");
    }
    Ok(network)
}

fn check_password(within: &str, password: Option<&Password>, report: &mut dyn FnMut(&str, String)) {
    if let Some(problem) = password.and_then(Password::problem) {
        report(&format!("{within}.password"), problem.to_owned());
    }
}
