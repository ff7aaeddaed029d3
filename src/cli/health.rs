//! `capconduit health`: whether `serve` lives, for containers that have no shell and no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Sources;

/// How long the answer may take, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Only what names the address has to be right: a fault elsewhere in the file says nothing about the process that runs.
pub(super) async fn run(sources: &Sources) -> anyhow::Result<ExitCode> {
    let address = reachable(sources.api_listen()?)?;
    let asked = timeout(PATIENCE, ask(address)).await;
    let status = asked.with_context(|| format!("{address} has not answered within {} s", PATIENCE.as_secs()))?;
    let status = status.with_context(|| format!("{address} (api.listen) does not answer"))?;
    if status != 200 {
        bail!("{address} answers /healthz with {status}");
    }
    super::print("ok\n")
}

/// Where a listener is asked: one on all addresses, on this machine's own.
fn reachable(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    if listen.port() == 0 {
        bail!("api.listen = \"{listen}\" has no port of its own that could be asked: configure one");
    }
    Ok(SocketAddr::new(ip, listen.port()))
}

/// The status of `/healthz`.
async fn ask(address: SocketAddr) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.context("the answer ends before its status")?;
    status(&head).context("the answer is no HTTP")
}

/// Of an answer's first bytes: `HTTP/1.1 200`.
fn status(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?.strip_prefix("HTTP/1.")?;
    text.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("0.0.0.0:8080", Some("127.0.0.1:8080")),
            ("[::]:8080", Some("[::1]:8080")),
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("127.0.0.1:0", None),
        ] {
            let found = reachable(listen.parse().unwrap()).ok();
            assert_eq!(found.map(|address| address.to_string()).as_deref(), asked, "{listen}");
        }
    }

    #[test]
    fn a_status_is_read_and_nothing_else_is_taken_for_one() {
        for (head, found) in
            [("HTTP/1.1 200", Some(200)), ("HTTP/1.0 503", Some(503)), ("SSH-2.0-Open", None), ("HTTP/1.1 ok!", None)]
        {
            assert_eq!(status(head.as_bytes()), found, "{head}");
        }
    }
}
