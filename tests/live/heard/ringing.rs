//! Where the call centre gives no audio yet, the caller hears ringing: told to its phone (180), or as a tone.

use std::time::Duration;

use super::{Scene, assert_one_stream, talk_and_part};
use crate::harness::ua::centre::Centre;
use crate::harness::until;

/// A second without any media of the call centre's, and more.
const SILENT: Duration = Duration::from_millis(1500);

/// The caller rings; then the call centre answers, and both hear each other.
async fn rings(status: u16, body: fn(&Centre) -> String) {
    let mut scene = Scene::of(1).await;
    let mut caller = scene.call(0);
    let centre = scene.centre(0);
    let leg = centre.rung().await;
    centre.respond(&leg, status, &body(centre));
    let rings = || caller.statuses().contains(&180) || caller.media.received().iter().any(|packet| packet.sound);
    centre.goes_on(SILENT).await;
    assert!(rings(), "after {status} and {SILENT:?} the caller has {:?} and hears nothing", caller.statuses());
    let is_silent = || {
        let heard = caller.media.received();
        !heard.is_empty() && !heard.iter().any(|packet| packet.sound)
    };
    assert!(!is_silent(), "the caller's phone plays silence instead of ringing");
    centre.media.say(leg.media());
    centre.answer(&leg).await;
    talk_and_part(&mut caller, centre).await;
    assert_one_stream("the call centre", &centre.media);
    scene.site.finish().await;
}

#[tokio::test]
async fn on_180() {
    rings(180, |_| String::new()).await;
}

#[tokio::test]
async fn on_183_without_sdp() {
    rings(183, |_| String::new()).await;
}

#[tokio::test]
async fn on_180_with_sdp_but_no_media() {
    rings(180, Centre::body).await;
}

#[tokio::test]
async fn on_183_with_sdp_but_no_media() {
    rings(183, Centre::body).await;
}

/// Ringing that becomes an announcement is heard as one: 180 first, 183 with SDP and a tone later.
#[tokio::test]
async fn until_the_announcement_begins() {
    let mut scene = Scene::of(1).await;
    let mut caller = scene.call(0);
    let centre = scene.centre(0);
    let leg = centre.rung().await;
    centre.respond(&leg, 180, "");
    caller.status(180).await;
    centre.respond(&leg, 183, &centre.body());
    centre.media.say(leg.media());
    until("the caller hears the announcement", || caller.media.received().iter().any(|one| one.number.is_some())).await;
    caller.cancel().await;
    centre.ended().await;
    centre.media.hush();
    assert_one_stream("the caller", &caller.media);
    scene.site.finish().await;
}
