use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::fake_ari::{Behaviour, CallerEnd, FakeAri, FakeCall, Fault};
use self::patience::PATIENCE;
use crate::ari::{Node, testing};
use crate::calls::dispatcher::{Bounds, Dispatcher};
use crate::calls::facts::Limits;
use crate::calls::intake::Intake;
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::cdr::journal::{Entry, Journal, Left};
use crate::cdr::record::{AttemptOutcome, CallRecord};
use crate::clock::Clock;
use crate::config::{Config, Transport};
use crate::panics;
use crate::routing::book::Book;
use crate::routing::decision::tests::{campaign, client, link, snapshot};
use crate::routing::snapshot::{CountOn, Link};

#[path = "../../../tests/support/fake_ari.rs"]
mod fake_ari;
#[path = "../../../tests/support/patience.rs"]
mod patience;

const DID: &str = "+442071234567";
const APP: &str = "capconduit-1";

/// Lets the call of this caller panic: `<what happened> <state after it>`.
fn set_trap(caller: &str, at: &str) {
    panics::set_trap(&format!("{caller} {at}"), 1);
}

/// A dispatcher and a fake Asterisk; records come out of what is elsewhere the journal.
struct Site {
    asterisk: FakeAri,
    registry: Arc<Registry>,
    records: mpsc::UnboundedReceiver<CallRecord>,
    shutdown: CancellationToken,
    _health: watch::Receiver<Vec<crate::calls::dispatcher::NodeHealth>>,
}

impl Site {
    async fn start(links: &[Link]) -> Self {
        let asterisk = FakeAri::start().await;
        (1..=9).for_each(|n| asterisk.endpoint(&format!("client-{n}"), Behaviour::answers(0)));
        let config = Config::from_layers(None, []).expect("the defaults are valid");
        let node = asterisk.node("pbx", "capconduit", 1, Transport::Auto);
        let (clock, shutdown) = (Clock::start(), CancellationToken::new());
        let clients: Vec<_> = (1..=9).map(client).collect();
        let registry = Arc::new(Registry::new(Book::default(), snapshot(campaign(links), &clients), 16));
        let (journal, mut entries, standing) = Journal::new();
        let (sender, records) = mpsc::unbounded_channel();
        // Keeps nothing, says that it does, and passes the records on.
        tokio::spawn(async move {
            while let Some(entry) = std::future::poll_fn(|context| entries.poll_recv(context)).await {
                match entry {
                    Entry::Finished(record) => drop(sender.send(*record)),
                    Entry::Open { kept: Some(kept), .. } => drop(kept.send(())),
                    _ => {}
                }
            }
            drop(standing);
        });
        let limits = Limits::new(&config.calls, config.rejections);
        let context = Context { registry: Arc::clone(&registry), journal, clock, limits: limits.into() };
        let (events, queue) = mpsc::channel(1000);
        let handle =
            Node::spawn(0, &node.ari(Duration::from_secs(2)), &events, clock.ari(), &shutdown).expect("a good node");
        let (health, healths) = watch::channel(Vec::new());
        let dispatcher = Dispatcher::new(
            vec![(handle, Intake::new(&node))],
            context,
            Bounds::new(&config.calls).into(),
            health,
            Left::default(),
        );
        tokio::spawn(dispatcher.run(queue, shutdown.clone()));
        asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat != "0").await;
        Self { asterisk, registry, records, shutdown, _health: healths }
    }

    fn call(&self, caller: &str) -> FakeCall {
        self.asterisk.incoming(APP, DID, caller)
    }

    /// The one record of the one call that has ended; everything of it is gone.
    async fn record(&mut self) -> CallRecord {
        let record = tokio::time::timeout(PATIENCE, self.records.recv()).await;
        let record = record.expect("it comes").expect("the dispatcher lives");
        let gone = async {
            while self.registry.view(record.call_id).is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it is forgotten");
        let held = self.registry.book().ledger.held().filter(|((call, _), _)| *call == record.call_id).count();
        assert_eq!(held, 0, "no permit outlives the call");
        assert!(self.records.try_recv().is_err(), "one record");
        record
    }

    async fn finish(mut self) {
        self.asterisk.until_empty().await;
        assert!(self.registry.book().ledger.is_empty());
        assert_eq!(self.registry.live(), 0);
        assert!(self.records.try_recv().is_err(), "one record for each call");
        self.shutdown.cancel();
    }
}

fn outcomes(record: &CallRecord) -> Vec<(AttemptOutcome, bool)> {
    record.attempts.iter().map(|attempt| (attempt.outcome, attempt.counted)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_at_any_step_ends_that_call_alone_with_one_record() {
    use AttemptOutcome as O;
    let mut site = Site::start(&[link(1)]).await;
    let other = site.call("+447700900001");
    other.answered().await;
    for (n, (at, sip, outcome)) in [
        ("arrived selecting", 503, vec![]),
        ("routed(1 candidates) dialling(1)", 503, vec![(O::Cancelled, false)]),
        ("show dialling(1)", 503, vec![(O::Cancelled, false)]),
        // Its dial was on its way out: nobody saw whether it was answered.
        ("leg_ready(1) dialling(1)", 503, vec![(O::Unknown, true)]),
        ("ringing(1) dialling(1)", 503, vec![(O::Unknown, true)]),
        ("answered(1) talking(1)", 503, vec![(O::Unknown, true)]),
        ("caller_up talking(1)", 200, vec![(O::Answered, true)]),
    ]
    .into_iter()
    .enumerate()
    {
        let caller = format!("+4477009001{n:02}");
        set_trap(&caller, at);
        let answers = at.ends_with("talking(1)");
        let behaviour = if answers { Behaviour::answers(0) } else { Behaviour::no_answer() };
        site.asterisk.endpoint("client-1", behaviour);
        let ended = site.call(&caller).ended().await;
        assert!(matches!(ended, CallerEnd::Ended { sip: told, .. } if told == sip), "{at}: {ended:?}");
        let record = site.record().await;
        assert_eq!((record.ending.as_str(), outcomes(&record)), ("failed", outcome), "{at}");
        assert_eq!(record.sip_code, Some(i16::try_from(sip).expect("small")), "{at}");
        assert_eq!(record.caller_raw.as_deref(), Some(caller.as_str()));
        assert!(record.timeline.text().contains("failed inside the controller"), "{at}");
    }
    assert_eq!(other.end(), None, "the others talk on");
    other.hang_up();
    assert_eq!(site.record().await.ending, "completed");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_panic_a_permit_is_kept_until_its_leg_is_gone() {
    let only = Link { max_concurrency: Some(1), count_on: CountOn::Attempted, ..link(1) };
    let mut site = Site::start(&[only]).await;
    site.asterisk.endpoint("client-1", Behaviour::answers(300));
    set_trap("+447700900200", "caller_up talking(1)");
    let call = site.call("+447700900200");
    let leg = site.asterisk.until_request("dial").await.path.replace("/dial", "");
    site.asterisk.fault(&format!("DELETE channels/{}", call.id()), u32::MAX, Fault::Ignore);
    site.asterisk.fault(&format!("DELETE {leg}"), u32::MAX, Fault::Ignore);
    call.answered().await;
    site.asterisk.until_stats("client-1", "it was answered", |stats| stats.answered == 1).await;
    // The hang-ups are lost: the client's phone is off the hook, and its slot is taken.
    assert_eq!(site.call("+447700900201").ended().await, CallerEnd::Ended { sip: 486, cause: 17 });
    assert_eq!((call.end(), site.registry.book().ledger.len()), (None, 1));
    assert_eq!(site.record().await.ending, "all_full");
    site.asterisk.mend();
    assert!(matches!(call.ended().await, CallerEnd::Ended { sip: 200, .. }), "it is asked for again");
    let record = site.record().await;
    assert_eq!((record.ending.as_str(), record.attempts.len()), ("failed", 1));
    let stats = site.asterisk.stats("client-1");
    assert_eq!((stats.dialled, stats.live, stats.max_live), (1, 0, 1));
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_had_ended_before_the_panic_keeps_its_ending_and_its_one_record() {
    let mut site = Site::start(&[link(1)]).await;
    for (n, at) in ["caller_gone clearing", "show clearing", "show done"].into_iter().enumerate() {
        let caller = format!("+4477009003{n:02}");
        set_trap(&caller, at);
        let call = site.call(&caller);
        call.answered().await;
        call.hang_up();
        let record = site.record().await;
        assert_eq!((record.ending.as_str(), outcomes(&record)), ("completed", vec![(AttemptOutcome::Answered, true)]));
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_cannot_be_told_leaves_a_record_of_the_arrival() {
    let mut site = Site::start(&[link(1)]).await;
    // The first panic brings the guard in, the second one is the guard's own.
    set_trap("+447700900400", "caller_up talking(1)");
    set_trap("+447700900400", "record talking(1)");
    site.call("+447700900400").ended().await;
    let record = site.record().await;
    assert_eq!((record.ending.as_str(), record.caller_raw.as_deref()), ("failed", Some("+447700900400")));
    assert!(record.attempts.is_empty());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errands_and_connections_that_panic_are_made_again() {
    testing::panic_in("capconduit-1", 1);
    panics::set_trap("comparing pbx", 1);
    panics::set_trap("the heartbeat of 0", 1);
    let mut site = Site::start(&[link(1)]).await;
    let call = site.call("+447700900500");
    call.answered().await;
    call.hang_up();
    assert_eq!(site.record().await.ending, "completed");
    assert_eq!(testing::panics_left("capconduit-1"), 0);
    for trap in ["comparing pbx", "the heartbeat of 0"] {
        assert_eq!(panics::left_of(trap), 0, "{trap}");
    }
    site.finish().await;
}
