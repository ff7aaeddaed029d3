//! What it costs calls that people look on: streams of events, and lists of live calls.

use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::calls::contest::Contest;
use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::site::ANSWERED;
use crate::calls::stats::{Spread, percentile};
use crate::harness::person::{ADMIN_PASSWORD, Person};

/// People with a stream open.
const STREAMS: usize = 3;
/// How often the list of live calls is read.
const EVERY: Duration = Duration::from_millis(100);

/// 20 calls a second, with and without.
pub(crate) async fn listeners(contest: &mut Contest, wanted: Wanted) -> Section {
    let how = format!(
        "INVITE to 200 OK in ms, 20 calls/s, {} rounds of {} s each in turns: alone, and while {STREAMS} streams of events are read and the live calls are listed {} times a second.",
        wanted.rounds,
        wanted.seconds,
        1_000 / EVERY.as_millis()
    );
    let mut section =
        Section::new("Live API beside calls", &how, &["", "p50", "p99", "controller's CPU for each call, ms"]);
    let who = contest.contestants.iter().find(|who| who.is_ours()).expect("a controller").clone();
    let api = contest.sites[who.site].controller.api().to_owned();
    let admin = std::rc::Rc::new(Person::log_in(&api, "admin", ADMIN_PASSWORD).await);
    let mut all = [(Vec::new(), Vec::new(), Vec::new()), (Vec::new(), Vec::new(), Vec::new())];
    for _ in 0..wanted.rounds {
        for (watched, figures) in all.iter_mut().enumerate() {
            let tasks = if watched == 1 { watch(&admin) } else { Vec::new() };
            let size = (wanted.seconds * 20, 20.0);
            let block = contest.block(&who, ANSWERED, size, Duration::from_secs(1)).await;
            tasks.iter().for_each(JoinHandle::abort);
            contest.centres.alpha.take();
            let mut set_ups = block.set_ups();
            figures.0.push(percentile(&mut set_ups, 0.5));
            figures.1.push(percentile(&mut set_ups, 0.99));
            figures.2.push(block.per_call(block.controller));
        }
    }
    for (name, (p50, p99, cpu)) in ["alone", "looked on"].iter().zip(&all) {
        section.line([(*name).to_owned(), Spread::of(p50).told(2), Spread::of(p99).told(2), Spread::of(cpu).told(2)]);
    }
    let added = Spread::of(&all[1].0.iter().zip(&all[0].0).map(|(with, without)| with - without).collect::<Vec<_>>());
    section.verdict("p50 added at most 1 ms", format!("{} ms", added.told(2)), added.median <= 1.0);
    section
}

fn watch(admin: &std::rc::Rc<Person>) -> Vec<JoinHandle<()>> {
    let mut tasks: Vec<JoinHandle<()>> = (0..STREAMS)
        .map(|_| {
            let admin = admin.clone();
            // Ends with the block: the stream itself does not.
            tokio::task::spawn_local(async move {
                let _never = admin.send(Method::GET, "/live/events", None).await;
            })
        })
        .collect();
    let admin = admin.clone();
    tasks.push(tokio::task::spawn_local(async move {
        loop {
            let (status, _) = admin.send(Method::GET, "/live/calls", None).await;
            assert!(status == 200, "the live calls cannot be listed: {status}");
            sleep(EVERY).await;
        }
    }));
    tasks
}
