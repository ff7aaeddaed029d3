//! PURE: peers that say for whom they ask (`X-Forwarded-For`) and are not believed: whom the log has told of lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How often one peer is told of.
const EVERY: Duration = Duration::from_secs(3600);
/// Peers that are kept, and so lines in the log within [`EVERY`].
const AT_MOST: usize = 1000;

/// Until when each peer (of IPv6, its /64) need not be told of again; times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    told_until: HashMap<IpAddr, Duration>,
}

impl Strangers {
    /// Whether the log is to tell of `peer` now. Where too many others were told of within the hour it is not.
    pub(super) fn is_news(&mut self, peer: IpAddr, now: Duration) -> bool {
        if self.told_until.get(&peer).is_some_and(|until| *until > now) {
            return false;
        }
        if self.told_until.len() >= AT_MOST {
            self.told_until.retain(|_, until| *until > now);
        }
        let room = self.told_until.len() < AT_MOST;
        if room {
            self.told_until.insert(peer, now + EVERY);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_peer_is_told_of_once_an_hour_and_others_beside_it() {
        let mut strangers = Strangers::default();
        let at = |seconds: u64| Duration::from_secs(10_000 + seconds);
        assert!(strangers.is_news(peer(1), at(0)));
        assert!(!strangers.is_news(peer(1), at(3599)));
        assert!(strangers.is_news(peer(2), at(3599)));
        assert!(strangers.is_news(peer(1), at(3600)));
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let mut strangers = Strangers::default();
        let told = |strangers: &mut Strangers, now| (0..5000).filter(|n| strangers.is_news(peer(*n), now)).count();
        assert_eq!(told(&mut strangers, Duration::ZERO), AT_MOST);
        assert_eq!(strangers.told_until.len(), AT_MOST);
        assert_eq!(told(&mut strangers, EVERY), AT_MOST, "an hour later there is room again");
    }
}
