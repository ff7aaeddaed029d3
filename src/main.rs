//! The command line: parse, dispatch, print the error.

use std::process::ExitCode;
use std::time::Duration;

use capconduit::cli::{self, Cli};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the exit waits for what still runs, such as a look-up of a name, which cannot be broken off.
const LEFT_BEHIND_AT_MOST: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // While this is the only thread: it may become another user.
    let prepared = match cli::prepare(Cli::parse()) {
        Ok(prepared) => prepared,
        Err(error) => return cli::fail(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&anyhow::anyhow!("cannot start worker threads: {error}")),
    };
    let code = match runtime.block_on(cli::run(prepared)) {
        Ok(code) => code,
        Err(error) => cli::fail(&error),
    };
    runtime.shutdown_timeout(LEFT_BEHIND_AT_MOST);
    code
}
