//! The event stream: what each role is told, and that it ends with the right to it.

use std::time::Duration;

use capconduit::auth::access::{self, AccessKey};
use capconduit::auth::principal::Actor;
use capconduit::auth::roles::Role;
use capconduit::clock::Clock;
use capconduit::id::UserId;
use capconduit::plan::UserStatus;
use capconduit::store::users::{self, Changes};
use reqwest::{Method, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::patience::PATIENCE;
use crate::site::{Database, PASSWORD, Site};
use crate::traffic::{ALIAS, FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(
    each_role_is_told_of_its_own,
    a_withdrawn_client_and_a_new_alias_count_at_once,
    a_stream_ends_when_its_session_does,
    a_stream_ends_when_its_user_changes,
    a_stream_ends_when_its_token_does,
    streams_are_limited_and_end_with_the_server,
);

const PATH: &str = "/live/events";

/// One event as it came over the wire.
#[derive(Debug)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

impl Event {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

#[derive(Debug)]
struct Stream {
    response: Response,
    text: String,
    last: u64,
}

impl Stream {
    /// A stream whose first event, `ready`, has come.
    async fn ready(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, text: String::new(), last: 0 };
        assert!(stream.next().await.is_some_and(|event| event.is("ready")));
        stream
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                if frame.starts_with(':') {
                    continue;
                }
                let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                let id = field("id").expect("an id").parse().expect("a number");
                assert_eq!(id, self.last + 1, "ids count within the stream, and tell nothing of others");
                self.last = id;
                let data = serde_json::from_str(field("data").expect("data")).expect("JSON");
                return Some(Event { id, name: field("event").expect("a name").to_owned(), data });
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("an event, or the end");
            self.text.push_str(std::str::from_utf8(&chunk.expect("no broken connection")?).expect("text"));
        }
    }

    /// Events up to the first that is wanted.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            events.push(self.next().await.expect("the stream goes on"));
            if events.last().is_some_and(&wanted) {
                return events;
            }
        }
    }

    /// The stream ends, whatever it tells before. How often streams are looked at, `api/visits.rs` says.
    #[track_caller]
    fn ends_soon(mut self) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let end = async { while self.next().await.is_some() {} };
            assert!(tokio::time::timeout(PATIENCE, end).await.is_ok(), "it goes on: {at}");
        }
    }
}

async fn stream(traffic: &Traffic, who: &str) -> Stream {
    Stream::ready(traffic.open(who, PATH).await).await
}

fn calls(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).filter(|name| name.starts_with("call.")).collect()
}

const FAILED_OVER: [&str; 8] = [
    "call.arrived",
    "call.attempt_started",
    "call.attempt_failed",
    "call.attempt_started",
    "call.ringing",
    "call.answered",
    "call.clearing",
    "call.ended",
];

async fn each_role_is_told_of_its_own(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(10));
    let (mut acme, mut staff, mut rival) =
        (stream(&traffic, "acme").await, stream(&traffic, "staff").await, stream(&traffic, "rival").await);
    traffic.call(FOREIGN).ended().await;
    let theirs = rival.until(|event| event.is("call.ended")).await;
    assert_eq!(theirs.last().expect("one").data["ending"], "nobody_answered");
    let call = traffic.call(OWN);
    // Calls and caps are told independently of each other: each of these may come first.
    let of_north = |event: &Event, used: u64| {
        event.is("link.use") && event.data["client"]["name"] == "North" && event.data["used"] == used
    };
    let mut own = acme.until(|event| of_north(event, 1)).await;
    if !own.iter().any(|event| event.is("call.answered")) {
        own.extend(acme.until(|event| event.is("call.answered")).await);
    }
    call.hang_up();
    let (mut ended, mut free) = (false, false);
    while !(ended && free) {
        let event = acme.next().await.expect("the stream goes on");
        ended |= event.is("call.ended");
        free |= of_north(&event, 0) && event.data["total_used"] == 1;
        own.push(event);
    }
    assert_eq!(calls(&own), FAILED_OVER, "of its own call, and of no other");
    let about = |name: &str| own.iter().find(|event| event.is(name)).expect("it was told");
    let failed = &about("call.attempt_failed").data["attempt"];
    assert_eq!(
        (&failed["number"], &failed["outcome"], &failed["client"]["name"]),
        (&json!(1), &json!("busy"), &json!(ALIAS))
    );
    let answered = &about("call.answered").data;
    assert_eq!((&answered["call"]["state"], &answered["call"]["did"]), (&json!("talking"), &json!(OWN)));
    assert_eq!((&answered["attempt"]["number"], &answered["ending"]), (&json!(2), &Value::Null));
    let ended = &about("call.ended").data;
    assert_eq!((&ended["ending"], &ended["hung_up_by"]), (&json!("completed"), &json!("caller")));
    assert!(own.iter().any(|event| event.is("campaign.use") && event.data["campaign_name"] == "Solar"));
    for event in &own {
        assert!(event.id > 0 && !event.is("client.use"), "{event:?}");
        no_canary(&event.data);
    }
    // Staff is told of both, and of the clients' caps.
    let all = staff.until(|event| event.is("call.ended") && event.data["call"]["did"] == OWN).await;
    assert_eq!(all.iter().filter(|event| event.is("call.ended")).count(), 2);
    let used = |event: &&Event| event.is("client.use") && event.data["client"]["client_identifier"] == "north-canary";
    assert_eq!(all.iter().find(used).expect("it was told").data["used"], 1);
    traffic.settle().await;
}

async fn a_withdrawn_client_and_a_new_alias_count_at_once(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0));
    let mut acme = stream(&traffic, "acme").await;
    let client = |event: &Event| event.data["attempt"]["client"].clone();
    let name = async |traffic: &Traffic| {
        let all = traffic.get("admin", "/clients").await;
        let found = all["items"].as_array().expect("items").iter().find(|it| it["name"] == "North").cloned();
        found.expect("north")["id"].clone()
    };
    let path = format!("/clients/{}", name(&traffic).await);
    let call = traffic.call(OWN);
    let answered = acme.until(|event| event.is("call.answered")).await;
    assert_eq!(client(answered.last().expect("one"))["name"], "North");
    let change = async |change: Value| {
        assert_eq!(traffic.send("admin", Method::PATCH, &path, Some(change)).await.0, 200);
        traffic.until_in_force().await;
    };
    change(json!({ "mask_name": "Call centre 8" })).await;
    let other = traffic.call(OWN);
    let answered = acme.until(|event| event.is("call.answered")).await;
    assert_eq!(client(answered.last().expect("one"))["name"], "Call centre 8");
    change(json!({ "access": "selected" })).await;
    call.hang_up();
    let ended = acme.until(|event| event.is("call.ended")).await;
    let last = ended.last().expect("one");
    // An attempt keeps the name it was made under, as its record will; what is to come names the client no more.
    assert_eq!(
        (&client(last)["name"], &last.data["call"]["attempt"]["client"]["name"]),
        (&json!("Call centre 8"), &json!("Call centre 8"))
    );
    let (calls, links) = (traffic.get("acme", "/live/calls").await, traffic.get("acme", "/live/links").await);
    assert_eq!(calls["items"][0]["attempt"]["client"]["name"], "Call centre 8");
    let names: Vec<_> = links["items"].as_array().expect("items").iter().map(|it| &it["client"]["name"]).collect();
    assert_eq!(names, [&Value::Null, &json!(ALIAS)]);
    other.hang_up();
    acme.until(|event| event.is("call.ended")).await;
    traffic.settle().await;
}

/// Logs in, and opens a stream with the access token.
async fn signed_in(site: &Site, username: &str) -> (Caller, Value, Stream) {
    let tokens = site.log_in(username, PASSWORD).await;
    let token = tokens["access_token"].as_str().expect("a token");
    let caller = site.as_nobody().with_access_token(token);
    let stream = Stream::ready(caller.open(PATH).await).await;
    (caller, tokens, stream)
}

async fn a_stream_ends_when_its_session_does(site: Site) {
    site.user("acme", Role::Seller).await;
    let (_, _, mut other) = signed_in(&site, "acme").await;
    let (caller, _, stream) = signed_in(&site, "acme").await;
    caller.send(Method::POST, "/auth/logout", |request| request).await.expect(204);
    stream.ends_soon().await;
    // A refresh token used twice ends the family.
    let (_, tokens, stream) = signed_in(&site, "acme").await;
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    site.as_nobody().post("/auth/refresh", refresh.clone()).await.expect(200);
    site.as_nobody().post("/auth/refresh", refresh).await.refused(401, "credentials");
    stream.ends_soon().await;
    // The other session's stream goes on until its time has come.
    let still = tokio::time::timeout(Duration::from_millis(600), other.next()).await;
    assert!(still.is_err(), "{still:?}");
    site.sql("UPDATE sessions SET expires_at = '2020-01-01T00:00:00+00:00'").await.expect("its time has come");
    other.ends_soon().await;
    // An access token that has a few seconds left.
    let tokens = site.log_in("acme", PASSWORD).await;
    let (key, now) = (AccessKey::load(None, site.folder()).expect("the key"), Clock::start().now().wall);
    let session = key.read(tokens["access_token"].as_str().expect("a token"), now).expect("it is good");
    let left = Duration::from_secs(8);
    let old = key.sign(session, now - (access::LIFE - left)).expect("signed");
    let caller = site.as_nobody().with_access_token(old.expose_secret());
    let mut stream = Stream::ready(caller.open(PATH).await).await;
    let end = async { while stream.next().await.is_some() {} };
    tokio::time::timeout(left + PATIENCE, end).await.expect("it ends with the token");
    caller.get(PATH).await.refused(401, "credential");
    site.settle().await;
}

async fn a_stream_ends_when_its_user_changes(site: Site) {
    let admin = site.as_admin().await;
    let id = site.user("ann", Role::Staff).await;
    let path = format!("/users/{id}");
    let change = json!({ "current_password": PASSWORD, "new_password": "seven quiet lamps below" });
    let back = json!({ "current_password": "seven quiet lamps below", "new_password": PASSWORD });
    let (caller, _, stream) = signed_in(&site, "ann").await;
    caller.post("/auth/password", change).await.expect(204);
    stream.ends_soon().await;
    caller.post("/auth/password", back).await.expect(204);
    let (_, _, stream) = signed_in(&site, "ann").await;
    admin.patch(&path, json!({ "role": "admin" })).await.expect(200);
    stream.ends_soon().await;
    // Another process, which shares nothing but the database.
    let other = async |changes: Changes| {
        let now = Clock::start().now().wall;
        users::update(&site.db, Actor::System("cli"), UserId(id), changes, now).await.expect("changed");
    };
    let (_, _, stream) = signed_in(&site, "ann").await;
    other(Changes { status: Some(UserStatus::Disabled), ..Changes::default() }).await;
    stream.ends_soon().await;
    other(Changes { status: Some(UserStatus::Active), ..Changes::default() }).await;
    let (_, _, stream) = signed_in(&site, "ann").await;
    other(Changes { password_hash: Some("$argon2id$none".into()), ..Changes::default() }).await;
    stream.ends_soon().await;
    site.settle().await;
}

async fn a_stream_ends_when_its_token_does(site: Site) {
    let acme = site.as_seller("acme").await;
    let make = async |name: &str| {
        let made = acme.post("/auth/tokens", json!({ "name": name, "scope": "read" })).await.expect(201);
        let script = site.as_nobody().with_api_token(made["secret"].as_str().expect("a secret"));
        (made["token"]["id"].clone(), Stream::ready(script.open(PATH).await).await)
    };
    let ((one, first), (two, second)) = (make("one").await, make("two").await);
    acme.delete(&format!("/auth/tokens/{one}")).await.expect(204);
    first.ends_soon().await;
    let expired = format!("UPDATE api_tokens SET expires_at = '2020-01-01T00:00:00+00:00' WHERE id = {two}");
    site.sql(&expired).await.expect("its time has come");
    second.ends_soon().await;
    site.as_nobody().get(PATH).await.refused(401, "credential");
    site.settle().await;
}

async fn streams_are_limited_and_end_with_the_server(mut site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(Stream::ready(acme.open(PATH).await).await);
    }
    let (fifth, _, stream) = signed_in(&site, "acme").await;
    let refused = acme.get(PATH).await;
    refused.refused(429, "too_many_streams");
    assert!(refused.headers.contains_key("retry-after"));
    streams.push(Stream::ready(other.open(PATH).await).await);
    // One that has ended makes room.
    fifth.send(Method::POST, "/auth/logout", |request| request).await.expect(204);
    stream.ends_soon().await;
    streams.push(Stream::ready(acme.open(PATH).await).await);
    acme.get(PATH).await.refused(429, "too_many_streams");
    site.stop().await;
    for mut stream in streams {
        assert!(stream.next().await.is_none(), "it ended properly");
    }
}

/// A reader that falls behind loses events, is told so, and slows nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_is_told() {
    let site = Site::start_with(Database::Sqlite, |config| config.limits.stream_backlog = 1).await;
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::busy());
    let mut staff = stream(&traffic, "staff").await;
    let calls = async {
        loop {
            traffic.call(FOREIGN).ended().await;
        }
    };
    tokio::select! {
        () = calls => {}
        _ = staff.until(|event| event.is("lagged")) => {}
    }
    traffic.settle().await;
}
