//! A site of many objects: what `apply` asks does not grow with them, and writers of records go on meanwhile. At full size and timed:
//! `CAPCONDUIT_LARGE=100000 cargo nextest run --release -p capconduit --test store -E 'test(large::)' --no-capture`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use capconduit::clock::Clock;
use capconduit::config::{Database, Realtime};
use capconduit::plan::{Document, Screening};
use capconduit::store::apply::apply;
use capconduit::store::{Db, records};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::helpers::{Home, on_both};
use crate::patience::PATIENCE;
use crate::postgres::Postgres;
use crate::recording::{attempt, record};

on_both!(a_large_site_is_compared_and_changed);

/// DIDs where nobody says another number; links are half as many.
const DIDS: usize = 2_000;

/// A plan of so many DIDs in campaigns of a hundred, and half as many links; `weight` is that of the first one.
fn plan(count: usize, weight: u32) -> Document {
    let mut toml = "[[sellers]]\nusername = \"ann\"\nname = \"Ann\"\n".to_owned();
    for n in 0..50 {
        let _ = write!(
            toml,
            "[[clients]]\nidentifier = \"c{n}\"\nname = \"C{n}\"\nsip = {{ host = \"203.0.113.{}\" }}\n",
            n + 1
        );
    }
    for n in 0..count {
        let _ = write!(toml, "[[dids]]\nnumber = \"+4420{:08}\"\nseller = \"ann\"\n", 70_000_000 + n);
    }
    for campaign in 0..count / 100 {
        let dids: Vec<String> = (0..100).map(|n| format!("\"+4420{:08}\"", 70_000_000 + campaign * 100 + n)).collect();
        let _ = write!(
            toml,
            "[[campaigns]]\nname = \"k{campaign}\"\nseller = \"ann\"\nrouting_strategy = \"weighted\"\ndids = [{}]\n",
            dids.join(",")
        );
        for n in 0..50 {
            let weight = if campaign == 0 && n == 0 { weight } else { 1 };
            let _ = write!(toml, "[[campaigns.links]]\nclient = \"c{n}\"\nweight = {weight}\n");
        }
    }
    Document::parse(&toml).expect("TOML of that form")
}

async fn made(db: &Db, realtime: &Realtime, document: &Document) -> usize {
    apply(db, realtime, &Screening::default(), document, true).await.expect("it is applied").changes.len()
}

async fn a_large_site_is_compared_and_changed(home: Home) {
    let count = std::env::var("CAPCONDUIT_LARGE").ok().and_then(|count| count.parse().ok()).unwrap_or(DIDS);
    let (db, clock) = (home.migrated().await, Clock::start());
    let realtime = home.realtime();
    let (first, changed) = (plan(count, 1), plan(count, 5));
    let took = async |what: &str, document: &Document| {
        let begun = clock.now().mono;
        let changes = made(&db, &realtime, document).await;
        println!("{count} DIDs, {} links: {what} took {:?}", count / 2, clock.now().mono - begun);
        changes
    };
    assert_eq!(took("making all", &first).await, 1 + 50 + count + count / 100 + count / 2);
    assert_eq!(took("comparing what is the same", &first).await, 0);

    // Records are written all the while; the longest that one took is what an apply holds them up for.
    let other = home.connect().await;
    let done = Arc::new(tokio::sync::Notify::new());
    let until = Arc::clone(&done);
    let writing = tokio::spawn(async move {
        let (mut longest, mut n) = (Duration::ZERO, 0);
        let stop = until.notified();
        tokio::pin!(stop);
        loop {
            n += 1;
            let begun = clock.now().mono;
            records::write(&other, &[record(n, vec![attempt(1, 1, true)])]).await.expect("it is written");
            longest = longest.max(clock.now().mono - begun);
            tokio::select! {
                () = &mut stop => return (longest, n),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    });
    assert_eq!(took("changing one link", &changed).await, 1);
    done.notify_one();
    let (longest, written) = writing.await.expect("it writes");
    println!("{count} DIDs: of {written} records the longest took {longest:?}");
    assert_eq!(made(&db, &realtime, &changed).await, 0);
}

/// Counts what a client sends: a statement is one piece, or a few.
async fn relay(to: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let pieces = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pieces);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let far = TcpStream::connect(("127.0.0.1", to)).await.expect("the server listens");
                let ((mut from, mut back), (mut answers, mut onward)) = (near.into_split(), far.into_split());
                tokio::spawn(async move { drop(tokio::io::copy(&mut answers, &mut back).await) });
                let mut piece = vec![0; 65_536];
                while let Ok(length @ 1..) = from.read(&mut piece).await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if onward.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, pieces)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_does_not_grow_with_the_objects() {
    let postgres = Postgres::start();
    let (port, pieces) = relay(postgres.port()).await;
    let url = postgres.url().replace(&postgres.port().to_string(), &port.to_string());
    let db = Db::connect(&Database { url: SecretString::from(url), max_connections: 4, wait: PATIENCE })
        .await
        .expect("it opens");
    let realtime = Realtime::Postgres;
    capconduit::store::migrate(&db, &realtime).await.expect("the steps run");
    let mut asked = Vec::new();
    for count in [200, 2_000] {
        let document = plan(count, 1);
        made(&db, &realtime, &document).await;
        pieces.store(0, Ordering::Relaxed);
        assert_eq!(made(&db, &realtime, &document).await, 0);
        asked.push(pieces.load(Ordering::Relaxed));
    }
    assert!(asked[1] < 100, "statements for 200 and for 2000 DIDs: {asked:?}");
}

/// A writer of records is in the midst of its transaction: what only adds does not wait for it, and it not for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_records_are_not_held_up_by_what_they_do_not_touch() {
    use sqlx::{Connection, Executor};
    let home = Home::postgres();
    let Home::Postgres(postgres) = &home else { unreachable!("it is one") };
    let db = home.migrated().await;
    let realtime = home.realtime();
    made(&db, &realtime, &plan(100, 1)).await;
    let mut writer = sqlx::PgConnection::connect(&postgres.url()).await.expect("it opens");
    writer
        .execute("BEGIN; UPDATE campaign_client_settings SET current_total_calls = 1 WHERE id = 1")
        .await
        .expect("SQL");
    let added = timeout(PATIENCE, made(&db, &realtime, &plan(200, 1))).await.expect("it waits for nobody");
    assert_eq!(added, 100 + 1 + 50);
    // A link's own row is another matter: it waits until the writer is done.
    let (of, changed) = (db.clone(), plan(200, 5));
    let changing = tokio::spawn(async move { made(&of, &Realtime::Postgres, &changed).await });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'campaign_client_settings'::regclass";
    let waiting = async { while postgres.psql(waits) != "1" {} };
    timeout(PATIENCE, waiting).await.expect("it takes its turn");
    writer.execute("COMMIT").await.expect("SQL");
    assert_eq!(timeout(PATIENCE, changing).await.expect("in time").expect("no panic"), 1);
}
