//! What packages bring. The packages themselves are made and tried by `just package-test`.

use std::path::Path;
use std::process::Command;

use capconduit::config::Sources;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// Runs it in the repository: whether it succeeds, and all that it says.
fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).current_dir(root()).output();
    // `scripts/setup` installs what is missing.
    let output = output.expect(program);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What a machine must have, of the program as these tests have built it.
#[test]
fn the_program_needs_three_libraries_and_no_newer_glibc_than_debian_12_has() {
    let (good, said) = run("scripts/check-binary", &[env!("CARGO_BIN_EXE_capconduit")]);
    assert!(good, "{said}");
    // It looks: this program needs others.
    let (good, said) = run("scripts/check-binary", &["/usr/bin/curl"]);
    assert!(!good && said.contains("libcurl"), "{said}");
}

/// 10 would be "open", 1.5 is 15 of its hundred.
#[test]
fn the_service_is_shut_in() {
    let unit = "packaging/capconduit.service";
    let (good, said) = run("systemd-analyze", &["security", "--no-pager", "--offline=yes", "--threshold=15", unit]);
    assert!(good, "{said}");
    let (good, _) = run("systemd-analyze", &["security", "--no-pager", "--offline=yes", "--threshold=1", unit]);
    assert!(!good, "a threshold is heeded");
    let unit = text(unit);
    let filters: Vec<&str> = unit.lines().filter(|line| line.starts_with("SystemCallFilter=")).collect();
    assert_eq!(filters, ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"]);
    assert!(!unit.contains("SupplementaryGroups"), "many hosts have no group asterisk: the unit would not start there");
}

#[test]
fn the_packaged_configuration_is_good_once_its_password_is_there() {
    let file = text("packaging/capconduit.toml");
    let sources = Sources::of(Some((Path::new("/etc/capconduit/capconduit.toml"), &file)), []);
    assert_eq!(sources.data_dir().as_deref(), Some(Path::new("/var/lib/capconduit")));
    let (settings, faults) = sources.examine().expect("TOML");
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert!(keys.iter().all(|key| *key == "asterisk[0].password_file"), "{faults:?}");
    let spool =
        settings.iter().find(|setting| setting.key == "fallback_spool").and_then(|setting| setting.value.clone());
    // As the dialplan's files have it.
    let dialplan = text("asterisk/etc/extensions.conf");
    let spool = spool.expect("it is set");
    assert!(dialplan.contains(spool.trim_matches('"')), "{spool} in {dialplan}");
}

#[test]
fn all_say_the_same_user_folders_and_version() {
    let changelog = text("packaging/changelog");
    let newest = format!("capconduit ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&newest), "the changelog begins with this version: {changelog}");
    let (unit, user) = (text("packaging/capconduit.service"), text("packaging/capconduit.sysusers"));
    let install = text("packaging/after-install");
    assert!(unit.contains("\nUser=capconduit\n") && user.contains("\nu     capconduit "), "{user}");
    assert!(
        unit.contains("\nStateDirectory=capconduit\nStateDirectoryMode=0711\n")
            && install.contains("-m 0711 /var/lib/capconduit")
    );
    assert!(unit.contains("--config /etc/capconduit/capconduit.toml\n"), "{unit}");
}

#[test]
fn every_file_that_packages_name_is_there() {
    let manifest: toml::Table = text("Cargo.toml").parse().expect("TOML");
    let metadata = &manifest["package"]["metadata"];
    let mut seen = 0;
    for asset in metadata["deb"]["assets"].as_array().expect("a list") {
        let source = asset[0].as_str().expect("a path");
        if source.starts_with("target/") {
            continue;
        }
        seen += 1;
        match source.strip_suffix("*.conf") {
            Some(folder) => {
                let mut files = std::fs::read_dir(root().join(folder)).expect(folder).flatten();
                assert!(files.any(|file| file.path().extension().is_some_and(|it| it == "conf")), "{source}");
            }
            None => assert!(root().join(source).is_file(), "{source}"),
        }
    }
    assert!(seen > 10, "{seen}");
    // A folder of Asterisk's files that no package names would be missed on a node.
    let named = text("Cargo.toml");
    for folder in std::fs::read_dir(root().join("asterisk/etc")).expect("a folder").flatten() {
        if folder.path().is_dir() {
            let name = format!("asterisk/etc/{}/*.conf", folder.file_name().display());
            assert_eq!(named.matches(&name).count(), 2, "{name} in .deb and .rpm");
        }
    }
}

#[test]
fn scripts_are_good_shell() {
    for script in ["packaging/after-install", "packaging/deb/postinst", "packaging/deb/prerm", "packaging/deb/postrm"] {
        let (good, said) = run("sh", &["-n", script]);
        assert!(good, "{script}: {said}");
        let first = text(script).lines().take(3).collect::<Vec<_>>().join("\n");
        assert!(first.starts_with("#!/bin/sh"), "{script}: {first}");
    }
    for script in [
        "scripts/package",
        "scripts/check-binary",
        "packaging/oci",
        "packaging/try",
        "packaging/try-deb",
        "packaging/try-oci",
        "packaging/try-rpm",
        "packaging/try-systemd",
        "packaging/try.d/common.sh",
    ] {
        let (good, said) = run("bash", &["-n", script]);
        assert!(good, "{script}: {said}");
    }
}
