//! CapConduit beside an Asterisk that is in use: files of ours in a folder of their own (`capconduit.d`), which a line at the end of the
//! site's own files includes.
//!
//! What is decided is pure: reading a folder as Asterisk does, what ours shall say, what stops it, which files change in which order, and
//! what the running Asterisk's answers mean. [`run`] carries it out.

mod accounts;
mod answers;
mod blocks;
mod changes;
mod console;
mod diff;
mod disk;
#[cfg(test)]
mod fixtures;
mod folder;
mod judge;
mod kind;
mod modules;
mod notes;
mod obstacles;
mod ours;
mod plan;
mod reading;
mod run;
mod sharing;
mod shown;
mod site;
mod sorcery;
mod stored;
mod survey;
mod target;
mod text;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::clock::Clock;

pub use judge::{Finding, State};
pub use obstacles::Obstacle;
pub use run::{Failure, check, install, preview, remove};

/// Where Asterisk's HTTP server listens unless it is told.
pub const HTTP_PORT: u16 = 8088;
/// What the fallback writes unless the controller's configuration says otherwise.
pub const SPOOL: &str = "/var/spool/asterisk/capconduit/fallback.log";

/// Which Asterisk is meant, and what is to be installed there.
#[derive(Debug)]
pub struct Setup {
    /// Its configuration folder.
    folder: PathBuf,
    console: console::Console,
    wanted: Wanted,
    /// The controller's `data.dir`.
    data_dir: PathBuf,
    /// The controller's configuration file, where one was named.
    configuration: Option<PathBuf>,
    /// This program.
    ourselves: PathBuf,
    clock: Clock,
}

impl Setup {
    /// Of a folder, or, without one, of the folder that the running Asterisk reads.
    ///
    /// # Errors
    /// When there is no such folder.
    pub async fn of(
        folder: Option<PathBuf>,
        program: PathBuf,
        wanted: Wanted,
        (data_dir, configuration): (PathBuf, Option<PathBuf>),
        clock: Clock,
    ) -> Result<Self, Failure> {
        let folder = match folder {
            Some(folder) => folder,
            None => {
                let console = console::Console::new(program.clone(), None);
                let said = console.ask("core show settings").await.unwrap_or_default();
                let folder = answers::Running::of(&said, "", "", "").folder;
                PathBuf::from(if folder.is_empty() { FOLDER } else { folder.as_str() })
            }
        };
        let cannot = |path: &Path, error: std::io::Error| Failure::Disk(format!("{}: {error}", path.display()));
        // One that is a link leads to the real files.
        let folder = folder.canonicalize().map_err(|error| cannot(&folder, error))?;
        let console = console::Console::new(program, Some(&folder));
        let ourselves = std::env::current_exe().map_err(|error| cannot(Path::new("/proc/self/exe"), error))?;
        let data_dir = std::path::absolute(&data_dir).map_err(|error| cannot(&data_dir, error))?;
        Ok(Self { folder, console, wanted, data_dir, configuration, ourselves, clock })
    }

    /// Whether this user may ask the running Asterisk.
    pub async fn may_ask(&self) -> bool {
        self.console.ask("core show uptime seconds").await.is_ok()
    }
}

/// Where Asterisk's configuration is unless it says otherwise.
const FOLDER: &str = "/etc/asterisk";

/// When Asterisk may be started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// At once: calls end.
    Now,
    /// When no call is up.
    WhenIdle,
}

/// What is to be installed, by the controller's configuration and the command's options.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Stasis applications are `<app>-1` … `<app>-<apps>`.
    pub app: String,
    /// How many.
    pub apps: u16,
    /// ARI user, and its password.
    pub user: String,
    /// Empty where none is configured.
    pub password: SecretString,
    /// Where the controller looks for ARI.
    pub listen: Listen,
    /// What the fallback writes.
    pub spool: String,
    /// Whether the controller's configuration does not name it.
    pub spool_unset: bool,
    /// Where the call centres' SIP settings are.
    pub tables: Tables,
    /// Identifiers of clients.
    pub clients: Vec<String>,
    /// Ours may join a family of the site's.
    pub share_realtime: bool,
    /// The site's CDR shall have rows of our calls, too.
    pub site_cdr: bool,
    /// ARI may listen for other hosts.
    pub foreign_ari: bool,
}

/// An address of the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: IpAddr,
    /// At which port.
    pub port: u16,
    /// By TLS.
    pub tls: bool,
}

/// Where the `ps_*` tables are.
#[derive(Debug, Clone)]
pub enum Tables {
    /// A file.
    Sqlite {
        /// Its absolute path.
        path: String,
    },
    /// A database, and the role that Asterisk has there.
    Postgres {
        /// A name, an address, or the folder of a socket.
        host: String,
        /// Its port.
        port: u16,
        /// Its name.
        database: String,
        /// Asterisk's role; empty: as an earlier installation was told, else `asterisk`.
        user: String,
        /// Its password; `None`: it needs none.
        password: Option<SecretString>,
    },
}

/// What is known of Asterisk's program on this machine.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Major, minor and patch.
    pub version: Option<(u32, u32, u32)>,
    /// The files in its folder of modules.
    pub modules: Option<BTreeSet<String>>,
    /// Whether an ARI user can be limited to addresses; `None` where that is not known.
    pub ari_acl: Option<bool>,
}

impl Program {
    /// Whether it has a module; `None` where that is not known.
    fn has(&self, module: &str) -> Option<bool> {
        self.modules.as_ref().map(|modules| modules.contains(module))
    }

    /// Whether it knows `suppress_moh_on_sendonly` (20.11, 21.6, 22.1).
    fn knows_hold(&self) -> bool {
        match self.version {
            Some((20, minor, _)) => minor >= 11,
            Some((21, minor, _)) => minor >= 6,
            Some((22, minor, _)) => minor >= 1,
            Some((major, ..)) => major > 22,
            None => true,
        }
    }
}
