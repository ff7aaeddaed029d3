//! `capconduit config`, and where a configuration is looked for.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{CANARY, capconduit, folder};

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

#[test]
fn check_is_silent_about_secrets_and_says_what_was_read() {
    let folder = folder();
    write(folder.path(), "capconduit.toml", &format!("[[asterisk]]\npassword = \"{CANARY}\"\n"));
    let environment = [("CAPCONDUIT__CALLS__MAX_LIVE", "7")];
    let (code, out, error) = capconduit(folder.path(), &environment, &["config", "check"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert_eq!(out, "the configuration is good: capconduit.toml; CAPCONDUIT__CALLS__MAX_LIVE\n");
    let (code, out, error) = capconduit(folder.path(), &environment, &["config", "show"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("max_live = 7  # CAPCONDUIT__CALLS__MAX_LIVE\n"), "{out}");
    assert!(out.contains("password = \"***\"  # capconduit.toml\n") && !out.contains(CANARY), "{out}");
    assert!(out.contains("max_attempts = 10  # default\n"), "{out}");
    assert!(!folder.path().join("data").exists(), "looking makes nothing");
}

#[test]
fn check_and_show_tell_every_fault_and_fail() {
    let folder = folder();
    write(folder.path(), "own.toml", "[calls]\nmax_live = 0\n[log]\nformt = \"json\"\n");
    for command in ["check", "show"] {
        let (code, out, error) = capconduit(folder.path(), &[], &["config", command, "--config", "own.toml"]);
        assert_eq!(code, 1, "{out}{error}");
        for part in ["3 faults", "calls.max_live = 0", "log.formt is no known key", "asterisk[0].password is not set"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(out.contains("# max_live is refused"), command == "show", "{out}");
    }
    // What is no TOML at all has nothing to show.
    write(folder.path(), "own.toml", "[calls\n");
    let (code, out, error) = capconduit(folder.path(), &[], &["config", "show", "--config", "own.toml"]);
    assert!(code == 1 && out.is_empty() && error.contains("own.toml line 1 is not valid TOML"), "{out}{error}");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let folder = folder();
    let (code, _, error) = capconduit(folder.path(), &[], &["config", "check", "--config", "none.toml"]);
    assert!(code == 1 && error.contains("none.toml cannot be read"), "{error}");
}

/// What the packages ask before they restart a service: its variables and its file are its own, not those of whoever installs.
#[test]
fn a_running_process_is_asked_what_it_would_read() {
    let (folder, elsewhere) = (folder(), folder());
    write(folder.path(), "own.toml", "[calls]\nmax_live = 5\n");
    // A process that was started like `serve`, and waits.
    write(folder.path(), "serve", "read -r line\n");
    let mut command = Command::new("sh");
    command.args(["serve", "--config", "own.toml"]).current_dir(folder.path());
    command.env_clear().env("CAPCONDUIT__ASTERISK__0__PASSWORD", CANARY);
    let mut process = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let pid = process.id().to_string();
    let run = |args: &[&str]| capconduit(elsewhere.path(), &[("CAPCONDUIT__CALLS__MAX_LIVE", "no")], args);
    let check = ["config", "check", "--of-process", pid.as_str()];
    let (code, out, error) = run(&check);
    assert_eq!(
        (code, out.as_str()),
        (0, "the configuration is good: own.toml; CAPCONDUIT__ASTERISK__0__PASSWORD\n"),
        "{error}"
    );
    write(folder.path(), "own.toml", "[calls]\nmax_live = \"five\"\n");
    let (code, _, error) = run(&check);
    assert!(code == 1 && error.contains("calls.max_live = \"five\""), "{error}");
    drop(process.stdin.take());
    process.wait().expect("it ends");
    let (code, _, error) = run(&check);
    assert!(code == 1 && error.contains(&format!("--of-process {pid}")), "{error}");
}
