//! What every service needs around its own work: settings, telemetry, clock, shutdown, serving, channels to other services.

pub mod channel;
mod clock;
pub mod config;
pub mod database;
mod deadline;
mod serve;
mod shutdown;
pub mod telemetry;
mod trace;

pub use clock::Clock;
pub use deadline::{DeadlineLimits, deadline_of};
pub use serve::{
    ConnectionLimits, InProcess, Origin, OriginError, Pages, Room, ServeError, ServeOptions, serve,
};
pub use shutdown::{HostError, Shutdown, said};
pub use trace::TraceContext;
