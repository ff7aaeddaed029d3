//! How long the book's lock is held, which every call waits for: 100,000 links, people who look and preview, and calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use capconduit::auth::roles::Role;
use capconduit::calls::holds::{self, Holds};
use rusqlite::Connection;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::caller::Caller;
use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::rows::swap::copies;
use crate::calls::stats::Spread;
use crate::fake_ari::Behaviour;
use crate::site::{Database, Site};

const SELLERS: usize = 20;
/// Of each seller, one of the large campaigns and the others small ones.
const CAMPAIGNS: usize = 920;
const LARGE: usize = 500;
const SMALL: usize = 100;
const LINKS: usize = SELLERS * LARGE + (CAMPAIGNS - SELLERS) * SMALL;
const CLIENTS: usize = 500;
/// Ids of what is made here begin there.
const FIRST: usize = 1_000_000;
/// Previews of one seller, calls, pages of links: a second.
const PREVIEWS: u32 = 50;
const CALLS: u32 = 50;
const PAGES: u32 = 10;
const TALK: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_secs(3);
const TOKEN: &str = "scraper-0123456789abcdef0123456789";
const GOAL_US: f64 = 100.0;

const PLAN: &str = r#"
[[sellers]]
username = "acme"
name = "Acme"
[[clients]]
identifier = "north"
name = "North"
sip = { host = "127.0.0.11" }
[[dids]]
number = "+442071234567"
seller = "acme"
[[campaigns]]
name = "Solar"
seller = "acme"
routing_strategy = "weighted"
dids = ["+442071234567"]
[[campaigns.links]]
client = "north"
max_concurrency = 70
total_calls_allowed = 1000000000
"#;

/// What was done in a round.
#[derive(Debug, Default)]
struct Done {
    previews: AtomicU64,
    calls: AtomicU64,
}

/// What the rounds came to: microseconds, and things done a second.
#[derive(Debug, Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    longest: Vec<f64>,
    holds: Vec<f64>,
    previews: Vec<f64>,
    calls: Vec<f64>,
}

/// The whole application in this process, so that its holds can be measured, against a fake Asterisk.
pub(crate) fn holds(wanted: Wanted) -> Section {
    // On threads of its own, as the product runs.
    let measured = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(measure(wanted))
    });
    let figures = measured.join().expect("it is measured");
    let how = format!(
        "CPU time of the holder in µs, from taking the book's lock to letting it go, {} rounds of {} s: {LINKS} links in {CAMPAIGNS} campaigns ({SELLERS} of {LARGE} links, the others of {SMALL}) to \
         {CLIENTS} clients; {SELLERS} sellers with a stream each ask for {PREVIEWS} previews a second each; {CALLS} calls/s; {PAGES} pages of 200 links and one scrape of the metrics a second. The \
         application, its fake Asterisk and all who ask are one process.",
        wanted.rounds, wanted.seconds
    );
    let head = ["p50", "p99", "p99.9", "longest", "holds/s", "previews/s", "calls/s"];
    let mut section = Section::new("How long the book is held", &how, &head);
    let told = |of: &[f64], digits| Spread::of(of).told(digits);
    section.line([
        told(&figures.p50, 1),
        told(&figures.p99, 1),
        told(&figures.p999, 1),
        told(&figures.longest, 1),
        told(&figures.holds, 0),
        told(&figures.previews, 0),
        told(&figures.calls, 0),
    ]);
    let p999 = Spread::of(&figures.p999);
    section.verdict(&format!("p99.9 at most {GOAL_US} µs"), format!("{} µs", p999.told(1)), p999.median <= GOAL_US);
    section
}

async fn measure(wanted: Wanted) -> Figures {
    let site =
        Site::start_with(Database::Sqlite, |config| config.api.metrics_token = Some(TOKEN.to_owned().into())).await;
    let sellers = fill(&site).await;
    let (holds, done, mut figures) = (holds::measure(), Arc::new(Done::default()), Figures::default());
    let tasks = busy(&site, &sellers, &done).await;
    let rounds = async {
        sleep(WARM_UP).await;
        for _ in 0..wanted.rounds {
            holds.clear();
            let before = [&done.previews, &done.calls].map(|count| count.load(Ordering::Relaxed));
            let seconds = wanted.seconds as f64;
            sleep(Duration::from_secs_f64(seconds)).await;
            figures.add(holds, seconds);
            let after = [&done.previews, &done.calls].map(|count| count.load(Ordering::Relaxed));
            figures.previews.push((after[0] - before[0]) as f64 / seconds);
            figures.calls.push((after[1] - before[1]) as f64 / seconds);
        }
    };
    tokio::select! {
        () = rounds => {}
        () = call(&site, &done) => {}
    }
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        let ended = task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "somebody gave up");
    }
    site.settle().await;
    figures
}

impl Figures {
    fn add(&mut self, holds: &Holds, seconds: f64) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        self.p50.push(micros(holds.quantile(0.5)));
        self.p99.push(micros(holds.quantile(0.99)));
        self.p999.push(micros(holds.quantile(0.999)));
        self.longest.push(micros(holds.longest()));
        self.holds.push(holds.count() as f64 / seconds);
    }
}

/// Everybody who keeps the controller busy, until they are ended.
async fn busy(site: &Site, sellers: &[Caller], done: &Arc<Done>) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for (seller, caller) in sellers.iter().enumerate() {
        let mut stream = caller.open("/live/events").await;
        assert_eq!(stream.status(), 200);
        tasks.push(tokio::spawn(async move { while let Ok(Some(_)) = stream.chunk().await {} }));
        let (caller, done) = (caller.clone(), Arc::clone(done));
        tasks.push(tokio::spawn(async move {
            let mut turns = every(PREVIEWS);
            for campaign in (0..CAMPAIGNS / SELLERS).cycle() {
                turns.tick().await;
                let did = number(campaign * SELLERS + seller);
                let answer = caller.post("/route", json!({ "did": did })).await.expect(200);
                assert!(!answer["candidates"].as_array().expect("a list").is_empty(), "{answer}");
                done.previews.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let (admin, scraper) = (site.as_admin().await, site.outside().with_access_token(TOKEN));
    tasks.push(tokio::spawn(async move {
        let (mut turns, mut cursor) = (every(PAGES), String::new());
        loop {
            turns.tick().await;
            let page = admin.get(&format!("/live/links?limit=200{cursor}")).await.expect(200);
            cursor = page["next_cursor"].as_str().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        }
    }));
    tasks.push(tokio::spawn(async move {
        let mut turns = every(1);
        loop {
            turns.tick().await;
            assert_eq!(scraper.get("/metrics").await.status, 200);
        }
    }));
    tasks
}

/// Calls to every campaign in turn, without end.
async fn call(site: &Site, done: &Arc<Done>) {
    let (mut turns, mut calls) = (every(CALLS), JoinSet::new());
    for n in (0..CAMPAIGNS).cycle() {
        turns.tick().await;
        let (call, done) = (site.asterisk.incoming("capconduit-1", &number(n), "+447700900123"), Arc::clone(done));
        calls.spawn(async move {
            call.answered().await;
            done.calls.fetch_add(1, Ordering::Relaxed);
            sleep(TALK).await;
            call.hang_up();
        });
        while let Some(ended) = calls.try_join_next() {
            ended.expect("every call is answered");
        }
    }
}

fn every(a_second: u32) -> tokio::time::Interval {
    let mut turns = interval(Duration::from_secs(1) / a_second);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

fn number(campaign: usize) -> String {
    format!("+4430{campaign:08}")
}

/// Copies what a plan makes until there is as much as is wanted, and waits until it is in force. Campaign n is seller n % `SELLERS`'s.
async fn fill(site: &Site) -> Vec<Caller> {
    site.apply(PLAN).await;
    let (mut sellers, mut ids) = (Vec::new(), Vec::new());
    for n in 0..SELLERS {
        let name = format!("seller-{n}");
        ids.push(site.user(&name, Role::Seller).await);
        sellers.push(site.as_user(&name).await);
    }
    assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ids:?}");
    (0..CLIENTS).for_each(|n| site.asterisk.endpoint(&format!("bulk-{n}"), Behaviour::answers(0)));
    let connection = Connection::open(site.folder().join("capconduit.db")).expect("the controller's database");
    connection.busy_timeout(Duration::from_secs(10)).expect("it can be set");
    let (id, seller) = (format!("{FIRST} + n"), format!("{} + n % {SELLERS}", ids[0]));
    let client = [("id", id.as_str()), ("client_identifier", "'bulk-' || n"), ("name", "'Bulk ' || n")];
    copies(&connection, ("clients", "client_identifier = 'north'"), CLIENTS, &client);
    let campaign = [("id", id.as_str()), ("name", "'Bulk ' || n"), ("seller_id", seller.as_str())];
    copies(&connection, ("campaigns", "name = 'Solar'"), CAMPAIGNS, &campaign);
    let did = [("id", id.as_str()), ("number", "'+4430' || printf('%08d', n)"), ("seller_id", seller.as_str())];
    copies(&connection, ("dids", "number = '+442071234567'"), CAMPAIGNS, &did);
    let feeds = [("did_id", id.as_str()), ("campaign_id", id.as_str()), ("seller_id", seller.as_str())];
    copies(&connection, ("campaign_dids", "1 = 1"), CAMPAIGNS, &feeds);
    let of_large = SELLERS * LARGE;
    let of = format!("{FIRST} + iif(n < {of_large}, n / {LARGE}, {SELLERS} + (n - {of_large}) / {SMALL})");
    let to = format!("{FIRST} + n % {CLIENTS}");
    let link = [("id", id.as_str()), ("campaign_id", of.as_str()), ("client_id", to.as_str())];
    copies(&connection, ("campaign_client_settings", "1 = 1"), LINKS, &link);
    connection.execute("UPDATE routing_revision SET revision = revision + 1", []).expect("it can be changed");
    site.in_force().await;
    sellers
}
