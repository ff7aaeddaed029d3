//! A sign of life of the calls' thread, for whoever starts the process again when it hangs (systemd's watchdog).

use std::sync::Arc;

use tokio::sync::Notify;

/// Beats at every tick once what had come by then is worked through: a dispatcher that only turns in its loop does not live.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// How many of the events that waited at the last tick are still to be worked through; `None` where that is told.
    behind: Option<usize>,
    beat: Arc<Notify>,
}

impl Pulse {
    /// Told at each beat.
    pub(super) fn beat(&self) -> Arc<Notify> {
        Arc::clone(&self.beat)
    }

    /// It is time for a beat; so many events wait.
    pub(super) fn tick(&mut self, waiting: usize) {
        self.behind.get_or_insert(waiting);
        self.tell();
    }

    /// An event was worked through.
    pub(super) fn did(&mut self) {
        if let Some(behind) = &mut self.behind {
            *behind = behind.saturating_sub(1);
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.behind == Some(0) {
            self.behind = None;
            self.beat.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn it_beats_when_what_waited_is_worked_through() {
        let mut pulse = Pulse::default();
        let beat = pulse.beat();
        let beats = || beat.notified().now_or_never().is_some();
        pulse.did();
        assert!(!beats(), "nobody asked");
        pulse.tick(0);
        assert!(beats() && !beats(), "nothing waits: at once, and once");
        pulse.tick(2);
        pulse.did();
        // More has come since: it is not waited for.
        pulse.tick(9);
        assert!(!beats());
        pulse.did();
        assert!(beats());
    }
}
