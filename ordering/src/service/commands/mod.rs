//! The commands of the API. A command is one implementation of [`CommandRequest`]: how its request is read, and what is answered once it
//! is carried out. All else is the same for all of them, and in [`super::grpc`].

mod attach_member;
mod cancel_order;
mod change_status;
mod close_business_day;
mod count_drawer;
mod place_order;
mod record_cash_movement;
mod refund_order;
mod returns;

use contract::api::ordering::Order;
use contract::card::CardKeys;
use contract::event::event::Event;
use contract::{Currency, Reason, Rejection, StoreId};
use jiff::Timestamp;

use super::fields::{Sender, TillFields};
use super::membership::Presented;
use super::quote::QuoteKey;
use crate::domain::Command;

/// A request that is a command.
pub trait CommandRequest: Send + Sync + 'static {
    type Response: Send;

    /// What is wanted. Whatever is malformed is noted with its field.
    fn read(&self, fields: &mut TillFields, desk: &Desk<'_>) -> Option<Wanted>;

    /// What the caller is told.
    fn response(self, done: Done) -> Result<Self::Response, Rejection>;
}

/// What requests are read with.
pub struct Desk<'a> {
    pub card_keys: &'a CardKeys,
    pub quotes: &'a QuoteKey,
    pub now: Timestamp,
}

/// What a request wants, in words of the domain.
pub struct Wanted {
    pub store_id: StoreId,
    pub command: Command,
    pub sender: Sender,
    /// Who has to be asked for before the command is decided.
    pub presented: Option<Presented>,
    /// Why the command cannot be carried out; told only if it is not recorded already.
    pub refusal: Option<Rejection>,
}

impl Wanted {
    fn new(store_id: StoreId, command: Command, sender: Sender) -> Self {
        Self {
            store_id,
            command,
            sender,
            presented: None,
            refusal: None,
        }
    }
}

/// What came of a command that was carried out.
pub struct Done {
    /// The order right after it; `None` for commands that concern none.
    pub order: Option<Order>,
    /// The command's last event, for commands that concern no order.
    pub fact: Option<Box<Event>>,
    pub consistency_token: String,
    /// The ledger's.
    pub currency: Option<Currency>,
    /// The command had been recorded before.
    pub replayed: bool,
}

impl Done {
    /// A ledger has a currency from its first record on, so a command that was carried out has one.
    fn currency(&self) -> Result<Currency, Rejection> {
        self.currency
            .ok_or_else(|| Rejection::new(Reason::Internal, "the ledger has no currency"))
    }
}
