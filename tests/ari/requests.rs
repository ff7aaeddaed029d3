//! Requests: order, deadlines, and what is known when they fail.

use std::time::Duration;

use capconduit::ari::{Clock, Endpoint, Error, HangUpReason, Node, Request, Settings, Variable};
use capconduit::config::Transport;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fake_ari::{Behaviour, FakeAri, Fault, Via};
use crate::{REQUEST_TIMEOUT, Rig};

const BOTH: [Transport; 2] = [Transport::Websocket, Transport::Http];

fn set(value: &str) -> Request<'_> {
    Request::SetGlobal { variable: "ORDER", value }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_carried_out_in_the_order_of_sending() {
    for transport in BOTH {
        let rig = Rig::up(transport).await;
        let lane = rig.node.lane(0);
        let values: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let pending: Vec<_> = values.iter().map(|value| lane.send(set(value))).collect();
        for answer in pending {
            answer.await.expect("an answer");
        }
        let seen = rig.fake.requests();
        let order: Vec<_> = seen.iter().filter_map(|seen| seen.query.get("value").cloned()).collect();
        assert_eq!(order, values, "{transport:?}");
        let via = if transport == Transport::Http { Via::Http } else { Via::WebSocket };
        assert!(seen.iter().filter(|seen| seen.path == "asterisk/variable").all(|seen| seen.via == via));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_takes_the_transport_that_the_version_has() {
    for (version, via) in [("22.10.1~dfsg-1", Via::WebSocket), ("20.9.3", Via::Http), ("20.14.0", Via::WebSocket)] {
        let mut rig = Rig::over(FakeAri::start_version(version).await, Transport::Auto, REQUEST_TIMEOUT, 64);
        assert_eq!(rig.expect_up().await.version, version);
        rig.node.lane(0).send(set("x")).await.expect("an answer");
        let seen = rig.fake.until_request("POST asterisk/variable").await;
        assert_eq!(seen.via, via, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_arrives_as_it_was_given() {
    let hostile = r#"a&b=c?d#e%2F+ "quoted" <sip:x@y> üñ,;"#;
    for transport in BOTH {
        let rig = Rig::up(transport).await;
        let lane = rig.node.lane(0);
        lane.send(Request::SetGlobal { variable: "V", value: hostile }).await.expect("set");
        assert_eq!(rig.fake.global("V").as_deref(), Some(hostile), "{transport:?}");
        let read = lane.send(Request::GetGlobal { variable: "V" }).await.expect("read");
        assert_eq!(read.json(), Ok(Variable { value: hostile.to_owned() }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_carries_status_and_message() {
    let endpoint = Endpoint::pjsip("gone").expect("a name");
    for transport in BOTH {
        let rig = Rig::up(transport).await;
        rig.fake.endpoint("gone", Behaviour::unavailable());
        let lane = rig.node.lane(0);
        let create = Request::CreateChannel {
            channel_id: "c-1",
            endpoint,
            far_id: None,
            app: lane.app_name(),
            app_args: "leg",
            originator: None,
            variables: &[],
        };
        let rejected = |status, message: &str| Err(Error::Rejected { status, message: message.to_owned() });
        assert_eq!(lane.send(create).await, rejected(500, "Allocation failed"), "{transport:?}");
        let gone = Request::HangUp { channel_id: "no/such", reason: Some(HangUpReason::Q850(17)) };
        assert_eq!(lane.send(gone).await, rejected(404, "Channel not found"), "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_an_unknown_outcome_at_the_deadline() {
    let timeout = Duration::from_millis(300);
    for transport in BOTH {
        let mut rig = Rig::over(FakeAri::start().await, transport, timeout, 64);
        rig.expect_up().await;
        rig.fake.fault("POST asterisk/variable", 1, Fault::SwallowAnswer);
        let before = rig.clock.now().mono;
        let outcome = rig.node.lane(0).send(set("1")).await;
        let took = rig.clock.now().mono.saturating_sub(before);
        assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{transport:?}: {outcome:?}");
        assert!(took >= timeout, "{took:?}");
        // It is carried out all the same.
        rig.fake.until_global("ORDER", |value| value == "1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_disturbs_nobody() {
    let mut rig = Rig::over(FakeAri::start().await, Transport::Websocket, Duration::from_secs(2), 64);
    rig.expect_up().await;
    let lane = rig.node.lane(0);
    rig.fake.fault("POST asterisk/variable", 1, Fault::Held);
    assert!(matches!(lane.send(set("1")).await, Err(Error::OutcomeUnknown(_))));
    rig.fake.mend();
    rig.fake.until_request("POST asterisk/variable").await;
    lane.send(set("2")).await.expect("an answer of its own");
    assert!(rig.node.is_up(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_connection_under_a_request_is_an_unknown_outcome() {
    for transport in BOTH {
        let rig = Rig::up(transport).await;
        rig.fake.fault("POST asterisk/variable", 1, Fault::Disconnect);
        let outcome = rig.node.lane(0).send(set("1")).await;
        assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{transport:?}: {outcome:?}");
        assert_eq!(rig.fake.global("ORDER").as_deref(), Some("1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_nothing_is_sent() {
    for transport in BOTH {
        let mut rig = Rig::up(transport).await;
        rig.fake.refuse_connections(true);
        rig.fake.drop_sockets();
        rig.expect_down().await;
        let outcome = rig.node.lane(0).send(set("1")).await;
        assert!(matches!(outcome, Err(Error::NotSent(_))), "{transport:?}: {outcome:?}");
        assert_eq!(rig.fake.global("ORDER"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_an_application_is_refused() {
    let config = FakeAri::start().await.node("pbx", "cc", 1, Transport::Http);
    let without = Settings { apps: Vec::new(), ..config.ari(REQUEST_TIMEOUT) };
    let refused = Node::over_http(0, &without, Clock::start()).expect_err("nothing to ask by");
    assert!(refused.to_string().contains("apps") && refused.to_string().contains("at least one"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_nobody_listening_means_not_sent() {
    // Bound and never listening: the port refuses connections, and nobody else can take it.
    let closed = tokio::net::TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let mut config = FakeAri::start().await.node("pbx", "cc", 1, Transport::Http);
    config.url = format!("http://{}", closed.local_addr().expect("an address"));
    let (events, _never_up) = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    let node = Node::spawn(0, &config.ari(REQUEST_TIMEOUT), &events, Clock::start(), &shutdown).expect("a usable node");
    // A lane sends nothing while the events' socket is down; a health check, which does, is told why it could not.
    let outcome = node.http(set("1")).await;
    assert!(matches!(outcome, Err(Error::NotSent("no connection could be made"))), "{outcome:?}");
    shutdown.cancel();
    node.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_a_request_whose_turn_comes_too_late_is_never_sent() {
    let timeout = Duration::from_secs(2);
    let mut rig = Rig::over(FakeAri::start().await, Transport::Http, timeout, 64);
    rig.expect_up().await;
    rig.fake.fault("DELETE channels/stuck", 1, Fault::Ignore);
    let lane = rig.node.lane(0);
    let values: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let stuck = lane.send(Request::HangUp { channel_id: "stuck", reason: None });
    let behind: Vec<_> = values.iter().map(|value| lane.send(set(value))).collect();
    // Another call's lane is not held up.
    rig.node.lane(0).send(Request::GetInfo).await.expect("an answer");
    assert!(matches!(stuck.await, Err(Error::OutcomeUnknown(_))));
    let mut unsent = Vec::new();
    for (value, pending) in values.iter().zip(behind) {
        if let Err(Error::NotSent(_)) = pending.await {
            unsent.push(value.clone());
        }
    }
    assert!(!unsent.is_empty(), "those that waited until their deadline are given up");
    lane.send(set("last")).await.expect("the lane goes on");
    let carried_out: Vec<_> =
        rig.fake.requests().into_iter().filter_map(|seen| seen.query.get("value").cloned()).collect();
    assert!(unsent.iter().all(|value| !carried_out.contains(value)), "{unsent:?} {carried_out:?}");
    assert_eq!(rig.fake.global("ORDER").as_deref(), Some("last"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_carried_out_all_the_same() {
    for transport in BOTH {
        let rig = Rig::up(transport).await;
        let lane = rig.node.lane(0);
        drop(lane.send(set("1")));
        drop(lane);
        rig.fake.until_request("POST asterisk/variable").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_over_http_and_name_what_lives() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let call = rig.fake.incoming("cc-1", "+442079460000", "+15550001");
    rig.event_of("StasisStart", call.id()).await;
    rig.node
        .lane(0)
        .send(Request::CreateBridge { bridge_id: "br-x", name: "capconduit-1", proxied: false })
        .await
        .expect("a bridge");
    rig.node
        .lane(0)
        .send(Request::AddChannels { bridge_id: "br-x", channel_ids: &[call.id()], unseen: false })
        .await
        .expect("joined");
    let channels = rig.node.list_channels(Vec::new).await.expect("channels").told;
    assert_eq!(channels.len(), 1);
    assert_eq!((channels[0].id.as_str(), channels[0].exten.as_str()), (call.id(), "+442079460000"));
    assert!(channels[0].app_data.starts_with("cc-1,inbound,"), "{}", channels[0].app_data);
    let bridges = rig.node.list_bridges(Vec::new).await.expect("bridges").told;
    assert_eq!(bridges.len(), 1);
    assert_eq!(bridges[0].channels, [call.id()]);
    let lists = rig.fake.requests().into_iter().filter(|seen| seen.path == "channels" || seen.path == "bridges");
    assert!(lists.clone().count() == 2 && lists.into_iter().all(|seen| seen.via == Via::Http));
}
