//! `doppio`: the command line, and each service under its own name.

use std::process::ExitCode;

/// Many small values are made on one thread and dropped on another, which the system's allocator pays for with a fifth of all calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    doppio::programs::run(std::env::args_os().next().as_deref())
}
