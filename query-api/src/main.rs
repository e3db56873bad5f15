//! The query service on its own.

use clap::Parser as _;
use query_api::program::{self, Arguments};

// One thread answers more calls a second than several do on small machines; the databases have threads or processes of their own.
/// Many small values are made on one thread and dropped on another, which the system's allocator pays for with a fifth of all calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    program::run(Arguments::parse()).await
}
