//! PURE: which of several controllers has a node's applications.
//!
//! Asterisk is the arbiter: an application has one socket, the last that asked for it, and whoever had it before is told
//! (ApplicationReplaced). The first application decides for the whole node; the others follow it. So that nobody asks for what another
//! has, its holder writes a mark beside the heartbeat: who it is, and when by the node's own clock. Whoever finds a fresh mark of another
//! waits. Whoever was replaced waits as long as anybody marks or beats: it does neither. A mark of one's own is no obstacle, so that a
//! process that was killed starts again at once; a holder that ends writes `0`.

use std::time::Duration;

/// A mark or heartbeat older than this is that of a process that is gone, as the dialplan has it too.
const FRESH_SECONDS: u64 = 3;
/// How long one that was replaced waits before it looks: its own last mark is stale by then, and the other's first is there.
pub(super) const YIELD: Duration = Duration::from_millis(4500);
/// How often one that waits looks again.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a controller marks a node's applications as its own, so that others wait until it leaves.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who this controller is; the same over restarts, without `@`.
    pub instance: String,
    /// Name of the global variable that holds the mark: one for all who may want these applications.
    pub mark: String,
    /// Name of the global variable that whoever has the applications sets every second to the node's `EPOCH`, so that the dialplan knows
    /// whether it is there.
    pub heartbeat: String,
}

/// What a node's global variables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Globals {
    /// The holder's mark: `<instance>@<epoch>`.
    pub(super) mark: String,
    /// The heartbeat that the dialplan checks.
    pub(super) beat: String,
    /// The node's own time, seconds since 1970.
    pub(super) epoch: String,
}

impl Claim {
    /// The mark to write at this time of the node's.
    pub(super) fn mark_at(&self, epoch: &str) -> String {
        format!("{}@{epoch}", self.instance)
    }

    /// Who has the node, where it is another. `replaced`: this process had it, and another took it.
    pub(super) fn holder(&self, seen: &Globals, replaced: bool) -> Option<String> {
        let fresh = |at: &str| is_fresh(at, &seen.epoch);
        let marked = seen.mark.rsplit_once('@').filter(|(_, at)| fresh(at)).map(|(instance, _)| instance);
        match marked {
            Some(instance) if replaced || instance != self.instance => Some(instance.to_owned()),
            None if replaced && fresh(&seen.beat) => Some("unknown".to_owned()),
            _ => None,
        }
    }
}

/// A time ahead of the clock is as old as one behind it: after the clock was set back, only a holder that lives has written since.
fn is_fresh(at: &str, epoch: &str) -> bool {
    let (at, epoch) = (at.parse::<u64>(), epoch.parse::<u64>());
    matches!((at, epoch), (Ok(at), Ok(epoch)) if at.abs_diff(epoch) <= FRESH_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(mark: &str, beat: &str, replaced: bool) -> Option<String> {
        let claim = Claim { instance: "me".into(), mark: "OWNER".into(), heartbeat: "BEAT".into() };
        claim.holder(&Globals { mark: mark.into(), beat: beat.into(), epoch: "1000".into() }, replaced)
    }

    #[test]
    fn only_a_fresh_mark_of_another_keeps_a_start_waiting() {
        for mark in ["", "0", "me@1000", "me@900", "other@996", "other@1004", "other@", "other@x", "other"] {
            assert_eq!(holder(mark, "1000", false), None, "{mark}");
        }
        for mark in ["other@1000", "other@997", "other@1003"] {
            assert_eq!(holder(mark, "0", false).as_deref(), Some("other"), "{mark}: also while it takes no calls");
        }
    }

    #[test]
    fn whoever_was_replaced_waits_for_as_long_as_anybody_is_there() {
        assert_eq!(holder("other@998", "0", true).as_deref(), Some("other"));
        assert_eq!(holder("me@999", "0", true).as_deref(), Some("me"), "a copy of its data folder");
        assert_eq!(holder("me@990", "999", true).as_deref(), Some("unknown"), "one that writes no mark");
        for (mark, beat) in [("other@990", "990"), ("0", "0"), ("me@990", "")] {
            assert_eq!(holder(mark, beat, true), None, "{mark} {beat}");
        }
    }
}
