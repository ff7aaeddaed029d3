//! Whole calls: what the client reads of them, and that the fake behaves as ASTERISK.md says the real one does.

use capconduit::ari::{ChannelState, Endpoint, Error, Event, HangUpReason, Lane, Request};
use capconduit::config::Transport;

use crate::Rig;
use crate::fake_ari::{Behaviour, CallerEnd, FakeCall};

const BRIDGE: &str = "br-1";

/// Creates the leg, bridges the caller, and dials: pipelined as the controller does it.
async fn attempt(rig: &mut Rig, lane: &Lane, call: &FakeCall, endpoint: &str, leg: &str) -> Result<(), Error> {
    let endpoint = Endpoint::pjsip(endpoint).expect("a name");
    let created = lane.send(Request::CreateChannel {
        channel_id: leg,
        endpoint,
        far_id: None,
        app: lane.app_name(),
        app_args: "leg",
        originator: Some(call.id()),
        variables: &[],
    });
    let bridged = lane.send(Request::CreateBridge { bridge_id: BRIDGE, name: "capconduit-1", proxied: false });
    let joined = lane.send(Request::AddChannels { bridge_id: BRIDGE, channel_ids: &[call.id()], unseen: false });
    created.await?;
    bridged.await?;
    joined.await?;
    match rig.event_of("StasisStart", leg).await {
        Event::StasisStart { args, app, .. } => assert_eq!((args, app.as_str()), (vec!["leg".to_owned()], "cc-1")),
        other => panic!("{other:?}"),
    }
    let joined = lane.send(Request::AddChannels { bridge_id: BRIDGE, channel_ids: &[leg], unseen: false });
    let dialled = lane.send(Request::Dial { channel_id: leg, caller: Some(call.id()), timeout: 1 });
    joined.await?;
    dialled.await.map(drop)
}

async fn arrive(rig: &mut Rig) -> FakeCall {
    let call = rig.fake.incoming("cc-1", "+442079460000", "+15550001");
    match rig.event_of("StasisStart", call.id()).await {
        Event::StasisStart { channel, args, replaced, .. } => {
            assert_eq!(channel.state, ChannelState::Ring);
            assert_eq!(channel.caller.number, "+15550001");
            assert_eq!((args[0].as_str(), args.len(), replaced), ("inbound", 3, None));
        }
        other => panic!("{other:?}"),
    }
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_call_over_both_transports() {
    for transport in [Transport::Websocket, Transport::Http] {
        let mut rig = Rig::up(transport).await;
        rig.fake.endpoint("acme", Behaviour::answers(5));
        let call = arrive(&mut rig).await;
        let lane = rig.node.lane(0);
        attempt(&mut rig, &lane, &call, "acme", "leg-1").await.expect("dialled");
        call.answered().await;
        assert_eq!(call.peers(), ["leg-1"]);
        let up =
            |event| matches!(event, Event::ChannelStateChange { channel, .. } if channel.state == ChannelState::Up);
        assert!(!up(rig.event_of("ChannelStateChange", "leg-1").await), "ringing comes first");
        assert!(up(rig.event_of("ChannelStateChange", "leg-1").await));
        assert!(up(rig.event_of("ChannelStateChange", call.id()).await), "the core answers the caller by itself");
        call.hang_up();
        rig.event_of("StasisEnd", call.id()).await;
        assert_eq!(call.ended().await, CallerEnd::HungUp);
        drop(lane.send(Request::HangUp { channel_id: "leg-1", reason: None }));
        match rig.event_of("ChannelDestroyed", "leg-1").await {
            Event::ChannelDestroyed { cause, tech_cause, .. } => assert_eq!((cause, tech_cause), (16, None)),
            other => panic!("{other:?}"),
        }
        lane.send(Request::DeleteBridge { bridge_id: BRIDGE }).await.expect("deleted");
        rig.fake.until_empty().await;
        let stats = rig.fake.stats("acme");
        assert_eq!((stats.dialled, stats.answered, stats.live, stats.max_live), (1, 1, 0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_shows_its_causes() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let lane = rig.node.lane(0);
    for (behaviour, cause, sip) in [
        (Behaviour::busy(), 17, 486),
        (Behaviour::congestion(), 34, 503),
        (Behaviour::not_found(), 1, 404),
        (Behaviour::not_acceptable(), 58, 488),
        (Behaviour::declines(), 21, 603),
        (Behaviour::redirects(), 23, 302),
        (Behaviour::silent(), 19, 480),
    ] {
        rig.fake.endpoint("acme", behaviour);
        let call = arrive(&mut rig).await;
        let leg = format!("leg-{sip}");
        attempt(&mut rig, &lane, &call, "acme", &leg).await.expect("dialled");
        match rig.event_of("ChannelDestroyed", &leg).await {
            Event::ChannelDestroyed { cause: q850, tech_cause, .. } => {
                assert_eq!((q850, tech_cause), (cause, Some(sip)));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(call.end(), None, "the caller still waits");
        let reason = Some(HangUpReason::Q850(17));
        lane.send(Request::HangUp { channel_id: call.id(), reason }).await.expect("hung up");
        assert_eq!(call.ended().await, CallerEnd::Ended { sip: 486, cause: 17 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ringing_and_early_media_reach_the_caller_through_the_bridge() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let lane = rig.node.lane(0);
    rig.fake.endpoint("rings", Behaviour::no_answer());
    rig.fake.endpoint("plays", Behaviour::early_media(60_000));
    let call = arrive(&mut rig).await;
    attempt(&mut rig, &lane, &call, "rings", "leg-1").await.expect("dialled");
    call.ringing().await;
    drop(lane.send(Request::HangUp { channel_id: "leg-1", reason: None }));
    rig.event_of("ChannelDestroyed", "leg-1").await;
    attempt(&mut rig, &lane, &call, "plays", "leg-2").await.expect("dialled");
    call.early_media().await;
    let progress = loop {
        if let Event::Dial { peer, dialstatus, .. } = rig.event_of("Dial", "leg-2").await
            && !dialstatus.is_empty()
        {
            break (peer.id, dialstatus);
        }
    };
    assert_eq!(progress, ("leg-2".to_owned(), "PROGRESS".to_owned()));
    assert_eq!(call.end(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_cancels_is_told_apart_and_gets_no_destroyed_without_a_subscription() {
    let mut rig = Rig::up(Transport::Websocket).await;
    let call = arrive(&mut rig).await;
    call.hang_up();
    match rig.event_of("ChannelHangupRequest", call.id()).await {
        Event::ChannelHangupRequest { cause, tech_cause, soft, .. } => {
            assert_eq!((cause, tech_cause, soft), (Some(127), Some(487), false));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(rig.event().await, Event::StasisEnd { channel, .. } if channel.id == call.id()));
    let gone = rig.node.lane(0).send(Request::GetChannelVariable { channel_id: call.id(), variable: "X" }).await;
    assert_eq!(gone.expect_err("gone").status(), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_start_may_come_before_or_after_the_answer_that_made_it() {
    let mut rig = Rig::up(Transport::Websocket).await;
    rig.fake.endpoint("acme", Behaviour::answers(1));
    for first in [true, false] {
        rig.fake.stasis_start_first(first);
        let call = arrive(&mut rig).await;
        let lane = rig.node.lane(0);
        attempt(&mut rig, &lane, &call, "acme", &format!("leg-{first}")).await.expect("dialled");
        call.answered().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_too_early_or_elsewhere_is_refused_as_the_real_one_does() {
    let mut rig = Rig::up(Transport::Websocket).await;
    rig.fake.endpoint("acme", Behaviour::answers(1));
    let call = arrive(&mut rig).await;
    let lane = rig.node.lane(0);
    let status = async |request: Request<'_>| lane.send(request).await.err().and_then(|error| error.status());
    assert_eq!(
        status(Request::AddChannels { bridge_id: "none", channel_ids: &[call.id()], unseen: false }).await,
        Some(404)
    );
    assert_eq!(status(Request::CreateBridge { bridge_id: "b", name: "capconduit-1", proxied: false }).await, None);
    assert_eq!(status(Request::AddChannels { bridge_id: "b", channel_ids: &["none"], unseen: false }).await, Some(400));
    assert_eq!(status(Request::Dial { channel_id: call.id(), caller: None, timeout: 1 }).await, Some(409));
    let onward = Request::ContinueInDialplan { channel_id: call.id(), context: "fb", exten: "s", priority: 1 };
    assert_eq!(status(onward).await, None);
    rig.event_of("StasisEnd", call.id()).await;
    let (context, exten, priority) = ("fb".to_owned(), "s".to_owned(), "1".to_owned());
    assert_eq!(call.ended().await, CallerEnd::Continued { context, exten, priority });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_an_application_without_a_socket_takes_the_fallback() {
    let rig = Rig::up(Transport::Websocket).await;
    assert_eq!(rig.fake.incoming("nobody-1", "100", "200").end(), Some(CallerEnd::Fallback));
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_and_swapped_events_are_passed_on_as_they_come() {
    let mut rig = Rig::up(Transport::Websocket).await;
    rig.fake.duplicate_events(true);
    let call = arrive(&mut rig).await;
    rig.event_of("StasisStart", call.id()).await;
    rig.fake.duplicate_events(false);
    rig.fake.reorder_events(true);
    call.hang_up();
    assert_eq!(rig.event().await.kind(), "StasisEnd");
    assert_eq!(rig.event().await.kind(), "ChannelHangupRequest");
}
