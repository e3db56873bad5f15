//! The membership service: who is a member, in a database of its own, the only place where names and phone numbers are kept.
//!
//! What is kept of a member can be erased: [`Members::withdraw`] removes name, phone number and cards for good. Card tokens and the
//! contents of registrations are kept as hashes only. Types that hold personal data hide it when they are printed for debugging.

mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod program;
mod request;
mod run;
mod service;
mod store;
mod value;

pub use config::{Benefits, Config, Database, DatabaseError, TierBenefits};
pub use run::{RunError, run};
pub use store::{Members, OpenError, ServerFacts, StoreError};
pub use value::{
    Change, DisplayName, Key, Member, MemberId, PhoneNumber, Registered, Registration, Tier,
    ValueError,
};
