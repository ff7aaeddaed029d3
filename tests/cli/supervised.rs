//! `serve` under a supervisor that speaks `sd_notify(3)`, as systemd does.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::folder;
use crate::patience::PATIENCE;

/// The next thing that is told which begins so.
fn told(socket: &UnixDatagram, wanted: &str) -> String {
    let mut bytes = [0; 1024];
    loop {
        let length = socket.recv(&mut bytes).expect(wanted);
        let text = String::from_utf8_lossy(&bytes[..length]);
        if let Some(line) = text.lines().find(|line| line.starts_with(wanted)) {
            return line.to_owned();
        }
    }
}

#[test]
fn it_is_told_that_it_is_ready_lives_and_stops() {
    let folder = folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    // Nobody listens where nobody has bound: Asterisk is away.
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_capconduit"))
        .arg("serve")
        .current_dir(folder.path())
        .env_clear()
        .env("NOTIFY_SOCKET", &path)
        .env("CAPCONDUIT__API__LISTEN", free().to_string())
        .env("CAPCONDUIT__ASTERISK__0__URL", format!("http://{}", free()))
        .env("CAPCONDUIT__ASTERISK__0__PASSWORD", "x")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    told(&socket, "EXTEND_TIMEOUT_USEC=");
    told(&socket, "READY=1");
    assert_eq!(told(&socket, "STATUS="), "STATUS=0 of 1 node, 0 calls");
    for _ in 0..2 {
        told(&socket, "WATCHDOG=1");
    }
    let pid = i32::try_from(serve.id()).ok().and_then(Pid::from_raw).expect("it runs");
    kill_process(pid, Signal::TERM).expect("it is told");
    told(&socket, "STOPPING=1");
    told(&socket, "EXTEND_TIMEOUT_USEC=");
    assert!(serve.wait().expect("it ends").success());
}

#[test]
fn a_configuration_is_read_anew_and_a_faulty_one_changes_nothing() {
    let folder = folder();
    let (path, file, log) =
        (folder.path().join("notify"), folder.path().join("capconduit.toml"), folder.path().join("log"));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let listen = free();
    let with = |calls: &str, api: &str| {
        let text =
            format!("[calls]\n{calls}\n[api]\n{api}\n[[asterisk]]\nurl = \"http://{}\"\npassword = \"x\"\n", free());
        std::fs::write(&file, text).expect("it is written");
    };
    let url = "http://127.0.0.1:9";
    with("max_live = 7", &format!("listen = \"{listen}\""));
    let mut serve = Command::new(env!("CARGO_BIN_EXE_capconduit"))
        .arg("serve")
        .current_dir(folder.path())
        .env_clear()
        .env("NOTIFY_SOCKET", &path)
        .env("CAPCONDUIT__ASTERISK__0__URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("it starts");
    let pid = i32::try_from(serve.id()).ok().and_then(Pid::from_raw).expect("it runs");
    let again = || {
        kill_process(pid, Signal::HUP).expect("it is told");
        told(&socket, "RELOADING=1");
        told(&socket, "READY=1");
        std::fs::read_to_string(&log).expect("the log")
    };
    told(&socket, "READY=1");
    with("max_live = 8", "listen = \"127.0.0.1:1\"");
    let said = again();
    for part in ["\"changed\":\"calls.max_live\"", "a restart brings these changes", "\"keys\":\"api.listen\""] {
        assert!(said.contains(part), "{part} in {said}");
    }
    with("max_live = 0", &format!("listen = \"{listen}\""));
    let said = again();
    assert!(said.contains("nothing is changed") && said.contains("calls.max_live = 0"), "{said}");
    kill_process(pid, Signal::TERM).expect("it is told");
    assert!(serve.wait().expect("it ends").success());
}
