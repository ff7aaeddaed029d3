//! `apply` and `export` against the database, and the snapshot that routing gets of it.

use capconduit::cdr::record::{AttemptOutcome, AttemptRecord, CallRecord, DialStatus, HungUpBy, Presentation};
use capconduit::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use capconduit::plan::{Document, Screening};
use capconduit::routing::snapshot::{CountOn, Snapshot, Status, Strategy};
use capconduit::store::apply::{ApplyError, apply, preview};
use capconduit::store::{Db, plan, records, snapshot};
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::TestRunner;

use crate::documents;
use crate::helpers::{Home, on_both, sql};

on_both!(
    the_snapshot_shows_what_was_applied,
    a_preview_and_a_second_apply_write_nothing,
    a_refused_document_changes_nothing,
    used_objects_are_archived_and_come_back_with_their_count,
    a_did_moves_between_active_campaigns_and_sellers,
    without_prune_nothing_goes_but_a_did_that_is_given_to_another,
    old_ids_are_set_and_stay_until_they_go_to_another,
    two_applies_at_once_take_turns,
    any_document_follows_any_other,
);

const DEMO: &str = r#"
[[sellers]]
username = "ann"
name = "Ann"
[[sellers]]
username = "bob"
name = "Bob"
[[clients]]
identifier = "north"
name = "North Calls"
max_concurrency = 5
send_headers = true
sip = { host = "203.0.113.7" }
[[clients]]
identifier = "Reg"
name = "Registers"
status = "paused"
sip = { registration = { username = "reg", password = "hunter2" } }
[[dids]]
number = "+442071234567"
seller = "ann"
[[dids]]
number = "1800FLOWERS"
seller = "bob"
status = "paused"
[[campaigns]]
name = "Solar UK"
seller = "ann"
routing_strategy = "weighted"
max_duration_seconds = 60
dids = ["+442071234567"]
[[campaigns.links]]
client = "north"
max_concurrency = 0
total_calls_allowed = 7
count_on = "attempted"
[[campaigns.links]]
client = "reg"
weight = 3
ring_timeout_seconds = 9
[[campaigns]]
name = "Wind"
seller = "ann"
routing_strategy = "priority"
status = "paused"
dids = ["+442071234567"]
"#;

fn document(toml: &str) -> Document {
    Document::parse(toml).expect("TOML of that form")
}

async fn applied(home: &Home, db: &Db, toml: &str) -> String {
    apply(db, &home.realtime(), &Screening::default(), &document(toml), true)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
        .to_string()
}

async fn the_snapshot_shows_what_was_applied(home: Home) {
    let db = home.migrated().await;
    let empty = snapshot::load(&db).await.expect("loads");
    assert_eq!(empty, Snapshot { revision: 1, ..Snapshot::default() });
    applied(&home, &db, DEMO).await;
    let loaded = snapshot::load(&db).await.expect("loads");
    assert_eq!((loaded.revision, snapshot::revision(&db).await.expect("read")), (2, 2));
    let did = &loaded.dids["+442071234567"];
    assert_eq!((did.seller_name.as_str(), did.status), ("Ann", Status::Active));
    assert_eq!((loaded.dids["1800FLOWERS"].status, loaded.dids["1800FLOWERS"].campaign), (Status::Paused, None));
    // It feeds the active campaign, though a paused one has it too.
    let campaign = &loaded.campaigns[&did.campaign.expect("it feeds one")];
    assert_eq!((campaign.name.as_str(), campaign.strategy), ("Solar UK", Strategy::Weighted));
    assert_eq!((campaign.dial_timeout.as_secs(), campaign.setup_budget), (20, None));
    assert_eq!(campaign.max_duration.map(|talk| talk.as_secs()), Some(60));
    let [first, second] = &campaign.links[..] else { panic!("two links: {campaign:?}") };
    let north = &loaded.clients[&first.client];
    assert_eq!((north.identifier.as_str(), north.max_concurrency, north.send_headers), ("north", Some(5), true));
    assert_eq!(
        (first.max_concurrency, first.total_calls_allowed, first.count_on),
        (Some(0), Some(7), CountOn::Attempted)
    );
    assert_eq!((second.weight, second.ring_timeout.map(|ring| ring.as_secs())), (3, Some(9)));
    assert_eq!(loaded.clients[&second.client].status, Status::Paused);
    assert_eq!(snapshot::totals(&db).await.expect("read"), [(first.id, 0), (second.id, 0)].into());
}

async fn a_preview_and_a_second_apply_write_nothing(home: Home) {
    let db = home.migrated().await;
    let shown = preview(&db, &Screening::default(), &document(DEMO), true).await.expect("fits").to_string();
    assert_eq!(snapshot::revision(&db).await.expect("read"), 1);
    assert_eq!(applied(&home, &db, DEMO).await, shown);
    assert_eq!(applied(&home, &db, DEMO).await, "No changes.");
    let exported = plan::export(&db).await.expect("exports").to_toml().expect("TOML");
    assert!(!exported.contains("hunter2"));
    assert_eq!(applied(&home, &db, &exported).await, "No changes.");
    assert_eq!(snapshot::revision(&db).await.expect("read"), 2);
    assert_eq!(
        applied(&home, &db, &DEMO.replace("max_concurrency = 5", "")).await,
        "~ client north: max_concurrency 5 → no limit"
    );
    assert_eq!(snapshot::revision(&db).await.expect("read"), 3);
}

async fn a_refused_document_changes_nothing(home: Home) {
    let db = home.migrated().await;
    sql(&home, "INSERT INTO users (username, name, role) VALUES ('bob', 'Boss', 'admin')").await.expect("an admin");
    let refused =
        apply(&db, &home.realtime(), &Screening::default(), &document(DEMO), true).await.expect_err("bob is an admin");
    assert!(matches!(&refused, ApplyError::Problems(problems) if problems.0.len() == 1), "{refused:?}");
    assert_eq!(snapshot::load(&db).await.expect("loads"), Snapshot { revision: 1, ..Snapshot::default() });
    assert_eq!(applied(&home, &db, "").await, "No changes.");
    assert_eq!(sql(&home, "SELECT role FROM users").await, Ok(vec!["admin".to_owned()]));
}

/// A call of the first link of `Solar UK` that counts.
fn call_of(loaded: &Snapshot) -> CallRecord {
    let at = chrono::DateTime::from_timestamp_micros(1_795_000_000_000_000).expect("a time in range");
    let did = &loaded.dids["+442071234567"];
    let campaign: CampaignId = did.campaign.expect("it feeds one");
    let link = &loaded.campaigns[&campaign].links[0];
    let attempt = AttemptRecord {
        number: 1,
        link_id: link.id,
        client_id: link.client,
        client_name: "North Calls".into(),
        client_identifier: "north".into(),
        started_at: at,
        ringing_at: None,
        answered_at: Some(at),
        ended_at: at,
        outcome: AttemptOutcome::Answered,
        q850_cause: Some(16),
        sip_code: Some(200),
        counted: true,
    };
    CallRecord {
        call_id: CallId::derive(at, "pbx", "1"),
        node: "pbx".into(),
        uniqueid: "1".into(),
        linkedid: "1".into(),
        sip_call_id: None,
        dialled_raw: "+442071234567".into(),
        dialled_number: None,
        caller_raw: None,
        caller_number: None,
        caller_name: None,
        caller_presentation: Presentation::Allowed,
        seller_id: Some::<UserId>(did.seller),
        seller_name: Some(did.seller_name.clone()),
        did_id: Some::<DidId>(did.id),
        campaign_id: Some(campaign),
        campaign_name: Some("Solar UK".into()),
        last_link_id: Some::<LinkId>(link.id),
        answered_link_id: Some(link.id),
        answered_client_id: Some::<ClientId>(link.client),
        answered_client_name: Some("North Calls".into()),
        arrived_at: at,
        ringing_at: None,
        answered_at: Some(at),
        ended_at: at,
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        ring_ms: 0,
        talk_ms: 0,
        dialstatus: DialStatus::Answer,
        q850_cause: None,
        sip_code: Some(200),
        hung_up_by: HungUpBy::Caller,
        ending: "answered".into(),
        trace: None,
        timeline: serde_json::json!([]).into(),
        legacy: None,
        attempts: vec![attempt],
    }
}

async fn used_objects_are_archived_and_come_back_with_their_count(home: Home) {
    let db = home.migrated().await;
    applied(&home, &db, DEMO).await;
    let before = snapshot::load(&db).await.expect("loads");
    let call = call_of(&before);
    let link = call.attempts[0].link_id;
    records::write(&db, std::slice::from_ref(&call)).await.expect("written");
    let gone = applied(&home, &db, "").await;
    let (kept, deleted): (Vec<&str>, Vec<&str>) = gone.lines().partition(|line| line.contains("kept as archived"));
    let subjects: Vec<&str> = kept.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(
        subjects,
        [
            "- link Solar UK → north",
            "- campaign Solar UK of ann",
            "- did +442071234567",
            "- client north",
            "- seller ann"
        ]
    );
    assert_eq!(deleted.len(), 5, "{deleted:?}");
    assert_eq!(applied(&home, &db, "").await, "No changes.");
    let empty = snapshot::load(&db).await.expect("loads");
    assert_eq!((empty.dids.len(), empty.campaigns.len(), empty.clients.len()), (0, 0, 0));
    assert_eq!(sql(&home, "SELECT status FROM users WHERE username = 'ann'").await, Ok(vec!["disabled".to_owned()]));
    assert_eq!(plan::export(&db).await.expect("exports"), Document::default());

    applied(&home, &db, DEMO).await;
    let after = snapshot::load(&db).await.expect("loads");
    assert_eq!(after.dids["+442071234567"].id, before.dids["+442071234567"].id);
    assert_eq!(snapshot::totals(&db).await.expect("read")[&link], 1);
    assert_eq!(records::by_call_id(&db, call.call_id).await.expect("read"), Some(call));
}

async fn a_did_moves_between_active_campaigns_and_sellers(home: Home) {
    let db = home.migrated().await;
    applied(&home, &db, DEMO).await;
    let (active, paused) = ("max_duration_seconds = 60", "status = \"paused\"\ndids");
    let swapped = DEMO.replace(paused, "dids").replace(active, "status = \"paused\"");
    applied(&home, &db, &swapped).await;
    let loaded = snapshot::load(&db).await.expect("loads");
    let feeds =
        |loaded: &Snapshot| loaded.campaigns[&loaded.dids["+442071234567"].campaign.expect("feeds one")].name.clone();
    assert_eq!(feeds(&loaded), "Wind");
    let sold =
        DEMO.replace("number = \"+442071234567\"\nseller = \"ann\"", "number = \"+442071234567\"\nseller = \"bob\"");
    let sold = sold.replace("name = \"Solar UK\"\nseller = \"ann\"", "name = \"Solar UK\"\nseller = \"bob\"");
    let sold = sold.replacen("status = \"paused\"\ndids = [\"+442071234567\"]", "", 1);
    applied(&home, &db, &sold).await;
    let loaded = snapshot::load(&db).await.expect("loads");
    assert_eq!((feeds(&loaded).as_str(), loaded.dids["+442071234567"].seller_name.as_str()), ("Solar UK", "Bob"));
}

async fn without_prune_nothing_goes_but_a_did_that_is_given_to_another(home: Home) {
    let db = home.migrated().await;
    applied(&home, &db, DEMO).await;
    let keeping = async |toml: &str| {
        let told = preview(&db, &Screening::default(), &document(toml), false).await.expect("fits");
        let plan = apply(&db, &home.realtime(), &Screening::default(), &document(toml), false).await.expect("fits");
        assert_eq!((told.to_string(), told.remarks()), (plan.to_string(), plan.remarks()), "a dry run tells the same");
        plan
    };
    let before = snapshot::load(&db).await.expect("loads");
    let nothing = keeping("").await;
    assert_eq!((nothing.is_empty(), nothing.kept.len()), (true, 10), "{}", nothing.remarks());
    assert_eq!(snapshot::load(&db).await.expect("loads"), before);

    // Solar UK, which is not named, loses its DID to an active campaign, and no more than that.
    let ann =
        "[[sellers]]\nusername = \"ann\"\nname = \"Ann\"\n[[dids]]\nnumber = \"+442071234567\"\nseller = \"ann\"\n";
    let wind = "[[campaigns]]\nname = \"Wind\"\nseller = \"ann\"\ndids = [\"+442071234567\"]\n";
    let moved = keeping(&format!("{ann}{wind}")).await.to_string();
    assert!(moved.contains("~ campaign Solar UK of ann: dids [+442071234567] → []"), "{moved}");
    let loaded = snapshot::load(&db).await.expect("loads");
    let feeds = |loaded: &Snapshot| loaded.dids["+442071234567"].campaign.map(|id| loaded.campaigns[&id].name.clone());
    assert_eq!((feeds(&loaded).as_deref(), loaded.campaigns.len()), (Some("Wind"), 2));
    // To another seller: no campaign of its former one has it any more.
    let bob =
        "[[sellers]]\nusername = \"bob\"\nname = \"Bob\"\n[[dids]]\nnumber = \"+442071234567\"\nseller = \"bob\"\n";
    keeping(bob).await;
    let loaded = snapshot::load(&db).await.expect("loads");
    assert_eq!((feeds(&loaded), loaded.campaigns.len(), loaded.clients.len()), (None, 2, 2));
    assert_eq!(loaded.dids["+442071234567"].seller_name, "Bob");
}

async fn old_ids_are_set_and_stay_until_they_go_to_another(home: Home) {
    let db = home.migrated().await;
    let with = |north: &str, south: &str| {
        let link = |client: &str, id: &str| format!("[[campaigns.links]]\nclient = \"{client}\"\n{id}\n");
        let clients = ["north", "south"].map(|client| {
            format!("[[clients]]\nidentifier = \"{client}\"\nname = \"{client}\"\nsip = {{ host = \"203.0.113.7\" }}\n")
        });
        format!(
            "[[sellers]]\nusername = \"ann\"\nname = \"Ann\"\nlegacy_id = \"1\"\n{}\
             [[dids]]\nnumber = \"+442071234567\"\nseller = \"ann\"\nlegacy_id = \"1\"\n\
             [[campaigns]]\nname = \"Solar\"\nseller = \"ann\"\nlegacy_id = \"1\"\n{}{}",
            clients.concat(),
            link("north", north),
            link("south", south)
        )
    };
    let text = with("legacy_id = \"7\"", "legacy_id = \"8\"");
    let added = applied(&home, &db, &text).await;
    assert!(
        added.contains("link Solar → north: legacy_id 7") && added.contains("seller ann: name \"Ann\", legacy_id 1"),
        "{added}"
    );
    let exported = plan::export(&db).await.expect("exports").to_toml().expect("TOML");
    assert_eq!(applied(&home, &db, &exported).await, "No changes.");
    assert_eq!(applied(&home, &db, &with("", "")).await, "No changes.", "what is not named stays");
    let swapped = applied(&home, &db, &with("legacy_id = \"8\"", "legacy_id = \"7\"")).await;
    assert!(swapped.contains("link Solar → south: legacy_id 8 → 7"), "{swapped}");
    // North keeps its 8, so south cannot have it.
    let taken = Document::parse(&with("", "legacy_id = \"8\"")).expect("a document");
    let refused =
        apply(&db, &home.realtime(), &Screening::default(), &taken, true).await.expect_err("refused").to_string();
    assert!(refused.contains("link Solar → south") && refused.contains("legacy_id"), "{refused}");
    for (id, told) in [("legacy_id = \"8\"", "another link"), ("legacy_id = \"a b\"", "visible ASCII")] {
        let document = Document::parse(&with("legacy_id = \"8\"", id)).expect("a document");
        let refused = apply(&db, &home.realtime(), &Screening::default(), &document, true)
            .await
            .expect_err("refused")
            .to_string();
        assert!(
            refused.contains("campaigns[\"Solar\"].links[\"south\"].legacy_id") && refused.contains(told),
            "{refused}"
        );
    }
}

async fn two_applies_at_once_take_turns(home: Home) {
    let (one, two) = (home.migrated().await, home.connect().await);
    let other = DEMO.replace("North Calls", "Other");
    let (a, b) = tokio::join!(applied(&home, &one, DEMO), applied(&home, &two, &other));
    let lines = [a.lines().count(), b.lines().count()];
    assert!(lines == [10, 1] || lines == [1, 10], "{a}\n--\n{b}");
    assert_eq!(snapshot::revision(&one).await.expect("read"), 3);
}

/// Whatever documents follow each other, each is fully there afterwards, and its export changes nothing.
async fn any_document_follows_any_other(home: Home) {
    let db = home.migrated().await;
    let mut runner = TestRunner::deterministic();
    for n in 0..40 {
        let document = documents::document().new_tree(&mut runner).expect("a document").current();
        let text = format!("document {n}: {document:?}");
        apply(&db, &home.realtime(), &Screening::default(), &document, true)
            .await
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            preview(&db, &Screening::default(), &document, true).await.expect(&text).to_string(),
            "No changes.",
            "{text}"
        );
        let exported = plan::export(&db).await.expect(&text).to_toml().expect(&text);
        let again = Document::parse(&exported).expect(&text);
        assert_eq!(
            preview(&db, &Screening::default(), &again, true).await.expect(&text).to_string(),
            "No changes.",
            "{exported}"
        );
        let loaded = snapshot::load(&db).await.expect(&text);
        assert_eq!((loaded.dids.len(), loaded.clients.len()), (document.dids.len(), document.clients.len()), "{text}");
    }
}
