use super::super::Listen;
use super::super::fixtures::{autoload_no, debian, file, folder, freepbx, program, realtime, wanted};
use super::super::ours::ours;
use super::super::target::{Owner, installed};
use super::*;

fn found_with(folder: &Folder, wanted: &Wanted, program: &Program, running: Option<&Running>) -> Vec<Obstacle> {
    let site = Site::of(folder);
    let target = installed(folder, &site, &ours(&site, wanted, program), Owner { uid: 0, gid: 110 });
    obstacles(&Case { site: &site, wanted, program, running, current: folder, target: &target })
}

fn found(folder: &Folder) -> Vec<Obstacle> {
    found_with(folder, &wanted(), &program(), None)
}

/// The one thing that is found.
fn only(found: Vec<Obstacle>, part: &str) {
    let [one] = &found[..] else { panic!("{part}: {found:#?}") };
    assert!(one.found.contains(part) && !one.mend.is_empty(), "{part}: {one:?}");
}

fn with(mut folder: Folder, name: &str, text: &str) -> Folder {
    folder.write(name, file(text));
    folder
}

fn added(folder: Folder, name: &str, text: &str) -> Folder {
    let old = String::from_utf8(folder.bytes(name).unwrap_or_default().to_vec()).unwrap();
    with(folder, name, &format!("{old}{text}"))
}

#[test]
fn stock_configurations_stop_nothing() {
    for site in [debian(), freepbx(), autoload_no()] {
        assert_eq!(found(&site), []);
        // Nor does what is there already.
        let of = Site::of(&site);
        let target = installed(&site, &of, &ours(&of, &wanted(), &program()), Owner { uid: 0, gid: 110 });
        assert_eq!(found(&target), []);
    }
}

#[test]
fn what_has_our_names_is_told() {
    only(
        found(&added(debian(), "extensions.conf", "[capconduit-inbound]\nexten => _X.,1,Hangup()\n")),
        "[capconduit-inbound]",
    );
    only(found(&added(debian(), "ari.conf", "[capconduit]\ntype=user\n")), "user capconduit");
    only(found(&added(debian(), "pjsip.conf", "[capconduit-carrier](!)\ntype=endpoint\n")), "[capconduit-carrier]");
    only(found(&added(debian(), "pjsip.conf", "[north](phone)\n")), "[north]");
    only(found(&with(debian(), "pjsip_wizard.conf", "[north]\ntype = wizard\n")), "[north]");
    only(found(&added(debian(), "pjsip.conf", "[north]\ntype=aor\n")), "[north]");
    only(found(&added(debian(), "res_config_sqlite3.conf", "\n[capconduit]\ndbfile=/x\n")), "[capconduit]");
    only(found(&added(debian(), "extconfig.conf", "capconduit_aors => odbc,x\n")), "family capconduit_aors");
    let stasis = "[old]\nexten => 1,1,Stasis(capconduit-1,x)\n";
    only(found(&added(debian(), "extensions.conf", stasis)), "application of our name");
    let other = "[old]\nexten => 1,1,Stasis(capconduit-10)\n same => n,Stasis(capconduit-1x)\n";
    assert_eq!(found(&added(debian(), "extensions.conf", other)), []);
}

#[test]
fn a_carrier_of_ours_that_the_site_has_is_told() {
    let mut site = debian();
    site.write("capconduit.d/site_pjsip.conf", file("[trunk](capconduit-carrier)\n"));
    only(found(&site), "[trunk]");
}

#[test]
fn files_that_cannot_get_a_line_are_told() {
    let mut linked = debian();
    let real = linked.file("pjsip.conf").cloned();
    linked
        .entries
        .insert("pjsip.conf".to_owned(), Entry::Link { to: "/srv/pjsip.conf".to_owned(), file: real.clone() });
    only(found(&linked), "symbolic link to /srv/pjsip.conf");
    let mut twice = debian();
    twice.entries.insert("pjsip.conf".to_owned(), Entry::File { file: real.unwrap(), names: 2 });
    only(found(&twice), "2 names");
    only(found(&added(debian(), "extensions.conf", ";-- all of this\n")), "comment that begins in line 10");
    only(found(&added(debian(), "extensions.conf", "exten => 9,1,NoOp(a--; b)\n")), "comment that begins in line 10");
    only(found(&added(debian(), "pjsip.conf", "#include nowhere.conf\n")), "nowhere.conf");
    only(
        found(&added(debian(), "extconfig.conf", "pjsip.conf => odbc,asterisk,ast_config\n")),
        "pjsip.conf from a database",
    );
    only(
        found(&with(freepbx(), "ari.conf", "; FreePBX\n[general]\n#include ari_additional.conf\n")),
        "is not included by ari.conf",
    );
    let mut folder = debian();
    folder.write("capconduit.d", file("x"));
    only(found(&folder), "no folder");
    // FreePBX's own files may be links: they get no line.
    let mut freepbx = freepbx();
    let real = freepbx.file("extensions.conf").cloned();
    freepbx
        .entries
        .insert("extensions.conf".to_owned(), Entry::Link { to: "/var/www/extensions.conf".to_owned(), file: real });
    assert_eq!(found(&freepbx), []);
}

#[test]
fn modules_that_are_refused_or_not_there_are_told_with_what_needs_them() {
    let refused =
        with(debian(), "modules.conf", "[modules]\nautoload=yes\nnoload = func_rand\nnoload = codec_gsm.so\n");
    only(found(&refused), "`noload` of func_rand.so, which is needed (RAND(): spreads calls");
    let mut program = program();
    program.modules.as_mut().unwrap().remove("app_stasis.so");
    only(found_with(&debian(), &wanted(), &program, None), "no app_stasis.so");
    // Debian refuses the driver of PostgreSQL.
    let postgres = Tables::Postgres {
        host: "127.0.0.1".to_owned(),
        port: 5432,
        database: "capconduit".to_owned(),
        user: "asterisk".to_owned(),
        password: None,
    };
    let mut with_driver = super::super::fixtures::program();
    with_driver.modules.as_mut().unwrap().insert("res_config_pgsql.so".to_owned());
    let wanted = Wanted { tables: postgres, ..wanted() };
    only(found_with(&debian(), &wanted, &with_driver, None), "`noload` of res_config_pgsql.so");
    let free = with(debian(), "modules.conf", "[modules]\nautoload=yes\n");
    assert_eq!(found_with(&free, &wanted, &with_driver, None), []);
    let connected = added(free, "res_pgsql.conf", "dbname = asterisk\n");
    only(found_with(&connected, &wanted, &with_driver, None), "a connection already (dbname = asterisk)");
}

#[test]
fn realtime_of_the_sites_own_is_joined_only_where_that_is_wanted() {
    only(found(&realtime()), "endpoint in ps_endpoints, aor in ps_aors");
    let shared = Wanted { share_realtime: true, ..wanted() };
    assert_eq!(found_with(&realtime(), &shared, &program(), None), []);
    let cached = added(realtime(), "sorcery.conf", "[res_pjsip](+)\naor/cache=memory_cache,full_backend_cache=yes\n");
    only(found_with(&cached, &shared, &program(), None), "full_backend_cache");
    let lost = with(
        realtime(),
        "extconfig.conf",
        "[settings]\nps_endpoints => odbc,a\nps_aors => odbc,a\nps_auths => odbc,a\n",
    );
    only(found_with(&lost, &shared, &program(), None), "ps_endpoint_id_ips");
}

#[test]
fn ari_is_this_hosts_alone_unless_its_user_can_be_limited() {
    let open = |bind: &str| with(debian(), "http.conf", &format!("[general]\nenabled=yes\n{bind}"));
    only(found(&open("bindaddr = 0.0.0.0\n")), "ARI listens on 0.0.0.0");
    only(found(&open("bindaddr = ::\n")), "ARI listens on ::");
    assert_eq!(found(&open("")), [], "it does not listen at all");
    only(found(&open("bindaddr = 127.0.0.1\nbindport = 8089\n")), "port 8089");
    only(found(&open("bindaddr = 127.0.0.2\n")), "127.0.0.2");
    only(found(&with(debian(), "http.conf", "[general]\nbindaddr=127.0.0.1\nbindport=8089\n")), "port 8089");
    only(found(&open("bindaddr = 127.0.0.1\nprefix = asterisk\n")), "asterisk");
    assert_eq!(found(&open("bindaddr = 127.0.0.1\n")), []);
    let foreign = Wanted { foreign_ari: true, ..wanted() };
    assert_eq!(found_with(&open("bindaddr = ::\n"), &foreign, &program(), None), []);
    let old = Program { ari_acl: Some(false), ..program() };
    only(found_with(&open("bindaddr = ::\n"), &foreign, &old, None), "ARI listens on ::");
    let unknown = Program { ari_acl: None, ..program() };
    only(found_with(&open("bindaddr = ::\n"), &foreign, &unknown, None), "ARI listens on ::");
    // The same server by TLS.
    let by_tls = |bind: &str| open(&format!("bindaddr = 127.0.0.1\ntlsenable = yes\n{bind}"));
    only(found(&by_tls("tlsbindaddr = [::]:8089\n")), "ARI listens on [::]:8089");
    only(found(&by_tls("tlsbindaddr = 0.0.0.0\n")), "ARI listens on 0.0.0.0");
    for bind in ["", "tlsbindaddr = 127.0.0.1:8089\n", "tlsbindaddr = [::1]:8089\n"] {
        assert_eq!(found(&by_tls(bind)), [], "{bind}");
    }
    let elsewhere = Listen { address: [203, 0, 113, 9].into(), port: 8088, tls: false };
    only(found_with(&debian(), &Wanted { listen: elsewhere, ..wanted() }, &program(), None), "203.0.113.9");
    let tls = Listen { tls: true, ..wanted().listen };
    only(found_with(&debian(), &Wanted { listen: tls, ..wanted() }, &program(), None), "no TLS");
}

#[test]
fn no_transport_no_password_and_another_asterisk_are_told() {
    only(found(&with(debian(), "pjsip.conf", "[100]\ntype=endpoint\n")), "no transport");
    assert_eq!(
        found(&with(
            with(debian(), "pjsip.conf", "[100]\ntype=endpoint\n"),
            "sorcery.conf",
            "[res_pjsip]\ntransport=realtime,x\n"
        )),
        []
    );
    let bare = Wanted { password: String::new().into(), ..wanted() };
    only(found_with(&debian(), &bare, &program(), None), "no password");
    let odd = Wanted { password: "a\\b".to_owned().into(), ..wanted() };
    only(found_with(&debian(), &odd, &program(), None), "cannot be written");
    let steered = Wanted { spool: "/var/spool/${SHELL(x)}".to_owned(), ..wanted() };
    only(found_with(&debian(), &steered, &program(), None), "fallback_spool");
    let old = Program { version: Some((18, 4, 0)), ..program() };
    only(found_with(&debian(), &wanted(), &old, None), "18.4 is too old");
    let running = Running { folder: "/opt/asterisk/etc".to_owned(), ..Running::default() };
    only(found_with(&debian(), &wanted(), &program(), Some(&running)), "/opt/asterisk/etc");
    assert!(found(&folder(&[])).iter().any(|one| one.found.contains("no file")));
}

#[test]
fn what_would_be_read_otherwise_is_told() {
    let mut site = freepbx();
    let old = String::from_utf8(site.bytes("extensions.conf").unwrap().to_vec()).unwrap();
    site.write("extensions.conf", file(&old.replace("[from-trunk]", "#include more.conf\n[from-trunk]")));
    site.write("more.conf", file("exten => 2,1,Answer()\n"));
    only(found(&site), "would not be read as it is now");
}
