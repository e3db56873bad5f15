//! `doppio`: the command line.

use std::process::ExitCode;

use clap::Parser;
use doppio::commands::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match doppio::commands::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("doppio: {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
}
