use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::realtime::{Given, OwnRealm};
use crate::routing::snapshot::Status;

mod forms {
    pub(super) use crate::plan::{CampaignForm, ClientForm, DidForm, Document, LinkForm, RejectionsForm, SellerForm};
    pub(super) use crate::realtime::{Password, RegistrationForm, SipForm};
}
#[path = "../../tests/support/documents.rs"]
pub(super) mod documents;

/// What a document does not name is removed.
pub(super) const PRUNE: Manner = Manner { prune: true, drawn: 1 };

pub(super) const DEMO: &str = r#"
[[sellers]]
username = "ann"
name = "Ann"

[[clients]]
identifier = "north"
name = "North Calls"
max_concurrency = 5
[clients.sip]
host = "203.0.113.7"

[[clients]]
identifier = "reg"
name = "Registers"
[clients.sip]
registration = { username = "reg", password = "hunter2" }

[[dids]]
number = "+442071234567"
seller = "ann"

[[campaigns]]
name = "Solar UK"
seller = "ann"
routing_strategy = "weighted"
dids = ["+442071234567"]
[[campaigns.links]]
client = "north"
max_concurrency = 2
[[campaigns.links]]
client = "REG"
weight = 3
"#;

/// What the database would hold after `state` was applied to an empty one.
pub(super) fn stored(state: &State) -> Current {
    let mut id = 0;
    let mut next = || {
        id += 1;
        id
    };
    let mut current = Current::default();
    for (key, value) in state.sellers.clone() {
        current.sellers.insert(key, Stored { id: next(), referenced: false, value });
    }
    for (key, value) in state.clients.clone() {
        let secrets = value.given.clone().settle(None, &value.sip, OwnRealm::new(0)).expect("every password is given");
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let value = Client {
            secrets,
            given: Given::default(),
            access: value.access.or(Some(Access::All)),
            sellers: Some(value.sellers.unwrap_or_default()),
            mask_name: text(value.mask_name),
            contact: text(value.contact),
            time_zone: text(value.time_zone),
            ..value
        };
        current.clients.insert(key, Stored { id: next(), referenced: false, value });
    }
    for (key, value) in state.dids.clone() {
        current.dids.insert(key, Stored { id: next(), referenced: false, value });
    }
    for (key, (value, links)) in state.campaigns.clone() {
        let campaign = Stored { id: next(), referenced: false, value };
        let links: BTreeMap<_, _> =
            links.into_iter().map(|(key, value)| (key, Stored { id: next(), referenced: false, value })).collect();
        current.campaigns.insert(key, StoredCampaign { campaign, links });
    }
    current
}

fn state(toml: &str) -> State {
    Document::parse(toml).expect("TOML of that form").check().expect("no problems")
}

fn plan(from: &Current, toml: &str) -> String {
    diff(from, &state(toml), PRUNE).expect("fits").to_string()
}

fn problems(toml: &str) -> Vec<String> {
    Document::parse(toml).expect("TOML of that form").check().expect_err("problems").0
}

#[test]
fn a_plan_reads_like_its_changes() {
    assert_eq!(
        plan(&Current::default(), DEMO),
        "+ seller ann: name \"Ann\"\n\
         + client north: name \"North Calls\", max_concurrency 5, sip 203.0.113.7 port 5060 udp\n\
         + client reg: name \"Registers\", sip registers as reg\n\
         + did +442071234567: seller ann\n\
         + campaign Solar UK of ann: routing_strategy weighted, dids [+442071234567]\n\
         + link Solar UK → north: max_concurrency 2\n\
         + link Solar UK → reg: weight 3"
    );
    let current = stored(&state(DEMO));
    assert_eq!(plan(&current, DEMO), "No changes.");
    let changed = DEMO.replace("max_concurrency = 2", "max_concurrency = 3").replace("hunter2", "hunter3");
    assert_eq!(
        plan(&current, &changed),
        "~ client reg: sip.registration.password changed\n~ link Solar UK → north: max_concurrency 2 → 3"
    );
    assert_eq!(
        plan(&current, ""),
        "- link Solar UK → north\n- link Solar UK → reg\n- campaign Solar UK of ann\n- did +442071234567\n\
         - client north\n- client reg\n- seller ann"
    );
}

#[test]
fn what_records_refer_to_is_archived_with_all_it_stands_on_and_comes_back() {
    let mut current = stored(&state(DEMO));
    let campaign = current.campaigns.values_mut().next().expect("one");
    campaign.links.get_mut("north").expect("there").referenced = true;
    let archived = |line: &str| line.contains("kept as archived");
    let text = plan(&current, "");
    let kept: Vec<&str> =
        text.lines().filter(|line| archived(line)).filter_map(|line| line.split(':').next()).collect();
    assert_eq!(kept, ["- link Solar UK → north", "- campaign Solar UK of ann", "- client north", "- seller ann"]);

    // As it would be stored afterwards.
    let campaign = current.campaigns.values_mut().next().expect("one");
    campaign.links.remove("reg");
    campaign.links.get_mut("north").expect("there").value.status = Status::Archived;
    campaign.campaign.value.status = Status::Archived;
    campaign.campaign.value.dids.clear();
    current.dids.clear();
    current.clients.remove("reg");
    current.clients.get_mut("north").expect("there").value.status = Status::Archived;
    current.sellers.get_mut("ann").expect("there").value.status = UserStatus::Disabled;
    assert_eq!(plan(&current, ""), "No changes.");
    let back = plan(&current, DEMO);
    for line in [
        "~ seller ann: status disabled → active",
        "~ client north: status archived → active",
        "~ link Solar UK → north: status archived → active",
    ] {
        assert!(back.contains(line), "{line} not in\n{back}");
    }
}

#[test]
fn a_registration_needs_a_password_only_while_none_is_stored_for_its_username() {
    let silent = DEMO.replace(", password = \"hunter2\"", "");
    let wanted = state(&silent);
    let error = diff(&Current::default(), &wanted, PRUNE).expect_err("new").to_string();
    assert!(error.starts_with("clients[\"reg\"].sip.registration.password: is missing"), "{error}");
    assert_eq!(plan(&stored(&state(DEMO)), &silent), "No changes.");
    let renamed = state(&silent.replace("username = \"reg\"", "username = \"other\""));
    assert!(diff(&stored(&state(DEMO)), &renamed, PRUNE).is_err());
}

#[test]
fn admins_and_staff_are_out_of_reach() {
    let current = Current { other_users: ["ann".to_owned()].into(), ..Current::default() };
    let error = diff(&current, &state(DEMO), PRUNE).expect_err("taken").to_string();
    assert!(error.contains("sellers[\"ann\"].username"), "{error}");
    let only_staff = Current { other_users: ["root".to_owned()].into(), ..Current::default() };
    assert_eq!(plan(&only_staff, ""), "No changes.");
}

#[test]
fn every_problem_is_named_at_once_with_path_value_and_choice() {
    let bad = r#"
        [[sellers]]
        username = "Ann"
        name = ""
        status = "gone"
        [[clients]]
        identifier = "a b"
        name = "x\r\nVia: y"
        status = "archived"
        max_concurrency = -1
        sip = { host = "a;b" }
        [[clients]]
        identifier = "carrier-1"
        name = "x"
        sip = { host = "a" }
        [[dids]]
        number = "+0123"
        seller = "nobody"
        [[dids]]
        number = "a b"
        seller = "Ann"
        [[campaigns]]
        name = "c"
        seller = "Ann"
        routing_strategy = "chance"
        dial_timeout_seconds = 0
        dids = ["+0123", "none"]
        links = [{ client = "zed", weight = 10001, count_on = "never" }, { client = "zed" }]
    "#;
    let problems = problems(bad);
    for start in [
        "sellers[\"Ann\"].username: is not allowed: use 1 to 64",
        "sellers[\"Ann\"].name: \"\"",
        "sellers[\"Ann\"].status: \"gone\" is not one of active, disabled",
        "clients[\"a b\"].identifier: \"a b\" is not allowed: use 1 to 40 of",
        "clients[\"a b\"].name: \"x\\r\\nVia: y\"",
        "clients[\"a b\"].status: \"archived\" is not one of active, paused",
        "clients[\"a b\"].max_concurrency: -1 is not allowed: 0 (none) to 4294967295, or leave it out for no limit",
        "clients[\"a b\"].sip.host: \"a;b\"",
        "clients[\"carrier-1\"].identifier: is kept",
        "dids[\"+0123\"].number: is not allowed: after + come",
        "dids[\"+0123\"].seller: \"nobody\"",
        "dids[\"a b\"].number: is not allowed: use +",
        "campaigns[\"c\"].routing_strategy: \"chance\" is not one of priority, round_robin, weighted",
        "campaigns[\"c\"].dial_timeout_seconds: 0 is not allowed: 1 to 600 seconds",
        "campaigns[\"c\"].dids: \"+0123\" belongs to seller \"nobody\"",
        "campaigns[\"c\"].dids: \"none\" is not the number",
        "campaigns[\"c\"].links[\"zed\"]: \"zed\" is not the identifier",
        "campaigns[\"c\"].links[\"zed\"].weight: 10001 is not allowed: 1 to 10000",
        "campaigns[\"c\"].links[\"zed\"].count_on: \"never\" is not one of answered, attempted",
        "campaigns[\"c\"].links[\"zed\"]: is there twice",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(start)), "{start} not in\n{}", problems.join("\n"));
    }
}

#[test]
fn duplicates_are_refused() {
    let two_active = format!(
        "{DEMO}\n[[campaigns]]\nname = \"Wind\"\nseller = \"ann\"\nrouting_strategy = \"priority\"\ndids = [\"+442071234567\"]"
    );
    assert!(problems(&two_active)[0].contains("feeds \"Solar UK\" already"));
    assert_eq!(
        plan(&Current::default(), &two_active.replace("\"priority\"", "\"priority\"\nstatus = \"paused\""))
            .lines()
            .count(),
        8
    );
    let same_case = DEMO.replace("identifier = \"reg\"", "identifier = \"NORTH\"");
    assert!(problems(&same_case).iter().any(|problem| problem.starts_with("clients[\"NORTH\"]: is there twice")));
}

#[test]
fn unknown_keys_are_refused_and_no_error_shows_a_password() {
    let error =
        Document::parse("[[dids]]\nnumber = \"1\"\nseller = \"a\"\ncolour = 1").expect_err("unknown").to_string();
    assert!(error.contains("colour") && error.contains("number"), "{error}");
    for broken in [DEMO.replace("\"hunter2\" }", "\"hunter2\", x = 1 }"), DEMO.replace("\"hunter2\" }", "\"hunter2\" ")]
    {
        let error = Document::parse(&broken).expect_err("broken");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert!(error.to_string().starts_with("line 1"), "{error}");
    }
    // Under a misspelt key, where no table is expected, where a number is: what is wrong is told, the value never.
    let password = "password = \"hunter2\"";
    for (from, to, told) in [
        (password, "passwrd = \"hunter2\"", "line 17: unknown field `passwrd`"),
        (
            "{ username = \"reg\", password = \"hunter2\" }",
            "\"reg:hunter2\"",
            "line 17: a value of another type (string",
        ),
        ("max_concurrency = 5", "max_concurrency = \"hunter2, expected 5\"", "line 9: a value of another type (string"),
        (password, "password = hunter2", "line 17: "),
        (password, "passwrd = 'hunter2", "line 1"),
    ] {
        // The only password in the text stands where `to` puts it.
        let text = DEMO.replace(from, to).replace(password, "");
        let error = Document::parse(&text).expect_err(to);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert!(error.to_string().starts_with(told), "{told}: {error}");
    }
    let document = Document::parse(DEMO).expect("sound");
    assert!(!format!("{document:?}{:?}", document.check()).contains("hunter2"));
    assert!(!document.to_toml().expect("TOML").contains("hunter2"));
}

proptest! {
    #[test]
    fn what_is_exported_reads_back_to_an_empty_plan(document in documents::document()) {
        let current = stored(&document.check().expect("made to be sound"));
        let text = Document::from(&current).to_toml().expect("TOML");
        let again = Document::parse(&text).expect("its own TOML").check();
        let again = again.expect("its own values");
        prop_assert_eq!(diff(&current, &again, PRUNE).expect("fits").to_string(), "No changes.", "{}", text);
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,200}") {
        if let Ok(document) = Document::parse(&text) {
            let _ = document.check();
        }
    }
}

#[test]
fn passwords_are_read_from_the_files_that_a_document_names() {
    const CLIENTS: &str = "[[clients]]\nidentifier = \"reg\"\nname = \"Reg\"\n[clients.sip]\n\
        registration = { username = \"reg\", password_file = \"one\" }\n[[clients]]\nidentifier = \"far\"\nname = \"Far\"\n\
        [clients.sip]\nhost = \"far.example\"\n\
        outbound_auth = { username = \"us\", realm = \"far\", password_file = \"two\" }\n";
    let mut document = Document::parse(CLIENTS).expect("TOML of that form");
    let asked = |document: &Document| {
        let state = document.check().expect("sound");
        diff(&Current::default(), &state, PRUNE).expect_err("nobody has read them").0
    };
    document.take_passwords(|_| Ok(None)).expect("no file is there");
    let [far, reg] = &asked(&document)[..] else { panic!("two are missing") };
    assert!(far.starts_with("clients[\"far\"].sip.outbound_auth.password_file: there is no \"two\""), "{far}");
    assert!(reg.starts_with("clients[\"reg\"].sip.registration.password_file: there is no \"one\""), "{reg}");
    document.take_passwords(|path| Ok(Some(format!("of-{path}\n")))).expect("both are there");
    let state = document.check().expect("sound");
    let given = Document::parse(&CLIENTS.replace("password_file = \"", "password = \"of-")).expect("TOML of that form");
    assert_eq!(state, given.check().expect("sound"), "without the line break at the end");
    let mut both = Document::parse(&CLIENTS.replace("password_file", "password = \"x\", password_file")).expect("TOML");
    let problems = both.take_passwords(|_| Ok(Some("secret".into()))).expect_err("one of the two").to_string();
    assert!(problems.contains("clients[\"far\"].sip.outbound_auth.password_file: give either"), "{problems}");
    let mut away = Document::parse(CLIENTS).expect("TOML of that form");
    let problems = away.take_passwords(|_| Err("no such file".into())).expect_err("they are not there").to_string();
    assert!(problems.lines().count() == 2 && problems.contains("\"one\" cannot be read: no such file"), "{problems}");
}

#[test]
fn only_what_changes_is_judged_by_the_installations_rules() {
    let clients = "[[clients]]\nidentifier = \"a\"\nname = \"A\"\nsip = { host = \"10.0.0.1\" }\n\
                   [[clients]]\nidentifier = \"b\"\nname = \"B\"\nsip = { host = \"b.example\" }\n";
    let wanted = Document::parse(clients).expect("TOML").check().expect("sound");
    let hosts = [("b.example".to_owned(), "leads astray".to_owned())].into();
    let screening = Screening { hosts, ..Screening::default() };
    let problems = screen(&Current::default(), &wanted, &screening, false).expect_err("both are new").to_string();
    assert!(
        problems.contains("clients[\"a\"].sip.host: 10.0.0.1")
            && problems.contains("clients[\"b\"].sip.host: leads astray")
    );
    let mut current = Current::default();
    for (key, value) in &wanted.clients {
        current.clients.insert(key.clone(), Stored { id: 1, referenced: false, value: value.clone() });
    }
    assert_eq!(screen(&current, &wanted, &screening, false), Ok(()), "they are watched elsewhere");
}

#[test]
fn what_is_not_named_is_kept_and_told_unless_it_is_to_be_pruned() {
    let more = DEMO.replace("name = \"Ann\"", "name = \"Ann\"\n[[sellers]]\nusername = \"bob\"\nname = \"Bob\"");
    let more = more.replace("[clients.sip]\nhost", "sellers = [\"ann\", \"bob\"]\n[clients.sip]\nhost")
        + "[[clients]]\nidentifier = \"far\"\nname = \"Far\"\nsip = { host = \"203.0.113.8\" }\n\
           [[dids]]\nnumber = \"+442071234568\"\nseller = \"ann\"\n\
           [[campaigns]]\nname = \"Wind\"\nseller = \"ann\"\ndids = [\"+442071234568\"]\nlinks = [{ client = \"far\" }]\n";
    let more = more
        .replace("dids = [\"+442071234567\"]", "dids = [\"+442071234567\"]\n[[campaigns.links]]\nclient = \"far\"\n");
    let current = stored(&state(&more));
    let less = DEMO.replace("[clients.sip]\nhost", "sellers = [\"ann\"]\n[clients.sip]\nhost");
    let keep = Manner { prune: false, drawn: 1 };
    let kept = diff(&current, &state(&less), keep).expect("fits");
    assert!(kept.is_empty(), "{kept}");
    let named = [
        "seller bob of client north",
        "link Solar UK → far",
        "link Wind → far",
        "campaign Wind of ann",
        "did +442071234568",
        "client far",
        "seller bob",
    ];
    assert_eq!(kept.kept, named);
    assert!(kept.remarks().starts_with("Not in the plan, and kept (7); --prune"), "{}", kept.remarks());
    let gone = diff(&current, &state(&less), PRUNE).expect("fits");
    assert_eq!((gone.kept.len(), gone.remarks()), (0, String::new()));
    let lines = gone.to_string();
    for line in
        ["~ client north: sellers [ann bob] → [ann]", "- link Solar UK → far", "- campaign Wind of ann", "- seller bob"]
    {
        assert!(lines.lines().any(|one| one == line), "{line} not in\n{lines}");
    }
}

#[test]
fn a_did_feeds_the_campaign_that_the_plan_gives_it_to_and_else_stays() {
    let campaign = |name: &str, more: &str| format!("[[campaigns]]\nname = \"{name}\"\nseller = \"ann\"\n{more}\n");
    let head = "[[sellers]]\nusername = \"ann\"\nname = \"Ann\"\n[[sellers]]\nusername = \"bob\"\nname = \"Bob\"\n\
                [[dids]]\nnumber = \"+4420\"\nseller = \"ann\"\n[[dids]]\nnumber = \"+4421\"\nseller = \"ann\"\n";
    let both = "dids = [\"+4420\", \"+4421\"]";
    let paused = format!("status = \"paused\"\n{both}");
    let current = stored(&state(&format!("{head}{}{}", campaign("A", both), campaign("P", &paused))));
    let keep = Manner { prune: false, drawn: 1 };
    let plan = |text: &str| diff(&current, &state(text), keep).expect("fits");
    // It names A, but not what feeds it.
    let same = plan(&format!("{head}{}{}", campaign("A", ""), campaign("P", &paused)));
    assert_eq!(
        (same.to_string().as_str(), same.kept),
        ("No changes.", vec!["did +4420 of campaign A of ann".to_owned(), "did +4421 of campaign A of ann".to_owned()])
    );
    // Another campaign gets one: A, named or not, loses it; P is paused and keeps it.
    let one = campaign("B", "dids = [\"+4420\"]");
    for text in [format!("{head}{one}"), format!("{head}{one}{}", campaign("A", ""))] {
        let moved = plan(&text).to_string();
        assert!(moved.contains("~ campaign A of ann: dids [+4420 +4421] → [+4421]"), "{moved}");
        assert_eq!(moved.lines().count(), 2, "{moved}");
    }
    // P is to be active: what A has in force stays A's.
    let active = plan(&format!("{head}{}", campaign("P", ""))).to_string();
    assert_eq!(active, "~ campaign P of ann: status paused → active, dids [+4420 +4421] → []");
    // Another seller's: it leaves all of the former one's campaigns.
    let sold = plan(&head.replacen("seller = \"ann\"", "seller = \"bob\"", 1)).to_string();
    for line in [
        "~ did +4420: seller ann → bob",
        "~ campaign A of ann: dids [+4420 +4421] → [+4421]",
        "~ campaign P of ann: dids [+4420 +4421] → [+4421]",
    ] {
        assert!(sold.lines().any(|one| one == line), "{line} not in\n{sold}");
    }
}

#[test]
fn what_a_plan_does_not_say_of_a_client_stays_and_an_empty_text_takes_it_away() {
    let private = DEMO.replace(
        "[clients.sip]\nhost",
        "access = \"selected\"\nsellers = [\"ann\"]\nmask_name = \"N\"\ncontact = \"Bo\"\ntime_zone = \"Europe/London\"\n[clients.sip]\nhost",
    );
    let current = stored(&state(&private));
    assert_eq!(plan(&current, DEMO), "No changes.", "an older plan opens nothing");
    let cleared = DEMO.replace(
        "[clients.sip]\nhost",
        "access = \"all\"\nsellers = []\nmask_name = \"\"\ncontact = \"\"\ntime_zone = \"\"\n[clients.sip]\nhost",
    );
    assert_eq!(
        plan(&current, &cleared),
        "~ client north: access selected → all, sellers [ann] → [], mask_name \"N\" → none, contact \"Bo\" → none, \
         time_zone \"Europe/London\" → none"
    );
    let wrong = DEMO.replace(
        "[clients.sip]\nhost",
        "access = \"some\"\nsellers = [\"zoe\", \"ann\", \"ann\"]\nmask_name = \" \"\ncontact = \"\\u0007\"\ntime_zone = \"Mars\"\n[clients.sip]\nhost",
    );
    let problems = problems(&wrong).join("\n");
    for part in [
        "clients[\"north\"].access: \"some\" is not one of all, selected",
        "clients[\"north\"].sellers: \"zoe\" is not the username",
        "clients[\"north\"].sellers: \"ann\" is there twice",
        "clients[\"north\"].mask_name: \" \" is not allowed",
        "clients[\"north\"].contact: is not allowed",
        "clients[\"north\"].time_zone: \"Mars\" is not an IANA name",
    ] {
        assert!(problems.contains(part), "{part} not in\n{problems}");
    }
}

#[test]
fn a_did_is_known_by_its_number_however_it_is_written() {
    let text = DEMO.replace("number = \"+442071234567\"", "number = \"'+44 20 7123\u{a0}4567\"");
    let text = text.replace("dids = [\"+442071234567\"]", "dids = [\"+44 (0)20 7123-4567\"]");
    assert_ne!(text, DEMO);
    let (read, demo) = (Document::parse(&text).expect("read"), Document::parse(DEMO).expect("read"));
    assert_eq!(read.check().expect("sound"), demo.check().expect("sound"));
    assert_eq!((read.warnings(), demo.warnings()), (vec![], vec![]));
}

#[test]
fn what_is_no_number_is_marked_or_warned_of_and_what_is_spoiled_refused() {
    let document = |number: &str, raw: &str| {
        let seller = "[[sellers]]\nusername = \"ann\"\nname = \"Ann\"\n";
        let text = format!("{seller}[[dids]]\nnumber = {number:?}\nseller = \"ann\"\n{raw}");
        Document::parse(&text).expect("read")
    };
    for number in ["4155550101", "1800FLOWERS", "+4420", "999", "'999"] {
        let (unmarked, marked) = (document(number, ""), document(number, "raw = true"));
        assert_eq!(unmarked.check().expect("taken as raw"), marked.check().expect("sound"), "{number}");
        assert!(unmarked.warnings()[0].contains("write raw = true"), "{number}");
        assert_eq!(marked.warnings(), [""; 0], "{number}");
        assert!(document(number, "raw = false").check().is_err(), "{number}");
    }
    for (number, raw, told) in [
        ("4.42079E+11", "", "has lost digits"),
        ("4,42079E+11", "raw = true", "has lost digits"),
        ("#N/A", "", "is a spreadsheet's error"),
        ("Total", "", "is a heading or a total"),
        ("442071234567.0", "", "was a quantity"),
        ("+0123", "", "is not allowed: after + come 7 to 15 digits"),
        ("+442071234567", "raw = true", "is the E.164 number +442071234567: leave raw out"),
    ] {
        let problems = document(number, raw).check().expect_err("refused").to_string();
        assert!(problems.starts_with(&format!("dids[{number:?}].number: {told}")), "{problems}");
    }
}
