//! The design that CapConduit replaces, as a fixture: a dialplan of ODBC look-ups, caps by GROUP_COUNT, and an AGI script that posts the
//! record to whom it did (here: somebody who takes everything at once).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::site::{ANSWERED, FAILED_OVER, REPLACED_IP, extend};

const MODULES: &str = "\nload = res_odbc_transaction.so\nload = res_odbc.so\nload = func_odbc.so\nload = func_groupcount.so\nload = func_cut.so\nload = res_speech.so\nload = res_agi.so\n";
const TABLES: &str = "
    CREATE TABLE dids (id INTEGER PRIMARY KEY, number TEXT UNIQUE, campaign_id INTEGER, user_id INTEGER);
    CREATE TABLE clients (id INTEGER PRIMARY KEY, endpoint TEXT);
    CREATE TABLE links (id INTEGER PRIMARY KEY, campaign_id INTEGER, client_id INTEGER, status TEXT, priority INTEGER, max_concurrency INTEGER, total_allowed INTEGER);
    CREATE TABLE calls (id INTEGER PRIMARY KEY, link_id INTEGER);
    CREATE INDEX calls_link ON calls (link_id);
    INSERT INTO clients VALUES (1, 'alpha'), (2, 'busy');
    INSERT INTO links VALUES (1, 1, 1, 'active', 1, 5000, 1000000), (2, 2, 2, 'active', 1, 5000, 1000000), (3, 2, 1, 'active', 2, 5000, 1000000);";

/// Takes the records that the script posts. Ends with this.
#[derive(Debug)]
pub(crate) struct Sink(JoinHandle<()>);

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Puts the old design's files into the overlay of a site's Asterisk.
///
/// # Panics
/// Where the ODBC driver is missing: `scripts/setup bench` fetches it.
pub(crate) async fn add(dir: &Path, overlay: &Path) -> Sink {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sink = listener.local_addr().expect("a bound socket has an address");
    let script = dir.join("log_call.agi");
    std::fs::write(&script, include_str!("replaced/log_call.agi")).expect("the bench's folder takes a file");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    let dialplan = include_str!("replaced/extensions.conf");
    let dialplan = dialplan.replace("{{script}}", &script.display().to_string()).replace("{{sink}}", &sink.to_string());
    extend(overlay, "extensions.conf", &dialplan);
    extend(overlay, "modules.conf", MODULES);
    extend(
        overlay,
        "pjsip.conf",
        &format!(
            "\n[bench-replaced](capconduit-carrier)\ncontext = bench-replaced\n\
             [bench-replaced-identify]\ntype = identify\nendpoint = bench-replaced\nmatch = {REPLACED_IP}\n"
        ),
    );
    database(dir, overlay);
    Sink(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream));
        }
    }))
}

fn database(dir: &Path, overlay: &Path) {
    let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("the bench's folder takes a file");
    let odbc = dir.join("odbc");
    std::fs::create_dir_all(&odbc).expect("the bench's folder takes a folder");
    let file = odbc.join("old.db");
    let tables = rusqlite::Connection::open(&file).expect("a new file");
    tables.execute_batch(TABLES).expect("the tables are made");
    for (id, number) in [(1, ANSWERED), (2, FAILED_OVER)] {
        tables.execute("INSERT INTO dids VALUES (?1, ?2, ?1, 1)", (id, number)).expect("a row");
    }
    drop(tables);
    // Asterisk runs as another user.
    std::fs::set_permissions(&odbc, PermissionsExt::from_mode(0o777)).expect("the folder is ours");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("the file is ours");
    let driver = driver();
    write(odbc.join("odbcinst.ini"), &format!("[SQLite3]\nDriver={}\nThreading=2\n", driver.display()));
    write(odbc.join("odbc.ini"), &format!("[bench]\nDriver=SQLite3\nDatabase={}\nTimeout=2000\n", file.display()));
    write(
        overlay.join("res_odbc.conf"),
        &format!(
            "[ENV]\nODBCSYSINI => {}\n\n[bench]\nenabled => yes\ndsn => bench\npre-connect => yes\nmax_connections => 20\n",
            odbc.display()
        ),
    );
    write(overlay.join("func_odbc.conf"), include_str!("replaced/func_odbc.conf"));
}

/// SQLite's ODBC driver, where `scripts/setup bench` has put it.
fn driver() -> PathBuf {
    let cache =
        std::env::var_os("CAPCONDUIT_CACHE").map_or_else(|| PathBuf::from("/var/cache/capconduit"), PathBuf::from);
    let path = cache.join("odbc/libsqlite3odbc.so");
    assert!(path.exists(), "{} is missing: run scripts/setup bench", path.display());
    path
}

/// Answers 200 to whatever comes.
async fn take(mut stream: TcpStream) {
    let mut request = vec![0; 4096];
    // The script sends head and body in two writes; who reads only the first has its reset connection.
    let mut got = Vec::new();
    while let Ok(n @ 1..) = stream.read(&mut request).await {
        got.extend_from_slice(&request[..n]);
        let text = String::from_utf8_lossy(&got);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or_default() {
            break;
        }
    }
    // The script has ended where this fails.
    let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").await;
}
