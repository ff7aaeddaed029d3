//! PURE: phone numbers as carriers send them, and E.164 (ITU-T) as we compare them.
//!
//! `phonelib` knows the numbering plans. It is fed only what passed [`digits`], because by itself it maps keypad letters to
//! digits (`1-800-FLOWERS`), takes full-width digits and reads extensions; a SIP user part that needs any of these is no number.

pub mod readers;
pub mod written;

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::snapshot::{Did, Snapshot};
use crate::cdr::record::Presentation;

/// The longest text taken for a number: 15 digits (E.164), a carrier prefix, and separators.
const MAX_LEN: usize = 40;

/// User parts that stand for "no identity": those that say why (RFC 3323 and what gateways send).
const WITHHELD: &[&str] = &["anonymous", "restricted", "private", "withheld", "blocked"];
const UNAVAILABLE: &[&str] = &["", "unavailable", "unknown"];

/// Turns what a node's carriers send into E.164.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Normaliser {
    region: Option<String>,
    /// Longest prefix first.
    rules: Vec<(String, String)>,
}

/// What the carrier dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// As it came (control characters, which no database takes, replaced by U+FFFD).
    pub raw: String,
    /// As E.164, where it is a number.
    pub e164: Option<String>,
}

impl Dialled {
    /// By what its DID is looked up wherever that is done, in this order: text, and whether it is a raw DID's. E.164 decides first, so
    /// that nobody takes a number's calls by a DID of another spelling; then the exact text, then that without user parameters.
    pub fn keys(&self) -> impl Iterator<Item = (&str, bool)> {
        let raw = [self.raw.as_str(), user_part(&self.raw)].map(|text| (text, true));
        self.e164.as_deref().map(|number| (number, false)).into_iter().chain(raw)
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it came; `None` unless it may be shown.
    pub raw: Option<String>,
    /// As E.164, where it is a number that may be shown.
    pub e164: Option<String>,
    /// Whether it may be shown.
    pub presentation: Presentation,
}

impl Normaliser {
    /// `region`: country of numbers without country code (ISO 3166-1 alpha-2; see [`is_region`]), without which only `+` numbers
    /// are E.164. `prefix_rules`: what replaces leading digits before that, the longest prefix that fits.
    #[must_use]
    pub fn new(region: Option<&str>, prefix_rules: &BTreeMap<String, String>) -> Self {
        let mut rules: Vec<_> = prefix_rules.clone().into_iter().collect();
        rules.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Self { region: region.map(str::to_owned), rules }
    }

    /// Reads the number that was dialled: a SIP user part, or what [`user_of_to`] gave.
    #[must_use]
    pub fn dialled(&self, raw: &str) -> Dialled {
        Dialled { raw: printable(raw), e164: self.e164(raw) }
    }

    /// Reads the caller: a SIP user part and Asterisk's `CALLERID(num-pres)`. A word that is not known is taken for withheld.
    #[must_use]
    pub fn caller(&self, raw: &str, num_pres: &str) -> Caller {
        let user = user_part(raw.trim()).to_ascii_lowercase();
        let presentation = match presentation(num_pres) {
            Presentation::Withheld => Presentation::Withheld,
            _ if WITHHELD.contains(&user.as_str()) => Presentation::Withheld,
            _ if UNAVAILABLE.contains(&user.as_str()) => Presentation::Unavailable,
            other => other,
        };
        if presentation == Presentation::Allowed {
            Caller { raw: Some(printable(raw)), e164: self.e164(raw), presentation }
        } else {
            Caller { raw: None, e164: None, presentation }
        }
    }

    /// `raw` as E.164 (`+` and 7 to 15 digits); `None` for what is no number.
    #[must_use]
    pub fn e164(&self, raw: &str) -> Option<String> {
        let number = self.replace_prefix(digits(user_part(raw))?);
        let found = if number.starts_with('+') {
            // phonelib drops zeros after the +: `+020…` would become a number in Egypt.
            if number.starts_with("+0") { None } else { phonelib::normalize_phone_number(&number) }
        } else {
            let region = self.region.as_deref()?;
            phonelib::PhoneNumber::parse_with_country(&number, region).map(|number| number.e164().to_owned())
        };
        found.filter(|number| is_e164(number))
    }

    fn replace_prefix(&self, number: String) -> String {
        for (from, to) in &self.rules {
            if let Some(rest) = number.strip_prefix(from.as_str()) {
                return format!("{to}{rest}");
            }
        }
        number
    }
}

/// Whether `text` is a number in E.164 form: `+`, then 7 to 15 digits of which the first is not 0.
#[must_use]
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether `code` is a country in capital letters (ISO 3166-1 alpha-2) whose numbering plan is known.
#[must_use]
pub fn is_region(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()) && phonelib::country_by_code(code).is_some()
}

/// Finds the DID that was dialled: E.164 decides first, then what is no such number, by its text.
#[must_use]
pub fn find_did<'a>(snapshot: &'a Snapshot, dialled: &Dialled) -> Option<&'a Did> {
    dialled.keys().find_map(|(text, raw)| snapshot.dids.get(text).filter(|did| did.raw == raw))
}

/// The user part of a From, To or P-Asserted-Identity header's URI, decoded and without parameters; `None` where it has none.
///
/// Takes `"A <b>" <sip:+44…;npdi@host;user=phone>;tag=x`, `sip:+44…@host`, `sips:` and `tel:` (RFC 3261, RFC 3966).
#[must_use]
pub fn user_of_to(header: &str) -> Option<String> {
    let (scheme, rest) = uri_of(header)?.split_once(':')?;
    let user = match scheme.trim().to_ascii_lowercase().as_str() {
        // The password that a user may carry (RFC 3261, 19.1.1) is no part of the number.
        "sip" | "sips" => rest.split_once('@')?.0.split(':').next()?,
        "tel" => rest.split('?').next()?,
        _ => return None,
    };
    let user = percent_decode_str(user_part(user)).decode_utf8().ok()?;
    (!user.is_empty() && !user.contains(char::is_control)).then(|| user.into_owned())
}

/// The URI of a name-addr or addr-spec: what stands between the first `<` outside quotes and its `>`, else everything.
fn uri_of(header: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => return header[at + 1..].split_once('>').map(|(uri, _)| uri.trim()),
            _ => {}
        }
    }
    Some(header.trim())
}

/// A SIP user part without its parameters (`;npdi;rn=…`, `;phone-context=…`).
fn user_part(text: &str) -> &str {
    text.split(';').next().unwrap_or_default()
}

/// The digits of `text`, with its leading `+`, without visual separators (RFC 3966); `None` where anything else stands in it.
fn digits(text: &str) -> Option<String> {
    if text.len() > MAX_LEN {
        return None;
    }
    let (plus, rest) = text.strip_prefix('+').map_or(("", text), |rest| ("+", rest));
    let mut number = plus.to_owned();
    for c in rest.chars() {
        match c {
            '0'..='9' => number.push(c),
            '-' | '.' | '(' | ')' => {}
            _ => return None,
        }
    }
    (number.len() > plus.len()).then_some(number)
}

/// Asterisk's `CALLERID(num-pres)` words: `allowed…`, `prohib…`, `unavailable`.
fn presentation(word: &str) -> Presentation {
    match word {
        _ if word.starts_with("allowed") => Presentation::Allowed,
        "unavailable" => Presentation::Unavailable,
        // Also what is not known: what should not have been withheld can be asked for, what was shown cannot be taken back.
        _ => Presentation::Withheld,
    }
}

fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests;
