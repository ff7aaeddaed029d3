//! A call centre that answers without audio that Asterisk could use has not answered: the next one is called while the caller still
//! rings, and nothing is counted.

use super::{Scene, talk_and_part};
use crate::harness::ua::sdp::{self, Unusable};

/// Two calls, one after the other: had the first counted, the first call centre could not be tried again.
async fn the_next_one_is_called(body: impl Fn(std::net::SocketAddr) -> String) {
    let mut scene = Scene::with(1, 2, "total_calls_allowed = 1").await;
    let mut caller = scene.call(0);
    let [useless, good] = &mut scene.centres[0][..] else { panic!("two call centres") };
    let leg = useless.rung().await;
    useless.respond(&leg, 180, "");
    caller.status(180).await;
    useless.respond(&leg, 200, &body(useless.media.address()));
    let next = good.rung().await;
    assert!(!caller.statuses().contains(&200), "the caller is answered by nobody: {:?}", caller.statuses());
    useless.ended().await;
    good.media.say(next.media());
    good.answer(&next).await;
    talk_and_part(&mut caller, good).await;
    let attempts = scene.attempts(&caller).await;
    assert!(attempts.len() == 2 && !attempts[0].ends_with(" answered"), "{attempts:?}");
    assert_eq!(attempts[1], "c0-1 answered");

    let mut again = scene.call(0);
    let useless = scene.centre(0);
    crate::harness::until("the first call centre is called again: nothing was counted", || useless.calls() == 2).await;
    again.cancel().await;
    scene.site.finish().await;
}

#[tokio::test]
async fn without_sdp() {
    the_next_one_is_called(|_| String::new()).await;
}

#[tokio::test]
async fn with_a_codec_that_was_never_offered() {
    the_next_one_is_called(|media| sdp::unusable(media, Unusable::Codec)).await;
}

#[tokio::test]
async fn with_port_0() {
    the_next_one_is_called(|media| sdp::unusable(media, Unusable::Port)).await;
}

#[tokio::test]
async fn with_a_profile_that_was_never_offered() {
    the_next_one_is_called(|media| sdp::unusable(media, Unusable::Profile)).await;
}

#[tokio::test]
async fn without_a_stream() {
    the_next_one_is_called(|media| sdp::unusable(media, Unusable::Streams)).await;
}

#[tokio::test]
async fn with_garbage() {
    the_next_one_is_called(|media| sdp::unusable(media, Unusable::Garbage)).await;
}

/// The 183 had the session description, so that a 200 without one is an answer: many gateways do so.
#[tokio::test]
async fn without_sdp_after_a_183_that_had_it_is_answered() {
    let mut scene = Scene::with(1, 2, "").await;
    let mut caller = scene.call(0);
    let [useful, next] = &mut scene.centres[0][..] else { panic!("two call centres") };
    let leg = useful.rung().await;
    useful.respond(&leg, 183, &useful.body());
    useful.media.say(leg.media());
    caller.status(183).await;
    useful.respond(&leg, 200, "");
    talk_and_part(&mut caller, useful).await;
    assert_eq!(next.calls(), 0);
    assert_eq!(scene.attempts(&caller).await, ["c0-0 answered"]);
    scene.site.finish().await;
}
