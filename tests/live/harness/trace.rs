//! What one sipp process sent and received, read from its own message log: the tests' independent witness.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;

/// The log of one sipp process; read again on every question, so that it is never stale.
#[derive(Debug, Clone)]
pub(crate) struct Trace(PathBuf);

/// One SIP message as sipp saw it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// When, by sipp's own clock (local time; only differences mean anything).
    pub(crate) at: NaiveDateTime,
    /// Whether sipp sent it.
    pub(crate) sent: bool,
    /// First line, headers and body.
    pub(crate) text: String,
}

/// All messages of one Call-ID, in order.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    /// The SIP Call-ID.
    pub(crate) call_id: String,
    /// In order of time.
    pub(crate) messages: Vec<Message>,
}

impl Trace {
    /// The log at `path`, which need not exist yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// How much there is of it, in bytes: it grows with every message.
    #[allow(dead_code, reason = "only the chaos needs it")]
    pub(crate) fn size(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |file| file.len())
    }

    /// All calls so far, in the order of their first messages.
    pub(crate) fn dialogs(&self) -> Vec<Dialog> {
        let text = std::fs::read(&self.0).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let mut by_call: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for message in text.split("-----------------------------------------------").filter_map(Message::parse) {
            if let Some(call_id) = message.header("Call-ID") {
                by_call.entry(call_id.to_owned()).or_default().push(message);
            }
        }
        let mut dialogs: Vec<_> = by_call.into_iter().map(|(call_id, messages)| Dialog { call_id, messages }).collect();
        dialogs.sort_by_key(|dialog| dialog.messages[0].at);
        dialogs
    }

    /// Most calls at the same moment, each from its INVITE to its BYE, CANCEL or refusal.
    pub(crate) fn most_at_once(&self) -> usize {
        let mut edges: Vec<(NaiveDateTime, isize)> = Vec::new();
        for dialog in self.dialogs() {
            edges.push((dialog.messages[0].at, 1));
            edges.extend(dialog.ended_at().map(|at| (at, -1)));
        }
        edges.sort_unstable(); // at the same microsecond an end (-1) comes before a start
        let mut now = 0_isize;
        let most = edges.iter().map(|(_, step)| {
            now += step;
            now
        });
        most.max().unwrap_or(0).unsigned_abs()
    }

    /// Calls that came to an answer acknowledged by the other side.
    pub(crate) fn answered(&self) -> usize {
        self.dialogs().iter().filter(|dialog| dialog.answered()).count()
    }
}

impl Message {
    /// Reads one block: ` DATE TIME`, a line that says the direction, an empty line, the message.
    fn parse(block: &str) -> Option<Self> {
        let (stamp, rest) = block.trim_start().split_once('\n')?;
        let (direction, text) = rest.split_once('\n')?;
        let stamp = stamp.split_whitespace().collect::<Vec<_>>().join(" ");
        let at = NaiveDateTime::parse_from_str(&stamp, "%Y-%m-%d %H:%M:%S%.f").ok()?;
        let sent = direction.contains("sent");
        (sent || direction.contains("received")).then(|| Self { at, sent, text: text.trim_start().to_owned() })
    }

    /// A header's value, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split_once("\r\n\r\n").map_or(self.text.as_str(), |(head, _)| head);
        head.lines().skip(1).take_while(|line| !line.trim().is_empty()).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> Option<&str> {
        let first = self.text.lines().next()?;
        if first.starts_with("SIP/2.0 ") { None } else { first.split(' ').next() }
    }

    /// The status of a response, if it answers `method`.
    pub(crate) fn status(&self, method: &str) -> Option<u16> {
        let status = self.text.lines().next()?.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()?;
        self.header("CSeq")?.ends_with(method).then_some(status)
    }

    /// The value of an SDP line such as `c=` or `m=`, the first of its kind.
    pub(crate) fn sdp(&self, key: &str) -> Option<&str> {
        let body = self.text.split_once("\r\n\r\n").or_else(|| self.text.split_once("\n\n"))?.1;
        body.lines().find_map(|line| line.trim_end().strip_prefix(key))
    }
}

impl Dialog {
    /// The first message that this side sent (or received) for which `wanted` says yes.
    pub(crate) fn find(&self, sent: bool, wanted: impl Fn(&Message) -> bool) -> Option<&Message> {
        self.messages.iter().find(|message| message.sent == sent && wanted(message))
    }

    /// The INVITE that began it, whoever sent it.
    pub(crate) fn invite(&self) -> &Message {
        &self.messages[0]
    }

    /// Every status that the first INVITE was answered with, without repetitions in a row.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let cseq = self.invite().header("CSeq");
        let of_invite = self.messages.iter().filter(|message| message.header("CSeq") == cseq);
        let mut statuses: Vec<u16> = of_invite.filter_map(|message| message.status("INVITE")).collect();
        statuses.dedup();
        statuses
    }

    /// The final status of the INVITE; `None` while there is none.
    pub(crate) fn outcome(&self) -> Option<u16> {
        self.statuses().into_iter().find(|status| *status >= 200)
    }

    /// Answered, and the answer acknowledged.
    pub(crate) fn answered(&self) -> bool {
        self.outcome() == Some(200) && self.messages.iter().any(|message| message.method() == Some("ACK"))
    }

    /// When the BYE, the CANCEL or the refusal was seen.
    pub(crate) fn ended_at(&self) -> Option<NaiveDateTime> {
        let ends = |message: &Message| {
            matches!(message.method(), Some("BYE" | "CANCEL")) || message.status("INVITE").is_some_and(|s| s >= 300)
        };
        self.messages.iter().find(|message| ends(message)).map(|message| message.at)
    }

    /// Whether this side sent the BYE; `None` when there was none.
    pub(crate) fn hung_up_here(&self) -> Option<bool> {
        self.messages.iter().find(|message| message.method() == Some("BYE")).map(|message| message.sent)
    }
}
