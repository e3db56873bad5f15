//! Orders as they stand.

use bytes::Bytes;
use contract::{BusinessDate, OrderId, StoreId};
use event_log::Revision;
use jiff::Timestamp;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub store: StoreId,
    pub order_id: OrderId,
    pub business_date: BusinessDate,
    pub ticket_number: i64,
    /// As `doppio.type.v1.OrderStatus` numbers them.
    pub status: i32,
    /// As `doppio.type.v1.MembershipOutcome` numbers them: what is known of it today.
    pub membership: i32,
    pub placed_at: Timestamp,
    pub updated_at: Timestamp,
    /// Of its last change.
    pub revision: Revision,
    /// `doppio.readmodel.v1.Order`, encoded.
    pub body: Bytes,
}

/// Which orders of a date: those after a ticket, of the statuses given.
#[derive(Debug, Clone)]
pub struct OrderPage {
    pub store: StoreId,
    /// `None`: the store's latest date.
    pub date: Option<BusinessDate>,
    /// As `doppio.type.v1.OrderStatus` numbers them; empty: any.
    pub statuses: Vec<i32>,
    /// 0 to begin with.
    pub after_ticket: i64,
    pub limit: u32,
}

/// Where in its store's ledger an order was last changed. A record may change many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangePlace {
    pub revision: Revision,
    /// `None`: after all orders of the revision.
    pub order: Option<OrderId>,
}

/// Which orders of a store have changed: those whose last change is after a place.
#[derive(Debug, Clone)]
pub struct ChangedPage {
    pub store: StoreId,
    pub after: ChangePlace,
    pub limit: u32,
}

/// An order of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrder {
    pub order_id: OrderId,
    pub ticket_number: i64,
    /// Of its last change.
    pub revision: Revision,
    /// As in [`OrderRow`].
    pub body: Vec<u8>,
}
