//! PURE: reads what the old AGI script posts. It is taken as leniently as it can be understood: numbers may be texts, what is empty is
//! absent, what is not known is ignored. Every fault names its field.

use std::str::FromStr;

use chrono::{DateTime, Datelike, Duration, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::times::{self, Moments};
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

/// A field that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, by its first name.
    pub field: &'static str,
    /// Stable word: `required`, `type`, `value` or `range`.
    pub code: &'static str,
    /// What is allowed.
    pub detail: String,
}

/// Reads a report that came at `received`; times without a zone are in `zone`.
///
/// # Errors
/// Every field that cannot be understood.
pub fn read(fields: &Map<String, Value>, received: DateTime<Utc>, zone: Tz) -> Result<Report, Vec<Fault>> {
    let mut reader = Reader { fields, faults: Vec::new() };
    let uniqueid = reader.channel("uniqueid");
    if uniqueid.is_none() && reader.faults.is_empty() {
        reader.fault("uniqueid", "required", "is missing: Asterisk's id of the inbound channel");
    }
    let linkedid = reader.channel("linkedid");
    let moments = ["start", "answer", "end"].map(|field| reader.moments(field, received, zone));
    let [start, answer, end] = &moments;
    let span = times::span(start.as_ref(), answer.as_ref(), end.as_ref(), received).unwrap_or_else(|(late, early)| {
        reader.fault(late, "range", format!("lies before {early}"));
        times::Span::at(received)
    });
    let uniqueid = uniqueid.unwrap_or_default();
    let report = Report {
        node: reader.node(),
        linkedid: linkedid.unwrap_or_else(|| uniqueid.clone()),
        sip_call_id: reader.words("sip_call_id", NAME_LENGTH),
        uniqueid,
        dnid: reader.words("dnid", NUMBER_LENGTH).unwrap_or_default(),
        caller_number: reader.words("caller_number", NUMBER_LENGTH).unwrap_or_default(),
        caller_name: reader.words("caller_name", NAME_LENGTH),
        caller_presentation: reader.words("caller_presentation", NUMBER_LENGTH).unwrap_or_else(|| "allowed".to_owned()),
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
    };
    if reader.faults.is_empty() { Ok(report) } else { Err(reader.faults) }
}

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, field: &'static str, code: &'static str, detail: impl Into<String>) {
        self.faults.push(Fault { field, code, detail: detail.into() });
    }

    /// The first of a field's names that is there and not null.
    fn value(&self, field: &str) -> Option<&Value> {
        let others = FIELDS.iter().find(|(name, _)| *name == field).map_or(&[][..], |(_, others)| others);
        let mut names = std::iter::once(field).chain(others.iter().copied());
        names.find_map(|name| self.fields.get(name).filter(|value| !value.is_null()))
    }

    /// A field as text; `None` when it is empty.
    fn text(&mut self, field: &'static str) -> Option<String> {
        let text = match self.value(field)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.fault(field, "type", "must be a text or a number");
                return None;
            }
        };
        (!text.is_empty()).then_some(text)
    }

    /// What people wrote: cut to a length, whatever it holds.
    fn words(&mut self, field: &'static str, length: usize) -> Option<String> {
        let text = self.text(field).filter(|text| text != UNSET)?;
        let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Some(text.chars().take(length).map(printable).collect())
    }

    /// A channel's id. As a number it would have lost the zeros at its end, and two calls would be one.
    fn channel(&mut self, field: &'static str) -> Option<String> {
        if self.value(field).is_some_and(Value::is_number) {
            self.fault(field, "type", "must be a text: as a number it loses zeros at its end");
            return None;
        }
        self.visible(field, CHANNEL_LENGTH)
    }

    /// 0 is no id: the old platform counted from 1.
    fn id(&mut self, field: &'static str) -> Option<String> {
        self.visible(field, 64).filter(|id| id != "0")
    }

    fn visible(&mut self, field: &'static str, length: usize) -> Option<String> {
        let text = self.text(field)?;
        if text.len() <= length && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(text);
        }
        self.fault(field, "value", format!("use at most {length} visible ASCII characters"));
        None
    }

    fn node(&mut self) -> Option<String> {
        let node = self.text("node")?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if node.len() <= 40 && node.bytes().all(allowed) {
            return Some(node);
        }
        self.fault("node", "value", "use 1 to 40 of A-Z a-z 0-9 _ -");
        None
    }

    fn moments(&mut self, field: &'static str, received: DateTime<Utc>, zone: Tz) -> Option<Moments> {
        // `CDR(answer,u)` of a call that was not answered.
        let text = self.text(field).filter(|text| !text.bytes().all(|byte| matches!(byte, b'0' | b'.')))?;
        let Some(moments) = times::moments(&text, zone) else {
            self.fault(field, "value", "use CDR's YYYY-MM-DD hh:mm:ss, RFC 3339, or seconds since 1970");
            return None;
        };
        let possible = |at: &DateTime<Utc>| at.year() >= 2000 && *at <= received + Duration::days(1);
        if moments.first().is_some_and(possible) {
            return Some(moments);
        }
        self.fault(field, "range", "lies in the future, or before the year 2000");
        None
    }

    fn dialstatus(&mut self) -> Option<DialStatus> {
        let text = self.text("dialstatus")?;
        let known = dialstatus(&text);
        if known.is_none() {
            self.fault("dialstatus", "value", "use Asterisk's DIALSTATUS, or nothing where nobody was dialled");
        }
        known
    }

    fn cause(&mut self) -> Option<i16> {
        let cause = self.text("hangupcause")?.parse();
        match cause {
            Ok(cause @ 0..=127) => (cause != 0).then_some(cause),
            _ => {
                self.fault("hangupcause", "value", "use a Q.850 cause, 0 to 127");
                None
            }
        }
    }

    fn hung_up_by(&mut self) -> HungUpBy {
        let Some(text) = self.text("hung_up_by") else { return HungUpBy::System };
        HungUpBy::from_str(&text).unwrap_or_else(|allowed| {
            self.fault("hung_up_by", "value", allowed);
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
