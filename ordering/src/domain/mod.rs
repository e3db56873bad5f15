//! What a store may do and what it means: pure functions over one store's state.
//!
//! `decide_*(state, command) -> events | rejection` and [`StoreState::evolve`]. Time and ids arrive with the command.

pub mod attach_member;
pub mod business_day;
pub mod cancel_order;
pub mod change_status;
mod command;
mod content_hash;
pub mod count_drawer;
mod figures;
mod order;
pub mod place_order;
pub mod pricing;
pub mod record_cash_movement;
pub mod refund_order;
pub mod resolve_membership;
mod state;
mod tax;
mod tenders;

pub use command::{
    Actor, AttachMember, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command, CommandId, CountDrawer, Draft, DraftLine,
    DraftOption, DraftTender, ManualClose, ManualDiscount, MemberKey, MemberStanding, NewStatus, PlaceOrder, RecordCashMovement,
    RefundOrder, RequestedReturn, ResolveMembership,
};
pub use content_hash::{CONTENT_HASH_VERSION, ContentHash};
pub use figures::DayFigures;
pub use order::{OrderEvent, OrderState, Status};
pub use state::{Corrupt, EventMeta, Identity, OpenDay, Settings, StoreState};
pub use tenders::settle as settle_tenders;
