//! What is kept of callers, found by their call and by their channel: what happens to one touches no other.

use std::collections::{BTreeMap, HashMap};

use super::visits;
use crate::id::CallId;

/// Something that is kept of a caller.
pub(super) trait OfCaller {
    /// Its inbound channel.
    fn channel_id(&self) -> &str;
}

/// One of each call, the oldest call first.
#[derive(Debug)]
pub(super) struct Callers<T> {
    by_call: BTreeMap<CallId, T>,
    calls: HashMap<String, CallId>,
}

impl<T> Default for Callers<T> {
    fn default() -> Self {
        Self { by_call: BTreeMap::new(), calls: HashMap::new() }
    }
}

impl<T: OfCaller> Callers<T> {
    /// Keeps this one, and no longer what was kept of the call before.
    pub(super) fn keep(&mut self, call: CallId, it: T) {
        self.take(call);
        self.calls.insert(it.channel_id().to_owned(), call);
        self.by_call.insert(call, it);
    }

    pub(super) fn get(&self, call: CallId) -> Option<&T> {
        self.by_call.get(&call)
    }

    pub(super) fn get_mut(&mut self, call: CallId) -> Option<&mut T> {
        self.by_call.get_mut(&call)
    }

    pub(super) fn take(&mut self, call: CallId) -> Option<T> {
        let it = self.by_call.remove(&call)?;
        if self.calls.get(it.channel_id()) == Some(&call) {
            self.calls.remove(it.channel_id());
        }
        Some(it)
    }

    /// The call of this inbound channel.
    pub(super) fn call_of(&self, channel_id: &str) -> Option<CallId> {
        self.calls.get(channel_id).copied()
    }

    /// As [`Self::take`], by the inbound channel.
    pub(super) fn take_by_channel(&mut self, channel_id: &str) -> Option<T> {
        self.call_of(channel_id).and_then(|call| self.take(call))
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.calls.clear();
        std::mem::take(&mut self.by_call).into_values().inspect(|_| visits::note())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (CallId, &T)> {
        self.by_call.iter().inspect(|_| visits::note()).map(|(call, it)| (*call, it))
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = CallId> {
        self.iter().map(|(call, _)| call)
    }

    pub(super) fn len(&self) -> usize {
        self.by_call.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    impl OfCaller for String {
        fn channel_id(&self) -> &str {
            self
        }
    }

    fn call(n: i64) -> CallId {
        CallId::derive(DateTime::from_timestamp(n, 0).expect("a time"), "pbx", "1.1")
    }

    #[test]
    fn each_is_found_by_call_and_by_channel_until_it_is_taken() {
        let mut callers = Callers::default();
        (1..=3).for_each(|n| callers.keep(call(n), format!("{n}.1")));
        assert_eq!((callers.call_of("2.1"), callers.len()), (Some(call(2)), 3));
        assert_eq!(callers.take_by_channel("2.1").as_deref(), Some("2.1"));
        assert_eq!((callers.call_of("2.1"), callers.get(call(2))), (None, None));
        assert_eq!(callers.take(call(2)), None);
        assert_eq!(callers.calls().collect::<Vec<_>>(), [call(1), call(3)], "the oldest first");
        assert_eq!(callers.take_all().collect::<Vec<_>>(), ["1.1", "3.1"]);
        assert!(callers.is_empty() && callers.call_of("1.1").is_none());
    }

    #[test]
    fn what_replaces_another_is_found_by_its_own_channel_alone() {
        let mut callers = Callers::default();
        callers.keep(call(1), "a".to_owned());
        callers.keep(call(1), "b".to_owned());
        assert_eq!((callers.call_of("a"), callers.call_of("b"), callers.len()), (None, Some(call(1)), 1));
        // A channel's name is used again by an Asterisk that started anew.
        callers.keep(call(2), "b".to_owned());
        callers.take(call(1));
        assert_eq!(callers.call_of("b"), Some(call(2)));
    }
}
