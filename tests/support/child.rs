//! Child processes that never outlive the test, however it ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// A running program with its output in a file. Dropping it kills it; the kernel does so if the test itself is killed.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    log: PathBuf,
    process: Process,
}

impl Child {
    /// Starts `program` with both outputs in `log`. The kernel kills it when the calling thread ends, so call
    /// this from the thread that a test runs on.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    pub(crate) fn spawn<A: AsRef<std::ffi::OsStr>>(name: &str, log: &Path, program: &Path, args: &[A]) -> Self {
        let output = File::options().create(true).append(true).open(log);
        let output = output.unwrap_or_else(|e| panic!("cannot write {}: {e}", log.display()));
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .current_dir(log.parent().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of an open file"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name} ({}): {e}; run `just setup`", program.display()));
        Self { name: name.to_owned(), log: log.to_owned(), process }
    }

    /// Its process id.
    #[allow(dead_code, reason = "the bench asks what it costs")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit code if it has ended; `None` within when a signal ended it.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        self.process.try_wait().ok().flatten().map(|status| status.code())
    }

    /// Fails the test, with what the child printed, if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(code) = self.ended() {
            panic!("{} ended with {code:?}; it said:\n{}", self.name, self.output());
        }
    }

    /// Waits for it to end by itself; returns its exit code (`None`: a signal ended it).
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Option<i32> {
        let ended = timeout(limit, async {
            loop {
                if let Some(code) = self.ended() {
                    return code;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        let Ok(code) = ended.await else {
            panic!("{} still runs after {limit:?}; it said:\n{}", self.name, self.output())
        };
        code
    }

    /// Sends a signal by its name (`TERM`, `KILL`, `STOP`, `CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        // The tests may not use `unsafe`, so the shell's own `kill` does it. An error means that it has ended already.
        let kill = ["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid];
        let _ended_already = Command::new("sh").args(kill).stderr(Stdio::null()).status();
    }

    /// Ends it with SIGKILL, as a crash would, and waits.
    pub(crate) fn kill(&mut self) {
        // Errors mean that it has ended already, which is what is asked for.
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
