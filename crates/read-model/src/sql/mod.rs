//! The read model in a database, PostgreSQL or embedded SQLite: one implementation for both.
//!
//! Statements are constants beside the functions that send them. Both databases take them as they are, but for two words: see
//! [`words`]. Opening, migrating and telling listeners is each database's own ([`postgres`], [`sqlite`]), and so is writing many rows
//! ([`write_postgres`], [`write_sqlite`], from one description of the tables: [`tables`]).

pub(crate) mod bulk;
mod columns;
mod compare;
mod database;
mod export;
mod figures;
pub(crate) mod generations;
mod joins;
mod lists;
pub(crate) mod location;
mod orders;
mod pools;
mod postgres;
pub(crate) mod reader;
mod sales;
mod settlement;
mod sqlite;
mod tables;
mod values;
mod words;
mod write_postgres;
mod write_sqlite;
pub(crate) mod writer;
