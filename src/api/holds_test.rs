//! What each read of the API visits under the book's lock: the same among ten links and among ten thousand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use poem::http::{Method, StatusCode};
use poem::{Endpoint, IntoResponse, Request};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{State, Visits, routes};
use crate::auth::authority::Authority;
use crate::auth::first_admin;
use crate::calls::dispatcher::{Bounds, Dispatcher};
use crate::calls::facts::Limits;
use crate::calls::locked::SLICE;
use crate::calls::registry::Registry;
use crate::calls::task::Context;
use crate::clock::Clock;
use crate::config::Config;
use crate::id::{CampaignId, ClientId, LinkId};
use crate::in_force::InForce;
use crate::plan::Document;
use crate::presence::Presence;
use crate::routing::book::Book;
use crate::routing::caps::Permit;
use crate::routing::snapshot::{Campaign, Client, Link, Snapshot};
use crate::screen::{Resolver, Screen};
use crate::store::{self, Db};
use crate::telemetry::Metrics;

const PASSWORD: &str = "violet tractor hums low";
const TOKEN: &str = "scraper-0123456789abcdef0123456789";

const PLAN: &str = r#"
[[sellers]]
username = "acme"
name = "Acme"
[[clients]]
identifier = "north"
name = "North"
max_concurrency = 9
sip = { host = "127.0.0.11" }
[[dids]]
number = "+442071234567"
seller = "acme"
[[campaigns]]
name = "Solar"
seller = "acme"
routing_strategy = "priority"
dids = ["+442071234567"]
[[campaigns.links]]
client = "north"
max_concurrency = 7
"#;

/// The API without a listener, among so many links.
struct Site {
    registry: Arc<Registry>,
    api: Box<dyn Fn(Request) -> Answered>,
    bearer: String,
    stop: CancellationToken,
    _dir: TempDir,
}

type Answered = futures_util::future::BoxFuture<'static, poem::Response>;

/// The stored configuration, and ten links to each of as many more campaigns as are wanted.
fn furnish(stored: Snapshot, links: i64) -> Snapshot {
    let mut snapshot = stored;
    let (_, campaign) = snapshot.campaigns.iter().next().expect("the plan has one");
    let (_, client) = snapshot.clients.iter().next().expect("the plan has one");
    let (campaign, client) = (Arc::clone(campaign), Arc::clone(client));
    for n in 1_000..1_000 + links / 10 {
        let link =
            |at: i64| Link { id: LinkId(n * 10 + at), client: ClientId(n * 10 + at), ..campaign.links[0].clone() };
        let links = (0..10).map(link).collect();
        snapshot
            .campaigns
            .insert(CampaignId(n), Arc::new(Campaign { id: CampaignId(n), links, ..(*campaign).clone() }));
        for id in (n * 10..n * 10 + 10).map(ClientId) {
            snapshot.clients.insert(id, Arc::new(Client { id, ..(*client).clone() }));
        }
    }
    snapshot
}

impl Site {
    async fn start(links: i64) -> Self {
        let dir = TempDir::new().expect("a folder");
        let config = configuration(dir.path());
        let (clock, stop) = (Clock::start(), CancellationToken::new());
        let db = Db::connect(&config.database).await.expect("the database opens");
        store::migrate(&db, &config.realtime).await.expect("the schema is made");
        first_admin::ensure(&db, &config, clock).await.expect("there is an admin");
        let document = Document::parse(PLAN).expect("a valid plan");
        let screen = Screen::new(&config, Resolver::system());
        let screening = screen.screening(&document).await;
        store::apply::apply(&db, &config.realtime, &screening, &document, true).await.expect("it is applied");
        let stored = store::snapshot::load(&db).await.expect("it is read");
        let registry = Arc::new(Registry::new(Book::default(), furnish(stored, links), 16));
        let journal = dir.path().join(store::journal::FILE);
        let (journal, left) = store::journal::open(journal, config.journal).await.expect("the journal opens");
        let limits = Limits::new(&config.calls, config.rejections);
        let context =
            Context { registry: Arc::clone(&registry), journal: journal.clone(), clock, limits: limits.into() };
        let (health, nodes) = watch::channel(Vec::new());
        let dispatcher = Dispatcher::new(Vec::new(), context, Bounds::new(&config.calls).into(), health, left);
        let (_, faults) = watch::channel(Vec::new());
        let (_, read_only) = watch::channel(false);
        let sight = store::sight::load(&db).await.expect("it is read");
        let in_force = InForce::from(config.clone());
        let state = State {
            registry: Arc::clone(&registry),
            journal,
            nodes,
            faults,
            read_only,
            desk: dispatcher.desk(),
            metrics: Metrics::install().expect("nothing else measures"),
            db: db.clone(),
            reports: store::reports::Reports::of(&db, config.limits).into(),
            clock,
            realtime: config.realtime.clone(),
            config: in_force.clone(),
            authority: Arc::new(Authority::new(&config).expect("a key is made")),
            visits: Visits::new(db, clock, in_force.clone(), stop.clone()),
            sight: Arc::new(ArcSwap::from_pointee(sight)),
            screen: screen.into(),
            presence: Arc::new(Presence::new(Vec::new(), in_force, clock)),
        };
        let (_, events) = tokio::sync::mpsc::channel(1);
        tokio::spawn(dispatcher.run(events, stop.clone()));
        let api = Arc::new(routes(state));
        let api = Box::new(move |request| -> Answered {
            let api = Arc::clone(&api);
            Box::pin(async move {
                api.call(request).await.map_or_else(|error| error.into_response(), IntoResponse::into_response)
            })
        });
        let mut site = Self { registry, api, bearer: String::new(), stop, _dir: dir };
        let body = json!({ "username": "admin", "password": PASSWORD });
        let tokens = site.ask(Method::POST, "/api/v1/auth/login", Some(body)).await;
        site.bearer = tokens["access_token"].as_str().expect("a token").to_owned();
        site
    }

    async fn open(&self, method: Method, path: &str, body: Option<Value>) -> poem::Response {
        let token = if path == "/metrics" { TOKEN } else { &self.bearer };
        let uri = path.parse().expect("a path");
        let request = Request::builder().method(method).uri(uri).content_type("application/json");
        let request = request.header("Authorization", format!("Bearer {token}"));
        let answer = (self.api)(request.body(body.map_or_else(String::new, |body| body.to_string()))).await;
        assert!(matches!(answer.status(), StatusCode::OK | StatusCode::ACCEPTED), "{path}: {}", answer.status());
        answer
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let text = self.open(method, path, body).await.into_body().into_string().await.expect("text");
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }
}

fn configuration(dir: &Path) -> Config {
    let text = format!(
        "[data]\ndir = \"{}\"\n[api]\nmetrics_token = \"{TOKEN}\"\n[auth]\nadmin_password = \"{PASSWORD}\"\n[sip]\nallowed_networks = [\"127.0.0.0/8\"]\n",
        dir.display()
    );
    Config::from_layers(Some((Path::new("test.toml"), &text)), []).expect("a valid configuration")
}

/// What each hold has visited, by what was asked.
async fn visits(links: i64) -> BTreeMap<&'static str, Vec<usize>> {
    let site = Site::start(links).await;
    let key = (crate::id::CallId(uuid::Uuid::from_u128(1)), 1);
    let mut seen = BTreeMap::new();
    let _stream = site.open(Method::GET, "/api/v1/live/events", None).await;
    let permit = Permit { campaign: CampaignId(1), link: LinkId(1), client: ClientId(1) };
    site.registry.book().ledger.hold(key, permit);
    site.registry.announce_use();
    seen.insert("stream", site.registry.take_visits());
    let preview = json!({ "did": "+442071234567", "usage": [{ "link_id": 1, "used": 3 }] });
    for (what, method, path, body) in [
        ("preview", Method::POST, "/api/v1/route", Some(preview)),
        ("use of links", Method::GET, "/api/v1/live/links?limit=1", None),
        ("live calls", Method::GET, "/api/v1/live/calls", None),
        ("client", Method::GET, "/api/v1/clients/1/state", None),
        ("readiness", Method::GET, "/api/v1/campaigns/1/readiness", None),
        ("nodes", Method::GET, "/api/v1/nodes", None),
        ("page of links", Method::GET, "/api/v1/live/links?limit=200", None),
        ("metrics", Method::GET, "/metrics", None),
    ] {
        let answer = site.ask(method, path, body).await;
        assert!(!answer.to_string().is_empty());
        if what == "preview" {
            assert_eq!((&answer["candidates"], &answer["decision"]["links"][0]["used"]), (&json!([1]), &json!(3)));
        }
        seen.insert(what, site.registry.take_visits());
    }
    site.stop.cancel();
    seen
}

#[tokio::test(flavor = "current_thread")]
async fn no_read_visits_more_under_the_lock_where_there_are_more_links() {
    let (few, some, many) = (visits(10).await, visits(1_000).await, visits(10_000).await);
    let lists = ["metrics", "page of links"];
    for (what, visited) in &few {
        let longest = |of: &BTreeMap<_, Vec<usize>>| of[what].iter().copied().max();
        if lists.contains(what) {
            // As many holds as there are slices, and each as short.
            assert_eq!(longest(&some), longest(&many), "{what}");
            assert!(longest(&many) <= Some(4 * SLICE), "{what}: {:?}", longest(&many));
            continue;
        }
        assert_eq!((visited, &some[what]), (&many[what], &many[what]), "{what}");
        assert!(*what == "live calls" || *what == "nodes" || longest(&few) > Some(0), "{what}: {visited:?}");
    }
}
