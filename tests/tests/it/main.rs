//! Doppio on real servers. One test binary: each area is a module.

mod architecture;
mod deploy;
mod end_to_end;
mod errors;
mod exit_codes;
mod exports;
mod faults;
mod full_disk;
mod histories;
mod import;
mod interruption;
mod log;
mod log_changes;
mod member;
mod projector;
mod quarantine;
mod read_model;
mod refusals;
mod secrets;
mod selling;
mod servers;
mod serving;
mod settlement;
mod shop;
mod stock_client;
mod worked_example;
