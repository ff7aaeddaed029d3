use super::super::fixtures::{debian, file, program, wanted};
use super::super::plan::after;
use super::*;

/// Everything is as it should be.
fn well() -> (Survey, Running, Answers) {
    let modules = program().modules.unwrap();
    let running = Running { folder: "/etc/asterisk".to_owned(), modules, ..Running::default() };
    let mut survey =
        Survey { folder: debian(), program: program(), running: Some(running.clone()), ..Survey::default() };
    survey.folder = after(&survey.folder, &Plan::install(&survey, &wanted()).changes);
    survey.folder.write("capconduit.d/site_pjsip.conf", file("[carrier-1](capconduit-carrier)\n"));
    let mut answers = Answers::new();
    for question in questions(&survey, &wanted()) {
        let answer = match question.as_str() {
            "dialplan show globals" => format!(
                "   CAPCONDUIT_APP=capconduit\n   CAPCONDUIT_APPS=1\n   CAPCONDUIT_DIALPLAN={DIALPLAN_VERSION}\n"
            ),
            "ari show users" => "r/o?  Username\n----  --------\nNo    capconduit\n".to_owned(),
            "http show status" => "Server Enabled and Bound to 127.0.0.1:8088\n".to_owned(),
            "core show config mappings" => ["endpoints", "aors", "auths", "identifies"]
                .map(|name| format!("===> capconduit_{name} (db=x, table=y)\n"))
                .concat(),
            "pjsip show endpoint 100" => " context : site\n".to_owned(),
            "pjsip show endpoint north" => " context : capconduit-clients\n".to_owned(),
            "pjsip show endpoint carrier-1" => " context : capconduit-inbound\n".to_owned(),
            "realtime load capconduit_endpoints id north" => "Column Name  Column Value\n".to_owned(),
            context if context.starts_with("dialplan show capconduit-") => {
                "[ Context 'x' created by 'pbx_config' ]\n".to_owned()
            }
            other => panic!("{other} is asked"),
        };
        answers.insert(question, answer);
    }
    (survey, running, answers)
}

fn judged(change: impl FnOnce(&mut Survey, &mut Running, &mut Answers)) -> Vec<Finding> {
    let (mut survey, mut running, mut answers) = well();
    change(&mut survey, &mut running, &mut answers);
    judge(&survey, &wanted(), &running, &answers).into_iter().filter(|finding| finding.state != State::Well).collect()
}

fn only(findings: Vec<Finding>, state: State, part: &str) {
    let [one] = &findings[..] else { panic!("{part}: {findings:#?}") };
    assert!(one.state == state && one.found.contains(part) && !one.mend.is_empty(), "{part}: {one:?}");
}

#[test]
fn where_all_is_well_nothing_else_is_said() {
    assert_eq!(judged(|_, _, _| {}), []);
    let (survey, running, answers) = well();
    assert!(judge(&survey, &wanted(), &running, &answers).len() >= 9);
}

/// A carrier in the file that is the site's to fill.
#[test]
fn a_carrier_of_a_clients_name_is_told() {
    let carrier = "[north](capconduit-carrier)\n[carrier-1](capconduit-carrier)\n";
    let found = judged(|survey, _, _| survey.folder.write("capconduit.d/site_pjsip.conf", file(carrier)));
    let names: Vec<_> = found.iter().filter(|finding| finding.subject == "names").collect();
    let [one] = &names[..] else { panic!("{found:#?}") };
    assert!(one.state == State::Wrong && one.found.contains("calls to north go"), "{one:?}");
}

#[test]
fn each_thing_that_is_wrong_is_told() {
    let set = |question: &str, answer: &str| {
        let (question, answer) = (question.to_owned(), answer.to_owned());
        judged(move |_, _, answers| drop(answers.insert(question, answer)))
    };
    only(set("dialplan show capconduit-spool", "There is no existence of"), State::Wrong, "capconduit-spool");
    only(set("dialplan show globals", ""), State::Wrong, "CAPCONDUIT_APP is not set");
    only(
        set("dialplan show globals", "CAPCONDUIT_APP=capconduit\nCAPCONDUIT_APPS=1\n"),
        State::Wrong,
        "version 1 is older",
    );
    let globals = format!("CAPCONDUIT_APP=other\nCAPCONDUIT_APPS=1\nCAPCONDUIT_DIALPLAN={DIALPLAN_VERSION}\n");
    only(set("dialplan show globals", &globals), State::Wrong, "other-1");
    only(set("ari show users", ""), State::Wrong, "capconduit is not known");
    only(set("http show status", "Server Disabled\n"), State::Wrong, "does not run");
    only(set("http show status", "Server Enabled and Bound to 127.0.0.1:18088\n"), State::Wrong, "18088");
    only(set("pjsip show endpoint carrier-1", ""), State::Wrong, "carrier-1");
    only(set("core show config mappings", "===> capconduit_aors (x\n"), State::Wrong, "capconduit_endpoints");
    only(set("pjsip show endpoint 100", ""), State::Wrong, "100 is not known");
    only(
        set("pjsip show endpoint 100", " context : capconduit-clients\n"),
        State::Wrong,
        "100 has context capconduit-clients",
    );
    only(set("pjsip show endpoint north", " context : site\n"), State::Wrong, "the site's, which comes first");
    only(set("pjsip show endpoint north", ""), State::Wrong, "north is not known to PJSIP");
    only(judged(|_, running, _| assert!(running.modules.remove("func_uri.so"))), State::Wrong, "func_uri.so");
    only(judged(|survey, _, _| survey.unfinished = true), State::Wrong, "broken off");
    only(
        judged(|survey, _, _| survey.folder.write("capconduit.d/ari.conf", file(""))),
        State::Due,
        "capconduit.d/ari.conf",
    );
}

#[test]
fn a_restart_that_is_due_is_told_from_a_file_that_cannot_be_read() {
    let after = |row: &'static str| {
        judged(move |survey, _, answers| {
            answers.insert("pjsip show endpoint north".to_owned(), String::new());
            answers.insert("realtime load capconduit_endpoints id north".to_owned(), row.to_owned());
            (survey.sorcery_at, survey.started_at) = (Some(9), Some(8));
        })
    };
    let states = |findings: &[Finding]| findings.iter().map(|one| one.state).collect::<Vec<_>>();
    let due = after("Column Value");
    assert_eq!(states(&due), [State::Due, State::Unknown], "{due:?}");
    assert!(due[0].found.contains("not been started since"), "{due:?}");
    let unread = after("No rows found");
    assert_eq!(states(&unread), [State::Due, State::Wrong], "{unread:?}");
    assert!(unread[1].found.contains("cannot read the file"), "{unread:?}");
    let (survey, running, answers) = well();
    let nobody = Wanted { clients: Vec::new(), ..wanted() };
    let findings = judge(&survey, &nobody, &running, &answers);
    assert_eq!(findings.iter().find(|one| one.subject == "call centres").unwrap().state, State::Unknown);
}
