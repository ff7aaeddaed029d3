//! The running Asterisk's console, by its own program: `asterisk -rx`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a command is watched of which the answer comes later.
const MOMENT: Duration = Duration::from_secs(2);

/// A program, and which Asterisk of it.
#[derive(Debug, Clone)]
pub(super) struct Console {
    program: PathBuf,
    /// `asterisk.conf`, by which its socket is found.
    configuration: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{program} cannot be run: {source}")]
    Program { program: String, source: std::io::Error },
    #[error("Asterisk does not answer: {0}")]
    Away(String),
    #[error("Asterisk did not answer within {} s", PATIENCE.as_secs())]
    Late,
}

impl Console {
    /// The program of this name or path; Asterisk's configuration folder says which one is meant where there are several.
    pub(super) fn new(program: PathBuf, folder: Option<&Path>) -> Self {
        let configuration = folder.map(|folder| folder.join("asterisk.conf")).filter(|path| path.exists());
        Self { program, configuration }
    }

    /// What `asterisk -V` says.
    pub(super) async fn version(&self) -> Result<String, NoAnswer> {
        self.run(&["-V"]).await
    }

    /// One command, and what it says.
    pub(super) async fn ask(&self, command: &str) -> Result<String, NoAnswer> {
        let configuration = self.configuration.as_ref().map(|path| path.display().to_string());
        let mut arguments = Vec::new();
        if let Some(configuration) = &configuration {
            arguments.extend(["-C", configuration.as_str()]);
        }
        arguments.extend(["-rx", command]);
        self.run(&arguments).await
    }

    /// One command that may wait for something: its answer is not.
    pub(super) async fn begin(&self, command: &str) -> Result<(), NoAnswer> {
        match tokio::time::timeout(MOMENT, self.ask(command)).await {
            Ok(said) => said.map(drop),
            Err(_) => Ok(()),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, NoAnswer> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env("TERM", "dumb");
        let program = || self.program.display().to_string();
        let output = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| NoAnswer::Late)?;
        let output = output.map_err(|source| NoAnswer::Program { program: program(), source })?;
        let text = plain(&String::from_utf8_lossy(&output.stdout));
        if output.status.success() {
            return Ok(text);
        }
        let said = plain(&String::from_utf8_lossy(&output.stderr));
        let said = said.lines().chain(text.lines()).map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        Err(NoAnswer::Away(said.to_owned()))
    }
}

/// Without what colours a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        let end = rest[at..].find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |end| at + end + 1);
        rest = &rest[end..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("asterisk");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_command_is_handed_on_and_its_answer_read_without_colours() {
        let (dir, path) = script(r#"printf '\033[1;35m%s\033[0m\n' "$*""#);
        let console = Console::new(path.clone(), Some(dir.path()));
        assert_eq!(console.ask("core show version").await.unwrap(), "-rx core show version\n");
        std::fs::write(dir.path().join("asterisk.conf"), "").unwrap();
        let console = Console::new(path, Some(dir.path()));
        assert!(console.ask("x").await.unwrap().starts_with("-C /"));
        assert_eq!(console.version().await.unwrap(), "-V\n");
    }

    /// `core restart when convenient` answers when no call is up any more, and goes on when nobody listens.
    #[tokio::test(start_paused = true)]
    async fn what_waits_is_not_waited_for() {
        let (_dir, path) = script("sleep 600");
        Console::new(path, None).begin("core restart when convenient").await.unwrap();
    }

    #[tokio::test]
    async fn one_that_does_not_run_is_told_from_one_that_is_not_there() {
        let (_dir, path) = script("echo 'Unable to connect to remote asterisk' >&2; exit 1");
        let away = Console::new(path, None).ask("x").await.unwrap_err().to_string();
        assert_eq!(away, "Asterisk does not answer: Unable to connect to remote asterisk");
        let absent = Console::new("/nowhere/asterisk".into(), None).ask("x").await.unwrap_err().to_string();
        assert!(absent.starts_with("/nowhere/asterisk cannot be run"), "{absent}");
    }
}
