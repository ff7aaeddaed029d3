//! Outbound channels without a call, found by channel and by the call that they were made for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::visits;
use crate::cdr::open::OpenLeg;
use crate::id::CallId;
use crate::routing::caps::PermitKey;

/// An outbound channel without a call that was asked to go; it holds its permit until it is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orphan {
    pub(super) key: PermitKey,
    /// Monotonic time at which it was found.
    pub(super) since: Duration,
    /// Whether its attempt counts against its link's total.
    pub(super) counted: bool,
}

/// All of one node.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_channel: BTreeMap<String, Orphan>,
    of_call: HashMap<CallId, BTreeSet<String>>,
}

impl Orphans {
    /// Notes one; what was noted of the channel before is replaced.
    pub(super) fn put(&mut self, channel_id: String, orphan: Orphan) {
        self.of_call.entry(orphan.key.0).or_default().insert(channel_id.clone());
        self.by_channel.insert(channel_id, orphan);
    }

    /// Notes one that may be known.
    pub(super) fn find(&mut self, channel_id: &str, orphan: Orphan) {
        if !self.has(channel_id) {
            self.put(channel_id.to_owned(), orphan);
        }
    }

    pub(super) fn take(&mut self, channel_id: &str) -> Option<Orphan> {
        let orphan = self.by_channel.remove(channel_id)?;
        let call = orphan.key.0;
        if let Some(channels) = self.of_call.get_mut(&call) {
            channels.remove(channel_id);
            if channels.is_empty() {
                self.of_call.remove(&call);
            }
        }
        Some(orphan)
    }

    pub(super) fn has(&self, channel_id: &str) -> bool {
        self.by_channel.contains_key(channel_id)
    }

    /// Whether an outbound channel of this call, made by an earlier run, is not gone yet.
    pub(super) fn has_of(&self, call: CallId) -> bool {
        self.of_call.contains_key(&call)
    }

    /// Whether this is one, whose attempt counts or not from now on.
    pub(super) fn set_counted(&mut self, channel_id: &str, counted: bool) -> bool {
        let orphan = self.by_channel.get_mut(channel_id);
        orphan.map(|orphan| orphan.counted = counted).is_some()
    }

    /// One of these legs of a call may have been answered: they count. A leg that the call's run did not come to note has no place in its
    /// record, and is not among them: ledger and records count the same.
    pub(super) fn count(&mut self, call: CallId, legs: &[OpenLeg]) {
        for leg in legs {
            self.set_counted(&call.leg(leg.n), true);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Orphan)> {
        self.by_channel.iter().inspect(|_| visits::note())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_channel.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::id::{CampaignId, ClientId, LinkId};
    use crate::routing::snapshot::CountOn;

    #[test]
    fn a_call_has_orphans_until_the_last_of_its_own_is_gone() {
        let call = |id| CallId::derive(DateTime::UNIX_EPOCH, "pbx", id);
        let orphan = |id, n| Orphan { key: (call(id), n), since: Duration::ZERO, counted: false };
        let mut orphans = Orphans::default();
        for (id, n) in [("1.1", 1), ("1.1", 2), ("2.2", 1), ("2.2", 2), ("2.2", 3)] {
            orphans.put(call(id).leg(n), orphan(id, n));
        }
        orphans.find(&call("1.1").leg(1), Orphan { counted: true, ..orphan("1.1", 1) });
        let (campaign, link, client, count_on) = (CampaignId(1), LinkId(1), ClientId(1), CountOn::Answered);
        let noted = [1, 2].map(|n| OpenLeg { n, campaign, link, client, count_on });
        orphans.count(call("2.2"), &noted);
        assert_eq!(orphans.take(&call("1.1").leg(1)).map(|it| it.counted), Some(false), "it was known");
        assert!(orphans.has_of(call("1.1")) && orphans.take(&call("1.1").leg(1)).is_none());
        assert!(orphans.take(&call("1.1").leg(2)).is_some() && !orphans.has_of(call("1.1")));
        assert!(orphans.set_counted(&call("2.2").leg(1), false) && !orphans.set_counted(&call("3.3").leg(1), true));
        assert_eq!(orphans.take(&call("2.2").leg(1)).map(|it| it.counted), Some(false));
        assert_eq!(orphans.take(&call("2.2").leg(2)).map(|it| it.counted), Some(true));
        assert_eq!(orphans.take(&call("2.2").leg(3)).map(|it| it.counted), Some(false), "nobody noted it");
        assert!(orphans.is_empty() && orphans.of_call.is_empty());
    }
}
