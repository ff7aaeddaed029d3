//! PURE: what goes into a call's machine and what comes out of it.

use std::fmt;
use std::time::Duration;

use crate::calls::late::Late;
use crate::clock::Now;
use crate::id::{BridgeKind, CallId};
use crate::routing::book::Offer;
use crate::routing::breaker::Sign;
use crate::routing::decision::Decision;

/// Something that happened to a call. What is large is in a box: every call's inbox has room for some dozens of these.
#[derive(Debug, Clone)]
pub enum Input {
    /// The inbound channel entered our Stasis application.
    Arrived {
        /// There is no room for it.
        overloaded: bool,
    },
    /// The inbound channel entered our Stasis application, and its INVITE is that of a call under way, which came by another path.
    Merged {
        /// That call.
        first: CallId,
    },
    /// Answer to [`Effect::Route`]: the decision, and the first candidate whose permit was taken.
    Routed(Box<(Decision, Option<Offer>)>),
    /// Answer to [`Effect::TakeNext`]: the next candidate whose permit was taken.
    Taken(Option<Box<Offer>>),
    /// Answer to [`Effect::Commit`]: a killed process would not forget the attempt.
    Committed(u32),
    /// Answer to [`Effect::Commit`]: the attempt cannot be kept.
    NotCommitted(u32),
    /// Attempt n's channel entered our Stasis application: it can be bridged and dialled.
    LegReady(u32),
    /// Attempt n rings (180).
    LegRinging(u32),
    /// Attempt n announced early media (183, or 180 with SDP). Whether there is any is not said: many send none.
    LegProgress(u32),
    /// Attempt n's client is heard, which was waited for.
    LegSounds(u32),
    /// What was seen of a silent client: the SIP status of its latest answer, if there was any.
    LegSeen {
        /// Attempt number.
        n: u32,
        /// SIP status.
        sip: Option<u16>,
    },
    /// Attempt n was answered.
    LegAnswered(u32),
    /// Attempt n's channel is in the bridge: the request for it succeeded.
    Joined(u32),
    /// Whether the answer of attempt n's client carried media that Asterisk can use.
    LegMedia {
        /// Attempt number.
        n: u32,
        /// It did.
        usable: bool,
    },
    /// Asterisk has dialled attempt n.
    Dialled(u32),
    /// There is evidence that attempt n's channel is gone, with its causes where Asterisk told them.
    LegGone {
        /// Attempt number.
        n: u32,
        /// Q.850 cause.
        cause: Option<i16>,
        /// SIP status of the client.
        sip: Option<i16>,
    },
    /// The inbound channel was answered.
    CallerUp,
    /// The caller asked to end the call.
    CallerHangup {
        /// Q.850 cause.
        cause: Option<i16>,
        /// SIP status.
        sip: Option<i16>,
    },
    /// There is evidence that the inbound channel is gone.
    CallerGone,
    /// The inbound channel is gone, and nobody saw it go.
    Missing {
        /// The last moment at which it was known to live.
        since: Now,
    },
    /// Attempt n's channel is gone, and nobody saw it go.
    LegMissing {
        /// Attempt number.
        n: u32,
        /// The last moment at which it was known to live.
        since: Now,
    },
    /// Asterisk told something late, when it had been silent for a while.
    Late(Box<(Late, Input)>),
    /// A request did not succeed.
    RequestFailed(Op, Failure),
    /// There is no channel of attempt n to be hung up (404).
    LegAbsent {
        /// Attempt number.
        n: u32,
        /// Up to when whatever happened to the call was heard: its going may have gone unheard since.
        heard_until: Now,
    },
    /// There is no inbound channel to be hung up (404).
    CallerAbsent {
        /// Likewise.
        heard_until: Now,
    },
    /// The node is being emptied, and the time for it is over: a caller who is not answered yet shall try elsewhere.
    Shed,
    /// The process hands over to the next one: a caller who is not answered yet goes to the dialplan's fallback after this, unless that one
    /// has come.
    HandOver(Duration),
    /// An operator wants the call to end.
    Operator,
    /// Another channel has taken the place of one of this call's (an INVITE with Replaces), and is being hung up: of the caller's, or of
    /// attempt n's.
    Replaced(Option<u32>),
    /// Another controller has taken the node over, and the call with it: nothing more is done for it here, and nothing is recorded.
    Yield,
    /// The node can be reached again: what is being torn down is asked for once more.
    NodeUp,
    /// A deadline that [`super::machine::Call::deadline`] named has passed.
    Tick,
    /// The last of them has: nothing of the call can be alive any more ([`super::machine::Call::expiry`]).
    Expired {
        /// Up to when whatever happened to the call was heard.
        heard_until: Now,
    },
}

/// What a comparison with Asterisk's lists has to find to be news to a call. Thousands talk, and none of them is woken to hear that it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Heed {
    /// Whatever it finds, and that it was made: something is to be asked for again, or may be unknown.
    #[default]
    Everything,
    /// An answer: that its client rings is known.
    Answers,
    /// An end: that its parties are up is known.
    Ends,
}

const _: () = assert!(size_of::<Input>() <= 40, "an inbox has room for 32, of every call");

impl Input {
    /// The same, as it was read.
    pub(super) fn read(self, late: Option<Late>) -> Self {
        match late {
            Some(late) => Self::Late(Box::new((late, self))),
            None => self,
        }
    }

    /// The same, whenever it was read.
    pub(super) fn into_told(self) -> Self {
        match self {
            Self::Late(told) => told.1,
            input => input,
        }
    }

    /// Whether it came from a living Asterisk and proves that the call lived. Answers to requests do not count: one that lay in the socket
    /// does not say so.
    pub(super) fn is_sign_of_life(&self) -> bool {
        matches!(
            self,
            Self::LegReady(_)
                | Self::LegRinging(_)
                | Self::LegProgress(_)
                | Self::LegSounds(_)
                | Self::LegAnswered(_)
                | Self::LegGone { .. }
                | Self::CallerUp
                | Self::CallerHangup { .. }
        )
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = |f: &mut fmt::Formatter<'_>, cause: &Option<i16>, sip: &Option<i16>| {
            cause.map_or(Ok(()), |c| write!(f, " cause={c}"))?;
            sip.map_or(Ok(()), |s| write!(f, " sip={s}"))
        };
        match self {
            Self::Arrived { overloaded: false } => f.write_str("arrived"),
            Self::Arrived { overloaded: true } => f.write_str("arrived(overloaded)"),
            Self::Merged { first } => write!(f, "arrived(the INVITE of call {first}, by another path)"),
            Self::Routed(routed) => match &routed.0.candidates {
                Ok(plan) => write!(f, "routed({} candidates)", plan.len()),
                Err(why) => write!(f, "refused({why})"),
            },
            Self::Taken(Some(offer)) => write!(f, "taken({})", offer.client.identifier),
            Self::Taken(None) => f.write_str("none_left"),
            Self::Committed(n) => write!(f, "committed({n})"),
            Self::NotCommitted(n) => write!(f, "not_committed({n})"),
            Self::LegReady(n) => write!(f, "leg_ready({n})"),
            Self::LegRinging(n) => write!(f, "ringing({n})"),
            Self::LegProgress(n) => write!(f, "progress({n})"),
            Self::LegSounds(n) => write!(f, "heard({n})"),
            Self::LegSeen { n, sip } => {
                write!(f, "seen({n})")?;
                sip.map_or(Ok(()), |sip| write!(f, " sip={sip}"))
            }
            Self::LegMedia { n, usable } => write!(f, "{}({n})", if *usable { "usable" } else { "no_usable_media" }),
            Self::LegAnswered(n) => write!(f, "answered({n})"),
            Self::Joined(n) => write!(f, "joined({n})"),
            Self::Dialled(n) => write!(f, "dialled({n})"),
            Self::LegGone { n, cause, sip } => {
                write!(f, "leg_gone({n})")?;
                causes(f, cause, sip)
            }
            Self::CallerUp => f.write_str("caller_up"),
            Self::CallerHangup { cause, sip } => {
                f.write_str("caller_hangup")?;
                causes(f, cause, sip)
            }
            Self::CallerGone => f.write_str("caller_gone"),
            Self::Missing { .. } => f.write_str("missing"),
            Self::LegMissing { n, .. } => write!(f, "leg_missing({n})"),
            Self::Late(told) => write!(f, "{} (read late)", told.1),
            Self::RequestFailed(op, failure) => write!(f, "{op} failed: {failure}"),
            Self::LegAbsent { n, .. } => write!(f, "leg_absent({n})"),
            Self::CallerAbsent { .. } => f.write_str("caller_absent"),
            Self::Shed => f.write_str("shed"),
            Self::HandOver(_) => f.write_str("hand_over"),
            Self::Operator => f.write_str("operator_hangs_up"),
            Self::Replaced(None) => f.write_str("caller_replaced"),
            Self::Replaced(Some(n)) => write!(f, "leg_replaced({n})"),
            Self::Yield => f.write_str("yielded"),
            Self::NodeUp => f.write_str("node_up"),
            Self::Tick => f.write_str("tick"),
            Self::Expired { .. } => f.write_str("expired"),
        }
    }
}

/// Something the machine wants done. Effects of one step are carried out in order, on one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Decide, and take the first candidate's permit for attempt `n`.
    Route {
        /// Attempt number.
        n: u32,
    },
    /// Take the permit of the next candidate at or after plan position `from`, for attempt `n`.
    TakeNext {
        /// Attempt number.
        n: u32,
        /// Position in the plan.
        from: usize,
    },
    /// What attempt `n` has shown of its client: once for each attempt, before its permit is free.
    Sign {
        /// Attempt number.
        n: u32,
        /// What it showed.
        sign: Sign,
    },
    /// Write attempt `n` to the journal before it is dialled, so that a killed process does not forget that it may count.
    Commit {
        /// Attempt number.
        n: u32,
    },
    /// Attempt n's leg is gone: its permit is free.
    Release {
        /// Attempt number.
        n: u32,
        /// Whether it counts against the link's total.
        counted: bool,
    },
    /// Attempt n is left to another controller; its permit stays held until its channel is gone.
    Leave {
        /// Attempt number.
        n: u32,
        /// Whether it counts against the link's total then.
        counted: bool,
    },
    /// A request to Asterisk.
    Ask(Op),
    /// The call is another controller's: the journal forgets it, and no record is written. The last effect of such a call.
    Forget,
    /// The call is over: write its record. The last effect of every other call.
    Finish,
}

/// A request to Asterisk on behalf of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Create attempt n's channel.
    CreateLeg(u32),
    /// Create a bridge of the call's.
    CreateBridge(BridgeKind),
    /// Put the caller into a bridge by itself.
    AddCaller(BridgeKind),
    /// Put attempt n's channel into a bridge.
    Join {
        /// Attempt number.
        n: u32,
        /// The bridge.
        bridge: BridgeKind,
        /// Together with the caller, who is not in it yet.
        with_caller: bool,
    },
    /// Dial attempt n.
    Dial {
        /// Attempt number.
        n: u32,
        /// Asterisk's own dial timeout, which stands behind ours.
        timeout: Duration,
    },
    /// Ask Asterisk to tell of the first sound of attempt n's client.
    Listen(u32),
    /// Take that back: while it listens, Asterisk takes every packet apart.
    StopListening(u32),
    /// Let nobody hear attempt n's client, nor it anybody, until both parties are there: a packet that Asterisk's core passes on before
    /// the bridge is native has another SSRC than the next one.
    Mute(u32),
    /// Take that back, on which the bridge becomes native.
    Unmute(u32),
    /// Look for a provisional answer of attempt n's client of which no event tells.
    Look(u32),
    /// Look whether the answer of attempt n's client carried media that Asterisk can use.
    LookForMedia(u32),
    /// Let the caller hear ringing, which Asterisk makes.
    RingCaller,
    /// End that ringing, for there is something to be heard.
    StopRinging,
    /// Tell the caller of early media.
    Progress,
    /// Answer the caller.
    AnswerCaller,
    /// Hang up attempt n's channel.
    HangUpLeg(u32),
    /// Hang up the caller; `Some` = the SIP status an unanswered one is given, `None` = normal clearing.
    HangUpCaller(Option<u16>),
    /// Let Asterisk end the inbound channel by itself this long after now, should we not be there to do it.
    LimitCaller(Duration),
    /// Destroy a bridge of the call's.
    DestroyBridge(BridgeKind),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLeg(n) => write!(f, "create({n})"),
            Self::CreateBridge(_) => f.write_str("create_bridge"),
            Self::AddCaller(_) => f.write_str("add_caller"),
            Self::Join { n, .. } => write!(f, "join({n})"),
            Self::Listen(n) => write!(f, "listen({n})"),
            Self::StopListening(n) => write!(f, "stop_listening({n})"),
            Self::Mute(n) => write!(f, "mute({n})"),
            Self::Unmute(n) => write!(f, "unmute({n})"),
            Self::Look(n) => write!(f, "look({n})"),
            Self::LookForMedia(n) => write!(f, "look_for_media({n})"),
            Self::Dial { n, .. } => write!(f, "dial({n})"),
            Self::RingCaller => f.write_str("ring_caller"),
            Self::StopRinging => f.write_str("stop_ringing"),
            Self::Progress => f.write_str("progress"),
            Self::AnswerCaller => f.write_str("answer_caller"),
            Self::HangUpLeg(n) => write!(f, "hang_up({n})"),
            Self::HangUpCaller(Some(sip)) => write!(f, "reject({sip})"),
            Self::HangUpCaller(None) => f.write_str("hang_up_caller"),
            Self::LimitCaller(_) => f.write_str("limit_caller"),
            Self::DestroyBridge(_) => f.write_str("destroy_bridge"),
        }
    }
}

/// How a request did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Asterisk refused it with this HTTP status.
    Rejected(u16),
    /// It never left: there is no connection. Once there is one again, the node is compared.
    NotSent,
    /// It never left: its turn did not come in time. There is a connection, so no comparison follows.
    Late,
    /// It may have happened.
    Unknown,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(status) => write!(f, "rejected with {status}"),
            Self::NotSent => f.write_str("not sent"),
            Self::Late => f.write_str("not sent in time"),
            Self::Unknown => f.write_str("outcome unknown"),
        }
    }
}
