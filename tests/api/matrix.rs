//! Every operation of the served document × who calls × whose objects it names: statuses as `auth::roles` says, fields as `rights.txt` beside
//! this says (by hand, and so not by the table that is tested), what a caller may not
//! see answered exactly as what is not there, and nothing of another seller, or secret, in any answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use capconduit::auth::roles::{self, Reach, Role, Scope};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::canary::World;
use crate::on_both_databases;
use crate::rights::{Rights, properties};
use crate::site::Site;
use crate::walk::{Operation, Target, named, operations, sample};

on_both_databases!(each_role_gets_what_the_table_says_and_nothing_of_others);

/// Bytes of an event stream in which what is looked for must have come.
const STREAM_AT_MOST: usize = 100_000;

/// Somebody who walks through all operations.
struct Walker {
    caller: Caller,
    /// `None` = nobody is known by what it sends.
    role: Option<Role>,
    /// Of its API token; `None` = it has logged in.
    scope: Option<Scope>,
}

/// What is to come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Refused(u16),
    /// 404, as if it were not there.
    Absent,
}

/// The walk: where it is, and a number that grows.
struct Walk<'a> {
    world: &'a World,
    operation: &'a Operation,
    walker: &'a Walker,
    n: &'a mut usize,
    /// What each role may set and see, as it is written down by hand.
    rights: &'a Rights,
    /// Names of the properties that sellers found, by operation.
    seen: &'a Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Answers in which admins and staff found what sellers must not: without any, the canaries would prove nothing.
    found: &'a AtomicUsize,
}

async fn each_role_gets_what_the_table_says_and_nothing_of_others(site: Site) {
    let world = World::on(site).await;
    let live = [world.live_call(&world.own).await.1, world.live_call(&world.foreign).await.1];
    let document = world.site.outside().get("/openapi.json").await.expect(200);
    let (operations, walkers) = (operations(&document), walkers(&world).await);
    let walked: BTreeSet<_> = operations.iter().filter(|operation| operation.asks).map(|o| o.id.as_str()).collect();
    let ruled: BTreeSet<_> = roles::Operation::ALL.iter().map(|operation| operation.id()).collect();
    assert_eq!(walked, ruled, "all that has a rule is walked");
    let (mut n, found) = (0, AtomicUsize::new(0));
    let (rights, seen) = (Rights::read(), Mutex::default());
    for operation in &operations {
        for walker in &walkers {
            let mut walk =
                Walk { world: &world, operation, walker, n: &mut n, rights: &rights, seen: &seen, found: &found };
            walk.run().await;
        }
    }
    let seen = seen.into_inner().expect("nobody panicked");
    rights.compare(&seen);
    assert!(found.load(Ordering::Relaxed) > 50, "{found:?}");
    live.iter().for_each(crate::fake_ari::FakeCall::hang_up);
    for channel in world.site.asterisk.channels() {
        world.site.asterisk.hang_up_channel(&channel);
    }
    world.site.settle().await;
}

async fn walkers(world: &World) -> Vec<Walker> {
    let site = &world.site;
    let mut walkers = vec![Walker { caller: site.as_nobody(), role: None, scope: None }];
    let sessions = [(Role::Seller, site.as_user("acme").await), (Role::Staff, site.as_staff().await)];
    for (role, caller) in sessions.into_iter().chain([(Role::Admin, site.as_admin().await)]) {
        walkers.push(Walker { caller, role: Some(role), scope: None });
    }
    for (role, username) in [(Role::Seller, "acme"), (Role::Admin, "admin")] {
        for scope in [Scope::Read, Scope::Write] {
            let caller = site.as_nobody().with_api_token(&world.token(username, scope.as_str()).await.1);
            walkers.push(Walker { caller, role: Some(role), scope: Some(scope) });
        }
    }
    walkers
}

impl Walk<'_> {
    async fn run(&mut self) {
        let names = self.operation.path_parameters().len();
        for query in self.operation.queries(self.world) {
            self.each_target(names, &query).await;
        }
        let own = vec![Target::Own; names];
        if self.outcome(&own) != Outcome::Good || self.operation.fields.is_none() || !self.operation.asks {
            return;
        }
        self.unknown_fields(&own).await;
        if self.walker.role == Some(Role::Seller) {
            for [foreign, absent] in self.operation.references(self.world) {
                let foreign = self.send(&own, "", Some(foreign)).await;
                let absent = self.send(&own, "", Some(absent)).await;
                foreign.refused(404, "not_found");
                self.alike(&foreign, &absent);
            }
        }
    }

    /// Names own, foreign and absent objects, each in each place of the path.
    async fn each_target(&mut self, names: usize, query: &str) {
        let own = vec![Target::Own; names];
        for place in 0..names {
            let mut answers = Vec::new();
            for target in [Target::Foreign, Target::Absent] {
                let mut targets = own.clone();
                targets[place] = target;
                // Another seller's link is not one of this campaign, whoever asks.
                answers.push(self.expect(&targets, query).await);
            }
            if self.outcome(&vec![Target::Foreign; names]) != Outcome::Good {
                self.alike(&answers[0], &answers[1]);
            }
        }
        if names > 1 {
            self.expect(&vec![Target::Foreign; names], query).await;
        }
        self.expect(&own, query).await;
    }

    /// What the table says.
    fn outcome(&self, targets: &[Target]) -> Outcome {
        if !self.operation.asks {
            return Outcome::Good;
        }
        let Some(role) = self.walker.role else { return Outcome::Refused(401) };
        let operation: roles::Operation = self.operation.id.parse().expect("it is in the table");
        let by_token = self
            .walker
            .scope
            .is_some_and(|scope| !operation.for_tokens() || (scope == Scope::Read && operation.writes()));
        let reach = roles::reach(role, operation);
        if by_token || reach == Reach::None {
            return Outcome::Refused(403);
        }
        let mixed = targets.iter().any(|target| *target != targets[0]);
        let is_own = role == Role::Seller && targets.iter().all(|target| *target == Target::Own);
        let is_there = !(targets.contains(&Target::Absent) || mixed && self.operation.id.contains("Link"));
        match (is_there, reach) {
            _ if targets.is_empty() => Outcome::Good,
            (true, Reach::All) => Outcome::Good,
            (true, Reach::Own) if is_own => Outcome::Good,
            _ => Outcome::Absent,
        }
    }

    /// Sends what is good but for the objects it names, and compares the answer with the table.
    async fn expect(&mut self, targets: &[Target], query: &str) -> Answer {
        let body = self.body();
        let answer = self.send(targets, query, body).await;
        let what = self.what(targets, query);
        match self.outcome(targets) {
            Outcome::Refused(status) => assert_eq!(answer.status, status, "{what}: {}", answer.text),
            Outcome::Absent => assert_eq!(answer.status, 404, "{what}: {}", answer.text),
            Outcome::Good if !self.operation.asks => assert_ne!(answer.status, 403, "{what}: {}", answer.text),
            Outcome::Good => {
                // Two sellers' objects do not go together, and an admin is told so.
                let mixed = targets.iter().any(|target| *target != targets[0]);
                let also = self.operation.also().contains(&answer.status.as_u16());
                let conflict = mixed && answer.status == 409;
                assert!(answer.status.is_success() || also || conflict, "{what}: {} {}", answer.status, answer.text);
            }
        }
        answer
    }

    /// A field that does not exist, and each one that the role may not set, are told alike.
    async fn unknown_fields(&mut self, own: &[Target]) {
        let (Some(role), Some(fields)) = (self.walker.role, self.operation.fields.clone()) else { return };
        let allowed = self.rights.may_set(&self.operation.id, role);
        for field in &allowed {
            assert!(fields.contains_key(field), "{}: rights.txt names {field}, which is no field", self.operation.id);
        }
        let barred = fields
            .iter()
            .filter(|(field, _)| !allowed.contains(*field))
            .map(|(field, schema)| (field.as_str(), sample(schema)));
        for (field, value) in barred.chain([("nobody_knows", json!(1))]) {
            let Some(Value::Object(mut body)) = self.body() else { continue };
            body.insert(field.to_owned(), value);
            let answer = self.send(own, "", Some(Value::Object(body))).await;
            let what = self.what(own, field);
            assert_eq!(answer.status, 422, "{what}: {}", answer.text);
            let errors = &answer.refused(422, "invalid")["errors"];
            let unknown = json!([{ "field": field, "code": "unknown_field", "detail": "is not known here" }]);
            assert_eq!(errors, &unknown, "{what}");
        }
    }

    fn body(&mut self) -> Option<Value> {
        *self.n += 1;
        let names_seller = self.walker.role != Some(Role::Seller);
        self.operation.body(self.world, names_seller, *self.n)
    }

    /// Sends it, and scans all that comes back.
    async fn send(&self, targets: &[Target], query: &str, body: Option<Value>) -> Answer {
        let mut path = self.operation.path.clone();
        for (name, target) in self.operation.path_parameters().into_iter().zip(targets) {
            path = path.replace(&format!("{{{name}}}"), &named(self.world, self.operation, name, *target).await);
        }
        let request = self.walker.caller.request(self.operation.method.clone(), &format!("{path}{query}"));
        let request = if let Some(body) = &body { request.json(body) } else { request };
        let response = request.send().await.expect("the API answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let text = if is_stream { self.events(response).await } else { response.text().await.expect("text") };
        let answer = Answer { status, headers, text };
        if self.walker.role == Some(Role::Seller) && status.is_success() {
            let mut seen = self.seen.lock().expect("nobody panicked");
            properties(&answer.text, seen.entry(self.operation.id.clone()).or_default());
        }
        self.scan(&answer, &format!("{} {body:?}", self.what(targets, query)));
        answer
    }

    /// What a stream of events tells of a call to the rival and then one to acme, up to the latter.
    async fn events(&self, mut response: reqwest::Response) -> String {
        for seller in [&self.world.foreign, &self.world.own] {
            let (_, call) = self.world.live_call(seller).await;
            call.hang_up();
            call.ended().await;
        }
        let mut text = String::new();
        let read = async {
            while !text.contains(&self.world.own.number) && text.len() < STREAM_AT_MOST {
                let Some(chunk) = response.chunk().await.expect("a stream") else { break };
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(crate::patience::PATIENCE, read).await.expect("the own call is told of");
        text
    }

    fn scan(&self, answer: &Answer, what: &str) {
        let headers =
            answer.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        for text in headers.chain([answer.text.clone()]) {
            assert_eq!(self.world.secret.find(&text), None, "nobody may see it: {what}: {text}");
            if matches!(self.walker.role, None | Some(Role::Seller)) {
                assert_eq!(self.world.hidden.find(&text), None, "a seller may not see it: {what}: {text}");
            } else if self.world.hidden.find(&text).is_some() {
                self.found.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Byte by byte, so that nobody can tell which of the two it is.
    fn alike(&self, one: &Answer, other: &Answer) {
        let names = |answer: &Answer| -> BTreeSet<String> { answer.headers.keys().map(ToString::to_string).collect() };
        let whole = |answer: &Answer| {
            (answer.status, names(answer), answer.headers.get(CONTENT_TYPE).cloned(), answer.text.clone())
        };
        assert_eq!(whole(one), whole(other), "{}", self.what(&[], ""));
    }

    fn what(&self, targets: &[Target], detail: &str) -> String {
        let Walker { role, scope, .. } = self.walker;
        let scope = scope.map_or("session", Scope::as_str);
        format!("{} by {} ({scope}), {targets:?} {detail}", self.operation.id, role.map_or("nobody", Role::as_str))
    }
}
