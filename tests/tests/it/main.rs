//! Doppio on real servers. One test binary: each area is a module.

mod architecture;
mod deploy;
mod errors;
mod faults;
mod import;
mod log;
mod member;
mod projector;
mod read_model;
mod servers;
mod stock_client;
