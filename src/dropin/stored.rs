//! PURE: what an earlier installation was told, which holds for the next one as well.

use secrecy::SecretString;

use super::blocks::settings;
use super::folder::Folder;
use super::kind::Kind;
use super::{Tables, Wanted};

/// How the line begins that keeps it, in our dialplan.
const LINE: &str = "; Installed with:";

/// Asterisk's role in the database, unless something else is said.
const ROLE: &str = "asterisk";

/// The line, where there is something to keep.
pub(super) fn line(wanted: &Wanted) -> String {
    let options: Vec<&str> = flags(wanted).into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
    if options.is_empty() { String::new() } else { format!("{LINE} {}\n", options.join(" ")) }
}

fn flags(wanted: &Wanted) -> [(&'static str, bool); 3] {
    [
        ("--share-realtime", wanted.share_realtime),
        ("--site-cdr", wanted.site_cdr),
        ("--foreign-ari", wanted.foreign_ari),
    ]
}

/// What is wanted, with what was wanted before.
pub(super) fn merged(wanted: &Wanted, folder: &Folder) -> Wanted {
    let text = |kind: Kind| {
        folder.bytes(&kind.ours()).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let (dialplan, pgsql) = (text(Kind::Extensions), text(Kind::Pgsql));
    let kept = dialplan.lines().find_map(|line| line.strip_prefix(LINE)).unwrap_or_default();
    let was = |name: &str| kept.split_whitespace().any(|flag| flag == name);
    let mut wanted = wanted.clone();
    wanted.share_realtime |= was("--share-realtime");
    wanted.site_cdr |= was("--site-cdr");
    wanted.foreign_ari |= was("--foreign-ari");
    if let Tables::Postgres { user, password, .. } = &mut wanted.tables {
        let value = |name: &str| {
            settings(&pgsql, "general").find(|(key, _)| *key == name).map(|(_, value)| value.replace("\\;", ";"))
        };
        let role = value("dbuser");
        if user.is_empty() {
            *user = role.clone().unwrap_or_else(|| ROLE.to_owned());
        }
        if password.is_none() && role.as_ref() == Some(user) {
            *password = value("dbpass").map(SecretString::from);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::fixtures::{debian, program, wanted};
    use super::super::plan::{Plan, Survey, after};
    use super::*;

    fn password(wanted: &Wanted) -> Option<&str> {
        match &wanted.tables {
            Tables::Postgres { password, .. } => password.as_ref().map(ExposeSecret::expose_secret),
            Tables::Sqlite { .. } => None,
        }
    }

    fn installed(wanted: &Wanted) -> Folder {
        let survey = Survey { folder: debian(), program: program(), ..Survey::default() };
        after(&debian(), &Plan::install(&survey, wanted).changes)
    }

    #[test]
    fn options_hold_until_a_removal() {
        assert!(
            !installed(&wanted())
                .bytes("capconduit.d/extensions.conf")
                .unwrap()
                .windows(9)
                .any(|part| part == b"Installed")
        );
        let told = Wanted { share_realtime: true, foreign_ari: true, ..wanted() };
        let later = merged(&wanted(), &installed(&told));
        assert!(later.share_realtime && later.foreign_ari && !later.site_cdr);
        let later = merged(&wanted(), &debian());
        assert!(!later.share_realtime && !later.foreign_ari);
    }

    #[test]
    fn the_password_of_asterisks_role_is_kept() {
        let postgres = |password: Option<&str>| Wanted {
            tables: Tables::Postgres {
                host: "127.0.0.1".to_owned(),
                port: 5432,
                database: "capconduit".to_owned(),
                user: "asterisk".to_owned(),
                password: password.map(|text| text.to_owned().into()),
            },
            ..wanted()
        };
        let there = installed(&postgres(Some("a;b")));
        assert_eq!(password(&merged(&postgres(None), &there)), Some("a;b"));
        assert_eq!(password(&merged(&postgres(Some("new")), &there)), Some("new"));
        assert_eq!(password(&merged(&postgres(None), &debian())), None);
        // A second run without the options that the first one had.
        let named = |user: &str, password: Option<&str>| {
            let mut wanted = postgres(password);
            if let Tables::Postgres { user: role, .. } = &mut wanted.tables {
                user.clone_into(role);
            }
            wanted
        };
        let there = installed(&named("ari", Some("secret")));
        let later = merged(&named("", None), &there);
        assert!(matches!(&later.tables, Tables::Postgres { user, .. } if user == "ari"));
        assert_eq!(password(&later), Some("secret"));
        let first = merged(&named("", None), &debian());
        assert!(matches!(&first.tables, Tables::Postgres { user, .. } if user == ROLE));
    }
}
