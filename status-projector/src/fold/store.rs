//! One store while records are folded into it.

use std::collections::{BTreeMap, HashMap};

use contract::api::ordering as api;
use contract::event::{
    Actor, BusinessDayClosed, BusinessDayOpened, CashMoved, CashMovementKind, DayReport,
    LedgerOpened, OrderPlaced, RecordPayload, event::Event,
};
use contract::figures::figures;
use contract::order_view::{self, EventContext, order_of};
use contract::{
    BusinessDate, Currency, DayRule, LocalHour, Money, OrderId, RequestId, readmodel, stored_order,
    timestamp_from_proto,
};
use event_log::{Record, RecordHash, Revision};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use prost::Message as _;
use read_model::{
    CashKind, CashRow, CompletionRow, DayRow, DayState, EventPlace, Facts, ListRow, OrderRow,
    StoreRow,
};

use super::facts::{self, GivenBack};
use super::figures::{Figures, ReturnBlock, Returned, drawer_name};
use super::lists::Lists;
use super::order;
use super::poison::{Poison, equal};
use super::{StoreInput, StoreOutput, balance, compare};

pub(super) struct StoreFold {
    pub row: StoreRow,
    orders: HashMap<OrderId, OrderFold>,
    /// In the order of placing, so that rows are written in it.
    placed: Vec<OrderId>,
    facts: Facts,
    days: HashMap<BusinessDate, DayFold>,
    events: u64,
}

struct OrderFold {
    /// As it is kept.
    stored: readmodel::Order,
    /// The same as a view: what it allows, and what its row says.
    order: api::Order,
    changed: bool,
}

struct DayFold {
    row: DayRow,
    figures: Figures,
    lists: Lists,
    changed: bool,
    zone: Option<TimeZone>,
    /// The hour of the last fact, and the minute since the epoch for which it was looked up.
    hour: Option<(i64, LocalHour)>,
}

/// Where an event stands.
struct Place<'a> {
    record: &'a Record,
    /// Index of the event in its record.
    index: usize,
    actor: &'a Actor,
    request_id: &'a [u8],
}

impl Place<'_> {
    fn at(&self) -> EventPlace {
        EventPlace {
            revision: self.record.revision(),
            index: u32::try_from(self.index).unwrap_or(u32::MAX),
        }
    }
}

impl StoreFold {
    pub fn new(input: &StoreInput) -> Result<Self, Poison> {
        let corrupt = |error: prost::DecodeError| Poison::Corrupt(error.to_string());
        let mut orders = HashMap::with_capacity(input.orders.len());
        for (id, body) in &input.orders {
            let stored = readmodel::Order::decode(body.clone()).map_err(corrupt)?;
            let order =
                stored_order::view(&stored, input.row.store.as_str(), currency(&input.row)?)
                    .map_err(|error| Poison::Corrupt(format!("order {id}: {error}")))?;
            orders.insert(
                *id,
                OrderFold {
                    stored,
                    order,
                    changed: false,
                },
            );
        }
        let mut days = HashMap::with_capacity(input.days.len());
        for row in &input.days {
            let figures = Figures::of(DayReport::decode(row.body.as_slice()).map_err(corrupt)?);
            days.insert(
                row.date,
                DayFold {
                    row: row.clone(),
                    figures,
                    lists: Lists::on(
                        input
                            .lists
                            .iter()
                            .filter(|own| own.date == row.date)
                            .cloned(),
                    ),
                    changed: false,
                    zone: None,
                    hour: None,
                },
            );
        }
        Ok(Self {
            row: input.row.clone(),
            orders,
            placed: Vec::new(),
            facts: Facts::default(),
            days,
            events: 0,
        })
    }

    pub fn apply(&mut self, record: &Record, payload: &RecordPayload) -> Result<(), Poison> {
        let nobody = Actor::default();
        let mut index = 0;
        for command in &payload.commands {
            let actor = command.actor.as_ref().unwrap_or(&nobody);
            for event in &command.events {
                let event = event
                    .event
                    .as_ref()
                    .ok_or_else(|| Poison::Unreadable("an event of unknown type".into()))?;
                self.event(
                    &Place {
                        record,
                        index,
                        actor,
                        request_id: &command.request_id,
                    },
                    event,
                )?;
                index += 1;
            }
        }
        self.events += index as u64;
        Ok(())
    }

    pub fn finish(self) -> Result<StoreOutput, Poison> {
        let open_orders = self.row.open_orders;
        let mut days = Vec::new();
        let mut lists = Vec::new();
        for day in self.days.into_values().filter(|day| day.changed) {
            let mut row = day.row;
            lists.extend(day.lists.rows(&self.row.store, row.date));
            if row.state == DayState::Open {
                row.body = day.figures.report(open_orders)?.encode_to_vec();
            }
            days.push(row);
        }
        days.sort_by_key(|row| row.date);
        lists.sort_by(|one: &ListRow, other| {
            (one.date, one.list, &one.key).cmp(&(other.date, other.list, &other.key))
        });
        let mut orders = self.orders;
        let mut placed = Vec::with_capacity(self.placed.len());
        for id in self.placed {
            if let Some(fold) = orders.remove(&id) {
                placed.push(order_row(&self.row, id, &fold)?);
            }
        }
        let mut changed = Vec::new();
        let mut touched: Vec<_> = orders
            .into_iter()
            .filter(|(_, fold)| fold.changed)
            .collect();
        touched.sort_by_key(|(id, _)| *id);
        for (id, fold) in touched {
            changed.push(order_row(&self.row, id, &fold)?);
        }
        Ok(StoreOutput {
            row: self.row,
            placed,
            orders: changed,
            facts: Facts {
                lists,
                ..self.facts
            },
            days,
            orphans: 0,
            events: self.events,
        })
    }

    fn event(&mut self, place: &Place<'_>, event: &Event) -> Result<(), Poison> {
        if (self.row.chain.is_none() && place.index == 0) != matches!(event, Event::LedgerOpened(_))
        {
            return Err(Poison::Illegal(
                "LedgerOpened is the first event of a ledger, and no other".into(),
            ));
        }
        match event {
            Event::LedgerOpened(opened) => self.open_ledger(place, opened),
            Event::StoreConfigured(settings) => {
                self.row.time_zone.clone_from(&settings.time_zone);
                self.row.cutoff_minutes = settings.cutoff_minutes;
                self.row.name.clone_from(&settings.store_name);
                Ok(())
            }
            Event::BusinessDayOpened(opened) => self.open_day(place, opened),
            Event::OrderPlaced(placed) => self.place(place, event, placed),
            Event::PreparationStarted(_)
            | Event::OrderReady(_)
            | Event::MemberAttached(_)
            | Event::MembershipResolved(_) => self.on_order(place, event),
            Event::OrderCompleted(completed) => {
                self.on_order(place, event)?;
                self.row.open_orders -= 1;
                match self.open_day_fold(place)? {
                    Some(day) => day.figures.completed(1),
                    // Between two days: it counts in the next one.
                    None => self.row.completed_between += 1,
                }
                self.facts.completions.push(CompletionRow {
                    store: self.row.store.clone(),
                    place: place.at(),
                    z_number: self.row.z_number + 1,
                    order_id: order_id(&completed.order_id)?,
                    recorded_at: place.record.header().recorded_at,
                });
                Ok(())
            }
            Event::OrderCancelled(cancelled) => {
                let amounts = [cancelled.gross, cancelled.discount, cancelled.net];
                let of = || order_of(event).map(|id| id.to_string()).unwrap_or_default();
                balance::give_back(
                    &of(),
                    amounts,
                    &cancelled.lines,
                    &cancelled.taxes,
                    &cancelled.tenders,
                )?;
                self.on_order(place, event)?;
                self.row.open_orders -= 1;
                let own = cancelled.sale_business_date == cancelled.business_date;
                let block = if own {
                    ReturnBlock::Voids
                } else {
                    ReturnBlock::RefundsPriorDays
                };
                let returned = Returned {
                    gross: cancelled.gross,
                    discount: cancelled.discount,
                    net: cancelled.net,
                    taxes: &cancelled.taxes,
                    tenders: &cancelled.tenders,
                    document_number: cancelled.document_number,
                };
                self.give_back(place, &cancelled.business_date, block, &returned)?
                    .cancelled();
                self.returned(place, &GivenBack::cancelled(cancelled, block))
            }
            Event::OrderRefunded(refunded) => {
                let amounts = [refunded.gross, refunded.discount, refunded.net];
                let of = || order_of(event).map(|id| id.to_string()).unwrap_or_default();
                balance::give_back(
                    &of(),
                    amounts,
                    &refunded.lines,
                    &refunded.taxes,
                    &refunded.tenders,
                )?;
                self.on_order(place, event)?;
                let own = refunded.sale_business_date == refunded.business_date;
                let block = if own {
                    ReturnBlock::RefundsSameDay
                } else {
                    ReturnBlock::RefundsPriorDays
                };
                let returned = Returned {
                    gross: refunded.gross,
                    discount: refunded.discount,
                    net: refunded.net,
                    taxes: &refunded.taxes,
                    tenders: &refunded.tenders,
                    document_number: refunded.document_number,
                };
                self.give_back(place, &refunded.business_date, block, &returned)?;
                self.returned(place, &GivenBack::refunded(refunded, block))
            }
            Event::CashMoved(moved) => self.move_cash(place, moved),
            Event::DrawerCounted(counted) => self.count_drawer(place, counted),
            Event::BusinessDayClosed(closed) => self.close_day(place, closed),
            // Nothing that is read depends on these.
            Event::MenuPublished(_) | Event::LedgerRepaired(_) | Event::PeriodClosed(_) => Ok(()),
        }
    }

    fn open_ledger(&mut self, place: &Place<'_>, opened: &LedgerOpened) -> Result<(), Poison> {
        if opened.store_id != self.row.store.as_str()
            || opened.ledger_id[..] != place.record.header().ledger_id.as_bytes()[..]
        {
            return Err(Poison::Broken(format!(
                "LedgerOpened names store {} or another ledger id than its record",
                opened.store_id
            )));
        }
        let currency = Currency::new(&opened.currency_code)
            .map_err(|error| Poison::Illegal(error.to_string()))?;
        self.row.currency = Some(currency);
        self.row.time_zone.clone_from(&opened.time_zone);
        self.row.cutoff_minutes = opened.cutoff_minutes;
        self.row.name.clone_from(&opened.store_name);
        Ok(())
    }

    fn open_day(&mut self, place: &Place<'_>, opened: &BusinessDayOpened) -> Result<(), Poison> {
        let date = business_date(&opened.business_date)?;
        let illegal = |what: &str| {
            Err(Poison::Illegal(format!(
                "business day {date} is opened, but {what}"
            )))
        };
        if self.row.day_open {
            return illegal("another is open");
        }
        if self.days.contains_key(&date) {
            return illegal("it was opened before");
        }
        // A day that had not begun when this one was opened had been opened too early; any other comes before it.
        if let Some(latest) = self.row.latest_date.filter(|latest| *latest > date)
            && self.begin_of(latest)? <= place.record.header().recorded_at
        {
            return illegal(&format!("{latest} is not before it"));
        }
        // Carried in is what was carried out of the day before, so orders completed in between are both carried in and completed.
        let completed = std::mem::take(&mut self.row.completed_between);
        let carried_in = self.row.open_orders + completed;
        let mut figures = Figures::begin(
            carried_in,
            self.row.grand_total_sales.minor(),
            self.row.grand_total_returns.minor(),
        );
        figures.completed(completed);
        for (float, position) in opened.floats.iter().zip(0..) {
            figures.float(&float.drawer_id, float.amount)?;
            let amounts = [float.amount, float.amount];
            self.facts.cash.push(CashRow {
                position,
                ..cash_row(
                    &self.row,
                    place,
                    CashKind::OpeningFloat,
                    date,
                    &float.drawer_id,
                    amounts,
                )
            });
        }
        let bound = |at: &Option<prost_types::Timestamp>| {
            at.as_ref()
                .and_then(timestamp_from_proto)
                .ok_or_else(|| Poison::Illegal(format!("business day {date} has no start or end")))
        };
        let row = DayRow {
            store: self.row.store.clone(),
            date,
            state: DayState::Open,
            time_zone: opened.time_zone.clone(),
            start: bound(&opened.start_time)?,
            end: bound(&opened.end_time)?,
            closed_at: None,
            z_number: 0,
            revision: place.record.revision(),
            body: Vec::new(),
            recorded: Vec::new(),
            differences: Vec::new(),
            figures: BTreeMap::new(),
        };
        self.days.insert(
            date,
            DayFold {
                row,
                figures,
                lists: Lists::default(),
                changed: true,
                zone: None,
                hour: None,
            },
        );
        self.row.latest_date = Some(date);
        self.row.day_open = true;
        Ok(())
    }

    /// When a business day begins by the settings that are in force.
    fn begin_of(&self, date: BusinessDate) -> Result<Timestamp, Poison> {
        let zone = TimeZone::get(&self.row.time_zone).map_err(|_| {
            Poison::Illegal(format!(
                "time zone {:?} is not known to this machine",
                self.row.time_zone
            ))
        })?;
        DayRule::new(zone, self.row.cutoff_minutes)
            .and_then(|rule| rule.start(date))
            .map_err(|error| Poison::Illegal(format!("business day {date}: {error}")))
    }

    fn place(
        &mut self,
        place: &Place<'_>,
        event: &Event,
        placed: &OrderPlaced,
    ) -> Result<(), Poison> {
        let order_id = order_id(&placed.order_id)?;
        let shown = order_id.to_string();
        if self.orders.contains_key(&order_id) {
            return Err(Poison::Illegal(format!("order {shown} is placed twice")));
        }
        balance::sale(&shown, placed)?;
        order::check_placed(&shown, placed)?;
        self.document(placed.document_number, &shown)?;
        let recorded_at = place.record.header().recorded_at;
        let day = self.day(place, &placed.business_date)?;
        let date = day.row.date;
        if placed.ticket_number != day.figures.sales_count() + 1 {
            return Err(Poison::Illegal(format!(
                "order {shown} has ticket {}, but the next of {date} is {}",
                placed.ticket_number,
                day.figures.sales_count() + 1
            )));
        }
        let hour = day.hour(recorded_at)?;
        day.figures.sale(placed, hour.name())?;
        day.lists.sale(placed)?;
        let store = self.row.store.clone();
        self.facts.append(facts::sale(
            &facts::Place {
                store,
                place: place.at(),
                recorded_at,
                hour,
            },
            date,
            order_id,
            placed,
        )?);
        let context = context(&self.row, place, "")?;
        if let Some(order) = order_view::fold(None, event, &context) {
            let events = vec![stored_order::kept(event, &context)];
            self.orders.insert(
                order_id,
                OrderFold {
                    stored: readmodel::Order { events },
                    order,
                    changed: true,
                },
            );
        }
        self.placed.push(order_id);
        self.row.open_orders += 1;
        Ok(())
    }

    /// Something given back counts in the day of its event, which must be the open one.
    fn give_back(
        &mut self,
        place: &Place<'_>,
        date: &str,
        block: ReturnBlock,
        returned: &Returned<'_>,
    ) -> Result<&mut Figures, Poison> {
        self.document(returned.document_number, "given back")?;
        let day = self.day(place, date)?;
        day.figures.give_back(block, returned)?;
        Ok(&mut day.figures)
    }

    /// The facts of something given back, which is known to be legal and to balance.
    fn returned(&mut self, place: &Place<'_>, given: &GivenBack<'_>) -> Result<(), Poison> {
        let recorded_at = place.record.header().recorded_at;
        let id = order_id(given.order_id)?;
        let day = self.day(place, given.business_date)?;
        let (date, hour) = (day.row.date, day.hour(recorded_at)?);
        let order = self
            .orders
            .get(&id)
            .ok_or_else(|| Poison::Illegal(format!("order {id} was never placed")))?;
        let store = self.row.store.clone();
        let place = facts::Place {
            store,
            place: place.at(),
            recorded_at,
            hour,
        };
        self.facts.append(facts::given_back(
            &place,
            date,
            business_date(given.sale_business_date)?,
            id,
            given,
            &order.order,
        )?);
        Ok(())
    }

    fn move_cash(&mut self, place: &Place<'_>, moved: &CashMoved) -> Result<(), Poison> {
        let day = self.day(place, &moved.business_date)?;
        let before = day.figures.expected(&moved.drawer_id);
        day.figures.cash(moved)?;
        let effect = day
            .figures
            .expected(&moved.drawer_id)
            .checked_sub(before)
            .ok_or(Poison::Overflow("a cash movement"))?;
        let date = day.row.date;
        let kind = match moved.kind() {
            CashMovementKind::PaidIn => CashKind::PaidIn,
            CashMovementKind::PaidOut => CashKind::PaidOut,
            CashMovementKind::Float | CashMovementKind::Unspecified => CashKind::Float,
        };
        let reason_code = moved.reason_code.clone();
        let row = cash_row(
            &self.row,
            place,
            kind,
            date,
            &moved.drawer_id,
            [moved.amount, effect],
        );
        self.facts.cash.push(CashRow { reason_code, ..row });
        Ok(())
    }

    fn count_drawer(
        &mut self,
        place: &Place<'_>,
        counted: &contract::event::DrawerCounted,
    ) -> Result<(), Poison> {
        let date = business_date(&counted.business_date)?;
        let revision = place.record.revision();
        let day = self.days.get_mut(&date).ok_or_else(|| {
            Poison::Illegal(format!(
                "a drawer of {date} is counted, which was never opened"
            ))
        })?;
        day.figures.counted(&counted.drawer_id, counted.counted)?;
        if day.row.state == DayState::Closed {
            let carried_out = DayReport::decode(day.row.body.as_slice())
                .map_err(|error| Poison::Corrupt(error.to_string()))?
                .carried_out;
            day.row.body = day.figures.report(carried_out)?.encode_to_vec();
        }
        day.row.revision = revision;
        day.changed = true;
        let amounts = [counted.counted, 0];
        self.facts.cash.push(cash_row(
            &self.row,
            place,
            CashKind::CountedLate,
            date,
            &counted.drawer_id,
            amounts,
        ));
        Ok(())
    }

    fn close_day(&mut self, place: &Place<'_>, closed: &BusinessDayClosed) -> Result<(), Poison> {
        if place.index != 0 {
            return Err(Poison::Illegal(
                "BusinessDayClosed is not the first event of its record".into(),
            ));
        }
        let chain = self
            .row
            .chain
            .ok_or_else(|| Poison::Illegal("a day is closed before the ledger is opened".into()))?;
        let last_revision = i64::try_from(chain.revision.0).unwrap_or(i64::MAX);
        equal(closed.last_revision, last_revision, || {
            "the Z's last revision against the record before it".into()
        })?;
        if closed.last_hash[..] != chain.hash.0[..] {
            return Err(Poison::Illegal(
                "the Z names another hash than that of the record before it".into(),
            ));
        }
        equal(closed.z_number, self.row.z_number + 1, || {
            "the Z's number against the next one".into()
        })?;
        let previous = if self.row.z_hash == RecordHash::NONE {
            &[][..]
        } else {
            &self.row.z_hash.0[..]
        };
        if closed.previous_z_hash[..] != *previous {
            return Err(Poison::Illegal(
                "the Z names another hash than that of the Z before it".into(),
            ));
        }
        let recorded = closed
            .report
            .as_ref()
            .ok_or_else(|| Poison::Illegal("a Z without a report".into()))?;
        let (open_orders, recorded_at) = (self.row.open_orders, place.record.header().recorded_at);
        let day = self.day(place, &closed.business_date)?;
        let date = day.row.date;
        let bounds = [
            (&closed.start_time, day.row.start, "start"),
            (&closed.end_time, day.row.end, "end"),
            (&closed.close_time, recorded_at, "close time"),
        ];
        for (said, is, what) in bounds {
            if said.as_ref().and_then(timestamp_from_proto) != Some(is) {
                return Err(Poison::Illegal(format!(
                    "the Z's {what} is not that of its day and record"
                )));
            }
        }
        let mut counts = Vec::new();
        for drawer in &recorded.drawers {
            if let Some(counted) = drawer.counted {
                day.figures.counted(&drawer.drawer_id, counted)?;
                counts.push((&drawer.drawer_id, counted));
            }
        }
        day.figures.close(&day.lists)?;
        let projected = day.figures.report(open_orders)?;
        day.row.differences = compare::differences(recorded, &projected);
        day.row.body = projected.encode_to_vec();
        day.row.figures = figures(recorded);
        // What is carried over is for who writes the next day, and may be long.
        day.row.recorded = BusinessDayClosed {
            carry_over: None,
            ..closed.clone()
        }
        .encode_to_vec();
        day.row.state = DayState::Closed;
        day.row.z_number = closed.z_number;
        day.row.closed_at = Some(recorded_at);
        let (sales, returns) = day.figures.grand_totals();
        self.row.grand_total_sales = Money::new(sales);
        self.row.grand_total_returns = Money::new(returns);
        self.row.z_number = closed.z_number;
        self.row.z_hash = place.record.hash();
        self.row.day_open = false;
        for ((drawer, counted), position) in counts.into_iter().zip(0..) {
            self.facts.cash.push(CashRow {
                position,
                ..cash_row(
                    &self.row,
                    place,
                    CashKind::Counted,
                    date,
                    drawer,
                    [counted, 0],
                )
            });
        }
        Ok(())
    }

    /// The open day, if there is one, about to change.
    fn open_day_fold(&mut self, place: &Place<'_>) -> Result<Option<&mut DayFold>, Poison> {
        let Some(date) = self.row.latest_date.filter(|_| self.row.day_open) else {
            return Ok(None);
        };
        let day = self
            .days
            .get_mut(&date)
            .ok_or_else(|| Poison::Corrupt(format!("the open day {date} is missing")))?;
        day.changed = true;
        day.row.revision = place.record.revision();
        Ok(Some(day))
    }

    /// The open day, which must be the one named.
    fn day(&mut self, place: &Place<'_>, named: &str) -> Result<&mut DayFold, Poison> {
        let date = business_date(named)?;
        match self.open_day_fold(place)? {
            Some(day) if day.row.date == date => Ok(day),
            Some(day) => Err(Poison::Illegal(format!(
                "an event counts in {date}, but {} is open",
                day.row.date
            ))),
            None => Err(Poison::Illegal(format!(
                "an event counts in {date}, but no business day is open"
            ))),
        }
    }

    /// An event of an order that must exist and allow it.
    fn on_order(&mut self, place: &Place<'_>, event: &Event) -> Result<(), Poison> {
        let id =
            order_of(event).ok_or_else(|| Poison::Illegal("an event names no order".into()))?;
        let request_id = RequestId::from_slice(place.request_id)
            .map(|id| id.to_string())
            .unwrap_or_default();
        let context = context(&self.row, place, &request_id)?;
        let fold = self
            .orders
            .get_mut(&id)
            .ok_or_else(|| Poison::Illegal(format!("order {id} was never placed")))?;
        order::check(&fold.order, event)?;
        fold.changed = true;
        fold.stored.events.push(stored_order::kept(event, &context));
        if let Some(order) =
            order_view::fold(Some(std::mem::take(&mut fold.order)), event, &context)
        {
            fold.order = order;
        }
        Ok(())
    }

    fn document(&mut self, number: i64, what: &str) -> Result<(), Poison> {
        let next = self.row.document_number + 1;
        if number != next {
            return Err(Poison::Illegal(format!(
                "{what}: document number {number}, but the next is {next}"
            )));
        }
        self.row.document_number = number;
        Ok(())
    }
}

/// Cash of a drawer: the amount, and its effect on what the drawer should hold.
fn cash_row(
    store: &StoreRow,
    place: &Place<'_>,
    kind: CashKind,
    date: BusinessDate,
    drawer: &str,
    [amount, effect]: [i64; 2],
) -> CashRow {
    CashRow {
        store: store.store.clone(),
        place: place.at(),
        position: 0,
        kind,
        business_date: date,
        recorded_at: place.record.header().recorded_at,
        drawer_id: drawer_name(drawer).to_owned(),
        amount: Money::new(amount),
        effect: Money::new(effect),
        reason_code: String::new(),
    }
}

fn context<'a>(
    row: &'a StoreRow,
    place: &Place<'a>,
    request_id: &'a str,
) -> Result<EventContext<'a>, Poison> {
    Ok(EventContext {
        store_id: row.store.as_str(),
        currency: currency(row)?,
        recorded_at: place.record.header().recorded_at,
        revision: place.record.revision().0,
        terminal_id: &place.actor.terminal_id,
        staff_id: &place.actor.staff_id,
        request_id,
    })
}

fn currency(row: &StoreRow) -> Result<Currency, Poison> {
    row.currency
        .ok_or_else(|| Poison::Corrupt("the store has no currency".into()))
}

impl DayFold {
    /// The local hour of a fact, with its offset: an hour repeated by a clock change is two.
    fn hour(&mut self, at: Timestamp) -> Result<LocalHour, Poison> {
        // Only the rest of the minute is sure to have the same offset and hour: all offsets are whole minutes since 1972.
        let minute = at.as_second().div_euclid(60);
        if let Some((looked_up, hour)) = &self.hour
            && *looked_up == minute
        {
            return Ok(hour.clone());
        }
        let zone = match &self.zone {
            Some(zone) => zone.clone(),
            None => {
                let zone = TimeZone::get(&self.row.time_zone).map_err(|_| {
                    Poison::Illegal(format!(
                        "time zone {:?} is not known to this machine",
                        self.row.time_zone
                    ))
                })?;
                self.zone.insert(zone).clone()
            }
        };
        let hour = LocalHour::of(&zone, at);
        self.hour = Some((minute, hour.clone()));
        Ok(hour)
    }
}

fn business_date(text: &str) -> Result<BusinessDate, Poison> {
    BusinessDate::parse(text)
        .map_err(|error| Poison::Illegal(format!("business date {text:?}: {error}")))
}

fn order_id(bytes: &[u8]) -> Result<OrderId, Poison> {
    OrderId::from_slice(bytes).map_err(|_| Poison::Illegal("an order id has not 16 bytes".into()))
}

fn order_row(store: &StoreRow, order_id: OrderId, fold: &OrderFold) -> Result<OrderRow, Poison> {
    let order = &fold.order;
    let instant = |at: &Option<prost_types::Timestamp>| {
        at.as_ref()
            .and_then(timestamp_from_proto)
            .ok_or_else(|| Poison::Corrupt(format!("order {order_id} has no time")))
    };
    Ok(OrderRow {
        store: store.store.clone(),
        order_id,
        business_date: business_date(&order.business_date)?,
        ticket_number: order.ticket_number,
        status: order.status,
        membership: order
            .membership
            .as_ref()
            .map_or(0, |membership| membership.outcome),
        placed_at: instant(&order.place_time)?,
        updated_at: instant(&order.update_time)?,
        revision: Revision(u64::try_from(order.revision).unwrap_or_default()),
        body: fold.stored.encode_to_vec().into(),
    })
}
