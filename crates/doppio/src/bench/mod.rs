//! Load on a running system, what it does with it, and what the same engines could do at most.
//!
//! A [`load`] has callers do a [`load::Script`] over and over and notes each answer in a [`book::Book`]. The engines under test are a
//! [`subject::Subject`]; [`ceilings`] measure what limits them, in the same run. [`report`] shows both as one.

pub mod book;
pub mod calls;
pub mod catalog;
pub mod ceilings;
pub mod chart;
pub mod children;
pub mod load;
pub mod process;
pub mod report;
pub mod run;
pub mod sales;
pub mod sample;
pub mod scenarios;
pub mod subject;
