//! What the carrier and the call centres saw, from sipp's own logs; nobody here has asked the controller.

use chrono::{DateTime, Local, NaiveDateTime, Utc};

use crate::harness::sipp::Sipp;
use crate::harness::trace::{Dialog, Message};

/// One call as its carrier saw it, or one leg as its call centre did.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Which process saw it: a flow of the carrier's, or a call centre.
    pub(crate) by: String,
    /// Its SIP Call-ID.
    pub(crate) sip_call_id: String,
    /// The call's id, which the controller tells call centres; empty on the carrier's side, and where the dialplan dialled.
    pub(crate) call: String,
    /// The campaign, told likewise.
    pub(crate) campaign: String,
    /// The INVITE.
    pub(crate) began: DateTime<Utc>,
    /// 200 OK, if it was acknowledged.
    pub(crate) answered: Option<DateTime<Utc>>,
    /// BYE, CANCEL or refusal, whoever sent it.
    pub(crate) ended: Option<DateTime<Utc>>,
    /// Whether the observer itself hung up with BYE; `None` where there was no BYE.
    pub(crate) hung_up_here: Option<bool>,
    /// The last status of the INVITE; `None` where it got no answer at all.
    pub(crate) status: Option<u16>,
}

impl Seen {
    fn read(by: &str, dialog: &Dialog) -> Self {
        let header = |name: &str| dialog.invite().header(name).unwrap_or_default().to_owned();
        let ok = |message: &&Message| message.status("INVITE") == Some(200);
        let answered = dialog.messages.iter().find(ok).filter(|_| dialog.answered());
        Self {
            by: by.to_owned(),
            sip_call_id: dialog.call_id.clone(),
            call: header("X-CapConduit-Call-Id"),
            campaign: header("X-CapConduit-Campaign"),
            began: utc(dialog.invite().at),
            answered: answered.map(|message| utc(message.at)),
            ended: dialog.ended_at().map(utc),
            hung_up_here: dialog.hung_up_here(),
            status: dialog.statuses().last().copied(),
        }
    }

    /// When it was really over: Asterisk's death ends what nobody ended before; `None` where it goes on.
    pub(crate) fn over(&self, deaths: &[DateTime<Utc>]) -> Option<DateTime<Utc>> {
        match (self.ended, self.died_at(deaths)) {
            (Some(ended), Some(died)) => Some(ended.min(died)),
            (ended, died) => ended.or(died),
        }
    }

    /// The first death of Asterisk that it lived to see.
    pub(crate) fn died_at(&self, deaths: &[DateTime<Utc>]) -> Option<DateTime<Utc>> {
        deaths.iter().copied().find(|death| self.began <= *death && self.ended.is_none_or(|ended| ended >= *death))
    }
}

/// Everything that these processes saw.
pub(crate) fn read<'a>(processes: impl Iterator<Item = (&'a str, &'a Sipp)>) -> Vec<Seen> {
    let of_one = |(name, sipp): (&'a str, &'a Sipp)| {
        sipp.trace.dialogs().iter().map(|dialog| Seen::read(name, dialog)).collect::<Vec<_>>()
    };
    processes.flat_map(of_one).collect()
}

/// sipp writes local time.
fn utc(at: NaiveDateTime) -> DateTime<Utc> {
    at.and_local_timezone(Local).earliest().map_or_else(|| at.and_utc(), |local| local.to_utc())
}
