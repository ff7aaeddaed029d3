//! The design that CapConduit replaces, as a fixture: a dialplan of ODBC look-ups, caps by `GROUP_COUNT`, and an AGI script that posts the
//! record to whom it did (here: somebody who takes everything at once). Kinder to it than life: its tables are small, and nobody else reads them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::site::{ANSWERED, delivered, dialplan, endpoints};
use crate::harness::site::Preparation;

/// The carrier whose calls it takes.
pub(crate) const IP: &str = "127.0.0.4";

const MODULES: &str = "
load = res_odbc_transaction.so
load = res_odbc.so
load = func_odbc.so
load = func_groupcount.so
load = func_cut.so
load = res_speech.so
load = res_agi.so
";
const ENDPOINT: &str = "
[bench-replaced](capconduit-carrier)
context = bench-replaced
[bench-replaced-identify]
type = identify
endpoint = bench-replaced
match = 127.0.0.4
";
const TABLES: &str = "
    CREATE TABLE dids (id INTEGER PRIMARY KEY, number TEXT UNIQUE, campaign_id INTEGER, user_id INTEGER);
    CREATE TABLE clients (id INTEGER PRIMARY KEY, endpoint TEXT);
    CREATE TABLE links (id INTEGER PRIMARY KEY, campaign_id INTEGER, client_id INTEGER, status TEXT, priority INTEGER, max_concurrency INTEGER, total_allowed INTEGER);
    CREATE TABLE calls (id INTEGER PRIMARY KEY, link_id INTEGER);
    CREATE INDEX calls_link ON calls (link_id);
    INSERT INTO clients VALUES (1, 'alpha');
    INSERT INTO links VALUES (1, 1, 1, 'active', 1, 5000, 1000000);";

/// Takes the records that the script posts. Ends with this.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    posted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    /// Opens it.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let posted = Arc::<AtomicUsize>::default();
        let counter = posted.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, counter.clone()));
            }
        });
        Self { address, posted, task }
    }

    /// How many records were posted since this was asked last.
    pub(crate) fn take(&self) -> usize {
        self.posted.swap(0, Ordering::Relaxed)
    }

    /// Adds the design to a site's Asterisk; its records come here.
    pub(crate) fn add(&self, site: Preparation) -> Preparation {
        let script = site.file("log_call.agi", include_str!("replaced/log_call.agi"));
        let own = include_str!("replaced/extensions.conf");
        let own = own.replace("{{script}}", &script).replace("{{sink}}", &self.address.to_string());
        let connections = format!(
            "[ENV]\nODBCSYSINI => {}\n\n[bench]\nenabled => yes\ndsn => bench\npre-connect => yes\nmax_connections => 20\n",
            database(&site).display()
        );
        site.asterisk_file("extensions.conf", &(dialplan() + &own))
            .asterisk_file("pjsip.conf", &(endpoints() + ENDPOINT))
            .asterisk_file("modules.conf", &(delivered("modules.conf") + MODULES))
            .asterisk_file("func_odbc.conf", include_str!("replaced/func_odbc.conf"))
            .asterisk_file("res_odbc.conf", &connections)
    }
}

/// Its tables, and what tells unixODBC of them, in a folder of the site's.
fn database(site: &Preparation) -> PathBuf {
    let folder = site.folder("odbc");
    let (file, write) = (folder.join("old.db"), |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("the bench's folder takes a file");
    });
    let tables = rusqlite::Connection::open(&file).expect("a new file");
    tables.execute_batch(TABLES).expect("the tables are made");
    tables.execute("INSERT INTO dids VALUES (1, ?1, 1, 1)", [ANSWERED]).expect("a row");
    drop(tables);
    open_to_asterisk(&folder, 0o777);
    open_to_asterisk(&file, 0o666);
    write("odbcinst.ini", "[SQLite3]\nDriver=libsqlite3odbc.so\nThreading=2\n");
    write("odbc.ini", &format!("[bench]\nDriver=SQLite3\nDatabase={}\nTimeout=2000\n", file.display()));
    folder
}

/// Asterisk runs as another user.
fn open_to_asterisk(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
}

/// Answers 200 to whatever comes, and counts it.
async fn take(mut stream: TcpStream, posted: Arc<AtomicUsize>) {
    let mut part = vec![0; 4096];
    // The script sends head and body in two writes; who reads only the first has its reset connection.
    let mut got = Vec::new();
    while let Ok(n @ 1..) = stream.read(&mut part).await {
        got.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&got);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or_default() {
            posted.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    // The script has ended where this fails.
    let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").await;
}
