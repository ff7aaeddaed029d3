//! PURE: the calls that ended last.

use std::collections::{HashSet, VecDeque};

use crate::id::CallId;

/// So many are remembered: those of a minute at 500 calls a second, in 2 MB.
const KEPT: usize = 30_000;

/// The calls that ended last: an arrival that is told late, or twice, begins none of them anew.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<CallId>,
    calls: HashSet<CallId>,
}

impl Recent {
    /// Notes that a call has ended.
    pub(super) fn add(&mut self, call: CallId) {
        if self.calls.insert(call) {
            self.order.push_back(call);
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
    }

    /// Whether a call has ended, not long ago.
    pub(super) fn contains(&self, call: CallId) -> bool {
        self.calls.contains(&call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut recent = Recent::default();
        let call = |n: usize| CallId(uuid::Uuid::from_u128(n as u128));
        (0..=KEPT).for_each(|n| recent.add(call(n)));
        assert!(!recent.contains(call(0)));
        assert!(recent.contains(call(1)) && recent.contains(call(KEPT)));
        assert_eq!((recent.order.len(), recent.calls.len()), (KEPT, KEPT));
    }
}
