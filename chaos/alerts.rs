//! Each alert that can be caused fires in a real Prometheus while there is reason for it, and ends afterwards.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::prometheus::{Pace, Prometheus};
use super::scene::{Realtime, Scene, Stage};
use super::wire::Condition;
use crate::harness::controller::Controller;
use crate::harness::plan::Plan;
use crate::harness::sipp::{Sipp, carrier, centre};

const SOLAR: &str = "+442079460001";
const DEAF: &str = "+442079460002";
const TOTAL: &str = "+442079460003";
const REFUSED: &str = "+442079460004";
/// Few enough that a burst is too much; and whoever is told to stop does so.
const CALLS: &str = "max_live = 40\ndrain_seconds = 0";
/// How long an alert may take beyond what its rule says, to fire and to end: a busy machine, the controller's own delays.
const SLACK: Duration = Duration::from_secs(60);

/// What became of one alert.
#[derive(Debug)]
pub(crate) struct Row {
    alert: &'static str,
    fault: &'static str,
    from: Instant,
    to: Instant,
    /// The longest that its rule takes to see that it is over.
    ends_within: Duration,
    fired: Option<Duration>,
    held: bool,
    ended: Option<Duration>,
}

/// What became of all of them.
#[derive(Debug)]
pub(crate) struct Watched {
    rows: Vec<Row>,
    /// What fired before anything was wrong.
    strange: Vec<String>,
}

impl Watched {
    /// Whether each fired, went on firing, and ended.
    pub(crate) fn is_clean(&self) -> bool {
        let well = |row: &Row| row.fired.is_some() && row.held && row.ended.is_some();
        self.strange.is_empty() && self.rows.len() > 10 && self.rows.iter().all(well)
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        let seconds =
            |time: Option<Duration>| time.map_or("never".to_owned(), |it| format!("{:.1} s", it.as_secs_f64()));
        let mut text = format!("{:<28} {:>10} {:>6} {:>12}  fault\n", "alert", "fires", "holds", "ends after");
        for row in &self.rows {
            let (fired, held, ended) = (seconds(row.fired), if row.held { "yes" } else { "NO" }, seconds(row.ended));
            text += &format!("{:<28} {fired:>10} {held:>6} {ended:>12}  {}\n", row.alert, row.fault);
        }
        text + &format!("fired before anything was wrong: {:?}\n", self.strange)
    }
}

/// The scene, Prometheus, and what was done so far.
struct Watch {
    scene: Scene,
    prometheus: Prometheus,
    pace: Pace,
    rows: Vec<Row>,
}

/// Makes every fault in turn.
pub(crate) async fn watch(pace: Pace) -> (Watched, Scene) {
    let mut stage = Stage::new();
    stage.centre("alpha", centre::answer().set("ring_ms", 100)).await;
    stage.centre("busy", centre::reject()).await;
    stage.centre("overflow", centre::answer().set("ring_ms", 20)).await;
    let plan = Plan::new()
        .client("alpha", stage.named("alpha"), ("", ""))
        .client("busy", stage.named("busy"), ("", ""))
        .campaign("Solar", SOLAR, "")
        .link("alpha", "")
        .campaign("Deaf", DEAF, "")
        .link("busy", "")
        .campaign("Total", TOTAL, "")
        .link("alpha", "total_calls_allowed = 20")
        .campaign("Refused", REFUSED, "")
        .link("alpha", "");
    let scene = stage.start(&plan, Realtime::File, CALLS).await;
    let (port, target) = (scene.port(), scene.controller.api().to_owned());
    let prometheus = Prometheus::start(scene.folder(), port, &target, pace).await;
    let mut watch = Watch { scene, prometheus, pace, rows: Vec::new() };
    // Noted there by the last one: longer ago than a day and a half.
    std::fs::write(watch.scene.folder().join("data/last-backup"), "2020-01-01T00:00:00Z\n").expect("the data's folder");
    let old = watch.begin("CapConduitBackupOld", "the last backup is old", 0).await;
    let strange = watch.peace().await;
    watch.refused_records().await;
    watch.backup(old).await;
    watch.total().await;
    watch.nobody().await;
    watch.burst().await;
    watch.journal().await;
    watch.database().await;
    watch.slow_node().await;
    watch.silent_node().await;
    watch.rival().await;
    watch.down().await;
    watch.end(strange).await
}

impl Watch {
    /// A fault begins, once nothing of an earlier one is told any more.
    async fn begin(&mut self, alert: &'static str, fault: &'static str, window_minutes: u64) -> usize {
        self.prometheus.until(alert, false, self.minutes(16) + SLACK).await;
        let (now, ends_within) = (Instant::now(), self.minutes(window_minutes) + SLACK);
        self.rows.push(Row { alert, fault, from: now, to: now, ends_within, fired: None, held: false, ended: None });
        self.rows.len() - 1
    }

    /// Waits until it is told; then the fault lasts a little longer.
    async fn told(&self, rows: &[usize], least: Duration) {
        for row in rows {
            self.prometheus.until(self.rows[*row].alert, true, least + SLACK).await;
        }
        sleep(self.minutes(1)).await;
    }

    /// The fault is over.
    fn over(&mut self, rows: &[usize]) {
        for row in rows {
            self.rows[*row].to = Instant::now();
        }
    }

    fn minutes(&self, minutes: u64) -> Duration {
        self.pace.of(Duration::from_secs(60 * minutes))
    }

    /// Calls of half a second, as many a second, until there are enough, or for so long.
    fn calls(&self, name: &str, did: &str, lasting: Duration, per_second: u32) -> Sipp {
        let seconds = u32::try_from(lasting.as_secs().max(1)).expect("minutes");
        let call = carrier::call().set("did", did).set("talk_ms", 500);
        self.scene.begin(name, &call, seconds * per_second, per_second)
    }

    /// Calls, and nothing wrong: what is told then.
    async fn peace(&self) -> Vec<String> {
        let calls = self.calls("peace", SOLAR, Duration::from_secs(5), 3);
        sleep(Duration::from_secs(5)).await;
        calls.enough().await;
        let told = self.prometheus.turns().into_iter().filter(|turn| turn.fires).map(|turn| turn.alert);
        told.filter(|alert| alert != "CapConduitBackupOld").collect()
    }

    /// The database is made to refuse the records of one number: they are set aside.
    async fn refused_records(&mut self) {
        let constraint = format!("CHECK (dialled_raw <> '{REFUSED}') NOT VALID");
        let row = self.begin("CapConduitRecordsSetAside", "the database refuses a record", 0).await;
        self.scene.database.psql(&format!("ALTER TABLE call_logs ADD CONSTRAINT refused {constraint}"));
        let calls = self.calls("refused", REFUSED, Duration::from_secs(2), 1);
        self.told(&[row], Duration::ZERO).await;
        calls.enough().await;
        self.scene.database.psql("ALTER TABLE call_logs DROP CONSTRAINT refused");
        self.over(&[row]);
        self.scene.controller.process().signal("TERM");
        self.scene.controller.process().wait(SLACK).await;
        self.scene.controller.run(&["journal", "restore"]).await;
        self.scene.controller.launch();
        self.scene.until_ready().await;
    }

    /// One is made again.
    async fn backup(&mut self, old: usize) {
        self.told(&[old], self.minutes(16)).await;
        self.scene.controller.run(&["backup", "one.tar.gz"]).await;
        self.over(&[old]);
    }

    /// A link comes to the end of its total.
    async fn total(&mut self) {
        let row = self.begin("CapConduitTotalNearlyUsed", "19 of 20 calls are used", 0).await;
        let call = carrier::call().set("did", TOTAL).set("talk_ms", 200);
        let most = self.scene.begin("total", &call, 19, 5);
        self.told(&[row], self.minutes(5)).await;
        most.enough().await;
        let last = self.scene.begin("last", &call, 1, 1);
        self.over(&[row]);
        self.prometheus.until("CapConduitTotalNearlyUsed", false, SLACK).await;
        last.enough().await;
    }

    /// Calls come for a client that is busy.
    async fn nobody(&mut self) {
        let row = self.begin("CapConduitNobodyAnswers", "every client is busy", 15).await;
        let calls = self.calls("nobody", DEAF, self.minutes(20) + Duration::from_secs(10), 5);
        self.told(&[row], self.minutes(16)).await;
        calls.enough().await;
        self.over(&[row]);
    }

    /// More calls at once than may live.
    async fn burst(&mut self) {
        let row = self.begin("CapConduitShedding", "more calls than calls.max_live", 2).await;
        let call = carrier::call().set("did", SOLAR).set("talk_ms", 1000);
        let calls = self.scene.begin("burst", &call, 60_000, 60);
        self.told(&[row], Duration::ZERO).await;
        calls.enough().await;
        self.over(&[row]);
    }

    /// Another process holds the journal.
    async fn journal(&mut self) {
        let row = self.begin("CapConduitJournalFailing", "another process holds journal.db", 2).await;
        let path = self.scene.folder().join("data/journal.db");
        let connection = rusqlite::Connection::open(path).expect("the journal");
        connection.busy_timeout(Duration::from_secs(5)).expect("SQL");
        connection.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        self.told(&[row], Duration::ZERO).await;
        connection.execute_batch("ROLLBACK").expect("SQL");
        self.over(&[row]);
        self.scene.until_ready().await;
    }

    /// PostgreSQL is away, and calls have ended.
    async fn database(&mut self) {
        let row = self.begin("CapConduitRecordsLate", "PostgreSQL is stopped", 0).await;
        self.scene.database.crash();
        let calls = self.calls("late", SOLAR, Duration::from_secs(3), 2);
        self.told(&[row], Duration::from_secs(30) + self.minutes(1)).await;
        self.scene.database_back().await;
        self.over(&[row]);
        calls.enough().await;
    }

    /// What goes to the node and comes from it is late by more than requests wait; calls come meanwhile.
    async fn slow_node(&mut self) {
        let beat = self.begin("CapConduitHeartbeat", "ARI is late by 2.1 s", 2).await;
        let open = self.begin("CapConduitNodeBreakerOpen", "ARI is late by 2.1 s", 0).await;
        let calls = self.calls("slow", SOLAR, self.minutes(4) + Duration::from_secs(120), 8);
        sleep(Duration::from_secs(1)).await;
        self.scene.ari.set(Condition::Slow(Duration::from_millis(2100)));
        self.told(&[beat, open], self.minutes(3)).await;
        self.scene.ari.set(Condition::Sound);
        self.over(&[beat, open]);
        self.prometheus.until("CapConduitNodeBreakerOpen", false, SLACK).await;
        calls.enough().await;
        self.scene.until_ready().await;
    }

    /// Nothing passes between controller and node; calls take the fallback.
    async fn silent_node(&mut self) {
        let ready = self.begin("CapConduitNodeNotReady", "ARI is silent", 0).await;
        let fallback = self.begin("CapConduitFallbackCalls", "ARI is silent, and calls come", 5).await;
        self.scene.ari.set(Condition::Silent);
        let calls = self.calls("past", SOLAR, self.minutes(8) + Duration::from_secs(120), 3);
        self.told(&[ready, fallback], self.minutes(1)).await;
        calls.enough().await;
        self.scene.ari.cut();
        self.scene.ari.set(Condition::Sound);
        self.over(&[ready, fallback]);
        self.scene.until_ready().await;
    }

    /// A second controller takes the node over from one that hangs, which then comes back.
    async fn rival(&mut self) {
        let row = self.begin("CapConduitNodeTaken", "another controller has the node", 0).await;
        let mut rival: Controller = self.scene.rival();
        rival.launch();
        sleep(Duration::from_secs(2)).await;
        self.scene.controller.process().signal("STOP");
        rival.until_ready(std::slice::from_ref(&self.scene.node)).await;
        self.scene.controller.process().signal("CONT");
        self.told(&[row], self.minutes(1)).await;
        rival.process().signal("TERM");
        self.over(&[row]);
        rival.process().wait(SLACK).await;
        self.scene.until_ready().await;
    }

    /// kill -9 of the controller, which starts again.
    async fn down(&mut self) {
        let row = self.begin("CapConduitDown", "kill -9 of the controller", 3).await;
        self.scene.controller.process().kill();
        self.told(&[row], self.minutes(1)).await;
        self.scene.controller.launch();
        self.over(&[row]);
        self.scene.until_ready().await;
    }

    /// Waits until nothing is told any more, and says what became of each.
    async fn end(mut self, strange: Vec<String>) -> (Watched, Scene) {
        for row in &self.rows {
            let left = (row.to + row.ends_within).saturating_duration_since(Instant::now());
            self.prometheus.until(row.alert, false, left.max(Duration::from_secs(1))).await;
        }
        let turns = self.prometheus.turns();
        for row in &mut self.rows {
            let own = |fires: bool, from: Instant| {
                let turn = turns.iter().find(|turn| turn.alert == row.alert && turn.fires == fires && turn.at >= from);
                turn.map(|turn| turn.at)
            };
            let fired = own(true, row.from).filter(|at| *at <= row.to);
            row.held = fired.is_some_and(|fired| own(false, fired).is_none_or(|ended| ended >= row.to));
            row.ended = own(false, row.to).map(|at| at - row.to).filter(|took| *took <= row.ends_within);
            row.fired = fired.map(|at| at - row.from);
        }
        (Watched { rows: self.rows, strange }, self.scene)
    }
}
