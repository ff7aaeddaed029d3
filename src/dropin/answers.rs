//! PURE: what the running Asterisk says on its console (22.10.1).

use std::collections::{BTreeMap, BTreeSet};

/// The running Asterisk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// Major, minor and patch.
    pub(super) version: Option<(u32, u32, u32)>,
    /// The folder that it reads.
    pub(super) folder: String,
    pub(super) module_folder: String,
    pub(super) spool_folder: String,
    pub(super) pid_file: String,
    /// For how many seconds it has run.
    pub(super) uptime: Option<u64>,
    /// The modules that run.
    pub(super) modules: BTreeSet<String>,
    /// Whether an ARI user can be limited to addresses; `None` where that is not known, for ARI does not run.
    pub(super) ari_acl: Option<bool>,
}

impl Running {
    /// By `core show settings`, `core show uptime seconds`, `module show` and `ari show users`.
    pub(super) fn of(settings: &str, uptime: &str, modules: &str, users: &str) -> Self {
        let values: BTreeMap<&str, &str> = settings
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let value = |key: &str| values.get(key).map(|value| (*value).to_owned()).unwrap_or_default();
        Self {
            version: version(&value("Version")),
            folder: value("Configuration directory"),
            module_folder: value("Module directory"),
            spool_folder: value("Spool directory"),
            pid_file: value("PID file"),
            uptime: uptime.lines().find_map(|line| line.strip_prefix("System uptime:")?.trim().parse().ok()),
            modules: self::modules(modules),
            ari_acl: users.contains("Username").then(|| users.contains("ACL?")),
        }
    }
}

/// Of `22.10.1+dfsg…` or `Asterisk 22.10.1 built by …`.
pub(super) fn version(text: &str) -> Option<(u32, u32, u32)> {
    let text = text.trim().trim_start_matches("Asterisk").trim_start();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.split('.');
    let mut next = || numbers.next().map(|number| number.parse().ok());
    Some((next()??, next().flatten().unwrap_or(0), next().flatten().unwrap_or(0)))
}

/// Of `module show`.
fn modules(text: &str) -> BTreeSet<String> {
    let running = text.lines().filter(|line| line.contains(" Running ") && !line.contains("Not Running"));
    running
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.ends_with(".so"))
        .map(str::to_owned)
        .collect()
}

/// Of `dialplan show NAME`.
pub(super) fn has_context(text: &str) -> bool {
    text.contains("[ Context '")
}

/// Of `dialplan show globals`.
pub(super) fn globals(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.trim_start().split_once('=')).collect()
}

/// Of `http show status`: where it listens.
pub(super) fn http(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.trim().strip_prefix("Server Enabled and Bound to "))
}

/// Of `ari show users`.
pub(super) fn users(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().skip_while(|line| !line.starts_with("----")).skip(1);
    lines.filter_map(|line| line.split_whitespace().next_back()).collect()
}

/// Of `core show config mappings`: the families of realtime.
pub(super) fn families(text: &str) -> BTreeSet<String> {
    let names =
        text.lines().filter_map(|line| line.trim().strip_prefix("===> ")?.split_once(" (")).map(|(name, _)| name);
    names.map(str::to_ascii_lowercase).collect()
}

/// Of `pjsip show endpoint NAME`: its context, where there is one of the name.
pub(super) fn context_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "context").then_some(value.trim())
    })
}

/// Of `realtime load …`: whether there was a row; `None` where that cannot be asked.
pub(super) fn has_row(text: &str) -> Option<bool> {
    if text.contains("Column Value") {
        return Some(true);
    }
    text.contains("No rows found").then_some(false)
}

/// Of `core show channels concise`: the channels that are in our dialplan or application.
pub(super) fn our_channels<'a>(text: &'a str, app: &str) -> Vec<&'a str> {
    let app = format!("{app}-");
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split('!').collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or_default();
        at(1).starts_with("capconduit-") || at(5).eq_ignore_ascii_case("Stasis") && at(6).starts_with(&app)
    };
    text.lines().filter(is_ours).filter_map(|line| line.split('!').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_asterisk_says_who_it_is() {
        let settings = "\nPBX Core settings\n-----------------\n  Version:                     22.10.1+dfsg+~cs6.17.60671434-1\n  \
                        Configuration directory:     /etc/asterisk\n  Module directory:            /usr/lib/asterisk/modules\n  \
                        Spool directory:             /var/spool/asterisk\n  PID file:                    /run/asterisk/asterisk.pid\n";
        let modules = "Module                         Description                              Use Count  Status      Support Level\n\
                       app_cdr.so                     Tell Asterisk to not maintain a CDR for  0          Running              core\n\
                       cdr                            CDR Engine                               12         Running              core\n\
                       cdr_pgsql.so                   PostgreSQL CDR Backend                   0          Not Running      extended\n";
        let running = Running::of(settings, "System uptime: 19\nLast reload: 19\n", modules, "r/o?  ACL?  Username\n");
        assert_eq!((running.version, running.uptime), (Some((22, 10, 1)), Some(19)));
        assert_eq!(
            (running.folder.as_str(), running.pid_file.as_str()),
            ("/etc/asterisk", "/run/asterisk/asterisk.pid")
        );
        assert_eq!(running.modules, BTreeSet::from(["app_cdr.so".to_owned()]));
        assert_eq!(running.ari_acl, Some(true));
        for (text, expected) in [
            ("Asterisk 20.6.0~dfsg-1 built by x", Some((20, 6, 0))),
            ("Asterisk certified/20.7-cert1", None),
            ("23.0", Some((23, 0, 0))),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn answers_are_read() {
        assert!(has_context("[ Context 'capconduit-inbound' created by 'pbx_config' ]\n"));
        assert!(!has_context("There is no existence of 'capconduit-inbound' context\n"));
        let globals = globals("   CAPCONDUIT_APP=capconduit\n   CAPCONDUIT_LAST_RESORT=\n\n  -- 2 variables\n");
        assert_eq!((globals["CAPCONDUIT_APP"], globals["CAPCONDUIT_LAST_RESORT"]), ("capconduit", ""));
        assert_eq!(http("HTTP Server Status:\nServer Enabled and Bound to 127.0.0.1:8088\n"), Some("127.0.0.1:8088"));
        assert_eq!(http("Server Disabled\n"), None);
        assert_eq!(
            users("r/o?  ACL?  Username\n----  ----  --------\nNo    No    capconduit\n"),
            BTreeSet::from(["capconduit"])
        );
        assert_eq!(users("r/o?  Username\n----  --------\nYes   x\n"), BTreeSet::from(["x"]));
        assert_eq!(
            families("Config Engine: sqlite3\n===> Capconduit_aors (db=capconduit, table=ps_aors)\n"),
            BTreeSet::from(["capconduit_aors".to_owned()])
        );
        assert_eq!(
            context_of(" context                            : capconduit-clients\n"),
            Some("capconduit-clients")
        );
        assert_eq!(context_of("Unable to find object north.\n"), None);
        assert_eq!(has_row("   Column Name  Column Value\n"), Some(true));
        assert_eq!(has_row("No rows found matching search criteria.\n"), Some(false));
        assert_eq!(has_row("No such command 'realtime load'\n"), None);
        let channels = "PJSIP/100-1!site!100!1!Up!Dial!PJSIP/101!x\nPJSIP/t-2!capconduit-inbound!+44!1!Up!Stasis!capconduit-1,inbound!y\n\
                        PJSIP/a-3!from!s!1!Up!Stasis!capconduit-2,leg!z\nPJSIP/b-4!from!s!1!Up!Stasis!other-1!z\n";
        assert_eq!(our_channels(channels, "capconduit"), ["PJSIP/t-2", "PJSIP/a-3"]);
    }
}
