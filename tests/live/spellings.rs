//! A seller who makes a DID of another's number in another spelling gets nothing: neither the DID nor the calls.

use reqwest::Method;
use serde_json::json;

use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(a_stolen_spelling_is_refused_and_its_calls_stay_with_their_owner);

const PASSWORDS: [&str; 2] = ["lantern mule saves orange", "copper window nine ducks"];

/// Region and further settings of the node, the victim's number there, and how its carriers may send it.
const COUNTRIES: [(&str, &str, &[&str]); 3] = [
    (
        "default_region = \"US\"\nprefix_rules = { \"001\" = \"+1\", \"77\" = \"+14155550\" }",
        "+14155550101",
        &["4155550101", "14155550101", "0014155550101", "01114155550101", "77101"],
    ),
    ("default_region = \"GB\"", "+442079460958", &["02079460958", "442079460958", "00442079460958"]),
    ("default_region = \"IT\"", "+390612345678", &["0612345678", "00390612345678"]),
];

async fn a_stolen_spelling_is_refused_and_its_calls_stay_with_their_owner(backend: Backend) {
    for (settings, number, spellings) in COUNTRIES {
        let site = Preparation::new(backend).configured(settings, "");
        let alpha = site.centre("alpha", centre::answer()).await;
        let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", number, "").link("alpha", "");
        let site = site.start(&plan).await;
        let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
        let thief = json!({"username": "thief", "name": "Thief", "role": "seller", "password": PASSWORDS[0]});
        let thief = admin.make("/users", thief).await;
        let seller = Person::log_in_first(site.controller.api(), "thief", PASSWORDS[0], PASSWORDS[1]).await;
        for spelling in spellings {
            let (status, answer) = seller.send(Method::POST, "/dids", Some(json!({"number": spelling}))).await;
            assert_eq!(status, 422, "{spelling}: {answer:#}");
            let raw = json!({"number": spelling, "raw": true, "seller_id": thief["id"]});
            let (status, answer) = admin.send(Method::POST, "/dids", Some(raw)).await;
            assert_eq!((status, &answer["code"]), (409, &json!("did_unavailable")), "{spelling}: {answer:#}");
        }
        for spelling in spellings {
            let preview = admin.does(Method::POST, "/route", Some(json!({"did": spelling}))).await;
            assert_eq!(preview["refusal"], json!(null), "{spelling}: {preview:#}");
            let call = site.call(&format!("to-{spelling}"), &carrier::call().set("did", spelling)).await;
            assert_eq!(call.outcome(), Some(200), "{spelling}: {:?}", call.statuses());
            let record = site.record(&call).await;
            let owner = (record.text("dialled_number"), record.text("seller_name"));
            assert_eq!(owner, (number, "Acme Leads"), "{record:?}");
        }
        site.finish().await;
    }
}
