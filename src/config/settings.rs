//! What is in force, key by key, and where it comes from: what `capconduit config show` prints.

use super::fault::Fault;

/// One key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its section as it is headed: `calls`, `asterisk[0]`.
    pub section: String,
    /// Its name there.
    pub key: String,
    /// What is in force, as TOML; a secret is `"***"`. `None`: it is not set, and has no default.
    pub value: Option<String>,
    /// Where it was set: files, environment variables, or `default`.
    pub origin: String,
}

/// What reading a configuration has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) faults: Vec<Fault>,
    pub(super) settings: Vec<Setting>,
}

/// What is shown of a secret.
pub(super) const HIDDEN: &str = "\"***\"";

/// The origin of what nobody has set.
pub(super) const DEFAULT: &str = "default";

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The settings as a TOML file, in the order in which they were read, each with its origin; those that are refused say so.
#[must_use]
pub fn render(settings: &[Setting], faults: &[Fault]) -> String {
    let (mut text, mut section) = (String::new(), "");
    for setting in settings {
        if setting.section != section {
            let blank = if section.is_empty() { "" } else { "\n" };
            section = &setting.section;
            let head =
                section.split_once('[').map_or_else(|| format!("[{section}]"), |(list, _)| format!("[[{list}]]"));
            text += &format!("{blank}{head}\n");
        }
        text += &line(setting, faults);
        text.push('\n');
    }
    text
}

fn line(Setting { section, key, value, origin }: &Setting, faults: &[Fault]) -> String {
    let name = format!("{section}.{key}");
    let ours = |rest: &str| rest.is_empty() || rest == "_file" || rest.starts_with(['.', '[']);
    let of_it = |fault: &Fault| fault.key.strip_prefix(&name).is_some_and(ours);
    match value {
        _ if faults.iter().any(of_it) => format!("# {key} is refused"),
        Some(value) => format!("{key} = {value}  # {origin}"),
        None => format!("# {key} is not set"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CANARY, sources};
    use super::*;

    fn shown(text: &str, environment: &[(&str, &str)]) -> (String, Vec<Fault>) {
        let (settings, faults) = sources(text, environment).examine().unwrap();
        (render(&settings, &faults), faults)
    }

    #[test]
    fn every_key_is_shown_with_what_is_in_force_and_where_it_comes_from() {
        let file = "[data]\ndir = \"/tmp\"\n[calls]\nmax_live = 10\ndrain_seconds = 2.5\n\
            [[asterisk]]\npassword = \"x\"\nprefix_rules = { \"00\" = \"+\" }\n[sip]\ncarriers = [\"192.0.2.0/24\"]\n";
        let environment = [
            ("CAPCONDUIT__CALLS__MAX_LIVE", "20"),
            ("CAPCONDUIT__ASTERISK__0__PREFIX_RULES__0044", "+44"),
            ("CAPCONDUIT__LOG__FORMAT", "json"),
        ];
        let (text, faults) = shown(file, &environment);
        assert!(faults.is_empty(), "{faults:?}");
        for line in [
            "dir = \"/tmp\"  # test.toml",
            "url = \"sqlite:///tmp/capconduit.db\"  # default",
            "path = \"/tmp/realtime/realtime.db\"  # default",
            "listen = \"127.0.0.1:8080\"  # default",
            "# metrics_listen is not set",
            "log_call_from = [\"127.0.0.0/8\", \"::1\"]  # default",
            "carriers = [\"192.0.2.0/24\"]  # test.toml",
            "legacy_time_zone = \"UTC\"  # default",
            "format = \"json\"  # CAPCONDUIT__LOG__FORMAT",
            "max_live = 20  # CAPCONDUIT__CALLS__MAX_LIVE",
            "drain_seconds = 2.5  # test.toml",
            "client_pause_max_seconds = 60  # default",
            "transport = \"auto\"  # default",
            "prefix_rules = { \"00\" = \"+\", \"0044\" = \"+44\" }  # test.toml and CAPCONDUIT__ASTERISK__0__PREFIX_RULES__0044",
            "sellers_may_create_dids = true  # default",
            "password = \"***\"  # test.toml",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }

    /// So nothing is forgotten, and what is shown says the same as what was read.
    #[test]
    fn what_is_shown_holds_every_key_of_the_example_and_reads_as_the_same() {
        let (text, _) = shown("", &[]);
        let shown: toml::Table = text.parse().unwrap();
        let example: toml::Table = include_str!("../../capconduit.example.toml").parse().unwrap();
        for (section, keys) in &example {
            let first = |value: &toml::Value| value.as_array().map_or_else(|| value.clone(), |list| list[0].clone());
            let (keys, found) = (first(keys), first(&shown[section]));
            for key in keys.as_table().unwrap().keys() {
                assert!(found.get(key).is_some(), "{section}.{key} in\n{text}");
            }
        }
        let load = |text: &str| format!("{:?}", super::super::tests::load(text, &[]).unwrap());
        assert_eq!(load(&text), load(""));
    }

    #[test]
    fn no_secret_is_shown_and_a_file_that_holds_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, CANARY.repeat(4)).unwrap();
        let path = path.display().to_string();
        let url = format!("postgres://user:{CANARY}@db:5433/calls?password={CANARY}");
        let file = format!(
            "[database]\nurl = {url:?}\n[auth]\nkey_file = {path:?}\n[[asterisk]]\npassword_file = {path:?}\n\
             [internal]\nlog_call_token = {:?}\n",
            CANARY.repeat(4)
        );
        let (text, faults) = shown(&file, &[("CAPCONDUIT__API__METRICS_TOKEN", &CANARY.repeat(4))]);
        assert!(faults.is_empty() && !text.contains(CANARY), "{faults:?} {text}");
        for line in [
            "url = \"postgres://***@db:5433/calls\"  # test.toml".to_owned(),
            format!("key = \"***\"  # {path} (key_file in test.toml)"),
            format!("password = \"***\"  # {path} (password_file in test.toml)"),
            "metrics_token = \"***\"  # CAPCONDUIT__API__METRICS_TOKEN".to_owned(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn every_fault_is_told_and_its_key_is_not_shown_as_if_it_were_in_force() {
        let file = format!(
            "[calls]\nmax_live = \"{CANARY}\"\n[sip]\ncarriers = [\"x\"]\n[[asterisk]]\n[[asterisk]]\nname = \"b\"\napp = \"b\"\npassword_file = \"/nowhere/at/all\"\n"
        );
        let (text, faults) = shown(&file, &[]);
        for key in ["max_live", "carriers", "password"] {
            assert!(text.lines().any(|shown| shown == format!("# {key} is refused")), "{key} in\n{text}");
        }
        assert!(!text.contains(CANARY), "{text}");
        let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            ["sip.carriers[0]", "asterisk[1].password_file", "calls.max_live", "asterisk[0].password"],
            "a password that cannot be read is told once"
        );
    }
}
