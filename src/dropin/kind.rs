//! PURE: the configurations of Asterisk's that get something of ours.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Modules,
    Sqlite3,
    Pgsql,
    Extconfig,
    Extensions,
    Ari,
    Http,
    Pjsip,
    Sorcery,
}

/// The folder of ours in Asterisk's.
pub(super) const FOLDER: &str = "capconduit.d";
/// There while an installation or a removal is under way.
pub(super) const UNFINISHED: &str = "capconduit.d/unfinished";

/// Whether a file is in our folder.
pub(super) fn is_below(name: &str) -> bool {
    name.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

impl Kind {
    /// In the order in which they are brought in. Sorcery's mappings name realtime's families: with a family that is not there `res_pjsip`
    /// does not load, and the node has no SIP.
    pub(super) const ALL: [Self; 9] = [
        Self::Modules,
        Self::Sqlite3,
        Self::Pgsql,
        Self::Extconfig,
        Self::Extensions,
        Self::Ari,
        Self::Http,
        Self::Pjsip,
        Self::Sorcery,
    ];

    /// The file that Asterisk begins with.
    pub(super) fn main(self) -> &'static str {
        match self {
            Self::Modules => "modules.conf",
            Self::Sqlite3 => "res_config_sqlite3.conf",
            Self::Pgsql => "res_pgsql.conf",
            Self::Extconfig => "extconfig.conf",
            Self::Extensions => "extensions.conf",
            Self::Ari => "ari.conf",
            Self::Http => "http.conf",
            Self::Pjsip => "pjsip.conf",
            Self::Sorcery => "sorcery.conf",
        }
    }

    /// Where FreePBX, which writes some files anew at every change, leaves room for others.
    pub(super) fn custom(self) -> Option<&'static str> {
        match self {
            Self::Extensions => Some("extensions_custom.conf"),
            Self::Pjsip => Some("pjsip_custom.conf"),
            Self::Ari => Some("ari_additional_custom.conf"),
            Self::Http => Some("http_custom.conf"),
            Self::Modules | Self::Sqlite3 | Self::Pgsql | Self::Extconfig | Self::Sorcery => None,
        }
    }

    /// The file of ours.
    pub(super) fn ours(self) -> String {
        format!("{FOLDER}/{}", self.main())
    }

    /// The line by which it is included.
    pub(super) fn line(self) -> String {
        format!("#tryinclude \"{}\" ; capconduit", self.ours())
    }

    /// Whether only the first section of a name counts in it, settings and all.
    pub(super) fn first_counts(self) -> bool {
        !matches!(self, Self::Extensions | Self::Pjsip)
    }
}

/// Whether a line is one by which a file of ours is included.
pub(super) fn is_ours(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    Kind::ALL.iter().any(|kind| line == kind.line())
}
