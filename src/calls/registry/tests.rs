use super::*;
use crate::calls::locked::SLICE;
use crate::id::CampaignId;
use crate::routing::breaker::{At, Sign};
use crate::routing::decision::tests::{campaign, client, dialled, link, node, second, snapshot};
use crate::routing::snapshot::{Campaign, Client};
use crate::routing::usage::UseChange;

fn registry() -> Registry {
    Registry::new(Book::default(), snapshot(campaign(&[link(1)]), &[client(1)]), 16)
}

#[test]
fn a_call_whose_task_is_gone_has_no_record_to_come() {
    let (registry, call) = (registry(), CallId(uuid::Uuid::nil()));
    let inputs = registry.register(call, 0, 0, "1.1").expect("it is new");
    assert_eq!(registry.to_be_recorded(0, "1.1"), Some(call));
    drop(inputs);
    assert_eq!(registry.to_be_recorded(0, "1.1"), None);
}

#[test]
fn a_report_of_unknown_outcome_is_counted_at_once_and_its_repeat_no_second_time() {
    let registry = registry();
    let counted = || registry.book().ledger.link_counted(&link(1));
    let one = Some(LinkId(1));
    // It was written after all, or was not; each time twice of unknown outcome first.
    for (channel, repeat, total) in [("1.1", None, 1), ("1.2", one, 2)] {
        registry.reported("pbx", channel, one, false);
        registry.reported("pbx", channel, one, false);
        assert_eq!(counted(), total);
        registry.reported("pbx", channel, repeat, true);
        registry.reported("pbx", channel, None, true);
        assert_eq!(counted(), total);
    }
    registry.reported("pbx", "1.3", one, true);
    assert_eq!((counted(), registry.unsure.len()), (3, 0));
}

#[test]
fn a_comparison_wakes_only_calls_to_which_it_may_be_news() {
    let registry = registry();
    let [talks, rings, owes] = [1, 2, 3].map(|n| CallId(uuid::Uuid::from_u128(n)));
    let mut inputs = [talks, rings, owes].map(|call| registry.register(call, 0, 0, "1").expect("it is new"));
    registry.heed(talks, Heed::Ends);
    registry.heed(rings, Heed::Answers);
    let mut told = |least| {
        [talks, rings, owes].into_iter().for_each(|call| registry.tell_found(call, least, || Input::NodeUp));
        inputs.each_mut().map(|inputs| inputs.try_recv().is_ok())
    };
    assert_eq!(told(Heed::Everything), [false, false, true]);
    assert_eq!(told(Heed::Answers), [false, true, true]);
    assert_eq!(told(Heed::Ends), [true, true, true]);
}

/// Of ten thousand links and of ten, an act visits the same; a list of all of them is gone through in slices.
#[test]
fn what_is_visited_under_the_lock_does_not_grow_with_the_links() {
    let visits = |links: i64| {
        let all: Vec<_> = (1..=links).map(link).collect();
        let campaigns = all.chunks(10).zip(1..).map(|(links, n)| {
            (CampaignId(n), Arc::new(Campaign { id: CampaignId(n), links: links.to_vec(), ..campaign(&[]) }))
        });
        let clients = (1..=links).map(|n| (ClientId(n), Arc::new(client(n))));
        let furnish = |limit| Snapshot {
            campaigns: campaigns.clone().collect(),
            clients: clients
                .clone()
                .map(|(id, it)| (id, Arc::new(Client { max_concurrency: limit, ..(*it).clone() })))
                .collect(),
            ..snapshot(campaign(&[]), &[])
        };
        let totals: HashMap<LinkId, u64> = (1..=links).map(|n| (LinkId(n), 1)).collect();
        let registry = Registry::new(Book::new(totals.clone(), Terms::default()), furnish(None), 16);
        let (snapshot, node, call) = (registry.snapshot().clone(), node(), CallId(uuid::Uuid::nil()));
        let (at, mut seen) = (At { node: &node, now: second(1) }, Vec::new());
        let mut note = |registry: &Registry, act: &'static str| seen.push((act, registry.take_visits()));
        let mut news = registry.listen();
        note(&registry, "listen");
        let (decision, _) = registry.book().admit(&snapshot, &dialled(), at, (call, 1));
        note(&registry, "admit");
        registry.book().ledger.release((call, 1), false);
        let plan = decision.candidates.expect("it is routed");
        registry.book().take_next(&snapshot, CampaignId(1), (&plan, 1), at, (call, 2));
        note(&registry, "fail over");
        registry.book().note(at, ClientId(2), (call, 2), Sign::Alive);
        registry.permits_of(&[call]);
        note(&registry, "look at its permits");
        drop(registry.part(&snapshot.campaigns[&CampaignId(1)], &[Arc::clone(&node)]));
        note(&registry, "preview");
        registry.announce_use();
        assert!(matches!(news.try_recv(), Ok(News::Use(changes)) if changes.len() == 3));
        note(&registry, "announce");
        registry.book().ledger.release((call, 2), true);
        note(&registry, "release");
        // And what concerns all of them.
        let longest = |registry: &Registry| registry.take_visits().into_iter().max().unwrap_or(0);
        let raised: Vec<_> = totals.iter().map(|(link, counted)| (*link, counted + 5)).collect();
        registry.raise_totals(&raised);
        let idle = registry.book().ledger.idle().expect("nothing is held");
        registry.settle_totals(&raised, idle);
        registry.swap_snapshot(furnish(Some(7)));
        registry.announce_use();
        assert!(matches!(news.try_recv(), Ok(News::Use(changes)) if changes.len() as i64 == 2 * links + 1));
        assert!(longest(&registry) <= 4 * SLICE, "in slices");
        drop(news);
        registry.announce_use();
        note(&registry, "nobody listens");
        seen
    };
    let (few, many) = (visits(10), visits(10_000));
    assert_eq!(few, many);
    assert!(few.iter().all(|(_, visits)| !visits.is_empty()), "{few:?}");
}

#[test]
fn a_listener_is_told_what_changes_from_its_first_moment_on() {
    let registry = registry();
    registry.book().ledger.count(LinkId(1));
    registry.announce_use();
    let totals = |news: &mut broadcast::Receiver<News>| match news.try_recv() {
        Ok(News::Use(changes)) => match changes[..] {
            [UseChange::Link { total_used, .. }] => Some(total_used),
            _ => panic!("{changes:?}"),
        },
        _ => None,
    };
    for _ in 0..2 {
        let mut news = registry.listen();
        let before = registry.book().ledger.link_counted(&link(1));
        registry.book().ledger.count(LinkId(1));
        registry.announce_use();
        assert_eq!(totals(&mut news), Some(before + 1));
        registry.announce_use();
        assert_eq!(totals(&mut news), None, "once");
        drop(news);
        registry.book().ledger.count(LinkId(1));
        registry.announce_use();
    }
}
