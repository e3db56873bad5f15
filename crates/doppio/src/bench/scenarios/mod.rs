//! What is measured, one file each.

pub mod catch_up;
pub mod cold_start;
pub mod lag;
pub mod open_orders;
pub mod place;
pub mod soak;
