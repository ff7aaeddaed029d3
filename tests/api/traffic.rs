//! Two sellers who share a client, with calls to both: what one must not see of the other is marked.

use std::collections::HashMap;
use std::time::Duration;

use capconduit::auth::principal::Actor;
use capconduit::auth::roles::{Role, Scope};
use capconduit::auth::secrets;
use capconduit::cdr::record::CallRecord;
use capconduit::clock::Clock;
use capconduit::id::UserId;
use capconduit::store::change::{Editor, Owner};
use capconduit::store::{clients, records, tokens, users};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::fake_ari::{Behaviour, FakeCall};
use crate::patience::PATIENCE;
use crate::site::Site;

/// In every name that a seller `acme` must not come across.
pub(crate) const CANARY: &str = "canary";
/// Of acme.
pub(crate) const OWN: &str = "+442071234567";
/// Of the other seller.
pub(crate) const FOREIGN: &str = "+442079999999";
/// What sellers are to read instead of the name of `south-canary`.
pub(crate) const ALIAS: &str = "Call centre 7";

const PLAN: &str = r#"
[[sellers]]
username = "acme"
name = "Acme"
[[sellers]]
username = "rival"
name = "Rival canary"
[[clients]]
identifier = "north-canary"
name = "North"
sip = { host = "127.0.0.11" }
[[clients]]
identifier = "south-canary"
name = "South canary"
max_concurrency = 1
sip = { host = "127.0.0.12" }
[[dids]]
number = "+442071234567"
seller = "acme"
[[dids]]
number = "+442079999999"
seller = "rival"
[[campaigns]]
name = "Solar"
seller = "acme"
routing_strategy = "priority"
dids = ["+442071234567"]
[[campaigns.links]]
client = "south-canary"
max_concurrency = 7
[[campaigns.links]]
client = "north-canary"
forwarding_priority = 2
[[campaigns]]
name = "Wind canary"
seller = "rival"
routing_strategy = "priority"
dids = ["+442079999999"]
[[campaigns.links]]
client = "south-canary"
"#;

/// A site with one user of each role and the two sellers.
pub(crate) struct Traffic {
    pub(crate) site: Site,
    base: String,
    http: reqwest::Client,
    keys: HashMap<&'static str, String>,
    pub(crate) users: HashMap<&'static str, UserId>,
}

impl Traffic {
    /// Gives a running site the plan, with the shared client masked, and waits until that is in force.
    pub(crate) async fn on(site: Site) -> Self {
        site.apply(PLAN).await;
        let base = format!("http://{}/api/v1", site.config.api.listen);
        let (mut keys, mut ids) = (HashMap::new(), HashMap::new());
        for (name, role) in
            [("admin", Role::Admin), ("staff", Role::Staff), ("acme", Role::Seller), ("rival", Role::Seller)]
        {
            let id = user(&site, name, role).await;
            keys.insert(name, token(&site, id).await);
            ids.insert(name, id);
        }
        mask(&site, "south-canary").await;
        let traffic = Self { site, base, http: reqwest::Client::new(), keys, users: ids };
        traffic.until_in_force().await;
        traffic
    }

    /// Waits until the application routes by what the database holds.
    pub(crate) async fn until_in_force(&self) {
        let revision = capconduit::store::snapshot::revision(&self.site.db).await.expect("read");
        let url = format!("http://{}/readyz", self.site.config.api.listen);
        let poll = async {
            loop {
                let answer = self.http.get(&url).header("X-API-Key", &self.keys["admin"]).send();
                let answer = answer.await.expect("the API answers");
                let ready: Value = answer.json().await.expect("JSON");
                if ready["details"]["routing_revision"] == revision {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("the plan is in force");
    }

    /// Makes the call centres known to Asterisk.
    pub(crate) fn clients(&self, south: Behaviour, north: Behaviour) {
        self.site.asterisk.endpoint("south-canary", south);
        self.site.asterisk.endpoint("north-canary", north);
    }

    /// A caller dials this number.
    pub(crate) fn call(&self, did: &str) -> FakeCall {
        self.site.asterisk.incoming("capconduit-1", did, "+447700900123")
    }

    /// Waits for this many records, oldest first.
    pub(crate) async fn records(&self, count: usize) -> Vec<CallRecord> {
        let poll = async {
            loop {
                let mut found = records::recent(&self.site.db, 100).await.expect("read");
                if found.len() == count {
                    found.reverse();
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("every call has its record")
    }

    /// No channel is left, and the application stops cleanly.
    pub(crate) async fn settle(self) {
        self.site.asterisk.until_empty().await;
        self.site.settle().await;
    }

    /// The API key of somebody.
    pub(crate) fn key(&self, who: &str) -> &str {
        &self.keys[who]
    }

    /// Sends a request as this user; status and body.
    pub(crate) async fn send(&self, who: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).header("X-API-Key", &self.keys[who]);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the API answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Begins to read what this user gets; the body is left to the caller.
    pub(crate) async fn open(&self, who: &str, path: &str) -> reqwest::Response {
        self.try_open(who, path).await.expect("the API answers")
    }

    /// Likewise, where the API may end the connection without an answer.
    pub(crate) async fn try_open(&self, who: &str, path: &str) -> reqwest::Result<reqwest::Response> {
        self.http.get(format!("{}{path}", self.base)).header("X-API-Key", &self.keys[who]).send().await
    }

    /// What this user gets.
    pub(crate) async fn get(&self, who: &str, path: &str) -> Value {
        let (status, body) = self.send(who, Method::GET, path, None).await;
        assert_eq!(status, 200, "{who} {path}: {body}");
        body
    }

    /// Status of a request that is to be refused; nothing of another seller stands in the answer.
    pub(crate) async fn refused(&self, who: &str, method: Method, path: &str, body: Option<Value>) -> u16 {
        let (status, body) = self.send(who, method, path, body).await;
        no_canary(&body);
        status
    }
}

/// Nothing of another seller, and no endpoint's name, stands in what a seller got.
pub(crate) fn no_canary(body: &Value) {
    assert!(!body.to_string().to_ascii_lowercase().contains(CANARY), "a seller sees too much: {body:#}");
}

async fn user(site: &Site, name: &str, role: Role) -> UserId {
    if let Some((account, _)) = users::credentials(&site.db, name).await.expect("read") {
        return account.id;
    }
    let new = users::NewUser {
        username: name.to_owned(),
        name: name.to_owned(),
        role,
        password_hash: None,
        must_change_password: false,
    };
    users::create(&site.db, Actor::System("cli"), new, Clock::start().now().wall).await.expect("made").id
}

async fn token(site: &Site, user: UserId) -> String {
    let secret = secrets::api_token();
    let (name, hash) = ("test".to_owned(), secrets::hash(&secret));
    let new = tokens::NewToken { user, name, hash, scope: Scope::Write, expires_at: None };
    tokens::create(&site.db, Actor::System("cli"), new, 100, Clock::start().now().wall).await.expect("made");
    secret.expose_secret().to_owned()
}

async fn mask(site: &Site, identifier: &str) {
    let snapshot = capconduit::store::snapshot::load(&site.db).await.expect("read");
    let client = snapshot.clients.values().find(|c| c.identifier.as_str() == identifier).expect("a client").id;
    let (realtime, at) = (&site.config.realtime, Clock::start().now().wall);
    let editor = Editor { db: &site.db, realtime, actor: Actor::System("cli"), at, owner: Owner::Anyone };
    let mask = |values: &mut clients::ClientValues| {
        values.mask_name = Some(ALIAS.to_owned());
        Ok(())
    };
    clients::change(&editor, client, None, mask).await.expect("masked");
}
