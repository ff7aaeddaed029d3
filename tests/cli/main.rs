//! The built program, as a person or a script meets it: arguments and environment in, output, exit code and files out.

mod backup;
mod config;
mod descriptors;
mod health;
mod owner;
mod packaging;
#[path = "../support/patience.rs"]
mod patience;
mod record;
mod supervised;
mod user;

use std::path::Path;
use std::process::{Command, Output};

use capconduit::config::Config;
use capconduit::store::{self, Db};

const CANARY: &str = "canary-51c0";

/// Runs the program in `folder` with nothing but these variables.
fn capconduit(folder: &Path, environment: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capconduit"));
    command.current_dir(folder).env_clear().envs(environment.iter().copied()).args(args);
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("it exits by itself"), text(stdout), text(stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The database that the program uses by default when it runs in `folder`.
async fn database(folder: &Path) -> Db {
    let url = format!("[database]\nurl = \"sqlite://{}\"\n", folder.join("data/capconduit.db").display());
    let config = Config::from_layers(Some((Path::new("test.toml"), &url)), []).expect("a configuration");
    Db::connect(&config.database).await.expect("the database opens")
}

#[test]
fn with_no_file_at_all_it_migrates_and_lists_no_calls() {
    let folder = folder();
    let (code, out, error) = capconduit(folder.path(), &[], &["calls"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("data/capconduit.db does not exist yet: run `capconduit migrate`"), "{error}");
    assert!(!folder.path().join("data").exists(), "reading makes nothing");
    let (code, out, error) = capconduit(folder.path(), &[], &["migrate"]);
    assert!(code == 0 && out.starts_with("data/capconduit.db: ran "), "{out}{error}");
    // Asterisk, which starts next, would make an empty one.
    let realtime = folder.path().join("data/realtime/realtime.db");
    assert!(std::fs::metadata(&realtime).expect("made").len() > 0);
    let (_, again, _) = capconduit(folder.path(), &[], &["migrate"]);
    assert_eq!(again, "data/capconduit.db is up to date\n");
    assert_eq!(capconduit(folder.path(), &[], &["calls"]).1, "no calls yet\n");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_refused_by_its_key() {
    let folder = folder();
    // Not even root can make one there.
    for dir in ["/proc/capconduit", "/dev/null/data"] {
        for command in ["migrate", "serve"] {
            let environment = [("CAPCONDUIT__DATA__DIR", dir), ("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY)];
            let (code, out, error) = capconduit(folder.path(), &environment, &[command]);
            assert_eq!((code, out.as_str()), (1, ""), "{command} {dir}");
            assert!(error.contains(&format!("data.dir = {dir:?}")), "{command}: {error}");
        }
    }
    // Who keeps nothing in data.dir does not need it.
    let url = format!("sqlite://{}", folder.path().join("own.db").display());
    let realtime = folder.path().join("realtime.db").display().to_string();
    let environment = [
        ("CAPCONDUIT__DATA__DIR", "/proc/capconduit"),
        ("CAPCONDUIT__DATABASE__URL", url.as_str()),
        ("CAPCONDUIT__REALTIME__PATH", realtime.as_str()),
    ];
    let (code, out, error) = capconduit(folder.path(), &environment, &["migrate"]);
    assert!(code == 0, "{out}{error}");
}

/// A slim container has no package ca-certificates.
#[test]
fn without_any_ca_certificates_plain_http_works_and_https_says_what_is_missing() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere").display().to_string();
    let ari = |url| {
        [
            ("SSL_CERT_FILE", nowhere.as_str()),
            ("SSL_CERT_DIR", nowhere.as_str()),
            ("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY),
            ("CAPCONDUIT__ASTERISK__0__URL", url),
        ]
    };
    let (code, out, error) = capconduit(folder.path(), &ari("http://127.0.0.1:1"), &["doctor"]);
    assert_eq!(code, 1, "{error}");
    assert!(out.contains("no connection could be made") && out.contains("start Asterisk"), "{out}{error}");
    for command in ["doctor", "serve"] {
        let (code, out, error) = capconduit(folder.path(), &ari("https://localhost:1"), &[command]);
        assert_eq!(code, 1, "{error}");
        for part in ["url \"https://localhost:1\"", "ca-certificates", "ca_file"] {
            assert!(out.contains(part) || error.contains(part), "{command}: {part} in {out}{error}");
        }
    }
}

/// The journal that 217f4c8 left, and one of a version to come.
#[test]
fn a_journal_is_shown_read_back_and_set_aside() {
    let folder = folder();
    let said = |code, args: &[&str]| {
        let (found, out, error) = capconduit(folder.path(), &[("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY)], args);
        assert_eq!(found, code, "{args:?}: {out}{error}");
        out + &error
    };
    said(0, &["migrate"]);
    assert!(said(0, &["journal"]).contains("there is no journal"));
    let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/layouts");
    let journal = folder.path().join("data/journal.db");
    std::fs::copy(layouts.join("journal-217f4c8.db"), &journal).expect("a checked-in file");
    let shown = said(0, &["journal"]);
    assert!(shown.contains("1 calls under way, 2 records wait for the database, 1 are set aside"), "{shown}");
    assert!(shown.contains("database: it was refused"), "{shown}");
    assert!(said(0, &["journal", "restore"]).starts_with("3 records are in the database, 0 stay"));
    assert_eq!(said(0, &["calls", "--json"]).matches("\"call_id\"").count(), 3);

    let connection = rusqlite::Connection::open(&journal).expect("it opens");
    connection.pragma_update(None, "user_version", 99).expect("SQL");
    drop(connection);
    for command in ["serve", "journal", "doctor"] {
        let code = i32::from(command != "journal");
        assert!(said(code, &[command]).contains("capconduit journal set-aside"), "{command}");
    }
    let moved = said(0, &["journal", "set-aside"]);
    assert!(moved.contains("journal-aside-") && moved.contains("1 calls under way are in the new one"), "{moved}");
    let shown = said(0, &["journal"]);
    assert!(shown.contains("1 calls under way, 0 records wait") && shown.contains("newer version"), "{shown}");
    assert!(said(0, &["realtime", "set-aside"]).contains("realtime.db is made anew"));
}

#[test]
fn a_misnamed_variable_is_a_warning_beside_the_result() {
    let folder = folder();
    let (code, out, error) = capconduit(folder.path(), &[("CAPCONDUIT_API__LISTEN", CANARY)], &["migrate"]);
    assert!(code == 0 && out.contains("ran "), "{out}{error}");
    assert!(error.contains("warning: the environment variable CAPCONDUIT_API__LISTEN is not read"), "{error}");
    assert!(!error.contains(CANARY), "{error}");
}

#[test]
fn without_a_password_serve_and_doctor_say_which_key_to_set() {
    let folder = folder();
    for command in ["serve", "doctor"] {
        let (code, out, error) = capconduit(folder.path(), &[], &[command]);
        assert_eq!((code, out.as_str()), (1, ""), "{command}");
        for part in ["asterisk[0].password", "CAPCONDUIT__ASTERISK__0__PASSWORD"] {
            assert!(error.contains(part), "{command}: {error}");
        }
    }
    assert!(!folder.path().join("data").exists(), "nothing was made before the refusal");
}

#[test]
fn faults_are_told_all_at_once_and_no_secret_with_them() {
    let folder = folder();
    std::fs::write(folder.path().join("capconduit.toml"), "[calls]\nmax_lives = 1\n").expect("written");
    let url = format!("mysql://u:{CANARY}@h/d");
    let environment = [
        ("CAPCONDUIT__DATABASE__URL", url.as_str()),
        ("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY),
        ("CAPCONDUIT__ASTERISK__0__PASWORD", CANARY),
        ("CAPCONDUIT__API__LISTEN", "8080"),
    ];
    let (code, out, error) = capconduit(folder.path(), &environment, &["migrate"]);
    assert_eq!(code, 1);
    for part in ["calls.max_lives", "database.url", "asterisk[0].pasword", "api.listen = \"8080\"", "4 faults"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let help = capconduit(folder.path(), &environment, &["help"]).1;
    assert!(!format!("{out}{error}{help}").contains(CANARY), "{error}");
}

#[test]
fn doctor_reports_an_absent_asterisk_and_fails() {
    let folder = folder();
    let environment = [
        ("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY),
        // Port 9 (discard) of loopback: nobody listens there.
        ("CAPCONDUIT__ASTERISK__0__URL", "http://127.0.0.1:9"),
    ];
    assert_eq!(capconduit(folder.path(), &environment, &["migrate"]).0, 0);
    let (code, out, error) = capconduit(folder.path(), &environment, &["doctor"]);
    assert_eq!(code, 1, "{out}{error}");
    for part in [
        "ok    database",
        "ok    realtime",
        "FAIL  asterisk: ARI",
        "http://127.0.0.1:9",
        "→ start Asterisk",
        "1 failed",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert_eq!(error, "", "the report says it all");
    assert!(!format!("{out}{error}").contains(CANARY));

    // As Asterisk leaves it when it starts first.
    let realtime = folder.path().join("data/realtime/realtime.db");
    std::fs::write(&realtime, "").expect("written");
    let (_, out, _) = capconduit(folder.path(), &environment, &["doctor"]);
    for part in ["FAIL  realtime", "realtime.db lacks the ps_* tables", "→ run `capconduit migrate`"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert_eq!(capconduit(folder.path(), &environment, &["migrate"]).0, 0);
    if std::os::unix::fs::chown(&realtime, Some(1), None).is_ok() {
        let (_, out, _) = capconduit(folder.path(), &environment, &["doctor"]);
        assert!(out.contains("warn  realtime") && out.contains("belongs to another user (uid 1)"), "{out}");
    }
}

#[test]
fn doctor_tells_an_asterisk_that_hangs_from_one_that_is_not_there() {
    let folder = folder();
    // Takes connections, as the kernel does for a stopped process, and never answers.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", hung.local_addr().expect("bound"));
    let environment = [
        ("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY),
        ("CAPCONDUIT__ASTERISK__0__URL", url.as_str()),
        ("CAPCONDUIT__CALLS__REQUEST_TIMEOUT_MS", "300"),
    ];
    let (code, out, error) = capconduit(folder.path(), &environment, &["doctor"]);
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    assert!(out.contains("hangs or is overloaded") && !out.contains("→ start Asterisk"), "{out}");
}

#[tokio::test]
async fn calls_lists_records_and_why_finds_one_by_its_beginning() {
    let folder = folder();
    assert_eq!(capconduit(folder.path(), &[], &["migrate"]).0, 0);
    let db = database(folder.path()).await;
    let (first, second) = (record::at(0, "1.1"), record::at(90_000, "1.2"));
    store::records::write(&db, &[first.clone(), second.clone()]).await.expect("written");
    db.close().await.expect("closed");

    let (code, table, error) = capconduit(folder.path(), &[], &["calls", "--limit", "1"]);
    assert!(code == 0 && table.lines().count() == 2 && table.contains("withheld"), "{table}{error}");
    let short = table.split_whitespace().last().expect("an id");
    let (code, why, error) = capconduit(folder.path(), &[], &["why", short]);
    assert!(code == 0 && why.starts_with(&format!("call {}\n", second.call_id)), "{why}{error}");
    let (_, json, _) = capconduit(folder.path(), &[], &["why", "--json", &first.call_id.to_string()]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["call_id"], first.call_id.to_string());
    assert_eq!(json["caller_raw"], serde_json::Value::Null);

    // Both ids begin with the hours of their arrival.
    let (code, _, error) = capconduit(folder.path(), &[], &["why", &short[..7]]);
    assert!(
        code == 1 && error.contains(&first.call_id.to_string()) && error.contains(&second.call_id.to_string()),
        "{error}"
    );
    let (code, _, error) = capconduit(folder.path(), &[], &["why", "ffff"]);
    assert!(code == 1 && error.contains("no call's id begins with ffff"), "{error}");
}

const PLAN: &str = r#"
[[sellers]]
username = "acme"
name = "Acme"

[[clients]]
identifier = "north"
name = "North"
[clients.sip]
host = "192.0.2.10"

[[dids]]
number = "+442079460958"
seller = "acme"

[[campaigns]]
name = "Solar"
seller = "acme"
routing_strategy = "weighted"
dids = ["+442079460958"]
[[campaigns.links]]
client = "north"
max_concurrency = 2
"#;

#[test]
fn apply_prints_its_plan_makes_it_so_and_takes_its_own_export() {
    let folder = folder();
    let run = |args: &[&str]| capconduit(folder.path(), &[], args);
    std::fs::write(folder.path().join("plan.toml"), PLAN).expect("written");
    assert_eq!(run(&["migrate"]).0, 0);

    let (code, dry, error) = run(&["apply", "plan.toml", "--dry-run"]);
    assert!(code == 0 && dry.ends_with("Nothing was changed (--dry-run).\n"), "{dry}{error}");
    assert!(dry.lines().filter(|line| line.starts_with('+')).count() >= 4, "{dry}");
    let (code, done, error) = run(&["apply", "plan.toml"]);
    assert!(code == 0 && done.ends_with("Applied.\n"), "{done}{error}");
    assert!(done.contains("+ client north"), "{done}");
    assert_eq!(dry.lines().filter(|l| l.starts_with('+')).count(), done.lines().filter(|l| l.starts_with('+')).count());
    let (_, again, _) = run(&["apply", "plan.toml"]);
    assert_eq!(again, "No changes.\n");

    let (code, export, error) = run(&["export"]);
    assert!(code == 0 && export.contains("routing_strategy = \"weighted\""), "{export}{error}");
    std::fs::write(folder.path().join("export.toml"), &export).expect("written");
    assert_eq!(run(&["apply", "export.toml"]).1, "No changes.\n");

    std::fs::write(folder.path().join("bad.toml"), PLAN.replace("host =", "hosst =")).expect("written");
    let (code, out, error) = run(&["apply", "bad.toml"]);
    assert!(
        code == 1 && out.is_empty() && error.contains("bad.toml is not applied") && error.contains("hosst"),
        "{error}"
    );
    assert_eq!(run(&["export"]).1, export, "a refused document changes nothing");
    let (code, _, error) = run(&["apply", "absent.toml"]);
    assert!(code == 1 && error.contains("absent.toml"), "{error}");

    // A document without a table is a wrong file, unless it is said to be meant.
    std::fs::write(folder.path().join("empty.toml"), "# nothing\n").expect("written");
    for args in [&["apply", "empty.toml"][..], &["apply", "empty.toml", "--dry-run"]] {
        let (code, out, error) = run(args);
        assert!(
            code == 1 && out.is_empty() && error.contains("empty.toml is not applied: it is empty"),
            "{out}{error}"
        );
        assert!(error.contains("--allow-empty"), "{error}");
    }
    assert_eq!(run(&["export"]).1, export, "a refused document changes nothing");
    let (code, out, error) = run(&["apply", "empty.toml", "--allow-empty"]);
    assert!(code == 0 && out.starts_with("No changes.\nNot in the plan, and kept ("), "{out}{error}");
    assert!(out.lines().any(|line| line == "  client north"), "{out}");
    assert_eq!(run(&["apply", "empty.toml", "--allow-empty", "--dry-run"]).1, out, "a dry run shows the same");
    assert_eq!(run(&["export"]).1, export, "what is not named is kept");
    let (code, out, error) = run(&["apply", "empty.toml", "--allow-empty", "--prune"]);
    assert!(code == 0 && out.contains("- client north") && out.ends_with("Applied.\n"), "{out}{error}");
    assert_eq!(run(&["export"]).1.trim(), "");
}
