//! Whoever registered with a password that is good no more gets no calls, on any node, from the moment on at which it is good no more.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::harness::LIMIT;
use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::plan::Plan;
use crate::harness::sipp::{CARRIER_IP, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::phone::Phone;

crate::on_both!(
    a_password_given_over_the_api_drops_the_phones_that_knew_the_old_one,
    a_phone_is_dropped_however_its_registration_ends,
);

const DID: &str = "+442079460001";
const PASSWORDS: [&str; 3] = ["beta-s-first-secret", "beta-s-second-secret", "beta-s-third-secret"];

/// The status of a call from the carrier to a node.
async fn call(site: &Site, node: usize, name: &str) -> Option<u16> {
    let scenario = carrier::call().set("did", DID).set("talk_ms", 200);
    let caller = site.begin_at(&site.nodes[node], CARRIER_IP, name, &scenario, (1, 1));
    caller.finish(LIMIT).await[0].outcome()
}

/// Waits until a password is refused: the change is in force on that node.
async fn until_refused(phone: &Phone, password: &str) {
    let refused = timeout(LIMIT, async {
        while phone.register(password).await == 200 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(refused.await.is_ok(), "the old password is good for ever");
}

/// Waits until a phone may register.
async fn until_registered(phone: &Phone, password: &str) {
    let registered = timeout(LIMIT, async {
        while phone.register(password).await != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(registered.await.is_ok(), "the password is refused for ever");
}

/// The client, as its admin changes it.
struct Beta {
    admin: Person,
    path: String,
}

impl Beta {
    async fn of(site: &Site) -> Self {
        let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
        let clients = admin.read("/clients").await;
        let mut clients = clients["items"].as_array().expect("clients").iter();
        let beta = clients.find(|client| client["client_identifier"] == "beta").expect("applied");
        Self { path: format!("/clients/{}", beta["id"]), admin }
    }

    async fn set(&self, sip: Value) {
        self.admin.does(Method::PATCH, &self.path, Some(json!({ "sip": sip }))).await;
    }

    async fn password(&self, password: &str) {
        self.set(json!({ "registration": { "password": password } })).await;
    }

    async fn reachability(&self, node: usize) -> Value {
        self.admin.read(&format!("{}/state", self.path)).await["nodes"][node]["reachability"].clone()
    }
}

fn plan(password: &str) -> Plan {
    Plan::new().registering_client("beta", password).campaign("Solar", DID, "").link("beta", "")
}

async fn a_password_given_over_the_api_drops_the_phones_that_knew_the_old_one(backend: Backend) {
    let [first, second, third] = PASSWORDS;
    let site = Preparation::new(backend).nodes(2).start(&plan(first)).await;
    let beta = Beta::of(&site).await;
    let old = [Phone::new(&site.nodes[0], "beta").await, Phone::new(&site.nodes[1], "beta").await];
    for (n, phone) in old.iter().enumerate() {
        assert_eq!(phone.register(first).await, 200);
        assert_eq!(call(&site, n, &format!("before-{n}")).await, Some(200));
        assert_eq!((phone.calls(), beta.reachability(n).await), (1, json!("registered")));
    }

    beta.password(second).await;
    for (n, phone) in old.iter().enumerate() {
        until_refused(phone, first).await;
        let outcome = call(&site, n, &format!("rotated-{n}")).await;
        assert_eq!((phone.calls(), outcome), (1, Some(480)), "nobody has registered with the new password on node {n}");
        assert_eq!(beta.reachability(n).await, json!("unreachable"));
    }

    // Another phone on one node, on the other the same one with the new password.
    let new = Phone::new(&site.nodes[0], "beta").await;
    assert_eq!((new.register(second).await, old[1].register(second).await), (200, 200));
    assert_eq!((call(&site, 0, "new").await, call(&site, 1, "same").await), (Some(200), Some(200)));
    assert_eq!((old[0].calls(), new.calls(), old[1].calls()), (1, 1, 2));
    assert_eq!((beta.reachability(0).await, old[0].register(first).await), (json!("registered"), 401));

    // The same over a plan; a plan that says what is stored drops nobody.
    site.controller.apply(&plan(second).toml()).await;
    assert_eq!((call(&site, 0, "unchanged").await, new.calls()), (Some(200), 2));
    site.controller.apply(&plan(third).toml()).await;
    until_refused(&new, second).await;
    assert_eq!((call(&site, 0, "planned").await, new.calls()), (Some(480), 2));
    assert_eq!(new.register(third).await, 200);
    assert_eq!((call(&site, 0, "again").await, new.calls()), (Some(200), 3));
    site.finish().await;
}

async fn a_phone_is_dropped_however_its_registration_ends(backend: Backend) {
    let [first, second, third] = PASSWORDS;
    let site = Preparation::new(backend);
    let centre = site.centre("beta", centre::answer()).await;
    let site = site.start(&plan(first)).await;
    let beta = Beta::of(&site).await;
    let phone = Phone::new(&site.nodes[0], "beta").await;
    assert_eq!(phone.register(first).await, 200);

    // Turned off: the calls go to the fixed address. And on again, with another password.
    beta.set(json!({ "registration": null, "host": centre.ip, "port": centre.port })).await;
    until_refused(&phone, first).await;
    for n in 0..5 {
        assert_eq!(call(&site, 0, &format!("fixed-{n}")).await, Some(200));
    }
    assert_eq!((phone.calls(), centre.trace.answered()), (0, 5), "never to the phone that registered before");
    let registration = json!({ "username": "beta", "password": second });
    beta.set(json!({ "host": null, "port": null, "registration": registration })).await;
    until_registered(&phone, second).await;
    assert_eq!((call(&site, 0, "on-again").await, phone.calls()), (Some(200), 1));

    // Another user name.
    beta.set(json!({ "registration": { "username": "beta-2", "password": third } })).await;
    until_refused(&phone, second).await;
    assert_eq!((call(&site, 0, "renamed").await, phone.calls()), (Some(480), 1));

    let renamed = Phone::new(&site.nodes[0], "beta").await.authenticating_as("beta-2");
    until_registered(&renamed, third).await;
    assert_eq!((call(&site, 0, "renamed-again").await, renamed.calls(), phone.calls()), (Some(200), 1, 1));
    site.finish().await;
}
