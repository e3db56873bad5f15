use std::borrow::Cow;
use std::fmt;

use contract::card::CardHash;
use contract::event::{CashMovementKind, Channel, OrderPlaced, Pricing, ServiceMode, TenderKind};
use contract::{BusinessDate, Money, OrderId, RequestId, Slug, StoreId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::catalog::{DiscountValue, Text};

/// What a command is known by for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub Uuid);

impl From<OrderId> for CommandId {
    fn from(id: OrderId) -> Self {
        Self(id.uuid())
    }
}

impl From<RequestId> for CommandId {
    fn from(id: RequestId) -> Self {
        Self(id.uuid())
    }
}

/// Who a command is from, by their credential; recorded with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal(Cow<'static, str>);

impl Principal {
    /// Whoever calls without a credential: none is asked for yet.
    pub const TILL: Self = Self(Cow::Borrowed("till"));
    /// What the store does by itself.
    pub const SYSTEM: Self = Self(Cow::Borrowed("system"));
    /// Sales of another system.
    pub const IMPORT: Self = Self(Cow::Borrowed("import"));
}

impl From<String> for Principal {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who sent a command, from where, when by the device's clock.
#[derive(Debug, Clone, Default)]
pub struct Actor {
    pub principal: Principal,
    pub terminal_id: Option<Slug>,
    pub staff_id: Option<Slug>,
    pub client_time: Option<Timestamp>,
    /// When it happened, if that was earlier.
    pub occurred_at: Option<Timestamp>,
    /// W3C trace context of the call.
    pub traceparent: String,
}

#[derive(Debug, Clone)]
pub enum Command {
    PlaceOrder(Box<PlaceOrder>),
    ChangeStatus(ChangeStatus),
    CancelOrder(CancelOrder),
    AttachMember(AttachMember),
    ResolveMembership(ResolveMembership),
    RefundOrder(RefundOrder),
    RecordCashMovement(RecordCashMovement),
    CloseBusinessDay(CloseBusinessDay),
    CountDrawer(CountDrawer),
}

impl Command {
    /// Commands that take or give money open a business day and are tied to it; kitchen and membership commands never are.
    #[must_use]
    pub fn moves_money(&self) -> bool {
        matches!(
            self,
            Self::PlaceOrder(_)
                | Self::CancelOrder(_)
                | Self::RefundOrder(_)
                | Self::RecordCashMovement(_)
        )
    }

    /// The order that the command makes.
    #[must_use]
    pub fn new_order(&self) -> Option<OrderId> {
        match self {
            Self::PlaceOrder(command) => Some(command.order_id),
            _ => None,
        }
    }

    /// The order that has to be known before the command can be decided.
    #[must_use]
    pub fn existing_order(&self) -> Option<OrderId> {
        match self {
            Self::PlaceOrder(_)
            | Self::RecordCashMovement(_)
            | Self::CloseBusinessDay(_)
            | Self::CountDrawer(_) => None,
            Self::RefundOrder(command) => Some(command.order_id),
            Self::ChangeStatus(command) => Some(command.order_id),
            Self::CancelOrder(command) => Some(command.order_id),
            Self::AttachMember(command) => Some(command.order_id),
            Self::ResolveMembership(command) => Some(command.order_id),
        }
    }

    /// `None` for what the system decides by itself.
    #[must_use]
    pub fn id(&self) -> Option<CommandId> {
        match self {
            Self::PlaceOrder(command) => Some(command.order_id.into()),
            Self::ChangeStatus(command) => Some(command.request_id.into()),
            Self::CancelOrder(command) => Some(command.request_id.into()),
            Self::AttachMember(command) => Some(command.request_id.into()),
            Self::RefundOrder(command) => Some(command.request_id.into()),
            Self::RecordCashMovement(command) => Some(command.request_id.into()),
            Self::CloseBusinessDay(command) => command
                .manual
                .as_ref()
                .map(|manual| manual.request_id.into()),
            Self::CountDrawer(command) => Some(command.request_id.into()),
            Self::ResolveMembership(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct PlaceOrder {
    pub order_id: OrderId,
    pub draft: Draft,
    pub tenders: Vec<DraftTender>,
    pub expected_total: Option<Money>,
    /// What the membership check said; `None` when no member was named.
    pub membership: Option<MemberStanding>,
    /// What a valid quote token promised: honoured whatever the menu says by now. No content of the command.
    pub quoted: Option<Box<OrderPlaced>>,
}

#[derive(Debug, Clone)]
pub struct Draft {
    pub store_id: StoreId,
    pub terminal_id: Slug,
    pub terminal_seq: i64,
    pub staff_id: Option<Slug>,
    pub channel: Channel,
    pub service_mode: ServiceMode,
    pub lines: Vec<DraftLine>,
    pub order_discounts: Vec<ManualDiscount>,
    pub promotion_codes: Vec<Slug>,
    pub member: Option<MemberKey>,
    pub pricing: Pricing,
}

#[derive(Debug, Clone)]
pub struct DraftLine {
    pub line_id: Slug,
    pub sku: Slug,
    /// 1..=999.
    pub quantity: i32,
    pub options: Vec<DraftOption>,
    pub service_mode: Option<ServiceMode>,
    pub discounts: Vec<ManualDiscount>,
    /// With `Pricing::Till`.
    pub till_unit_price: Option<Money>,
    /// With `Pricing::Till`: what the till itself knows of the item.
    pub till_item: Option<TillItem>,
}

/// An item as the till has sold it, for a menu that may not have it any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TillItem {
    /// Used where the menu has no such item; the sku stands for an empty one.
    pub name: Text,
    /// Used where the menu has no such item.
    pub category: Option<Slug>,
    /// A tax class of the catalog.
    pub tax_class: Option<Slug>,
}

#[derive(Debug, Clone)]
pub struct DraftOption {
    pub option_id: Slug,
    pub quantity: i32,
}

#[derive(Debug, Clone)]
pub struct ManualDiscount {
    pub discount_id: Slug,
    pub value: DiscountValue,
    pub reason_code: Slug,
    pub approver_id: Slug,
}

/// How a till names a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKey {
    MemberId(Uuid),
    /// The card's token hashed with each key in force: the token itself goes to the member service and nowhere else.
    Card(Vec<CardHash>),
}

/// What the membership check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberStanding {
    Member {
        member_id: Uuid,
        tier: String,
        points_rate_bp: u32,
        member_prices: bool,
    },
    NotMember,
    /// The member service could not answer in time.
    Unverified(MemberKey),
}

#[derive(Debug, Clone)]
pub struct DraftTender {
    pub tender_id: Slug,
    pub kind: TenderKind,
    pub scheme: String,
    pub amount: Option<Money>,
    pub tendered: Option<Money>,
    pub change: Option<Money>,
    pub external_reference: String,
    pub drawer_id: Option<Slug>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewStatus {
    Preparing,
    Ready,
    Completed,
}

#[derive(Debug, Clone)]
pub struct ChangeStatus {
    pub order_id: OrderId,
    pub request_id: RequestId,
    pub to: NewStatus,
}

#[derive(Debug, Clone)]
pub struct CancelOrder {
    pub order_id: OrderId,
    pub request_id: RequestId,
    pub approver_id: Option<Slug>,
    pub reason_code: Slug,
    /// Empty: as it was paid, other than cash first.
    pub tenders: Vec<RequestedReturn>,
}

#[derive(Debug, Clone)]
pub struct RequestedReturn {
    pub tender_id: Slug,
    pub amount: Money,
    pub drawer_id: Option<Slug>,
    pub external_reference: String,
}

#[derive(Debug, Clone)]
pub struct AttachMember {
    pub order_id: OrderId,
    pub request_id: RequestId,
    pub member_id: Uuid,
    /// Answer of the membership check.
    pub tier: String,
    pub points_rate_bp: u32,
}

/// Decided by the system once the member service has answered.
#[derive(Debug, Clone)]
pub struct ResolveMembership {
    pub order_id: OrderId,
    pub standing: MemberStanding,
}

#[derive(Debug, Clone)]
pub struct RefundOrder {
    pub order_id: OrderId,
    pub request_id: RequestId,
    pub approver_id: Option<Slug>,
    pub reason_code: Slug,
    /// Each line once.
    pub lines: Vec<RefundLine>,
    /// Empty: as it was paid, other than cash first.
    pub tenders: Vec<RequestedReturn>,
}

/// Units of a line that are given back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefundLine {
    pub line_id: Slug,
    pub quantity: i32,
}

#[derive(Debug, Clone)]
pub struct RecordCashMovement {
    pub request_id: RequestId,
    pub business_date: BusinessDate,
    pub drawer_id: Slug,
    pub kind: CashMovementKind,
    pub amount: Money,
    pub reason_code: Slug,
    pub approver_id: Option<Slug>,
}

/// Closes a business day: by hand, or past its cutoff without a count, as a sweep or an import does.
#[derive(Debug, Clone)]
pub struct CloseBusinessDay {
    pub business_date: BusinessDate,
    pub manual: Option<ManualClose>,
}

#[derive(Debug, Clone)]
pub struct ManualClose {
    pub request_id: RequestId,
    pub counts: Vec<DrawerCount>,
    pub carry_over: CarryOver,
}

/// The cash that was found in a drawer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrawerCount {
    pub drawer_id: Slug,
    pub counted: Money,
}

/// Which open orders stay open over a manual close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarryOver {
    All,
    /// All that are open must be named.
    Named(Vec<OrderId>),
}

/// What a drawer held at the last close, which did not count it.
#[derive(Debug, Clone)]
pub struct CountDrawer {
    pub request_id: RequestId,
    pub business_date: BusinessDate,
    pub drawer_id: Slug,
    pub counted: Money,
}
