//! The files of sites, as different people lay them out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capconduit::needs::MODULES;

use crate::harness::sipp::CENTRE_IP;

/// Where the site's own trunk calls from.
pub(super) const TRUNK_IP: &str = "127.0.0.3";
/// How the site is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The distribution's whole stock configuration, with own endpoints and dialplan.
    Stock,
    /// The main files include what FreePBX writes, and files for others.
    FreePbx,
    /// PJSIP objects in realtime of its own.
    Realtime,
    /// Only the modules that it names are loaded.
    AutoloadNo,
}

pub(super) fn sandbox() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk/sandbox/sandbox")
}

/// Where the distribution's own files are: configuration, modules, data.
fn stock() -> Option<[String; 3]> {
    let output = Command::new(sandbox()).arg("stock").output().expect("the sandbox runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.try_into().ok().filter(|_| output.status.success())
}

/// A small Asterisk that starts in a moment: what ours needs, and what a site has beside it.
pub(super) fn few_modules(folder: &Path) {
    const MORE: [&str; 7] = [
        "res_config_sqlite3",
        "res_config_pgsql",
        "res_realtime",
        "func_cdr",
        "cdr_csv",
        "res_timing_timerfd",
        "res_crypto",
    ];
    let Some([_, all, _]) = stock() else { return };
    fs::create_dir(folder).expect("the test's folder takes a folder");
    let needed = MODULES.lines().filter_map(|line| line.strip_prefix("load = ")?.split_whitespace().next());
    for name in needed.map(str::to_owned).chain(MORE.map(|name| format!("{name}.so"))) {
        let module = Path::new(&all).join(&name);
        if module.exists() {
            // Twice is as good as once.
            let _ = std::os::unix::fs::symlink(module, folder.join(name));
        }
    }
}

/// What the files of a site depend on.
pub(super) struct Site<'a> {
    pub(super) dir: &'a Path,
    pub(super) http: u16,
    pub(super) sip: u16,
    pub(super) phone: u16,
    pub(super) media: u16,
}

impl Site<'_> {
    pub(super) fn files(&self, layout: Layout) -> BTreeMap<String, String> {
        let mut files = self.common();
        match layout {
            Layout::Stock => self.stock(&mut files),
            Layout::FreePbx => self.freepbx(&mut files),
            Layout::Realtime => self.realtime(&mut files),
            Layout::AutoloadNo => autoload_no(&mut files),
        }
        files
    }

    fn common(&self) -> BTreeMap<String, String> {
        let dir = self.dir.display();
        let few = self.dir.join("modules");
        let program = stock().map(|[_, all, data]| {
            let modules = if few.exists() { few.display().to_string() } else { all };
            format!("astmoddir = {modules}\nastdatadir = {data}\n")
        });
        let directories = format!(
            "[directories]\nastetcdir = {dir}/etc\nastrundir = {dir}/run\nastlogdir = {dir}/log\nastspooldir = {dir}/spool\n\
             astvarlibdir = {dir}/var\nastdbdir = {dir}/var\nastkeydir = {dir}/var\n{}[options]\nverbose = 2\n",
            program.unwrap_or_default()
        );
        let files = [
            ("asterisk.conf", directories),
            ("logger.conf", "[general]\n[logfiles]\nmessages => notice,warning,error\n".to_owned()),
            ("rtp.conf", format!("[general]\nrtpstart={}\nrtpend={}\n", self.media, self.media + 79)),
            ("modules.conf", "[modules]\nautoload=yes\nnoload => chan_iax2.so\nnoload => pbx_dundi.so\n".to_owned()),
            ("http.conf", format!("[general]\nbindaddr=127.0.0.1\nbindport={}\n", self.http)),
            ("ari.conf", "[general]\nenabled = yes\n".to_owned()),
            ("pjsip.conf", format!("{}{}", self.transport(), self.endpoints())),
            ("extensions.conf", format!("[general]\nstatic=yes\n[globals]\nOWN=yes\n{DIALPLAN}")),
            ("cdr.conf", "[general]\nenable=yes\n[csv]\nusegmtime=yes\n".to_owned()),
        ];
        files.map(|(name, text)| (name.to_owned(), text)).into()
    }

    fn transport(&self) -> String {
        format!("[transport-udp]\ntype=transport\nprotocol=udp\nbind=127.0.0.1:{}\n", self.sip)
    }

    /// A phone and a trunk.
    fn endpoints(&self) -> String {
        format!(
            "[phone](!)\ntype=endpoint\ncontext=site\ndisallow=all\nallow=ulaw,alaw\n[100](phone)\naors=100\n\
             [100]\ntype=aor\ncontact=sip:100@{CENTRE_IP}:{}\n{}",
            self.phone,
            trunk()
        )
    }

    /// All that the distribution brings, with the site's own behind it.
    fn stock(&self, files: &mut BTreeMap<String, String>) {
        let own = std::mem::take(files);
        if let Some([folder, ..]) = stock() {
            for entry in fs::read_dir(folder).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.insert(name, fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        let keep = |name: &str| files.get(name).cloned().unwrap_or_default();
        let (pjsip, extensions, http) = (keep("pjsip.conf"), keep("extensions.conf"), keep("http.conf"));
        let modules =
            keep("modules.conf").replace("[global]", "noload => chan_iax2.so\nnoload => pbx_dundi.so\n[global]");
        for name in ["asterisk.conf", "rtp.conf", "logger.conf"] {
            files.insert(name.to_owned(), own[name].clone());
        }
        let more = |text: String, added: String| format!("{text}\n{added}");
        files.insert("modules.conf".to_owned(), if modules.is_empty() { own["modules.conf"].clone() } else { modules });
        files.insert("pjsip.conf".to_owned(), more(pjsip, own["pjsip.conf"].clone()));
        files.insert("extensions.conf".to_owned(), more(extensions, DIALPLAN.to_owned()));
        let general = if http.is_empty() { "[general]" } else { "[general](+)" };
        files.insert(
            "http.conf".to_owned(),
            more(http, format!("{general}\nbindaddr=127.0.0.1\nbindport={}\n", self.http)),
        );
    }

    /// After what writes it: main files that include.
    fn freepbx(&self, files: &mut BTreeMap<String, String>) {
        const HEAD: &str = "; Do NOT edit this file as it is auto-generated by FreePBX.\n";
        let mut set = |name: &str, text: &str| drop(files.insert(name.to_owned(), text.to_owned()));
        set(
            "extensions.conf",
            &format!(
                "{HEAD}#include extensions_override_freepbx.conf\n#include extensions_additional.conf\n#include extensions_custom.conf\n\
                 [from-trunk]\ninclude => from-pstn\n[from-pstn]\ninclude => from-pstn-custom\ninclude => ext-did\n"
            ),
        );
        set("extensions_override_freepbx.conf", "");
        set(
            "extensions_additional.conf",
            &format!(
                "{HEAD}[general]\n#include extensions_general_custom.conf\n[globals]\n#include globals_custom.conf\nOWN=yes\n\
                 [ext-did]\nexten => 100,1,Dial(PJSIP/100)\n[site]\nexten => 100,1,Dial(PJSIP/100)\n"
            ),
        );
        for empty in ["extensions_general_custom.conf", "globals_custom.conf", "pjsip_custom.conf", "http_custom.conf"]
        {
            set(empty, "");
        }
        set("extensions_custom.conf", "[from-pstn-custom]\nexten => _+X.,1,Goto(capconduit-inbound,${EXTEN},1)\n");
        set(
            "pjsip.conf",
            &format!(
                "{HEAD}#include pjsip_custom.conf\n#include pjsip.transports.conf\n#include pjsip.endpoint.conf\n[global]\ntype=global\n"
            ),
        );
        set("pjsip.transports.conf", &format!("{HEAD}{}", self.transport()));
        set("pjsip.endpoint.conf", &format!("{HEAD}{}", self.endpoints()));
        set("http.conf", &format!("{HEAD}#include http_additional.conf\n#include http_custom.conf\n"));
        let http =
            format!("{HEAD}[general]\nenabled=yes\nenablestatic=no\nbindaddr=127.0.0.1\nbindport={}\n", self.http);
        set("http_additional.conf", &http);
        set(
            "ari.conf",
            &format!(
                "{HEAD}[general]\n#include ari_general_additional.conf\n#include ari_general_custom.conf\n\n#include ari_additional.conf\n\
                 #include ari_additional_custom.conf\n"
            ),
        );
        set(
            "ari_general_additional.conf",
            "enabled=yes\npretty=no\nwebsocket_write_timeout=100\nallowed_origins=localhost:8088\n",
        );
        set("ari_additional.conf", "[freepbxuser]\ntype=user\npassword=secret\npassword_format=plain\nread_only=no\n");
        for empty in ["ari_general_custom.conf", "ari_additional_custom.conf"] {
            set(empty, "");
        }
    }

    /// The phone stands in tables of the site's own.
    fn realtime(&self, files: &mut BTreeMap<String, String>) {
        let path = self.dir.join("site.db");
        let tables = rusqlite::Connection::open(&path).expect("a file");
        let sql = format!(
            "CREATE TABLE ps_endpoints (id TEXT PRIMARY KEY, aors TEXT, context TEXT, disallow TEXT, allow TEXT);
             CREATE TABLE ps_aors (id TEXT PRIMARY KEY, contact TEXT);
             CREATE TABLE ps_auths (id TEXT PRIMARY KEY);
             CREATE TABLE ps_endpoint_id_ips (id TEXT PRIMARY KEY, endpoint TEXT, match TEXT);
             INSERT INTO ps_endpoints VALUES ('100', '100', 'site', 'all', 'ulaw,alaw'), ('trunk', NULL, 'from-trunk', 'all', 'ulaw,alaw');
             INSERT INTO ps_aors VALUES ('100', 'sip:100@{CENTRE_IP}:{}');
             INSERT INTO ps_endpoint_id_ips VALUES ('trunk', 'trunk', '{TRUNK_IP}');",
            self.phone
        );
        tables.execute_batch(&sql).expect("SQL of ours");
        let mut set = |name: &str, text: String| drop(files.insert(name.to_owned(), text));
        set("pjsip.conf", self.transport());
        set("res_config_sqlite3.conf", format!("[site]\ndbfile => {}", path.display()));
        let families =
            ["endpoints", "aors", "auths", "endpoint_id_ips"].map(|name| format!("ps_{name} => sqlite3,site\n"));
        set("extconfig.conf", format!("[settings]\n{}", families.concat()));
        set(
            "sorcery.conf",
            "[res_pjsip]\nendpoint=realtime,ps_endpoints\nendpoint=config,pjsip.conf,criteria=type=endpoint\naor=realtime,ps_aors\n\
             auth=realtime,ps_auths\n[res_pjsip_endpoint_identifier_ip]\nidentify=realtime,ps_endpoint_id_ips\n"
                .to_owned(),
        );
    }
}

/// Numbers of the site's own go to its phone, numbers of ours to us.
const DIALPLAN: &str = "[site]\nexten => 100,1,Dial(PJSIP/100)\n[from-trunk]\nexten => 100,1,Dial(PJSIP/100)\n\
                        exten => _+X.,1,Goto(capconduit-inbound,${EXTEN},1)\n";

fn trunk() -> String {
    format!(
        "[trunk]\ntype=endpoint\ncontext=from-trunk\ndisallow=all\nallow=ulaw,alaw\nidentify_by=ip\n\
         [trunk-identify]\ntype=identify\nendpoint=trunk\nmatch={TRUNK_IP}\n"
    )
}

/// What a small PBX needs: nothing of ARI, of realtime, and few functions.
fn autoload_no(files: &mut BTreeMap<String, String>) {
    let loads = MODULES.lines().filter(|line| line.starts_with("load = "));
    let loads = loads.filter(|line| {
        !["stasis", "ari", "func_", "realtime", "app_stack", "http"].iter().any(|part| line.contains(part))
    });
    let loads: Vec<&str> = loads.filter_map(|line| line.split(';').next()).map(str::trim).collect();
    files.insert(
        "modules.conf".to_owned(),
        format!("[modules]\nautoload=no\n{}\nload = res_timing_timerfd.so\n", loads.join("\n")),
    );
}
