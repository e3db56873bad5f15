//! Doppio on real servers. One test binary: each area is a module.

mod deploy;
mod errors;
mod log;
mod member;
mod projector;
mod read_model;
mod servers;
