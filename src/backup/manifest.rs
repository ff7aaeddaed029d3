//! What an archive says of itself: its first file.

use std::path::{Component, Path};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::routing::snapshot::words;
use crate::store::journal::{self, aside};

/// Its name in the archive.
pub const FILE: &str = "manifest.json";
/// What this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

words! {
    /// What an archive has of the database.
    Database {
        /// A SQLite file.
        Sqlite = "sqlite",
        /// What `pg_dump` wrote.
        Postgres = "postgres",
        /// Nothing: somebody else backs it up.
        None = "none",
    }
}

/// The first file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Grows with every change that an older version could not read.
    pub format: u32,
    /// Version of CapConduit that made it.
    pub version: String,
    /// Before the first file was copied: what was recorded until then is in it.
    pub made_at: DateTime<Utc>,
    /// What it has of the database.
    pub database: Database,
    /// The newest step of the database's tables.
    pub schema: Option<String>,
    /// Of PostgreSQL: the schema that the tables are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Layout of the journal's tables.
    pub journal_layout: usize,
    /// Its other files, in their order.
    pub parts: Vec<Part>,
    /// Variables of the environment that settings came from: their values are not in it.
    #[serde(default)]
    pub variables: Vec<String>,
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its path in the archive.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, as hexadecimal digits.
    pub sha256: String,
    /// Where it lay, if not in the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The key of the configuration that names it, or the node whose spool it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl Manifest {
    /// The part of this name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// What no archive says that was made here, in words; every path of a part leads into the folder that it is unpacked in.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), String> {
        for part in &self.parts {
            if !is_ours(&part.name) {
                return Err(format!("it has a file called {:?}", part.name));
            }
        }
        // Shown to whoever restores it.
        let parts = self.parts.iter().flat_map(|part| part.path.iter().chain(&part.of).chain([&part.name]));
        let shown = parts.chain(&self.variables).chain(&self.namespace).chain([&self.version]);
        if let Some(odd) = shown.into_iter().find(|text| text.len() > 500 || text.chars().any(char::is_control)) {
            return Err(format!("it says {odd:?}"));
        }
        let needed = match self.database {
            Database::Sqlite => Some(super::SQLITE),
            Database::Postgres => Some(super::DUMP),
            Database::None => None,
        };
        match needed.filter(|name| self.part(name).is_none()) {
            Some(name) => Err(format!("{name} is missing in it")),
            None => Ok(()),
        }
    }
}

/// Whether a file of this name may be in an archive: a name that leads into the folder which it is unpacked in, and to nothing in there that
/// is not made of an archive.
fn is_ours(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = |component: Component<'_>| matches!(component, Component::Normal(_));
    if name.len() > 500 || !Path::new(name).components().all(plain) {
        return false;
    }
    let (first, deeper) = (components.next(), components.next().is_some());
    let Some(Component::Normal(first)) = first else { return false };
    let Some(first) = first.to_str() else { return false };
    let folders = [super::CONFIGURATION, super::SPOOLS];
    let files = [super::SQLITE, super::DUMP, journal::FILE];
    if deeper {
        folders.contains(&first)
    } else {
        files.contains(&first) || super::KEPT.contains(&first) || aside::is_aside(first)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A manifest of a SQLite database, with this further part.
    pub(crate) fn with(name: &str) -> Manifest {
        let part = |name: &str| Part { name: name.into(), bytes: 0, sha256: String::new(), path: None, of: None };
        Manifest {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            made_at: DateTime::UNIX_EPOCH,
            database: Database::Sqlite,
            schema: None,
            namespace: None,
            journal_layout: 1,
            parts: vec![part(super::super::SQLITE), part(name)],
            variables: Vec::new(),
        }
    }

    #[test]
    fn no_part_leads_out_of_the_folder() {
        for good in ["token.key", "configuration/files/0-ari", "spool/pbx-1.log"] {
            with(good).check().expect(good);
        }
        // Nor to what is made here, or lies in the way of it.
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "spool/../../x",
            "./x/..",
            "lock",
            "restoring",
            "realtime/realtime.db",
            "x/token.key",
        ] {
            let said = with(bad).check().expect_err(bad);
            assert!(said.contains(&format!("{bad:?}")), "{said}");
        }
        let odd = Manifest { version: "1.0\u{1b}[2J".to_owned(), ..with("token.key") };
        assert!(odd.check().is_err(), "it would clear the screen of whoever restores it");
        let lacking = Manifest { parts: Vec::new(), ..with("x") };
        assert_eq!(lacking.check(), Err("capconduit.db is missing in it".to_owned()));
        let none = Manifest { database: Database::None, ..lacking };
        assert_eq!(none.check(), Ok(()));
    }
}
