//! The ordering service on its own.

use clap::Parser as _;
use ordering::program::{self, Arguments};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    program::run(Arguments::parse()).await
}
