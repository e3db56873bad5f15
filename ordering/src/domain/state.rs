mod image;

use std::collections::HashMap;
use std::sync::Arc;

use contract::event::{self as e, DayReport, event::Event};
use contract::order_view::order_of;
use contract::{BusinessDate, Currency, DayRule, LocalHour, OrderId, timestamp_from_proto};
use imbl::OrdMap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

pub use self::image::{ChangesImage, Held, StateImage};

use super::closed_dates::ClosedDates;
use super::event_meta::EventMeta;
use super::figures::{DayFigures, Floats, Overflow};
use super::order::OrderState;

/// A recorded event contradicts the state that the events before it made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("event {revision}/{index} contradicts the ledger before it: {detail}")]
pub struct Corrupt {
    pub revision: u64,
    pub index: u32,
    pub detail: String,
}

/// What is the ledger's for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub ledger_id: Uuid,
    pub currency: Currency,
}

/// A store's settings as they were last recorded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings(pub e::StoreConfigured);

impl Settings {
    /// The rule of business days that these settings state.
    #[must_use]
    pub fn day_rule(&self) -> Option<DayRule> {
        let zone = TimeZone::get(&self.0.time_zone).ok()?;
        DayRule::new(zone, self.0.cutoff_minutes).ok()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct OpenDay {
    pub date: BusinessDate,
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
    pub rule: DayRule,
    pub figures: DayFigures,
}

/// An order that is neither completed nor cancelled.
#[derive(Debug, Clone)]
pub struct OpenOrder {
    pub placed_revision: u64,
    /// `None`: carried over by a close and not asked for since; the log has it.
    pub order: Option<Arc<OrderState>>,
}

impl PartialEq for OpenOrder {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.order, &other.order) {
            // Most orders of two copies of a state are shared.
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            (None, None) => true,
            _ => false,
        };
        same && self.placed_revision == other.placed_revision
    }
}

/// Everything that a store's decisions depend on: the open day, what was carried over, and the orders that are still open.
///
/// Copied for every record in the making, so all that grows is in maps that share their contents with their copies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreState {
    pub identity: Option<Identity>,
    pub settings: Option<Arc<Settings>>,
    pub day: Option<OpenDay>,
    /// The date of the last close.
    pub last_closed: Option<BusinessDate>,
    pub closed: Arc<ClosedDates>,
    pub z_number: i64,
    /// Hash of the record with the last Z.
    pub previous_z_hash: Option<[u8; 32]>,
    pub grand_total_sales: i64,
    pub grand_total_returns: i64,
    /// The last one given out.
    pub document_number: i64,
    /// What the drawers held at the last close.
    pub floats: Floats,
    /// What the drawers that the last close did not count should hold.
    pub uncounted: Floats,
    /// All open orders are counted; those beyond what a close can carry are known by count alone.
    pub open_count: i64,
    pub open_orders: OrdMap<OrderId, OpenOrder>,
    /// Orders accepted UNVERIFIED and not resolved since, with what the till presented. All of them, for ever: a close carries over
    /// only their count, so a fold that starts at one is given them.
    pub unresolved: OrdMap<OrderId, Arc<e::Membership>>,
    /// Orders completed since the last close while no day is open; they count in the next one.
    pub completed_between: i64,
    pub menu_version: String,
    pub menu_hash: Vec<u8>,
    /// Orders that the record in the making touches and that are not among the open ones that are known by name.
    touched: HashMap<OrderId, Arc<OrderState>>,
    closed_in_record: bool,
}

type Detail = String;

impl StoreState {
    /// The state after an event.
    pub fn evolve(&mut self, event: &Event, meta: &EventMeta<'_>) -> Result<(), Corrupt> {
        self.apply(event, meta).map_err(|detail| Corrupt {
            revision: meta.revision,
            index: meta.index,
            detail,
        })
    }

    /// Whether nothing can be recorded any more in a business date, because it is closed or days after it have been.
    #[must_use]
    pub fn is_over(&self, date: BusinessDate) -> bool {
        let before = match &self.day {
            Some(day) => date < day.date,
            None => self.last_closed.is_some_and(|last| date <= last),
        };
        before || self.closed.contains(date)
    }

    /// To be called after the last event of a record, with the hash of the record's bytes.
    pub fn finish_record(&mut self, hash: [u8; 32]) {
        if std::mem::take(&mut self.closed_in_record) {
            self.previous_z_hash = Some(hash);
        }
    }

    /// An order that is in memory.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&Arc<OrderState>> {
        match self.open_orders.get(&id) {
            Some(OpenOrder {
                order: Some(order), ..
            }) => Some(order),
            _ => self.touched.get(&id),
        }
    }

    /// Takes in an order that a command needs: open ones stay, others until [`Self::forget_touched`].
    pub fn hold(&mut self, id: OrderId, order: Arc<OrderState>) {
        match self.open_orders.get_mut(&id) {
            Some(open) => open.order = Some(order),
            None => {
                self.touched.insert(id, order);
            }
        }
    }

    /// Forgets the orders that were only needed for a record: the log and the index have them.
    pub fn forget_touched(&mut self) {
        self.touched.clear();
    }

    fn apply(&mut self, event: &Event, meta: &EventMeta<'_>) -> Result<(), Detail> {
        match event {
            Event::LedgerOpened(opened) => {
                if self.identity.is_some() {
                    return Err("the ledger is opened twice".into());
                }
                self.identity = Some(identity(&opened.ledger_id, &opened.currency_code)?);
            }
            Event::StoreConfigured(settings) => {
                self.settings = Some(Arc::new(Settings(settings.clone())));
            }
            Event::BusinessDayOpened(opened) => self.open_day(opened)?,
            Event::OrderPlaced(placed) => self.place(event, placed, meta)?,
            Event::PreparationStarted(_) | Event::OrderReady(_) => self.order_event(event, meta)?,
            Event::OrderCompleted(_) => {
                self.leave_open(event);
                match &mut self.day {
                    Some(day) => day.figures.completed().map_err(overflow)?,
                    None => self.completed_between += 1,
                }
                self.order_event(event, meta)?;
            }
            Event::OrderCancelled(cancelled) => {
                self.leave_open(event);
                self.open_day_of(&cancelled.business_date)?
                    .figures
                    .cancelled(cancelled)
                    .map_err(overflow)?;
                self.next_document(cancelled.document_number)?;
                self.order_event(event, meta)?;
            }
            Event::OrderRefunded(refunded) => {
                self.open_day_of(&refunded.business_date)?
                    .figures
                    .refunded(refunded)
                    .map_err(overflow)?;
                self.next_document(refunded.document_number)?;
                self.order_event(event, meta)?;
            }
            Event::MemberAttached(_) | Event::MembershipResolved(_) => {
                if let Some(order) = order_of(event) {
                    self.unresolved.remove(&order);
                }
                self.order_event(event, meta)?;
            }
            Event::CashMoved(moved) => self
                .open_day_of(&moved.business_date)?
                .figures
                .cash_moved(moved)
                .map_err(overflow)?,
            Event::DrawerCounted(counted) => {
                // The next day begins with what was counted; one that is open already keeps the float that it began with.
                self.floats.remove(&counted.drawer_id);
                if counted.counted != 0 {
                    self.floats
                        .insert(counted.drawer_id.clone(), counted.counted);
                }
                self.uncounted.remove(&counted.drawer_id);
            }
            Event::BusinessDayClosed(closed) => self.close_day(closed)?,
            Event::MenuPublished(published) => {
                self.menu_version.clone_from(&published.version);
                self.menu_hash = published.hash.to_vec();
            }
            Event::LedgerRepaired(_) | Event::PeriodClosed(_) => {}
        }
        Ok(())
    }

    fn open_day(&mut self, opened: &e::BusinessDayOpened) -> Result<(), Detail> {
        if self.day.is_some() {
            return Err("a business day is opened while another is open".into());
        }
        let date = BusinessDate::parse(&opened.business_date).map_err(|error| error.to_string())?;
        if self.closed.contains(date) {
            return Err(format!("business day {date} is opened after it was closed"));
        }
        let zone = TimeZone::get(&opened.time_zone).map_err(|error| error.to_string())?;
        let rule = DayRule::new(zone, opened.cutoff_minutes).map_err(|error| error.to_string())?;
        let instant = |timestamp: &Option<prost_types::Timestamp>| {
            timestamp
                .as_ref()
                .and_then(timestamp_from_proto)
                .ok_or("a business day without bounds")
        };
        let floats = opened
            .floats
            .iter()
            .map(|float| (float.drawer_id.clone(), float.amount))
            .collect();
        let completed = std::mem::take(&mut self.completed_between);
        let figures = DayFigures::begin(self.open_count + completed, completed, &floats);
        self.day = Some(OpenDay {
            date,
            start: instant(&opened.start_time)?,
            end: instant(&opened.end_time)?,
            rule,
            figures,
        });
        Ok(())
    }

    fn place(
        &mut self,
        event: &Event,
        placed: &e::OrderPlaced,
        meta: &EventMeta<'_>,
    ) -> Result<(), Detail> {
        let day = self.open_day_of(&placed.business_date)?;
        if placed.ticket_number != day.figures.last_ticket() + 1 {
            return Err(format!(
                "ticket {} follows ticket {}",
                placed.ticket_number,
                day.figures.last_ticket()
            ));
        }
        let hour = LocalHour::of(day.rule.zone(), meta.recorded_at);
        day.figures
            .placed(placed, hour.name().to_owned())
            .map_err(overflow)?;
        self.next_document(placed.document_number)?;
        let order = OrderState::place(event, meta).ok_or("not a placing")?;
        let id = OrderId::from_slice(&placed.order_id).map_err(|error| error.to_string())?;
        self.open_count += 1;
        if order.unverified
            && let Some(membership) = &placed.membership
        {
            self.unresolved.insert(id, Arc::new(membership.clone()));
        }
        let open = OpenOrder {
            placed_revision: meta.revision,
            order: Some(Arc::new(order)),
        };
        self.open_orders.insert(id, open);
        Ok(())
    }

    fn next_document(&mut self, number: i64) -> Result<(), Detail> {
        if number != self.document_number + 1 {
            return Err(format!(
                "document {number} follows document {}",
                self.document_number
            ));
        }
        self.document_number = number;
        Ok(())
    }

    fn leave_open(&mut self, event: &Event) {
        if let Some(id) = order_of(event)
            && let Some(open) = self.open_orders.remove(&id)
            && let Some(order) = open.order
        {
            self.touched.insert(id, order);
        }
        self.open_count -= 1;
    }

    /// An order that is not in memory is folded from the log when a command needs it; its events count all the same.
    fn order_event(&mut self, event: &Event, meta: &EventMeta<'_>) -> Result<(), Detail> {
        let Some(id) = order_of(event) else {
            return Err("an event names no order".into());
        };
        let held = match self.open_orders.get_mut(&id) {
            Some(open) => open.order.as_mut(),
            None => self.touched.get_mut(&id),
        };
        if let Some(order) = held {
            Arc::make_mut(order).apply(event, meta)?;
        }
        Ok(())
    }

    fn open_day_of(&mut self, date: &str) -> Result<&mut OpenDay, Detail> {
        let day = self
            .day
            .as_mut()
            .ok_or_else(|| format!("an event of business day {date} while no day is open"))?;
        if day.date.to_string() != date {
            return Err(format!(
                "an event of business day {date} while {} is open",
                day.date
            ));
        }
        Ok(day)
    }

    fn close_day(&mut self, closed: &e::BusinessDayClosed) -> Result<(), Detail> {
        let date = BusinessDate::parse(&closed.business_date).map_err(|error| error.to_string())?;
        let carry_over = closed
            .carry_over
            .as_ref()
            .ok_or("a close carries nothing over")?;
        let report: &DayReport = closed.report.as_ref().ok_or("a close without a report")?;
        // A fold that starts here knows nothing of before; one that comes from before goes on with the same, and no more.
        self.open_orders = carry_over
            .open_orders
            .iter()
            .filter_map(|carried| {
                let id = OrderId::from_slice(&carried.order_id).ok()?;
                let open = OpenOrder {
                    placed_revision: u64::try_from(carried.placed_revision).ok()?,
                    order: self.order(id).cloned(),
                };
                Some((id, open))
            })
            .collect();
        let cold = self.identity.is_none();
        if cold {
            self.identity = Some(identity(&carry_over.ledger_id, &carry_over.currency_code)?);
            self.open_count = carry_over.open_order_count;
            self.menu_version.clone_from(&carry_over.menu_version);
            self.menu_hash = carry_over.menu_hash.to_vec();
            self.settings = carry_over
                .settings
                .clone()
                .map(|settings| Arc::new(Settings(settings)));
        } else if self.day.as_ref().map(|day| day.date) != Some(date)
            || self.document_number != carry_over.document_number
        {
            return Err(format!("the close of {date} does not close what is open"));
        } else if self.z_number + 1 != closed.z_number {
            return Err(format!("Z {} follows Z {}", closed.z_number, self.z_number));
        }
        self.day = None;
        self.last_closed = Some(date);
        // The close's own word, which a fold that begins here has alone; an older close says nothing.
        if !carry_over.closed_dates.is_empty() {
            self.closed = ClosedDates::from_event(&carry_over.closed_dates)
                .map(Arc::new)
                .ok_or("a close carries over dates that are no ranges")?;
        }
        Arc::make_mut(&mut self.closed).insert(date);
        self.z_number = closed.z_number;
        self.grand_total_sales = report.grand_total_sales;
        self.grand_total_returns = report.grand_total_returns;
        self.document_number = carry_over.document_number;
        self.floats = carry_over
            .floats
            .iter()
            .map(|float| (float.drawer_id.clone(), float.amount))
            .collect();
        self.uncounted = report
            .drawers
            .iter()
            .filter(|drawer| drawer.counted.is_none())
            .map(|drawer| (drawer.drawer_id.clone(), drawer.expected))
            .collect();
        self.closed_in_record = true;
        Ok(())
    }
}

fn identity(ledger_id: &[u8], currency: &str) -> Result<Identity, Detail> {
    Ok(Identity {
        ledger_id: Uuid::from_slice(ledger_id).map_err(|error| error.to_string())?,
        currency: Currency::new(currency).map_err(|error| error.to_string())?,
    })
}

fn overflow(_: Overflow) -> Detail {
    "the day's figures do not fit into 64 bits".to_owned()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use allocation_counter::{AllocationInfo, measure};
    use bytes::Bytes;
    use contract::timestamp_to_proto;

    use super::*;
    use crate::domain::order::OrderImage;

    const OPENED: &str = "2026-03-02T10:00:00+09:00";

    fn meta(revision: u64) -> EventMeta<'static> {
        EventMeta {
            revision,
            index: 0,
            recorded_at: OPENED.parse().unwrap(),
            terminal_id: "till-1",
            staff_id: "",
            request_id: Some(Uuid::from_u128(revision.into())),
        }
    }

    fn id(number: i64) -> OrderId {
        OrderId::from_uuid(Uuid::from_u128(
            u128::try_from(number).unwrap() << 80 | 0x7000_8000_0000_0000_0000,
        ))
    }

    /// A latte with an extra shot, paid by card.
    fn placed(number: i64) -> Event {
        let name = |text: &str| {
            [
                ("en".to_owned(), text.to_owned()),
                ("ko".to_owned(), "라떼".to_owned()),
            ]
            .into_iter()
            .collect()
        };
        Event::OrderPlaced(e::OrderPlaced {
            order_id: id(number).to_bytes(),
            business_date: "2026-03-02".to_owned(),
            ticket_number: number,
            ticket_label: number.to_string(),
            document_number: number,
            lines: vec![e::OrderLine {
                line_id: "l-1".to_owned(),
                sku: format!("latte-{}", number % 40),
                name: name("Caffe latte"),
                category: "coffee".to_owned(),
                quantity: 1,
                unit_price: 5_000,
                gross: 5_000,
                net: 5_000,
                tax_class: "std".to_owned(),
                tax_rate_bp: 1_000,
                supply: 4_545,
                ..e::OrderLine::default()
            }],
            gross: 5_000,
            net: 5_000,
            taxes: vec![e::TaxAmount {
                tax_class: "std".to_owned(),
                rate_bp: 1_000,
                net: 5_000,
                supply: 4_545,
                vat: 455,
                ..e::TaxAmount::default()
            }],
            tenders: vec![e::Tender {
                tender_id: "t-1".to_owned(),
                kind: e::TenderKind::Card.into(),
                amount: 5_000,
                tendered: 5_000,
                external_reference: "30281190".to_owned(),
                ..e::Tender::default()
            }],
            menu_version: "2026-03-01".to_owned(),
            pricing_rule: "doppio-1".to_owned(),
            tax_rule: "kr-1".to_owned(),
            ..e::OrderPlaced::default()
        })
    }

    /// A day with so many open orders.
    fn open_day(orders: i64) -> StoreState {
        let mut state = StoreState::default();
        let opened: Timestamp = OPENED.parse().unwrap();
        let before = [
            Event::LedgerOpened(e::LedgerOpened {
                ledger_id: Bytes::copy_from_slice(Uuid::nil().as_bytes()),
                currency_code: "KRW".to_owned(),
                ..e::LedgerOpened::default()
            }),
            Event::BusinessDayOpened(e::BusinessDayOpened {
                business_date: "2026-03-02".to_owned(),
                time_zone: "Asia/Seoul".to_owned(),
                cutoff_minutes: 240,
                start_time: Some(timestamp_to_proto(opened)),
                end_time: Some(timestamp_to_proto(opened)),
                ..e::BusinessDayOpened::default()
            }),
        ];
        for event in before {
            state.evolve(&event, &meta(1)).unwrap();
        }
        for number in 1..=orders {
            state.evolve(&placed(number), &meta(2)).unwrap();
        }
        state.forget_touched();
        state
    }

    /// What a record costs that places one order and takes another all the way: the copy that it is decided against included.
    fn cost_of_a_record(state: &mut StoreState) -> AllocationInfo {
        let new = placed(state.document_number + 1);
        let order_id = id(1).to_bytes();
        let events = [
            new,
            Event::PreparationStarted(e::PreparationStarted {
                order_id: order_id.clone(),
            }),
            Event::OrderReady(e::OrderReady {
                order_id: order_id.clone(),
            }),
            Event::OrderCompleted(e::OrderCompleted { order_id }),
        ];
        measure(|| {
            let mut next = state.clone();
            for event in &events {
                next.evolve(event, &meta(3)).unwrap();
            }
            next.forget_touched();
            *state = next;
        })
    }

    #[test]
    fn a_record_costs_the_same_however_many_orders_are_open() {
        let few = cost_of_a_record(&mut open_day(10));
        let many = cost_of_a_record(&mut open_day(20_000));
        // A deeper tree copies a few nodes more.
        assert!(
            many.bytes_total < few.bytes_total + 8 * 1024,
            "{} bytes with 10 open orders, {} with 20,000",
            few.bytes_total,
            many.bytes_total
        );
    }

    #[test]
    fn an_open_order_takes_less_than_600_bytes() {
        const ORDERS: i64 = 5_000;
        let taken = measure(|| {
            black_box(std::mem::ManuallyDrop::new(open_day(ORDERS)));
        });
        let each = taken.bytes_current / ORDERS;
        assert!(each < 600, "{each} bytes an open order");
    }

    #[test]
    fn an_order_out_of_a_snapshot_takes_no_more_than_one_that_was_placed() {
        let order = OrderState::place(&placed(1), &meta(2)).unwrap();
        let copied = measure(|| {
            let order = OrderState::place(&placed(1), &meta(2)).unwrap();
            black_box(std::mem::ManuallyDrop::new(order));
        });
        let read = measure(|| {
            let order = OrderState::try_from(OrderImage::from(&order)).unwrap();
            black_box(std::mem::ManuallyDrop::new(order));
        });
        assert!(
            read.bytes_current <= copied.bytes_current,
            "{} bytes read, {} placed",
            read.bytes_current,
            copied.bytes_current
        );
    }

    #[test]
    fn orders_that_are_done_leave_and_the_others_are_shared() {
        let mut state = open_day(100);
        let before = state.clone();
        cost_of_a_record(&mut state);
        assert!(state.order(id(1)).is_none());
        assert_eq!(before.order(id(1)).unwrap().status.as_str(), "PLACED");
        assert_eq!((state.open_orders.len(), state.open_count), (100, 100));
        let (was, is) = (before.order(id(50)).unwrap(), state.order(id(50)).unwrap());
        assert!(Arc::ptr_eq(was, is));
    }
}
