use std::sync::Arc;

use contract::api::ordering as api;
use contract::event::{OrderPlaced, ReturnedLine, TaxAmount, event::Event};
use contract::order_view::{self, EventContext};
use contract::{Currency, Money, MoneyError, StoreId};
use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

use super::state::EventMeta;
use super::tax;

/// Where an order is on its way to the customer. Refunds never change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Placed,
    Preparing,
    Ready,
    Completed,
    Cancelled,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "PLACED",
            Self::Preparing => "PREPARING",
            Self::Ready => "READY",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
        }
    }

    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Placed | Self::Preparing | Self::Ready)
    }
}

/// An event of one order with what its record and command say about it. The event is kept encoded: an order with one line takes some
/// 300 bytes then, and 2,500 decoded.
#[derive(Debug)]
pub struct OrderEvent {
    body: Box<[u8]>,
    recorded_at: Timestamp,
    revision: u64,
    /// Place of the event in its record.
    index: u32,
    terminal_id: Box<str>,
    staff_id: Box<str>,
    request_id: Option<Uuid>,
}

/// What is kept of an event cannot be decoded: the memory is not what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the order cannot be read back")]
pub struct Unreadable;

impl OrderEvent {
    fn new(event: &Event, meta: &EventMeta<'_>) -> Self {
        let mut body = Vec::with_capacity(event.encoded_len());
        event.encode(&mut body);
        Self {
            body: body.into_boxed_slice(),
            recorded_at: meta.recorded_at,
            revision: meta.revision,
            index: meta.index,
            terminal_id: meta.terminal_id.into(),
            staff_id: meta.staff_id.into(),
            request_id: meta.request_id,
        }
    }

    fn event(&self) -> Result<Event, Unreadable> {
        let decoded = contract::event::Event::decode(&*self.body).map_err(|_| Unreadable)?;
        decoded.event.ok_or(Unreadable)
    }
}

/// An order as its events left it. Cheap to copy: its history is shared.
#[derive(Debug, Clone)]
pub struct OrderState {
    pub status: Status,
    /// A member is attached or resolved, or was there from the start.
    pub has_member: bool,
    /// Accepted without an answer of the member service and not resolved since.
    pub unverified: bool,
    /// Units given back, by line; empty as long as nothing was.
    refunded: Vec<i32>,
    /// Money given back, by tender; empty as long as nothing was.
    returned: Vec<i64>,
    /// The placing first.
    history: Vec<Arc<OrderEvent>>,
}

/// What was sold with an order, and what of it was given back.
#[derive(Debug, Clone)]
pub struct Sale {
    pub placed: OrderPlaced,
    /// Units given back, by line.
    pub refunded: Vec<i32>,
    /// Money given back, by tender.
    pub returned: Vec<i64>,
}

/// What is left of an order, or the part of it that is given back.
#[derive(Debug, Clone, Default)]
pub struct Remainder {
    pub lines: Vec<ReturnedLine>,
    pub gross: Money,
    pub discount: Money,
    pub net: Money,
    pub taxes: Vec<TaxAmount>,
}

impl OrderState {
    /// The order after its first event; `None` when that is not a placing.
    #[must_use]
    pub fn place(event: &Event, meta: &EventMeta<'_>) -> Option<Self> {
        use contract::event::MembershipOutcome;
        let Event::OrderPlaced(placed) = event else {
            return None;
        };
        let outcome = placed
            .membership
            .as_ref()
            .map(contract::event::Membership::outcome);
        Some(Self {
            status: Status::Placed,
            has_member: outcome == Some(MembershipOutcome::Member),
            unverified: outcome == Some(MembershipOutcome::Unverified),
            refunded: Vec::new(),
            returned: Vec::new(),
            history: vec![Arc::new(OrderEvent::new(event, meta))],
        })
    }

    /// The order after another event of its own.
    pub fn apply(&mut self, event: &Event, meta: &EventMeta<'_>) -> Result<(), &'static str> {
        let legal = match (event, self.status) {
            (Event::PreparationStarted(_), Status::Placed) => {
                self.status = Status::Preparing;
                true
            }
            (Event::OrderReady(_), Status::Preparing) => {
                self.status = Status::Ready;
                true
            }
            (Event::OrderCompleted(_), Status::Ready) => {
                self.status = Status::Completed;
                true
            }
            (Event::OrderCancelled(cancelled), status) if status.is_open() => {
                self.status = Status::Cancelled;
                self.give_back(&cancelled.lines, &cancelled.tenders)?;
                true
            }
            (Event::OrderRefunded(refunded), status) if status != Status::Cancelled => {
                self.give_back(&refunded.lines, &refunded.tenders)?;
                true
            }
            (Event::MemberAttached(_), _) => {
                self.has_member = true;
                self.unverified = false;
                true
            }
            (Event::MembershipResolved(resolved), _) => {
                self.has_member = resolved.outcome() == contract::event::MembershipOutcome::Member;
                self.unverified = false;
                true
            }
            _ => false,
        };
        if !legal {
            return Err("an event does not follow from the order's state");
        }
        self.history.push(Arc::new(OrderEvent::new(event, meta)));
        Ok(())
    }

    fn give_back(
        &mut self,
        lines: &[ReturnedLine],
        tenders: &[contract::event::ReturnedTender],
    ) -> Result<(), &'static str> {
        let Sale {
            placed,
            mut refunded,
            mut returned,
        } = self
            .sale()
            .map_err(|_| "what was sold cannot be read back")?;
        for line in lines {
            let units = refunded
                .get_mut(line.line_index as usize)
                .ok_or("an event names a line that the order does not have")?;
            *units = units.checked_add(line.quantity).ok_or("units overflow")?;
        }
        for tender in tenders {
            let index = placed
                .tenders
                .iter()
                .position(|own| own.tender_id == tender.tender_id);
            let amount = index
                .and_then(|index| returned.get_mut(index))
                .ok_or("an event names a tender that the order does not have")?;
            *amount = amount
                .checked_add(tender.amount)
                .ok_or("amounts overflow")?;
        }
        self.refunded = refunded;
        self.returned = returned;
        Ok(())
    }

    /// What was sold. Takes decoding: for commands that give money back.
    pub fn sale(&self) -> Result<Sale, Unreadable> {
        let Some(Event::OrderPlaced(placed)) = self
            .history
            .first()
            .map(|placing| placing.event())
            .transpose()?
        else {
            return Err(Unreadable);
        };
        let (mut refunded, mut returned) = (self.refunded.clone(), self.returned.clone());
        refunded.resize(placed.lines.len(), 0);
        returned.resize(placed.tenders.len(), 0);
        Ok(Sale {
            placed,
            refunded,
            returned,
        })
    }

    /// The order as the API shows it after its events up to and including the one at `up_to` (revision, index).
    #[must_use]
    pub fn view(
        &self,
        store_id: &StoreId,
        currency: Currency,
        up_to: (u64, u32),
    ) -> Option<api::Order> {
        let mut order = None;
        for own in self
            .history
            .iter()
            .take_while(|own| (own.revision, own.index) <= up_to)
        {
            let event = own.event().ok()?;
            let request_id = own.request_id.map(|id| id.to_string()).unwrap_or_default();
            let context = EventContext {
                store_id: store_id.as_str(),
                currency,
                recorded_at: own.recorded_at,
                revision: own.revision,
                terminal_id: &own.terminal_id,
                staff_id: &own.staff_id,
                request_id: &request_id,
            };
            order = order_view::fold(order, &event, &context);
        }
        order
    }
}

impl Sale {
    /// Units of a line that were not given back.
    #[must_use]
    pub fn units_left(&self, index: usize) -> i32 {
        self.placed.lines[index].quantity - self.refunded[index]
    }

    /// V(j) = floor(L·j/q): the net of j remaining units of a line of q units and net L.
    fn line_value(&self, index: usize, units: i32) -> Result<Money, MoneyError> {
        let line = &self.placed.lines[index];
        Money::new(line.net).scale_floor(units.into(), line.quantity.into())
    }

    /// Giving back `units` of each line (by index): amounts and VAT by the sale's own rule, so that parts sum exactly to the whole.
    pub fn part(&self, units: &[i32]) -> Result<Remainder, MoneyError> {
        let mut part = Remainder::default();
        // Per class of the sale: rate, net before, net after.
        let mut classes: Vec<(Money, Money)> =
            vec![(Money::ZERO, Money::ZERO); self.placed.taxes.len()];
        for (index, line) in self.placed.lines.iter().enumerate() {
            let left = self.units_left(index);
            let back = units.get(index).copied().unwrap_or(0);
            let before = self.line_value(index, left)?;
            let after = self.line_value(index, left - back)?;
            if let Some(class) =
                self.placed.taxes.iter().position(|tax| {
                    tax.tax_class == line.tax_class && tax.rate_bp == line.tax_rate_bp
                })
            {
                classes[class] = (
                    classes[class].0.plus(before)?,
                    classes[class].1.plus(after)?,
                );
            }
            if back == 0 {
                continue;
            }
            let net = before.minus(after)?;
            let gross = Money::new(line.unit_price).times(back.into())?;
            let discount = gross.minus(net)?;
            part.gross = part.gross.plus(gross)?;
            part.discount = part.discount.plus(discount)?;
            part.net = part.net.plus(net)?;
            part.lines.push(ReturnedLine {
                line_index: u32::try_from(index).unwrap_or(u32::MAX),
                quantity: back,
                gross: gross.minor(),
                discount: discount.minor(),
                net: net.minor(),
            });
        }
        for (tax, (before, after)) in self.placed.taxes.iter().zip(classes) {
            let net = before.minus(after)?;
            let vat = tax::of_difference(before, after, tax.rate_bp)?;
            if net == Money::ZERO && vat == Money::ZERO {
                continue;
            }
            part.taxes.push(TaxAmount {
                net: net.minor(),
                supply: net.minus(vat)?.minor(),
                vat: vat.minor(),
                ..tax.clone()
            });
        }
        Ok(part)
    }

    /// All that remains.
    pub fn rest(&self) -> Result<Remainder, MoneyError> {
        let units: Vec<i32> = (0..self.placed.lines.len())
            .map(|index| self.units_left(index))
            .collect();
        self.part(&units)
    }
}
