//! Takes typed values out of one section and notes every fault instead of stopping at the first, which serde would.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use secrecy::SecretString;

use super::fault::Fault;
use super::paths::{Kind, reachable};
use super::settings::{DEFAULT, Found, HIDDEN, Setting, quoted};

/// A table of the configuration whose keys are taken one by one.
pub(super) struct Section<'a> {
    path: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    file: &'a str,
    found: &'a mut Found,
}

impl<'a> Section<'a> {
    /// Reads `value` as the table at `path` (empty for the root); anything else than a table is a fault.
    pub(super) fn new(path: &str, value: Option<Value>, file: &'a str, found: &'a mut Found) -> Self {
        let origin = value.clone().unwrap_or_default();
        let values = match value.map(|value| value.kind) {
            None => Map::new(),
            Some(ValueKind::Table(values)) => values,
            Some(_) => {
                let text = format!("must be a table, such as [{path}] ({})", set_in(&origin, file));
                found.faults.push(Fault::new(path, text));
                Map::new()
            }
        };
        Self { path: path.to_owned(), values, known: Vec::new(), file, found }
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
    pub(super) fn text<T: ToString>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        match self.checked(key, check) {
            Some(checked) => checked.unwrap_or(default),
            None => {
                self.by_default(key, Some(quoted(&default.to_string())));
                default
            }
        }
    }

    /// As [`Section::text`], without a default.
    pub(super) fn optional<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.checked(key, check).unwrap_or_else(|| {
            self.by_default(key, None);
            None
        })
    }

    /// `None` where it is not set, `Some(None)` where it is refused.
    fn checked<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
        let value = self.take(key)?;
        let ValueKind::String(text) = &value.kind else {
            self.refuse(key, &value, "use a text in quotes");
            return Some(None);
        };
        let checked = check(text).map_err(|allowed| self.refuse(key, &value, &allowed)).ok();
        if checked.is_some() {
            self.given(key, quoted(text), &value);
        }
        Some(checked)
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
        let shown = |time: Duration| time.as_secs_f64().to_string();
        let Some(value) = self.take(key) else {
            self.by_default(key, Some(shown(default)));
            return default;
        };
        let seconds = match &value.kind {
            ValueKind::I64(whole) => u64::try_from(*whole).ok().map(Duration::from_secs),
            ValueKind::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            // The environment has only texts.
            ValueKind::String(text) => decimal(text),
            _ => None,
        };
        let [least, most] = [range.start(), range.end()].map(|bound| Duration::from_secs((*bound).into()));
        let Some(seconds) = seconds.filter(|seconds| (least..=most).contains(seconds)) else {
            let allowed =
                format!("use a number of seconds from {} to {}, such as 2 or 2.5", range.start(), range.end());
            self.refuse(key, &value, &allowed);
            return default;
        };
        self.given(key, shown(seconds), &value);
        seconds
    }

    /// One of the numbers in `list`.
    pub(super) fn one_of(&mut self, key: &'static str, default: u16, list: &[u16]) -> u16 {
        let words: Vec<String> = list.iter().map(ToString::to_string).collect();
        self.number(key, default, |number| list.contains(number), &format!("use one of {}", words.join(", ")))
    }

    fn number<T>(&mut self, key: &'static str, default: T, fits: impl Fn(&T) -> bool, allowed: &str) -> T
    where
        T: TryFrom<i64> + FromStr + ToString,
    {
        let Some(value) = self.take(key) else {
            self.by_default(key, Some(default.to_string()));
            return default;
        };
        let number = match &value.kind {
            ValueKind::I64(number) => T::try_from(*number).ok(),
            // The environment has only texts.
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number.filter(fits) else {
            self.refuse(key, &value, allowed);
            return default;
        };
        self.given(key, number.to_string(), &value);
        number
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else {
            self.by_default(key, Some(default.to_string()));
            return default;
        };
        let flag = match &value.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            // The environment has only texts.
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        let Some(flag) = flag else {
            self.refuse(key, &value, "use true or false");
            return default;
        };
        self.given(key, flag.to_string(), &value);
        flag
    }

    /// A text to text table, each entry checked.
    pub(super) fn pairs(
        &mut self,
        key: &'static str,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let Some(value) = self.take(key) else {
            self.by_default(key, Some("{}".to_owned()));
            return BTreeMap::new();
        };
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
        let shown: Vec<String> = pairs.iter().map(|(from, to)| format!("{} = {}", quoted(from), quoted(to))).collect();
        self.given(key, if shown.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", shown.join(", ")) }, &value);
        pairs
    }

    /// A list of texts, each of which `check` turns into a value; default empty. From the environment: one text with commas.
    pub(super) fn list<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.given_list(key, check).unwrap_or_else(|| {
            self.by_default(key, Some("[]".to_owned()));
            Vec::new()
        })
    }

    /// As [`Section::list`], with a default of its own.
    pub(super) fn list_or<T: ToString>(
        &mut self,
        key: &'static str,
        default: impl FnOnce() -> Vec<T>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.given_list(key, check).unwrap_or_else(|| {
            let list = default();
            self.by_default(key, Some(array(list.iter().map(ToString::to_string))));
            list
        })
    }

    fn given_list<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let entries = match &value.kind {
            ValueKind::Array(entries) => entries.clone(),
            ValueKind::String(text) if text.trim().is_empty() => Vec::new(),
            ValueKind::String(text) => {
                let origin = value.origin().map(str::to_owned);
                text.split(',').map(|entry| Value::new(origin.as_ref(), entry.trim())).collect()
            }
            _ => {
                self.refuse(key, &value, "use a list of texts, such as [\"127.0.0.1\"]");
                return Some(Vec::new());
            }
        };
        let (mut list, mut shown) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let checked = match &entry.kind {
                ValueKind::String(text) => check(text).inspect(|_| shown.push(text.clone())),
                _ => Err("use a text in quotes".to_owned()),
            };
            match checked {
                Ok(value) => list.push(value),
                Err(allowed) => self.refuse(&format!("{key}[{index}]"), entry, &allowed),
            }
        }
        self.given(key, array(shown), &value);
        Some(list)
    }

    /// A secret under `key`, or in the file that `file_key` names. Neither its value nor the file's text is ever told.
    pub(super) fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        let (value, path) = (self.take(key), self.take(file_key));
        let (text, origin) = match (&value, &path) {
            (None, None) => {
                self.by_default(key, None);
                return None;
            }
            (Some(value), None) => match &value.kind {
                ValueKind::String(text) => (text.clone(), places_of(value, self.file)),
                _ => return self.no_secret(key, key, "must be a text in quotes"),
            },
            (None, Some(named)) => {
                let ValueKind::String(path) = &named.kind else {
                    return self.no_secret(key, file_key, "must be the path of a file, in quotes");
                };
                let origin = format!("{path} ({file_key} in {})", places_of(named, self.file));
                match std::fs::read_to_string(path) {
                    Ok(text) => (text.trim_end_matches(['\r', '\n']).to_owned(), origin),
                    Err(error) => {
                        let text =
                            format!("= {path:?} cannot be read: {error}; name a file that holds the secret alone");
                        return self.no_secret(key, file_key, &text);
                    }
                }
            }
            (Some(_), Some(_)) => {
                return self.no_secret(key, key, &format!("and {file_key} are both set: give one of them"));
            }
        };
        if text.is_empty() {
            return self.no_secret(key, key, "is empty: leave it out or give the secret");
        }
        self.note(key, Some(HIDDEN.to_owned()), origin);
        Some(text.into())
    }

    /// What keeps `key` from being had is wrong `at` this one.
    fn no_secret(&mut self, key: &str, at: &str, fault: &str) -> Option<SecretString> {
        self.by_default(key, None);
        self.fault(at, fault);
        None
    }

    /// A path whose nearest existing ancestor is a directory, so that it can come to exist.
    pub(super) fn path(&mut self, key: &'static str, default: &Path, must_be: Kind) -> PathBuf {
        if self.values.contains_key(key) {
            let check = |text: &str| reachable(Path::new(text), must_be).map(|()| PathBuf::from(text));
            return self.checked(key, check).flatten().unwrap_or_else(|| default.to_owned());
        }
        self.known.push(key);
        self.by_default(key, Some(quoted(&default.display().to_string())));
        if let Err(allowed) = reachable(default, must_be) {
            self.fault(key, format!("= {default:?} is not allowed (by default): {allowed}"));
        }
        default.to_owned()
    }

    /// Shows `value` for a key that was read already.
    pub(super) fn show(&mut self, key: &str, value: String) {
        let mut ours = self.found.settings.iter_mut().rev().take_while(|setting| setting.section == self.path);
        if let Some(setting) = ours.find(|setting| setting.key == key) {
            setting.value = Some(value);
        }
    }

    fn by_default(&mut self, key: &str, value: Option<String>) {
        self.note(key, value, DEFAULT.to_owned());
    }

    fn given(&mut self, key: &str, value: String, from: &Value) {
        let origin = places_of(from, self.file);
        self.note(key, Some(value), origin);
    }

    fn note(&mut self, key: &str, value: Option<String>, origin: String) {
        self.found.settings.push(Setting { section: self.path.clone(), key: key.to_owned(), value, origin });
    }

    /// Notes that `key` is wrong in a way of its own.
    pub(super) fn fault(&mut self, key: &str, text: impl Into<String>) {
        self.found.faults.push(Fault::new(self.name(key), text));
    }

    /// Refuses every key that nobody took.
    pub(super) fn finish(self) {
        let mut unknown: Vec<_> = self.values.iter().collect();
        unknown.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in unknown {
            let name = self.name(key);
            // Never with its value: it may be a misspelt password.
            let text = format!("is no known key ({}); known here: {}", self.origin(value), self.known.join(", "));
            self.found.faults.push(Fault::new(name, text));
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
        // A part of a list or table is named by more than its key.
        if self.known.contains(&key) {
            self.by_default(key, None);
        }
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

/// Texts as a list in TOML.
fn array(texts: impl IntoIterator<Item = String>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| quoted(&text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// Where a value was set: tables and lists that the environment has made are known by what is in them.
pub(super) fn set_in(value: &Value, file: &str) -> String {
    format!("set in {}", places_of(value, file))
}

fn places_of(value: &Value, file: &str) -> String {
    let places: Vec<_> = places(value).into_iter().map(|place| place.unwrap_or_else(|| file.to_owned())).collect();
    if places.is_empty() { file.to_owned() } else { places.join(" and ") }
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
