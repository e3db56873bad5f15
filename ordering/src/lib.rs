//! The ordering service: takes commands from tills, decides them against one store's state, appends their events to the log.
//!
//! [`domain`] is pure: no I/O, clock or randomness. [`ledger`] joins it to the event log. [`service`] is the gRPC shell.

pub mod catalog;
pub mod domain;
pub mod ledger;
pub mod program;
pub mod service;

pub use service::{Config, SERVICE, run};
