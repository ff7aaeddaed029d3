//! `capconduit generate`: what packages bring beside the program, from the command line as it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory, Subcommand};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::Cli;

#[derive(Debug, Subcommand)]
pub(super) enum GenerateCommand {
    /// Write the manual page of each command into DIR.
    Man {
        /// An existing folder.
        dir: PathBuf,
    },
    /// Write the completions for bash, zsh and fish into DIR.
    Completions {
        /// An existing folder.
        dir: PathBuf,
    },
}

pub(super) fn run(command: &GenerateCommand) -> anyhow::Result<ExitCode> {
    let (dir, written) = match command {
        GenerateCommand::Man { dir } => (dir, pages(dir)),
        GenerateCommand::Completions { dir } => (dir, completions(dir)),
    };
    written.with_context(|| format!("DIR = {dir:?} cannot be written"))?;
    Ok(ExitCode::SUCCESS)
}

fn pages(dir: &Path) -> std::io::Result<()> {
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    page(&whole, dir)
}

/// The manual page of a command, and of those below it.
fn page(command: &Command, dir: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        page(below, dir)?;
    }
    let (man, mut text) = (Man::new(command.clone()), Vec::new());
    man.render(&mut text)?;
    // Examples keep their lines.
    let text = String::from_utf8_lossy(&text).replacen(".SH EXTRA\n", ".SH EXAMPLES\n.nf\n", 1);
    std::fs::write(dir.join(man.get_filename()), text)
}

fn completions(dir: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut shown(), "capconduit", dir)?;
    }
    Ok(())
}

/// The command line without what nobody types: completions offer hidden commands as well.
fn shown() -> Command {
    let whole = Cli::command();
    let seen: Vec<Command> = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    Command::new("capconduit")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned().collect::<Vec<_>>())
        .subcommands(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_manual_page_and_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        run(&GenerateCommand::Man { dir: dir.clone() }).unwrap();
        run(&GenerateCommand::Completions { dir: dir.clone() }).unwrap();
        let text = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let completions = ["capconduit.bash", "_capconduit", "capconduit.fish"].map(text);
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = dir.join(format!("capconduit-{name}.1"));
            assert_eq!(page.exists(), !command.is_hide_set(), "{name}");
            for completion in &completions {
                assert_eq!(completion.contains(name), !command.is_hide_set(), "{name} in\n{completion}");
            }
        }
        assert!(text("capconduit.1").contains("capconduit\\-user(1)"), "{}", text("capconduit.1"));
        assert!(
            text("capconduit.1").contains(".SH EXAMPLES\n.nf\nExamples:\n  capconduit migrate "),
            "{}",
            text("capconduit.1")
        );
        assert!(text("capconduit-user-add.1").contains("password"));
        let nowhere = run(&GenerateCommand::Man { dir: dir.join("none") }).unwrap_err();
        assert!(nowhere.to_string().contains("none"), "{nowhere}");
    }
}
