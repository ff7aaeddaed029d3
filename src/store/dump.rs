//! PostgreSQL's own programs: the whole database into a file, and back into an empty one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;

use super::{Db, StoreError};

/// Where the programs come from.
const INSTALL: &str = "install PostgreSQL's client programs (Debian: postgresql-client)";
/// Where distributions keep the certificate authorities that they trust, which the driver asks and PostgreSQL's library does not.
const ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Parameters of a URL, as the driver calls them, and the variables by which PostgreSQL's library is told.
const PARAMETERS: &[(&[&str], &str)] = &[
    (&["host", "hostaddr"], "PGHOST"),
    (&["port"], "PGPORT"),
    (&["user"], "PGUSER"),
    (&["password"], "PGPASSWORD"),
    (&["dbname"], "PGDATABASE"),
    (&["sslmode", "ssl-mode"], "PGSSLMODE"),
    (&["sslrootcert", "ssl-root-cert", "ssl-ca"], "PGSSLROOTCERT"),
    (&["sslcert", "ssl-cert"], "PGSSLCERT"),
    (&["sslkey", "ssl-key"], "PGSSLKEY"),
    (&["options"], "PGOPTIONS"),
];

/// What is dumped of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The schema that our tables are in.
    pub namespace: String,
    /// What else is in there, and may not be read: another program's.
    others: Vec<String>,
    /// How large the database is, with all that is in it: its dump is smaller.
    pub bytes: u64,
}

/// What is to be dumped of this database.
///
/// # Errors
/// When the database does not answer.
pub async fn extent(db: &Db) -> Result<Extent, StoreError> {
    let ask = async |query: &str| db.connection.query_all_raw(Statement::from_string(DbBackend::Postgres, query)).await;
    let own = ask("SELECT current_schema()::text, pg_database_size(current_database())").await?;
    let own = own.first().ok_or_else(|| DbErr::RecordNotFound("current_schema()".to_owned()))?;
    let (namespace, bytes): (String, i64) = (own.try_get_by_index(0)?, own.try_get_by_index(1)?);
    let others = ask("SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace \
         AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND NOT has_table_privilege(c.oid, 'SELECT')");
    let others = others.await?.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    Ok(Extent { namespace, others, bytes: u64::try_from(bytes).unwrap_or_default() })
}

/// Writes that of the database of this URL to `to`, as it is at one moment (`pg_dump`). Nobody who reads or writes is held up.
///
/// # Errors
/// When the program is missing or fails, with what it said.
pub async fn dump(url: &SecretString, extent: &Extent, to: PathBuf) -> Result<(), StoreError> {
    let schema = pattern(&extent.namespace);
    run("pg_dump", url, move |command| {
        command.args(["--no-password", "--format=custom"]).arg("--schema").arg(&schema);
        for other in &extent.others {
            command.arg("--exclude-table").arg(format!("{schema}.{}", pattern(other)));
        }
        command.arg("--file").arg(to);
    })
    .await
}

/// A name as PostgreSQL's programs take it where they expect a pattern.
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes everything that is in `from` in the database of this URL, all or nothing (`pg_restore`), in the schema that it was in, which must be
/// there.
///
/// # Errors
/// When the program is missing or fails, with what it said; then nothing is made.
pub async fn load(url: &SecretString, namespace: &str, from: PathBuf) -> Result<(), StoreError> {
    let database = environment(url).into_iter().find(|(name, _)| *name == "PGDATABASE").map(|(_, name)| name);
    run("pg_restore", url, move |command| {
        command.args(["--no-password", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]);
        // What is in the schema, not the schema itself.
        command.arg("--schema").arg(namespace);
        command.arg("--dbname").arg(database.unwrap_or_default()).arg(from);
    })
    .await
}

/// How many tables and views there are where ours would be.
///
/// # Errors
/// When the database does not answer.
pub async fn tables(db: &Db) -> Result<u64, StoreError> {
    let ask = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()";
    let row = db.connection.query_one_raw(Statement::from_string(DbBackend::Postgres, ask)).await?;
    let count: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
    Ok(u64::try_from(count).unwrap_or_default())
}

async fn run(
    program: &'static str,
    url: &SecretString,
    arguments: impl FnOnce(&mut Command),
) -> Result<(), StoreError> {
    let failed = |reason: String, mend| StoreError::Program { program, reason, mend };
    let mut command = Command::new(program);
    // No password on the command line, which every user of the machine can read.
    command.envs(environment(url)).env("PGAPPNAME", "capconduit").stdin(Stdio::null()).stdout(Stdio::null());
    // It ends with whoever waits for it.
    command.stderr(Stdio::piped()).kill_on_drop(true);
    arguments(&mut command);
    match command.output().await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let mend = "see database.url (CAPCONDUIT__DATABASE__URL), the space on the disk, and PostgreSQL's log";
            Err(failed(said(program, &output.stderr), mend))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(failed("is not installed".to_owned(), INSTALL))
        }
        Err(error) => Err(failed(error.to_string(), INSTALL)),
    }
}

/// What a program said, in one line.
fn said(program: &str, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines =
        text.lines().map(|line| line.trim().trim_start_matches(&format!("{program}: "))).filter(|it| !it.is_empty());
    let said = lines.take(4).collect::<Vec<_>>().join("; ");
    if said.is_empty() { "it ended without a word".to_owned() } else { said }
}

/// A URL as variables for PostgreSQL's library, which takes further ones of its own from ours.
fn environment(url: &SecretString) -> Vec<(&'static str, String)> {
    let Ok(url) = url.expose_secret().parse::<Url>() else { return Vec::new() };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let host = url.host_str().map(|host| decoded(host.trim_matches(['[', ']'])));
    let parts = [
        ("PGHOST", host),
        ("PGPORT", url.port().map(|port| port.to_string())),
        ("PGUSER", Some(decoded(url.username()))),
        ("PGPASSWORD", url.password().map(decoded)),
        ("PGDATABASE", Some(decoded(url.path().trim_start_matches('/')))),
    ];
    let mut environment: Vec<(&'static str, String)> =
        parts.into_iter().filter_map(|(name, value)| Some((name, value.filter(|it| !it.is_empty())?))).collect();
    for (key, value) in url.query_pairs() {
        let of = PARAMETERS.iter().find(|(keys, _)| keys.contains(&key.as_ref()));
        if let Some((_, name)) = of {
            environment.retain(|(known, _)| known != name);
            environment.push((name, value.into_owned()));
        }
    }
    let is =
        |wanted: &str, found: fn(&str) -> bool| environment.iter().any(|(name, value)| *name == wanted && found(value));
    if is("PGSSLMODE", |mode| mode.starts_with("verify")) && !is("PGSSLROOTCERT", |_| true) {
        let roots = ROOTS.into_iter().find(|path| Path::new(path).exists());
        environment.extend(roots.map(|path| ("PGSSLROOTCERT", path.to_owned())));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(url: &str) -> Vec<String> {
        let mut found: Vec<_> =
            environment(&SecretString::from(url)).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        found.sort();
        found
    }

    #[test]
    fn a_url_is_told_to_the_programs_by_the_environment() {
        let all =
            variables("postgres://us%40er:p%2Fw@db.example:5433/main?sslmode=verify-full&sslrootcert=/ca.pem&x=1");
        let expected = [
            "PGDATABASE=main",
            "PGHOST=db.example",
            "PGPASSWORD=p/w",
            "PGPORT=5433",
            "PGSSLMODE=verify-full",
            "PGSSLROOTCERT=/ca.pem",
            "PGUSER=us@er",
        ];
        assert_eq!(all, expected);
        assert_eq!(variables("postgresql://%2Fvar%2Frun/main")[1], "PGHOST=/var/run");
        assert_eq!(
            variables("postgres://[::1]/main?host=/socket&user=me"),
            ["PGDATABASE=main", "PGHOST=/socket", "PGUSER=me"]
        );
    }

    /// The driver trusts what the system does; PostgreSQL's library must be told.
    #[test]
    fn a_certificate_is_verified_by_what_the_system_trusts() {
        let found = variables("postgres://db/x?sslmode=verify-full");
        let there = ROOTS.iter().any(|path| Path::new(path).exists());
        assert_eq!(found.iter().any(|line| line.starts_with("PGSSLROOTCERT=/etc/")), there, "{found:?}");
        let found = variables("postgres://db/x?sslmode=require");
        assert!(!found.iter().any(|line| line.starts_with("PGSSLROOTCERT")), "{found:?}");
    }

    #[test]
    fn what_a_program_said_is_one_line() {
        let stderr =
            b"pg_dump: error: aborting because of server version mismatch\npg_dump: detail: server version: 16.1\n";
        let line = "error: aborting because of server version mismatch; detail: server version: 16.1";
        assert_eq!(said("pg_dump", stderr), line);
        assert_eq!(said("pg_dump", b"\n"), "it ended without a word");
    }
}
