//! One file under several names: called `member`, `ordering`, `status-projector` or `query-api`, it is that service alone.

use contract::text::for_terminal;
use std::ffi::OsStr;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Builder;

use crate::commands::{self, Cli};

/// Names of the services that this program is when it is called by them.
pub const SERVICES: [&str; 4] = ["member", "ordering", "status-projector", "query-api"];

/// Runs what the program was called as: the word before the arguments, without its directory.
pub fn run(called: Option<&OsStr>) -> ExitCode {
    match called
        .and_then(|called| Path::new(called).file_name())
        .and_then(OsStr::to_str)
    {
        Some("member") => service(one_thread(), || {
            member::program::run(member::program::Arguments::parse())
        }),
        Some("ordering") => service(threads(), || {
            ordering::program::run(ordering::program::Arguments::parse())
        }),
        Some("status-projector") => service(one_thread(), || {
            status_projector::program::run(status_projector::program::Arguments::parse())
        }),
        Some("query-api") => service(one_thread(), || {
            query_api::program::run(query_api::program::Arguments::parse())
        }),
        _ => command_line(),
    }
}

/// As each service's own `main.rs` has it: one thread answers more calls a second than several do on small machines.
fn one_thread() -> Builder {
    Builder::new_current_thread()
}

fn threads() -> Builder {
    Builder::new_multi_thread()
}

fn service<F: Future<Output = anyhow::Result<()>>>(
    mut threads: Builder,
    program: impl FnOnce() -> F,
) -> ExitCode {
    let ended = threads
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(program()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn command_line() -> ExitCode {
    let runtime = match threads().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("doppio: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(Cli::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("doppio: {}", for_terminal(&failure.to_string()));
            ExitCode::from(failure.code as u8)
        }
    }
}
