//! How often a password may be guessed: by account from one address, by address, and by account from anywhere. Nobody is locked out for
//! good, and an address from which the account has been entered is not held up by others who guess.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

/// Wrong passwords that may come at once, and how long one takes to be forgiven.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    each: Duration,
}

const ACCOUNT_FROM_ADDRESS: Rate = Rate { burst: 5, each: Duration::from_secs(20) };
const ADDRESS: Rate = Rate { burst: 30, each: Duration::from_secs(3) };
const ACCOUNT: Rate = Rate { burst: 50, each: Duration::from_secs(10) };
/// Refused log-ins that the audit has a line of: whoever guesses must not fill the database.
const NOTED: Rate = Rate { burst: 1000, each: Duration::from_secs(10) };
/// Above this many entries those that hold nobody up are forgotten.
const TIDY_ABOVE: usize = 10_000;
/// How long an address is known as one from which an account was entered.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// A counted thing, as a digest: names of users take no room, however long.
type Key = u64;

/// What was guessed lately; times are monotonic.
#[derive(Debug, Default)]
pub struct Throttle {
    /// When all that was counted will be forgiven.
    forgiven_at: HashMap<Key, Duration>,
    /// Until when an account is known at an address.
    known_until: HashMap<Key, Duration>,
    /// When all refusals that were noted will count no more.
    noted_until: Duration,
    /// Refusals since the last one that was noted.
    unnoted: u64,
}

/// A try that was let through, to be forgiven if its password is right.
#[derive(Debug)]
pub struct Try {
    counted: Vec<(Key, Rate)>,
    pair: Key,
}

impl Throttle {
    /// Counts a try for `account` from `address`.
    ///
    /// # Errors
    /// How long to wait until one may come.
    pub fn begin(&mut self, account: &str, address: Option<IpAddr>, now: Duration) -> Result<Try, Duration> {
        self.tidy(now);
        let network = address.map(network);
        let pair = key(("pair", account, network));
        let mut counted = vec![(pair, ACCOUNT_FROM_ADDRESS), (key(("address", network)), ADDRESS)];
        if self.known_until.get(&pair).is_none_or(|until| *until <= now) {
            counted.push((key(("account", account)), ACCOUNT));
        }
        if let Some(wait) = counted.iter().filter_map(|(key, rate)| self.wait(*key, *rate, now)).max() {
            return Err(wait);
        }
        for (key, rate) in &counted {
            let at = self.forgiven_at.entry(*key).or_insert(now);
            *at = (*at).max(now) + rate.each;
        }
        Ok(Try { counted, pair })
    }

    /// The password was right: it does not count.
    pub fn succeed(&mut self, right: &Try, now: Duration) {
        for (key, rate) in &right.counted {
            if let Some(at) = self.forgiven_at.get_mut(key) {
                *at = at.saturating_sub(rate.each);
            }
        }
        self.known_until.insert(right.pair, now + KNOWN_FOR);
    }

    /// Counts a refusal. Where the audit is to have a line of it: how many there were since the last line that have none.
    pub fn note(&mut self, now: Duration) -> Option<u64> {
        let begun = self.noted_until.max(now);
        if begun > now + NOTED.each * (NOTED.burst - 1) {
            self.unnoted += 1;
            return None;
        }
        self.noted_until = begun + NOTED.each;
        Some(std::mem::take(&mut self.unnoted))
    }

    fn wait(&self, key: Key, rate: Rate, now: Duration) -> Option<Duration> {
        let room = rate.each * (rate.burst - 1);
        self.forgiven_at.get(&key)?.checked_sub(now + room).filter(|wait| !wait.is_zero())
    }

    fn tidy(&mut self, now: Duration) {
        for entries in [&mut self.forgiven_at, &mut self.known_until] {
            if entries.len() > TIDY_ABOVE {
                entries.retain(|_, at| *at > now);
            }
        }
    }
}

/// What one guesser has in IPv6 is at least a /64.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => IpAddr::V6((it.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

fn key(what: impl Hash) -> Key {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, n]))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn guesses_at_an_account_are_slowed_down_and_forgiven() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.begin("ann", address(1), at(0)).unwrap();
        }
        let wait = throttle.begin("ann", address(1), at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(20));
        assert!(throttle.begin("ben", address(1), at(0)).is_ok(), "another account");
        assert!(throttle.begin("ann", address(2), at(0)).is_ok(), "another address");
        assert!(throttle.begin("ann", address(1), at(20)).is_ok(), "never for good");
        assert!(throttle.begin("ann", address(1), at(20)).is_err());
    }

    #[test]
    fn the_audit_has_a_line_of_so_many_refusals_and_the_number_of_the_others() {
        let mut throttle = Throttle::default();
        let noted = (0..5000).filter(|_| throttle.note(at(0)).is_some()).count();
        assert_eq!(noted, 1000);
        assert_eq!(throttle.note(at(9)), None);
        assert_eq!(throttle.note(at(10)), Some(4001));
        assert_eq!(throttle.note(at(10)), None);
        assert_eq!(throttle.note(at(20)), Some(1));
        assert_eq!(throttle.note(at(1_000_000)), Some(0));
    }

    #[test]
    fn right_passwords_do_not_count() {
        let mut throttle = Throttle::default();
        for _ in 0..1000 {
            let right = throttle.begin("ann", address(1), at(0)).unwrap();
            throttle.succeed(&right, at(0));
        }
    }

    #[test]
    fn an_address_that_tries_many_accounts_is_slowed_down() {
        let mut throttle = Throttle::default();
        let let_through = (0..100).filter(|n| throttle.begin(&format!("user{n}"), address(1), at(0)).is_ok()).count();
        assert_eq!(let_through, 30);
        let v6 = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, n, 0, 0, 1]));
        let let_through = (0..100).filter(|n| throttle.begin(&format!("u{n}"), v6(*n), at(0)).is_ok()).count();
        assert_eq!(let_through, 30, "one /64 is one guesser");
    }

    #[test]
    fn guessers_everywhere_do_not_lock_the_owner_out() {
        let mut throttle = Throttle::default();
        let own = throttle.begin("ann", address(250), at(0)).unwrap();
        throttle.succeed(&own, at(0));
        let let_through = (0..200).filter(|n| throttle.begin("ann", address(*n), at(1)).is_ok()).count();
        assert_eq!(let_through, 50);
        assert!(throttle.begin("ann", address(250), at(1)).is_ok());
    }
}
