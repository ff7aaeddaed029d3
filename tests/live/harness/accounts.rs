//! What must add up when a test is over: each of the carrier's calls has one record, which is the fallback's where the dialplan's
//! fallback left a line, of which there is one at most; nobody else's call has either; and there is nothing more. A line of a caller
//! who gave up while perhaps nobody was there says nothing about whose the record is.

use std::cell::RefCell;

use percent_encoding::percent_decode_str;

use super::record::Record;
use super::sipp::CARRIER_IP;
use super::trace::Trace;

/// Every process of a test that makes calls.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    traces: RefCell<Vec<(&'static str, Trace)>>,
    /// Call-IDs of calls from the carrier that no sipp made.
    others: RefCell<Vec<String>>,
    /// SIP Call-IDs of INVITEs that were sent by hand, each as often as it was sent.
    raw: RefCell<Vec<String>>,
}

impl Accounts {
    /// A caller at `ip` begins.
    pub(crate) fn open(&self, ip: &'static str, trace: &Trace) {
        self.traces.borrow_mut().push((ip, trace.clone()));
    }

    /// The carrier makes a call without sipp.
    pub(crate) fn called(&self, call_id: &str) {
        self.others.borrow_mut().push(call_id.to_owned());
    }

    /// All calls so far: from where, and their Call-IDs.
    fn made(&self) -> Vec<(&'static str, String)> {
        let traces = self.traces.borrow();
        let ids = |(ip, trace): &(&'static str, Trace)| {
            let ip = *ip;
            trace.dialogs().into_iter().map(move |dialog| (ip, dialog.call_id))
        };
        let others = self.others.borrow();
        traces.iter().flat_map(ids).chain(others.iter().map(|id| (CARRIER_IP, id.clone()))).collect()
    }

    /// An INVITE is sent by hand: it will have a record, whatever becomes of it.
    pub(crate) fn owe(&self, call_id: String) {
        self.raw.borrow_mut().push(call_id);
    }

    /// What does not add up, by SIP Call-ID; `spooled` are the fallback's lines of all nodes.
    pub(crate) fn faults(&self, records: &[Record], spooled: &[String]) -> Vec<String> {
        let unseen: Vec<&String> = spooled.iter().filter(|line| line.contains(" reason=unseen ")).collect();
        let unseen: Vec<String> = unseen.into_iter().map(|line| sip_call_id(line)).collect();
        let spooled: Vec<String> = spooled.iter().map(|line| sip_call_id(line)).collect();
        let recorded: Vec<&str> = records.iter().map(|record| record.text("sip_call_id")).collect();
        let fallen: Vec<&str> =
            records.iter().filter(|one| one.text("ending") == "fallback").map(|one| one.text("sip_call_id")).collect();
        let (mut faults, mut made) = (Vec::new(), Vec::new());
        for id in self.raw.borrow().iter() {
            let sent = self.raw.borrow().iter().filter(|one| *one == id).count();
            let in_records = recorded.iter().filter(|one| *one == id).count();
            if in_records != sent {
                faults.push(format!("call {id} was sent {sent} times and has {in_records} records"));
            }
            made.push(id.clone());
        }
        for (ip, id) in self.made() {
            let in_records = recorded.iter().filter(|one| **one == id).count();
            let in_spool = spooled.iter().filter(|one| **one == id && !unseen.contains(*one)).count();
            let in_fallen = fallen.iter().filter(|one| **one == id).count();
            if in_records != usize::from(ip == CARRIER_IP) || in_spool != in_fallen {
                faults.push(format!(
                    "call {id} from {ip}: {in_records} records, {in_fallen} of them the fallback's, which left {in_spool} lines"
                ));
            }
            made.push(id);
        }
        let all = recorded.into_iter().chain(spooled.iter().map(String::as_str));
        faults.extend(all.filter(|id| !made.iter().any(|one| one == id)).map(|id| format!("nobody made call {id:?}")));
        faults
    }
}

/// The SIP Call-ID in a line of the fallback, in the format of asterisk/README.md.
fn sip_call_id(line: &str) -> String {
    let value = line.split(' ').find_map(|word| word.strip_prefix("sip_call_id=")).unwrap_or_default();
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}
