//! Reads the layers (file, environment) and merges them into one tree of values.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Value, ValueKind};
use nix::unistd::{Uid, geteuid};

use super::Config;
use super::fault::{Fault, Faults};
use super::reader::Section;
use super::sections::{self, DATA_DIR};
use super::settings::{Found, Setting};

/// Where the file of an installation stands: what the packages bring, and what its service reads.
pub const SYSTEM_FILE: &str = "/etc/capconduit/capconduit.toml";

/// Where a file is looked for when no `--config` is given; the first one that exists is read.
const PLACES: [&str; 2] = ["capconduit.toml", SYSTEM_FILE];

/// What every environment variable of ours begins with.
const PREFIX: &str = "CAPCONDUIT__";

/// Variables of the same look that others read: the sandboxed Asterisk and the set-up scripts.
const OTHERS: &[&str] = &["CAPCONDUIT_CACHE", "CAPCONDUIT_SANDBOX_OWN", "CAPCONDUIT_SANDBOX_USER"];

/// The one section that is a list, and how many entries the environment may name: an index is an allocation.
const LIST: &str = "asterisk";
const MAX_INDEX: usize = 63;

/// What a configuration is made of: read, and not checked yet.
#[derive(Clone)]
pub struct Sources {
    file: Option<(PathBuf, String)>,
    environment: Vec<(OsString, OsString)>,
}

impl std::fmt::Debug for Sources {
    /// Without what they hold: there are secrets in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("file", &self.file()).finish_non_exhaustive()
    }
}

impl Sources {
    /// Reads `file`, or the first of `capconduit.toml` and [`SYSTEM_FILE`] that exists; the environment is this process's.
    ///
    /// # Errors
    /// A file that is there and cannot be read: none is passed over for another.
    pub fn read(file: Option<&Path>) -> Result<Self, Faults> {
        Self::read_with(file, std::env::vars_os().collect())
    }

    /// As [`Sources::read`], with another environment.
    ///
    /// # Errors
    /// As [`Sources::read`].
    pub fn read_with(file: Option<&Path>, environment: Vec<(OsString, OsString)>) -> Result<Self, Faults> {
        let file = match file {
            Some(path) => Some((path.to_owned(), text(path)?)),
            None => first_of(&PLACES.map(Path::new), geteuid())?,
        };
        Ok(Self { file, environment })
    }

    /// A file's text and an environment, both read already.
    pub fn of(file: Option<(&Path, &str)>, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let file = file.map(|(path, text)| (path.to_owned(), text.to_owned()));
        Self { file, environment: environment.into_iter().collect() }
    }

    /// The same file, read anew.
    ///
    /// # Errors
    /// As [`Sources::read`].
    pub fn again(&self) -> Result<Self, Faults> {
        let file = self.file().map(|path| Ok((path.to_owned(), text(path)?))).transpose()?;
        Ok(Self { file, environment: self.environment.clone() })
    }

    /// The file that was read, if any.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Environment variables that set something.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.environment.iter().filter_map(|(name, _)| name.to_str()).filter(|name| name.starts_with(PREFIX))
    }

    /// `data.dir`, whatever else may be wrong; `None` where not even that can be told.
    #[must_use]
    pub fn data_dir(&self) -> Option<PathBuf> {
        let mut tree = self.tree(&mut Found::default()).ok()?;
        let mut data = tree.remove("data").and_then(|value| value.into_table().ok()).unwrap_or_default();
        match data.remove("dir").map(|value| value.kind) {
            None => Some(DATA_DIR.into()),
            Some(ValueKind::String(dir)) if !dir.is_empty() => Some(dir.into()),
            Some(_) => None,
        }
    }

    /// `api.listen`, whatever else may be wrong.
    ///
    /// # Errors
    /// That key's fault, or the file's.
    pub fn api_listen(&self) -> Result<SocketAddr, Faults> {
        let mut tree = self.tree(&mut Found::default())?;
        let (name, mut found) = (self.name(), Found::default());
        let listen = sections::api_listen(&mut Section::new("api", tree.remove("api"), &name, &mut found));
        Faults::none_or(found.faults).map(|()| listen)
    }

    /// The whole configuration.
    ///
    /// # Errors
    /// All faults at once: unknown keys, bad values, unreachable paths.
    pub fn config(&self) -> Result<Config, Faults> {
        let (config, found) = self.look()?;
        Faults::none_or(found.faults).map(|()| config)
    }

    /// Every key with what is in force and where it comes from, and all that keeps `serve` from starting with it.
    ///
    /// # Errors
    /// A file that is no TOML at all.
    pub fn examine(&self) -> Result<(Vec<Setting>, Vec<Fault>), Faults> {
        let (config, Found { mut faults, settings }) = self.look()?;
        // Of a node whose password is told to be wrong, or that is not there, nothing more is said.
        let told = |key: &str| {
            faults.iter().any(|fault| fault.key.starts_with(key) || key.starts_with(&format!("{}.", fault.key)))
        };
        let missing: Vec<Fault> = config.missing_passwords().into_iter().filter(|fault| !told(&fault.key)).collect();
        faults.extend(missing);
        Ok((settings, faults))
    }

    fn look(&self) -> Result<(Config, Found), Faults> {
        let mut found = Found::default();
        let tree = self.tree(&mut found)?;
        let config = sections::read(tree, &self.name(), &mut found);
        Ok((config, found))
    }

    pub(super) fn tree(&self, found: &mut Found) -> Result<Map<String, Value>, Faults> {
        let text = self.file.as_ref().map_or("", |(_, text)| text);
        merge(&self.name(), text, self.environment.iter().cloned(), &mut found.faults)
    }

    /// How faults name the file.
    fn name(&self) -> String {
        self.file().map_or_else(|| PLACES[0].to_owned(), |path| path.display().to_string())
    }
}

impl Config {
    /// Loads and checks the configuration: `file`, or the one that [`Sources::read`] finds, then the environment.
    ///
    /// # Errors
    /// All faults at once: an unreadable file, unknown keys, bad values, unreachable paths.
    pub fn load(file: Option<&Path>) -> Result<Self, Faults> {
        Sources::read(file)?.config()
    }

    /// Loads from a file's text and an explicit environment; what [`Config::load`] does after reading both.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_layers(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Faults> {
        Sources::of(file, environment).config()
    }
}

/// The first of these files that exists, with its text. What somebody else has put into root's working directory is not for root.
fn first_of(places: &[&Path], reader: Uid) -> Result<Option<(PathBuf, String)>, Faults> {
    for path in places {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(path, &error)),
        };
        let mut text = String::new();
        let owner = file.metadata().map(|found| found.uid()).map_err(|error| unreadable(path, &error))?;
        if path.is_relative() && reader.is_root() && owner != 0 {
            let fault =
                format!("belongs to user {owner}, and root reads it only by its name: --config {}", path.display());
            return Err(Faults(vec![Fault::new(path.display().to_string(), fault)]));
        }
        file.read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
        return Ok(Some(((*path).to_owned(), text)));
    }
    Ok(None)
}

fn text(path: &Path) -> Result<String, Faults> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Faults {
    let mend = match error.kind() {
        ErrorKind::PermissionDenied => {
            "run this as root or as the user of the service, or let --config name a file that you may read"
        }
        _ => "--config takes a readable TOML file",
    };
    Faults(vec![Fault::new(path.display().to_string(), format!("cannot be read: {error}; {mend}"))])
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

pub(super) fn merge(
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
    let mut builder = config::Config::builder().add_source(config::File::from_str(text, FileFormat::Toml));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_exists_is_read_and_one_that_cannot_be_read_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let [here, system] = ["here.toml", "system.toml"].map(|name| folder.path().join(name));
        let found = || {
            first_of(&[&here, &system], Uid::from_raw(0))
                .map(|found| found.map(|(path, text)| (path, text.trim().to_owned())))
        };
        assert_eq!(found().unwrap(), None);
        std::fs::write(&system, "# system\n").unwrap();
        assert_eq!(found().unwrap(), Some((system.clone(), "# system".to_owned())));
        std::fs::write(&here, "# here\n").unwrap();
        assert_eq!(found().unwrap(), Some((here.clone(), "# here".to_owned())));
        // Nobody, root included, reads a folder as a file.
        std::fs::remove_file(&here).unwrap();
        std::fs::create_dir(&here).unwrap();
        let refused = found().unwrap_err();
        assert!(refused.0[0].key.ends_with("here.toml") && refused.0[0].text.contains("cannot be read"), "{refused}");
    }

    #[test]
    fn what_is_needed_before_all_else_is_read_whatever_is_wrong_with_the_rest() {
        let of = |text: &str, environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
            Sources::of(Some((Path::new("test.toml"), text)), environment)
        };
        let faulty = "[data]\ndir = \"/srv\"\n[api]\nlisten = \"[::1]:1\"\nburst = 0\n[calls]\nmax_live = \"x\"\n";
        let sources = of(faulty, &[("CAPCONDUIT__TYPO", "1")]);
        assert_eq!(sources.data_dir(), Some("/srv".into()));
        assert_eq!(sources.api_listen().unwrap().to_string(), "[::1]:1");
        let sources = of(faulty, &[("CAPCONDUIT__DATA__DIR", "/mnt"), ("CAPCONDUIT__API__LISTEN", "0.0.0.0:9")]);
        assert_eq!(sources.data_dir(), Some("/mnt".into()));
        assert_eq!(sources.api_listen().unwrap().to_string(), "0.0.0.0:9");
        let sources = of("", &[]);
        assert_eq!(sources.data_dir(), Some("data".into()));
        assert_eq!(sources.api_listen().unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(of("[data]\ndir = 3\n", &[]).data_dir(), None);
        assert_eq!(of("[[[\n", &[]).data_dir(), None);
        assert_eq!(of("[api]\nlisten = \"x\"\n", &[]).api_listen().unwrap_err().0[0].key, "api.listen");
    }

    #[test]
    fn a_file_is_read_anew_and_one_that_is_gone_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "[calls]\nmax_live = 1\n").unwrap();
        let sources = Sources::read_with(Some(&path), Vec::new()).unwrap();
        std::fs::write(&path, "[calls]\nmax_live = 2\n").unwrap();
        let live = |sources: &Sources| sources.config().unwrap().calls.max_live;
        assert_eq!((live(&sources), live(&sources.again().unwrap())), (1, 2));
        std::fs::remove_file(&path).unwrap();
        assert!(sources.again().is_err());
    }
}
