//! When a business day opens and closes, and what its close records.

#[cfg(test)]
mod opening_tests;

use bytes::Bytes;
use contract::event::{self as e, event::Event};
use contract::{BusinessDate, DayRule, Reason, Rejection, timestamp_to_proto};
use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

use super::closed_dates::ClosedDates;
use super::command::{CarryOver, CloseBusinessDay};
use super::figures::{DayFigures, Floats};
use super::stamp::{self, Reading, Stamp};
use super::state::{OpenDay, Settings, StoreState};
use crate::catalog::Store;

/// Open orders that a close names; more are only counted.
const CARRIED_ORDERS: usize = 2_000;
/// Bytes of a close; a record holds 128 KiB, and what opens the next day stands beside it.
const CLOSE_BYTES: usize = 112 * 1024;
/// The most that one carried order takes: 16 bytes of an id, a revision of up to 9, tags and lengths.
const CARRIED_ORDER_BYTES: usize = 30;
const REPORT_VERSION: u32 = 1;

/// Circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// `recorded_at` of the record in the making.
    pub at: Timestamp,
    /// The latest that it may be by now: `at`, unless the clocks disagree.
    pub latest: Timestamp,
    /// What the server's clock and the second one say, if they disagree.
    pub doubt: Option<Reading>,
    /// The ledger's last record.
    pub last_revision: u64,
    pub last_hash: [u8; 32],
    /// Identity of the ledger if this record opens it.
    pub new_ledger_id: Uuid,
    /// The command's own clock.
    pub client_time: Option<Timestamp>,
}

impl Moment {
    /// `last`: the ledger's last record, its revision and hash.
    #[must_use]
    pub fn new(
        stamp: &Stamp,
        last: (u64, [u8; 32]),
        new_ledger_id: Uuid,
        client_time: Option<Timestamp>,
    ) -> Self {
        Self {
            at: stamp.at,
            latest: stamp.latest,
            doubt: stamp.doubt,
            last_revision: last.0,
            last_hash: last.1,
            new_ledger_id,
            client_time,
        }
    }
}

fn impossible(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(
        Reason::Internal,
        format!("the business day cannot be computed: {error}"),
    )
}

/// The events that come before a money command so that it falls into an open business day: opening the ledger, closing an overdue day,
/// taking up changed settings, opening the day. None when the day is open.
pub fn prepare(
    state: &StoreState,
    store: &Store,
    moment: &Moment,
) -> Result<Vec<Event>, Rejection> {
    if let Some(identity) = &state.identity {
        store.refuse_other_currency(identity.currency)?;
    }
    // A day that may be over by one of two clocks is neither sold in nor closed.
    if let Some(day) = &state.day
        && moment.latest < day.end
        && !runs_ahead(state, day, moment)
    {
        return Ok(Vec::new());
    }
    check_clocks(moment)?;
    let mut events = Vec::new();
    if state.identity.is_none() {
        events.push(Event::LedgerOpened(e::LedgerOpened {
            ledger_id: Bytes::copy_from_slice(moment.new_ledger_id.as_bytes()),
            store_id: store.id.to_string(),
            currency_code: store.currency.to_string(),
            time_zone: store.time_zone.clone(),
            cutoff_minutes: store.cutoff_minutes,
            legal_entity: store.legal_entity.clone(),
            tax_id: store.tax_id.clone(),
            store_name: store.name.clone(),
        }));
    }
    let mut closed = ClosedDates::clone(&state.closed);
    let mut floats = state.floats.clone();
    if let Some(day) = &state.day {
        closed.insert(day.date);
        floats = day
            .figures
            .closing_floats()
            .map_err(|_| impossible("its drawers overflow"))?;
        events.push(close(state, day, &day.figures, moment, true)?);
    }
    let settings = settings_of(store);
    if state.settings.as_deref() != Some(&settings) {
        events.push(Event::StoreConfigured(settings.0));
    }
    events.push(open(state, store, &closed, &floats, moment)?);
    Ok(events)
}

/// Whether a day was opened too early, by clocks that ran ahead or by receipts of another time: opened now it would have an earlier
/// date. It is closed as it stands, and the right one opened.
#[must_use]
pub fn runs_ahead(state: &StoreState, day: &OpenDay, moment: &Moment) -> bool {
    let due = |now| next_date(&state.closed, &day.rule, &day.rule, now);
    // Only two clocks that agree prove that the ledger's day was opened too early.
    moment.doubt.is_none()
        && moment.at < day.start
        && due(moment.at).is_some_and(|due| day.date > due)
}

/// The date of a day that is opened now: today's, or the first after it that is free. A date that is closed although it has not come
/// yet does not count: it was closed too early. `before`: the rule of the last day, by which today may have been closed already.
fn next_date(
    closed: &ClosedDates,
    rule: &DayRule,
    before: &DayRule,
    now: Timestamp,
) -> Option<BusinessDate> {
    let today = rule.date_of(now).ok()?;
    let reached = before.date_of(now).ok()?.max(today);
    let date = match closed.last_up_to(reached) {
        Some(last) => last.next().ok()?.max(today),
        None => today,
    };
    closed.first_free(date)
}

/// Closes a day: by hand at any time once it has begun, otherwise past its cutoff and uncounted.
pub fn decide_close(
    state: &StoreState,
    command: &CloseBusinessDay,
    moment: &Moment,
) -> Result<Vec<Event>, Rejection> {
    match &state.day {
        Some(day) if day.date == command.business_date => {
            let Some(manual) = &command.manual else {
                if moment.at < day.end && moment.latest >= day.end {
                    return Err(clocks_disagree(moment));
                }
                if moment.at < day.end {
                    return Err(Rejection::new(
                        Reason::DayNotBegun,
                        format!("business day {} lasts until {}", day.date, day.end),
                    ));
                }
                return Ok(vec![close(state, day, &day.figures, moment, true)?]);
            };
            // A day that was opened early, after the one before was closed by hand, cannot be closed before its time. One that a wrong
            // clock opened can.
            if moment.at < day.start && !runs_ahead(state, day, moment) {
                return Err(Rejection::new(
                    Reason::DayNotBegun,
                    format!("business day {} begins at {}", day.date, day.start),
                ));
            }
            check_open_orders(state, &manual.carry_over)?;
            let counted = manual.counts.iter().map(|count| count.drawer_id.as_str());
            check_room(&day.figures, counted, &[])?;
            let mut figures = day.figures.clone();
            for count in &manual.counts {
                figures.counted(count.drawer_id.as_str(), count.counted.minor());
            }
            Ok(vec![close(state, day, &figures, moment, false)?])
        }
        _ if state.is_over(command.business_date) => Err(Rejection::new(
            Reason::DayClosed,
            format!("business day {} is closed", command.business_date),
        )),
        _ => Err(Rejection::new(
            Reason::DayNotBegun,
            format!("business day {} is not open", command.business_date),
        )),
    }
}

/// The Z has a bounded number of drawers and tax classes.
pub fn check_room<'a>(
    figures: &DayFigures,
    drawers: impl Iterator<Item = &'a str>,
    taxes: &[e::TaxAmount],
) -> Result<(), Rejection> {
    if figures.has_room_for_drawers(drawers) && figures.has_room_for_taxes(taxes) {
        return Ok(());
    }
    Err(Rejection::new(
        Reason::TooManyKinds,
        Reason::TooManyKinds.meaning(),
    ))
}

/// Open orders block a manual close unless they are carried over explicitly.
fn check_open_orders(state: &StoreState, carry_over: &CarryOver) -> Result<(), Rejection> {
    const NAMED: usize = 50;
    let CarryOver::Named(named) = carry_over else {
        return Ok(());
    };
    let left: Vec<String> = state
        .open_orders
        .keys()
        .filter(|order| !named.contains(order))
        .map(ToString::to_string)
        .collect();
    let known = i64::try_from(state.open_orders.len()).unwrap_or(i64::MAX);
    if left.is_empty() && known == state.open_count {
        return Ok(());
    }
    let message = format!(
        "{} orders are open; complete, cancel or carry them over",
        state.open_count
    );
    Err(Rejection::new(Reason::OpenOrders, message)
        .with("open_orders", state.open_count)
        .with("order_ids", left[..left.len().min(NAMED)].join(",")))
}

fn check_clocks(moment: &Moment) -> Result<(), Rejection> {
    let agree = moment
        .client_time
        .is_some_and(|client| stamp::agree(client, moment.at));
    if agree && moment.doubt.is_none() {
        return Ok(());
    }
    Err(clocks_disagree(moment))
}

fn clocks_disagree(moment: &Moment) -> Rejection {
    let client = moment
        .client_time
        .map_or_else(|| "none".to_owned(), |client| client.to_string());
    let (server, second) = moment
        .doubt
        .map_or((moment.at, moment.at), |doubt| (doubt.server, doubt.second));
    Rejection::new(
        Reason::ClockSuspect,
        format!(
            "the server's clock says {server}, the second one, of the log, {second}, the terminal's {client}"
        ),
    )
    .with("server_time", server)
    .with("log_server_time", second)
    .with("client_time", client)
}

fn settings_of(store: &Store) -> Settings {
    Settings(e::StoreConfigured {
        time_zone: store.time_zone.clone(),
        cutoff_minutes: store.cutoff_minutes,
        legal_entity: store.legal_entity.clone(),
        tax_id: store.tax_id.clone(),
        store_name: store.name.clone(),
        discount_step: store.discount_step.minor(),
    })
}

fn drawer_floats(floats: &Floats) -> Vec<e::DrawerFloat> {
    floats
        .iter()
        .map(|(drawer_id, amount)| e::DrawerFloat {
            drawer_id: drawer_id.clone(),
            amount: *amount,
        })
        .collect()
}

fn open(
    state: &StoreState,
    store: &Store,
    closed: &ClosedDates,
    floats: &Floats,
    moment: &Moment,
) -> Result<Event, Rejection> {
    let rule = store
        .day_rule()
        .ok_or_else(|| impossible("the store's cutoff is not legal"))?;
    let before = state.settings.as_deref().and_then(Settings::day_rule);
    let date = next_date(closed, &rule, before.as_ref().unwrap_or(&rule), moment.at)
        .ok_or_else(|| impossible("its date is out of range"))?;
    let bounds = rule.bounds(date).map_err(impossible)?;
    Ok(Event::BusinessDayOpened(e::BusinessDayOpened {
        business_date: date.to_string(),
        time_zone: store.time_zone.clone(),
        cutoff_minutes: store.cutoff_minutes,
        start_time: Some(timestamp_to_proto(bounds.start)),
        end_time: Some(timestamp_to_proto(bounds.end)),
        floats: drawer_floats(floats),
    }))
}

fn close(
    state: &StoreState,
    day: &OpenDay,
    figures: &DayFigures,
    moment: &Moment,
    automatic: bool,
) -> Result<Event, Rejection> {
    let overflow = |_| impossible("its figures overflow");
    let identity = state
        .identity
        .as_ref()
        .ok_or_else(|| impossible("the ledger is not open"))?;
    let report = figures
        .report(state.grand_total_sales, state.grand_total_returns)
        .map_err(overflow)?;
    let floats = figures.closing_floats().map_err(overflow)?;
    let mut closed_dates = ClosedDates::clone(&state.closed);
    closed_dates.insert(day.date);
    let carry_over = e::CarryOver {
        closed_dates: closed_dates.to_event(),
        open_orders: Vec::new(),
        open_order_count: state.open_count,
        unresolved_membership_count: i64::try_from(state.unresolved.len()).unwrap_or(i64::MAX),
        floats: drawer_floats(&floats),
        document_number: state.document_number,
        grand_total_sales: report.grand_total_sales,
        grand_total_returns: report.grand_total_returns,
        ledger_id: Bytes::copy_from_slice(identity.ledger_id.as_bytes()),
        currency_code: identity.currency.to_string(),
        settings: state.settings.as_ref().map(|settings| settings.0.clone()),
        menu_version: state.menu_version.clone(),
        menu_hash: Bytes::from(state.menu_hash.clone()),
    };
    let mut closed = e::BusinessDayClosed {
        business_date: day.date.to_string(),
        z_number: state.z_number + 1,
        report_version: REPORT_VERSION,
        previous_z_hash: state
            .previous_z_hash
            .map(|hash| Bytes::copy_from_slice(&hash))
            .unwrap_or_default(),
        last_revision: i64::try_from(moment.last_revision).unwrap_or(i64::MAX),
        last_hash: Bytes::copy_from_slice(&moment.last_hash),
        automatic,
        report: Some(report),
        carry_over: Some(carry_over),
        start_time: Some(timestamp_to_proto(day.start)),
        end_time: Some(timestamp_to_proto(day.end)),
        close_time: Some(timestamp_to_proto(moment.at)),
    };
    // All else has to be said; open orders are named in the room that remains.
    let room = CLOSE_BYTES.saturating_sub(closed.encoded_len()) / CARRIED_ORDER_BYTES;
    let open = state.open_orders.len().min(CARRIED_ORDERS).min(room);
    let carried = |order_id: &contract::OrderId, revision: u64| e::CarriedOrder {
        order_id: order_id.to_bytes(),
        placed_revision: i64::try_from(revision).unwrap_or(i64::MAX),
    };
    if let Some(carry_over) = &mut closed.carry_over {
        let orders = state.open_orders.iter().take(open);
        carry_over.open_orders = orders
            .map(|(id, order)| carried(id, order.placed_revision))
            .collect();
    }
    Ok(Event::BusinessDayClosed(Box::new(closed)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contract::event::event::Event as Fact;
    use contract::{Currency, DayRule, Money, OrderId, Slug, encode_payload};
    use event_log::MAX_PAYLOAD_BYTES;
    use jiff::tz::TimeZone;

    use super::super::command::{DrawerCount, ManualClose};
    use super::super::state::{Identity, OpenOrder};
    use super::super::{MAX_DRAWERS_PER_DAY, MAX_TAX_CLASSES_PER_DAY};
    use super::*;

    /// An amount that takes nine bytes when it is encoded, and of which sums still fit into 64 bits.
    const LARGE: i64 = 1 << 57;

    fn longest(number: usize) -> String {
        format!("{number:0>32}")
    }

    fn taxes() -> Vec<e::TaxAmount> {
        let class = |number| e::TaxAmount {
            tax_class: longest(number),
            kind: e::TaxKind::OutOfScope.into(),
            rate_bp: 10_000,
            net: LARGE / 64,
            supply: LARGE / 64,
            vat: LARGE / 64,
        };
        (0..MAX_TAX_CLASSES_PER_DAY).map(class).collect()
    }

    fn cash(number: usize, amount: i64) -> e::Tender {
        e::Tender {
            kind: e::TenderKind::Cash.into(),
            amount,
            tendered: LARGE / 32,
            change: LARGE / 64,
            drawer_id: longest(number),
            ..e::Tender::default()
        }
    }

    /// A day that has everything a report may hold, each as long and as large as it may be, and more open orders than are named.
    fn fullest_day() -> StoreState {
        let floats: Floats = (0..MAX_DRAWERS_PER_DAY)
            .map(|number| (longest(number), LARGE))
            .collect();
        let mut figures = DayFigures::begin(LARGE, LARGE, &floats);
        // A day that is opened early has up to two days' hours, and a clock change two more.
        for hour in 0..50 {
            let sale = e::OrderPlaced {
                gross: LARGE / 64,
                discount: LARGE / 64,
                net: LARGE / 64,
                taxes: if hour == 0 { taxes() } else { Vec::new() },
                tenders: vec![cash(hour, LARGE / 64)],
                document_number: LARGE + i64::try_from(hour).unwrap(),
                ..e::OrderPlaced::default()
            };
            let hour = format!("2026-03-02T{hour:02}:00+09:00");
            figures.placed(&sale, hour).unwrap();
        }
        let back = |kind: i32, number| e::ReturnedTender {
            kind,
            amount: LARGE,
            drawer_id: longest(number),
            ..e::ReturnedTender::default()
        };
        for sale_business_date in ["2026-03-02", "2026-03-01"] {
            let cancelled = e::OrderCancelled {
                business_date: "2026-03-02".into(),
                sale_business_date: sale_business_date.into(),
                gross: LARGE,
                discount: LARGE,
                net: LARGE,
                taxes: taxes(),
                tenders: (1..=5).map(|kind| back(kind, 0)).collect(),
                ..e::OrderCancelled::default()
            };
            figures.cancelled(&cancelled).unwrap();
        }
        let refunded = e::OrderRefunded {
            business_date: "2026-03-02".into(),
            sale_business_date: "2026-03-02".into(),
            gross: LARGE,
            discount: LARGE,
            net: LARGE,
            taxes: taxes(),
            tenders: (0..MAX_DRAWERS_PER_DAY)
                .map(|number| e::ReturnedTender {
                    amount: LARGE / 50,
                    ..back(1, number)
                })
                .collect(),
            ..e::OrderRefunded::default()
        };
        figures.refunded(&refunded).unwrap();
        for number in 0..MAX_DRAWERS_PER_DAY {
            for (kind, amount) in [
                (e::CashMovementKind::Float, LARGE / 2),
                (e::CashMovementKind::PaidIn, LARGE),
                (e::CashMovementKind::PaidOut, LARGE * 2),
            ] {
                let moved = e::CashMoved {
                    drawer_id: longest(number),
                    kind: kind.into(),
                    amount,
                    ..e::CashMoved::default()
                };
                figures.cash_moved(&moved).unwrap();
            }
        }
        // There is room for no more drawers and no more tax classes: the day is as full as a day can be.
        assert!(!figures.has_room_for_drawers(std::iter::once("one-more")));
        let one_more = e::TaxAmount::default();
        assert!(!figures.has_room_for_taxes(&[one_more]));

        let rule = DayRule::new(TimeZone::UTC, 240).unwrap();
        let date = BusinessDate::parse("2026-03-02").unwrap();
        let bounds = rule.bounds(date).unwrap();
        let names = ["en", "ko", "ja", "zh"].map(|language| (language.to_owned(), "店".repeat(64)));
        let open = |number: u128| {
            let order = OpenOrder {
                placed_revision: u64::MAX / 2 - 1,
                order: None,
            };
            (OrderId::from_uuid(Uuid::from_u128(number)), order)
        };
        let mut state = StoreState::default();
        state.identity = Some(Identity {
            ledger_id: Uuid::from_u128(1),
            currency: Currency::new("KRW").unwrap(),
        });
        state.settings = Some(Arc::new(Settings(e::StoreConfigured {
            time_zone: "America/Argentina/ComodRivadavia".into(),
            cutoff_minutes: 1_439,
            legal_entity: "店".repeat(200),
            tax_id: "9".repeat(64),
            store_name: names.into(),
            discount_step: LARGE,
        })));
        state.day = Some(OpenDay {
            date,
            start: bounds.start,
            end: bounds.end,
            rule,
            figures,
        });
        state.z_number = LARGE;
        state.previous_z_hash = Some([7; 32]);
        state.grand_total_sales = LARGE;
        state.grand_total_returns = LARGE;
        state.document_number = LARGE;
        state.open_count = LARGE;
        state.open_orders = (0..3_000).map(open).collect();
        state.menu_version = "v".repeat(64);
        state.menu_hash = vec![9; 32];
        state
    }

    #[test]
    fn all_that_a_close_may_hold_fits_into_a_record() {
        let state = fullest_day();
        let day = state.day.as_ref().unwrap();
        let moment = Moment {
            at: day.end,
            latest: day.end,
            doubt: None,
            last_revision: u64::MAX / 2,
            last_hash: [3; 32],
            new_ledger_id: Uuid::from_u128(2),
            client_time: Some(day.end),
        };
        let counts = (0..MAX_DRAWERS_PER_DAY)
            .map(|number| DrawerCount {
                drawer_id: Slug::new(&longest(number)).unwrap(),
                counted: Money::new(LARGE),
            })
            .collect();
        let manual = ManualClose {
            request_id: contract::RequestId::from_uuid(Uuid::from_u128(3)),
            counts,
            carry_over: CarryOver::All,
        };
        for manual in [None, Some(manual)] {
            let close = CloseBusinessDay {
                business_date: day.date,
                manual,
            };
            let events = decide_close(&state, &close, &moment).unwrap();
            let [Fact::BusinessDayClosed(closed)] = events.as_slice() else {
                panic!("a close is one event")
            };
            let carried = closed.carry_over.as_ref().unwrap();
            assert_eq!(carried.open_orders.len(), CARRIED_ORDERS);
            let bytes = closed.encoded_len();
            // If the close were short of its limit, this test would not try the largest one.
            assert!((90_000..=CLOSE_BYTES).contains(&bytes), "{bytes} bytes");
            let command = e::RecordedCommand {
                request_id: Bytes::from(vec![0; 16]),
                content_hash: Bytes::from(vec![0; 32]),
                traceparent: "x".repeat(55),
                events: events
                    .into_iter()
                    .map(|event| e::Event { event: Some(event) })
                    .collect(),
                ..e::RecordedCommand::default()
            };
            let payload = e::RecordPayload {
                software_version: "x".repeat(32),
                commands: vec![command],
                clocks: Some(e::Clocks::default()),
            };
            assert!(encode_payload(&payload).len() < MAX_PAYLOAD_BYTES);
        }
    }
}
