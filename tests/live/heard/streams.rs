//! One stream for each end, whatever happens before the answer and after it.

use std::net::SocketAddr;
use tokio::time::sleep;

use super::{FIRST_PACKET, Scene, TALK, assert_one_stream, until_both_hear};
use crate::harness::ua::caller::Caller;
use crate::harness::ua::centre::{Centre, Leg};
use crate::harness::ua::continuity::{Break, Received, judge, of};
use crate::harness::ua::sdp;

/// So many calls: what goes wrong in one of two does not go right by chance.
const CALLS: usize = 4;

/// The call centre answers and speaks at once, the caller as soon as it has something to send; then both talk for a while.
async fn talk(centre: &mut Centre, leg: &Leg, caller: &mut Caller) {
    centre.media.say(leg.media());
    centre.answer(leg).await;
    let (to, _at) = caller.answered().await;
    sleep(FIRST_PACKET).await;
    caller.media.say(to);
    until_both_hear(&caller.media, &centre.media).await;
    sleep(TALK).await;
}

async fn over(centre: &mut Centre, mut caller: Caller) {
    caller.hang_up().await;
    centre.ended().await;
    centre.media.hush();
    assert_one_stream("the caller", &caller.media);
    assert_one_stream("the call centre", &centre.media);
}

async fn answered(before: impl Fn(&Centre, &Leg), offer: fn(SocketAddr) -> String) {
    answered_on(Scene::of(CALLS).await, before, offer).await;
}

async fn answered_on(mut scene: Scene, before: impl Fn(&Centre, &Leg), offer: fn(SocketAddr) -> String) {
    for n in 0..CALLS {
        let mut caller = scene.call_offering(n, offer);
        let centre = scene.centre(n);
        let leg = centre.rung().await;
        before(centre, &leg);
        talk(centre, &leg, &mut caller).await;
        over(centre, caller).await;
    }
    scene.site.finish().await;
}

#[tokio::test]
async fn answered_at_once() {
    answered(|_, _| {}, sdp::audio).await;
}

#[tokio::test]
async fn answered_after_ringing() {
    let ring = |centre: &Centre, leg: &Leg| {
        centre.respond(leg, 180, "");
    };
    answered(ring, sdp::audio).await;
}

/// A client that may send its media past Asterisk: the carriers do not let it.
#[tokio::test]
async fn with_direct_media() {
    let scene = Scene::built((CALLS, 1), "", "direct_media = true").await;
    answered_on(scene, |_, _| {}, sdp::audio).await;
}

#[tokio::test]
async fn with_video_offered() {
    answered(|_, _| {}, sdp::with_video).await;
}

#[tokio::test]
async fn with_t38_offered() {
    answered(|_, _| {}, sdp::with_t38).await;
}

/// 183 with SDP and a tone; the caller hears it, and speaks or not before it is answered.
async fn after_early_media(caller_speaks_early: bool) {
    let mut scene = Scene::of(CALLS).await;
    for n in 0..CALLS {
        let mut caller = scene.call(n);
        let centre = scene.centre(n);
        let leg = centre.rung().await;
        centre.respond(&leg, 183, &centre.body());
        centre.media.say(leg.media());
        let progress = caller.status(183).await;
        if caller_speaks_early {
            caller.media.say(progress.message().media().expect("a 183 with early media has SDP"));
        }
        let sender = centre.media.sender();
        crate::harness::until("the caller hears the announcement", || {
            of(&caller.media.received(), sender).next().is_some()
        })
        .await;
        sleep(TALK).await;
        centre.answer(&leg).await;
        let (to, _at) = caller.answered().await;
        if !caller_speaks_early {
            caller.media.say(to);
        }
        until_both_hear(&caller.media, &centre.media).await;
        sleep(TALK).await;
        over(centre, caller).await;
    }
    scene.site.finish().await;
}

#[tokio::test]
async fn answered_after_early_media() {
    after_early_media(false).await;
}

#[tokio::test]
async fn answered_after_early_media_with_a_caller_that_speaks_early() {
    after_early_media(true).await;
}

/// 183 with SDP, but no packet before the answer.
#[tokio::test]
async fn answered_after_early_media_without_a_packet() {
    let progress = |centre: &Centre, leg: &Leg| {
        centre.respond(leg, 183, &centre.body());
    };
    answered(progress, sdp::audio).await;
}

#[tokio::test]
async fn held_and_resumed() {
    let mut scene = Scene::of(1).await;
    let mut caller = scene.call(0);
    let centre = scene.centre(0);
    let leg = centre.rung().await;
    talk(centre, &leg, &mut caller).await;
    caller.ask_for("sendonly").await;
    // Who is on hold says nothing, and who holds goes on, with its own music perhaps.
    centre.media.hush();
    sleep(TALK).await;
    caller.ask_for("sendrecv").await;
    centre.media.say(leg.media());
    until_both_hear(&caller.media, &centre.media).await;
    sleep(TALK).await;
    over(centre, caller).await;
    scene.site.finish().await;
}

/// The first call centre announces and is busy, the second rings and answers: one stream for the caller and for whoever answers.
#[tokio::test]
async fn answered_after_anothers_early_media() {
    let mut scene = Scene::with(1, 2, "").await;
    let mut caller = scene.call(0);
    let [busy, good] = &mut scene.centres[0][..] else { panic!("two call centres") };
    let leg = busy.rung().await;
    busy.respond(&leg, 183, &busy.body());
    busy.media.say(leg.media());
    caller.status(183).await;
    let sender = busy.media.sender();
    crate::harness::until("the caller hears the announcement", || {
        of(&caller.media.received(), sender).next().is_some()
    })
    .await;
    sleep(TALK).await;
    busy.media.hush();
    busy.refuse(&leg, 486).await;
    let leg = good.rung().await;
    good.respond(&leg, 180, "");
    sleep(TALK).await;
    talk(good, &leg, &mut caller).await;
    caller.hang_up().await;
    good.ended().await;
    good.media.hush();
    assert_one_stream("the call centre", &good.media);
    // One source and one count of packets; each who speaks to the caller (announcement, ringing, agent) has a time of its own.
    let packets = caller.media.received();
    let breaks = judge(&packets).breaks;
    let allowed = |one: &Break| matches!(one, Break::Timestamp(n) if who(&packets[*n]) != who(&packets[n - 1]));
    assert!(breaks.iter().all(allowed), "{:#?}", judge(&packets).faults(&packets));
    scene.site.finish().await;
}

fn who(packet: &Received) -> Option<u16> {
    packet.number.map(|number| number.sender)
}

/// The call goes on while the controller is killed, and while the next one takes it over.
#[tokio::test]
async fn adopted() {
    let mut scene = Scene::of(1).await;
    let mut caller = scene.call(0);
    let leg = scene.centre(0).rung().await;
    talk(scene.centre(0), &leg, &mut caller).await;
    scene.site.controller.process().kill();
    sleep(TALK).await;
    scene.site.controller.serve(&scene.site.nodes).await;
    sleep(TALK).await;
    over(scene.centre(0), caller).await;
    scene.site.finish().await;
}

/// A call centre whose agent is another source than its announcement: Asterisk must not take the agent for a stranger.
#[tokio::test]
async fn the_call_centre_itself_becomes_another_source() {
    let mut scene = Scene::of(1).await;
    let mut caller = scene.call(0);
    let centre = scene.centre(0);
    let leg = centre.rung().await;
    talk(centre, &leg, &mut caller).await;
    centre.media.change_source();
    until_both_hear(&caller.media, &centre.media).await;
    caller.hang_up().await;
    centre.ended().await;
    assert_one_stream("the call centre", &centre.media);
    scene.site.finish().await;
}
