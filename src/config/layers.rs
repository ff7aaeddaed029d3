//! Reads the layers (file, environment) and merges them into one tree of values.

use std::ffi::OsString;
use std::path::Path;

use config::{File, FileFormat, Map, Value};

use super::fault::{Fault, Faults};
use super::{Config, sections};

/// Read when no `--config` is given and it exists.
const DEFAULT_FILE: &str = "capconduit.toml";

/// What every environment variable of ours begins with.
const PREFIX: &str = "CAPCONDUIT__";

/// Variables of the same look that others read: the sandboxed Asterisk and the set-up scripts.
const OTHERS: &[&str] = &["CAPCONDUIT_CACHE", "CAPCONDUIT_SANDBOX_OWN", "CAPCONDUIT_SANDBOX_USER"];

/// The one section that is a list, and how many entries the environment may name: an index is an allocation.
const LIST: &str = "asterisk";
const MAX_INDEX: usize = 63;

impl Config {
    /// Loads and checks the configuration: `file` (default `capconduit.toml`, if there is one), then the environment.
    ///
    /// # Errors
    /// All faults at once: an unreadable file, unknown keys, bad values, unreachable paths.
    pub fn load(file: Option<&Path>) -> Result<Self, Faults> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => None,
            Err(error) => {
                let fault = format!("cannot be read: {error}; --config takes a readable TOML file");
                return Err(Faults(vec![Fault::new(path.display().to_string(), fault)]));
            }
        };
        Self::from_layers(text.as_deref().map(|text| (path, text)), std::env::vars_os())
    }

    /// Loads from a file's text and an explicit environment; what [`Config::load`] does after reading both.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_layers(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Faults> {
        let name = file.map_or_else(|| DEFAULT_FILE.to_owned(), |(path, _)| path.display().to_string());
        let mut faults = Vec::new();
        let tree = merge(&name, file.map_or("", |(_, text)| text), environment, &mut faults)?;
        let config = sections::read(tree, &name, &mut faults);
        Faults::none_or(faults).map(|()| config)
    }
}

/// One sentence for each variable that looks like ours but is not read, such as `CAPCONDUIT_API__LISTEN`: most likely a setting without
/// effect. No fault, because it may belong to something else. Its value is not shown.
#[must_use]
pub fn unread_variables(environment: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let unread = |variable: OsString| {
        let variable = variable.into_string().ok()?;
        let unread = variable.starts_with("CAPCONDUIT_")
            && !variable.starts_with(PREFIX)
            && !OTHERS.contains(&variable.as_str());
        unread.then(|| {
            format!("the environment variable {variable} is not read: a setting is named {PREFIX}SECTION__KEY, with two underscores each")
        })
    };
    let mut sentences: Vec<String> = environment.into_iter().filter_map(unread).collect();
    sentences.sort();
    sentences
}

fn merge(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Vec<Fault>,
) -> Result<Map<String, Value>, Faults> {
    let fatal = |text: String| Faults(vec![Fault::new(name, text)]);
    // Checked here first because the crate `config` quotes the faulty line, which may hold a password.
    if let Err(error) = text.parse::<toml::Table>() {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        return Err(fatal(format!("line {line} is not valid TOML: {}", error.message())));
    }
    let mut builder = config::Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    for (variable, value) in environment {
        // A name that is not Unicode cannot be ours.
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        match (path_of(variable), value.into_string()) {
            (Err(text), _) => faults.push(Fault::new(variable, text)),
            (_, Err(_)) => faults.push(Fault::new(variable, "is not valid UTF-8")),
            (Ok(path), Ok(value)) => {
                let value = Value::new(Some(&variable.to_owned()), value);
                builder =
                    builder.set_override(path, value).map_err(|_| fatal(format!("cannot be merged: {variable}")))?;
            }
        }
    }
    let merged = builder.build().map_err(|_| fatal("cannot be merged with the environment".to_owned()))?;
    merged.cache.into_table().map_err(|_| fatal("is not a TOML table".to_owned()))
}

/// `CAPCONDUIT__CALLS__MAX_LIVE` is `calls.max_live`; `CAPCONDUIT__ASTERISK__0__URL` is `asterisk[0].url`.
fn path_of(variable: &str) -> Result<String, String> {
    let name = variable[PREFIX.len()..].to_ascii_lowercase();
    let parts: Vec<&str> = name.split("__").collect();
    let plain = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match parts.as_slice() {
        [LIST, index, rest @ ..] if matches!(rest.len(), 1 | 2) && rest.iter().all(plain) => {
            match index.parse::<usize>() {
                Ok(index) if index <= MAX_INDEX => Ok(format!("{LIST}[{index}].{}", rest.join("."))),
                _ => Err(format!("has {index:?} for the number of its [[asterisk]] entry: use 0 to {MAX_INDEX}")),
            }
        }
        [section, key] if *section != LIST && plain(section) && plain(key) => Ok(format!("{section}.{key}")),
        _ => Err(format!("names no setting: use {PREFIX}SECTION__KEY or {PREFIX}ASTERISK__0__KEY")),
    }
}
