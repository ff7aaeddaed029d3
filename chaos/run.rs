//! One run: calls, blows, rest, and the judgement.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::fault::Fault;
use super::load;
use super::scene::{Realtime, Scene};
use super::verdict::{Evidence, Findings, judge};
use super::wire::Condition;
use super::witness;
use crate::harness::sipp::Sipp;

/// A fault of a run.
#[derive(Debug)]
pub(crate) struct Event {
    /// Since the first call.
    pub(crate) after: Duration,
    /// On the clock of the logs.
    pub(crate) at: DateTime<Utc>,
    /// What it was.
    pub(crate) fault: Fault,
    /// What else is to be told of it.
    pub(crate) told: String,
    /// From the fault's end until the controller was ready; `None`: it was not, in time.
    pub(crate) ready_after: Option<Duration>,
    /// How often the controller had to be started again because it had ended by itself.
    pub(crate) restarts: u32,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What decided everything.
    pub(crate) seed: u64,
    /// How long calls came.
    pub(crate) lasted: Duration,
    /// What was done to it.
    pub(crate) events: Vec<Event>,
    /// All that was seen and written.
    pub(crate) evidence: Evidence,
    /// What does not agree.
    pub(crate) findings: Findings,
    /// What was still there when everything should have been over.
    pub(crate) left: Vec<String>,
    /// Lines of the controller's log that tell of a panic.
    pub(crate) panics: Vec<String>,
}

/// How a run is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// What decides everything.
    pub(crate) seed: u64,
    /// How long calls come.
    pub(crate) lasting: Duration,
}

/// Settings of `[calls]`: a drain shorter than the longest talk, so that talks are left to the next start.
const CALLS: &str = "drain_seconds = 4";
/// Before the first fault and after the last one, calls come in peace.
const PEACE: Duration = Duration::from_secs(4);

/// Makes the run; the scene is for whoever wants to keep its folder.
pub(crate) async fn run(wanted: Wanted, say: impl Fn(&str)) -> (Outcome, Scene) {
    let Wanted { seed, lasting } = wanted;
    let mut dice = Dice::new(seed);
    let seconds = u32::try_from(lasting.as_secs()).expect("a run lasts hours at most");
    let minutes = seconds.div_ceil(60);
    let stage = load::stage().await;
    let plan = load::plan(&stage, minutes);
    let mut scene = stage.start(&plan, Realtime::File, CALLS).await;
    say(&format!("everything runs in {}", scene.folder().display()));
    let carriers = load::begin(&scene, seconds, &mut dice);
    let events = blows(&mut scene, &mut dice, lasting, &say).await;
    say("letting everything come to rest");
    let left = come_to_rest(&mut scene, carriers.iter()).await;
    let evidence = gather(&scene, &carriers, load::caps(minutes));
    let findings = judge(&evidence);
    let panics = scene.controller.log().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
    let outcome = Outcome { seed, lasted: lasting, events, evidence, findings, left, panics };
    (outcome, scene)
}

/// One fault after the other, until the calls end.
async fn blows(scene: &mut Scene, dice: &mut Dice, lasting: Duration, say: &impl Fn(&str)) -> Vec<Event> {
    let (begun, mut events, mut deck) = (Instant::now(), Vec::new(), Vec::new());
    sleep(PEACE).await;
    loop {
        let fault = Fault::draw(dice, &mut deck);
        let pause = Fault::pause(dice);
        if begun.elapsed() + PEACE + pause > lasting {
            break;
        }
        let (after, at) = (begun.elapsed(), Utc::now());
        say(&format!("{:>6.1} s  {fault}", after.as_secs_f64()));
        let told = scene.suffer(fault).await;
        let (restarts, ready_after) = match pause.checked_sub(Duration::from_millis(1500)) {
            // Else the next blow shall fall before this one is over.
            Some(_) => scene.until_ready().await,
            None => (0, None),
        };
        events.push(Event { after, at, fault, told, ready_after, restarts });
        sleep(pause).await;
    }
    sleep(lasting.saturating_sub(begun.elapsed())).await;
    events
}

/// Gives everything back, lets the last calls end and the last record be written. What is left then.
pub(crate) async fn come_to_rest<'a>(scene: &mut Scene, carriers: impl Iterator<Item = &'a Sipp>) -> Vec<String> {
    scene.ari.set(Condition::Sound);
    scene.sql.set(Condition::Sound);
    if !scene.database.is_up() {
        scene.database_back().await;
    }
    let (_, ready) = scene.until_ready().await;
    let mut left = Vec::new();
    if ready.is_none() {
        left.push("the controller does not become ready".to_owned());
    }
    quiet(carriers).await;
    left.extend(scene.rest().await);
    // Whoever imports the fallback's lines looks for them every few seconds.
    let begun = Instant::now();
    while !scene.all_imported() && begun.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(500)).await;
    }
    left.extend(scene.rest().await);
    left.dedup();
    left
}

/// Waits until no call of the carrier's is up any more. Those that died with Asterisk never end by themselves: where there are any, a
/// time without any message says so.
async fn quiet(carriers: impl Iterator<Item = &Sipp>) {
    let sizes: Vec<_> = carriers.map(|sipp| &sipp.trace).collect();
    let size = || sizes.iter().map(|trace| trace.size()).sum::<u64>();
    let longest = Duration::from_millis(load::LONGEST_MS.into()) + Duration::from_secs(5);
    let (begun, mut last, mut since) = (Instant::now(), size(), Instant::now());
    let all_over = || sizes.iter().all(|trace| trace.dialogs().iter().all(|call| call.ended_at().is_some()));
    let quiet = |since: Instant| since.elapsed() >= Duration::from_secs(3);
    while !quiet(since) || (begun.elapsed() < longest && !all_over()) {
        sleep(Duration::from_millis(500)).await;
        let now = size();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if begun.elapsed() > 2 * longest {
            break;
        }
    }
}

/// Everything that was seen and written.
pub(crate) fn gather(scene: &Scene, carriers: &[Sipp], caps: Vec<load::Cap>) -> Evidence {
    Evidence {
        calls: witness::read(carriers.iter().map(|sipp| ("carrier", sipp))),
        legs: witness::read(scene.centres.iter().map(|(name, sipp)| (*name, sipp))),
        rows: scene.rows(),
        spooled: scene.spooled(),
        counts: scene.counts(),
        deaths: scene.deaths.clone(),
        caps,
    }
}
