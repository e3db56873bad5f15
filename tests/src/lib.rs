//! Starts real servers for the integration tests: nats-server, PostgreSQL, and a TCP proxy between a client and either of them.
//!
//! A missing server is a failure, never a skipped test: `./test` finds or installs what is needed and names it in
//! `DOPPIO_NATS_SERVER` and `DOPPIO_POSTGRES_BIN`.

pub mod nats;
pub mod postgres;
mod process;
pub mod proxy;

pub use nats::Nats;
pub use postgres::{Database, Postgres};
pub use proxy::TcpProxy;
