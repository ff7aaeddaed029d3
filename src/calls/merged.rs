//! PURE: the same INVITE by two paths is one call (RFC 3261, 8.2.2.2).
//!
//! A proxy that forks, or a retransmission that takes another way, brings an INVITE twice: same Call-ID, From tag and CSeq, another branch.
//! Asterisk takes each for a call. What comes while the first is under way is no call of its own; what comes after it, is: so does a
//! proxy try its next route.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::CallId;

/// What makes two INVITEs the same: Call-ID, From tag and CSeq.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Invite(Arc<str>);

impl Invite {
    /// From the SIP Call-ID and the dialplan's `<From tag> <CSeq>`. `None` where one of these is missing: a user agent of before RFC 3261
    /// sends no tag, an older dialplan does not tell.
    #[must_use]
    pub fn new(sip_call_id: Option<&str>, tag_and_cseq: &str) -> Option<Self> {
        let (tag, cseq) = tag_and_cseq.split_once(' ')?;
        let call_id = sip_call_id.filter(|id| !id.is_empty())?;
        // A tag is a token: it holds no space.
        (!tag.is_empty() && !cseq.is_empty()).then(|| Self(format!("{tag} {cseq} {call_id}").into()))
    }
}

/// The INVITEs of the calls that are under way.
#[derive(Debug, Default)]
pub(super) struct Invites {
    calls: HashMap<Invite, CallId>,
    /// By call, so that a call can be forgotten.
    invites: HashMap<CallId, Invite>,
}

impl Invites {
    /// A call begins, or is taken over. Where another one has its INVITE, that one stays its first.
    pub(super) fn begin(&mut self, call: CallId, invite: &Invite) {
        if *self.calls.entry(invite.clone()).or_insert(call) == call {
            self.invites.insert(call, invite.clone());
        }
    }

    /// The call under way, other than this, whose INVITE it is.
    pub(super) fn first(&self, call: CallId, invite: &Invite) -> Option<CallId> {
        self.calls.get(invite).copied().filter(|first| *first != call)
    }

    /// A call's caller is gone or on the way out: its INVITE is answered, and the same one is another try.
    pub(super) fn over(&mut self, call: CallId) {
        if let Some(invite) = self.invites.remove(&call) {
            self.calls.remove(&invite);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn call(n: u8) -> CallId {
        CallId::derive(DateTime::UNIX_EPOCH, "pbx", &format!("1.{n}"))
    }

    fn invite(text: &str) -> Option<Invite> {
        Invite::new(Some("a@b"), text)
    }

    #[test]
    fn the_same_invite_is_the_first_calls_until_that_is_over() {
        let (mut invites, same) = (Invites::default(), invite("tag 1 INVITE").expect("whole"));
        assert_eq!(invites.first(call(1), &same), None);
        invites.begin(call(1), &same);
        assert_eq!(invites.first(call(1), &same), None, "told twice, it is the same call");
        assert_eq!(invites.first(call(2), &same), Some(call(1)));
        invites.begin(call(2), &same);
        invites.over(call(2));
        assert_eq!(invites.first(call(3), &same), Some(call(1)), "the second's end is not the first's");
        invites.over(call(1));
        assert_eq!(invites.first(call(3), &same), None, "a proxy's next route");
        assert!(invites.calls.is_empty() && invites.invites.is_empty());
    }

    #[test]
    fn another_call_id_tag_or_cseq_is_another_invite() {
        let one = invite("tag 1 INVITE");
        assert_eq!(one, invite("tag 1 INVITE"));
        for other in ["Tag 1 INVITE", "tag 2 INVITE", "ta g1 INVITE"] {
            assert_ne!(one, invite(other), "{other}");
        }
        assert_ne!(one, Invite::new(Some("A@b"), "tag 1 INVITE"));
        for (call_id, text) in [
            (None, "tag 1"),
            (Some(""), "tag 1"),
            (Some("a"), ""),
            (Some("a"), " 1"),
            (Some("a"), "tag"),
            (Some("a"), "tag "),
        ] {
            assert_eq!(Invite::new(call_id, text), None, "{call_id:?} {text:?}");
        }
    }

    proptest! {
        /// In whatever order calls begin and end: one at a time has an INVITE, and nothing is kept of those that ended.
        #[test]
        fn nothing_is_left_of_what_is_over(steps in prop::collection::vec((0_u8..6, 0_u8..3, any::<bool>()), 0..60)) {
            let mut invites = Invites::default();
            for (n, which, begins) in steps {
                let invite = invite(&format!("tag {which}")).expect("whole");
                if begins && !invites.invites.contains_key(&call(n)) {
                    invites.begin(call(n), &invite);
                } else {
                    invites.over(call(n));
                }
                prop_assert_eq!(invites.calls.len(), invites.invites.len());
                prop_assert!(invites.calls.iter().all(|(invite, call)| invites.invites.get(call) == Some(invite)));
            }
            (0..6).for_each(|n| invites.over(call(n)));
            prop_assert!(invites.calls.is_empty() && invites.invites.is_empty());
        }
    }
}
