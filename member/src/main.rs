//! The membership service on its own.

use clap::Parser as _;
use member::program::{self, Arguments};

// One thread answers more calls a second than several do on small machines; SQLite has threads of its own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    program::run(Arguments::parse()).await
}
