//! PURE: the rows that Asterisk reads, derived from checked settings.

use std::collections::BTreeMap;

use super::secrets::PLAIN;
use super::{Host, OutboundAuth, OutboundSecret, Reach, Secrets, SipSettings, SipTransport};
use crate::routing::snapshot::ClientIdentifier;

/// The tables that [`PsRows::by_table`] names.
pub const TABLES: [&str; 4] = ["ps_endpoints", "ps_aors", "ps_auths", "ps_endpoint_id_ips"];

/// One row: column → value, `id` included; a column that is not there is NULL, which is Asterisk's default.
pub type PsRow = BTreeMap<&'static str, String>;

/// All rows of one client. Values are logical: PostgreSQL's driver needs `;` written as `^3B`, SQLite's needs it plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PsRows {
    /// Row of `ps_endpoints`.
    pub endpoint: PsRow,
    /// Row of `ps_aors`.
    pub aor: PsRow,
    /// Row of `ps_auths`, for a client that registers.
    pub auth: Option<PsRow>,
    /// Row of `ps_auths`, for a client that challenges us.
    pub outbound_auth: Option<PsRow>,
    /// Row of `ps_endpoint_id_ips`, where the client's own addresses are known.
    pub identify: Option<PsRow>,
}

impl PsRows {
    /// The rows, each with its table of [`TABLES`].
    #[must_use]
    pub fn by_table(self) -> Vec<(&'static str, PsRow)> {
        let [endpoints, aors, auths, identifies] = TABLES;
        let optional = [(auths, self.auth), (auths, self.outbound_auth), (identifies, self.identify)];
        let mut rows = vec![(endpoints, self.endpoint), (aors, self.aor)];
        rows.extend(optional.into_iter().filter_map(|(table, row)| Some((table, row?))));
        rows
    }
}

/// A value that must not reach Asterisk. Checked settings cannot hold one; the check stands behind them all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "ps_* column {column} may not hold {value:?}: only A-Z a-z 0-9 _ . : , @ / + [ ] - and our own ;transport= are allowed"
)]
pub struct UnsafeValue {
    /// The column.
    pub column: &'static str,
    /// The value, unless it is a secret.
    pub value: String,
}

/// The id of a client's AOR: what Asterisk keeps the contacts under that register. Each password has one of its own, so that whoever
/// registered with an earlier one is not dialled, on whatever node that was. Asterisk finds it for a REGISTER by the authenticated user
/// and realm (`identify_by` has `auth_username` for that), so the SIP user stays what the client was told.
#[must_use]
pub fn aor(identifier: &ClientIdentifier, sip: &SipSettings, secrets: &Secrets) -> String {
    match (&secrets.realm, &sip.reach) {
        (None, _) => identifier.to_string(),
        (Some(realm), Reach::Registration { username }) => format!("{username}@{}", realm.as_str()),
        (Some(realm), Reach::Address { .. }) => format!("{identifier}.{}", realm.drawn()),
    }
}

/// Derives a client's rows.
///
/// # Errors
/// When a value holds a character outside the allowlist.
pub fn rows(identifier: &ClientIdentifier, sip: &SipSettings, secrets: &Secrets) -> Result<PsRows, UnsafeValue> {
    let id = identifier.as_str();
    let registers = matches!(sip.reach, Reach::Registration { .. });
    let aor_id = aor(identifier, sip, secrets);
    let mut endpoint = fixed_endpoint();
    let codecs: Vec<&str> = sip.codecs.iter().map(|codec| codec.as_str()).collect();
    endpoint.extend([
        ("id", id.to_owned()),
        ("aors", aor_id.clone()),
        ("allow", codecs.join(",")),
        ("direct_media", yes_no(sip.direct_media)),
        ("dtmf_mode", sip.dtmf_mode.to_string()),
        ("identify_by", identify_by(registers.then_some(secrets), !sip.identify_by_ip.is_empty())),
        // A registering client is often behind NAT; a fixed address is what it says it is.
        ("rewrite_contact", yes_no(registers)),
    ]);
    let mut aor = fixed_aor();
    aor.insert("id", aor_id);
    let mut auth = None;
    match &sip.reach {
        Reach::Address { host, port, transport, qualify_seconds } => {
            aor.insert("contact", contact(id, host, *port, *transport));
            aor.insert("qualify_frequency", qualify_seconds.to_string());
        }
        Reach::Registration { username } => {
            endpoint.insert("auth", id.to_owned());
            aor.extend([("max_contacts", "1".to_owned()), ("remove_existing", yes_no(true))]);
            auth = secrets.registration.as_ref().map(|cred| {
                PsRow::from([
                    ("id", id.to_owned()),
                    ("auth_type", "md5".to_owned()),
                    ("username", username.to_string()),
                    ("md5_cred", cred.expose().to_owned()),
                    ("realm", secrets.realm().to_owned()),
                    ("nonce_lifetime", "32".to_owned()),
                ])
            });
        }
    }
    let addresses: Vec<String> = sip.identify_by_ip.iter().map(ToString::to_string).collect();
    let identify = (!addresses.is_empty())
        .then(|| PsRow::from([("id", id.to_owned()), ("endpoint", id.to_owned()), ("match", addresses.join(","))]));
    let outbound_auth =
        sip.outbound_auth.as_ref().zip(secrets.outbound.as_ref()).map(|(auth, secret)| outbound(id, auth, secret));
    if let Some(row) = &outbound_auth {
        endpoint.insert("outbound_auth", row["id"].clone());
    }
    let rows = PsRows { endpoint, aor, auth, outbound_auth, identify };
    check(&rows)?;
    Ok(rows)
}

/// What Asterisk answers a client's challenge with. The id has a dot, which no client's identifier has, and so none of them is it.
fn outbound(id: &str, auth: &OutboundAuth, secret: &OutboundSecret) -> PsRow {
    let mut row = PsRow::from([("id", format!("{id}.outbound")), ("username", auth.username.to_string())]);
    match secret {
        OutboundSecret::Digest(cred) => {
            row.extend([("auth_type", "md5".to_owned()), ("md5_cred", cred.expose().to_owned())]);
        }
        OutboundSecret::Plain(password) => {
            row.extend([("auth_type", "userpass".to_owned()), ("password", password.expose().to_owned())]);
        }
    }
    if let Some(realm) = &auth.realm {
        row.insert("realm", realm.to_string());
    }
    row
}

/// What every client gets, whoever it is.
fn fixed_endpoint() -> PsRow {
    [
        // A context that refuses every call: clients are called, they do not call.
        ("context", "capconduit-clients"),
        ("disallow", "all"),
        ("ice_support", "no"),
        ("rtp_symmetric", "yes"),
        ("force_rport", "yes"),
        ("timers", "yes"),
        // Asterisk's defaults, said aloud: when it lists objects it reads NULL as an empty text, and refuses the object for it.
        ("media_encryption", "no"),
        ("rtp_timeout", "0"),
        ("rtp_timeout_hold", "0"),
        // A REFER would let a client send the caller anywhere.
        ("allow_transfer", "no"),
        ("allow_subscribe", "no"),
        ("allow_overlap", "no"),
        // `user` hands only the user part of a 302's Contact to the core, never its host, and nobody in ARI's dial follows it: the
        // attempt fails with 302. `uri_pjsip` would make PJSIP follow the Contact to whatever host it names; `uri_core` carries it whole.
        ("redirect_method", "user"),
        // A hold is its party's own: what it sends instead is heard, no music is played here, and media goes on as it was. Passed on,
        // a hold would take the bridge off native media and back: another SSRC at each end, twice.
        ("moh_passthrough", "yes"),
        ("suppress_moh_on_sendonly", "yes"),
        // What a client says about the caller is not believed; a withheld number is not told to it (P-Asserted-Identity only where
        // presentation allows it), and answers change nobody's caller id.
        ("trust_id_inbound", "no"),
        ("trust_id_outbound", "no"),
        ("send_pai", "yes"),
        ("send_rpid", "no"),
        ("send_connected_line", "no"),
        ("trust_connected_line", "no"),
    ]
    .into_iter()
    .map(|(column, value)| (column, value.to_owned()))
    .collect()
}

/// Asterisk's defaults for an AOR, said aloud for the same reason.
fn fixed_aor() -> PsRow {
    [
        ("max_contacts", "0"),
        ("remove_existing", "no"),
        ("qualify_frequency", "0"),
        ("qualify_timeout", "3.0"),
        ("minimum_expiration", "60"),
        ("default_expiration", "3600"),
        ("maximum_expiration", "7200"),
        ("support_path", "no"),
    ]
    .into_iter()
    .map(|(column, value)| (column, value.to_owned()))
    .collect()
}

/// A fixed address is known by its IP only, so that a stranger whose From names the client is not taken for it; one that registers is
/// known by its name, and proves it by its password.
fn identify_by(registers_with: Option<&Secrets>, by_ip: bool) -> String {
    let mut ways = Vec::new();
    ways.extend((by_ip || registers_with.is_none()).then_some("ip"));
    ways.extend(registers_with.map(|_| "username"));
    ways.extend(registers_with.and_then(|secrets| secrets.realm.as_ref()).map(|_| "auth_username"));
    ways.join(",")
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn contact(user: &str, host: &Host, port: u16, transport: SipTransport) -> String {
    let host = match host {
        Host::V6(address) => format!("[{address}]"),
        other => other.to_string(),
    };
    let suffix = match transport {
        SipTransport::Udp => "",
        SipTransport::Tcp => TCP,
        SipTransport::Tls => TLS,
    };
    format!("sip:{user}@{host}:{port}{suffix}")
}

const TCP: &str = ";transport=tcp";
const TLS: &str = ";transport=tls";

fn check(rows: &PsRows) -> Result<(), UnsafeValue> {
    let optional = [rows.auth.as_ref(), rows.outbound_auth.as_ref(), rows.identify.as_ref()];
    let all = [Some(&rows.endpoint), Some(&rows.aor)].into_iter().chain(optional);
    for (column, value) in all.flatten().flatten() {
        let (plain, more): (&str, &[u8]) = match *column {
            "contact" => (value.strip_suffix(TCP).or_else(|| value.strip_suffix(TLS)).unwrap_or(value), b""),
            "realm" => (value, b" "),
            "password" => (value, PLAIN),
            _ => (value, b""),
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:,@/+[]-".contains(&byte) || more.contains(&byte);
        if plain.is_empty() || !plain.bytes().all(allowed) {
            let secret = ["password", "md5_cred"].contains(column);
            let value = if secret { "(not shown, it is a secret)".to_owned() } else { value.clone() };
            return Err(UnsafeValue { column, value });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
