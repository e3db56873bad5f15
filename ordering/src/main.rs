//! The ordering service on its own.

use clap::Parser as _;
use ordering::program::{self, Arguments};

/// Many small values are made on one thread and dropped on another, which the system's allocator pays for with a fifth of all calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    program::run(Arguments::parse()).await
}
