//! The projector on its own.

use clap::Parser as _;
use status_projector::program::{self, Arguments};

// The fold has threads of its own for large batches; everything else waits for log and database.
/// Many small values are made on one thread and dropped on another, which the system's allocator pays for with a fifth of all calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    program::run(Arguments::parse()).await
}
