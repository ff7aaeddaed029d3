//! Takes typed values out of one section and notes every fault instead of stopping at the first, which serde would.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use secrecy::SecretString;

use super::fault::Fault;

/// A table of the configuration whose keys are taken one by one.
pub(super) struct Section<'a> {
    path: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    file: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Section<'a> {
    /// Reads `value` as the table at `path` (empty for the root); anything else than a table is a fault.
    pub(super) fn new(path: &str, value: Option<Value>, file: &'a str, faults: &'a mut Vec<Fault>) -> Self {
        let origin = value.clone().unwrap_or_default();
        let values = match value.map(|value| value.kind) {
            None => Map::new(),
            Some(ValueKind::Table(values)) => values,
            Some(_) => {
                faults.push(Fault::new(path, format!("must be a table, such as [{path}] ({})", set_in(&origin, file))));
                Map::new()
            }
        };
        Self { path: path.to_owned(), values, known: Vec::new(), file, faults }
    }

    /// The full name of `key`.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The raw value of `key`.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key)
    }

    /// A text that `check` turns into a value, or refuses by saying what is allowed.
    pub(super) fn text<T>(&mut self, key: &'static str, default: T, check: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(key, check).unwrap_or(default)
    }

    /// As [`Section::text`], without a default.
    pub(super) fn optional<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.take(key)?;
        let ValueKind::String(text) = &value.kind else {
            self.refuse(key, &value, "use a text in quotes");
            return None;
        };
        check(text).map_err(|allowed| self.refuse(key, &value, &allowed)).ok()
    }

    /// A whole number within `range`.
    pub(super) fn whole(&mut self, key: &'static str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let allowed = format!("use a whole number from {} to {}", range.start(), range.end());
        self.number(key, default, |number| range.contains(number), &allowed)
    }

    /// A time in seconds within `range`, decimals allowed: what every key `…_seconds` is.
    pub(super) fn seconds(&mut self, key: &'static str, default: u32, range: RangeInclusive<u32>) -> Duration {
        self.seconds_or(key, Duration::from_secs(default.into()), range)
    }

    /// As [`Section::seconds`], with a default that depends on another key.
    pub(super) fn seconds_or(&mut self, key: &'static str, default: Duration, range: RangeInclusive<u32>) -> Duration {
        let Some(value) = self.take(key) else { return default };
        let seconds = match &value.kind {
            ValueKind::I64(whole) => u64::try_from(*whole).ok().map(Duration::from_secs),
            ValueKind::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            // The environment has only texts.
            ValueKind::String(text) => decimal(text),
            _ => None,
        };
        let [least, most] = [range.start(), range.end()].map(|bound| Duration::from_secs((*bound).into()));
        seconds.filter(|seconds| (least..=most).contains(seconds)).unwrap_or_else(|| {
            let allowed =
                format!("use a number of seconds from {} to {}, such as 2 or 2.5", range.start(), range.end());
            self.refuse(key, &value, &allowed);
            default
        })
    }

    /// One of the numbers in `list`.
    pub(super) fn one_of(&mut self, key: &'static str, default: u16, list: &[u16]) -> u16 {
        let words: Vec<String> = list.iter().map(ToString::to_string).collect();
        self.number(key, default, |number| list.contains(number), &format!("use one of {}", words.join(", ")))
    }

    fn number<T>(&mut self, key: &'static str, default: T, fits: impl Fn(&T) -> bool, allowed: &str) -> T
    where
        T: TryFrom<i64> + FromStr,
    {
        let Some(value) = self.take(key) else { return default };
        let number = match &value.kind {
            ValueKind::I64(number) => T::try_from(*number).ok(),
            // The environment has only texts.
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(fits).unwrap_or_else(|| {
            self.refuse(key, &value, allowed);
            default
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else { return default };
        let flag = match &value.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            // The environment has only texts.
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        flag.unwrap_or_else(|| {
            self.refuse(key, &value, "use true or false");
            default
        })
    }

    /// A text to text table, each entry checked.
    pub(super) fn pairs(
        &mut self,
        key: &'static str,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let Some(value) = self.take(key) else { return BTreeMap::new() };
        let ValueKind::Table(entries) = &value.kind else {
            self.refuse(key, &value, "use a table, such as { \"00\" = \"+\" }");
            return BTreeMap::new();
        };
        let mut pairs = BTreeMap::new();
        for (from, to) in entries {
            match &to.kind {
                ValueKind::String(text) => match check(from, text) {
                    Ok(()) => drop(pairs.insert(from.clone(), text.clone())),
                    Err(allowed) => self.refuse(&format!("{key}.{from:?}"), to, &allowed),
                },
                _ => self.refuse(&format!("{key}.{from:?}"), to, "use a text in quotes"),
            }
        }
        pairs
    }

    /// A list of texts, each of which `check` turns into a value; default empty. From the environment: one text with commas.
    pub(super) fn list<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let entries = match &value.kind {
            ValueKind::Array(entries) => entries.clone(),
            ValueKind::String(text) if text.trim().is_empty() => Vec::new(),
            ValueKind::String(text) => {
                let origin = value.origin().map(str::to_owned);
                text.split(',').map(|entry| Value::new(origin.as_ref(), entry.trim())).collect()
            }
            _ => {
                self.refuse(key, &value, "use a list of texts, such as [\"127.0.0.1\"]");
                return Vec::new();
            }
        };
        let mut list = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let checked = match &entry.kind {
                ValueKind::String(text) => check(text),
                _ => Err("use a text in quotes".to_owned()),
            };
            match checked {
                Ok(value) => list.push(value),
                Err(allowed) => self.refuse(&format!("{key}[{index}]"), entry, &allowed),
            }
        }
        list
    }

    /// As [`Section::list`], with a default of its own.
    pub(super) fn list_or<T>(
        &mut self,
        key: &'static str,
        default: impl FnOnce() -> Vec<T>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if self.values.contains_key(key) {
            return self.list(key, check);
        }
        self.known.push(key);
        default()
    }

    /// A secret under `key`, or in the file that `file_key` names. Neither its value nor the file's text is ever told.
    pub(super) fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        let (value, path) = (self.take(key), self.take(file_key));
        let text = match (value.map(|value| value.kind), path.map(|path| path.kind)) {
            (None, None) => return None,
            (Some(ValueKind::String(text)), None) => text,
            (None, Some(ValueKind::String(path))) => match std::fs::read_to_string(&path) {
                Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                Err(error) => {
                    let text = format!("= {path:?} cannot be read: {error}; name a file that holds the secret alone");
                    self.fault(file_key, text);
                    return None;
                }
            },
            (Some(_), Some(_)) => {
                self.fault(key, format!("and {file_key} are both set: give one of them"));
                return None;
            }
            (Some(_), None) => {
                self.fault(key, "must be a text in quotes");
                return None;
            }
            (None, Some(_)) => {
                self.fault(file_key, "must be the path of a file, in quotes");
                return None;
            }
        };
        if text.is_empty() {
            self.fault(key, "is empty: leave it out or give the secret");
            return None;
        }
        Some(text.into())
    }

    /// A path whose nearest existing ancestor is a directory, so that it can come to exist.
    pub(super) fn path(&mut self, key: &'static str, default: &Path, must_be: Kind) -> PathBuf {
        if self.values.contains_key(key) {
            let check = |text: &str| reachable(Path::new(text), must_be).map(|()| PathBuf::from(text));
            return self.text(key, default.to_owned(), check);
        }
        self.known.push(key);
        if let Err(allowed) = reachable(default, must_be) {
            self.fault(key, format!("= {default:?} is not allowed (by default): {allowed}"));
        }
        default.to_owned()
    }

    /// Notes that `key` is wrong in a way of its own.
    pub(super) fn fault(&mut self, key: &str, text: impl Into<String>) {
        self.faults.push(Fault::new(self.name(key), text));
    }

    /// Refuses every key that nobody took.
    pub(super) fn finish(self) {
        let mut unknown: Vec<_> = self.values.iter().collect();
        unknown.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in unknown {
            let name = self.name(key);
            // Never with its value: it may be a misspelt password.
            let text = format!("is no known key ({}); known here: {}", self.origin(value), self.known.join(", "));
            self.faults.push(Fault::new(name, text));
        }
    }

    fn refuse(&mut self, key: &str, value: &Value, allowed: &str) {
        let shown = match &value.kind {
            // Someone may have put a password into a URL where none belongs.
            ValueKind::String(text) if text.contains("://") && text.contains('@') => {
                "(a URL with a user, not shown)".to_owned()
            }
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Table(_) => "a table".to_owned(),
            ValueKind::Array(_) => "a list".to_owned(),
            _ => value.to_string(),
        };
        let text = format!("= {shown} is not allowed ({}): {allowed}", self.origin(value));
        self.fault(key, text);
    }

    fn origin(&self, value: &Value) -> String {
        set_in(value, self.file)
    }
}

/// Digits, and a point with more of them where there is one: not all that the language reads as a number, such as `1e3` or `inf`.
fn decimal(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = (digits(whole) && digits(part)).then(|| text.parse().ok()).flatten()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Where a value was set: tables and lists that the environment has made are known by what is in them.
pub(super) fn set_in(value: &Value, file: &str) -> String {
    let places: Vec<_> = places(value).into_iter().map(|place| place.unwrap_or_else(|| file.to_owned())).collect();
    format!("set in {}", if places.is_empty() { file.to_owned() } else { places.join(" and ") })
}

/// The variables that a value comes from, and `None` for the file.
pub(super) fn places(value: &Value) -> BTreeSet<Option<String>> {
    match &value.kind {
        ValueKind::Table(entries) => entries.values().flat_map(places).collect(),
        ValueKind::Array(entries) => entries.iter().flat_map(places).collect(),
        // A gap in a list that the environment has lengthened.
        ValueKind::Nil if value.origin().is_none() => BTreeSet::new(),
        _ => BTreeSet::from([value.origin().map(str::to_owned)]),
    }
}

/// What a path must be, where it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// Says what is wrong with a path that can neither be found as what it must be nor be made.
pub(super) fn reachable(path: &Path, must_be: Kind) -> Result<(), String> {
    let wanted = match must_be {
        Kind::Directory => "a directory",
        Kind::File => "a file",
    };
    let mut at = Some(path);
    while let Some(part) = at.filter(|part| !part.as_os_str().is_empty()) {
        match std::fs::metadata(part) {
            Ok(found) if part == path && found.is_dir() == (must_be == Kind::Directory) => return Ok(()),
            Ok(found) if part != path && found.is_dir() => return Ok(()),
            Ok(_) => {
                return Err(format!("use {wanted}, or where one can be made: {} is something else", part.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => at = part.parent(),
            Err(error) => return Err(format!("use {wanted}, or where one can be made: {}: {error}", part.display())),
        }
    }
    if path.as_os_str().is_empty() { Err(format!("use the path of {wanted}")) } else { Ok(()) }
}
