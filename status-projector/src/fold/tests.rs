use bytes::Bytes;
use contract::api::ordering::Order;
use contract::api::types::OrderStatus;
use contract::event::{
    CashMoved, CashMovementKind, DayReport, DiscountSource, DrawerCounted, DrawerFigures,
    MembershipResolved, OrderCompleted, OrderPlaced, PreparationStarted, TenderKind,
    event::Event as Kind,
};
use contract::{Money, StoreId, readmodel, stored_order};
use event_log::{Record, StreamIndex};
use jiff::Timestamp;
use prost::Message as _;
use read_model::{DayList, DayRow, DayState, Digests, Facts, LineRow, ListRow, OrderRow, StoreRow};

use super::{Entry, StoreInput, StoreOutput, project};
use crate::fixture::{Failure, Ledger, discount, example, id_of, paid};

const AT: Timestamp = Timestamp::UNIX_EPOCH;

/// The rows of a store, as a read model would keep them.
#[derive(Debug, Clone, PartialEq)]
struct Rows {
    store: StoreRow,
    orders: Vec<OrderRow>,
    days: Vec<DayRow>,
    facts: Facts,
    lists: Vec<ListRow>,
}

impl Rows {
    fn empty(ledger: &Ledger) -> Result<Self, Failure> {
        let store = StoreRow::new(StoreId::new(ledger.name.as_str())?, StreamIndex(0));
        Ok(Self {
            store,
            orders: vec![],
            days: vec![],
            facts: Facts::default(),
            lists: vec![],
        })
    }

    fn project(&mut self, records: &[Record]) -> StoreOutput {
        let input = StoreInput {
            row: self.store.clone(),
            orders: self
                .orders
                .iter()
                .map(|row| (row.order_id, row.body.clone()))
                .collect(),
            days: self.days.clone(),
            lists: self.lists.clone(),
        };
        let entries: Vec<Entry> = records
            .iter()
            .map(|record| Entry::of(Ok(record.clone())))
            .collect();
        let output = project(&input, &entries, AT);
        self.store = output.row.clone();
        for row in output.placed.iter().chain(&output.orders) {
            self.orders.retain(|old| old.order_id != row.order_id);
            self.orders.push(row.clone());
        }
        self.orders.sort_by_key(|row| row.order_id);
        for row in &output.days {
            self.days.retain(|old| old.date != row.date);
            self.days.push(row.clone());
        }
        self.days.sort_by_key(|row| row.date);
        let mut facts = output.facts.clone();
        for row in std::mem::take(&mut facts.lists) {
            let same = |own: &&mut ListRow| {
                (own.date, own.list, &own.key) == (row.date, row.list, &row.key)
            };
            match self.lists.iter_mut().find(same) {
                Some(own) => {
                    let amounts = own.amounts.plus(row.amounts).unwrap_or_default();
                    *own = ListRow { amounts, ..row };
                }
                None => self.lists.push(row),
            }
        }
        let key = |row: &ListRow| (row.date, row.list, row.key.clone());
        self.lists.sort_by_key(key);
        self.facts.append(facts);
        output
    }

    fn report(&self, index: usize) -> Result<DayReport, Failure> {
        Ok(DayReport::decode(
            self.days
                .get(index)
                .ok_or("the day is there")?
                .body
                .as_slice(),
        )?)
    }

    fn order(&self, placed: &OrderPlaced) -> Result<Order, Failure> {
        let row = self
            .orders
            .iter()
            .find(|row| Some(row.order_id) == id_of(placed))
            .ok_or("the order is there")?;
        let stored = readmodel::Order::decode(row.body.clone())?;
        let currency = self.store.currency.ok_or("the store has a currency")?;
        Ok(stored_order::view(
            &stored,
            self.store.store.as_str(),
            currency,
        )?)
    }
}

/// Projects the records, which must all be applied.
fn project_all(ledger: &Ledger, records: &[Record]) -> Result<Rows, Failure> {
    let mut rows = Rows::empty(ledger)?;
    rows.project(records);
    assert_eq!(rows.store.quarantine, None);
    Ok(rows)
}

/// The worked example of the semantics, up to today's close.
fn worked_example() -> Result<(Ledger, Vec<Record>, Vec<OrderPlaced>), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    let (mut records, [p, q]) = example::yesterday(&mut ledger)?;
    let report = project_all(&ledger, &records)?.report(0)?;
    records.push(ledger.close(ledger.closed(report, 1))?);
    let (today, [a, b, c, d, e]) = example::today(&mut ledger, &p, &q)?;
    records.extend(today);
    Ok((ledger, records, vec![p, q, a, b, c, d, e]))
}

#[test]
fn the_worked_example() -> Result<(), Failure> {
    let (mut ledger, mut records, orders) = worked_example()?;
    let rows = project_all(&ledger, &records)?;
    let report = rows.report(1)?;
    let block = |block: &Option<contract::event::Block>| {
        let block = block.clone().unwrap_or_default();
        let class = |name: &str| {
            block
                .taxes
                .iter()
                .find(|tax| tax.tax_class == name)
                .map_or((0, 0), |tax| (tax.supply, tax.vat))
        };
        (
            block.count,
            [block.gross, block.discount, block.net],
            class("STD"),
            class("EX"),
        )
    };
    assert_eq!(
        block(&report.sales),
        (5, [38_700, 7_000, 31_700], (24_892, 2_490), (4_318, 0))
    );
    assert_eq!(
        block(&report.voids),
        (1, [5_200, 0, 5_200], (4_727, 473), (0, 0))
    );
    assert_eq!(
        block(&report.refunds_same_day),
        (1, [5_000, 772, 4_228], (3_844, 384), (0, 0))
    );
    assert_eq!(
        block(&report.refunds_prior_days),
        (2, [9_500, 0, 9_500], (8_637, 863), (0, 0))
    );
    assert_eq!(
        block(&report.turnover),
        (0, [19_000, 6_228, 12_772], (7_684, 770), (4_318, 0))
    );
    let tenders: Vec<_> = report
        .tenders
        .iter()
        .map(|row| (row.kind(), row.taken, row.returned, row.net))
        .collect();
    assert_eq!(
        tenders,
        [
            (TenderKind::Cash, 16_700, 10_200, 6_500),
            (TenderKind::Card, 10_000, 4_228, 5_772),
            (TenderKind::Mobile, 5_000, 4_500, 500),
        ]
    );
    let drawer = report.drawers.first().ok_or("one drawer")?;
    assert_eq!((drawer.expected, drawer.counted), (144_500, None));
    let today: Vec<ListRow> = rows
        .lists
        .iter()
        .filter(|row| row.date.to_string() == "2026-03-02")
        .cloned()
        .collect();
    let of = |list| today.iter().filter(move |row| row.list == list);
    let items: Vec<_> = of(DayList::Items)
        .map(|row| (row.key.as_str(), row.amounts.net))
        .collect();
    assert_eq!(
        items,
        [
            ("americano", 9_500),
            ("banana", 4_318),
            ("cold-brew", 5_200),
            ("latte", 12_682)
        ]
    );
    let sums = |values: Vec<i64>| values.iter().sum::<i64>();
    assert_eq!(
        sums(of(DayList::Categories).map(|row| row.amounts.net).collect()),
        31_700
    );
    assert_eq!(
        sums(report.hours.iter().map(|row| row.net).collect()),
        31_700
    );
    assert_eq!(
        sums(
            of(DayList::Discounts)
                .map(|row| row.amounts.discount)
                .collect()
        ),
        7_000
    );
    assert_eq!(
        (
            report.carried_in,
            report.completed,
            report.cancelled,
            report.carried_out
        ),
        (1, 3, 2, 1)
    );
    assert_eq!(
        (
            report.first_ticket,
            report.last_ticket,
            report.first_document,
            report.last_document
        ),
        (1, 5, 3, 11)
    );
    assert_eq!(
        (report.grand_total_sales, report.grand_total_returns),
        (14_500 + 31_700, 18_928)
    );
    assert_eq!(rows.report(0)?.turnover.unwrap_or_default().net, 14_500);

    let b = rows.order(&orders[3])?;
    assert_eq!(b.status(), OrderStatus::Completed);
    assert_eq!(
        b.priced
            .unwrap_or_default()
            .lines
            .iter()
            .map(|line| line.refunded_quantity)
            .collect::<Vec<_>>(),
        [1, 0]
    );
    assert_eq!(rows.order(&orders[1])?.status(), OrderStatus::Cancelled);
    // Every line and tender of sales and returns; VAT shared over the lines sums to the receipts'.
    let facts = &rows.facts;
    assert_eq!(
        (
            facts.facts.len(),
            facts.lines.len(),
            facts.tenders.len(),
            facts.cash.len()
        ),
        (11, 13, 11, 3)
    );
    for fact in &facts.facts {
        let own: Vec<_> = facts
            .lines
            .iter()
            .filter(|line| line.place == fact.place)
            .collect();
        let sum = |amount: fn(&LineRow) -> Money| {
            own.iter().map(|line| amount(line).minor()).sum::<i64>()
        };
        assert_eq!(
            (sum(|line| line.net), sum(|line| line.vat)),
            (fact.net.minor(), fact.vat.minor()),
            "{fact:?}"
        );
    }

    // The close as the till counted it, with one figure that the ledger's writer got wrong.
    let mut recorded = report;
    recorded.carried_out = 2;
    if let Some(drawer) = recorded.drawers.first_mut() {
        drawer.counted = Some(144_000);
        drawer.over_short = Some(-500);
    }
    records.push(ledger.close(ledger.closed(recorded, 1))?);
    let rows = project_all(&ledger, &records)?;
    let day = rows.days.get(1).ok_or("two days")?;
    assert_eq!((day.state, day.z_number), (DayState::Closed, 2));
    let differences: Vec<_> = day
        .differences
        .iter()
        .map(|row| (row.figure.as_str(), row.recorded, row.projected))
        .collect();
    assert_eq!(differences, [("carried_out", 2, 1)]);
    let digests = Digests::of(&today).ok_or("the lists fit")?;
    let closed = rows.report(1)?;
    assert_eq!(closed.items, Some(digests.items));
    assert_eq!(closed.categories, Some(digests.categories));
    assert_eq!(closed.discounts, Some(digests.discounts));
    assert_eq!(
        rows.report(1)?
            .drawers
            .first()
            .and_then(|drawer| drawer.over_short),
        Some(-500)
    );
    assert_eq!(rows.store.grand_total_sales.minor(), 46_200);
    assert!(
        rows.days
            .first()
            .is_some_and(|day| day.differences.is_empty())
    );
    Ok(())
}

#[test]
fn any_division_into_batches_gives_the_same_rows() -> Result<(), Failure> {
    let (ledger, records, _) = worked_example()?;
    let whole = project_all(&ledger, &records)?;
    for split in 0..records.len() {
        let mut rows = Rows::empty(&ledger)?;
        rows.project(&records[..split]);
        rows.project(&records[split..]);
        assert_eq!(rows, whole, "split at {split}");
    }
    let mut rows = Rows::empty(&ledger)?;
    for record in &records {
        rows.project(std::slice::from_ref(record));
    }
    assert_eq!(rows, whole);
    Ok(())
}

#[test]
fn orphans_are_skipped_and_counted() -> Result<(), Failure> {
    let (ledger, records, _) = worked_example()?;
    let whole = project_all(&ledger, &records)?;
    let mut doubled = Vec::new();
    for record in &records {
        doubled.extend([record.clone(), record.clone()]);
    }
    let mut rows = Rows::empty(&ledger)?;
    let output = rows.project(&doubled);
    assert_eq!((output.orphans, &rows), (records.len() as u64, &whole));
    Ok(())
}

/// A store with an open day and one order, then a record that must not be applied, and one more behind it.
fn poisoned(
    reason: &str,
    poison: impl FnOnce(&mut Ledger, &OrderPlaced) -> Result<Record, Failure>,
) -> Result<(), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    let mut records = vec![ledger.open_day("2026-03-02", &[])?];
    let order = ledger.americano()?;
    records.push(ledger.place(order.clone())?);
    let sound = project_all(&ledger, &records)?;
    records.push(poison(&mut ledger, &order)?);
    let later = ledger.americano()?;
    records.push(ledger.place(later)?);
    let mut rows = Rows::empty(&ledger)?;
    rows.project(&records);
    let quarantine = rows
        .store
        .quarantine
        .take()
        .ok_or_else(|| format!("{reason}: applied"))?;
    assert!(
        quarantine.reason.contains(reason),
        "{} does not say {reason}",
        quarantine.reason
    );
    assert_eq!(
        (quarantine.revision.0, quarantine.skipped),
        (3, 1),
        "{reason}"
    );
    assert_eq!(rows, sound, "{reason}: nothing of the record is applied");
    Ok(())
}

#[test]
fn what_cannot_be_applied_quarantines_the_store_at_the_record_before_it() -> Result<(), Failure> {
    let spoiled = |spoil: fn(&mut OrderPlaced)| {
        move |ledger: &mut Ledger, _: &OrderPlaced| {
            let good = ledger.americano()?;
            let mut bad = ledger.americano()?;
            spoil(&mut bad);
            // The good order of the same record must leave no trace either.
            ledger.append(vec![Kind::OrderPlaced(good), Kind::OrderPlaced(bad)])
        }
    };
    poisoned(
        "gross less discount against net",
        spoiled(|order| order.net += 1),
    )?;
    poisoned(
        "unit price times quantity against gross",
        spoiled(|order| order.lines[0].quantity = 2),
    )?;
    poisoned(
        "the tax classes against net",
        spoiled(|order| order.taxes.clear()),
    )?;
    poisoned(
        "supply and VAT against net",
        spoiled(|order| order.taxes[0].vat += 1),
    )?;
    poisoned(
        "the tenders against net",
        spoiled(|order| order.tenders.clear()),
    )?;
    poisoned(
        "tendered less change against amount",
        spoiled(|order| order.tenders[0].change = 7),
    )?;
    poisoned(
        "a negative amount",
        spoiled(|order| order.tenders[0] = paid("card-1", TenderKind::Card, -4_500)),
    )?;
    poisoned(
        "does not fit into 64 bits",
        spoiled(|order| {
            order.lines[0].unit_price = i64::MAX;
            order.lines[0].quantity = 2;
        }),
    )?;
    poisoned(
        "the lines' discount against the order's",
        spoiled(|order| order.discount = i64::MIN),
    )?;
    poisoned(
        "ticket 4, but the next of 2026-03-02 is 3",
        spoiled(|order| order.ticket_number += 1),
    )?;
    poisoned(
        "document number 4, but the next is 3",
        spoiled(|order| order.document_number += 1),
    )?;
    poisoned(
        "counts in 2026-03-03, but 2026-03-02 is open",
        spoiled(|order| order.business_date = "2026-03-03".into()),
    )?;
    poisoned(
        "a discount names line 9",
        spoiled(|order| {
            order.discounts = vec![discount(DiscountSource::Coupon, "none", &[(9, 0)])];
        }),
    )?;
    poisoned("is placed twice", |ledger, order| {
        let again = OrderPlaced {
            ticket_number: 2,
            document_number: 2,
            ..order.clone()
        };
        ledger.place(again)
    })?;
    poisoned(
        "becomes ORDER_STATUS_COMPLETED, but it is ORDER_STATUS_PLACED",
        |ledger, order| {
            ledger.append(vec![Kind::OrderCompleted(OrderCompleted {
                order_id: order.order_id.clone(),
            })])
        },
    )?;
    poisoned("was never placed", |ledger, _| {
        ledger.append(vec![Kind::OrderCompleted(OrderCompleted {
            order_id: Bytes::copy_from_slice(&[1; 16]),
        })])
    })?;
    poisoned("is resolved, but it is", |ledger, order| {
        let resolved = MembershipResolved {
            order_id: order.order_id.clone(),
            outcome: 1,
            ..MembershipResolved::default()
        };
        ledger.append(vec![Kind::MembershipResolved(resolved)])
    })?;
    poisoned("the tenders against net", |ledger, order| {
        let mut void = ledger.cancelled(order);
        void.tenders[0].amount += 1;
        ledger.append(vec![Kind::OrderCancelled(void)])
    })?;
    poisoned(
        "tender card-2 is returned, but the order has none",
        |ledger, order| {
            let mut void = ledger.cancelled(order);
            void.tenders[0].tender_id = "card-2".into();
            ledger.append(vec![Kind::OrderCancelled(void)])
        },
    )?;
    poisoned(
        "2 units of line line-americano are given back, but only 1 remain",
        |ledger, order| {
            let mut void = ledger.cancelled(order);
            void.lines[0].quantity = 2;
            ledger.append(vec![Kind::OrderCancelled(void)])
        },
    )?;
    poisoned("a type that this build does not know", |ledger, _| {
        ledger.append_bytes(&[18, 5, 66, 3, 160, 6, 1], 1)
    })?;
    poisoned("the record cannot be read", |ledger, _| {
        ledger.append_bytes(&[255; 9], 1)
    })?;
    poisoned("UPGRADE_REQUIRED", |ledger, _| ledger.append_bytes(&[], 99))?;
    poisoned("not the first event of its record", |ledger, order| {
        let completed = PreparationStarted {
            order_id: order.order_id.clone(),
        };
        let closed = ledger.closed(DayReport::default(), 0);
        ledger.append(vec![
            Kind::PreparationStarted(completed),
            Kind::BusinessDayClosed(Box::new(closed)),
        ])
    })?;
    poisoned("the Z's number against the next one", |ledger, _| {
        let closed = ledger.closed(DayReport::default(), 0);
        ledger.append(vec![Kind::BusinessDayClosed(Box::new(
            contract::event::BusinessDayClosed {
                z_number: 2,
                ..closed
            },
        ))])
    })?;
    poisoned(
        "LedgerOpened is the first event of a ledger",
        |ledger, _| {
            let opened = ledger.opened();
            ledger.append(vec![opened])
        },
    )
}

#[test]
fn a_gap_and_a_foreign_record_break_the_ledger() -> Result<(), Failure> {
    let (ledger, records, _) = worked_example()?;
    let mut rows = Rows::empty(&ledger)?;
    let mut gap = records.clone();
    gap.remove(3);
    rows.project(&gap);
    let quarantine = rows.store.quarantine.ok_or("a gap")?;
    assert!(
        quarantine
            .reason
            .contains("the ledger is broken: revision 5 follows revision 3"),
        "{}",
        quarantine.reason
    );
    assert_eq!(quarantine.skipped, gap.len() as u64 - 4);

    let mut foreign = Ledger::new("busan")?;
    let mut rows = Rows::empty(&ledger)?;
    rows.project(&[foreign.open_day("2026-03-02", &[])?]);
    assert!(
        rows.store
            .quarantine
            .is_some_and(|quarantine| quarantine.reason.contains("a record of ledger busan"))
    );
    Ok(())
}

#[test]
fn orders_completed_between_two_days_count_in_the_next() -> Result<(), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    let mut records = vec![ledger.open_day("2026-03-01", &[])?];
    let (one, two) = (ledger.americano()?, ledger.americano()?);
    records.push(ledger.place(one.clone())?);
    records.push(ledger.place(two)?);
    let report = project_all(&ledger, &records)?.report(0)?;
    records.push(ledger.close(ledger.closed(report, 2))?);
    records.push(ledger.complete(&one)?);
    records.push(ledger.open_day("2026-03-03", &[("main", 5_000)])?);
    let rows = project_all(&ledger, &records)?;
    let (before, after) = (rows.report(0)?, rows.report(1)?);
    assert_eq!(
        (
            before.carried_out,
            after.carried_in,
            after.completed,
            after.carried_out
        ),
        (2, 2, 1, 1)
    );
    // A count that comes after an automatic close belongs to the closed day.
    let counted = DrawerCounted {
        business_date: "2026-03-01".into(),
        drawer_id: "main".into(),
        counted: 40,
        expected: 0,
    };
    records.push(ledger.append(vec![Kind::DrawerCounted(counted)])?);
    let rows = project_all(&ledger, &records)?;
    assert_eq!(
        rows.report(0)?
            .drawers
            .first()
            .and_then(|drawer| drawer.over_short),
        Some(40)
    );
    assert_eq!(rows.report(0)?.carried_out, 2);
    assert_eq!(
        rows.days.first().map(|day| day.state),
        Some(DayState::Closed)
    );
    Ok(())
}

/// Two lists of equal sums are told apart, and the difference has a name that can be explained.
#[test]
fn a_list_that_is_not_the_recorded_one_is_a_difference() -> Result<(), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    let mut records = vec![ledger.open_day("2026-03-02", &[])?];
    let sale = ledger.americano()?;
    records.push(ledger.place(sale)?);
    let report = project_all(&ledger, &records)?.report(0)?;
    let mut closed = ledger.closed(report, 1);
    if let Some(items) = closed
        .report
        .as_mut()
        .and_then(|report| report.items.as_mut())
    {
        items.sha256 = vec![0; 32].into();
    }
    records.push(ledger.close(closed)?);
    let rows = project_all(&ledger, &records)?;
    let day = rows.days.first().ok_or("a day")?;
    let names: Vec<_> = day
        .differences
        .iter()
        .map(|row| row.figure.as_str())
        .collect();
    assert_eq!(names, ["items.digest"]);
    Ok(())
}

/// What was counted at an opening, and a drawer that should hold less than nothing when nobody counts it.
#[test]
fn drawers_open_and_close_as_they_were_counted() -> Result<(), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    let mut records = vec![ledger.open_day("2026-03-02", &[("main", 5_000), ("side", 700)])?];
    for (drawer_id, kind, amount) in [
        ("main", CashMovementKind::Float, 4_700),
        ("side", CashMovementKind::PaidOut, 1_000),
    ] {
        records.push(ledger.append(vec![Kind::CashMoved(CashMoved {
            business_date: "2026-03-02".into(),
            drawer_id: drawer_id.into(),
            kind: kind.into(),
            amount,
            ..CashMoved::default()
        })])?);
    }
    let open = project_all(&ledger, &records)?.report(0)?;
    let figures = |report: &DayReport| -> Vec<_> {
        let of = |row: &DrawerFigures| {
            let opening = (row.carried, row.opening_difference, row.float);
            (opening, row.expected, row.over_short)
        };
        report.drawers.iter().map(of).collect()
    };
    let main = ((5_000, Some(-300), 4_700), 4_700, None);
    assert_eq!(figures(&open), [main, ((700, None, 700), -300, None)]);
    let mut recorded = open;
    for drawer in &mut recorded.drawers {
        if drawer.expected < 0 {
            drawer.over_short = Some(-drawer.expected);
        }
    }
    records.push(ledger.close(ledger.closed(recorded, 0))?);
    let rows = project_all(&ledger, &records)?;
    assert_eq!(
        figures(&rows.report(0)?),
        [main, ((700, None, 700), -300, Some(300))]
    );
    assert!(rows.days.iter().all(|day| day.differences.is_empty()));
    Ok(())
}

#[test]
fn an_hour_repeated_by_a_clock_change_is_two() -> Result<(), Failure> {
    let mut ledger = Ledger::at("london", "Europe/London", "GBP", "2016-10-29T10:00:00Z")?;
    let mut records = vec![ledger.open_day("2016-10-29", &[])?];
    for instant in [
        "2016-10-29T23:59:59Z",
        "2016-10-30T00:30:00Z",
        "2016-10-30T01:30:00Z",
        "2016-10-30T01:30:30Z",
    ] {
        ledger.now = instant.parse()?;
        let order = ledger.americano()?;
        records.push(ledger.place(order)?);
    }
    let hours = project_all(&ledger, &records)?.report(0)?.hours;
    let hours: Vec<_> = hours
        .iter()
        .map(|row| (row.hour.as_str(), row.orders))
        .collect();
    assert_eq!(
        hours,
        [
            ("2016-10-30T00:00+01:00", 1),
            ("2016-10-30T01:00+00:00", 2),
            ("2016-10-30T01:00+01:00", 1)
        ]
    );
    Ok(())
}

/// Clocks were wrong when the first day was opened; today's comes after it all the same, and no date comes twice.
#[test]
fn a_day_that_was_opened_too_early_is_followed_by_the_right_one() -> Result<(), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    ledger.now = "2099-01-01T10:00:00+09:00".parse()?;
    let mut records = vec![ledger.open_day("2099-01-01", &[])?];
    let sold = ledger.americano()?;
    records.push(ledger.place(sold)?);
    let report = project_all(&ledger, &records)?.report(0)?;
    ledger.now = "2026-03-02T10:00:00+09:00".parse()?;
    let closed = ledger.closed(report, 1);
    records.push(ledger.close(closed)?);
    records.push(ledger.open_day("2026-03-02", &[])?);
    let sold = ledger.americano()?;
    records.push(ledger.place(sold)?);
    let rows = project_all(&ledger, &records)?;
    assert_eq!(rows.store.quarantine, None);
    assert_eq!(
        rows.store.latest_date.map(|date| date.to_string()),
        Some("2026-03-02".into())
    );
    let days: Vec<_> = rows
        .days
        .iter()
        .map(|day| (day.date.to_string(), day.state, day.differences.len()))
        .collect();
    assert_eq!(
        days,
        [
            ("2026-03-02".to_owned(), DayState::Open, 0),
            ("2099-01-01".to_owned(), DayState::Closed, 0)
        ]
    );
    assert_eq!(rows.report(0)?.sales.map(|block| block.count), Some(1));
    // By clocks that are right nothing goes back, and a date that is there is not opened again.
    for (now, date) in [
        ("2099-06-01T10:00:00+09:00", "2026-03-05"),
        ("2026-03-03T10:00:00+09:00", "2099-01-01"),
    ] {
        let mut ledger = Ledger::new("gangnam")?;
        ledger.now = "2099-01-01T10:00:00+09:00".parse()?;
        let mut records = vec![ledger.open_day("2099-01-01", &[])?];
        let report = project_all(&ledger, &records)?.report(0)?;
        let closed = ledger.closed(report, 0);
        records.push(ledger.close(closed)?);
        ledger.now = now.parse()?;
        records.push(ledger.open_day(date, &[])?);
        let mut rows = Rows::empty(&ledger)?;
        rows.project(&records);
        assert!(rows.store.quarantine.is_some(), "{date} at {now}");
    }
    Ok(())
}
