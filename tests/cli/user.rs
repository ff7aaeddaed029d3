//! `capconduit user`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use capconduit::auth::hasher::Hasher;
use capconduit::auth::roles::Role;
use capconduit::plan::UserStatus;
use capconduit::store::users;
use secrecy::SecretString;

use crate::{capconduit, database, folder};

#[tokio::test]
async fn a_user_is_made_with_a_password_shown_once_gets_another_and_is_disabled() {
    let folder = folder();
    let run = |line: &str| capconduit(folder.path(), &[], &line.split(' ').collect::<Vec<_>>());
    assert_eq!(run("migrate").0, 0);
    let (code, out, error) = run("user add ann --role staff");
    assert_eq!(code, 0, "{error}");
    let first = out.trim().rsplit(' ').next().expect("a password").to_owned();
    let (code, out, _) = run("user password ann");
    assert_eq!(code, 0);
    let second = out.trim().rsplit(' ').next().expect("a password").to_owned();
    let db = database(folder.path()).await;
    let (account, hash) = users::credentials(&db, "ann").await.expect("read").expect("there");
    assert_eq!((account.role, account.status, account.must_change_password), (Role::Staff, UserStatus::Active, true));
    let hasher = Hasher::new().expect("a hasher");
    assert!(hasher.verify(SecretString::from(second), hash.clone()).await.expect("compared"));
    assert!(!hasher.verify(SecretString::from(first), hash).await.expect("compared"));
    assert_eq!(run("user disable ann").0, 0);
    assert_eq!(users::get(&db, account.id).await.expect("read").expect("there").status, UserStatus::Disabled);
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_by_name() {
    let folder = folder();
    let run = |line: &str| capconduit(folder.path(), &[], &line.split(' ').collect::<Vec<_>>());
    assert_eq!(run("migrate").0, 0);
    for (line, told) in [
        ("user add Ann --role staff", "USERNAME = \"Ann\""),
        ("user password nobody", "there is no such user"),
        ("user disable nobody", "there is no such user"),
    ] {
        let (code, _, error) = run(line);
        assert!(code == 1 && error.contains(told), "{line}: {error}");
    }
    assert_eq!(run("user add acme --role seller").0, 0);
    let (code, _, error) = run("user add acme --role seller");
    assert!(code == 1 && error.contains("is taken"), "{error}");
    let (code, _, error) = run("user disable acme");
    assert!(code == 1 && error.contains("--stop-routing"), "{error}");
    assert_eq!(run("user add root --role admin").0, 0);
    let (code, _, error) = run("user disable root");
    assert!(code == 1 && error.contains("last active admin"), "{error}");
}

#[test]
fn a_password_from_standard_input_is_checked_and_never_repeated() {
    let folder = folder();
    assert_eq!(capconduit(folder.path(), &[], &["migrate"]).0, 0);
    for (password, code) in [("passwordpassword", 1), ("violet tractor hums low", 0)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_capconduit"))
            .current_dir(folder.path())
            .env_clear()
            .args(["user", "add", "ben", "--role", "staff", "--password-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        writeln!(child.stdin.take().expect("piped"), "{password}").expect("written");
        let output = child.wait_with_output().expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(!text.contains(password), "{text}");
    }
}
