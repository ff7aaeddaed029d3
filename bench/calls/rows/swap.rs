//! What a change of a large configuration costs the calls that are decided meanwhile, and how soon it is in force.

use std::time::Duration;

use rusqlite::{Connection, params_from_iter};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::calls::contest::{Contest, Contestant, Way};
use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::site::{self, ANSWERED, Transport};
use crate::calls::stats::{Spread, percentile};
use crate::harness::controller::sum;
use crate::harness::site::{Backend, Site};

const CAMPAIGNS: usize = 10_000;
const DIDS: usize = 100_000;
const LINKS: usize = 50_000;
const CLIENTS: usize = 500;
/// Ids of what is made here begin there.
const FIRST: usize = 1_000_000;
/// How often the revision in force is looked at.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// What one turn of calls came to.
#[derive(Debug, Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Calls whose first request was sent more than a millisecond after they arrived, and all.
    slow: f64,
    calls: f64,
}

/// 20 calls a second, with and without changes one after the other.
pub(crate) async fn swap(contest: &mut Contest, wanted: Wanted) -> Section {
    let how = format!(
        "SQLite with {CAMPAIGNS} campaigns, {DIDS} DIDs, {LINKS} links, {CLIENTS} clients. 20 calls/s, {} rounds of {} s each in turns: alone, and while another process changes the configuration, each change as \
         soon as the last one is in force. Routed: from a call's arrival to its first request, as the controller measures it.",
        wanted.rounds, wanted.seconds
    );
    let head = ["", "p50 set-up, ms", "p99", "routed in more than 1 ms"];
    let mut section = Section::new("Change of a large configuration", &how, &head);
    contest.sites.push(site::prepare(Backend::Sqlite, Transport::Websocket).start(&site::plan(&contest.centres)).await);
    let (site, fixed) = (contest.sites.len() - 1, 0);
    fill(&contest.sites[site]);
    until_in_force(&contest.sites[site]).await;
    let who = Contestant { name: "CapConduit".to_owned(), site, way: Way::Controller, fixed };
    let (mut all, mut visible) = ([Figures::default(), Figures::default()], Vec::new());
    for _ in 0..wanted.rounds {
        for (changing, figures) in all.iter_mut().enumerate() {
            turn(contest, &who, wanted.seconds, (changing == 1).then_some(&mut visible), figures).await;
        }
    }
    for (name, figures) in ["alone", "while it changes"].iter().zip(&all) {
        let slow = format!("{:.0} of {:.0}", figures.slow, figures.calls);
        let spread = |of: &[f64]| Spread::of(of).told(2);
        section.line([(*name).to_owned(), spread(&figures.p50), spread(&figures.p99), slow]);
    }
    let share = |of: &Figures| of.slow / of.calls;
    let more = share(&all[1]) - share(&all[0]);
    section.verdict(
        "no call is delayed by more than 1 ms",
        format!("{:.2} % of the calls more than alone", more * 100.0),
        more <= 0.0,
    );
    let visible = Spread::of(&visible);
    section.verdict(
        "a change is in force within 1 s",
        format!("{} s after it was committed", visible.told(2)),
        visible.most <= 1.0,
    );
    contest.sites.pop();
    section
}

async fn turn(
    contest: &mut Contest,
    who: &Contestant,
    seconds: usize,
    visible: Option<&mut Vec<f64>>,
    figures: &mut Figures,
) {
    let before = routed(&contest.sites[who.site]).await;
    let changes = visible.as_ref().map(|_| change(&contest.sites[who.site]));
    let block = contest.block(who, ANSWERED, (seconds * 20, 20.0), Duration::from_secs(1)).await;
    if let (Some(visible), Some(changes)) = (visible, changes) {
        changes.0.abort();
        visible.extend(changes.1.lock().expect("nobody panics with it").iter());
    }
    contest.centres.alpha.take();
    let after = routed(&contest.sites[who.site]).await;
    let mut set_ups = block.set_ups();
    figures.p50.push(percentile(&mut set_ups, 0.5));
    figures.p99.push(percentile(&mut set_ups, 0.99));
    figures.calls += after.1 - before.1;
    figures.slow += (after.1 - after.0) - (before.1 - before.0);
}

/// Calls that were routed within a millisecond, and all.
async fn routed(site: &Site) -> (f64, f64) {
    let text = site.controller.metrics().await.expect("metrics answer");
    let within = text.lines().find_map(|line| line.strip_prefix("capconduit_route_seconds_bucket{le=\"0.001\"} "));
    let all = sum(&text, "capconduit_route_seconds_count").unwrap_or(0.0);
    (within.and_then(|text| text.parse().ok()).unwrap_or(0.0), all)
}

type Took = std::sync::Arc<std::sync::Mutex<Vec<f64>>>;

/// Changes the configuration over and over; how long each change took to be in force, in seconds.
fn change(site: &Site) -> (JoinHandle<()>, Took) {
    let (took, connection) = (Took::default(), open(site));
    let (told, meter) = (took.clone(), site.controller.meter());
    let task = tokio::task::spawn_local(async move {
        loop {
            connection.execute("UPDATE routing_revision SET revision = revision + 1", []).expect("it can be changed");
            let (began, revision) = (Instant::now(), revision(&connection));
            while meter.gauge("capconduit_routing_revision").await < revision {
                sleep(LOOK).await;
            }
            told.lock().expect("nobody panics with it").push(began.elapsed().as_secs_f64());
        }
    });
    (task, took)
}

fn open(site: &Site) -> Connection {
    let connection = Connection::open(site.folder().join("data/capconduit.db")).expect("the controller's database");
    connection.busy_timeout(Duration::from_secs(10)).expect("it can be set");
    connection
}

fn revision(connection: &Connection) -> f64 {
    let revision: i64 = connection
        .query_row("SELECT revision FROM routing_revision", [], |row| row.get(0))
        .expect("there is always one");
    revision as f64
}

async fn until_in_force(site: &Site) {
    let (began, wanted) = (Instant::now(), revision(&open(site)));
    while site.controller.gauge("capconduit_routing_revision").await < wanted {
        assert!(began.elapsed() < PATIENCE, "the configuration is not in force after {PATIENCE:?}");
        sleep(LOOK).await;
    }
}

/// Copies what the site has until it has as much as is wanted.
fn fill(site: &Site) {
    let connection = open(site);
    let id = format!("{FIRST} + n");
    let of = |expression: &str| format!("{FIRST} + {expression}");
    copies(
        &connection,
        ("clients", "client_identifier = 'alpha'"),
        CLIENTS,
        &[("id", &id), ("client_identifier", "'bulk-' || n"), ("name", "'Bulk ' || n")],
    );
    copies(&connection, ("campaigns", "name = 'Answered'"), CAMPAIGNS, &[("id", &id), ("name", "'Bulk ' || n")]);
    let number = ("number", "'+4430' || printf('%08d', n)");
    copies(&connection, ("dids", &format!("number = '{ANSWERED}'")), DIDS, &[("id", &id), number]);
    let feeds = "did_id = (SELECT id FROM dids WHERE number = '+442079460001')";
    copies(
        &connection,
        ("campaign_dids", feeds),
        DIDS,
        &[("did_id", &id), ("campaign_id", &of(&format!("n % {CAMPAIGNS}")))],
    );
    let each = LINKS / CAMPAIGNS;
    copies(
        &connection,
        ("campaign_client_settings", "campaign_id = (SELECT id FROM campaigns WHERE name = 'Answered')"),
        LINKS,
        &[
            ("id", &id),
            ("campaign_id", &of(&format!("n / {each}"))),
            ("client_id", &of(&format!("(n / {each} * 7 + n % {each}) % {CLIENTS}"))),
            ("max_concurrency", "NULL"),
        ],
    );
    connection.execute("UPDATE routing_revision SET revision = revision + 1", []).expect("it can be changed");
}

/// Makes so many rows like the one that is named, number `n` with these columns of its own.
pub(crate) fn copies(connection: &Connection, (table, like): (&str, &str), count: usize, own: &[(&str, &str)]) {
    let mut statement = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).expect("SQL");
    let columns: Vec<String> =
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("every table has columns");
    let value = |column: &String| {
        own.iter().find(|(name, _)| name == column).map_or_else(|| format!("t.{column}"), |(_, own)| (*own).to_owned())
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let insert = format!(
        "WITH RECURSIVE seq(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM seq WHERE n + 1 < {count})
         INSERT INTO {table} ({}) SELECT {} FROM seq CROSS JOIN (SELECT * FROM {table} WHERE {like} LIMIT 1) AS t",
        columns.join(", "),
        values.join(", ")
    );
    let made = connection.execute(&insert, params_from_iter(std::iter::empty::<i64>()));
    assert_eq!(made.unwrap_or_else(|error| panic!("{insert}: {error}")), count, "{table}");
}
