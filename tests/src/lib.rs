//! Starts real servers for the integration tests: nats-server, PostgreSQL, a TCP proxy between a client and either of them, and
//! Doppio's own programs.
//!
//! A missing server is a failure, never a skipped test: `./test` finds or installs what is needed and names it in
//! `DOPPIO_NATS_SERVER` and `DOPPIO_POSTGRES_BIN`. The few checks that some machines cannot make count themselves as skipped ([`skip`]).

pub mod http;
pub mod nats;
pub mod postgres;
mod process;
pub mod proxy;
pub mod services;
mod skip;

pub use nats::Nats;
pub use postgres::{Database, Postgres};
pub use proxy::TcpProxy;
pub use services::{Engines, Service};
pub use skip::skip;
