use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;

use secrecy::ExposeSecret;

use super::*;

pub(super) const CANARY: &str = "canary-7f3a";

/// `test.toml` with this text, and this environment.
pub(super) fn sources(text: &str, environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    Sources::of(Some((Path::new("test.toml"), text)), environment)
}

pub(super) fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Faults> {
    sources(text, environment).config()
}

/// The keys of the faults of a configuration that must be refused.
fn faulty(text: &str, environment: &[(&str, &str)]) -> (HashSet<String>, String) {
    let faults = load(text, environment).expect_err(text);
    (faults.0.iter().map(|fault| fault.key.clone()).collect(), faults.to_string())
}

#[test]
fn no_file_at_all_gives_the_documented_defaults_and_no_password() {
    let config = Config::from_layers(None, []).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite://data/capconduit.db");
    assert_eq!(config.realtime, Realtime::Sqlite { path: "data/realtime/realtime.db".into() });
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8080");
    let [node] = config.nodes.as_slice() else { panic!("one node, not {}", config.nodes.len()) };
    assert_eq!((node.name.as_str(), node.user.as_str(), node.app.as_str()), ("asterisk", "capconduit", "capconduit"));
    assert_eq!(node.url, "http://127.0.0.1:8088");
    let refusal = config.require_ari().unwrap_err().to_string();
    for part in ["asterisk[0].password", "CAPCONDUIT__ASTERISK__0__PASSWORD", "\"capconduit\""] {
        assert!(refusal.contains(part), "{part} in {refusal}");
    }
}

#[test]
fn the_example_holds_every_key_at_its_default() {
    let example = include_str!("../../capconduit.example.toml");
    let written = load(example, &[]).unwrap();
    let default = Config::from_layers(None, []).unwrap();
    assert_eq!(format!("{written:?}"), format!("{default:?}"));
    // Every key is there: each one, given a wrong type, is refused by its name.
    let table: toml::Table = example.parse().unwrap();
    for (section, keys) in &table {
        let keys = keys.as_array().map_or(keys, |list| &list[0]).as_table().unwrap();
        for key in keys.keys() {
            assert!(example.contains(&format!("\n{key} = ")), "{section}.{key} is documented");
        }
    }
    let fields = [
        ("calls", 8),
        ("rejections", 6),
        ("breaker", 6),
        ("limits", 10),
        ("policy", 1),
        ("log", 2),
        ("api", 11),
        ("auth", 4),
        ("internal", 2),
        ("database", 3),
        ("realtime", 2),
        ("data", 1),
    ];
    for (section, count) in fields {
        assert_eq!(table[section].as_table().unwrap().len(), count, "keys in [{section}]");
    }
}

#[test]
fn the_environment_wins_and_reaches_into_the_list_of_nodes() {
    let file = "[calls]\nmax_live = 10\n[[asterisk]]\nname = \"a\"\nuser = \"u\"\n[[asterisk]]\nname = \"b\"\napp = \"other\"\n";
    let config = load(
        file,
        &[
            ("CAPCONDUIT__ASTERISK__1__PASSWORD", CANARY),
            ("CAPCONDUIT__ASTERISK__0__PREFIX_RULES__00", "+"),
            ("CAPCONDUIT__CALLS__MAX_LIVE", "20"),
            ("CAPCONDUIT__API__LISTEN", "[::1]:0"),
            ("CAPCONDUIT_OTHER", "not ours"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.calls.max_live, 20);
    assert_eq!(config.api.listen.to_string(), "[::1]:0");
    let [a, b] = config.nodes.as_slice() else { panic!("two nodes") };
    assert_eq!((a.name.as_str(), a.user.as_str(), a.password.expose_secret()), ("a", "u", ""));
    assert_eq!(a.prefix_rules, BTreeMap::from([("00".into(), "+".into())]));
    assert_eq!((b.name.as_str(), b.password.expose_secret()), ("b", CANARY));
    assert_eq!(config.require_ari().unwrap_err().0[0].key, "asterisk[0].password");
    // Without any file, an entry comes to be.
    let alone = Config::from_layers(None, [("CAPCONDUIT__ASTERISK__0__PASSWORD".into(), "p".into())]).unwrap();
    alone.require_ari().unwrap();
}

#[test]
fn all_faults_are_told_at_once_with_key_value_and_what_is_allowed() {
    let file = r#"
        top = 1
        [api]
        listen = "nowhere"
        [log]
        format = "xml"
        filter = "capconduit=loud"
        [calls]
        max_live = 0
        event_queue = "many"
        ringtone = 3
        [rejections]
        all_full = 603
        [database]
        max_connections = 1.5
        [[asterisk]]
        name = "no spaces here"
        url = "ftp://x"
        did_from = "from"
        default_region = "gb"
        prefix_rules = { "0o" = "+" }
        [[asterisk]]
        apps = 17
        transport = 3
    "#;
    let (keys, text) = faulty(file, &[("CAPCONDUIT__CALLS__MAX_ATTEMPTS", "-1"), ("CAPCONDUIT__CALLS__TYPO", "1")]);
    let expected = [
        "top",
        "api.listen",
        "log.format",
        "log.filter",
        "calls.max_live",
        "calls.event_queue",
        "calls.ringtone",
        "calls.max_attempts",
        "calls.typo",
        "rejections.all_full",
        "database.max_connections",
        "asterisk[0].name",
        "asterisk[0].url",
        "asterisk[0].did_from",
        "asterisk[0].default_region",
        "asterisk[0].prefix_rules.\"0o\"",
        "asterisk[1].apps",
        "asterisk[1].transport",
    ];
    assert_eq!(keys, expected.map(str::to_owned).into(), "{text}");
    for part in [
        "= \"nowhere\" is not allowed (set in test.toml): use ADDRESS:PORT",
        "\"xml\" is not one of auto, human, json",
        "= 603 is not allowed (set in test.toml): use one of 403, 404",
        "= \"-1\" is not allowed (set in CAPCONDUIT__CALLS__MAX_ATTEMPTS): use a whole number from 1 to 100",
        "is no known key (set in CAPCONDUIT__CALLS__TYPO); known here: progress_timeout_ms",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn variables_that_name_no_setting_are_refused_by_their_name() {
    for name in [
        "CAPCONDUIT__CALLS",
        "CAPCONDUIT__CALLS__MAX__LIVE",
        "CAPCONDUIT__",
        "CAPCONDUIT__ASTERISK__0",
        "CAPCONDUIT__ASTERISK__PASSWORD",
        "CAPCONDUIT__ASTERISK__99999999999__PASSWORD",
        "CAPCONDUIT__A.B__C",
    ] {
        let (keys, text) = faulty("", &[(name, CANARY)]);
        assert_eq!(keys, [name.to_owned()].into(), "{text}");
        assert!(!text.contains(CANARY), "{text}");
    }
    // A gap in the list is no node.
    let (keys, text) = faulty("", &[("CAPCONDUIT__ASTERISK__1__PASSWORD", "x")]);
    assert_eq!(keys, ["asterisk[0]".to_owned()].into(), "{text}");
    assert!(text.contains("CAPCONDUIT__ASTERISK__1__PASSWORD name later entries"), "{text}");
}

/// There may be no file at all.
#[test]
fn what_the_environment_has_set_is_blamed_on_its_variable() {
    for (name, value, key) in [
        ("CAPCONDUIT__FOO__BAR", "1", "foo"),
        ("CAPCONDUIT__ASTERISK__0__NAME__X", "1", "asterisk[0].name"),
        ("CAPCONDUIT__ASTERISK__0__FOO__X", "1", "asterisk[0].foo"),
        ("CAPCONDUIT__ASTERISK__0__PREFIX_RULES", "00", "asterisk[0].prefix_rules"),
        ("CAPCONDUIT__ASTERISK__0__PREFIX_RULES__X", "1", "asterisk[0].prefix_rules.\"x\""),
        ("CAPCONDUIT__SIP__CARRIERS", "127.0.0.1,nowhere", "sip.carriers[1]"),
        ("CAPCONDUIT__CALLS__MAX_LIVE", "many", "calls.max_live"),
        ("CAPCONDUIT__API__LISTEN", "8080", "api.listen"),
    ] {
        let (keys, text) = faulty("", &[(name, value)]);
        assert_eq!(keys, [key.to_owned()].into(), "{name}: {text}");
        assert!(text.contains(&format!("(set in {name})")), "{name}: {text}");
        assert!(!text.contains("test.toml"), "{name}: {text}");
    }
    // Both have their part in it.
    let (_, text) = faulty("[foo]\na = 1\n", &[("CAPCONDUIT__FOO__BAR", "1")]);
    assert!(text.contains("(set in test.toml and CAPCONDUIT__FOO__BAR)"), "{text}");
}

#[test]
fn a_variable_that_only_looks_like_a_setting_is_pointed_out() {
    let names =
        ["PATH", "CAPCONDUIT_API__LISTEN", "CAPCONDUIT_CACHE", "CAPCONDUIT_SANDBOX_USER", "CAPCONDUIT__API__LISTEN"];
    let sentences = unread_variables(names.map(OsString::from));
    let [one] = sentences.as_slice() else { panic!("{sentences:?}") };
    assert!(one.contains("CAPCONDUIT_API__LISTEN is not read") && one.contains("CAPCONDUIT__SECTION__KEY"), "{one}");
}

#[test]
fn a_country_that_is_none_is_told_as_that() {
    let refusal = |code: &str| faulty(&format!("[[asterisk]]\ndefault_region = {code:?}\n"), &[]).1;
    let text = refusal("UK");
    assert!(text.contains("no ISO 3166-1 country known to the library") && text.contains("is GB"), "{text}");
    assert!(refusal("XX").contains("no ISO 3166-1 country known"));
    assert!(refusal("gb").contains("two capital letters"));
}

#[test]
fn proxies_are_ranges_and_secrets_of_authentication_must_be_good() {
    let text = "[api]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n";
    assert_eq!(load(text, &[]).unwrap().api.trusted_proxies.len(), 2);
    let from_environment = load("", &[("CAPCONDUIT__API__TRUSTED_PROXIES", "127.0.0.1, fd00::/8")]).unwrap();
    assert_eq!(from_environment.api.trusted_proxies.len(), 2);
    let sip =
        load("[sip]\nallowed_networks = [\"10.1.0.0/16\"]\nallow_plaintext_outbound_auth = true\n", &[]).unwrap().sip;
    assert!(sip.allow_plaintext_outbound_auth && sip.carriers.is_empty() && sip.allowed_networks.len() == 1);
    let from_environment = load("", &[("CAPCONDUIT__SIP__ALLOW_PLAINTEXT_OUTBOUND_AUTH", "true")]).unwrap();
    assert!(
        from_environment.sip.allow_plaintext_outbound_auth && !load("", &[]).unwrap().sip.allow_plaintext_outbound_auth
    );
    assert!(
        load("[sip]\ncarriers = [\"x\"]\nresolve_every_seconds = 0\nallow_plaintext_outbound_auth = 1\n", &[]).is_err()
    );
    let text = "[api]\ntrusted_proxies = [\"127.0.0.1\", \"proxy\"]\n\
        [auth]\nkey = \"canary-short\"\nadmin_username = \"Admin\"\nadmin_password = \"canarycanarycanary\"\n";
    let (keys, told) = faulty(text, &[]);
    let wanted = ["api.trusted_proxies[1]", "auth.key", "auth.admin_username", "auth.admin_password"];
    assert_eq!(keys, wanted.map(str::to_owned).into());
    assert!(!told.contains("canary"), "{told}");
}

#[test]
fn ceilings_and_retention_have_their_bounds() {
    let auth = load("", &[]).unwrap().auth;
    assert_eq!((auth.sessions_per_user, auth.tokens_per_user, auth.audit_kept.num_days()), (50, 100, 730));
    // Less than the database keeps whatever is asked for, and none at all.
    for (key, least, most) in
        [("sessions_per_user", 1, 1000), ("tokens_per_user", 1, 10_000), ("audit_days", 31, 36_500)]
    {
        for allowed in [least, most] {
            assert!(load(&format!("[auth]\n{key} = {allowed}\n"), &[]).is_ok(), "{key} = {allowed}");
        }
        for refused in [least - 1, most + 1] {
            let (keys, _) = faulty(&format!("[auth]\n{key} = {refused}\n"), &[]);
            assert_eq!(keys, [format!("auth.{key}")].into(), "{key} = {refused}");
        }
    }
}

/// Every key of the example whose name ends so, with its section.
fn keys_that_end(suffix: &str) -> Vec<(String, String)> {
    let table: toml::Table = include_str!("../../capconduit.example.toml").parse().unwrap();
    let sections = table.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
    let keys = sections.flat_map(|(section, keys)| keys.keys().map(move |key| (section.clone(), key.clone())));
    keys.filter(|(_, key)| key.ends_with(suffix)).collect()
}

#[test]
fn every_time_in_seconds_takes_decimals_and_every_number_of_days_is_whole() {
    let keys = keys_that_end("_seconds");
    assert!(keys.len() >= 14, "{keys:?}");
    for (section, key) in &keys {
        // What is the longest is no less than the shortest.
        let beside = key.strip_suffix("_max_seconds").map(|key| format!("{key}_seconds = 1\n")).unwrap_or_default();
        let text = format!("[{section}]\n{beside}");
        let variable = format!("CAPCONDUIT__{section}__{key}").to_uppercase();
        for value in ["2.5", "2"] {
            let written = load(&format!("{text}{key} = {value}\n"), &[]).unwrap_or_else(|faults| panic!("{faults}"));
            assert!(format!("{written:?}").contains(&format!(": {value}s")), "{section}.{key}: {written:?}");
            let from_environment = load(&text, &[(&variable, value)]).unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(format!("{from_environment:?}"), format!("{written:?}"), "{variable}");
        }
        for refused in ["-1", "-0.5", "nan", "inf", "86400.5", "\"2s\"", "\"1e1\"", "\"inf\"", "\"\"", "true"] {
            let (faults, told) = faulty(&format!("{text}{key} = {refused}\n"), &[]);
            assert_eq!(faults, [format!("{section}.{key}")].into(), "{refused}");
            assert!(told.contains("use a number of seconds from") && told.contains("such as 2 or 2.5"), "{told}");
        }
    }
    for (section, key) in keys_that_end("_days") {
        assert!(load(&format!("[{section}]\n{key} = 40\n"), &[]).is_ok());
        let (_, told) = faulty(&format!("[{section}]\n{key} = 40.5\n"), &[]);
        assert!(told.contains("use a whole number from"), "{told}");
    }
}

#[test]
fn reports_of_the_old_dialplan_need_a_long_token_and_come_from_here_unless_told_otherwise() {
    let none = load("", &[]).unwrap().internal;
    assert!(none.log_call_token.is_none() && none.legacy_time_zone == chrono_tz::UTC);
    for (address, allowed) in [("127.0.0.2", true), ("::1", true), ("10.0.0.1", false), ("::2", false)] {
        let found = none.log_call_from.iter().any(|network| network.contains(address.parse().unwrap()));
        assert_eq!(found, allowed, "{address}");
    }
    let text = "[internal]\nlog_call_token = \"32 bytes, which is what is needed\"\nlog_call_from = []\nlegacy_time_zone = \"Europe/London\"\n";
    let some = load(text, &[]).unwrap().internal;
    assert!(some.log_call_token.is_some() && some.log_call_from.is_empty());
    assert_eq!(some.legacy_time_zone.name(), "Europe/London");
    let text = "[internal]\nlog_call_token = \"31 bytes, it is a canary, short\"\nlog_call_from = [\"here\"]\nlegacy_time_zone = \"GMT+25\"\n";
    let (keys, told) = faulty(text, &[]);
    let wanted = ["internal.log_call_token", "internal.log_call_from[0]", "internal.legacy_time_zone"];
    assert_eq!(keys, wanted.map(str::to_owned).into());
    assert!(!told.contains("canary"), "{told}");
}

#[test]
fn twins_are_refused() {
    let (keys, _) = faulty("[[asterisk]]\n[[asterisk]]\nurl = \"http://other:8088\"\n", &[]);
    assert_eq!(keys, ["asterisk[1].name".to_owned()].into());
    let (keys, _) = faulty("[[asterisk]]\n[[asterisk]]\nname = \"b\"\n", &[]);
    assert_eq!(keys, ["asterisk[1].app".to_owned()].into());
    load("[[asterisk]]\n[[asterisk]]\nname = \"b\"\nurl = \"http://other:8088/\"\n", &[]).unwrap();
}

#[test]
fn unreachable_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("below").display().to_string();
    let text = format!(
        "[data]\ndir = {below:?}\n[database]\nurl = {:?}\n[[asterisk]]\npassword_file = {below:?}\n",
        format!("sqlite://{below}")
    );
    let (keys, message) = faulty(&text, &[]);
    let expected = ["data.dir", "database.url", "asterisk[0].password_file"];
    assert_eq!(keys, expected.map(str::to_owned).into(), "{message}");
    let missing = Config::load(Some(Path::new(&below))).unwrap_err().to_string();
    assert!(missing.contains("--config"), "{missing}");
}

#[test]
fn postgres_realtime_needs_a_postgres_database() {
    let (keys, _) = faulty("[realtime]\nmode = \"postgres\"\npath = \"x\"\n", &[]);
    assert_eq!(keys, ["realtime.mode".to_owned(), "realtime.path".to_owned()].into());
    let url = "[database]\nurl = \"postgres://u:p@db/capconduit\"\n[realtime]\nmode = \"postgres\"\n";
    assert_eq!(load(url, &[]).unwrap().realtime, Realtime::Postgres);
}

#[test]
fn the_api_is_guarded_as_configured_and_odd_guards_are_refused() {
    let config = load(
        "[api]\nrequests_per_second = 5\nburst = 9\nmetrics_listen = \"127.0.0.1:9090\"\ncors_origins = [\"https://panel.example.com\", \"http://[::1]:3000\"]\n",
        &[("CAPCONDUIT__API__METRICS_TOKEN", "0123456789abcdef0123456789abcdef")],
    );
    let api = config.unwrap().api;
    assert_eq!((api.requests_per_second, api.burst, api.cors_origins.len()), (5, 9, 2));
    assert!(api.metrics_listen.is_some() && api.metrics_token.is_some());
    let bad = "https://panel.example.com/|*|null|https://panel.example.com:443|HTTPS://panel.example.com|ftp://x|panel.example.com";
    for origin in bad.split('|') {
        let (keys, _) = faulty(&format!("[api]\ncors_origins = [{origin:?}]\n"), &[]);
        assert_eq!(keys, ["api.cors_origins[0]".to_owned()].into(), "{origin}");
    }
    let (keys, text) = faulty(
        &format!(
            "[api]\nmetrics_token = {CANARY:?}\nmetrics_listen = \"127.0.0.1:8080\"\nburst = 0\nrequests_per_second = 0\n"
        ),
        &[],
    );
    let expected = ["metrics_token", "metrics_listen", "burst", "requests_per_second"];
    assert_eq!(keys, expected.map(|key| format!("api.{key}")).into());
    assert!(!text.contains(CANARY), "{text}");
}

#[test]
fn a_password_file_is_read_without_its_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s p\n").unwrap();
    let text = format!("[[asterisk]]\npassword_file = {:?}\n", file.display().to_string());
    assert_eq!(load(&text, &[]).unwrap().nodes[0].password.expose_secret(), "s p");
    let (keys, _) = faulty(&text, &[("CAPCONDUIT__ASTERISK__0__PASSWORD", "x")]);
    assert_eq!(keys, ["asterisk[0].password".to_owned()].into());
}

#[test]
fn secrets_show_in_no_error_and_no_debug() {
    let url = format!("postgres://u:{CANARY}@db/capconduit");
    let config = load(&format!("[database]\nurl = {url:?}\n[[asterisk]]\npassword = {CANARY:?}\n"), &[]).unwrap();
    assert!(!format!("{config:?}").contains(CANARY));
    for text in [
        format!("[database]\nurl = \"mysql://u:{CANARY}@db/x\"\n"),
        format!("[database]\nurl = [\"{CANARY}\"]\n"),
        format!("[database]\nurll = \"{CANARY}\"\n"),
        format!("[database]\n{CANARY}\n"),
        format!("[database]\nurl = \"postgres://{CANARY}\nmax_connections = 1\n"),
        format!("[[asterisk]]\npassword = {CANARY}\n"),
        format!("[[asterisk]]\npassword = \"{CANARY}\n"),
        format!("[[asterisk]]\npassword = '{CANARY}' x\n"),
        format!("[[asterisk]]\npassword = \"\\q{CANARY}\"\n"),
        format!("[[asterisk]]\npassword = \"a\"\npassword = \"{CANARY}\"\n"),
        format!("[[asterisk]]\npasword = \"{CANARY}\"\n"),
        format!("[[asterisk]]\npassword = [\"{CANARY}\"]\n"),
        format!("[[asterisk]]\npassword = {{ text = \"{CANARY}\" }}\n"),
        format!("[[asterisk]]\nurl = \"http://u:{CANARY}@host\"\n"),
        format!("[[asterisk]]\nurl = \"ftp://u:{CANARY}@host\"\n"),
        format!("asterisk = \"{CANARY}\"\n"),
        format!("password = \"{CANARY}\"\n"),
    ] {
        let faults = load(&text, &[]).expect_err(&text);
        assert!(!format!("{faults} {faults:?}").contains(CANARY), "{text} → {faults}");
    }
}
