//! PURE: what of the machine Asterisk and the controller must share: folders, files, a group.

use std::path::Path;

/// Somebody's user and group, by number, and their names where they have any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) user: String,
    pub(super) group: String,
}

/// A file or folder as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

/// What was found of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) asterisk: Person,
    pub(super) controller: Person,
    /// Whether the controller's user is a member of Asterisk's group.
    pub(super) joined: bool,
    /// The folder of the controller's data.
    pub(super) data: Option<(String, Option<Found>)>,
    /// The realtime file, if there is to be one, the files beside it, and the folders above, the nearest first.
    pub(super) tables: Option<Shared>,
    /// The fallback's spool.
    pub(super) spool: Option<Shared>,
}

/// A file that is shared, and what is above it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) path: String,
    pub(super) file: Option<Found>,
    /// Other files that belong to it, those that are there.
    pub(super) beside: Vec<(String, Found)>,
    /// Folders above it, the nearest first.
    pub(super) above: Vec<(String, Option<Found>)>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Share {
    /// Make a folder.
    Folder { path: String, uid: u32, gid: u32, mode: u32 },
    /// Give a file or folder to somebody.
    Own { path: String, uid: u32, gid: u32, mode: u32 },
    /// `usermod -a -G group user`
    Join { user: String, group: String },
    /// `capconduit migrate`: makes the file.
    Tables { path: String },
}

/// Of a folder whose files belong to its group.
const SHARED: u32 = 0o2770;
/// Where one side writes and the other reads.
const READ: u32 = 0o2750;
/// Others may pass, and see nothing.
const PASS: u32 = 0o711;
const FILE: u32 = 0o660;

impl Machine {
    fn one_user(&self) -> bool {
        self.asterisk.uid == self.controller.uid
    }

    /// What is to be done, in order.
    pub(super) fn shares(&self) -> Vec<Share> {
        let mut shares = Vec::new();
        let Person { uid, gid, .. } = self.controller;
        if let Some((path, found)) = &self.data {
            match found {
                None => shares.push(Share::Folder { path: path.clone(), uid, gid, mode: PASS }),
                // Root has put it there. At the service's first start systemd would give all of it to the service, and the tables with it.
                Some(found) if found.uid == 0 && uid != 0 => {
                    shares.push(Share::Own { path: path.clone(), uid, gid, mode: PASS });
                }
                Some(found) if self.tables.is_some() && !self.passes(*found) => {
                    let mode = found.mode | 0o001;
                    shares.push(Share::Own { path: path.clone(), uid: found.uid, gid: found.gid, mode });
                }
                Some(_) => {}
            }
        }
        if !self.joined && !self.one_user() && self.asterisk.gid != 0 && uid != 0 {
            let (user, group) = (self.controller.user.clone(), self.asterisk.group.clone());
            shares.push(Share::Join { user, group });
        }
        if let Some(tables) = &self.tables {
            self.tables(tables, &mut shares);
        }
        if let Some(spool) = &self.spool {
            self.spool(spool, &mut shares);
        }
        shares
    }

    /// Whether Asterisk's user gets through a folder.
    fn passes(&self, found: Found) -> bool {
        let Person { uid, gid, .. } = self.asterisk;
        uid == 0
            || found.mode & 0o001 != 0
            || found.uid == uid && found.mode & 0o100 != 0
            || found.gid == gid && found.mode & 0o010 != 0
    }

    fn tables(&self, tables: &Shared, shares: &mut Vec<Share>) {
        let (uid, gid) = (self.controller.uid, self.asterisk.gid);
        let wanted = |path: &str, mode: u32| Share::Own { path: path.to_owned(), uid, gid, mode };
        let fits = |found: &Found, mode: u32| {
            self.one_user() || found.uid == uid && found.gid == gid && found.mode & 0o7777 & mode == mode
        };
        if let Some((folder, found)) = tables.above.first() {
            match found {
                None => shares.push(Share::Folder { path: folder.clone(), uid, gid, mode: SHARED }),
                Some(found) if !fits(found, SHARED) => shares.push(wanted(folder, SHARED)),
                Some(_) => {}
            }
        }
        match &tables.file {
            None => shares.push(Share::Tables { path: tables.path.clone() }),
            Some(found) if !fits(found, FILE) => shares.push(wanted(&tables.path, FILE)),
            Some(_) => {}
        }
        // SQLite's own files beside it, made by whoever opened it.
        for (path, found) in &tables.beside {
            let is_shared = found.gid == gid && found.mode & FILE == FILE;
            if !self.one_user() && !is_shared {
                shares.push(Share::Own { path: path.clone(), uid: found.uid, gid, mode: FILE });
            }
        }
    }

    fn spool(&self, spool: &Shared, shares: &mut Vec<Share>) {
        let Some((folder, found)) = spool.above.first() else { return };
        let uid = self.asterisk.uid;
        // Nobody is to be a member of root's group.
        let gid = if self.asterisk.gid == 0 { self.controller.gid } else { self.asterisk.gid };
        match found {
            None => shares.push(Share::Folder { path: folder.clone(), uid, gid, mode: READ }),
            Some(found) if self.one_user() || found.mode & 0o005 == 0o005 && found.uid == uid => {}
            Some(found) if found.gid == gid && found.mode & 0o050 == 0o050 => {}
            // Not one that others use as well.
            Some(_) if Path::new(folder).file_name().is_none_or(|name| name != "capconduit") => {}
            Some(_) => shares.push(Share::Own { path: folder.clone(), uid, gid, mode: READ }),
        }
    }

    /// Whether a path is the realtime file, belongs to it, or is its folder.
    pub(super) fn is_of_tables(&self, path: &str) -> bool {
        let Some(tables) = &self.tables else { return false };
        let folder = tables.above.first().is_some_and(|(folder, _)| folder == path);
        folder || tables.path == path || tables.beside.iter().any(|(beside, _)| beside == path)
    }

    /// The folder of the tables where it is not theirs alone: the data's own, or somebody else's. It must not become Asterisk's.
    pub(super) fn not_ours(&self) -> Option<&str> {
        let (folder, found) = self.tables.as_ref()?.above.first()?;
        let found = (*found)?;
        let data = self.data.as_ref().map(|(path, _)| Path::new(path));
        let is_data = data == Some(Path::new(folder));
        let is_within = data.is_some_and(|data| Path::new(folder).starts_with(data));
        let is_others = found.uid != self.controller.uid && !is_within;
        (!self.one_user() && (is_data || is_others)).then_some(folder)
    }

    /// Folders through which Asterisk does not get to the tables, and which are not ours to open.
    pub(super) fn closed(&self) -> Option<&str> {
        let tables = self.tables.as_ref()?;
        let ours = self.data.as_ref().map(|(path, _)| path.as_str());
        let others = tables.above.iter().skip(1).filter(|(path, _)| Some(path.as_str()) != ours);
        let closed = others.filter(|(_, found)| found.is_some_and(|found| !self.passes(found)));
        closed.map(|(path, _)| path.as_str()).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(uid: u32, gid: u32, mode: u32) -> Option<Found> {
        Some(Found { uid, gid, mode })
    }

    fn shared(path: &str, file: Option<Found>, above: &[(&str, Option<Found>)]) -> Option<Shared> {
        let above = above.iter().map(|(path, found)| ((*path).to_owned(), *found)).collect();
        Some(Shared { path: path.to_owned(), file, beside: Vec::new(), above })
    }

    fn fresh() -> Machine {
        let person = |id: u32, name: &str| Person { uid: id, gid: id, user: name.to_owned(), group: name.to_owned() };
        Machine {
            asterisk: person(110, "asterisk"),
            controller: person(999, "capconduit"),
            joined: false,
            data: Some(("/var/lib/capconduit".to_owned(), found(999, 999, 0o711))),
            tables: shared(
                "/var/lib/capconduit/realtime/realtime.db",
                None,
                &[
                    ("/var/lib/capconduit/realtime", None),
                    ("/var/lib/capconduit", found(999, 999, 0o711)),
                    ("/var/lib", found(0, 0, 0o755)),
                ],
            ),
            spool: shared("/var/spool/asterisk/capconduit/f.log", None, &[("/var/spool/asterisk/capconduit", None)]),
        }
    }

    #[test]
    fn a_fresh_machine_gets_group_folders_and_file() {
        let shares = fresh().shares();
        assert_eq!(
            shares,
            [
                Share::Join { user: "capconduit".to_owned(), group: "asterisk".to_owned() },
                Share::Folder { path: "/var/lib/capconduit/realtime".to_owned(), uid: 999, gid: 110, mode: 0o2770 },
                Share::Tables { path: "/var/lib/capconduit/realtime/realtime.db".to_owned() },
                Share::Folder { path: "/var/spool/asterisk/capconduit".to_owned(), uid: 110, gid: 110, mode: 0o2750 },
            ]
        );
    }

    #[test]
    fn a_data_folder_that_root_has_put_there_becomes_the_controllers() {
        let mut machine = fresh();
        machine.data = Some(("/var/lib/capconduit".to_owned(), found(0, 0, 0o755)));
        let first = Share::Own { path: "/var/lib/capconduit".to_owned(), uid: 999, gid: 999, mode: PASS };
        assert_eq!(machine.shares().first(), Some(&first));
        machine.controller.uid = 0;
        assert_ne!(machine.shares().first(), Some(&first), "whose controller is root's");
    }

    #[test]
    fn what_is_as_it_should_be_stays() {
        let mut machine = fresh();
        machine.joined = true;
        let tables = machine.tables.as_mut().unwrap();
        (tables.file, tables.above[0].1) = (found(999, 110, 0o660), found(999, 110, 0o2770));
        tables.beside = vec![("x-wal".to_owned(), Found { uid: 110, gid: 110, mode: 0o660 })];
        machine.spool.as_mut().unwrap().above[0].1 = found(110, 110, 0o2750);
        assert_eq!(machine.shares(), []);
        assert_eq!(machine.closed(), None);
    }

    /// `serve` ran before the folder had Asterisk's group: the file keeps its own.
    #[test]
    fn a_file_that_asterisk_cannot_open_is_given_to_its_group() {
        let mut machine = fresh();
        machine.joined = true;
        let tables = machine.tables.as_mut().unwrap();
        (tables.file, tables.above[0].1) = (found(999, 999, 0o660), found(999, 999, 0o750));
        tables.beside = vec![("realtime.db-shm".to_owned(), Found { uid: 999, gid: 999, mode: 0o660 })];
        let given: Vec<_> = machine
            .shares()
            .into_iter()
            .filter_map(
                |share| if let Share::Own { path, gid, mode, .. } = share { Some((path, gid, mode)) } else { None },
            )
            .collect();
        assert_eq!(
            given,
            [
                ("/var/lib/capconduit/realtime".to_owned(), 110, 0o2770),
                ("/var/lib/capconduit/realtime/realtime.db".to_owned(), 110, 0o660),
                ("realtime.db-shm".to_owned(), 110, 0o660),
            ]
        );
    }

    #[test]
    fn asterisk_gets_through_the_controllers_folder_and_other_folders_are_not_ours_to_open() {
        let mut machine = fresh();
        machine.data = Some(("/var/lib/capconduit".to_owned(), found(999, 999, 0o750)));
        assert!(matches!(&machine.shares()[0], Share::Own { mode: 0o751, .. }), "{:?}", machine.shares());
        machine.tables.as_mut().unwrap().above.push(("/root".to_owned(), found(0, 0, 0o700)));
        assert_eq!(machine.closed(), Some("/root"));
        machine.data = Some(("/srv/x".to_owned(), None));
        assert!(matches!(&machine.shares()[0], Share::Folder { mode: 0o711, uid: 999, .. }));
    }

    #[test]
    fn an_asterisk_that_is_root_or_the_same_user_needs_no_group() {
        let mut machine = fresh();
        machine.asterisk = Person { user: "root".to_owned(), group: "root".to_owned(), ..Person::default() };
        assert!(!machine.shares().iter().any(|share| matches!(share, Share::Join { .. })));
        assert!(machine.shares().contains(&Share::Folder {
            path: "/var/spool/asterisk/capconduit".to_owned(),
            uid: 0,
            gid: 999,
            mode: 0o2750
        }));
        machine.asterisk = machine.controller.clone();
        let tables = machine.tables.as_mut().unwrap();
        (tables.file, tables.above[0].1) = (found(999, 999, 0o600), found(999, 999, 0o700));
        machine.spool.as_mut().unwrap().above[0].1 = found(999, 999, 0o700);
        assert_eq!(machine.shares(), []);
    }

    #[test]
    fn a_folder_of_the_tables_that_is_not_theirs_alone_is_said() {
        assert_eq!(fresh().not_ours(), None, "it is yet to be made");
        let with = |folder: &str, found: Option<Found>| {
            let mut machine = fresh();
            machine.tables = shared(&format!("{folder}/realtime.db"), None, &[(folder, found)]);
            machine.not_ours().map(str::to_owned)
        };
        assert_eq!(with("/var/lib", found(0, 0, 0o755)).as_deref(), Some("/var/lib"));
        assert_eq!(with("/var/lib/asterisk", found(110, 110, 0o755)).as_deref(), Some("/var/lib/asterisk"));
        let data = "/var/lib/capconduit";
        assert_eq!(with(data, found(999, 999, 0o711)).as_deref(), Some(data), "there are keys in it");
        assert_eq!(with("/var/lib/capconduit/realtime", found(0, 0, 0o755)), None);
        assert_eq!(with("/srv/tables", found(999, 999, 0o755)), None);
    }

    #[test]
    fn a_folder_that_others_use_is_not_changed() {
        let mut machine = fresh();
        machine.spool = shared("/var/log/x.log", None, &[("/var/log", found(0, 0, 0o700))]);
        assert!(!machine.shares().iter().any(|share| matches!(share, Share::Own { .. })));
    }
}
