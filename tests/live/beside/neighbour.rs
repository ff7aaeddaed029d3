//! A site's own Asterisk, with endpoints, a dialplan and calls of its own, beside which CapConduit is installed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::layouts::{Layout, Site, TRUNK_IP, few_modules, sandbox};
use crate::harness::LIMIT;
use crate::harness::child::Child;
use crate::harness::controller::{Address, Controller, Settings};
use crate::harness::node::{ARI_PASSWORD, ARI_USER};
use crate::harness::plan::Plan;
use crate::harness::ports::Ports;
use crate::harness::postgres::Postgres;
use crate::harness::sipp::{CARRIER_IP, CENTRE_IP, Scenario, Sipp, carrier, centre};
use crate::harness::site::ROLE;
use crate::harness::trace::Dialog;

/// Whom the sandbox lets Asterisk run as when root starts it.
const NOBODY: u32 = 65_534;

/// The site.
pub(super) struct Neighbour {
    pub(super) dir: TempDir,
    pub(super) ports: Ports,
    pub(super) controller: Controller,
    /// Asterisk's configuration folder.
    pub(super) etc: PathBuf,
    /// Asterisk's program.
    program: PathBuf,
    sip: String,
    asterisk: Option<Child>,
    /// The call centre of ours, and the site's own phone.
    pub(super) alpha: Sipp,
    pub(super) phone: Sipp,
    _database: Option<Postgres>,
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            println!("the logs of this site are kept in {}", self.dir.path().display());
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

impl Neighbour {
    /// Lays the site out and starts its Asterisk; the controller's data is there, and nothing of ours is in Asterisk's folder.
    pub(super) async fn new(layout: Layout) -> Self {
        Self::with(layout, None).await
    }

    /// The same, with the controller's database, and the call centres' tables in it, in PostgreSQL.
    pub(super) async fn with(layout: Layout, database: Option<Postgres>) -> Self {
        let dir = tempfile::Builder::new().prefix("capconduit-").permissions(Permissions::from_mode(0o755)).tempdir();
        let dir = dir.expect("the temporary folder can be written");
        let ports = Ports::take();
        let (http, sip) = (ports.one(), ports.one());
        let alpha = Sipp::centre(dir.path(), &ports, "alpha", &centre::answer(), (CENTRE_IP, ports.one())).await;
        let phone = Sipp::centre(dir.path(), &ports, "phone", &centre::answer(), (CENTRE_IP, ports.one())).await;
        let etc = dir.path().join("etc");
        for folder in ["etc", "run", "log/cdr-csv", "spool", "var"] {
            fs::create_dir_all(dir.path().join(folder)).expect("the test's folder takes a folder");
        }
        if layout != Layout::Stock {
            few_modules(&dir.path().join("modules"));
        }
        let site = Site { dir: dir.path(), http, sip, phone: phone.port, media: ports.run(80) };
        for (name, text) in site.files(layout) {
            fs::write(etc.join(name), text).expect("the test's folder takes a file");
        }
        let program = dir.path().join("asterisk");
        let written = Command::new(sandbox()).arg("program").arg(&program).status();
        assert!(written.is_ok_and(|status| status.success()), "there is no Asterisk");
        hand_over(dir.path());
        let file = |name: &str| dir.path().join(name).display().to_string();
        let mut settings = Settings {
            database: format!("url = \"sqlite://{}\"", file("data/capconduit.db")),
            realtime: format!("mode = \"sqlite\"\npath = \"{}\"", file("data/realtime/realtime.db")),
            ..Settings::default()
        };
        if let Some(database) = &database {
            database.psql(ROLE);
            settings.database = format!("url = \"{}\"", database.url());
            settings.realtime = "mode = \"postgres\"".to_owned();
        }
        let address = Address {
            name: "pbx".to_owned(),
            url: format!("http://127.0.0.1:{http}"),
            keys: String::new(),
            spool: dir.path().join("spool/capconduit/fallback.log"),
        };
        let controller = Controller::new(dir.path(), ports.one(), &settings, &[address]);
        let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", super::DID, "").link("alpha", "");
        controller.run(&["migrate"]).await;
        if let Some(database) = &database {
            database.psql("GRANT SELECT ON ps_endpoints, ps_aors, ps_auths, ps_endpoint_id_ips TO asterisk");
        }
        controller.apply(&plan.toml()).await;
        let sip = format!("127.0.0.1:{sip}");
        let mut site =
            Self { dir, ports, controller, etc, program, sip, asterisk: None, alpha, phone, _database: database };
        site.start().await;
        site
    }

    /// Starts Asterisk, and waits until it has booted.
    pub(super) async fn start(&mut self) {
        let configuration = self.etc.join("asterisk.conf").display().to_string();
        let log = self.dir.path().join("asterisk.log");
        self.asterisk = Some(Child::spawn("Asterisk", &log, &self.program, &["-f", "-C", &configuration]));
        let booted = timeout(LIMIT, async {
            while !self.ask("core waitfullybooted").contains("fully booted") {
                self.asterisk.as_mut().expect("it was started").assert_alive();
                sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(booted.await.is_ok(), "Asterisk does not boot");
    }

    /// Asterisk's own process.
    pub(super) fn asterisk(&mut self) -> &mut Child {
        self.asterisk.as_mut().expect("it was started")
    }

    /// Ends Asterisk and starts it anew.
    pub(super) async fn restart(&mut self) {
        self.asterisk().signal("TERM");
        self.asterisk().wait(LIMIT).await;
        self.start().await;
    }

    /// One command on its console.
    pub(super) fn ask(&self, command: &str) -> String {
        let configuration = self.etc.join("asterisk.conf");
        let output = Command::new(&self.program).arg("-C").arg(configuration).args(["-rx", command]).output();
        String::from_utf8_lossy(&output.expect("the program runs").stdout).into_owned()
    }

    /// `capconduit asterisk …`: whether it succeeded, and what it said.
    pub(super) async fn asterisk_command(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = self.command(arguments);
        let Output { status, stdout, stderr } = command.output().await.expect("the program runs");
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.success(), said)
    }

    /// The same, not run yet.
    pub(super) fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let (etc, program) = (self.etc.display().to_string(), self.program.display().to_string());
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_capconduit"));
        command.arg("asterisk").args(arguments).args(["--etc", &etc, "--program", &program]);
        command.current_dir(self.dir.path()).kill_on_drop(true);
        command
    }

    /// Fails the test with what it said, unless it succeeds.
    pub(super) async fn must(&self, arguments: &[&str]) -> String {
        let (ok, said) = self.asterisk_command(arguments).await;
        assert!(ok, "capconduit asterisk {}:\n{said}", arguments.join(" "));
        said
    }

    /// The carrier whose calls are all ours, in the file for it.
    pub(super) fn carrier(&self) {
        let text = format!(
            "[carrier-1](capconduit-carrier)\n[carrier-1-identify]\ntype = identify\nendpoint = carrier-1\nmatch = {CARRIER_IP}\n"
        );
        fs::write(self.etc.join("capconduit.d/site_pjsip.conf"), text).expect("it is there");
        self.ask("module reload res_pjsip.so res_pjsip_endpoint_identifier_ip.so");
    }

    /// A file of the controller's is its own again, as it was before Asterisk's group shared it.
    pub(super) fn own(&self, file: &Path, mode: u32) {
        if is_root() {
            chown(file, None, Some(0)).expect("root may");
        }
        fs::set_permissions(file, Permissions::from_mode(mode)).expect("a file of ours");
    }

    /// Whether Asterisk runs as another user than the controller.
    pub(super) fn is_apart(&self) -> bool {
        is_root()
    }

    /// What ARI answers our user who asks from an address.
    pub(super) async fn ari_from(&self, address: &str) -> u16 {
        let http = reqwest::Client::builder().local_address(address.parse::<std::net::IpAddr>().ok()).build();
        let url = format!("{}/ari/asterisk/ping", self.controller.nodes()[0]);
        let request = http.expect("a client").get(url).basic_auth(ARI_USER, Some(ARI_PASSWORD));
        request.send().await.expect("it answers").status().as_u16()
    }

    /// Every file below Asterisk's folder: its contents, mode and owner.
    pub(super) fn hashes(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, u32, u32)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.etc.clone()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
                let meta = fs::symlink_metadata(&path).expect("it is there");
                let bytes = if meta.is_dir() { Vec::new() } else { fs::read(&path).unwrap_or_default() };
                if meta.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path, (bytes, meta.mode(), meta.uid(), meta.gid()));
            }
        }
        found
    }

    /// Starts calls to a number from an address.
    pub(super) fn begin(&self, name: &str, scenario: &Scenario, ip: &'static str, calls: u32) -> Sipp {
        Sipp::calls(self.dir.path(), &self.ports, name, scenario, (ip, &self.sip), (calls, calls.min(10)))
    }

    /// One call and how it went.
    pub(super) async fn call(&self, name: &str, ip: &'static str, number: &str) -> Dialog {
        let scenario = carrier::call().set("did", number);
        let mut calls = self.begin(name, &scenario, ip, 1).finish(LIMIT).await;
        assert_eq!(calls.len(), 1, "{name}");
        calls.remove(0)
    }

    /// The site's own trunk calls the site's own phone.
    pub(super) async fn own_call(&self, name: &str) {
        let before = self.phone.trace.answered();
        let call = self.call(name, TRUNK_IP, "100").await;
        assert_eq!(call.outcome(), Some(200), "the site's own call, {name}: {call:?}");
        assert_eq!(self.phone.trace.answered(), before + 1, "{name}");
    }

    /// A carrier's call, and the site's trunk's, to a number of ours.
    pub(super) async fn our_calls(&self, name: &str) {
        for (ip, from) in [(CARRIER_IP, "carrier"), (TRUNK_IP, "trunk")] {
            let before = self.alpha.trace.answered();
            let call = self.call(&format!("{name}-{from}"), ip, super::DID).await;
            assert_eq!(
                call.outcome(),
                Some(200),
                "our call from the {from}, {name}: {call:?}\n{}",
                self.controller.log()
            );
            assert_eq!(self.alpha.trace.answered(), before + 1, "{name}");
        }
    }

    /// Rows of the site's CDR, where it has one.
    pub(super) fn cdr(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("log/cdr-csv/Master.csv")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What Asterisk has logged that is worse than a notice.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log/messages")).unwrap_or_default()
    }
}

/// Asterisk's user must be able to read and write.
fn hand_over(dir: &Path) {
    let mut found = vec![dir.join("etc"), dir.join("run"), dir.join("log"), dir.join("spool"), dir.join("var")];
    found.push(dir.join("log/cdr-csv"));
    found.extend(fs::read_dir(dir.join("etc")).into_iter().flatten().flatten().map(|entry| entry.path()));
    if dir.join("site.db").exists() {
        found.push(dir.join("site.db"));
    }
    for path in found {
        let mode = if path.is_dir() { 0o770 } else { 0o660 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a file of ours");
        if is_root() {
            chown(&path, None, Some(NOBODY)).expect("root may");
        }
    }
}
