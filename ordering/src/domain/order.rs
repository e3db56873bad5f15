mod image;

use std::sync::Arc;

use contract::api::ordering as api;
use contract::event::{OrderPlaced, ReturnedLine, TaxAmount, event::Event};
use contract::order_view::{self, EventContext};
use contract::{Currency, Money, MoneyError, StoreId};
use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

pub use self::image::OrderImage;

use super::event_meta::EventMeta;
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
#[derive(Debug, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
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

#[cfg(test)]
mod tests {
    use contract::event::TenderKind;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::fixture::{draft, line, morning, off, percent, place, shop, slug, tender};
    use crate::domain::place_order::price;
    use crate::domain::{Draft, settle_tenders};

    fn meta() -> EventMeta<'static> {
        EventMeta {
            revision: 1,
            index: 0,
            recorded_at: morning(),
            terminal_id: "",
            staff_id: "",
            request_id: None,
        }
    }

    fn placed(draft: &Draft, promotions: &str) -> OrderState {
        let mut placed = price(draft, &shop(promotions), morning(), None).unwrap();
        placed.order_id = place(draft.clone(), vec![]).order_id.to_bytes();
        if placed.net > 0 {
            let paid = [tender("t1", TenderKind::Card, placed.net)];
            placed.tenders = settle_tenders(Money::new(placed.net), &paid).unwrap();
        }
        OrderState::place(&Event::OrderPlaced(placed), &meta()).unwrap()
    }

    /// Gives units back as a refund does: gross, discount, net and VAT of the part.
    fn give_back(order: &mut OrderState, units: &[i32]) -> [i64; 4] {
        let part = order.sale().unwrap().part(units).unwrap();
        let tax = part.taxes.iter().map(|tax| tax.vat).sum();
        for tax in &part.taxes {
            assert_eq!(tax.supply + tax.vat, tax.net);
        }
        let refunded = contract::event::OrderRefunded {
            lines: part.lines,
            ..Default::default()
        };
        let refunded = Event::OrderRefunded(refunded);
        order.apply(&refunded, &meta()).unwrap();
        [
            part.gross.minor(),
            part.discount.minor(),
            part.net.minor(),
            tax,
        ]
    }

    fn order_b() -> OrderState {
        let promotions = r#"
            { id = "latte", name = { en = "L" }, kind = "line", percent_bp = 1000, items = ["latte"] },
            { id = "thousand", name = { en = "T" }, kind = "coupon", amount = 1000 },
        "#;
        let mut draft = draft(vec![line("latte", 3), line("banana", 2)]);
        draft.promotion_codes = vec![slug("thousand")];
        placed(&draft, promotions)
    }

    #[test]
    fn the_lattes_of_the_worked_example_are_refunded_one_by_one() {
        let mut order = order_b();
        assert_eq!(give_back(&mut order, &[1, 0]), [5_000, 772, 4_228, 384]);
        assert_eq!(give_back(&mut order, &[1, 0]), [5_000, 773, 4_227, 385]);
        assert_eq!(give_back(&mut order, &[1, 0]), [5_000, 773, 4_227, 384]);
        let sale = order.sale().unwrap();
        assert_eq!((sale.units_left(0), sale.units_left(1)), (0, 2));
        assert_eq!(sale.rest().unwrap().net.minor(), 2_818);
    }

    #[test]
    fn vat_of_a_part_is_the_difference_and_not_computed_of_the_part() {
        // Two lattes: 909 of VAT on 10,000; one is 455, and so the other is 454.
        let mut order = placed(&draft(vec![line("latte", 2)]), "");
        assert_eq!(give_back(&mut order, &[1]), [5_000, 0, 5_000, 454]);
        assert_eq!(give_back(&mut order, &[1]), [5_000, 0, 5_000, 455]);
    }

    #[test]
    fn a_status_that_an_event_does_not_follow_from_is_an_error() {
        let mut order = order_b();
        let ready = Event::OrderReady(contract::event::OrderReady::default());
        assert!(order.apply(&ready, &meta()).is_err());
        let unknown_line = contract::event::OrderRefunded {
            lines: vec![ReturnedLine {
                line_index: 9,
                quantity: 1,
                ..ReturnedLine::default()
            }],
            ..Default::default()
        };
        let unknown_line = Event::OrderRefunded(unknown_line);
        assert!(order.apply(&unknown_line, &meta()).is_err());
    }

    proptest! {
        /// In whatever parts an order is given back, they sum to it exactly, VAT by class included.
        #[test]
        fn partial_refunds_sum_to_the_sale(
            quantities in prop::collection::vec(1_i32..6, 1..5),
            percent_bp in 1_u32..=10_000,
            fixed in 0_i64..9_000,
            order_of_units in prop::collection::vec(0_usize..100, 30),
        ) {
            let skus = ["latte", "candy", "banana", "americano"];
            let lines = quantities.iter().zip(skus).map(|(quantity, sku)| line(sku, *quantity));
            let mut draft = draft(lines.collect());
            draft.lines[0].discounts.push(percent("hand", percent_bp));
            draft.order_discounts.push(off("boss", fixed));
            let mut order = placed(&draft, "");
            let whole = order.sale().unwrap().placed;
            let mut sums = [0; 4];
            for pick in order_of_units {
                let sale = order.sale().unwrap();
                let left: Vec<usize> = (0..whole.lines.len()).filter(|index| sale.units_left(*index) > 0).collect();
                let Some(index) = left.get(pick % left.len().max(1)) else { break };
                let mut units = vec![0; whole.lines.len()];
                units[*index] = 1;
                let part = give_back(&mut order, &units);
                prop_assert!(part.iter().all(|amount| *amount >= 0));
                for (sum, amount) in sums.iter_mut().zip(part) { *sum += amount; }
            }
            let sale = order.sale().unwrap();
            prop_assert!((0..whole.lines.len()).all(|index| sale.units_left(index) == 0));
            let vat: i64 = whole.taxes.iter().map(|tax| tax.vat).sum();
            prop_assert_eq!(sums, [whole.gross, whole.discount, whole.net, vat]);
        }
    }
}
