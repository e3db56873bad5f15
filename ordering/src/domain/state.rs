use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contract::event::{self as e, DayReport, event::Event};
use contract::order_view::order_of;
use contract::{BusinessDate, Currency, DayRule, OrderId, timestamp_from_proto};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};
use uuid::Uuid;

use super::figures::{DayFigures, Overflow};
use super::order::{OrderEvent, OrderState};

/// A recorded event contradicts the state that the events before it made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("event {revision}/{index} contradicts the ledger before it: {detail}")]
pub struct Corrupt {
    pub revision: u64,
    pub index: u32,
    pub detail: String,
}

/// What an event's record and command say about it.
#[derive(Debug, Clone)]
pub struct EventMeta<'a> {
    pub revision: u64,
    /// Place of the event in its record.
    pub index: u32,
    pub recorded_at: Timestamp,
    pub terminal_id: &'a str,
    pub staff_id: &'a str,
    pub request_id: &'a str,
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

#[derive(Debug, Clone)]
pub struct OpenDay {
    pub date: BusinessDate,
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
    pub rule: DayRule,
    pub figures: DayFigures,
}

/// Everything that a store's decisions depend on: the open day, what was carried over, and the orders that are still open.
#[derive(Debug, Clone, Default)]
pub struct StoreState {
    pub identity: Option<Identity>,
    pub settings: Option<Settings>,
    pub day: Option<OpenDay>,
    pub last_closed: Option<BusinessDate>,
    pub z_number: i64,
    /// Hash of the record with the last Z.
    pub previous_z_hash: Option<[u8; 32]>,
    pub grand_total_sales: i64,
    pub grand_total_returns: i64,
    /// The last one given out.
    pub document_number: i64,
    /// What the drawers held at the last close.
    pub floats: BTreeMap<String, i64>,
    /// What the drawers that the last close did not count should hold.
    pub uncounted: BTreeMap<String, i64>,
    /// All open orders are counted; those beyond what a close can carry are known by count alone.
    pub open_count: i64,
    pub open_orders: BTreeMap<OrderId, u64>,
    /// Orders accepted UNVERIFIED and not resolved since, with the revision that placed them.
    pub unresolved: BTreeMap<OrderId, u64>,
    /// Orders completed since the last close while no day is open; they count in the next one.
    pub completed_between: i64,
    pub menu_version: String,
    pub menu_hash: Vec<u8>,
    /// Orders held in memory: the open ones of the open day, and those fetched for a command.
    pub orders: HashMap<OrderId, Arc<OrderState>>,
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

    /// To be called after the last event of a record, with the hash of the record's bytes.
    pub fn finish_record(&mut self, hash: [u8; 32]) {
        if std::mem::take(&mut self.closed_in_record) {
            self.previous_z_hash = Some(hash);
        }
    }

    /// Forgets orders that are no longer open: the log and the index have them.
    pub fn forget_closed_orders(&mut self) {
        let open = &self.open_orders;
        self.orders
            .retain(|id, order| order.status.is_open() && open.contains_key(id));
    }

    fn apply(&mut self, event: &Event, meta: &EventMeta<'_>) -> Result<(), Detail> {
        match event {
            Event::LedgerOpened(opened) => {
                if self.identity.is_some() {
                    return Err("the ledger is opened twice".into());
                }
                self.identity = Some(identity(&opened.ledger_id, &opened.currency_code)?);
            }
            Event::StoreConfigured(settings) => self.settings = Some(Settings(settings.clone())),
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
                self.floats
                    .insert(counted.drawer_id.clone(), counted.counted);
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
        if self.last_closed.is_some_and(|last| date <= last) {
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
        let hour = local_hour(&day.rule, meta.recorded_at);
        day.figures.placed(placed, hour).map_err(overflow)?;
        self.next_document(placed.document_number)?;
        let order = OrderState::place(order_event(event, meta)).ok_or("not a placing")?;
        let id = OrderId::from_slice(&placed.order_id).map_err(|error| error.to_string())?;
        self.open_count += 1;
        self.open_orders.insert(id, meta.revision);
        if order.unverified {
            self.unresolved.insert(id, meta.revision);
        }
        self.orders.insert(id, Arc::new(order));
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
        if let Some(order) = order_of(event) {
            self.open_orders.remove(&order);
        }
        self.open_count -= 1;
    }

    /// An order that is not in memory is folded from the log when a command needs it; its events count all the same.
    fn order_event(&mut self, event: &Event, meta: &EventMeta<'_>) -> Result<(), Detail> {
        let Some(id) = order_of(event) else {
            return Err("an event names no order".into());
        };
        if let Some(order) = self.orders.get_mut(&id) {
            Arc::make_mut(order).apply(order_event(event, meta))?;
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
        let carried = |orders: &[e::CarriedOrder]| -> BTreeMap<OrderId, u64> {
            orders
                .iter()
                .filter_map(|order| {
                    Some((
                        OrderId::from_slice(&order.order_id).ok()?,
                        u64::try_from(order.placed_revision).ok()?,
                    ))
                })
                .collect()
        };
        self.open_orders = carried(&carry_over.open_orders);
        self.unresolved = carried(&carry_over.unresolved_memberships);
        let cold = self.identity.is_none();
        if cold {
            self.identity = Some(identity(&carry_over.ledger_id, &carry_over.currency_code)?);
            self.open_count = carry_over.open_order_count;
            self.menu_version.clone_from(&carry_over.menu_version);
            self.menu_hash = carry_over.menu_hash.to_vec();
            self.settings = carry_over.settings.clone().map(Settings);
        } else if self.day.as_ref().map(|day| day.date) != Some(date)
            || self.document_number != carry_over.document_number
        {
            return Err(format!("the close of {date} does not close what is open"));
        } else if self.z_number + 1 != closed.z_number {
            return Err(format!("Z {} follows Z {}", closed.z_number, self.z_number));
        }
        self.day = None;
        self.last_closed = Some(date);
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

fn order_event(event: &Event, meta: &EventMeta<'_>) -> OrderEvent {
    OrderEvent {
        event: event.clone(),
        recorded_at: meta.recorded_at,
        revision: meta.revision,
        index: meta.index,
        terminal_id: meta.terminal_id.to_owned(),
        staff_id: meta.staff_id.to_owned(),
        request_id: meta.request_id.to_owned(),
    }
}

/// Start of the local hour with its offset from UTC: "2016-10-30T01:00+01:00".
fn local_hour(rule: &DayRule, instant: Timestamp) -> String {
    let local = instant.to_zoned(rule.zone().clone());
    let hour = local
        .round(
            jiff::ZonedRound::new()
                .smallest(Unit::Hour)
                .mode(jiff::RoundMode::Floor),
        )
        .unwrap_or(local);
    hour.strftime("%Y-%m-%dT%H:%M%:z").to_string()
}
