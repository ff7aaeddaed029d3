//! Resetting the count of a link: nothing is lost and nothing counted twice, whatever is written meanwhile.

use capconduit::auth::principal::Actor;
use capconduit::cdr::record::AttemptRecord;
use capconduit::clock::Clock;
use capconduit::id::{CampaignId, LinkId};
use capconduit::store::change::{Editor, Owner, Refusal};
use capconduit::store::links::{self, StoredLink};
use capconduit::store::{Db, records, snapshot};
use chrono::{DateTime, Duration, SubsecRound, Utc};

use crate::helpers::{Home, on_both, sql};
use crate::recording::{attempt, moment, record};

on_both!(
    a_reset_is_told_by_count_time_and_audit_and_not_by_version,
    what_ended_before_a_reset_is_counted_before_it_however_late_it_is_written,
    counts_hold_while_records_are_written_and_counts_reset,
);

const LINK: LinkId = LinkId(1);

/// A client, a campaign, and the link between them.
async fn a_link(home: &Home) {
    crate::recording::two_links(home).await;
    sql(home, "UPDATE clients SET sip = '{\"host\":\"203.0.113.7\"}'").await.expect("a client that can be reached");
}

async fn reset(home: &Home, db: &Db, expected: u64, at: DateTime<Utc>) -> Result<StoredLink, Refusal> {
    let realtime = home.realtime();
    let editor = Editor { db, realtime: &realtime, actor: Actor::System("cli"), at, owner: Owner::Anyone };
    links::reset_counter(&editor, CampaignId(1), LINK, expected, || at).await
}

async fn link(db: &Db) -> StoredLink {
    links::get(db, Owner::Anyone, CampaignId(1), LINK).await.expect("it is there")
}

async fn a_reset_is_told_by_count_time_and_audit_and_not_by_version(home: Home) {
    let db = home.migrated().await;
    a_link(&home).await;
    records::write(&db, &[record(1, vec![attempt(1, 1, true)]), record(2, vec![attempt(1, 1, true)])])
        .await
        .expect("written");
    let (before, revision) = (link(&db).await, snapshot::revision(&db).await.expect("read"));
    assert_eq!((before.current_total_calls, before.counted_since), (2, None));
    match reset(&home, &db, 1, moment(100)).await {
        Err(Refusal::Counter { actual }) => assert_eq!(actual, 2),
        other => panic!("it is refused: {other:?}"),
    }
    assert_eq!(link(&db).await, before, "nothing changed");
    let after = reset(&home, &db, 2, moment(100)).await.expect("reset");
    assert_eq!(link(&db).await, after);
    assert_eq!((after.current_total_calls, after.counted_since), (0, Some(moment(100))));
    assert_eq!((after.version, &after.values), (before.version, &before.values));
    assert_eq!(snapshot::revision(&db).await.expect("read"), revision + 1);
    // What a running controller counts by: its own sum does not shrink, the link's share of it that is over does.
    assert_eq!(snapshot::totals(&db).await.expect("read")[&LINK], 2);
    assert_eq!(counted_before(&db).await, 2);
    let lines = sql(&home, "SELECT action FROM audit WHERE action LIKE 'link.counter%'").await.expect("read");
    assert_eq!(lines, ["link.counter.reset"]);
    records::write(&db, &[record(3, vec![ended(1, 101)])]).await.expect("written");
    assert_eq!((link(&db).await.current_total_calls, counted_before(&db).await), (1, 2));
}

async fn what_ended_before_a_reset_is_counted_before_it_however_late_it_is_written(home: Home) {
    let db = home.migrated().await;
    a_link(&home).await;
    reset(&home, &db, 0, moment(1_000)).await.expect("reset");
    let revision = snapshot::revision(&db).await.expect("read");
    let late = [record(1, vec![ended(1, 999)]), record(2, vec![ended(1, 1_000)]), record(3, vec![ended(1, 5_000)])];
    records::write(&db, &late).await.expect("written");
    assert_eq!((link(&db).await.current_total_calls, counted_before(&db).await), (2, 1));
    assert_eq!(snapshot::totals(&db).await.expect("read")[&LINK], 3);
    assert!(snapshot::revision(&db).await.expect("read") > revision, "controllers take it over");
}

async fn counts_hold_while_records_are_written_and_counts_reset(home: Home) {
    const BATCHES: i64 = 60;
    let (one, two, three) = (home.migrated().await, home.connect().await, home.connect().await);
    a_link(&home).await;
    let clock = Clock::start();
    // Each batch has a call that ended just now, and one that waited for the batch after.
    let writing = async |db: &Db, from: i64| {
        let (mut all, mut late) = (Vec::new(), None);
        for n in 0..BATCHES {
            let [prompt, kept] = [0, 1].map(|k| {
                let ended_at = clock.now().wall.trunc_subsecs(6);
                record(from + n * 2 + k, vec![AttemptRecord { ended_at, ..attempt(1, 1, true) }])
            });
            let batch: Vec<_> = [Some(prompt), late.replace(kept)].into_iter().flatten().collect();
            records::write(db, &batch).await.expect("written");
            all.extend(batch);
        }
        all
    };
    let resetting = async {
        let mut resets = 0;
        while resets < 20 {
            let seen = link(&three).await.current_total_calls;
            let realtime = home.realtime();
            let (actor, at) = (Actor::System("cli"), clock.now().wall);
            let editor = Editor { db: &three, realtime: &realtime, actor, at, owner: Owner::Anyone };
            match links::reset_counter(&editor, CampaignId(1), LINK, seen, || clock.now().wall).await {
                Ok(_) => resets += 1,
                Err(Refusal::Counter { actual }) => assert_ne!(actual, seen),
                Err(other) => panic!("{other}"),
            }
        }
    };
    let (first, second, ()) = tokio::join!(writing(&one, 0), writing(&two, 1_000), resetting);
    let written = [first, second].concat();
    let after = link(&three).await;
    let since = after.counted_since.expect("it was reset");
    let counted = written.iter().filter(|call| call.attempts[0].ended_at >= since).count();
    assert_eq!(after.current_total_calls, counted as u64, "counted records since {since}");
    assert_eq!(snapshot::totals(&three).await.expect("read")[&LINK], written.len() as u64, "none lost, none twice");
}

/// A counted attempt that ended then.
fn ended(link: i64, micros: i64) -> AttemptRecord {
    AttemptRecord { ended_at: moment(0) + Duration::microseconds(micros), ..attempt(1, link, true) }
}

async fn counted_before(db: &Db) -> u64 {
    snapshot::load(db).await.expect("read").campaigns[&CampaignId(1)].links[0].counted_before
}
