//! The call centre's first word reaches the caller at once, whenever the caller itself begins to speak: nobody waits for its first
//! packet. How many milliseconds it takes, the bench says.

use std::time::Duration;

use tokio::time::sleep;

use super::Scene;
use crate::harness::ua::continuity::of;
use crate::harness::ua::since;
use crate::harness::until;

/// Who waits for the caller's first packet waits so in every call; a busy machine does not delay each of them.
const CALLS: usize = 4;
/// Asterisk waits for a caller's first packet for 500 ms at most. What comes before this did not wait.
const WAITED: Duration = Duration::from_millis(300);

/// How long the first word took from the call centre's 200 in one call, and whether the caller had begun to speak before it heard it.
async fn first_word(scene: &mut Scene, n: usize, caller_begins: Option<Duration>) -> (Duration, bool) {
    let mut caller = scene.call(n);
    let centre = scene.centre(n);
    let leg = centre.rung().await;
    centre.respond(&leg, 180, "");
    caller.status(180).await;
    let at = centre.respond(&leg, 200, &centre.body());
    centre.media.say(leg.media());
    let (to, _answered) = caller.answered().await;
    let spoke = match caller_begins {
        Some(after) => {
            sleep(after).await;
            let spoke = since();
            caller.media.say(to);
            spoke
        }
        None => Duration::MAX,
    };
    let sender = centre.media.sender();
    let mut heard = None;
    until("the caller hears the call centre", || {
        heard = of(&caller.media.received(), sender).next().map(|(packet, _)| packet.at);
        heard.is_some()
    })
    .await;
    let heard = heard.expect("it was just heard");
    caller.hang_up().await;
    centre.ended().await;
    centre.media.hush();
    (heard.saturating_sub(at), spoke <= heard)
}

async fn first_words(caller_begins: Option<Duration>) -> Vec<(Duration, bool)> {
    let mut scene = Scene::of(CALLS).await;
    let mut words = Vec::new();
    for n in 0..CALLS {
        words.push(first_word(&mut scene, n, caller_begins).await);
    }
    scene.site.finish().await;
    words
}

fn assert_at_once(words: &[(Duration, bool)]) {
    let fastest = words.iter().map(|(took, _)| *took).min().unwrap_or(Duration::MAX);
    assert!(fastest < WAITED, "the first word took so long, and the caller had spoken before it heard it: {words:?}");
}

#[tokio::test]
async fn with_a_caller_that_speaks_at_once() {
    assert_at_once(&first_words(Some(Duration::ZERO)).await);
}

/// It is heard before the caller has sent anything, so that nobody can have waited for that.
async fn before_the_caller_speaks(after: Duration) {
    let words = first_words(Some(after)).await;
    assert!(
        words.iter().any(|(_, spoke)| !spoke),
        "it is heard only when the caller, after {after:?}, has spoken: {words:?}"
    );
    assert_at_once(&words);
}

#[tokio::test]
async fn with_a_caller_that_speaks_after_60_ms() {
    before_the_caller_speaks(Duration::from_millis(60)).await;
}

#[tokio::test]
async fn with_a_caller_that_speaks_after_150_ms() {
    before_the_caller_speaks(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn with_a_caller_that_never_speaks() {
    assert_at_once(&first_words(None).await);
}
