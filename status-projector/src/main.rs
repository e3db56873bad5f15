//! The projector on its own.

use clap::Parser as _;
use status_projector::program::{self, Arguments};

// The fold has threads of its own for large batches; everything else waits for log and database.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    program::run(Arguments::parse()).await
}
