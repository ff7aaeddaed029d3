//! A site with two sellers, in which everything that one must not see of the other, or of a client, is marked.

use std::time::Duration;

use capconduit::auth::roles::Role;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::{Behaviour, FakeCall};
use crate::patience::PATIENCE;
use crate::site::{PASSWORD, Site};

/// Numbers that only foreign objects have: ids, caps.
const MARK: i64 = 918_273_000;
/// The registration password of a client, which nobody gets to see.
const SECRET: &str = "canary-secret-of-a-client";
/// Who calls acme.
const CALLER: &str = "+447700900123";
/// Who calls its rival.
const FOREIGN_CALLER: &str = "+447700918273";

/// What a text has that its reader must not see.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// Parts of texts, in lower case.
    parts: Vec<String>,
    /// Whole numbers and words.
    words: Vec<String>,
}

/// The objects of one seller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    pub(crate) username: String,
    pub(crate) seller: i64,
    pub(crate) number: String,
    pub(crate) did: i64,
    pub(crate) client: i64,
    pub(crate) campaign: i64,
    pub(crate) link: i64,
    pub(crate) call: String,
}

/// The site, and who is who.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) admin: Caller,
    /// Acme's.
    pub(crate) own: Objects,
    /// Its rival's.
    pub(crate) foreign: Objects,
    /// What acme must not see.
    pub(crate) hidden: Canaries,
    /// What nobody must see.
    pub(crate) secret: Canaries,
}

impl Canaries {
    /// The first of them that stands in `text`.
    pub(crate) fn find(&self, text: &str) -> Option<&str> {
        let text = text.to_ascii_lowercase();
        let words: Vec<_> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        let part = self.parts.iter().find(|part| text.contains(*part));
        part.or_else(|| self.words.iter().find(|word| words.contains(&word.as_str()))).map(String::as_str)
    }
}

impl World {
    /// Makes everything over the API, as an admin and the sellers themselves, with one finished and one live call of each seller.
    pub(crate) async fn on(site: Site) -> Self {
        let admin = site.as_admin().await;
        let (north, shared) =
            (shared_client(&admin, "north", None).await, shared_client(&admin, "south", Some("Call centre 7")).await);
        let acme = Objects { username: "acme".into(), number: "+442071234567".into(), ..Objects::default() };
        let own = objects(&site, &admin, acme, "Solar", north, shared).await;
        mark_ids(&site).await;
        let secret = secret_client(&admin).await;
        let rival = Objects { username: "canary-rival".into(), number: "+442079999999".into(), ..Objects::default() };
        let foreign = objects(&site, &admin, rival, "Wind canary", secret, shared).await;
        let named = format!("/clients/{secret}/sellers/{}", foreign.seller);
        admin.send(Method::PUT, &named, |request| request).await.expect(204);
        let mut world = Self { site, admin, own, foreign, hidden: Canaries::default(), secret: Canaries::default() };
        world.site.in_force().await;
        for client in ["north-canary", "south-canary", "secret-canary"] {
            world.site.asterisk.endpoint(client, Behaviour::answers(0));
        }
        world.own.call = world.finished_call(&world.own.number, CALLER).await;
        world.foreign.call = world.finished_call(&world.foreign.number, FOREIGN_CALLER).await;
        world.hidden = world.hidden_from_acme();
        world.secret = world.hidden_from_all().await;
        world
    }

    /// A call that has its record; its id.
    async fn finished_call(&self, did: &str, caller: &str) -> String {
        let call = self.site.asterisk.incoming("capconduit-1", did, caller);
        call.answered().await;
        call.hang_up();
        call.ended().await;
        let path = format!("/calls?did={}", did.replace('+', "%2B"));
        let found = async || self.admin.get(&path).await.expect(200)["items"][0]["call_id"].as_str().map(str::to_owned);
        until(found).await
    }

    /// A call to the seller that is live; its id.
    pub(crate) async fn live_call(&self, seller: &Objects) -> (String, FakeCall) {
        let caller = if seller.username == "acme" { CALLER } else { FOREIGN_CALLER };
        let call = self.site.asterisk.incoming("capconduit-1", &seller.number, caller);
        call.answered().await;
        let found = async || {
            let live = self.admin.get("/live/calls").await.expect(200);
            let live = live["items"].as_array().expect("items").iter();
            let mut talking = live.filter(|live| live["did"] == seller.number.as_str() && live["state"] == "talking");
            talking.next().and_then(|live| live["call_id"].as_str()).map(str::to_owned)
        };
        (until(found).await, call)
    }

    /// An API token of the seller; its id and the secret.
    pub(crate) async fn token(&self, username: &str, scope: &str) -> (i64, String) {
        let body = json!({ "name": format!("of {username}"), "scope": scope });
        let made = self.site.as_user(username).await.post("/auth/tokens", body).await.expect(201);
        (id(&made["token"]), made["secret"].as_str().expect("a secret").to_owned())
    }

    /// A session of this user, by its id.
    pub(crate) async fn session(&self, username: &str) -> String {
        let listed = self.site.as_user(username).await.get("/auth/sessions?limit=1").await.expect(200);
        listed["items"][0]["id"].as_str().expect("an id").to_owned()
    }

    fn hidden_from_acme(&self) -> Canaries {
        let digits = |number: &str| number.trim_start_matches('+').to_owned();
        let Objects { seller, did, client, campaign, link, call, number, .. } = &self.foreign;
        let parts = vec!["canary".into(), "127.0.0.77".into(), digits(number), digits(FOREIGN_CALLER), call.clone()];
        let ids = [seller, did, client, campaign, link].map(ToString::to_string);
        let caps = [MARK - 1, MARK - 2].map(|cap| cap.to_string());
        Canaries { parts, words: ids.into_iter().chain(caps).collect() }
    }

    async fn hidden_from_all(&self) -> Canaries {
        let mut parts = vec![SECRET.to_owned(), PASSWORD.to_owned()];
        for column in [
            "password_hash FROM users WHERE password_hash IS NOT NULL",
            "md5_cred FROM clients WHERE md5_cred IS NOT NULL",
        ] {
            parts.extend(self.site.sql(&format!("SELECT {column}")).await.expect("they are read"));
        }
        assert!(parts.len() >= 5, "passwords and hashes: {parts:?}");
        Canaries { parts: parts.iter().map(|part| part.to_ascii_lowercase()).collect(), words: Vec::new() }
    }
}

/// What `look` finds, as soon as it does.
pub(crate) async fn until<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.expect("it comes")
}

pub(crate) fn id(object: &Value) -> i64 {
    object["id"].as_i64().expect("an id")
}

async fn shared_client(admin: &Caller, name: &str, mask: Option<&str>) -> i64 {
    let shown = if mask.is_some() { format!("{name} canary") } else { "North".to_owned() };
    let body = json!({
        "client_identifier": format!("{name}-canary"), "name": shown, "mask_name": mask, "contact": "Canary, at night",
        "max_concurrency": MARK - 1, "sip": { "host": "127.0.0.77" },
    });
    id(&admin.post("/clients", body).await.expect(201))
}

/// A client that only the rival may link, and that registers.
async fn secret_client(admin: &Caller) -> i64 {
    let body = json!({
        "client_identifier": "secret-canary", "name": "Secret canary", "access": "selected",
        "sip": { "registration": { "username": "canary", "password": SECRET } },
    });
    id(&admin.post("/clients", body).await.expect(201))
}

/// Everything that a seller has: its first link leads to `client`, the second one to `shared`.
async fn objects(site: &Site, admin: &Caller, seller: Objects, campaign: &str, client: i64, shared: i64) -> Objects {
    site.user(&seller.username, Role::Seller).await;
    let users = admin.get("/users?role=seller").await.expect(200);
    let user =
        users["items"].as_array().expect("items").iter().find(|user| user["username"] == seller.username.as_str());
    let user = id(user.expect("it was made"));
    let did = json!({ "number": seller.number, "seller_id": user });
    let did = id(&admin.post("/dids", did).await.expect(201));
    let made = admin.post("/campaigns", json!({ "name": campaign, "seller_id": user })).await.expect(201);
    let campaign = id(&made);
    let path = format!("/campaigns/{campaign}");
    admin.send(Method::PUT, &format!("{path}/dids/{did}"), |request| request).await.expect(204);
    if user >= MARK {
        admin.send(Method::PUT, &format!("/clients/{client}/sellers/{user}"), |request| request).await.expect(204);
    }
    let mut links = Vec::new();
    for client in [client, shared] {
        let total = if user >= MARK { MARK - 2 } else { 1_000_000 };
        let body =
            json!({ "client_id": client, "max_concurrency": 5, "status": "active", "total_calls_allowed": total });
        links.push(id(&admin.post(&format!("{path}/links"), body).await.expect(201)));
    }
    Objects { seller: user, did, client, campaign, link: links[0], ..seller }
}

/// Ids that are given from now on are large.
async fn mark_ids(site: &Site) {
    for table in ["users", "dids", "clients", "campaigns", "campaign_client_settings"] {
        let sqlite = format!("UPDATE sqlite_sequence SET seq = {MARK} WHERE name = '{table}' RETURNING name");
        let postgres = format!("SELECT CAST(setval(pg_get_serial_sequence('{table}', 'id'), {MARK}) AS TEXT)");
        let is_postgres = site.config.database.url.expose_secret().starts_with("postgres");
        let statement = if is_postgres { postgres } else { sqlite };
        assert_eq!(site.sql(&statement).await.expect("changed").len(), 1, "{table}");
    }
}
