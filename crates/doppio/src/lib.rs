//! Doppio as one program: the four services in one process on the embedded engines, and the command line.

pub mod audit;
pub mod bench;
pub mod clients;
pub mod commands;
pub mod data_dir;
pub mod exit;
mod import;
pub mod output;
pub mod pages;
pub mod programs;
pub mod system;
pub mod table;
pub mod tills;
pub mod witnesses;
