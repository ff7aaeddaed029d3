//! The runs: worlds by seed, on every core, and mistakes that must be found.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::chance::Chance;
use super::faults::Faults;
use super::setting::Setting;
use super::world::{Log, Report, World};
use crate::mistakes::{Mistake, switch};

/// Callers of a world.
const CALLS: usize = 250;

fn world(seed: u64, log: Log) -> Report {
    World::new(seed, CALLS, log).run()
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Worlds one after another on two threads, from this seed on, until so many faulted calls have gone through them or something is wrong.
/// Returns what they came to, and the seed of the first wrong one.
fn run_until(faulted: usize, first: u64, mistake: Option<Mistake>) -> (Report, Option<(u64, Vec<String>)>) {
    let (next, done, wrong) = (AtomicU64::new(first), AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        switch(mistake);
        let (mut sum, mut found) = (Report::default(), None);
        while done.load(Ordering::Relaxed) < faulted && !wrong.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let report = world(seed, Log::Off);
            done.fetch_add(report.faulted, Ordering::Relaxed);
            sum.add(&report);
            if !report.wrong.is_empty() {
                wrong.store(true, Ordering::Relaxed);
                found = Some((seed, report.wrong));
            }
        }
        (sum, found)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().map(|thread| thread.join().expect("a world does not panic")).collect()
    });
    let mut sum = Report::default();
    results.iter().for_each(|(report, _)| sum.add(report));
    (sum, results.into_iter().filter_map(|(_, found)| found).min_by_key(|(seed, _)| *seed))
}

/// `just simulate` runs a million faulted calls through it, `just test` a few thousand.
#[test]
fn nothing_is_lost_and_no_cap_is_passed_whatever_happens() {
    if let Some(seed) = from_env("CAPCONDUIT_SIMULATE_SEED") {
        let report = world(seed, Log::Print);
        println!("{report}");
        assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
        return;
    }
    let faulted = from_env("CAPCONDUIT_SIMULATE_FAULTED").and_then(|it| usize::try_from(it).ok()).unwrap_or(4_000);
    let first = from_env("CAPCONDUIT_SIMULATE_FROM").unwrap_or(1);
    let (sum, wrong) = run_until(faulted, first, None);
    println!("{sum}");
    if let Some((seed, wrong)) = wrong {
        panic!("seed {seed} (`just simulate {seed}` shows it step by step):\n{}", wrong.join("\n"));
    }
}

/// How many faulted calls a mistake may hide in at most.
const HIDDEN_AT_MOST: usize = 300_000;

fn is_found(mistake: Mistake) {
    let (sum, wrong) = run_until(HIDDEN_AT_MOST, 1, Some(mistake));
    let (seed, wrong) = wrong.unwrap_or_else(|| panic!("{mistake:?} was not found in {sum}"));
    println!("{mistake:?} found after {sum}, seed {seed}: {}", wrong[0]);
}

macro_rules! found {
    ($($name:ident: $mistake:ident;)*) => {
        $(#[test]
        #[cfg_attr(debug_assertions, ignore = "it takes a build that is quick: `just simulate`")]
        fn $name() {
            is_found(Mistake::$mistake);
        })*
    };
}

found! {
    a_permit_given_back_before_its_leg_is_gone_is_found: ReleasedBeforeGone;
    a_permit_given_back_twice_is_found: ReleasedTwice;
    a_total_without_calls_in_flight_is_found: InFlightNotCounted;
    an_unknown_outcome_taken_for_a_failure_is_found: UnknownTakenForFailed;
    a_missed_end_that_is_not_repaired_is_found: MissedEndNotRepaired;
    an_arrival_told_twice_and_taken_for_two_calls_is_found: ArrivalTwice;
    stale_lists_compared_are_found: StaleListsCompared;
    a_call_adopted_without_its_permit_is_found: AdoptedWithoutPermit;
    an_orphan_without_its_permit_is_found: OrphanWithoutPermit;
    an_attempt_counted_again_by_the_next_run_is_found: CountedAgain;
    an_attempt_not_counted_by_the_next_run_is_found: NotCountedByNextRun;
    an_end_that_is_overwritten_is_found: EndOverwritten;
    a_dial_before_the_journal_has_it_is_found: DialledBeforeKept;
    an_answer_that_crosses_a_hang_up_and_is_ignored_is_found: CrossingAnswerIgnored;
    a_record_that_is_not_written_is_found: NoRecordWithoutDial;
    a_found_answer_taken_for_a_seen_one_is_found: FoundTakenForSeen;
    a_silent_node_taken_for_heard_is_found: SilenceTakenForHeard;
}

#[test]
fn in_a_world_without_faults_every_call_has_its_record() {
    let mut sum = Report::default();
    for seed in 1..=10 {
        let mut chance = Chance::new(seed);
        let mut setting = Setting::draw(&mut chance, CALLS);
        setting.faults = Faults::none();
        let report = World::with(seed, chance, setting, Log::Off).run();
        assert!(report.wrong.is_empty(), "seed {seed}: {}", report.wrong.join("\n"));
        sum.add(&report);
    }
    assert_eq!((sum.calls, sum.faulted, sum.lives, sum.unrecorded), (10 * CALLS, 0, 10, 0));
    assert!(sum.answered > 500, "{sum}");
}

/// Every step of every call, comparison and adoption of a world, and each hold of the lock: what it visits is the same among ten thousand
/// links more.
#[test]
fn no_step_visits_more_of_the_book_where_there_are_more_links() {
    let visits = |seed, idle| {
        let mut chance = Chance::new(seed);
        let mut setting = Setting::draw(&mut chance, CALLS);
        setting.add_idle(idle, &mut Chance::new(1));
        let report = World::with(seed, chance, setting, Log::Off).run();
        assert!(report.wrong.is_empty(), "seed {seed}: {}", report.wrong.join("\n"));
        report.visits
    };
    let mut holds = 0;
    for seed in 1..=4 {
        let (few, many) = (visits(seed, 10), visits(seed, 10_000));
        holds += few.len();
        assert_eq!(few, many, "seed {seed}");
    }
    assert!(holds > 1_000, "something happened: {holds}");
}

#[test]
fn the_same_seed_is_the_same_world_step_by_step() {
    for seed in [3, 4] {
        let (one, other) = (world(seed, Log::Keep(Vec::new())), world(seed, Log::Keep(Vec::new())));
        // The first line shows the setting, whose maps have no order.
        let differs = one.log.iter().zip(&other.log).skip(1).find(|(one, other)| one != other);
        assert_eq!(differs, None);
        assert_eq!(one.log.len(), other.log.len());
        assert!(one.log.len() > 2_000, "something happened");
    }
}

/// For whoever works on the simulation: how many of so many worlds are wrong, and how.
#[test]
fn many() {
    let Some(worlds) = from_env("CAPCONDUIT_WORLDS") else { return };
    let next = AtomicU64::new(from_env("CAPCONDUIT_SIMULATE_FROM").unwrap_or(1));
    let last = next.load(Ordering::Relaxed) + worlds;
    let run = || {
        let mut sum = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return sum;
            }
            let report = world(seed, Log::Off);
            sum.add(&report);
            for wrong in &report.wrong {
                println!("SEED {seed}: {wrong}");
            }
        }
    };
    let mut sum = Report::default();
    std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().for_each(|thread| sum.add(&thread.join().expect("a world does not panic")));
    });
    println!("{sum}");
}
