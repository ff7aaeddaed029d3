//! Who is who between us and a call centre: its challenges are answered, it is shown of the caller what its policy says, and the API
//! tells what the nodes see of it.

use serde_json::{Value, json};

use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(challenges_are_answered, clients_are_shown_what_their_policy_says, the_api_tells_what_nodes_see);

const DIDS: [&str; 3] = ["+442079460001", "+442079460002", "+442079460003"];

async fn challenges_are_answered(backend: Backend) {
    let site = Preparation::new(backend).sip("allow_plaintext_outbound_auth = true");
    let verify = |password: &str| format!("<verifyauth assign_to=\"known\" username=\"us\" password=\"{password}\"/>");
    // sipp verifies no Proxy-Authorization: that one is recomputed below.
    let there = "<ereg regexp=\"Digest\" search_in=\"hdr\" header=\"Proxy-Authorization:\" assign_to=\"known\"/>";
    let challenge = |realm: &str, verify: &str| centre::challenge().set("realm", realm).set("verify", verify);
    let alpha = site.centre("alpha", challenge("alpha.example", &verify("opens-the-door"))).await;
    let proxy = challenge("whatever it says", there).set("status", "407 Proxy Authentication Required");
    let beta = site.centre("beta", proxy.set("header", "Proxy-Authenticate")).await;
    let gamma = site.centre("gamma", challenge("gamma.example", &verify("not-this-one"))).await;
    let auth = |fields: &str| format!("outbound_auth = {{ username = \"us\", {fields} }}");
    let plan = Plan::new()
        .client("alpha", &alpha, ("", &auth("realm = \"alpha.example\", password = \"opens-the-door\"")))
        .client("beta", &beta, ("", &auth("password = \"another(1)\"")))
        .client("gamma", &gamma, ("", &auth("realm = \"gamma.example\", password = \"opens-the-door\"")))
        .campaign("Solar", DIDS[0], "")
        .link("alpha", "")
        .campaign("Wind", DIDS[1], "")
        .link("beta", "")
        .campaign("Water", DIDS[2], "")
        .link("gamma", "");
    let site = site.start(&plan).await;

    for (did, name, outcome) in
        [(DIDS[0], "digest", Some(200)), (DIDS[1], "plain", Some(200)), (DIDS[2], "wrong", Some(480))]
    {
        let call = site.call(name, &carrier::call().set("did", did)).await;
        assert_eq!(call.outcome(), outcome, "{name}: {:?}", call.statuses());
    }

    for (centre, name, realm) in
        [(&alpha, "Authorization", "alpha.example"), (&beta, "Proxy-Authorization", "whatever it says")]
    {
        let leg = centre.trace.dialogs().remove(0);
        let answer = leg.messages.iter().find_map(|message| message.header(name)).expect("the challenge is answered");
        assert!(answer.contains(&format!("realm=\"{realm}\"")) && answer.contains("username=\"us\""), "{answer}");
        if name == "Proxy-Authorization" {
            assert_eq!(parameter(answer, "response"), digest("us", realm, "another(1)", answer), "{answer}");
        }
    }
    assert!(!site.controller.log().contains("opens-the-door") && !site.controller.log().contains("another(1)"));
    site.finish().await;
}

/// A parameter of an Authorization header, without its quotes.
fn parameter<'a>(header: &'a str, name: &str) -> &'a str {
    let (_, value) = header.split_once(&format!(" {name}=")).expect("the parameter is there");
    value.split(',').next().unwrap_or_default().trim().trim_matches('"')
}

/// What RFC 2617 wants as `response` to an INVITE's challenge with `qop=auth`.
fn digest(username: &str, realm: &str, password: &str, header: &str) -> String {
    use md5::{Digest, Md5};
    let hex = |text: String| Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let secret = hex(format!("{username}:{realm}:{password}"));
    let request = hex(format!("INVITE:{}", parameter(header, "uri")));
    let [nonce, count, ours] = ["nonce", "nc", "cnonce"].map(|name| parameter(header, name));
    hex(format!("{secret}:{nonce}:{count}:{ours}:auth:{request}"))
}

async fn clients_are_shown_what_their_policy_says(backend: Backend) {
    let site = Preparation::new(backend);
    let mut plan = Plan::new();
    let mut centres = Vec::new();
    for ((policy, did), campaign) in ["pass", "withhold", "did"].into_iter().zip(DIDS).zip(["Solar", "Wind", "Water"]) {
        let centre = site.centre(policy, centre::answer()).await;
        plan = plan.client(policy, &centre, ("", &format!("caller_id = \"{policy}\"")));
        plan = plan.campaign(campaign, did, "").link(policy, "");
        centres.push(centre);
    }
    let site = site.start(&plan).await;

    let from = "\"Ada Byron\" <sip:+442071838750@127.0.0.2>";
    let withheld = "P-Asserted-Identity: \"Ada Byron\" <sip:+442071838750@127.0.0.2>\nPrivacy: id\n";
    for (n, did) in DIDS.into_iter().enumerate() {
        for (name, headers) in [("shown", ""), ("withheld", withheld)] {
            let scenario = carrier::call().set("did", did).set("from", from).set("headers", headers);
            let call = site.call(&format!("{name}-{n}"), &scenario).await;
            assert_eq!(call.outcome(), Some(200), "{name} {did}");
        }
    }

    for (n, (centre, policy)) in centres.iter().zip(["pass", "withhold", "did"]).enumerate() {
        let legs = centre.trace.dialogs();
        assert_eq!(legs.len(), 2, "{policy}");
        for (leg, withheld) in legs.iter().zip([false, true]) {
            let invite = leg.invite();
            let (from, asserted) = (invite.header("From").unwrap_or_default(), invite.header("P-Asserted-Identity"));
            let passes = policy == "pass" && !withheld;
            assert_eq!(
                invite.text.contains("2071838750") || invite.text.contains("Ada"),
                passes,
                "{policy}: {}",
                invite.text
            );
            let expected = match policy {
                "did" => DIDS[n],
                _ if passes => "+442071838750",
                _ => "anonymous@anonymous.invalid",
            };
            assert!(from.contains(expected), "{policy}: {from}");
            let shown = asserted.is_none_or(|asserted| asserted.contains(expected));
            assert!(shown && asserted.is_some() == (policy == "did" || passes), "{policy}: {asserted:?}");
        }
    }
    site.finish().await;
}

async fn the_api_tells_what_nodes_see(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("max_concurrency = 5", ""))
        .registering_client("beta", "beta-s-secret")
        .campaign("Solar", DIDS[0], "")
        .link("alpha", "");
    let site = site.start(&plan).await;
    let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
    let clients = admin.read("/clients").await;
    let id = |name: &str| {
        let mut items = clients["items"].as_array().expect("clients").iter();
        items.find(|client| client["client_identifier"] == name).expect("applied")["id"].clone()
    };
    let state = async |name: &str| admin.read(&format!("/clients/{}/state", id(name))).await;
    let node = |state: &Value| state["nodes"][0].clone();

    // Nobody has dialled it yet, and it is there all the same; it is never asked by OPTIONS.
    let before = state("alpha").await;
    let wanted = json!({
        "node": "pbx-1", "answers": true, "endpoint": "present", "reachability": "unknown", "round_trip_ms": null, "channels": 0,
        "breaker": { "state": "closed", "failures": 0, "since": null, "until": null },
    });
    assert_eq!(node(&before), wanted);
    assert_eq!((&before["used"], &before["limit"]), (&json!(0), &json!(5)));
    let mut call = site.begin("call", &carrier::call().set("did", DIDS[0]).set("talk_ms", FOREVER_MS), 1, 1);
    call.reach("the call is answered", |calls| calls.iter().any(|call| call.outcome() == Some(200))).await;
    let during = state("alpha").await;
    assert_eq!((&during["used"], &during["links"][0]["used"]), (&json!(1), &json!(1)), "{during}");
    assert_eq!(node(&during)["channels"], json!(1), "{during}");
    call.go_on().await;

    assert_eq!(node(&state("beta").await)["reachability"], json!("unreachable"), "it has not registered");
    let scenario = centre::register().set("username", "beta").set("password", "beta-s-secret").set("did", "nobody");
    site.begin_at(&site.nodes[0], crate::harness::sipp::CENTRE_IP, "beta", &scenario, (1, 1))
        .finish(crate::harness::LIMIT)
        .await;
    assert_eq!(node(&state("beta").await)["reachability"], json!("registered"));
    site.finish().await;
}
