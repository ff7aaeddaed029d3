//! Real phones as carrier and as call centre: each end says a tone of its own and must hear the other's.
//!
//! `CAPCONDUIT_PHONE_CALLS` says how many calls each flow makes (20); `just phones 200` makes so many and prints the table.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::harness::LIMIT;
use crate::harness::phone::tone::Sound;
use crate::harness::phone::{Brand, Manner, Phone, Socket};
use crate::harness::plan::Plan;
use crate::harness::sipp::{CARRIER_IP, CENTRE_IP};
use crate::harness::site::{Backend, Preparation, Site};

/// How long both talk after the answer, or after the hold.
const TALK: Duration = Duration::from_secs(2);
/// How long one rings, announces or holds.
const WHILE: Duration = Duration::from_millis(600);
/// Calls at the same time.
const AT_ONCE: usize = 8;

/// One test for each brand of caller.
macro_rules! with_both_brands {
    ($($test:ident = $flow:ident),+ $(,)?) => {$(
        mod $test {
            use super::{Brand, Flow, everyone_hears};

            #[tokio::test]
            async fn baresip() {
                everyone_hears(Brand::Baresip, Flow::$flow).await;
            }

            #[tokio::test]
            async fn linphone() {
                everyone_hears(Brand::Linphone, Flow::$flow).await;
            }
        }
    )+};
}

with_both_brands!(
    answered_at_once = AtOnce,
    answered_after_ringing = AfterRinging,
    answered_after_early_media = EarlyMedia,
    held_and_resumed = Hold,
    answered_after_anothers_early_media = Failover,
);

mod answered_after_183_without_a_packet {
    use super::{Brand, Flow, everyone_hears};

    #[tokio::test]
    async fn baresip() {
        everyone_hears(Brand::Baresip, Flow::Progress).await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    AtOnce,
    AfterRinging,
    /// 183 with SDP, but nothing is said before the answer: so does baresip.
    Progress,
    /// 183 with SDP and a tone: linphone is the call centre, whoever calls.
    EarlyMedia,
    /// The caller's.
    Hold,
    /// Another one's early media first, linphone's.
    Failover,
}

/// Where one call after the other is made.
struct Slot {
    brand: Brand,
    flow: Flow,
    dir: PathBuf,
    did: String,
    /// What the names of its clients end in.
    n: usize,
    caller: Socket,
    centre: Socket,
    /// Who announces and is busy, before the call centre that answers.
    busy: Socket,
}

/// What became of some calls.
#[derive(Debug, Default)]
struct Outcome {
    calls: usize,
    deaf_callers: usize,
    deaf_centres: usize,
    ssrc_changes: Option<usize>,
    faults: Vec<String>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.deaf_callers += other.deaf_callers;
        self.deaf_centres += other.deaf_centres;
        self.ssrc_changes = self.ssrc_changes.into_iter().chain(other.ssrc_changes).reduce(|one, other| one + other);
        self.faults.extend(other.faults);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, deaf_callers, deaf_centres, ssrc_changes, .. } = self;
        let changes = ssrc_changes.map_or_else(|| "not told".to_owned(), |changes| changes.to_string());
        write!(f, "{calls} | {deaf_callers} | {deaf_centres} | {changes}")
    }
}

fn wanted() -> usize {
    let wanted = std::env::var("CAPCONDUIT_PHONE_CALLS").ok();
    wanted
        .map_or(20, |wanted| wanted.parse().unwrap_or_else(|_| panic!("CAPCONDUIT_PHONE_CALLS={wanted} is no number")))
}

async fn everyone_hears(brand: Brand, flow: Flow) {
    let (calls, site) = (wanted(), Preparation::new(Backend::Sqlite));
    let slots: Vec<Slot> = (0..AT_ONCE.min(calls)).map(|n| Slot::new(&site, (brand, flow), n)).collect();
    let mut plan = Plan::new();
    for (n, slot) in slots.iter().enumerate() {
        plan = plan.client_at(&format!("centre-{n}"), slot.centre.address(), ("", ""));
        plan = plan.client_at(&format!("busy-{n}"), slot.busy.address(), ("", ""));
    }
    for (n, slot) in slots.iter().enumerate() {
        plan = plan.campaign(&format!("Solar {n}"), &slot.did, "");
        if flow == Flow::Failover {
            plan = plan.link(&format!("busy-{n}"), "forwarding_priority = 1");
        }
        plan = plan.link(&format!("centre-{n}"), "forwarding_priority = 2");
    }
    let site = site.start(&plan).await;
    let share = |n: usize| (n..calls).step_by(slots.len()).count();
    let outcomes = join_all(slots.iter().enumerate().map(|(n, slot)| slot.calls(&site, share(n)))).await;
    let mut all = Outcome::default();
    outcomes.into_iter().for_each(|outcome| all.add(outcome));
    println!("phones | {flow:?} | {brand:?} | {all} |");
    assert_eq!(
        all.faults,
        Vec::<String>::new(),
        "{} of {} ends are deaf",
        all.deaf_callers + all.deaf_centres,
        2 * calls
    );
    site.idle().await;
    for record in site.records(calls).await {
        assert!(record.attempts().last().is_some_and(|last| last.ends_with(" answered")), "{record:?}");
    }
}

impl Slot {
    fn new(site: &Preparation, (brand, flow): (Brand, Flow), n: usize) -> Self {
        let socket = |ip| Socket::take(site.ports(), ip);
        let (caller, centre, busy) = (socket(CARRIER_IP), socket(CENTRE_IP), socket(CENTRE_IP));
        Self {
            brand,
            flow,
            dir: site.folder(&format!("slot-{n}")),
            did: format!("+4420794602{n:02}"),
            n,
            caller,
            centre,
            busy,
        }
    }

    async fn calls(&self, site: &Site, calls: usize) -> Outcome {
        let mut outcome = Outcome::default();
        for n in 0..calls {
            outcome.add(self.call(site, &self.dir.join(n.to_string())).await);
        }
        outcome
    }

    /// A call centre takes calls for its client's identifier.
    async fn centre(&self, dir: &Path, client: &str, socket: Socket, manner: Manner) -> Phone {
        let announces = manner == Manner::Announces && self.flow != Flow::Progress;
        let brand = if announces { Brand::Linphone } else { self.brand };
        Phone::centre(brand, &dir.join(client), socket, &format!("{client}-{}", self.n), manner).await
    }

    async fn call(&self, site: &Site, dir: &Path) -> Outcome {
        let manner = match self.flow {
            Flow::AtOnce | Flow::Hold => Manner::Answers,
            Flow::AfterRinging | Flow::Failover => Manner::Rings,
            Flow::EarlyMedia | Flow::Progress => Manner::Announces,
        };
        let mut centre = self.centre(dir, "centre", self.centre, manner).await;
        let mut caller = Phone::caller(self.brand, &dir.join("caller"), self.caller).await;
        if self.flow == Flow::Failover {
            let mut busy = self.centre(dir, "busy", self.busy, Manner::Announces).await;
            caller.dial(&self.did, &site.nodes[0].sip);
            busy.rung().await;
            sleep(WHILE).await;
            busy.hang_up();
            centre.rung().await;
        } else {
            caller.dial(&self.did, &site.nodes[0].sip);
        }
        if manner != Manner::Answers {
            centre.rung().await;
            sleep(WHILE).await;
            centre.answer();
        }
        caller.connected().await;
        centre.connected().await;
        if self.flow == Flow::Hold {
            sleep(WHILE).await;
            caller.hold();
            sleep(WHILE).await;
            caller.resume();
        }
        caller.mark();
        centre.mark();
        sleep(TALK).await;
        caller.hang_up();
        self.over(site).await;
        self.judge(caller, centre).await
    }

    /// Waits until no channel of this slot's is left: the next call takes the same ports.
    async fn over(&self, site: &Site) {
        let over = timeout(LIMIT, async {
            while site.nodes[0].get("channels").await.unwrap_or_default().to_string().contains(&self.did) {
                sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(over.await.is_ok(), "{} is still called {LIMIT:?} after the caller hung up", self.did);
    }

    /// Who heard the other in the last part of the call, and whether the caller heard the announcement.
    async fn judge(&self, mut caller: Phone, mut centre: Phone) -> Outcome {
        let (called, answered) = (caller.parts(TALK).await, centre.parts(TALK).await);
        let mut outcome = Outcome { calls: 1, ..Outcome::default() };
        outcome.ssrc_changes =
            caller.ssrc_changes().into_iter().chain(centre.ssrc_changes()).reduce(|one, other| one + other);
        let mut deaf = |phone: &Phone, sound: &Sound, what: &str, length: Duration| {
            let heard = phone.hears(sound);
            let recorded = self.flow != Flow::Hold || phone.records_after_a_hold();
            let fault = if recorded { heard.is_deaf(length).then(|| heard.to_string()) } else { phone.complaint() };
            let is_deaf = usize::from(fault.is_some());
            outcome.faults.extend(fault.map(|fault| format!("{what} heard {fault}; it said:\n{}", phone.said())));
            is_deaf
        };
        let deaf_centres = deaf(&centre, &answered.1, "the call centre", TALK);
        let mut deaf_callers = deaf(&caller, &called.1, "the caller", TALK);
        if self.flow == Flow::EarlyMedia {
            deaf_callers = deaf_callers.max(deaf(&caller, &called.0, "the caller, before the answer,", WHILE / 2));
        }
        (outcome.deaf_callers, outcome.deaf_centres) = (deaf_callers, deaf_centres);
        outcome
    }
}
