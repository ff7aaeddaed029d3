//! The command line: parse, dispatch, print the error.

use std::process::ExitCode;

use capconduit::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&anyhow::anyhow!("cannot start worker threads: {error}")),
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(error) => cli::fail(&error),
    }
}
