//! PURE: lines that the dialplan leaves of calls which the controller did not take, and the records that are made of them. The format is described in asterisk/README.md.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Datelike, Duration, SubsecRound, Utc};
use serde_json::json;

use super::legacy;
use super::record::{CallRecord, DialStatus, HungUpBy, Presentation};
use crate::calls::ending::{self, Ending};
use crate::calls::intake::Intake;
use crate::id::CallId;
use crate::routing::number::find_did;
use crate::routing::snapshot::Snapshot;

/// What the doctor's probe dials that takes the whole way of a call (`cli/doctor`): its line is none of a call's.
pub const PROBE_DID: &str = "capconduit-doctor";
/// How the event of a record's timeline begins that names the last resort; what follows is not for sellers.
pub const LAST_RESORT: &str = "dialled the last resort";

/// Why nobody took a call that was in Stasis: the controller was away, or heard nothing.
const UNSEEN: &str = "unseen";
/// Reason of those whose time limit passed while nobody was there.
const NOBODY_CAME: &str = "nobody_came";
/// Why the dialplan refused a call of which ARI could tell nothing, or the controller sent there one that came into Stasis all the same.
pub const MALFORMED: &str = "malformed";

/// How a line begins, as the dialplan writes it. No value can hold this, for no value holds a space.
const BEGINNING: &[u8] = b"v=1 start=";
/// By how much a node's clock may be ahead of ours.
const AHEAD: Duration = Duration::days(1);
/// Longest line that is read; the dialplan's own stay below 4 KiB, the longest value that Asterisk makes.
const LINE_LENGTH: usize = 8192;
/// Asterisk's own limit.
const CHANNEL_LENGTH: usize = 149;
/// Words of the dialplan's.
const WORD_LENGTH: usize = 40;
/// As the dialplan cuts them, in bytes.
const NUMBER_LENGTH: usize = 80;
const TEXT_LENGTH: usize = 255;

/// One line: a call that the controller did not take. Texts from outside are decoded, what is no UTF-8 and what cannot be printed
/// replaced by U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the fallback took it, by the node's clock.
    pub start: DateTime<Utc>,
    /// When the last resort answered.
    pub answer: Option<DateTime<Utc>>,
    /// Its end.
    pub end: DateTime<Utc>,
    /// Asterisk's id of the inbound channel.
    pub uniqueid: String,
    /// Asterisk's linked id; the same where the line has none.
    pub linkedid: String,
    /// Why the controller did not take it: `heartbeat`, `stasis_failed`, `overloaded`, `malformed`, `unseen` or a word of the controller's;
    /// may be empty.
    pub reason: String,
    /// How dialling the last resort came out; `None` when nobody was dialled.
    pub dialstatus: Option<DialStatus>,
    /// Q.850 cause.
    pub cause: Option<i16>,
    /// Who ended it, where the line says so.
    pub ended_by: Option<HungUpBy>,
    /// The last resort's dial string; empty where there is none.
    pub last_resort: String,
    /// Asterisk's `CALLERID(num-pres)`.
    pub presentation: String,
    /// The user part of the Request-URI.
    pub did: String,
    /// The To header; `None` in lines that do not have it.
    pub to: Option<String>,
    /// The caller's number; empty when there was none.
    pub caller: String,
    /// The caller's display name; empty when there was none.
    pub caller_name: String,
    /// SIP Call-ID of the carrier's INVITE; empty for what came otherwise.
    pub sip_call_id: String,
}

/// Why a line cannot be read. Its text holds nothing of the line's: that may be a withheld caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Fault {
    /// The key, or `line` for the whole.
    pub field: &'static str,
    /// What is wrong with it.
    pub detail: &'static str,
}

/// Cuts off what a write that was cut short (a full disk) has left before the line that follows it: the rest is a line, and the first
/// part, where there is one, another that cannot be read.
#[must_use]
pub fn split(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let last = line.windows(BEGINNING.len()).rposition(|at| at == BEGINNING);
    match last.filter(|at| *at > 0).and_then(|at| line.split_at_checked(at)) {
        Some((torn, whole)) => (Some(torn), whole),
        None => (None, line),
    }
}

/// Reads one line, without its end, at `now`. Keys that are not known are let be.
///
/// # Errors
/// The first key that cannot be understood.
pub fn read(line: &[u8], now: DateTime<Utc>) -> Result<Line, Fault> {
    let fields = Fields::of(line)?;
    match fields.get("v") {
        Some(b"1") => {}
        Some(_) => return Err(Fault { field: "v", detail: "is a version that is not known here" }),
        None => return Err(Fault { field: "v", detail: "is missing" }),
    }
    let start = fields.moment("start")?.ok_or(Fault { field: "start", detail: "is missing" })?;
    let end = fields.moment("end")?.ok_or(Fault { field: "end", detail: "is missing" })?;
    // The node's clock was wrong when it wrote the line: a record of it would be ahead of all others for years.
    if let Some(field) =
        [("start", start), ("end", end)].iter().find(|(_, at)| *at > now + AHEAD).map(|(field, _)| *field)
    {
        return Err(Fault { field, detail: "lies in the future by more than a day: the node's clock was wrong" });
    }
    // A node's clock that was set back meanwhile bends times; it is no reason for losing the call.
    let end = end.max(start);
    let uniqueid = fields.visible("uniqueid", CHANNEL_LENGTH)?;
    if uniqueid.is_empty() {
        return Err(Fault { field: "uniqueid", detail: "is missing" });
    }
    let linkedid = fields.visible("linkedid", CHANNEL_LENGTH)?;
    Ok(Line {
        start,
        answer: fields.moment("answer")?.map(|answer| answer.clamp(start, end)),
        end,
        linkedid: if linkedid.is_empty() { uniqueid.clone() } else { linkedid },
        uniqueid,
        reason: fields.visible("reason", WORD_LENGTH)?,
        dialstatus: fields.dialstatus()?,
        cause: fields.cause()?,
        ended_by: fields.ended_by()?,
        last_resort: fields.decoded("last_resort", TEXT_LENGTH)?.unwrap_or_default(),
        presentation: fields.visible("presentation", WORD_LENGTH)?,
        did: fields.decoded("did", NUMBER_LENGTH)?.unwrap_or_default(),
        to: fields.decoded("to", TEXT_LENGTH)?,
        caller: fields.decoded("caller", NUMBER_LENGTH)?.unwrap_or_default(),
        caller_name: fields.decoded("caller_name", NUMBER_LENGTH)?.unwrap_or_default(),
        sip_call_id: fields.decoded("sip_call_id", TEXT_LENGTH)?.unwrap_or_default(),
    })
}

impl Line {
    /// Whether it is the doctor's and no call's: only a call has a SIP Call-ID.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.did == PROBE_DID && self.sip_call_id.is_empty()
    }

    /// Whether the caller gave up in Stasis, and perhaps nobody took the call: then its record may still come.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.reason == UNSEEN
    }

    /// Whether a controller had it, perhaps: then the call's own record may still come.
    #[must_use]
    pub fn may_be_recorded(&self) -> bool {
        self.is_unseen() || self.reason == NOBODY_CAME
    }

    /// Whether it was refused for what it said: an older dialplan sends it to the last resort, where there is one.
    fn is_refused(&self) -> bool {
        self.reason == MALFORMED && self.dialstatus.is_none()
    }

    fn ending(&self) -> Ending {
        match self.ended_by {
            _ if self.is_refused() => Ending::Failed,
            _ if !self.is_unseen() => Ending::Fallback,
            Some(HungUpBy::Caller) => Ending::CallerCancelled,
            _ => Ending::Failed,
        }
    }

    /// The last resort answered. Its answer's time is missing where it hung up at once.
    fn answered_at(&self) -> Option<DateTime<Utc>> {
        self.answer.or_else(|| (self.dialstatus == Some(DialStatus::Answer)).then_some(self.end))
    }

    fn is_cancelled(&self) -> bool {
        /// What Asterisk gives a channel whose caller cancelled.
        const INTERWORKING: i16 = 127;
        self.answered_at().is_none()
            && (self.dialstatus == Some(DialStatus::Cancel) || self.cause == Some(INTERWORKING))
    }

    fn dialstatus(&self) -> DialStatus {
        match self.dialstatus {
            Some(status) => status,
            None if self.is_cancelled() => DialStatus::Cancel,
            None => ending::dialstatus(self.ending(), None),
        }
    }

    /// What the carrier heard, as far as the dialplan's own causes tell.
    fn sip_code(&self) -> Option<i16> {
        match self.cause {
            _ if self.answer.is_some() => Some(200),
            _ if self.is_cancelled() => Some(487),
            // It hung up while it was being answered: whether the carrier heard of the answer is not known.
            _ if self.dialstatus == Some(DialStatus::Answer) => None,
            Some(17) => Some(486),
            Some(19) => Some(480),
            Some(21) => Some(403),
            Some(28) => Some(484),
            Some(34 | 42) => Some(503),
            _ => None,
        }
    }

    fn hung_up_by(&self) -> HungUpBy {
        self.ended_by.unwrap_or(if self.is_cancelled() { HungUpBy::Caller } else { HungUpBy::System })
    }

    fn timeline(&self) -> serde_json::Value {
        let after = |at: DateTime<Utc>| (at - self.start).num_milliseconds();
        let why = if self.reason.is_empty() { "unknown" } else { &self.reason };
        let taken = if self.is_unseen() {
            "nobody took it: the controller was away".to_owned()
        } else if self.is_refused() {
            "refused by the dialplan, malformed: its number, Call-ID or caller is no UTF-8, and ARI cannot tell of it"
                .to_owned()
        } else {
            format!("taken by the dialplan's fallback: {why}")
        };
        let mut events = vec![(0, taken)];
        if self.dialstatus.is_some() && !self.last_resort.is_empty() {
            events.push((0, format!("{LAST_RESORT} {}", self.last_resort)));
        }
        if let Some(at) = self.answered_at() {
            events.push((after(at), "the last resort answered".to_owned()));
        }
        events.push((after(self.end), "ended".to_owned()));
        events.into_iter().map(|(at_ms, event)| json!({ "at_ms": at_ms, "event": event })).collect()
    }
}

/// The record of the call that `line` tells of: numbers read as the node's calls are, and seller, DID and campaign as `snapshot` has them.
/// The last resort is no client: there are no attempts, and nothing counts.
#[must_use]
pub fn record(line: &Line, intake: &Intake, snapshot: &Snapshot) -> CallRecord {
    let dialled = match &line.to {
        Some(to) => intake.dialled(&line.did, to),
        None => intake.dialled_exten(&line.did),
    };
    let caller = intake.caller(&line.caller, &line.presentation);
    let shown = caller.presentation != Presentation::Withheld && !line.caller_name.is_empty();
    let did = find_did(snapshot, &dialled);
    let campaign = did.and_then(|did| did.campaign).and_then(|id| snapshot.campaigns.get(&id));
    let answered_at = line.answered_at();
    CallRecord {
        call_id: CallId::derive(line.start, intake.node(), &line.uniqueid),
        node: intake.node().to_owned(),
        uniqueid: line.uniqueid.clone(),
        linkedid: line.linkedid.clone(),
        sip_call_id: Some(line.sip_call_id.clone()).filter(|id| !id.is_empty()),
        seller_id: did.map(|did| did.seller),
        seller_name: did.map(|did| did.seller_name.clone()),
        did_id: did.map(|did| did.id),
        campaign_id: campaign.map(|campaign| campaign.id),
        campaign_name: campaign.map(|campaign| campaign.name.clone()),
        dialled_raw: dialled.raw,
        dialled_number: dialled.e164,
        caller_raw: caller.raw,
        caller_number: caller.e164,
        caller_name: shown.then(|| line.caller_name.clone()),
        caller_presentation: caller.presentation,
        last_link_id: None,
        answered_link_id: None,
        answered_client_id: None,
        answered_client_name: None,
        arrived_at: line.start,
        ringing_at: None,
        answered_at,
        ended_at: line.end,
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        ring_ms: 0,
        talk_ms: answered_at.map_or(0, |from| (line.end - from).num_milliseconds()),
        dialstatus: line.dialstatus(),
        q850_cause: line.cause,
        sip_code: line.sip_code(),
        hung_up_by: line.hung_up_by(),
        ending: line.ending().to_string(),
        trace: None,
        timeline: line.timeline().into(),
        legacy: None,
        attempts: Vec::new(),
    }
}

/// Every key that is known; `v` is looked at before all others.
const KEYS: [&str; 17] = [
    "v",
    "start",
    "answer",
    "end",
    "uniqueid",
    "linkedid",
    "reason",
    "dialstatus",
    "cause",
    "ended_by",
    "last_resort",
    "presentation",
    "did",
    "to",
    "caller",
    "caller_name",
    "sip_call_id",
];

/// The values of the known keys, in their order.
struct Fields<'a>([Option<&'a [u8]>; KEYS.len()]);

impl<'a> Fields<'a> {
    fn of(line: &'a [u8]) -> Result<Self, Fault> {
        let fault = |detail| Fault { field: "line", detail };
        if line.len() > LINE_LENGTH {
            return Err(fault("is longer than any that the dialplan writes"));
        }
        let mut fields = Self([None; KEYS.len()]);
        for word in line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
            let at = word.iter().position(|byte| *byte == b'=').ok_or(fault("holds a word that is no key=value"))?;
            let (key, value) = (&word[..at], &word[at + 1..]);
            let Some(index) = KEYS.iter().position(|known| known.as_bytes() == key) else { continue };
            if fields.0[index].replace(value).is_some() {
                return Err(Fault { field: KEYS[index], detail: "is there twice" });
            }
        }
        Ok(fields)
    }

    fn get(&self, key: &'static str) -> Option<&'a [u8]> {
        self.0[KEYS.iter().position(|known| *known == key)?]
    }

    /// A value that the dialplan writes as it is; empty where it is missing.
    fn visible(&self, key: &'static str, length: usize) -> Result<String, Fault> {
        let value = self.get(key).unwrap_or_default();
        if value.len() > length {
            return Err(Fault { field: key, detail: "is too long" });
        }
        match std::str::from_utf8(value) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
            _ => Err(Fault { field: key, detail: "holds what is no visible ASCII" }),
        }
    }

    /// A percent-encoded value; `None` where it is missing.
    fn decoded(&self, key: &'static str, length: usize) -> Result<Option<String>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let bytes = decode(value).ok_or(Fault { field: key, detail: "is not percent-encoded" })?;
        if bytes.len() > length {
            return Err(Fault { field: key, detail: "is too long" });
        }
        Ok(Some(String::from_utf8_lossy(&bytes).replace(char::is_control, "\u{fffd}")))
    }

    /// Seconds since 1970 with a fraction; `None` where it is empty.
    fn moment(&self, key: &'static str) -> Result<Option<DateTime<Utc>>, Fault> {
        let text = self.visible(key, WORD_LENGTH)?;
        if text.is_empty() {
            return Ok(None);
        }
        let moment = moment(&text).ok_or(Fault { field: key, detail: "is no time in seconds since 1970" })?;
        if (2000..2200).contains(&moment.year()) {
            return Ok(Some(moment));
        }
        Err(Fault { field: key, detail: "lies before the year 2000 or after 2200" })
    }

    fn dialstatus(&self) -> Result<Option<DialStatus>, Fault> {
        let text = self.visible("dialstatus", WORD_LENGTH)?;
        let known = legacy::dialstatus(&text);
        if known.is_none() && !text.is_empty() {
            return Err(Fault { field: "dialstatus", detail: "is no word of Asterisk's" });
        }
        Ok(known)
    }

    fn cause(&self) -> Result<Option<i16>, Fault> {
        let text = self.visible("cause", WORD_LENGTH)?;
        match text.parse() {
            _ if text.is_empty() => Ok(None),
            Ok(cause @ 0..=127) => Ok(Some(cause).filter(|cause| *cause != 0)),
            _ => Err(Fault { field: "cause", detail: "is no Q.850 cause" }),
        }
    }

    fn ended_by(&self) -> Result<Option<HungUpBy>, Fault> {
        match self.visible("ended_by", WORD_LENGTH)?.as_str() {
            "" => Ok(None),
            "caller" => Ok(Some(HungUpBy::Caller)),
            // The other party, as a client is in other calls.
            "last_resort" => Ok(Some(HungUpBy::Client)),
            "system" => Ok(Some(HungUpBy::System)),
            _ => Err(Fault { field: "ended_by", detail: "is neither caller, last_resort nor system" }),
        }
    }
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || fraction.len() > 9 || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    DateTime::from_timestamp(seconds.parse().ok()?, nanos).map(|moment| moment.trunc_subsecs(6))
}

/// Undoes Asterisk's `URIENCODE`; `None` for what that does not write.
fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    Some(bytes)
}
