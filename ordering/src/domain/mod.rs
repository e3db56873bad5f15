//! What a store may do and what it means: pure functions over one store's state.
//!
//! `decide_*(state, command) -> events | rejection` and [`StoreState::evolve`]. Time and ids arrive with the command.

pub mod attach_member;
pub mod business_day;
pub mod cancel_order;
pub mod change_status;
mod closed_dates;
mod command;
mod content_hash;
pub mod count_drawer;
mod drawer;
mod event_meta;
mod figures;
#[cfg(test)]
pub(crate) mod fixture;
mod flag;
mod giving_back;
pub mod image;
mod order;
pub mod place_order;
pub mod pricing;
pub mod record_cash_movement;
pub mod refund_order;
pub mod resolve_membership;
pub mod stamp;
mod state;
mod tax;
mod tenders;

/// Largest amount of one command, in minor units: a day's and a store's sums then fit into 64 bits for ever, so that a day can always be
/// closed.
pub const MAX_AMOUNT_MINOR: i64 = 10_000_000_000_000;
/// Different drawers, and different tax classes with their rates, of one business day: each has its figures in the Z, which has to fit into
/// a record. What a day may have more of (items, categories, discounts) the Z holds a digest of.
pub const MAX_DRAWERS_PER_DAY: usize = 50;
pub const MAX_TAX_CLASSES_PER_DAY: usize = 64;

/// An event's form of something that may be absent.
pub(crate) fn optional_text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

pub use closed_dates::ClosedDates;
pub use command::{
    Actor, AttachMember, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command,
    CommandId, CountDrawer, Draft, DraftLine, DraftOption, DraftTender, DrawerCount, ManualClose,
    ManualDiscount, MemberKey, MemberStanding, NewStatus, PlaceOrder, Principal,
    RecordCashMovement, RefundLine, RefundOrder, RequestedReturn, ResolveMembership, TillItem,
};
#[cfg(test)]
pub(crate) use content_hash::FORM_OF_TESTS;
pub use content_hash::{CONTENT_HASH_VERSION, ContentHash, DraftHash, UnknownForm};
pub use event_meta::EventMeta;
pub use figures::{DayFigures, Floats};
pub use flag::Flag;
pub use order::{OrderState, Sale, Status};
pub use state::{
    ChangesImage, Corrupt, Held, Identity, OpenDay, OpenOrder, Settings, StateImage, StoreState,
};
pub use tenders::settle as settle_tenders;
