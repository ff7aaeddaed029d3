//! Single changes of clients, DIDs, campaigns and links: who sees what, what is refused, and what each change leaves behind.

use capconduit::auth::principal::Actor;
use capconduit::config::Realtime;
use capconduit::id::{CampaignId, ClientId, DidId, UserId};
use capconduit::realtime::{Md5Cred, Password, REALM, Secrets, SipForm, SipSettings};
use capconduit::routing::number::readers::Readers;
use capconduit::routing::number::written::read;
use capconduit::routing::snapshot::{CampaignRejections, CountOn, Status, Strategy};
use capconduit::store::campaigns::{self, CampaignFilter, CampaignValues, StoredCampaign};
use capconduit::store::change::{Editor, Keyset, Owner, Refusal};
use capconduit::store::clients::{self, Access, ClientValues, StoredClient};
use capconduit::store::dids::{self, DidFilter, DidValues, StoredDid};
use capconduit::store::links::{self, LinkValues, StoredLink};
use capconduit::store::{Db, snapshot};

use crate::helpers::{Home, on_both, sql};

on_both!(
    a_change_grows_version_and_revision_and_leaves_a_line,
    sellers_see_their_own_and_the_clients_that_are_for_them,
    a_revoked_client_is_offered_no_calls,
    numbers_are_unique_over_all_sellers_and_a_bulk_is_all_or_none,
    a_did_feeds_one_active_campaign_whoever_races,
    what_is_in_use_is_neither_deleted_nor_archived,
    an_identifier_is_never_given_again,
    pages_follow_each_other_without_gap,
);

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const ALL: Keyset = Keyset { after: None, limit: 200 };

/// A database with two sellers and an admin.
struct Site {
    db: Db,
    realtime: Realtime,
}

impl Site {
    async fn new(home: &Home) -> Self {
        let db = home.migrated().await;
        let users = "INSERT INTO users (id, username, name, role) VALUES
            (1, 'ann', 'Ann', 'seller'), (2, 'bob', 'Bob', 'seller'), (3, 'root', 'Root', 'admin')";
        sql(home, users).await.expect("users");
        Self { db, realtime: home.realtime() }
    }

    fn editor(&self, owner: Owner) -> Editor<'_> {
        let at = chrono::DateTime::from_timestamp(1_795_000_000, 0).expect("a time in range");
        Editor { db: &self.db, realtime: &self.realtime, actor: Actor::System("cli"), at, owner }
    }

    fn all(&self) -> Editor<'_> {
        self.editor(Owner::Anyone)
    }

    async fn client(&self, identifier: &str) -> StoredClient {
        let identifier = identifier.parse().expect("an identifier");
        clients::create(&self.all(), identifier, client(), None).await.expect("a client")
    }

    async fn did(&self, number: &str, seller: UserId) -> StoredDid {
        let wanted = [(read(number).expect("a number"), DidValues { seller, status: Status::Active })];
        dids::create(&self.all(), &Readers::default(), &wanted).await.expect("a DID").remove(0)
    }

    async fn campaign(&self, name: &str, seller: UserId) -> StoredCampaign {
        campaigns::create(&self.all(), seller, campaign(name)).await.expect("a campaign")
    }

    async fn link(&self, campaign: CampaignId, client: ClientId) -> StoredLink {
        links::create(&self.all(), campaign, client, link()).await.expect("a link")
    }

    async fn revision(&self) -> i64 {
        snapshot::revision(&self.db).await.expect("read")
    }
}

fn sip() -> SipSettings {
    let form = SipForm { host: Some("203.0.113.7".into()), ..SipForm::default() };
    form.check(&mut |field, problem| panic!("{field}: {problem}")).expect("sound")
}

fn client() -> ClientValues {
    ClientValues {
        name: "North Calls".into(),
        mask_name: None,
        status: Status::Active,
        max_concurrency: Some(3),
        send_headers: false,
        contact: None,
        time_zone: None,
        access: Access::All,
        sip: sip(),
        secrets: Secrets::default(),
    }
}

fn campaign(name: &str) -> CampaignValues {
    CampaignValues {
        name: name.into(),
        strategy: Strategy::Priority,
        dial_timeout_seconds: 20,
        setup_budget_seconds: None,
        max_duration_seconds: None,
        max_concurrency: None,
        early_media: true,
        rejections: CampaignRejections::default(),
        status: Status::Active,
    }
}

fn link() -> LinkValues {
    LinkValues {
        max_concurrency: Some(2),
        total_calls_allowed: None,
        forwarding_priority: 1,
        weight: 1,
        ring_timeout_seconds: None,
        count_on: CountOn::Answered,
        status: Status::Active,
    }
}

/// The stable word of a conflict.
fn code<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> &'static str {
    match outcome {
        Err(Refusal::Conflict { code, .. }) => code,
        other => panic!("no conflict: {other:?}"),
    }
}

fn missing<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> bool {
    match outcome {
        Err(Refusal::NotFound | Refusal::Unknown { .. }) => true,
        other => panic!("it is seen: {other:?}"),
    }
}

async fn a_change_grows_version_and_revision_and_leaves_a_line(home: Home) {
    let site = Site::new(&home).await;
    let all = site.all();
    let made = site.client("north").await;
    assert_eq!((made.version, site.revision().await), (1, 2));
    let credential = Md5Cred::within(REALM, &"reg".parse().expect("a name"), &Password::new("hunter2".into()));
    let changed = clients::change(&all, made.id, Some(1), |values| {
        values.max_concurrency = None;
        values.secrets.registration = Some(credential.clone());
        Ok(())
    });
    let changed = changed.await.expect("the version is right");
    assert_eq!((changed.version, changed.values.max_concurrency, site.revision().await), (2, None, 3));
    assert_eq!(clients::get(&site.db, Owner::Anyone, made.id).await.expect("there"), changed);
    // Nothing is written when nothing differs, and nothing over what the caller has not seen.
    let same = clients::change(&all, made.id, None, |_| Ok(())).await.expect("no change");
    assert_eq!((same.version, site.revision().await), (2, 3));
    let stale = clients::change(&all, made.id, Some(1), |values| {
        values.name = "late".into();
        Ok(())
    });
    assert!(matches!(stale.await, Err(Refusal::Stale { version: 2 })));
    assert!(matches!(clients::delete(&all, made.id, Some(1)).await, Err(Refusal::Stale { version: 2 })));
    clients::delete(&all, made.id, Some(2)).await.expect("unused");
    assert_eq!(site.revision().await, 4);
    let lines = sql(&home, "SELECT actor || ' ' || action || ' ' || object FROM audit ORDER BY id").await;
    let wanted = ["create", "update", "delete"].map(|action| format!("cli client.{action} client:{}", made.id));
    assert_eq!(lines.expect("read"), wanted);
    let text = sql(&home, "SELECT COALESCE(CAST(before AS TEXT), '') || COALESCE(CAST(after AS TEXT), '') FROM audit");
    let text = text.await.expect("read").join("\n").replace(' ', "");
    assert!(text.contains("\"sip_password\":\"changed\"") && text.contains("203.0.113.7"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(credential.expose()), "{text}");
}

async fn sellers_see_their_own_and_the_clients_that_are_for_them(home: Home) {
    let site = Site::new(&home).await;
    let all = site.all();
    let (ann, bob) = (Owner::Only(ANN), Owner::Only(BOB));
    let (open, closed) = (site.client("open").await, site.client("closed").await);
    let select = |values: &mut ClientValues| {
        values.access = Access::Selected;
        values.mask_name = Some("Alias".into());
        Ok(())
    };
    clients::change(&all, closed.id, None, select).await.expect("selected");
    clients::name_seller(&all, closed.id, ANN, true).await.expect("named");
    clients::name_seller(&all, closed.id, ANN, true).await.expect("again");
    assert_eq!(clients::sellers(&site.db, closed.id).await.expect("read"), [(ANN, "ann".to_owned())]);
    assert!(missing(clients::name_seller(&all, closed.id, UserId(3), true).await), "an admin is no seller");
    let seen = async |owner| clients::list(&site.db, owner, None, ALL).await.expect("read");
    assert_eq!(seen(bob).await.iter().map(|client| client.id).collect::<Vec<_>>(), [open.id]);
    let names: Vec<String> = seen(ann).await.iter().map(|client| client.name_for(ann).to_owned()).collect();
    assert_eq!(names, ["North Calls", "Alias"]);
    assert!(missing(clients::get(&site.db, bob, closed.id).await));

    let (did, campaign) = (site.did("+442071234567", ANN).await, site.campaign("Solar", ANN).await);
    let link = site.link(campaign.id, closed.id).await;
    assert_eq!(
        links::get(&site.db, ann, campaign.id, link.id).await.expect("own").client_name.as_deref(),
        Some("Alias")
    );
    let editor = site.editor(bob);
    assert!(missing(dids::get(&site.db, bob, did.id).await));
    assert!(missing(campaigns::get(&site.db, bob, campaign.id).await));
    assert!(missing(links::get(&site.db, bob, campaign.id, link.id).await));
    assert!(missing(links::list(&site.db, bob, campaign.id, None, ALL).await));
    assert!(missing(dids::change(&editor, &Readers::default(), did.id, None, |_| Ok(())).await));
    assert!(missing(dids::delete(&editor, did.id, None).await));
    assert!(missing(campaigns::change(&editor, campaign.id, None, |_| Ok(())).await));
    assert!(missing(campaigns::delete(&editor, campaign.id, None).await));
    assert!(missing(links::change(&editor, campaign.id, link.id, None, |_| Ok(())).await));
    assert!(missing(links::delete(&editor, campaign.id, link.id, None).await));
    assert!(missing(campaigns::create(&editor, ANN, self::campaign("Hers")).await));
    let own = site.campaign("Wind", BOB).await;
    assert!(missing(campaigns::tie(&editor, own.id, did.id, true).await), "another's DID");
    assert!(missing(links::create(&editor, own.id, closed.id, self::link()).await), "a client that is not for him");
    assert!(missing(links::create(&all, own.id, closed.id, self::link()).await), "whoever makes the link");
    assert!(missing(links::get(&site.db, bob, own.id, link.id).await), "under another campaign");
    let filter = DidFilter { seller: Some(ANN), ..DidFilter::default() };
    assert_eq!(dids::list(&site.db, bob, &filter, ALL).await.expect("read"), []);
    let filter = CampaignFilter { seller: Some(ANN), ..CampaignFilter::default() };
    assert_eq!(campaigns::list(&site.db, bob, &filter, ALL).await.expect("read"), []);
}

async fn a_revoked_client_is_offered_no_calls(home: Home) {
    let site = Site::new(&home).await;
    let all = site.all();
    let (client, campaign) = (site.client("north").await, site.campaign("Solar", ANN).await);
    site.link(campaign.id, client.id).await;
    let other = site.campaign("Wind", BOB).await;
    site.link(other.id, client.id).await;
    let withdrawn = async || {
        let loaded = snapshot::load(&site.db).await.expect("loads");
        [campaign.id, other.id].map(|id| loaded.campaigns[&id].links[0].withdrawn)
    };
    clients::name_seller(&all, client.id, BOB, true).await.expect("named");
    assert_eq!(withdrawn().await, [false; 2]);
    let select = |values: &mut ClientValues| {
        values.access = Access::Selected;
        Ok(())
    };
    clients::change(&all, client.id, None, select).await.expect("selected");
    assert_eq!(withdrawn().await, [true, false]);
    let before = site.revision().await;
    clients::name_seller(&all, client.id, BOB, false).await.expect("revoked");
    assert_eq!(withdrawn().await, [true; 2]);
    assert_eq!(site.revision().await, before + 1, "serve is told");
    let seen = links::list(&site.db, Owner::Only(ANN), campaign.id, None, ALL).await.expect("own");
    assert_eq!((seen[0].client_name.as_deref(), seen[0].client_withdrawn), (None, true));
    assert_eq!(seen[0].values.status, Status::Active, "whose it is to change");
}

async fn numbers_are_unique_over_all_sellers_and_a_bulk_is_all_or_none(home: Home) {
    let site = Site::new(&home).await;
    site.did("+442071234567", ANN).await;
    let before = site.revision().await;
    let wanted = |numbers: &[&str]| {
        let values = DidValues { seller: BOB, status: Status::Active };
        numbers.iter().map(|number| (read(number).expect("a number"), values.clone())).collect::<Vec<_>>()
    };
    let editor = site.editor(Owner::Only(BOB));
    let one = dids::create(&editor, &Readers::default(), &wanted(&["+442071234567"])).await;
    assert!(matches!(one, Err(Refusal::Taken(rows)) if rows == [0]));
    let bulk = wanted(&["+442071234560", "+442071234567", "+442071234569"]);
    match dids::create(&editor, &Readers::default(), &bulk).await {
        Err(Refusal::Taken(rows)) => assert_eq!(rows, [1]),
        other => panic!("{other:?}"),
    }
    let own = dids::list(&site.db, Owner::Only(BOB), &DidFilter::default(), ALL).await.expect("read");
    assert_eq!((own.len(), site.revision().await), (0, before));
    let asked = sql(&home, "SELECT CAST(after AS TEXT) FROM audit WHERE action = 'did.unavailable' ORDER BY id").await;
    let asked: Vec<String> = asked.expect("read").iter().map(|line| line.replace(' ', "")).collect();
    assert_eq!(asked, [r#"{"numbers":["+442071234567"]}"#; 2]);
    let made =
        dids::create(&editor, &Readers::default(), &wanted(&["+442071234560", "+442071234569"])).await.expect("free");
    assert_eq!(made.iter().map(|did| did.values.seller).collect::<Vec<_>>(), [BOB; 2]);
}

async fn a_did_feeds_one_active_campaign_whoever_races(home: Home) {
    let (one, did) = {
        let site = Site::new(&home).await;
        let did = site.did("+442071234567", ANN).await;
        (site, did.id)
    };
    let two = Site { db: home.connect().await, realtime: home.realtime() };
    let (a, b) = (one.campaign("A", ANN).await.id, one.campaign("B", ANN).await.id);
    let (all_one, all_two) = (one.all(), two.all());
    let (first, second) = tokio::join!(campaigns::tie(&all_one, a, did, true), campaigns::tie(&all_two, b, did, true));
    let (won, lost, refused) = if first.is_ok() { (a, b, second) } else { (b, a, first) };
    assert_eq!(code(refused), "did_in_active_campaign");
    let set = |status| {
        move |values: &mut CampaignValues| {
            values.status = status;
            Ok(())
        }
    };
    // A paused campaign may have it too, but not become active beside the other.
    campaigns::change(&one.all(), lost, None, set(Status::Paused)).await.expect("paused");
    campaigns::tie(&one.all(), lost, did, true).await.expect("paused campaigns take it");
    assert_eq!(dids::get(&one.db, Owner::Anyone, did).await.expect("there").campaigns, [a, b]);
    assert_eq!(code(campaigns::change(&one.all(), lost, None, set(Status::Active)).await), "did_in_active_campaign");
    campaigns::change(&one.all(), won, None, set(Status::Archived)).await.expect("archived, it lets go of the DID");
    campaigns::change(&one.all(), lost, None, set(Status::Active)).await.expect("nobody else has it");
    let loaded = snapshot::load(&one.db).await.expect("loads");
    assert_eq!(loaded.dids["+442071234567"].campaign, Some(lost));
    let foreign = one.did("+442071234568", BOB).await.id;
    assert_eq!(code(campaigns::tie(&one.all(), lost, foreign, true).await), "did_of_other_seller");
}

async fn what_is_in_use_is_neither_deleted_nor_archived(home: Home) {
    let site = Site::new(&home).await;
    let all = site.all();
    let (client, campaign) = (site.client("north").await, site.campaign("Solar", ANN).await);
    let (did, link) = (site.did("+442071234567", ANN).await, site.link(campaign.id, client.id).await);
    assert_eq!(code(links::create(&all, campaign.id, client.id, self::link()).await), "link_exists");
    assert_eq!(code(campaigns::create(&all, ANN, self::campaign("Solar")).await), "name_taken");
    campaigns::tie(&all, campaign.id, did.id, true).await.expect("tied");
    let held = |outcome: Result<(), Refusal>| match outcome {
        Err(Refusal::Conflict { code: "in_use", detail }) => detail,
        other => panic!("{other:?}"),
    };
    assert!(held(clients::delete(&all, client.id, None).await).contains("1 link"));
    let detail = held(campaigns::delete(&all, campaign.id, None).await);
    assert!(detail.contains("1 link, 1 DID"), "{detail}");
    assert!(held(dids::delete(&all, did.id, None).await).contains("1 campaign"));
    let readers = Readers::default();
    let sold = dids::change(&all, &readers, did.id, None, |values| {
        values.seller = BOB;
        Ok(())
    });
    assert_eq!(code(sold.await), "in_use");
    let archive = clients::change(&all, client.id, None, |values| {
        values.status = Status::Archived;
        Ok(())
    });
    assert_eq!(code(archive.await), "in_use");
    sql(&home, "UPDATE campaign_client_settings SET current_total_calls = 2").await.expect("as records do");
    assert!(held(links::delete(&all, campaign.id, link.id, Some(1)).await).contains("2 counted calls"));
    let counted = links::get(&site.db, Owner::Anyone, campaign.id, link.id).await.expect("there");
    assert_eq!((counted.version, counted.current_total_calls), (1, 2), "counting is no change");

    let archived = links::change(&all, campaign.id, link.id, None, |values| {
        values.status = Status::Archived;
        Ok(())
    });
    archived.await.expect("links can always be archived");
    let weight = links::change(&all, campaign.id, link.id, None, |values| {
        values.weight = 7;
        Ok(())
    });
    assert_eq!(code(weight.await), "archived", "read-only");
    campaigns::tie(&all, campaign.id, did.id, false).await.expect("untied");
    dids::delete(&all, did.id, None).await.expect("unused now");
    assert!(missing(dids::get(&site.db, Owner::Anyone, DidId(did.id.0)).await));
}

async fn an_identifier_is_never_given_again(home: Home) {
    let site = Site::new(&home).await;
    let all = site.all();
    let made = site.client("North").await;
    let again = async || clients::create(&all, "nORTH".parse().expect("an identifier"), client(), None).await;
    assert_eq!(code(again().await), "identifier_taken");
    clients::delete(&all, made.id, None).await.expect("unused");
    assert_eq!(code(again().await), "identifier_taken");
}

async fn pages_follow_each_other_without_gap(home: Home) {
    let site = Site::new(&home).await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(site.did(&format!("+44207123456{n}"), if n == 2 { BOB } else { ANN }).await.id);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let keyset = Keyset { after, limit: 2 };
        let page = dids::list(&site.db, Owner::Only(ANN), &DidFilter::default(), keyset).await.expect("read");
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|did| did.id));
        match page.last() {
            Some(last) => after = Some(last.id.0),
            None => break,
        }
    }
    made.remove(2);
    assert_eq!(seen, made);
}
