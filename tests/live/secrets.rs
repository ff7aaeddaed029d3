//! No secret leaves the places that are made for it, whatever happens and however much is logged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

use crate::harness::node::{ARI_PASSWORD, ARI_USER};
use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};

crate::on_both!(secrets_stay_where_they_belong);

const DID: &str = "+442079460001";
const SIP_PASSWORD: &str = "beta-s-canary-secret";
const SELLERS_PASSWORD: &str = "nine yellow canaries sing";

async fn secrets_stay_where_they_belong(backend: Backend) {
    let site = Preparation::new(backend).logging("trace");
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .registering_client("beta", SIP_PASSWORD)
        .campaign("Solar", DID, "")
        .link("beta", "")
        .link("alpha", "");
    let mut site = site.start(&plan).await;
    let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
    let told = site.controller.run(&["user", "password", "acme"]).await;
    let given = told.trim_end().rsplit(": ").next().expect("the password is told").to_owned();
    let seller = Person::log_in_first(site.controller.api(), "acme", &given, SELLERS_PASSWORD).await;
    let token = seller.make("/auth/tokens", json!({ "name": "dialler", "scope": "read" })).await["secret"]
        .as_str()
        .expect("shown once")
        .to_owned();

    // Calls that go well, over a client that is not there, and ones that meet trouble.
    let call = || carrier::call().set("did", DID);
    assert_eq!(site.call("well", &call()).await.outcome(), Some(200));
    let (status, _) =
        seller.send(Method::POST, "/auth/login", Some(json!({ "username": "acme", "password": SIP_PASSWORD }))).await;
    assert_eq!(status, 401, "a secret given for another is refused, and not told");
    site.controller.process().kill();
    assert_eq!(site.call("fallen", &call()).await.outcome(), Some(503));
    site.controller.serve(&site.nodes).await;
    assert_eq!(site.call("after", &call()).await.outcome(), Some(200));
    site.records(3).await;

    let secrets = [
        SIP_PASSWORD.to_owned(),
        ARI_PASSWORD.to_owned(),
        STANDARD.encode(format!("{ARI_USER}:{ARI_PASSWORD}")),
        ADMIN_PASSWORD.to_owned(),
        SELLERS_PASSWORD.to_owned(),
        given,
        token,
    ];
    for (place, text) in said(&site, &admin).await {
        assert!(!text.is_empty(), "{place} says something");
        for (n, secret) in secrets.iter().enumerate() {
            let at = text.find(secret.as_str()).map(|at| text[..at].lines().count());
            assert_eq!(at, None, "secret {n} in {place}, at this line");
        }
    }
    for file in files(&site.folder().join("data")) {
        let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is nobody else's", file.display());
    }
    site.finish().await;
}

/// Everything that people and programs come to read.
async fn said(site: &Site, admin: &Person) -> Vec<(String, String)> {
    let mut said = vec![
        ("the log".to_owned(), site.controller.log()),
        ("the metrics".to_owned(), site.controller.metrics().await.expect("they answer")),
        ("the doctor".to_owned(), site.controller.doctor().await.1),
    ];
    for path in
        ["/calls", "/clients", "/users", "/audit", "/nodes", "/live/calls", "/live/links", "/campaigns", "/dids"]
    {
        said.push((path.to_owned(), admin.read(path).await.to_string()));
    }
    for record in site.controller.records().await {
        let id = record["call_id"].as_str().expect("an id").to_owned();
        said.push((format!("record {id}"), record.to_string()));
        said.push((format!("why {id}"), site.controller.run(&["why", &id]).await));
        said.push((format!("/calls/{id}"), admin.read(&format!("/calls/{id}")).await.to_string()));
    }
    for node in &site.nodes {
        said.push(("the fallback's spool".to_owned(), node.spooled().join("\n")));
    }
    said
}

/// Who holds the folder, and what this installation is called.
fn public(path: &Path) -> bool {
    path.ends_with("lock") || path.ends_with("instance")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the data folder is there");
    entries.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_file() && !public(path)).collect()
}
