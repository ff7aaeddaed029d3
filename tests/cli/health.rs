//! `capconduit health`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::{capconduit, folder};

/// A listener that answers the first request with `answer`, and says what was asked.
fn answering(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        let mut request = [0; 1024];
        let length = stream.read(&mut request).expect("it asks");
        stream.write_all(answer.as_bytes()).expect("it reads");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (address, asked)
}

#[test]
fn health_asks_whether_the_process_lives_and_nothing_else() {
    let folder = folder();
    let (address, asked) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    // A fault elsewhere says nothing about the process that runs.
    let environment = [("CAPCONDUIT__API__LISTEN", address.as_str()), ("CAPCONDUIT__CALLS__MAX_LIVE", "x")];
    let (code, out, error) = capconduit(folder.path(), &environment, &["health"]);
    assert_eq!((code, out.as_str()), (0, "ok\n"), "{error}");
    assert!(asked.join().expect("it ended").starts_with("GET /healthz HTTP/1.1\r\n"));
}

#[test]
fn what_answers_otherwise_or_not_at_all_is_not_healthy() {
    let folder = folder();
    let ask = |address: &str| capconduit(folder.path(), &[("CAPCONDUIT__API__LISTEN", address)], &["health"]);
    let (address, asked) = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let (code, _, error) = ask(&address);
    assert!(code == 1 && error.contains("answers /healthz with 503"), "{error}");
    drop(asked.join());
    let (code, _, error) = ask(&address);
    assert!(code == 1 && error.contains(&address) && error.contains("does not answer"), "{error}");
    // Takes connections, as the kernel does for a stopped process, and never answers.
    let hung = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (code, _, error) = ask(&hung.local_addr().expect("bound").to_string());
    assert!(code == 1 && error.contains("has not answered within"), "{error}");
}
