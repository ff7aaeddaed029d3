use proptest::prelude::*;

use super::*;
use crate::realtime::{Given, Md5Cred, OutboundAuthForm, OwnRealm, Password, RegistrationForm, SipForm};

fn settings(form: &SipForm) -> Result<SipSettings, Vec<String>> {
    let mut problems = Vec::new();
    let checked = form.check(&mut |field, problem| problems.push(format!("{field}: {problem}")));
    checked.filter(|_| problems.is_empty()).ok_or(problems)
}

fn north() -> ClientIdentifier {
    "north".parse().expect("allowed")
}

fn at(host: &str) -> SipForm {
    SipForm { host: Some(host.into()), ..SipForm::default() }
}

fn registering(username: &str) -> RegistrationForm {
    RegistrationForm { username: username.into(), ..RegistrationForm::default() }
}

fn derived(form: &SipForm, cred: Option<&Md5Cred>) -> PsRows {
    let secrets = Secrets { registration: cred.cloned(), ..Secrets::default() };
    rows(&north(), &settings(form).expect("allowed"), &secrets).expect("safe")
}

#[test]
fn a_fixed_address_becomes_a_contact_and_is_known_by_ip_only() {
    for (form, contact) in [
        (at("203.0.113.7"), "sip:north@203.0.113.7:5060"),
        (at("2001:DB8::1"), "sip:north@[2001:db8::1]:5060"),
        (
            SipForm { port: Some(5080), transport: Some("tcp".into()), ..at("SIP.Example.org") },
            "sip:north@sip.example.org:5080;transport=tcp",
        ),
        (SipForm { transport: Some("tls".into()), ..at("a") }, "sip:north@a:5061;transport=tls"),
    ] {
        let rows = derived(&form, None);
        assert_eq!(rows.aor["contact"], contact);
        assert_eq!((rows.endpoint["identify_by"].as_str(), &rows.auth, &rows.identify), ("ip", &None, &None));
    }
}

#[test]
fn a_registering_client_gets_digest_and_no_contact() {
    // Computed with `printf 'north:asterisk:secret' | md5sum`.
    let cred = Md5Cred::within("asterisk", &"north".parse().expect("allowed"), &Password::new("secret".into()));
    assert_eq!(cred.expose(), "e9eba4f00a9ae67452b20cb18dc7219d");
    assert!(!format!("{cred:?}").contains("e9eb"));
    let registration = Some(registering("north"));
    let form =
        SipForm { registration, identify_by_ip: Some(vec!["203.0.113.7".into(), "::1".into()]), ..SipForm::default() };
    let rows = derived(&form, Some(&cred));
    let auth = rows.auth.expect("an auth row");
    assert_eq!((auth["auth_type"].as_str(), auth["md5_cred"].as_str()), ("md5", cred.expose()));
    assert!(!rows.aor.contains_key("contact"));
    assert_eq!(rows.endpoint["identify_by"], "ip,username");
    assert_eq!(rows.identify.expect("an identify row")["match"], "203.0.113.7,::1");
}

fn settled(sip: &SipSettings, form: &SipForm) -> Secrets {
    Given::new(sip, form).settle(None, sip, OwnRealm::new(1)).expect("all are given")
}

#[test]
fn each_password_has_an_aor_of_its_own() {
    let password = Some(Password::new("secret".into()));
    let form = SipForm {
        registration: Some(RegistrationForm { password, ..registering("n+1@x.example") }),
        identify_by_ip: Some(vec!["203.0.113.7".into()]),
        ..SipForm::default()
    };
    let sip = settings(&form).expect("allowed");
    let secrets = settled(&sip, &form);
    let rows = rows(&north(), &sip, &secrets).expect("safe");
    let aor = "n+1@x.example@asterisk.0000000000000001";
    assert_eq!((rows.aor["id"].as_str(), rows.endpoint["aors"].as_str()), (aor, aor));
    let auth = rows.auth.expect("an auth row");
    assert_eq!((rows.endpoint["id"].as_str(), auth["id"].as_str()), ("north", "north"), "its SIP user stays");
    assert_eq!((auth["username"].as_str(), auth["realm"].as_str()), ("n+1@x.example", "asterisk.0000000000000001"));
    assert_eq!(rows.endpoint["identify_by"], "ip,username,auth_username");
    // The same client with a fixed address, which no phone of its former days is found at.
    let fixed = settings(&at("a.example")).expect("allowed");
    let fixed = super::rows(&north(), &fixed, &secrets).expect("safe");
    assert_eq!(
        (fixed.aor["id"].as_str(), fixed.aor["contact"].as_str()),
        ("north.0000000000000001", "sip:north@a.example:5060")
    );
    assert_eq!(
        (fixed.endpoint["aors"].as_str(), fixed.endpoint["identify_by"].as_str()),
        ("north.0000000000000001", "ip")
    );
}

#[test]
fn a_challenging_client_is_answered_with_a_digest_or_where_allowed_a_password() {
    let password = Password::new("pl@in/word".into());
    let auth = |realm: Option<&str>| OutboundAuthForm {
        username: "+4420".into(),
        password: Some(password.clone()),
        realm: realm.map(str::to_owned),
        ..OutboundAuthForm::default()
    };
    for (realm, column) in [(Some("The Centre"), "md5_cred"), (None, "password")] {
        let form = SipForm { outbound_auth: Some(auth(realm)), ..at("a.example") };
        let sip = settings(&form).expect("allowed");
        let rows = rows(&north(), &sip, &settled(&sip, &form)).expect("safe");
        let row = rows.outbound_auth.as_ref().expect("an auth row");
        assert_eq!((rows.endpoint["outbound_auth"].as_str(), row["id"].as_str()), ("north.outbound", "north.outbound"));
        assert_eq!(row.get("realm").map(String::as_str), realm);
        assert_eq!(row.contains_key("password"), realm.is_none());
        assert!(row.contains_key(column) && rows.auth.is_none() && !rows.endpoint.contains_key("auth"));
    }
    for (field, auth) in [
        ("outbound_auth.username", OutboundAuthForm { username: "a b".into(), ..auth(None) }),
        ("outbound_auth.realm", auth(Some("a\"b"))),
        ("outbound_auth.realm", auth(Some(""))),
        ("outbound_auth.password", OutboundAuthForm { password: Some(Password::new("a;b".into())), ..auth(None) }),
        (
            "outbound_auth.password",
            OutboundAuthForm { password: Some(Password::new("a\nb".into())), ..auth(Some("r")) },
        ),
    ] {
        let problems = settings(&SipForm { outbound_auth: Some(auth), ..at("a.example") }).expect_err(field);
        assert!(problems.len() == 1 && problems[0].starts_with(field), "{problems:?}");
    }
}

#[test]
fn ranges_to_be_known_by_are_narrow_and_exact() {
    let ranges = |ranges: &[&str]| {
        let list = ranges.iter().map(ToString::to_string).collect();
        settings(&SipForm { identify_by_ip: Some(list), ..at("a.example") })
    };
    let sip = ranges(&["203.0.113.0/24", "198.51.100.7", "2001:db8::/64", "198.51.100.8/32"]).expect("allowed");
    let row = rows(&north(), &sip, &Secrets::default()).expect("safe").identify.expect("an identify row");
    assert_eq!(row["match"], "203.0.113.0/24,198.51.100.7,2001:db8::/64,198.51.100.8");
    for wrong in
        ["203.0.112.0/23", "0.0.0.0/0", "2001:db8::/63", "203.0.113.5/24", "203.0.113.0/33", "x", "::ffff:1.2.3.0/120"]
    {
        let problems = ranges(&["198.51.100.7", wrong]).expect_err(wrong);
        assert!(problems.len() == 1 && problems[0].starts_with("identify_by_ip[1]: "), "{problems:?}");
    }
    assert!(ranges(&["10.0.0.1", "10.0.0.1/32"]).expect_err("twice")[0].contains("twice"));
}

#[test]
fn no_client_can_transfer_redirect_call_or_learn_a_withheld_number() {
    let endpoint = derived(&at("a"), None).endpoint;
    for (column, value) in [
        ("allow_transfer", "no"),
        ("redirect_method", "user"),
        ("context", "capconduit-clients"),
        ("trust_id_outbound", "no"),
    ] {
        assert_eq!(endpoint[column], value, "{column}");
    }
}

/// Seen on 22.10: a list of objects refuses those in which one of these is NULL.
#[test]
fn what_asterisk_refuses_as_null_is_always_there() {
    let registration = Some(registering("north"));
    let cred = Md5Cred::stored(&"0".repeat(32));
    for form in [at("a"), SipForm { registration, ..SipForm::default() }] {
        let rows = derived(&form, cred.as_ref());
        for column in ["media_encryption", "rtp_timeout", "dtmf_mode", "timers", "redirect_method", "allow"] {
            assert!(rows.endpoint.contains_key(column), "{column}");
        }
        for column in ["max_contacts", "qualify_frequency", "qualify_timeout", "default_expiration"] {
            assert!(rows.aor.contains_key(column), "{column}");
        }
        assert!(rows.auth.is_none_or(|auth| auth.contains_key("nonce_lifetime")));
    }
}

#[test]
fn injections_are_refused_by_field() {
    for host in [
        "",
        "a;b",
        "a\n",
        "a b",
        "a@b",
        "203.0.113.7:5060",
        "[::1]",
        "a,b",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a.",
        "203.0.113",
        "1.2.3.4.5",
        "fe80::1%eth0",
        "a\0",
        "ä",
        "a_b",
        "a^3Bb",
        "a/b",
        "a&PJSIP/itsp/1900",
        "${EXTEN}",
    ] {
        let problems = settings(&at(host)).expect_err(host);
        assert!(problems.len() == 1 && problems[0].starts_with("host: "), "{host:?}: {problems:?}");
    }
    for username in ["", "a b", "a;b", "a:b", "a\r\nb", "ü"] {
        let registration = Some(registering(username));
        let problems = settings(&SipForm { registration, ..SipForm::default() }).expect_err(username);
        assert!(problems[0].starts_with("registration.username: "), "{problems:?}");
    }
}

#[test]
fn all_problems_come_at_once_and_name_value_and_choice() {
    let form = SipForm {
        port: Some(70_000),
        transport: Some("sctp".into()),
        qualify_seconds: Some(-1),
        codecs: Some(vec!["alaw".into(), "mp3".into(), "alaw".into()]),
        dtmf_mode: Some("smoke".into()),
        identify_by_ip: Some(vec!["10.0.0.0/8".into()]),
        ..at("a b")
    };
    let problems = settings(&form).expect_err("nothing in it is allowed").join("\n");
    for part in [
        "70000",
        "\"sctp\"",
        "udp, tcp, tls",
        "-1 is not",
        "\"mp3\"",
        "\"alaw\" is there twice",
        "\"smoke\"",
        "10.0.0.0/8",
        "host: \"a b\"",
    ] {
        assert!(problems.contains(part), "{part} not in {problems}");
    }
    for neither in [SipForm::default(), SipForm { registration: Some(registering("a")), ..at("a") }] {
        assert!(settings(&neither).expect_err("neither or both")[0].contains("exactly one"));
    }
}

proptest! {
    /// Whatever is typed, what passes the check yields rows of harmless characters, and reads back to the same.
    #[test]
    fn whatever_passes_is_safe_and_reads_back(
        host in proptest::option::of("[a-zA-Z0-9.:;,@ _-]{0,20}|\\PC{0,8}"),
        username in proptest::option::of("[a-z;@.]{0,6}|\\PC{0,4}"),
        port in proptest::option::of(-2_i64..70_000),
        transport in proptest::option::of("udp|tcp|tls|x"),
        codecs in proptest::option::of(proptest::collection::vec("alaw|ulaw|opus|x", 0..3)),
        ips in proptest::option::of(proptest::collection::vec("10\\.0\\.0\\.[0-9]{1,3}|::1|;", 0..3)),
    ) {
        let registration = username.map(|username| registering(&username));
        let form = SipForm { host, registration, port, transport, codecs, identify_by_ip: ips, ..SipForm::default() };
        if let Ok(settings) = settings(&form) {
            let cred = Md5Cred::stored(&"0".repeat(32));
            let derived = rows(&north(), &settings, &Secrets { registration: cred, ..Secrets::default() });
            prop_assert!(derived.is_ok(), "{derived:?}");
            let again = SipForm::from(&settings).check(&mut |_, _| {});
            prop_assert_eq!(again, Some(settings));
        }
    }
}
