//! A call centre that queues calls says so: 181 and 182 are signs of life.

use std::time::Duration;

use super::{Scene, talk_and_part};

/// More than the `progress_timeout_ms` of these tests' configuration.
const QUEUED: Duration = Duration::from_millis(4000);

async fn takes_the_call(statuses: &[u16]) {
    let mut scene = Scene::with(1, 2, "").await;
    let mut caller = scene.call(0);
    let [queue, next] = &mut scene.centres[0][..] else { panic!("two call centres") };
    let leg = queue.rung().await;
    for status in statuses {
        queue.respond(&leg, *status, "");
    }
    queue.goes_on(QUEUED).await;
    assert!(!queue.was_ended() && next.calls() == 0, "a call centre that queues the call is given up");
    queue.media.say(leg.media());
    queue.answer(&leg).await;
    talk_and_part(&mut caller, queue).await;
    assert_eq!(scene.attempts(&caller).await, ["c0-0 answered"]);
    scene.site.finish().await;
}

#[tokio::test]
async fn on_181() {
    takes_the_call(&[181]).await;
}

#[tokio::test]
async fn on_182() {
    takes_the_call(&[182]).await;
}

#[tokio::test]
async fn on_181_and_then_182() {
    takes_the_call(&[181, 182]).await;
}
