//! `doppio`: the command line, and each service under its own name.

use std::process::ExitCode;

fn main() -> ExitCode {
    doppio::programs::run(std::env::args_os().next().as_deref())
}
