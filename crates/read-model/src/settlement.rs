//! What head office asks.

use contract::{BusinessDate, Currency, StoreId};
use event_log::{LogEpoch, Revision, StreamIndex};
use jiff::Timestamp;

use crate::day::DifferingDay;
use crate::store::Quarantine;

/// More rows than this are not read of one question: an answer must fit into a message.
pub const MAX_SALES_ROWS: usize = 10_000;

/// Z reports of a store by number.
#[derive(Debug, Clone)]
pub struct ZPage {
    pub store: StoreId,
    /// Both inclusive.
    pub first: Option<BusinessDate>,
    pub last: Option<BusinessDate>,
    /// 0 to begin with.
    pub after_number: i64,
    pub limit: u32,
}

/// Which day something given back counts in: that of the fact or that of its sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesBasis {
    AsClosed,
    AsRestated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesGrouping {
    Day,
    Store,
    Item,
    Category,
    /// The local hour of the fact, "00" to "23"; the second of two that a clock set back makes is "01 repeated".
    Hour,
    /// Keys are kinds as `doppio.type.v1.TenderKind` numbers them; their rows have no VAT.
    Tender,
    /// Keys are outcomes as `doppio.type.v1.MembershipOutcome` numbers them: what is known of the order today.
    Membership,
}

#[derive(Debug, Clone)]
pub struct SalesQuery {
    /// Empty: all.
    pub stores: Vec<StoreId>,
    /// Both inclusive.
    pub first: BusinessDate,
    pub last: BusinessDate,
    pub grouping: SalesGrouping,
    pub basis: SalesBasis,
}

/// How far a store that was asked of has been projected.
#[derive(Debug, Clone)]
pub struct SalesStore {
    pub store: StoreId,
    /// The stream of the log that its ledger is in.
    pub stream: StreamIndex,
    pub revision: Revision,
    /// `None` before the first record.
    pub recorded_at: Option<Timestamp>,
    pub epoch: Option<LogEpoch>,
    /// Why it stands still, if it does.
    pub quarantine: Option<Quarantine>,
    /// Whether its stream had records that were not projected yet when its owner last looked.
    pub behind: bool,
}

/// Sums in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalesSum {
    pub currency: Currency,
    /// Empty in a total.
    pub key: String,
    /// Orders placed; by item and category units sold.
    pub count: i64,
    pub sales_net: i64,
    pub returns_net: i64,
    /// Of sales less what was given back; `None` by tender, which pays net and VAT at once.
    pub turnover_vat: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub struct Sales {
    /// Of those asked for, the ones that there are.
    pub stores: Vec<SalesStore>,
    /// At most [`MAX_SALES_ROWS`] and one more, which says that there are too many.
    pub rows: Vec<SalesSum>,
    /// One row a currency.
    pub totals: Vec<SalesSum>,
    /// Of the days asked for; at most 1,000.
    pub differing: Vec<DifferingDay>,
}
