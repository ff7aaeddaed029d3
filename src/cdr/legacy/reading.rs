//! PURE: reads what the old AGI script posts. It is taken as leniently as it can be understood: numbers may be texts, what is empty is
//! absent, what is not known is ignored, and what cannot be read is left out and named.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Duration, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::causes;
use super::times::{self, Moments, Span};
use super::{Ids, Report};
use crate::cdr::record::{DialStatus, HungUpBy};

/// Every field there is, with the other names it goes by.
pub const FIELDS: &[(&str, &[&str])] = &[
    ("node", &[]),
    ("uniqueid", &["agi_uniqueid"]),
    ("linkedid", &[]),
    ("sip_call_id", &[]),
    ("dnid", &["agi_dnid"]),
    ("caller_number", &["callerid_num", "callerid", "agi_callerid"]),
    ("caller_name", &["callerid_name", "calleridname", "agi_calleridname"]),
    ("caller_presentation", &[]),
    ("start", &["start_time"]),
    ("answer", &["answer_time"]),
    ("end", &["end_time"]),
    ("dialstatus", &["dial_status"]),
    ("hangupcause", &["hangup_cause"]),
    ("hung_up_by", &[]),
    ("effective_ccs_id", &[]),
    ("campaign_id", &[]),
    ("did_id", &[]),
    ("user_id", &[]),
];

/// Longest text that is kept of a number, and of a name; the rest is cut off.
const NUMBER_LENGTH: usize = 80;
const NAME_LENGTH: usize = 255;
/// Longest channel id: Asterisk's own limit.
const CHANNEL_LENGTH: usize = 149;
/// What Asterisk writes for a number or name that it does not have.
const UNSET: &str = "unknown";
/// What programs write for nothing.
const NOTHING: &[&str] = &["none", "null", "(null)", "nil", "undefined", "nan", "n/a", "-"];

/// Why a report cannot be logged at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, by its first name.
    pub field: &'static str,
    /// Stable word: `required`.
    pub code: &'static str,
    /// What is allowed.
    pub detail: String,
}

/// Reads a report that came at `received`; times without a zone are in `zone`. A field that cannot be understood is left out, and named in
/// [`Report::unreadable`]: a call is worth more than any one field of it.
///
/// # Errors
/// When it holds nothing at all.
pub fn read(fields: &Map<String, Value>, received: DateTime<Utc>, zone: Tz) -> Result<Report, Fault> {
    let mut reader = Reader { fields, unreadable: BTreeSet::new() };
    let uniqueid = match reader.channel("uniqueid") {
        Some(uniqueid) => uniqueid,
        None => {
            let Some(stand_in) = reader.stand_in() else {
                let detail = "is missing: Asterisk's id of the inbound channel".to_owned();
                return Err(Fault { field: "uniqueid", code: "required", detail });
            };
            reader.flag("uniqueid");
            stand_in
        }
    };
    let linkedid = reader.channel("linkedid");
    let [start, answer, end] = ["start", "answer", "end"].map(|field| reader.moments(field, received, zone));
    let span = reader.span(start, answer, end, received);
    Ok(Report {
        node: reader.node(),
        linkedid: linkedid.unwrap_or_else(|| uniqueid.clone()),
        sip_call_id: reader.words("sip_call_id", NAME_LENGTH),
        uniqueid,
        dnid: reader.words("dnid", NUMBER_LENGTH).unwrap_or_default(),
        caller_number: reader.words("caller_number", NUMBER_LENGTH).unwrap_or_default(),
        caller_name: reader.words("caller_name", NAME_LENGTH),
        caller_presentation: reader.presentation(),
        start: span.start,
        answer: span.answer,
        end: span.end,
        dialstatus: reader.dialstatus(),
        cause: reader.cause(),
        hung_up_by: reader.hung_up_by(),
        ids: Ids {
            link: reader.id("effective_ccs_id"),
            campaign: reader.id("campaign_id"),
            did: reader.id("did_id"),
            user: reader.id("user_id"),
        },
        unreadable: reader.unreadable.into_iter().map(str::to_owned).collect(),
    })
}

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    unreadable: BTreeSet<&'static str>,
}

impl Reader<'_> {
    /// The field holds what cannot be understood.
    fn flag(&mut self, field: &'static str) {
        self.unreadable.insert(field);
    }

    /// The first of a field's names that is there and not null.
    fn value(&self, field: &str) -> Option<&Value> {
        let others = FIELDS.iter().find(|(name, _)| *name == field).map_or(&[][..], |(_, others)| others);
        let mut names = std::iter::once(field).chain(others.iter().copied());
        names.find_map(|name| self.fields.get(name).filter(|value| !value.is_null()))
    }

    /// Whether the caller may be shown. What cannot be read may have asked for privacy.
    fn presentation(&mut self) -> String {
        let read = self.words("caller_presentation", NUMBER_LENGTH);
        let absent = if self.unreadable.contains("caller_presentation") { "prohib" } else { "allowed" };
        read.unwrap_or_else(|| absent.to_owned())
    }

    /// A field as text; `None` when it is empty.
    fn text(&mut self, field: &'static str) -> Option<String> {
        let text = match self.value(field)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.flag(field);
                return None;
            }
        };
        (!text.is_empty()).then_some(text)
    }

    /// As [`Self::text`], of a field that is no person's: what programs write for nothing is nothing.
    fn said(&mut self, field: &'static str) -> Option<String> {
        self.text(field).filter(|text| !NOTHING.iter().any(|word| text.eq_ignore_ascii_case(word)))
    }

    /// What people wrote: cut to a length, whatever it holds.
    fn words(&mut self, field: &'static str, length: usize) -> Option<String> {
        let text = self.text(field).filter(|text| text != UNSET)?;
        let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let text: String = text.chars().take(length).map(printable).collect();
        if text.contains(char::REPLACEMENT_CHARACTER) {
            self.flag(field);
        }
        Some(text)
    }

    /// A channel's id. As a number it would have lost the zeros at its end, and two calls would be one.
    fn channel(&mut self, field: &'static str) -> Option<String> {
        if self.value(field).is_some_and(Value::is_number) {
            self.flag(field);
            return None;
        }
        self.visible(field, CHANNEL_LENGTH)
    }

    /// In place of a channel's id that cannot be read: of the same report always the same. `None` where nothing is reported.
    fn stand_in(&self) -> Option<String> {
        let known: Vec<_> = FIELDS.iter().filter_map(|(field, _)| Some((*field, self.value(field)?))).collect();
        let says = |(field, value): &(&str, &Value)| {
            *field != "node" && value.as_str().is_none_or(|text| !text.trim().is_empty())
        };
        if !known.iter().any(says) {
            return None;
        }
        let text = known.iter().map(|(field, value)| format!("{field}={value}\n")).collect::<String>();
        let digest = Sha256::digest(text.as_bytes());
        let hex = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        Some(format!("unreadable-{hex}"))
    }

    /// 0 is no id: the old platform counted from 1.
    fn id(&mut self, field: &'static str) -> Option<String> {
        self.visible(field, 64).filter(|id| id != "0")
    }

    fn visible(&mut self, field: &'static str, length: usize) -> Option<String> {
        let text = self.said(field)?;
        if text.len() <= length && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(text);
        }
        self.flag(field);
        None
    }

    fn node(&mut self) -> Option<String> {
        let node = self.said("node")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name: String = node.chars().take(40).map(|c| if allowed(c) { c } else { '_' }).collect();
        if name != node {
            self.flag("node");
        }
        Some(name)
    }

    fn moments(&mut self, field: &'static str, received: DateTime<Utc>, zone: Tz) -> Option<Moments> {
        // All zeros: `CDR(answer,u)` of a call that was not answered, and a database's 0000-00-00 00:00:00.
        let text = self.said(field).filter(|text| text.bytes().any(|byte| !b"0.:- TZ".contains(&byte)))?;
        let possible = |at: &DateTime<Utc>| at.year() >= 2000 && *at <= received + Duration::days(1);
        let moments = times::moments(&text, zone).filter(|moments| moments.first().is_some_and(possible));
        if moments.is_none() {
            self.flag(field);
        }
        moments
    }

    /// Times that contradict each other: the one that cannot be is left out.
    fn span(
        &mut self,
        mut start: Option<Moments>,
        mut answer: Option<Moments>,
        mut end: Option<Moments>,
        received: DateTime<Utc>,
    ) -> Span {
        for _ in 0..3 {
            match times::span(start.as_ref(), answer.as_ref(), end.as_ref(), received) {
                Ok(span) => return span,
                // Its length is not known: none, rather than one up to now.
                Err(("end", "start")) => {
                    self.flag("end");
                    end =
                        [&start, &answer].into_iter().flatten().max_by_key(|moments| moments.first().copied()).cloned();
                }
                Err(("end", _)) => {
                    self.flag("answer");
                    answer = None;
                }
                Err(_) => {
                    self.flag("start");
                    start = None;
                }
            }
        }
        Span::at(received)
    }

    fn dialstatus(&mut self) -> Option<DialStatus> {
        let text = self.said("dialstatus")?;
        let known = dialstatus(&text);
        if known.is_none() {
            self.flag("dialstatus");
        }
        known
    }

    fn cause(&mut self) -> Option<i16> {
        let text = self.said("hangupcause")?;
        let cause = causes::read(&text);
        if cause.is_none() {
            self.flag("hangupcause");
        }
        cause.filter(|cause| *cause != 0)
    }

    fn hung_up_by(&mut self) -> HungUpBy {
        let Some(text) = self.said("hung_up_by") else { return HungUpBy::System };
        HungUpBy::from_str(&text.to_ascii_lowercase()).unwrap_or_else(|_| {
            self.flag("hung_up_by");
            HungUpBy::System
        })
    }
}

/// `DIALSTATUS` (or CDR's disposition, which says the same in other letters) in the words of records.
pub(in crate::cdr) fn dialstatus(text: &str) -> Option<DialStatus> {
    let word: String = text.chars().filter(|c| c.is_ascii_alphabetic()).map(|c| c.to_ascii_uppercase()).collect();
    match word.as_str() {
        "ANSWER" | "ANSWERED" => Some(DialStatus::Answer),
        "BUSY" => Some(DialStatus::Busy),
        // DONTCALL and TORTURE: the called party sent the caller away (Dial's option P).
        "NOANSWER" | "DONTCALL" | "TORTURE" => Some(DialStatus::NoAnswer),
        "CANCEL" => Some(DialStatus::Cancel),
        "CONGESTION" => Some(DialStatus::Congestion),
        "CHANUNAVAIL" | "INVALIDARGS" | "FAILED" => Some(DialStatus::ChanUnavail),
        _ => None,
    }
}
