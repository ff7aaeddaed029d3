//! PURE: what of a configuration that is read anew comes into force at once, and what only a restart brings.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::settings::Setting;
use super::{Api, Auth, Calls, Config, Limits, Log, Node};

/// Keys that changed, as `section.key`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// In force now.
    pub(crate) at_once: Vec<String>,
    /// In force after a restart.
    pub(crate) at_restart: Vec<String>,
}

/// Whether a key comes into force at once. What [`Config::reloaded`] takes over is the same.
fn is_at_once(section: &str, key: &str) -> bool {
    match section {
        "breaker" | "rejections" | "sip" | "internal" | "policy" => true,
        "calls" => key != "event_queue",
        "limits" => key != "stream_backlog",
        "log" => key == "filter",
        "api" => matches!(key, "requests_per_second" | "burst" | "cors_origins" | "metrics_token"),
        "auth" => key == "tokens_per_user",
        nodes => nodes.starts_with("asterisk") && key == "password",
    }
}

impl Config {
    /// This configuration with what of `new` comes into force at once.
    pub(crate) fn reloaded(&self, new: &Self) -> Self {
        let (old, new) = (self.clone(), new.clone());
        Self {
            sip: new.sip,
            internal: new.internal,
            policy: new.policy,
            breaker: new.breaker,
            rejections: new.rejections,
            calls: Calls { event_queue: old.calls.event_queue, ..new.calls },
            limits: Limits { stream_backlog: old.limits.stream_backlog, ..new.limits },
            log: Log { filter: new.log.filter, ..old.log },
            api: Api {
                requests_per_second: new.api.requests_per_second,
                burst: new.api.burst,
                cors_origins: new.api.cors_origins,
                metrics_token: new.api.metrics_token,
                ..old.api
            },
            auth: Auth { tokens_per_user: new.auth.tokens_per_user, ..old.auth },
            nodes: passwords(old.nodes, &new.nodes),
            ..old
        }
    }

    /// Each secret by its key.
    fn secrets(&self) -> BTreeMap<(String, String), &SecretString> {
        let one = |section: &str, key: &str| (section.to_owned(), key.to_owned());
        let optional = [
            (one("api", "metrics_token"), self.api.metrics_token.as_ref()),
            (one("auth", "key"), self.auth.key.as_ref()),
            (one("auth", "admin_password"), self.auth.admin_password.as_ref()),
            (one("internal", "log_call_token"), self.internal.log_call_token.as_ref()),
            (one("database", "url"), Some(&self.database.url)),
        ];
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.map(|(index, node)| (one(&format!("asterisk[{index}]"), "password"), &node.password));
        optional.into_iter().filter_map(|(key, secret)| Some((key, secret?))).chain(nodes).collect()
    }
}

/// The nodes with their new passwords, where they are the same ones.
fn passwords(old: Vec<Node>, new: &[Node]) -> Vec<Node> {
    let mut new = new.iter();
    let taken = |mut node: Node| {
        if let Some(new) = new.next().filter(|new| new.name == node.name) {
            node.password = new.password.clone();
        }
        node
    };
    old.into_iter().map(taken).collect()
}

/// What is another than before.
pub(crate) fn changes(before: (&Config, &[Setting]), after: (&Config, &[Setting])) -> Changes {
    let shown = |settings: &[Setting]| -> BTreeMap<(String, String), Option<String>> {
        settings.iter().map(|it| ((it.section.clone(), it.key.clone()), it.value.clone())).collect()
    };
    let (old, new) = (shown(before.1), shown(after.1));
    let (old_secrets, new_secrets) = (before.0.secrets(), after.0.secrets());
    let same_nodes = before.0.nodes.iter().map(|node| &node.name).eq(after.0.nodes.iter().map(|node| &node.name));
    let mut keys: Vec<&(String, String)> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut changes = Changes::default();
    for key in keys {
        let secret = |secrets: &BTreeMap<_, &SecretString>| secrets.get(key).map(|it| it.expose_secret().to_owned());
        if old.get(key) == new.get(key) && secret(&old_secrets) == secret(&new_secrets) {
            continue;
        }
        let (section, name) = (&key.0, &key.1);
        let at_once = is_at_once(section, name) && (same_nodes || !section.starts_with("asterisk"));
        let list = if at_once { &mut changes.at_once } else { &mut changes.at_restart };
        list.push(format!("{section}.{name}"));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::super::tests::sources;
    use super::*;

    const BEFORE: &str = "[log]\nfilter = \"info\"\n[api]\nmetrics_token = \"0123456789abcdef0123456789abcdef\"\n\
        [[asterisk]]\nname = \"pbx\"\npassword = \"one\"\n";

    fn read(text: &str) -> (Config, Vec<Setting>) {
        let sources = sources(text, &[]);
        (sources.config().expect("valid"), sources.examine().expect("TOML").0)
    }

    fn changed(text: &str) -> (Changes, Config) {
        let (before, after) = (read(BEFORE), read(text));
        (changes((&before.0, &before.1), (&after.0, &after.1)), before.0.reloaded(&after.0))
    }

    #[test]
    fn nothing_changed_is_no_change() {
        assert_eq!(changed(BEFORE).0, Changes::default());
    }

    #[test]
    fn what_is_told_to_be_in_force_is_and_nothing_else() {
        let text = "[log]\nfilter = \"debug\"\nformat = \"json\"\n[api]\nlisten = \"127.0.0.1:9\"\nburst = 7\n\
            metrics_token = \"another_one_of_32_bytes_or_more_!\"\n[calls]\nmax_live = 3\nevent_queue = 2048\n\
            [limits]\nstreams = 9\nstream_backlog = 9\n[rejections]\nall_full = 480\n[breaker]\nclient_failures = 2\n\
            [sip]\ncarriers = [\"192.0.2.0/24\"]\n[[asterisk]]\nname = \"pbx\"\npassword = \"two\"\nuser = \"other\"\n";
        let (changes, now) = changed(text);
        let at_once = [
            "api.burst",
            "api.metrics_token",
            "asterisk[0].password",
            "breaker.client_failures",
            "calls.max_live",
            "limits.streams",
            "log.filter",
            "rejections.all_full",
            "sip.carriers",
        ];
        assert_eq!(changes.at_once, at_once);
        let at_restart = ["api.listen", "asterisk[0].user", "calls.event_queue", "limits.stream_backlog", "log.format"];
        assert_eq!(changes.at_restart, at_restart);
        assert_eq!((now.calls.max_live, now.limits.streams, now.rejections.all_full, now.api.burst), (3, 9, 480, 7));
        assert_eq!((now.log.filter.as_str(), now.sip.carriers.len(), now.breaker.client.failures), ("debug", 1, 2));
        assert_eq!(now.nodes[0].password.expose_secret(), "two");
        let before = read(BEFORE).0;
        assert_eq!((now.api.listen, now.calls.event_queue), (before.api.listen, before.calls.event_queue));
        assert_eq!((now.nodes[0].user.as_str(), now.log.format), (before.nodes[0].user.as_str(), before.log.format));
        assert_eq!(now.limits.stream_backlog, before.limits.stream_backlog);
    }

    #[test]
    fn other_nodes_are_a_matter_of_a_restart() {
        let (changes, now) = changed(
            "[api]\nmetrics_token = \"0123456789abcdef0123456789abcdef\"\n\
             [[asterisk]]\nname = \"other\"\npassword = \"two\"\n",
        );
        assert_eq!(changes.at_restart, ["asterisk[0].name", "asterisk[0].password"]);
        assert_eq!((now.nodes[0].name.as_str(), now.nodes[0].password.expose_secret()), ("pbx", "one"));
        assert!(changes.at_once.is_empty(), "{changes:?}");
    }

    /// Whatever section somebody adds is looked at here.
    #[test]
    fn every_section_was_thought_of() {
        let sections: std::collections::BTreeSet<String> =
            read(BEFORE).1.into_iter().map(|it| it.section.split('[').next().unwrap_or_default().to_owned()).collect();
        let known = [
            "api",
            "asterisk",
            "auth",
            "breaker",
            "calls",
            "data",
            "database",
            "internal",
            "journal",
            "limits",
            "log",
            "policy",
            "realtime",
            "rejections",
            "sip",
        ];
        assert_eq!(sections.into_iter().collect::<Vec<_>>(), known);
    }
}
