//! Finding calls: every filter against the same rule in plain code, page by page.

use capconduit::cdr::record::{AttemptOutcome, CallRecord};
use capconduit::cdr::talk;
use capconduit::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use capconduit::store::calls::{self, Filter, Position};
use capconduit::store::{Db, records};
use chrono::Duration;
use futures_util::TryStreamExt;

use crate::helpers::{Home, on_both, reports};
use crate::recording::{attempt, moment, record};

on_both!(every_filter_finds_what_it_says, pages_neither_skip_nor_repeat, everything_comes_once_in_batches);

/// Calls that differ in everything a filter looks at; several arrive in the same microsecond.
pub(crate) fn varied(count: i64) -> Vec<CallRecord> {
    (0..count).map(one_of_many).collect()
}

fn one_of_many(n: i64) -> CallRecord {
    let answered = n % 3 == 0;
    let mut call = record(n, vec![]);
    call.arrived_at = moment(0) + Duration::milliseconds(n / 4 * 250);
    call.seller_id = (n % 7 != 0).then_some(UserId(n % 2));
    call.seller_name = call.seller_id.map(|id| format!("Seller {id}"));
    call.did_id = Some(DidId(n % 5));
    call.dialled_number = (n % 5 != 0).then(|| format!("+44207123450{}", n % 5));
    call.dialled_raw = format!("0207123450{}", n % 5);
    call.caller_number = (n % 4 != 0).then(|| format!("+44777000000{}", n % 4));
    call.campaign_id = (n % 6 != 0).then_some(CampaignId(n % 3));
    call.campaign_name = call.campaign_id.map(|id| format!("Campaign {id}"));
    call.ending = if answered { "completed" } else { ["all_full", "nobody_answered"][usize::from(n % 2 == 0)] }.into();
    let mut first = attempt(1, n % 4 + 1, answered && n % 2 == 0);
    first.client_id = ClientId(n % 2 + 1);
    first.client_name = format!("Client {}", first.client_id);
    call.attempts = vec![first];
    if n % 2 == 1 {
        let mut second = attempt(2, n % 4 + 5, answered);
        second.client_id = ClientId(3);
        second.client_name = "Client 3".into();
        call.attempts.push(second);
    }
    if answered {
        let last = call.attempts.last().expect("each has one").clone();
        call.answered_at = Some(call.arrived_at + Duration::seconds(5));
        call.talk_ms = n * 1000;
        call.ended_at = call.arrived_at + Duration::seconds(5 + n);
        if n % 4 == 0 {
            // Nobody saw when that was: their talk may have been shorter, and longer.
            let answered = call.arrived_at + Duration::seconds(5);
            (call.answered_after, call.answered_before) =
                (Some(answered - Duration::seconds(2)), Some(answered + Duration::seconds(3)));
        }
        (call.answered_link_id, call.answered_client_id) = (Some(last.link_id), Some(last.client_id));
        call.answered_client_name = Some(last.client_name);
    } else if n % 10 == 1 {
        // It may have been answered.
        (call.answered_after, call.answered_before) = (Some(call.arrived_at), Some(call.ended_at));
        (call.ended_after, call.ended_before) = (Some(call.arrived_at), Some(call.ended_at));
        call.attempts.iter_mut().for_each(|attempt| attempt.outcome = AttemptOutcome::Unknown);
    }
    call
}

/// The rule in plain code.
fn matches(filter: &Filter, call: &CallRecord) -> bool {
    fn holds<T>(wanted: Option<&T>, rule: impl FnOnce(&T) -> bool) -> bool {
        wanted.is_none_or(rule)
    }
    holds(filter.from.as_ref(), |at| call.arrived_at >= *at)
        && holds(filter.to.as_ref(), |at| call.arrived_at < *at)
        && holds(filter.owner.as_ref(), |id| call.seller_id == Some(*id))
        && holds(filter.seller.as_ref(), |id| call.seller_id == Some(*id))
        && holds(filter.did.as_ref(), |id| call.did_id == Some(*id))
        && holds(filter.dialled.as_ref(), |number| call.dialled_number.as_ref() == Some(number))
        && holds(filter.caller.as_ref(), |number| call.caller_number.as_ref() == Some(number))
        && holds(filter.campaign.as_ref(), |id| call.campaign_id == Some(*id))
        && holds(filter.ending.as_ref(), |ending| call.ending == *ending)
        && holds(filter.answered.as_ref(), |yes| call.answered_at.is_some() == *yes)
        && holds(filter.min_talk_ms.as_ref(), |least| talk::bounds(call).min_ms >= *least)
        && ((filter.client.is_none() && filter.link.is_none())
            || call.attempts.iter().any(|attempt| {
                holds(filter.client.as_ref(), |id| attempt.client_id == *id)
                    && holds(filter.link.as_ref(), |id| attempt.link_id == *id)
            }))
}

pub(crate) fn filters() -> Vec<Filter> {
    let any = Filter::default;
    vec![
        any(),
        Filter { from: Some(moment(1_000_000)), ..any() },
        Filter { to: Some(moment(1_000_000)), ..any() },
        Filter { from: Some(moment(500_000)), to: Some(moment(1_250_000)), ..any() },
        Filter { seller: Some(UserId(1)), ..any() },
        Filter { owner: Some(UserId(1)), ..any() },
        Filter { owner: Some(UserId(1)), seller: Some(UserId(0)), ..any() },
        Filter { did: Some(DidId(2)), ..any() },
        Filter { dialled: Some("+442071234503".into()), ..any() },
        Filter { caller: Some("+447770000001".into()), ..any() },
        Filter { campaign: Some(CampaignId(2)), ..any() },
        Filter { client: Some(ClientId(3)), ..any() },
        Filter { link: Some(LinkId(3)), ..any() },
        Filter { client: Some(ClientId(3)), link: Some(LinkId(2)), ..any() },
        Filter { ending: Some("all_full".into()), ..any() },
        Filter { answered: Some(true), ..any() },
        Filter { answered: Some(false), ..any() },
        Filter { min_talk_ms: Some(9_000), ..any() },
        // One talk was as long most likely, and is not as long for certain.
        Filter { min_talk_ms: Some(10_000), ..any() },
        Filter { min_talk_ms: Some(10_000), link: Some(LinkId(1)), ..any() },
        Filter { seller: Some(UserId(0)), answered: Some(true), client: Some(ClientId(1)), ..any() },
        Filter { caller: Some("' OR 1=1 --".into()), ..any() },
    ]
}

fn ids(calls: &[CallRecord]) -> Vec<CallId> {
    calls.iter().map(|call| call.call_id).collect()
}

/// The whole list, `limit` calls at a time.
async fn paged(db: &Db, filter: &Filter, limit: usize) -> Vec<CallRecord> {
    let reports = reports(db);
    let mut found: Vec<CallRecord> = Vec::new();
    loop {
        let after = found.last().map(Position::of);
        let page = calls::page(&reports, UserId(1), filter, after, u64::try_from(limit).expect("small"))
            .await
            .expect("a page");
        let last = page.len() < limit;
        found.extend(page);
        if last {
            return found;
        }
    }
}

async fn every_filter_finds_what_it_says(home: Home) {
    let db = home.migrated().await;
    let mut all = varied(40);
    records::write(&db, &all).await.expect("written");
    all.sort_by_key(|call| std::cmp::Reverse((call.arrived_at, call.call_id)));
    for filter in filters() {
        let expected: Vec<_> = all.iter().filter(|call| matches(&filter, call)).cloned().collect();
        assert!(expected.len() < all.len() || filter == Filter::default(), "{filter:?} filters nothing");
        assert_eq!(paged(&db, &filter, 50).await, expected, "{filter:?}");
    }
}

async fn pages_neither_skip_nor_repeat(home: Home) {
    let db = home.migrated().await;
    let all = varied(40);
    // Written in another order than they arrived in, and more of them arrive while the list is read: newer ones, on its first page.
    let (late, early): (Vec<_>, Vec<_>) = all.into_iter().rev().partition(|call| call.arrived_at >= moment(2_000_000));
    records::write(&db, &early).await.expect("written");
    let whole = paged(&db, &Filter::default(), 50).await;
    for limit in [1, 3, 32, 33] {
        assert_eq!(ids(&paged(&db, &Filter::default(), limit).await), ids(&whole), "{limit} at a time");
    }
    let reports = reports(&db);
    let first = calls::page(&reports, UserId(1), &Filter::default(), None, 10).await.expect("a page");
    records::write(&db, &late).await.expect("written");
    let rest =
        calls::page(&reports, UserId(1), &Filter::default(), first.last().map(Position::of), 50).await.expect("a page");
    assert_eq!([ids(&first), ids(&rest)].concat(), ids(&whole));
}

async fn everything_comes_once_in_batches(home: Home) {
    let db = home.migrated().await;
    records::write(&db, &varied(1_000)).await.expect("written");
    let reports = reports(&db);
    let filter = Filter { client: Some(ClientId(1)), ..Filter::default() };
    for (filter, expected) in [(Filter::default(), vec![500, 500]), (filter, vec![500])] {
        let batches: Vec<_> = calls::all(reports.clone(), filter.clone()).try_collect().await.expect("all of it");
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        assert_eq!(ids(&batches.concat()), ids(&paged(&db, &filter, 400).await));
    }
    let nothing = Filter { ending: Some("no such".into()), ..Filter::default() };
    assert!(calls::all(reports, nothing).try_collect::<Vec<_>>().await.expect("read").is_empty());
}
