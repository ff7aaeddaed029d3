//! `capconduit config`: whether the configuration is good, and what is in force.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use super::Cli;
use crate::config::{self, Sources};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Name every fault that would keep `serve` from starting with it; exit code 1 when there is one.
    ///
    /// Changes nothing, and asks neither database nor Asterisk (`doctor` does).
    Check {
        /// Read it as that running `serve` would if it were started again: with its environment and --config, from its working directory.
        #[arg(long, value_name = "PID")]
        of_process: Option<u32>,
    },
    /// Print every key with what is in force and where it comes from: default, file or environment variable; secrets as ***.
    Show,
}

/// Reads what a process would read.
pub(super) fn of_process(pid: u32) -> anyhow::Result<Sources> {
    let read = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}"));
        let bytes = bytes.with_context(|| format!("--of-process {pid}: its {name} cannot be read"))?;
        let texts = bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty());
        anyhow::Ok(texts.map(|text| OsString::from_vec(text.to_vec())).collect::<Vec<_>>())
    };
    let environment = read("environ")?.into_iter().filter_map(variable).collect();
    // What this version does not understand is not its configuration.
    let file = Cli::try_parse_from(read("cmdline")?).ok().and_then(|cli| cli.config);
    let folder = PathBuf::from(format!("/proc/{pid}/cwd"));
    std::env::set_current_dir(&folder)
        .with_context(|| format!("--of-process {pid}: its working directory cannot be entered"))?;
    Ok(Sources::read_with(file.as_deref(), environment)?)
}

/// The variables in what `/proc/PID/environ` holds.
pub(super) fn variables(environment: &[u8]) -> impl Iterator<Item = (OsString, OsString)> {
    let texts = environment.split(|byte| *byte == 0).filter(|text| !text.is_empty());
    texts.filter_map(|text| variable(OsString::from_vec(text.to_vec())))
}

fn variable(text: OsString) -> Option<(OsString, OsString)> {
    let bytes = text.into_vec();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let value = bytes[at + 1..].to_vec();
    Some((OsString::from_vec(bytes[..at].to_vec()), OsString::from_vec(value)))
}

pub(super) fn run(sources: &Sources, command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let (settings, faults) = sources.examine()?;
    if let ConfigCommand::Show = command {
        super::print(&super::table::lines(&config::render(&settings, &faults)))?;
    }
    config::Faults::none_or(faults)?;
    match command {
        ConfigCommand::Show => Ok(ExitCode::SUCCESS),
        ConfigCommand::Check { .. } => super::print(&format!("the configuration is good: {}\n", origins(sources))),
    }
}

/// What it is made of.
fn origins(sources: &Sources) -> String {
    let file = sources.file().map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
    let mut names: Vec<&str> = sources.variables().collect();
    names.sort_unstable();
    if names.is_empty() { file } else { format!("{file}; {}", names.join(", ")) }
}
