//! Carries a fault out on a scene.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fault::Fault;
use super::scene::Scene;
use super::wire::Condition;

/// How long a controller may take to end after SIGTERM: its drain time and its last words.
const END: Duration = Duration::from_secs(30);

impl Scene {
    /// Carries it out; afterwards everything that was taken away is there again, though perhaps not ready yet. What else is
    /// to be told about it.
    pub(crate) async fn suffer(&mut self, fault: Fault) -> String {
        match fault {
            Fault::KillController(away) => {
                self.controller.process().kill();
                sleep(away).await;
                self.controller.launch();
            }
            Fault::HaltController(time) => {
                self.controller.process().signal("STOP");
                sleep(time).await;
                self.controller.process().signal("CONT");
            }
            Fault::DrainController(away) => return self.drain(away).await,
            Fault::KillAsterisk(away) => {
                self.kill_asterisk();
                sleep(away).await;
                self.node.start_again();
                self.node.ready().await;
            }
            Fault::StopDatabase(time) => {
                self.database.crash();
                sleep(time).await;
                self.database_back().await;
            }
            Fault::MuteDatabase(time) => {
                self.sql.set(Condition::Silent);
                sleep(time).await;
                self.sql.set(Condition::Sound);
            }
            Fault::KillWithoutDatabase(time) => {
                self.database.crash();
                sleep(time / 2).await;
                self.controller.process().kill();
                self.controller.launch();
                sleep(time / 2).await;
                self.database_back().await;
            }
            Fault::DelayAri(by, time) => {
                self.ari.set(Condition::Slow(by));
                sleep(time).await;
                self.ari.set(Condition::Sound);
            }
            Fault::MuteAri(time) => {
                self.ari.set(Condition::Silent);
                sleep(time).await;
                self.ari.set(Condition::Sound);
            }
            Fault::MuteAndCutAri(time) => {
                self.ari.set(Condition::Silent);
                sleep(time).await;
                self.ari.cut();
                self.ari.set(Condition::Sound);
            }
            Fault::CutAri => self.ari.cut(),
        }
        String::new()
    }

    /// SIGTERM, and the start of the next.
    async fn drain(&mut self, away: Duration) -> String {
        if self.controller.process().ended().is_none() {
            self.controller.process().signal("TERM");
        }
        let ended = timeout(END, async {
            loop {
                if let Some(code) = self.controller.process().ended() {
                    return code;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let told = match ended.await {
            Ok(Some(0)) => String::new(),
            Ok(code) => format!("it ended with {code:?}"),
            Err(_) => {
                self.controller.process().kill();
                format!("it had not ended after {} s and was killed", END.as_secs())
            }
        };
        sleep(away).await;
        self.controller.launch();
        told
    }

    /// Starts PostgreSQL again and waits until it takes connections.
    pub(crate) async fn database_back(&self) {
        self.database.start_again();
        let up = timeout(END, async {
            while !self.database.is_up() {
                sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(up.await.is_ok(), "PostgreSQL does not come back after {END:?}");
    }
}
