//! PURE: which part of a node's new calls its dialplan refuses, by how long requests wait for Asterisk.
//!
//! Asterisk carries the requests of a socket out one after the other. Where new calls take the machine's time, requests wait, calls that
//! have begun are not set up, and in the end all of them fail. So some are refused before they begin: a PID controller moves their share
//! until requests wait for [`TARGET`]. It looks [`AHEAD`], for so long goes by until a share shows: calls that were let in before still
//! ask for things. It acts early and strongly, and swings for that: on a real Asterisk lower gains let the queue grow, and a long queue
//! lasts, for Asterisk does less the more it has begun. What a request waits on the line itself is none of that: whoever tells the node its share asks over a connection of
//! its own, and how long that takes is deducted.

use std::time::Duration;

/// The global variable that `asterisk/etc/extensions.conf` reads: the part in percent.
pub(super) const VARIABLE: &str = "CAPCONDUIT_SHED";
/// How often it is looked at while requests wait.
pub(super) const EVERY: Duration = Duration::from_millis(50);
/// Requests that wait no longer than this do no harm.
pub(super) const NONE_BELOW: Duration = Duration::from_millis(30);
/// How long they shall wait where calls are refused, in seconds.
const TARGET: f64 = 0.1;
/// Share for each second that they wait too long.
const PROPORTIONAL: f64 = 2.5;
/// Share that comes with each second in which they wait a second too long.
const INTEGRAL: f64 = 0.5;
/// How far ahead it looks, in seconds.
const AHEAD: f64 = 0.4;
/// Of what is new about how quickly it gets worse, the part that is believed at each look.
const BELIEVED: f64 = 0.4;
/// At how many looks in a row they must have waited: a moment's stall is over before anything could be done about it.
const PATIENCE: u32 = 5;
/// Where they do not wait too long, this part of what has come stays at each look.
const RELEASE: f64 = 0.9;
/// Not all: whether it gets better shows by those that are let in.
const MOST: f64 = 0.95;
/// Less than this is nothing.
const LEAST: f64 = 0.01;
/// How soon the node is told again that could not be.
const RETRY: Duration = Duration::from_millis(500);
/// How long the line's own time holds that was measured.
const FRESH: Duration = Duration::from_millis(250);
/// After so long nobody will say any more whether the node was told. Longer than any request's deadline.
const LOST_AFTER: Duration = Duration::from_secs(90);
/// After so long without refusals it is over.
const OVER_AFTER: Duration = Duration::from_secs(10);

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// New calls are refused from now on.
    Begun,
    /// The node could not be told. Said once until it could.
    Untold,
    /// None are any more. At most this part of them was, in percent.
    Over { most: u8 },
}

/// What of one node's new calls is refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shedding {
    share: f64,
    /// By how many seconds requests waited too long at the last look.
    error: f64,
    /// By how many seconds more in each second.
    slope: f64,
    /// The part of the share that has come by and by.
    come: f64,
    /// At how many looks in a row they have waited.
    looks: u32,
    /// When it was looked last.
    looked: Duration,
    /// When it is told again, where it could not be.
    again: Option<Duration>,
    /// What the node is known to have been told, in percent. `None`: nothing yet, and what an earlier run told it may still hold.
    told: Option<u8>,
    /// What it is being told, and since when (monotonic time).
    telling: Option<(u8, Duration)>,
    /// How long telling it took, and when that was known.
    line: Option<(Duration, Duration)>,
    /// The most that was refused, in percent, and when anything was last, until that is over.
    most: Option<(u8, Duration)>,
}

impl Default for Shedding {
    fn default() -> Self {
        Self {
            share: 0.0,
            error: -TARGET,
            slope: 0.0,
            come: 0.0,
            looks: 0,
            looked: Duration::ZERO,
            again: None,
            told: None,
            telling: None,
            line: None,
            most: None,
        }
    }
}

impl Shedding {
    /// The part that the node is known to refuse, in percent.
    pub(super) fn in_force(&self) -> u8 {
        self.told.unwrap_or(0)
    }

    /// Somebody else may have told the node something else: it is told again.
    pub(super) fn doubt(&mut self) {
        self.told = None;
    }

    /// The part that is to be refused, in percent.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and MOST")]
    fn percent(&self) -> u8 {
        (self.share * 100.0).round() as u8
    }

    /// Whether nothing is refused, and the node knows.
    pub(super) fn is_at_rest(&self) -> bool {
        self.share == 0.0 && self.told == Some(0) && self.telling.is_none() && self.most.is_none()
    }

    /// What was told before is not certain any more. What is on its way to the node is still waited for: it must not overtake what follows.
    pub(super) fn forget(&mut self) {
        *self = Self { telling: self.telling, ..Self::default() };
    }

    /// Looks at how long requests wait. Returns what the node is to be told now, over a connection of its own, in percent.
    pub(super) fn look(&mut self, now: Duration, waited: Duration) -> (Option<u8>, Option<News>) {
        let line = self.line.filter(|(_, at)| now.saturating_sub(*at) <= FRESH).map(|(took, _)| took);
        let net = waited.saturating_sub(line.unwrap_or_default());
        self.follow(now, if net > NONE_BELOW { net } else { Duration::ZERO });
        // Where the line is not known, nobody knows whether it or Asterisk is slow: it stays as it is.
        if self.looks == 0 || (line.is_some() && self.looks >= PATIENCE) {
            self.steer();
        }
        let percent = self.percent();
        let news = self.news(now, percent);
        if self.telling.is_some_and(|(_, since)| now.saturating_sub(since) > LOST_AFTER) {
            self.telling = None;
        }
        let may = self.again.is_none_or(|at| at <= now);
        let due = may && (self.told != Some(percent) || waited > NONE_BELOW);
        if self.telling.is_some() || !due {
            return (None, news);
        }
        self.telling = Some((percent, now));
        (Some(percent), news)
    }

    /// The node was told, which took so long, or could not be.
    pub(super) fn told(&mut self, now: Duration, took: Option<Duration>) -> Option<News> {
        let (percent, _) = self.telling.take()?;
        self.told = took.map(|_| percent);
        self.line = took.map(|took| (took, now));
        let failed_before = self.again.is_some();
        self.again = took.is_none().then_some(now + RETRY);
        (took.is_none() && !failed_before).then_some(News::Untold)
    }

    fn follow(&mut self, now: Duration, waited: Duration) {
        let since = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        if since > 2 * EVERY {
            // Nothing has waited in between, or nobody has looked.
            (self.looks, self.slope, self.error) = (0, 0.0, -TARGET);
        }
        self.looks = if waited.is_zero() { 0 } else { self.looks.saturating_add(1) };
        let (error, every) = (waited.as_secs_f64() - TARGET, since.clamp(EVERY, 2 * EVERY).as_secs_f64());
        self.slope += ((error - self.error) / every - self.slope) * BELIEVED;
        self.error = error;
    }

    fn steer(&mut self) {
        // What does not wait too long is no worse for getting longer.
        let slope = if self.error < 0.0 { self.slope.min(0.0) } else { self.slope };
        let now = PROPORTIONAL * (self.error + AHEAD * slope);
        // Not while it could change nothing: what has come would take long to go.
        if (0.0..MOST).contains(&(now + self.come)) {
            self.come = (self.come + INTEGRAL * self.error * EVERY.as_secs_f64()).clamp(0.0, MOST);
        }
        if self.error < 0.0 {
            self.come *= RELEASE;
        }
        self.share = (now + self.come).clamp(0.0, MOST);
        if self.share < LEAST {
            self.share = 0.0;
        }
    }

    fn news(&mut self, now: Duration, percent: u8) -> Option<News> {
        match self.most {
            None if percent > 0 => {
                self.most = Some((percent, now));
                Some(News::Begun)
            }
            Some((most, _)) if percent > 0 => {
                self.most = Some((most.max(percent), now));
                None
            }
            Some((most, last)) if now.saturating_sub(last) >= OVER_AFTER => {
                self.most = None;
                Some(News::Over { most })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Looks so many times, each time with what requests wait; telling the node takes `line`.
    fn after(shedding: &mut Shedding, from: u64, looks: u64, waited: Duration, line: Duration) -> Vec<News> {
        let mut told_at = None;
        let mut news = Vec::new();
        for n in 0..looks {
            let now = ms(from) + EVERY * u32::try_from(n).expect("few");
            if told_at.is_some_and(|at| at <= now) {
                told_at = None;
                news.extend(shedding.told(now, Some(line)));
            }
            let (tell, new) = shedding.look(now, waited);
            news.extend(new);
            if tell.is_some() {
                told_at = Some(now + line);
            }
        }
        if let Some(at) = told_at {
            news.extend(shedding.told(at, Some(line)));
        }
        news
    }

    #[test]
    fn nothing_is_refused_while_requests_do_not_wait_and_what_an_earlier_run_told_is_taken_back() {
        let mut shedding = Shedding::default();
        assert!(!shedding.is_at_rest());
        assert_eq!(shedding.look(ms(0), Duration::ZERO), (Some(0), None));
        assert_eq!(shedding.look(ms(100), Duration::ZERO), (None, None), "one after the other");
        assert_eq!(shedding.told(ms(101), None), Some(News::Untold));
        assert_eq!(shedding.look(ms(200), Duration::ZERO), (None, None), "not at once again");
        assert_eq!(shedding.look(ms(601), Duration::ZERO), (Some(0), None), "it is told until it knows");
        assert_eq!(shedding.told(ms(603), None), None, "once is enough");
        assert_eq!(shedding.look(ms(1_103), Duration::ZERO), (Some(0), None));
        assert_eq!(shedding.told(ms(1_105), Some(ms(2))), None);
        assert!(shedding.is_at_rest());
        assert_eq!(shedding.look(ms(1_200), NONE_BELOW), (None, None));
        shedding.doubt();
        assert_eq!(
            shedding.look(ms(1_300), Duration::ZERO),
            (Some(0), None),
            "another may have told it something else"
        );
    }

    /// A node: how many seconds of work wait, of so many seconds' worth of calls that arrive in each second.
    struct Node {
        waits: f64,
        /// What was let in, and asks for the rest of its requests some looks later.
        begun: std::collections::VecDeque<f64>,
    }

    /// So many looks at a node to which `offered` times what it can do is offered. Returns what it does of what it can, and how long
    /// requests wait at most.
    fn under_load(shedding: &mut Shedding, node: &mut Node, from: u64, looks: u32, offered: f64) -> (f64, f64) {
        let (mut done, mut longest, every) = (0.0, 0.0, EVERY.as_secs_f64());
        for n in 0..looks {
            let now = ms(from) + EVERY * n;
            if shedding.look(now, Duration::from_secs_f64(node.waits)).0.is_some() {
                shedding.told(now + ms(1), Some(ms(1)));
            }
            node.begun.push_back(offered * (1.0 - shedding.share) * every);
            let work = node.waits + node.begun.pop_front().expect("one was put in");
            done += work.min(every);
            node.waits = (work - every).max(0.0);
            longest = f64::max(longest, node.waits);
        }
        (done / (f64::from(looks) * every), longest)
    }

    fn node() -> Node {
        Node { waits: 0.0, begun: vec![0.0; 8].into() }
    }

    #[test]
    fn too_much_is_refused_to_what_can_be_done() {
        for offered in [1.2, 1.5, 2.0, 3.0] {
            let (mut shedding, mut node) = (Shedding::default(), node());
            let (_, at_first) = under_load(&mut shedding, &mut node, 0, 100, offered);
            assert!(at_first < offered * 0.6, "{offered}: {at_first}");
            let (done, longest) = under_load(&mut shedding, &mut node, 5_000, 400, offered);
            assert!(done > 0.85 && longest < offered * 0.6, "{offered}: {done} {longest}");
            under_load(&mut shedding, &mut node, 25_000, 40, 0.5);
            assert_eq!((node.waits, shedding.percent()), (0.0, 0), "{offered}: two seconds after");
        }
    }

    #[test]
    fn what_can_be_done_is_not_refused() {
        let (mut shedding, mut node) = (Shedding::default(), node());
        let (done, longest) = under_load(&mut shedding, &mut node, 0, 400, 0.95);
        assert!(done > 0.9 && longest == 0.0 && shedding.most.is_none(), "{done} {longest} {shedding:?}");
    }

    #[test]
    fn a_stall_refuses_nobody_and_not_all_are_refused_ever() {
        let mut shedding = Shedding::default();
        after(&mut shedding, 0, 2, Duration::ZERO, ms(1));
        // The oldest grows older by itself.
        for (n, waited) in [35, 85, 135, 185, 0, 60, 110, 160, 210, 0].into_iter().enumerate() {
            let now = ms(200) + EVERY * u32::try_from(n).expect("few");
            assert_eq!(after(&mut shedding, u64::try_from(now.as_millis()).expect("small"), 1, ms(waited), ms(1)), []);
            assert_eq!(shedding.percent(), 0, "{waited}");
        }
        assert_eq!(after(&mut shedding, 2_000, 100, ms(5_000), ms(1)), [News::Begun]);
        assert_eq!((shedding.percent(), shedding.told), (95, Some(95)));
    }

    #[test]
    fn a_line_that_is_slow_itself_refuses_nobody() {
        let mut shedding = Shedding::default();
        after(&mut shedding, 0, 2, Duration::ZERO, ms(1));
        assert_eq!(after(&mut shedding, 1_000, 100, ms(1_600), ms(1_600)), []);
        assert_eq!(shedding.percent(), 0);
    }

    #[test]
    fn a_node_that_cannot_be_told_is_left_as_it_is() {
        let mut shedding = Shedding::default();
        after(&mut shedding, 0, 10, ms(107), ms(2));
        let before = shedding.percent();
        assert!((1..95).contains(&before), "{before}");
        let (tell, _) = shedding.look(ms(4_000), ms(5_000));
        assert_eq!((tell, shedding.percent()), (Some(before), before), "nothing says whose fault it is");
        shedding.told(ms(9_000), None);
        assert_eq!(shedding.look(ms(9_600), ms(8_000)).0, Some(before));
        assert_eq!(shedding.percent(), before);
    }

    #[test]
    fn it_ends_soon_and_is_told_once() {
        let mut shedding = Shedding::default();
        assert_eq!(after(&mut shedding, 0, 30, ms(500), ms(2)), [News::Begun]);
        assert_eq!(after(&mut shedding, 3_000, 5, Duration::ZERO, ms(2)), []);
        assert_eq!((shedding.percent(), shedding.told), (0, Some(0)), "after half a second");
        assert_eq!(after(&mut shedding, 4_000, 10, ms(500), ms(2)), [], "it was not over yet");
        assert_eq!(after(&mut shedding, 5_000, 240, Duration::ZERO, ms(2)), [News::Over { most: 95 }]);
        assert!(shedding.is_at_rest());
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_and_corrected() {
        let mut shedding = Shedding::default();
        after(&mut shedding, 0, 20, ms(500), ms(2));
        let (on_its_way, _) = shedding.look(ms(2_000), ms(500));
        assert_eq!(on_its_way, Some(95));
        shedding.forget();
        assert_eq!(shedding.look(ms(2_100), Duration::ZERO).0, None, "the other way round the 95 would stay");
        shedding.told(ms(2_150), Some(ms(150)));
        assert_eq!(shedding.look(ms(2_200), Duration::ZERO).0, Some(0));
        assert_eq!(shedding.look(ms(2_200) + LOST_AFTER, Duration::ZERO).0, None);
        assert_eq!(shedding.look(ms(2_201) + LOST_AFTER, Duration::ZERO).0, Some(0), "its word is lost");
    }
}
