//! Connections: first words, silence, loss, overflow, and coming back.

use std::time::Duration;

use capconduit::ari::{DISALLOWED_EVENTS, DownReason, Error, Event, Listing, Node, NodeEventKind, Request};
use capconduit::config::Transport;

use crate::fake_ari::{FakeAri, Fault, Via};
use crate::{PATIENCE, REQUEST_TIMEOUT, Rig};

/// An event of no importance that reaches the consumer.
const NOISE: &str = r#"{"type":"ChannelTransfer","timestamp":"2026-11-22T10:00:00.000+0000","channel":{"odd":[]}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_is_set_on_every_connection() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let expected: Vec<String> = DISALLOWED_EVENTS.iter().map(|&kind| kind.to_owned()).collect();
    assert_eq!(rig.fake.filter("cc-1"), (1, expected.clone()));
    rig.fake.drop_sockets();
    assert_eq!(rig.expect_down().await, DownReason::Lost);
    rig.expect_up().await;
    assert_eq!(rig.fake.filter("cc-1"), (2, expected));
    rig.node.lane(0).send(Request::GetInfo).await.expect("requests work again");
}

#[tokio::test(flavor = "multi_thread")]
async fn up_is_the_first_word_even_when_events_come_before_the_filter_is_set() {
    let fake = FakeAri::start().await;
    fake.fault("PUT applications", 1, Fault::Delay(Duration::from_millis(200)));
    let mut rig = Rig::over(fake, Transport::Websocket, REQUEST_TIMEOUT, 64);
    let call = loop {
        // The socket connects while the filter is still on its way.
        if rig.fake.is_connected("cc-1") {
            break rig.fake.incoming("cc-1", "100", "200");
        }
        tokio::task::yield_now().await;
    };
    assert!(!rig.node.is_up(0));
    rig.expect_up().await;
    assert!(matches!(rig.event().await, Event::StasisStart { channel, .. } if channel.id == call.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_cannot_be_set_is_a_connection_that_never_came_up() {
    let fake = FakeAri::start().await;
    fake.fault("PUT applications", 2, Fault::Status(503));
    let mut rig = Rig::over(fake, Transport::Websocket, REQUEST_TIMEOUT, 64);
    rig.expect_up().await;
    assert_eq!(rig.fake.filter("cc-1").0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_found_within_three_seconds() {
    let mut rig = Rig::up(Transport::Websocket).await;
    rig.fake.freeze_sockets();
    let pending = rig.node.lane(0).send(Request::GetInfo);
    // After `DEAD_AFTER` in ari/connection.rs, where it is held against the three seconds.
    assert_eq!(rig.expect_down().await, DownReason::Silent);
    assert!(matches!(pending.await, Err(Error::OutcomeUnknown(_))));
    rig.expect_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_connection_that_answers_pings_stays() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let quiet = tokio::time::timeout(Duration::from_secs(4), async {
        while matches!(rig.next().await, NodeEventKind::Event(Event::Other { .. })) {}
    });
    assert!(quiet.await.is_err(), "the connection was given up");
    assert!(rig.node.is_up(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_answers_requests_while_the_consumer_sleeps() {
    let capacity = 100;
    let mut rig = Rig::over(FakeAri::start().await, Transport::Websocket, REQUEST_TIMEOUT, capacity);
    rig.expect_up().await;
    for _ in 0..capacity {
        rig.fake.emit_raw("cc-1", NOISE);
    }
    // The queue is full to the brim, and nobody reads it.
    rig.node.lane(0).send(Request::GetInfo).await.expect("an answer");
    assert_eq!(rig.events.len(), capacity);
    assert!(rig.node.is_up(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn overflow_drops_the_socket_and_comes_back_when_drained() {
    let capacity = 100;
    let mut rig = Rig::over(FakeAri::start().await, Transport::Websocket, REQUEST_TIMEOUT, capacity);
    rig.expect_up().await;
    for _ in 0..capacity * 2 {
        rig.fake.emit_raw("cc-1", NOISE);
    }
    while rig.node.is_up(0) {
        tokio::task::yield_now().await;
    }
    // Nobody drains: it stays away, and new calls take the dialplan's fallback.
    assert_eq!(rig.events.len(), capacity);
    assert_eq!(rig.fake.filter("cc-1").0, 1);
    for _ in 0..capacity {
        assert!(matches!(rig.next().await, NodeEventKind::Event(Event::Other { .. })), "what was queued is not lost");
    }
    assert_eq!(rig.expect_down().await, DownReason::Lagged);
    rig.expect_up().await;
    assert_eq!(rig.fake.filter("cc-1").0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_events_and_nonsense_pass_without_harm() {
    let mut rig = Rig::up(Transport::Websocket).await;
    for text in ["", "nonsense", "[]", "{}", r#"{"type":7}"#, r#"{"type":"StasisStart"}"#] {
        rig.fake.emit_raw("cc-1", text);
    }
    rig.fake.emit_raw("cc-1", r#"{"type":"Brand\u004eew","timestamp":{"not":"a time"},"channel":3}"#);
    let brand_new = Event::Other { timestamp: None, kind: "BrandNew".to_owned() };
    assert!(matches!(rig.next().await, NodeEventKind::Event(event) if event == brand_new));
    assert!(rig.node.is_up(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_over_application_is_given_up_and_not_snatched_back_at_once() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let config = rig.fake.node("pbx", "cc", 1, Transport::Websocket);
    let other = Node::spawn(1, &config.ari(REQUEST_TIMEOUT), &sender, rig.clock, &rig.shutdown).expect("a usable node");
    assert!(matches!(rig.event().await, Event::ApplicationReplaced { application, .. } if application == "cc-1"));
    assert_eq!(rig.expect_down().await, DownReason::Replaced);
    let up = tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("an event");
    assert!(matches!(up.kind, NodeEventKind::Up(_)) && up.node == 1);
    assert!(other.is_up(0) && !rig.node.is_up(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_are_used_where_the_node_takes_them() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let good = rig.fake.node("pbx", "cc", 1, Transport::Websocket);
    let wrong = capconduit::config::Node { password: "of yesterday".into(), ..good.clone() };
    let refused = rig.node.renew(&wrong.ari(REQUEST_TIMEOUT)).await.expect_err("it is another's");
    assert!(refused.to_string().contains("401"), "{refused}");
    assert!(rig.node.is_up(0) && rig.node.info().await.is_ok(), "the old ones stay in use");

    let under_way = rig.node.lane(0).send(Request::GetGlobal { variable: "EPOCH" });
    rig.node.renew(&good.ari(REQUEST_TIMEOUT)).await.expect("it takes them");
    assert!(under_way.await.is_ok(), "no request is lost");
    assert_eq!(rig.expect_down().await, DownReason::Renewed);
    rig.expect_up().await;
    assert_eq!(rig.fake.filter("cc-1").0, 2, "its socket was opened anew");
    assert!(rig.node.is_up(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_asterisk_is_told_by_its_start_time_and_version() {
    let mut rig = Rig::over(FakeAri::start().await, Transport::Auto, REQUEST_TIMEOUT, 64);
    let before = rig.expect_up().await;
    let call = rig.fake.incoming("cc-1", "100", "200");
    rig.event_of("StasisStart", call.id()).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    rig.fake.restart();
    assert_eq!(rig.expect_down().await, DownReason::Lost);
    let after = rig.expect_up().await;
    assert!(after.startup_time > before.startup_time, "{before:?} {after:?}");
    assert_eq!(rig.node.list_channels(Vec::new).await, Ok(Listing { told: vec![], untold: vec![] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_and_nothing_comes_up() {
    let fake = FakeAri::start().await;
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let mut config = fake.node("pbx", "cc", 1, Transport::Auto);
    config.password = "wrong".to_owned().into();
    let (clock, shutdown) = (capconduit::ari::Clock::start(), tokio_util::sync::CancellationToken::new());
    let node = Node::spawn(0, &config.ari(REQUEST_TIMEOUT), &sender, clock, &shutdown).expect("a usable node");
    assert_eq!(node.info().await.expect_err("a refusal").status(), Some(401));
    shutdown.cancel();
    node.closed().await;
    assert!(events.try_recv().is_err(), "nothing was ever told");
    assert!(fake.requests().iter().all(|seen| seen.via == Via::WebSocket), "nothing was carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_closes_every_socket_and_ends_the_queue() {
    let fake = FakeAri::start().await;
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let config = fake.node("pbx", "cc", 3, Transport::Websocket);
    let (clock, shutdown) = (capconduit::ari::Clock::start(), tokio_util::sync::CancellationToken::new());
    let node = Node::spawn(0, &config.ari(REQUEST_TIMEOUT), &sender, clock, &shutdown).expect("a usable node");
    drop(sender);
    for app in ["cc-1", "cc-2", "cc-3"] {
        fake.until_ready(app).await;
    }
    shutdown.cancel();
    node.closed().await;
    let mut downs = 0;
    while let Some(event) = events.recv().await {
        downs += usize::from(matches!(event.kind, NodeEventKind::Down { reason: DownReason::Shutdown, .. }));
    }
    assert!(downs <= 3 && !node.is_up(0) && !node.is_up(2));
    let outcome = node.lane(0).send(Request::GetInfo).await;
    assert!(matches!(outcome, Err(Error::NotSent(_))), "{outcome:?}");
}
