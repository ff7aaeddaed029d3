//! A number in another spelling is the number's: whoever makes a DID of it, calls stay with whom the number belongs to.

use std::collections::BTreeMap;

use capconduit::auth::roles::Role;
use capconduit::store::records;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::Behaviour;
use crate::site::{Database, Site};

const TOKEN: &str = "only for this test, but long enough";
const CSV: &str = "text/csv; charset=utf-8";

/// A country, a number of the victim's there, and how carriers of a node send that number.
struct Country {
    region: &'static str,
    rules: &'static [(&'static str, &'static str)],
    number: &'static str,
    spellings: &'static [&'static str],
}

const COUNTRIES: [Country; 4] = [
    Country {
        region: "US",
        rules: &[("001", "+1"), ("90", "+141555501")],
        number: "+14155550101",
        spellings: &["4155550101", "14155550101", "0014155550101", "01114155550101", "(415)555-0101", "9001"],
    },
    Country {
        region: "GB",
        rules: &[("#44", "+44"), ("0958", "+442079460958")],
        number: "+442079460958",
        spellings: &["02079460958", "442079460958", "00442079460958", "020-7946-0958", "0958"],
    },
    Country {
        region: "DE",
        rules: &[],
        number: "+4930123456",
        // `4930123456` is another number there: Germany's numbers have many lengths.
        spellings: &["030123456", "(030)123456", "004930123456"],
    },
    Country { region: "IT", rules: &[], number: "+390612345678", spellings: &["0612345678", "00390612345678"] },
];

macro_rules! on_both_without_a_site {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Database::Sqlite).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Database::Postgres).await; })+
        }
    };
}

on_both_without_a_site!(
    another_spelling_of_a_number_is_its_owners,
    a_number_that_a_raw_text_may_be_read_as_is_not_to_be_had,
    a_did_that_no_call_can_match_is_warned_of,
    what_is_no_number_is_made_by_staff_alone,
);

/// A site with the victim `acme`, whose DID feeds a campaign, and the attacker `rival`.
async fn site(database: Database, country: &Country) -> Site {
    let site = Site::start_with(database, |config| {
        config.internal.log_call_token = Some(TOKEN.into());
        config.nodes[0].default_region = Some(country.region.to_owned());
        let rules = country.rules.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        config.nodes[0].prefix_rules = rules.collect::<BTreeMap<_, _>>();
    })
    .await;
    let plan = format!(
        "[[sellers]]\nusername = \"acme\"\nname = \"Acme\"\n[[sellers]]\nusername = \"rival\"\nname = \"Rival\"\n\
         [[clients]]\nidentifier = \"north\"\nname = \"North\"\nsip = {{ host = \"127.0.0.11\" }}\n\
         [[dids]]\nnumber = \"{0}\"\nseller = \"acme\"\n\
         [[campaigns]]\nname = \"Solar\"\nseller = \"acme\"\nrouting_strategy = \"priority\"\ndids = [\"{0}\"]\n\
         [[campaigns.links]]\nclient = \"north\"\n",
        country.number
    );
    site.apply(&plan).await;
    site.asterisk.endpoint("north", Behaviour::answers(0));
    site
}

async fn bulk(who: &Caller, text: String) -> u16 {
    let send = who.send(Method::POST, "/dids/bulk", |request| request.header("Content-Type", CSV).body(text.clone()));
    send.await.status.as_u16()
}

/// The routing preview, a call, and a report of the old dialplan all find the victim's DID.
async fn belongs_to_the_victim(site: &Site, admin: &Caller, victim: i64, spelling: &str) {
    let preview = admin.post("/route", json!({ "did": spelling })).await.expect(200);
    let dids = admin.get("/dids?limit=200").await.expect(200);
    let of = |id: &Value| dids["items"].as_array().and_then(|all| all.iter().find(|did| did["id"] == *id).cloned());
    let found = of(&preview["did_id"]).unwrap_or_default();
    assert_eq!(found["seller_id"], json!(victim), "{spelling} would go to {found}");

    let before = records::recent(&site.db, 100).await.expect("read").len();
    let call = site.asterisk.incoming("capconduit-1", spelling, "+447700900123");
    call.answered().await;
    call.hang_up();
    site.asterisk.until_empty().await;
    let record = loop {
        let all = records::recent(&site.db, 100).await.expect("read");
        if all.len() > before {
            break all.into_iter().next().expect("one more");
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(record.seller_id.map(|seller| seller.0), Some(victim), "{spelling} went to {record:?}");

    let report = json!({
        "node": "pbx", "uniqueid": format!("1795349909.{}", spelling.len() * 1000 + before), "dnid": spelling,
        "caller_number": "+447700900123", "start": "2026-11-22 14:00:00", "end": "2026-11-22 14:01:07", "dialstatus": "BUSY",
    });
    let log = site.outside();
    let logged = log
        .send(Method::POST, "/api/internal/log_call", |request| {
            request.header("X-Internal-API-Token", TOKEN).json(&report)
        })
        .await
        .expect(201);
    let id = logged["call_id"].as_str().expect("an id").to_owned();
    let reported = admin.get(&format!("/calls/{id}")).await.expect(200);
    assert_eq!(reported["seller_id"], json!(victim), "a report of {spelling} is {reported}'s");
}

async fn another_spelling_of_a_number_is_its_owners(database: Database) {
    for country in &COUNTRIES {
        let site = site(database, country).await;
        let (victim, attacker) = (site.user("acme", Role::Seller).await, site.user("rival", Role::Seller).await);
        let rival = site.as_user("rival").await;
        let (admin, staff) = (site.as_admin().await, site.as_staff().await);
        for spelling in country.spellings {
            rival.post("/dids", json!({ "number": spelling })).await.refused(422, "invalid");
            rival.post("/dids", json!({ "number": spelling, "raw": true })).await.refused(422, "invalid");
            rival.post("/dids/bulk", json!({ "items": [{ "number": spelling }] })).await.refused(422, "invalid");
            assert_eq!(bulk(&rival, format!("number\n\"{spelling}\"\n")).await, 422, "{spelling}");
            let forced = json!({ "number": spelling, "raw": true, "seller_id": attacker });
            staff.post("/dids", forced).await.refused(409, "did_unavailable");
        }
        // What the victim's own number is in other words is nobody else's either.
        let spoken = country.number.replace('+', "+ ");
        rival.post("/dids", json!({ "number": spoken })).await.refused(409, "did_unavailable");

        // As an older version stored them, whoever asked: they are in the database and in force.
        for (n, spelling) in country.spellings.iter().enumerate() {
            let row = format!(
                "INSERT INTO dids (id, number, seller_id, raw) VALUES ({}, '{spelling}', {attacker}, {})",
                900 + n,
                if database == Database::Sqlite { "1" } else { "TRUE" }
            );
            site.sql(&row).await.expect("inserted");
        }
        let other = format!("{}9", country.number);
        admin.post("/dids", json!({ "number": other, "raw": true, "seller_id": attacker })).await;
        admin.post("/dids", json!({ "number": "+49301234567", "seller_id": attacker })).await.expect(201);
        site.in_force().await;
        for spelling in country.spellings.iter().copied().chain([country.number]) {
            belongs_to_the_victim(&site, &admin, victim, spelling).await;
        }
        site.settle().await;
    }
}

async fn a_number_that_a_raw_text_may_be_read_as_is_not_to_be_had(database: Database) {
    let site = site(database, &COUNTRIES[1]).await;
    let (victim, attacker) = (site.user("acme", Role::Seller).await, site.user("rival", Role::Seller).await);
    let (staff, rival) = (site.as_staff().await, site.as_user("rival").await);
    // Its owner takes it as the carrier sends it. No node here is in the US, one may be tomorrow.
    let raw = json!({ "number": "4155550101", "raw": true, "seller_id": victim });
    let raw = staff.post("/dids", raw).await.expect(201);
    assert_eq!((&raw["number"], &raw["raw"]), (&json!("4155550101"), &json!(true)));
    rival.post("/dids", json!({ "number": "+14155550101" })).await.refused(409, "did_unavailable");
    assert_eq!(bulk(&rival, "number\n+14155550102\n+14155550101\n".to_owned()).await, 409);
    let other = json!({ "number": "14155550101", "raw": true, "seller_id": attacker });
    staff.post("/dids", other).await.expect(201);
    // Both spellings of one's own number are one's own affair, until one of them is to change hands.
    let own = staff.post("/dids", json!({ "number": "+14155550101", "seller_id": victim })).await;
    own.refused(409, "did_unavailable");
    let both = json!({ "items": [
        { "number": "+12025550173", "seller_id": victim }, { "number": "2025550173", "raw": true, "seller_id": attacker },
    ] });
    staff.post("/dids/bulk", both).await.refused(409, "did_unavailable");
    let number = staff.post("/dids", json!({ "number": "+12025550173", "seller_id": victim })).await.expect(201);
    let spelling = json!({ "number": "2025550173", "raw": true, "seller_id": victim });
    let spelling = staff.post("/dids", spelling).await.expect(201);
    for did in [&number, &spelling] {
        let moved = staff.patch(&format!("/dids/{}", did["id"]), json!({ "seller_id": attacker })).await;
        moved.refused(409, "did_unavailable");
    }
    // A text with user parameters is a call of the text without them.
    staff.post("/dids", json!({ "number": "sales", "raw": true, "seller_id": victim })).await.expect(201);
    let parameters = json!({ "number": "sales;x=y", "raw": true, "seller_id": attacker });
    staff.post("/dids", parameters).await.refused(409, "did_unavailable");
    site.settle().await;
}

async fn a_did_that_no_call_can_match_is_warned_of(database: Database) {
    let site = site(database, &COUNTRIES[1]).await;
    let victim = site.user("acme", Role::Seller).await;
    let (admin, acme) = (site.as_admin().await, site.as_user("acme").await);
    for number in ["02079460958", "02079460959", "a@b"] {
        let own = json!({ "number": number, "raw": true, "seller_id": victim });
        let own = admin.post("/dids", own).await.expect(201);
        let tie = format!("/campaigns/1/dids/{}", own["id"]);
        admin.send(Method::PUT, &tie, |request| request).await.expect(204);
    }
    site.in_force().await;
    let readiness = acme.get("/campaigns/1/readiness").await.expect(200);
    let warnings = readiness["warnings"].as_array().expect("a list");
    let told: Vec<_> =
        warnings.iter().map(|one| (one["code"].as_str(), one["explanation"].as_str().unwrap_or_default())).collect();
    let read =
        "No call can match the DID 02079460958: it is read as +442079460958 by every node, which is a DID of its own.";
    let held = "No call can match the DID a@b: it holds characters that no carrier sends in a SIP user part.";
    assert_eq!(told, [(Some("unmatched_did"), read), (Some("unmatched_did"), held)]);
    assert_eq!(readiness["ready"], json!(true), "the other DIDs are matched: {readiness}");
    site.settle().await;
}

async fn what_is_no_number_is_made_by_staff_alone(database: Database) {
    let site = site(database, &COUNTRIES[0]).await;
    let seller = site.user("rival", Role::Seller).await;
    let (admin, rival) = (site.as_admin().await, site.as_user("rival").await);
    for raw in [json!(true), json!(false)] {
        let refused = rival.post("/dids", json!({ "number": "7042", "raw": raw })).await;
        assert_eq!(refused.wrong_fields(), ["raw"], "a seller does not know of it");
    }
    assert_eq!(bulk(&rival, "number,raw\n7042,true\n".to_owned()).await, 422);
    let made = |number: &str, raw: bool| json!({ "number": number, "raw": raw, "seller_id": seller });
    assert_eq!(admin.post("/dids", made("7042", false)).await.wrong_fields(), ["number"]);
    assert_eq!(admin.post("/dids", made("+12025550173", true)).await.wrong_fields(), ["number"]);
    assert_eq!(admin.post("/dids", made("7042", true)).await.expect(201)["raw"], json!(true));
    assert_eq!(
        bulk(&admin, format!("number,seller_id,raw\n7043,{seller}.0,TRUE\n+12025550173,{seller},\n")).await,
        201
    );
    // Sellers read what they have, and find it by any spelling.
    let all = rival.get("/dids").await.expect(200);
    let raws: Vec<_> = all["items"].as_array().expect("items").iter().map(|did| did["raw"].clone()).collect();
    assert_eq!(raws, [true, true, false]);
    let found = rival.get("/dids?number=%2B1%20(202)%20555-0173").await.expect(200);
    assert_eq!(found["items"][0]["number"], json!("+12025550173"));
    site.settle().await;
}
