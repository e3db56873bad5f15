//! History from other tills: files are read and checked whole before anything is recorded, and nothing in them is guessed.
//!
//! Everything is pure but `sheet::text_of` (reads a file), `history` and `recalled` (ask the log) and `run` (records).

pub mod code;
pub mod history;
pub mod mapping;
pub mod mistake;
pub mod number;
pub mod plan;
pub mod prices;
pub mod recalled;
pub mod receipts;
pub mod report;
pub mod returns;
pub mod run;
pub mod sale;
pub mod sheet;
pub mod stores;
pub mod tender;
#[cfg(test)]
mod tests;
pub mod time;
