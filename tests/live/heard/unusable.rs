//! A call centre that answers without audio that Asterisk could use has not answered: the next one is called while the caller still
//! rings, and nothing is counted.

use super::{Scene, assert_one_stream, until_both_hear};
use crate::harness::ua::sdp;

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
    let (to, _at) = caller.answered().await;
    caller.media.say(to);
    until_both_hear(&caller.media, &good.media).await;
    caller.hang_up().await;
    good.ended().await;
    good.media.hush();
    assert_one_stream("the caller", &caller.media);
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
    the_next_one_is_called(|media| sdp::unusable(media)[0].1.clone()).await;
}

#[tokio::test]
async fn with_port_0() {
    the_next_one_is_called(|media| sdp::unusable(media)[1].1.clone()).await;
}

#[tokio::test]
async fn with_garbage() {
    the_next_one_is_called(|media| sdp::unusable(media)[2].1.clone()).await;
}
