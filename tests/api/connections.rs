//! Peers that open connections and keep them: each bound alone, and what everybody else notices of it.
//!
//! In each test one bound is short and the others are out of reach; the same again with that bound out of reach, too, shows that it is the
//! one that acts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use capconduit::config::{Api, Network};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::patience::PATIENCE;
use crate::site::{Database, PASSWORD, Site};

/// A bound that acts.
const SHORT: Duration = Duration::from_millis(1500);
/// So long after a bound that acts it has acted.
const LONGER: Duration = Duration::from_millis(2000);
const NEVER: Duration = Duration::from_secs(3600);
const TOKEN: &str = "thirty-two bytes of a metrics token";

const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Part: ";
const REST_OF_IT: &[u8] = b"1\r\n\r\n";
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// A site with these bounds, and no others that could act.
async fn bounded(set: impl FnOnce(&mut Api)) -> Site {
    Site::start_with(Database::Sqlite, |config| {
        let api = &mut config.api;
        (api.header, api.body, api.idle, api.stall) = (NEVER, NEVER, NEVER, NEVER);
        (api.connections, api.connections_per_address) = (1000, 1000);
        api.metrics_token = Some(TOKEN.to_owned().into());
        set(api);
    })
    .await
}

/// One raw connection.
struct Peer(TcpStream);

/// An answer as it came over the wire.
#[derive(Debug)]
struct Raw {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Peer {
    async fn at(site: &Site) -> Self {
        Self(TcpStream::connect(site.config.api.listen).await.expect("the system takes the connection"))
    }

    async fn from(address: &str, site: &Site) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(address.parse().expect("an address"), 0)).expect("it is free");
        Self(socket.connect(site.config.api.listen).await.expect("the system takes the connection"))
    }

    /// With little room for what it does not read.
    async fn narrow(site: &Site) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(32_768).expect("it is set");
        Self(socket.connect(site.config.api.listen).await.expect("the system takes the connection"))
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("it is taken");
    }

    /// All that comes until the server closes; however it does.
    async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut part = vec![0; 65_536];
        loop {
            match timeout(PATIENCE, self.0.read(&mut part)).await.expect("the connection is ended") {
                Ok(0) | Err(_) => return all,
                Ok(count) => all.extend_from_slice(&part[..count]),
            }
        }
    }

    /// The next answer, whose length must be told.
    async fn answer(&mut self) -> Raw {
        let mut bytes = Vec::new();
        loop {
            let byte = timeout(PATIENCE, self.0.read_u8()).await.expect("an answer").expect("an answer");
            bytes.push(byte);
            if bytes.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let mut raw = Raw::read(&bytes);
        let mut body = vec![0; raw.headers["content-length"].parse().expect("a number")];
        timeout(PATIENCE, self.0.read_exact(&mut body)).await.expect("a body").expect("a body");
        raw.body = String::from_utf8(body).expect("text");
        raw
    }

    /// The first bytes of an answer that goes on.
    async fn begins(&mut self) {
        let mut begin = [0; 12];
        timeout(PATIENCE, self.0.read_exact(&mut begin)).await.expect("an answer").expect("an answer");
        assert_eq!(&begin, b"HTTP/1.1 200");
    }
}

impl Raw {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {text:?}")),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// A problem document with the headers that every answer has.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)));
        assert_eq!(self.headers["content-length"], self.body.len().to_string());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers["connection"], "close");
        assert_eq!(self.headers["cache-control"], "no-store");
        for header in
            ["date", "content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"]
        {
            assert!(self.headers.contains_key(header), "{header} in {self:?}");
        }
    }
}

/// The value of a line of the metrics, which all sites of one process share.
async fn metric(site: &Site, line: &str) -> f64 {
    let url = format!("http://{}/metrics", site.config.api.listen);
    // Where it is full, whoever asks for them is refused as well.
    let text = loop {
        let asked = reqwest::Client::new().get(&url).bearer_auth(TOKEN).send().await;
        match asked {
            Ok(answer) => break answer.text().await.expect("text"),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{line} in {text}"))
}

async fn ended(site: &Site, reason: &str) -> f64 {
    metric(site, &format!("capconduit_api_connections_ended_total{{reason=\"{reason}\"}}")).await
}

async fn until_ended(site: &Site, reason: &str, count: f64) {
    let poll = async {
        while ended(site, reason).await < count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("{count} {reason}"));
}

#[tokio::test]
async fn a_head_that_does_not_come_whole_in_time_ends_its_connection_and_says_why() {
    let site = bounded(|api| api.header = SHORT).await;
    let (mut half, mut silent) = (Peer::at(&site).await, Peer::at(&site).await);
    half.send(HALF_A_HEAD).await;
    Raw::read(&half.rest().await).refused(408, "too_slow");
    assert_eq!(silent.rest().await, b"", "it asked for nothing");
    // A byte now and then buys no time; nor does a request before.
    let mut dripping = Peer::at(&site).await;
    dripping.send(REQUEST).await;
    assert_eq!(dripping.answer().await.status, 200);
    let drip = async {
        while dripping.0.write_all(b"G").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, drip).await.expect("the connection is ended");
    until_ended(&site, "header", 3.0).await;
    site.settle().await;
    let site = bounded(|_| {}).await;
    let mut half = Peer::at(&site).await;
    half.send(HALF_A_HEAD).await;
    sleep(LONGER).await;
    half.send(REST_OF_IT).await;
    assert_eq!(half.answer().await.status, 200);
    site.settle().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_whole_in_time_ends_its_connection_and_says_why() {
    let body = json!({ "username": "admin", "password": PASSWORD }).to_string();
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (first, second) = body.as_bytes().split_at(10);
    let site = bounded(|api| api.body = SHORT).await;
    let mut half = Peer::at(&site).await;
    half.send(head.as_bytes()).await;
    half.send(first).await;
    Raw::read(&half.rest().await).refused(408, "too_slow");
    until_ended(&site, "body", 1.0).await;
    site.settle().await;
    let site = bounded(|_| {}).await;
    let mut half = Peer::at(&site).await;
    half.send(head.as_bytes()).await;
    half.send(first).await;
    sleep(LONGER).await;
    half.send(second).await;
    assert_eq!(half.answer().await.status, 200);
    site.settle().await;
}

#[tokio::test]
async fn a_connection_that_is_not_used_any_more_is_closed() {
    let site = bounded(|api| api.idle = SHORT).await;
    let mut idle = Peer::at(&site).await;
    idle.send(REQUEST).await;
    assert_eq!(idle.answer().await.status, 200);
    assert_eq!(idle.rest().await, b"");
    until_ended(&site, "idle", 1.0).await;
    site.settle().await;
    let site = bounded(|_| {}).await;
    let mut idle = Peer::at(&site).await;
    idle.send(REQUEST).await;
    assert_eq!(idle.answer().await.status, 200);
    sleep(LONGER).await;
    idle.send(REQUEST).await;
    assert_eq!(idle.answer().await.status, 200);
    site.settle().await;
}

/// Its size, and how much of it somebody gets who waits before reading on.
async fn read_late(site: &Site, wait: impl Future<Output = ()>) -> (usize, usize) {
    let mut peer = Peer::narrow(site).await;
    peer.send(b"GET /docs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    peer.begins().await;
    wait.await;
    let rest = String::from_utf8_lossy(&peer.rest().await).into_owned();
    let length = rest.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let (_, body) = rest.split_once("\r\n\r\n").expect("a head");
    (length.expect("a length"), body.len())
}

#[tokio::test]
async fn an_answer_of_which_no_byte_is_taken_ends_its_connection() {
    let site = bounded(|api| api.stall = SHORT).await;
    let (size, got) = read_late(&site, until_ended(&site, "stalled", 1.0)).await;
    assert!(got < size && size > 1_000_000, "{got} of {size}");
    // Whoever reads, however slowly, gets all of it.
    let mut slow = Peer::at(&site).await;
    slow.send(b"GET /docs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let (mut taken, mut part) = (0, vec![0; 16_384]);
    loop {
        match timeout(PATIENCE, slow.0.read(&mut part)).await.expect("it goes on").expect("no error") {
            0 => break,
            count => taken += count,
        }
        sleep(Duration::from_millis(2)).await;
    }
    assert!(taken > size, "{taken} of {size} and the head");
    site.settle().await;
    let site = bounded(|_| {}).await;
    let (size, got) = read_late(&site, sleep(LONGER)).await;
    assert_eq!(got, size);
    site.settle().await;
}

#[tokio::test]
async fn as_many_connections_as_there_may_be_keep_nobody_out_who_asks_for_something() {
    let site = bounded(|api| (api.connections, api.connections_per_address) = (5, 1000)).await;
    let mut halves = Vec::new();
    for _ in 0..20 {
        let mut half = Peer::at(&site).await;
        half.send(HALF_A_HEAD).await;
        halves.push(half);
    }
    assert_eq!(site.outside().get("/healthz").await.status, 200);
    assert_eq!(halves[0].rest().await, b"", "the longest waiting gives way");
    assert!(ended(&site, "gave_way").await >= 15.0);
    until_open(&site, 5.0).await;
    assert_eq!(ended(&site, "full").await, 0.0);
    site.settle().await;
}

/// Event streams that have begun.
async fn streams(site: &Site, from: &str, count: usize) -> Vec<Peer> {
    let token = site.log_in("admin", PASSWORD).await["access_token"].as_str().expect("a token").to_owned();
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = Peer::from(from, site).await;
        let request = format!("GET /api/v1/live/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.send(request.as_bytes()).await;
        stream.begins().await;
        streams.push(stream);
    }
    streams
}

/// Whether a request from there is answered.
async fn is_served(site: &Site, from: &str) -> bool {
    let mut peer = Peer::from(from, site).await;
    // It may be closed before this is sent.
    let _ = peer.0.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    peer.rest().await.starts_with(b"HTTP/1.1 200")
}

/// Until there are no more than so many, with the one that asks.
async fn until_open(site: &Site, most: f64) {
    let poll = async {
        while metric(site, "capconduit_api_connections").await > most {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, poll).await.expect("connections end");
}

#[tokio::test]
async fn connections_that_are_used_give_way_to_nobody() {
    for (most, served) in [(4, false), (5, true)] {
        let site = bounded(|api| api.connections = most).await;
        let before = ended(&site, "full").await;
        let streams = streams(&site, "127.0.0.2", 4).await;
        assert_eq!(is_served(&site, "127.0.0.3").await, served, "{most}");
        drop(streams);
        until_open(&site, 1.0).await;
        assert!(is_served(&site, "127.0.0.3").await, "there is room again");
        assert_eq!(ended(&site, "full").await > before, !served);
        site.settle().await;
    }
}

#[tokio::test]
async fn one_address_has_no_more_than_its_share_unless_it_is_a_trusted_proxys() {
    for (most, trusted, served) in [(3, None, false), (4, None, true), (3, Some("127.0.0.2"), true)] {
        let site = bounded(|api| {
            api.connections_per_address = most;
            let trusted: Option<Network> = trusted.map(|proxy| proxy.parse().expect("a network"));
            api.trusted_proxies.extend(trusted);
        })
        .await;
        let before = ended(&site, "address").await;
        let streams = streams(&site, "127.0.0.2", 3).await;
        assert_eq!(is_served(&site, "127.0.0.2").await, served, "{most} {trusted:?}");
        assert!(is_served(&site, "127.0.0.3").await, "others have their own share");
        assert_eq!(ended(&site, "address").await > before, !served);
        drop(streams);
        site.settle().await;
    }
}

#[tokio::test]
async fn whatever_is_no_request_is_answered_with_a_problem_as_everything_is() {
    let site = bounded(|_| {}).await;
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = "x".repeat(80_000);
    for (sent, status, code) in [
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(), 400, "malformed"),
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET /healthz HTTP/1.1\r\nNo colon\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), 400, "malformed"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431, "header_too_large"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), 431, "header_too_large"),
        (long.clone(), 431, "header_too_large"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "http_version"),
    ] {
        let shown: String = sent.chars().take(60).collect();
        let mut peer = Peer::at(&site).await;
        // It may be answered before all of it is sent.
        let _ = peer.0.write_all(sent.as_bytes()).await;
        let answer = peer.rest().await;
        assert!(!answer.is_empty(), "{shown:?} is answered");
        Raw::read(&answer).refused(status, code);
        // The same behind a request that is served.
        let mut peer = Peer::at(&site).await;
        let _ = peer.0.write_all(&[REQUEST, sent.as_bytes()].concat()).await;
        assert_eq!(peer.answer().await.status, 200, "{shown:?}");
        Raw::read(&peer.rest().await).refused(status, code);
    }
    site.settle().await;
}

/// What can be read is refused by the API itself, and the connection is good for more, up to what the library reads.
#[tokio::test]
async fn a_path_and_query_of_any_length_is_told_from_headers_that_are_too_long() {
    let site = bounded(|_| {}).await;
    let mut peer = Peer::at(&site).await;
    for (length, status) in [(8192, 404), (8193, 414), (9000, 414), (65_000, 414)] {
        for query in [0, 5000] {
            let target = format!("/{}{}", "x".repeat(length - 1 - query), "?".repeat(query));
            peer.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
            let answer = peer.answer().await;
            assert_eq!(answer.status, status, "{length} bytes, {query} of them its query: {answer:?}");
            if status == 414 {
                let problem: Value = serde_json::from_str(&answer.body).expect("a problem");
                assert_eq!(problem["code"], "uri_too_long");
                assert!(problem["detail"].as_str().expect("text").contains("8192 bytes"), "{problem}");
                assert_eq!(answer.headers["content-type"], "application/problem+json");
                assert_eq!(answer.headers["cache-control"], "no-store");
                assert!(answer.headers.contains_key("content-security-policy"), "{answer:?}");
            }
        }
    }
    peer.send(REQUEST).await;
    assert_eq!(peer.answer().await.status, 200);
    // A line that alone is more than a head may be, and one that is not but for the headers after it.
    for (path, header) in [(66_000, 0), (65_000, 2000), (100, 66_000)] {
        let mut peer = Peer::at(&site).await;
        let sent = format!("GET /{} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(path), "x".repeat(header));
        let _ = peer.0.write_all(sent.as_bytes()).await;
        Raw::read(&peer.rest().await).refused(431, "header_too_large");
    }
    site.settle().await;
}

#[tokio::test]
async fn a_refusal_is_read_although_more_was_sent_than_is_taken() {
    let site = bounded(|_| {}).await;
    for _ in 0..20 {
        let mut peer = Peer::at(&site).await;
        let sent = [b"POST / HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &[b'x'; 500_000]].concat();
        let _ = peer.0.write_all(&sent).await;
        Raw::read(&peer.rest().await).refused(431, "header_too_large");
    }
    site.settle().await;
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_turn() {
    let site = bounded(|_| {}).await;
    let mut peer = Peer::at(&site).await;
    let nothing = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    peer.send(&[REQUEST, nothing, REQUEST, nothing].concat()).await;
    for status in [200, 404, 200, 404] {
        assert_eq!(peer.answer().await.status, status);
    }
    site.settle().await;
}

#[tokio::test]
async fn whoever_is_gone_or_says_no_more_ends_its_stream() {
    let site = bounded(|_| {}).await;
    let mut streams = streams(&site, "127.0.0.2", 2).await;
    streams[0].0.shutdown().await.expect("its side is closed");
    drop(streams.remove(1));
    until_open(&site, 1.0).await;
    streams[0].rest().await;
    site.settle().await;
}

#[tokio::test]
async fn the_documentation_is_compressed_known_by_its_hash_and_asked_for_again_in_a_line() {
    let site = bounded(|_| {}).await;
    for (path, kind, small) in
        [("/docs", "text/html; charset=utf-8", 700_000), ("/openapi.json", "application/json", 200_000)]
    {
        let plain = site.outside().get(path).await;
        assert_eq!(plain.status, 200);
        assert_eq!(plain.headers["content-type"], kind);
        assert!(!plain.headers.contains_key("content-encoding"));
        let outside = site.outside();
        let with = |name: &'static str, value: String| outside.send_with(path, name, value);
        let gzipped = with("Accept-Encoding", "gzip, br".to_owned()).await;
        assert_eq!(gzipped.headers["content-encoding"], "gzip");
        let size: usize = gzipped.headers["content-length"].to_str().expect("text").parse().expect("a number");
        assert!(size < small && size < plain.text.len() / 3, "{path}: {size} of {}", plain.text.len());
        assert_ne!(gzipped.headers["etag"], plain.headers["etag"]);
        for answer in [&plain, &gzipped] {
            assert_eq!(answer.headers["cache-control"], "no-cache");
            assert_eq!(answer.headers["vary"], "accept-encoding");
            let again = with("If-None-Match", answer.headers["etag"].to_str().expect("text").to_owned()).await;
            assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
            assert_eq!(again.headers["cache-control"], "no-cache");
        }
        assert_eq!(with("If-None-Match", "\"another\"".to_owned()).await.status, 200);
    }
    assert_eq!(site.outside().get("/docs/nothing").await.headers["cache-control"], "no-store");
    site.settle().await;
}
