use contract::event::{CashMovementKind, TenderKind};

use super::*;

const TODAY: &str = "2026-03-02";
const YESTERDAY: &str = "2026-03-01";
const TEN: &str = "2026-03-02T10:00+09:00";

fn tax(class: &str, rate_bp: u32, [supply, vat]: [i64; 2]) -> TaxAmount {
    TaxAmount {
        tax_class: class.to_owned(),
        rate_bp,
        net: supply + vat,
        supply,
        vat,
        ..TaxAmount::default()
    }
}

/// A sale of one class at 10 %, paid by these tenders: kind, drawer, tendered, change.
fn sale(
    document_number: i64,
    [gross, discount]: [i64; 2],
    vat: i64,
    tenders: &[(TenderKind, &str, i64, i64)],
) -> OrderPlaced {
    let net = gross - discount;
    let tenders = tenders
        .iter()
        .map(|(kind, drawer, tendered, change)| e::Tender {
            kind: (*kind).into(),
            amount: tendered - change,
            tendered: *tendered,
            change: *change,
            drawer_id: (*drawer).to_owned(),
            ..e::Tender::default()
        });
    OrderPlaced {
        document_number,
        gross,
        discount,
        net,
        taxes: vec![tax("std", 1_000, [net - vat, vat])],
        tenders: tenders.collect(),
        ..OrderPlaced::default()
    }
}

fn cash_back(drawer: &str, amount: i64) -> Vec<ReturnedTender> {
    vec![ReturnedTender {
        kind: TenderKind::Cash.into(),
        amount,
        drawer_id: drawer.to_owned(),
        ..ReturnedTender::default()
    }]
}

fn refund(of: &str, document_number: i64, net: i64, vat: i64) -> e::OrderRefunded {
    e::OrderRefunded {
        business_date: TODAY.to_owned(),
        sale_business_date: of.to_owned(),
        document_number,
        gross: net,
        net,
        taxes: vec![tax("std", 1_000, [net - vat, vat])],
        tenders: cash_back("main", net),
        ..e::OrderRefunded::default()
    }
}

fn void(of: &str, document_number: i64, net: i64, vat: i64) -> e::OrderCancelled {
    e::OrderCancelled {
        business_date: TODAY.to_owned(),
        sale_business_date: of.to_owned(),
        document_number,
        gross: net,
        net,
        taxes: vec![tax("std", 1_000, [net - vat, vat])],
        tenders: cash_back("main", net),
        ..e::OrderCancelled::default()
    }
}

fn moved(kind: CashMovementKind, drawer: &str, amount: i64) -> e::CashMoved {
    e::CashMoved {
        kind: kind.into(),
        drawer_id: drawer.to_owned(),
        amount,
        ..e::CashMoved::default()
    }
}

/// Two sales, a void and a refund of today's, a refund and a void of yesterday's.
fn day() -> DayFigures {
    let floats: Floats = [("main".to_owned(), 100_000)].into_iter().collect();
    let mut day = DayFigures::begin(2, 1, &floats);
    let by_cash = [(TenderKind::Cash, "main", 10_000, 5_500)];
    day.placed(&sale(11, [4_500, 0], 409, &by_cash), TEN.into())
        .unwrap();
    let mixed = [
        (TenderKind::Card, "", 10_000, 0),
        (TenderKind::Cash, "main", 6_000, 500),
    ];
    day.placed(&sale(12, [18_000, 2_500], 1_409, &mixed), TEN.into())
        .unwrap();
    day.cancelled(&void(TODAY, 13, 4_500, 409)).unwrap();
    day.refunded(&refund(TODAY, 14, 5_000, 455)).unwrap();
    day.refunded(&refund(YESTERDAY, 15, 5_000, 454)).unwrap();
    day.cancelled(&void(YESTERDAY, 16, 4_000, 364)).unwrap();
    day.completed().unwrap();
    day
}

fn figures(block: Option<&Block>) -> [i64; 6] {
    let block = block.unwrap();
    [
        block.count,
        block.gross,
        block.discount,
        block.net,
        block.supply,
        block.vat,
    ]
}

#[test]
fn each_fact_is_in_one_block_and_turnover_is_what_is_left() {
    let report = day().report(0, 0).unwrap();
    let [s, v, r, p] = [
        [2, 22_500, 2_500, 20_000, 18_182, 1_818],
        [1, 4_500, 0, 4_500, 4_091, 409],
        [1, 5_000, 0, 5_000, 4_545, 455],
        [2, 9_000, 0, 9_000, 8_182, 818],
    ];
    assert_eq!(figures(report.sales.as_ref()), s);
    assert_eq!(figures(report.voids.as_ref()), v);
    assert_eq!(figures(report.refunds_same_day.as_ref()), r);
    assert_eq!(figures(report.refunds_prior_days.as_ref()), p);
    // Orders less refunds count nothing: it is no figure, and never a negative one.
    assert_eq!(figures(report.turnover.as_ref())[0], 0);
    let turnover: Vec<i64> = (1..6)
        .map(|index| s[index] - v[index] - r[index] - p[index])
        .collect();
    assert_eq!(figures(report.turnover.as_ref())[1..], turnover);
    for block in [&report.sales, &report.voids, &report.turnover] {
        let block = block.as_ref().unwrap();
        let of_classes: i64 = block.taxes.iter().map(|tax| tax.supply + tax.vat).sum();
        assert_eq!(
            (block.gross - block.discount, of_classes),
            (block.net, block.net)
        );
    }
}

#[test]
fn what_was_taken_less_what_was_returned_is_the_turnover() {
    let report = day().report(0, 0).unwrap();
    let tenders: Vec<(TenderKind, i64, i64, i64)> = report
        .tenders
        .iter()
        .map(|tender| (tender.kind(), tender.taken, tender.returned, tender.net))
        .collect();
    assert_eq!(
        tenders,
        [
            (TenderKind::Cash, 10_000, 18_500, -8_500),
            (TenderKind::Card, 10_000, 0, 10_000)
        ]
    );
    let net: i64 = tenders.iter().map(|(_, _, _, net)| net).sum();
    assert_eq!(Some(net), report.turnover.map(|turnover| turnover.net));
}

#[test]
fn a_drawer_should_hold_what_went_in_less_what_went_out() {
    let mut day = day();
    day.cash_moved(&moved(CashMovementKind::PaidIn, "main", 50_000))
        .unwrap();
    day.cash_moved(&moved(CashMovementKind::PaidOut, "main", 12_000))
        .unwrap();
    let expected = 100_000 + 16_000 - 6_000 - 18_500 + 50_000 - 12_000;
    let drawer = |day: &DayFigures| day.report(0, 0).unwrap().drawers[0].clone();
    let uncounted = drawer(&day);
    assert_eq!(uncounted.expected, expected);
    assert_eq!((uncounted.counted, uncounted.over_short), (None, None));
    // Not counted, the expected cash is the next day's float; counted, what was counted is.
    assert_eq!(day.closing_floats().unwrap().get("main"), Some(&expected));
    day.counted("main", expected - 500);
    assert_eq!(drawer(&day).over_short, Some(-500));
    assert_eq!(
        day.closing_floats().unwrap().get("main"),
        Some(&(expected - 500))
    );
}

#[test]
fn orders_tickets_documents_and_grand_totals_add_up() {
    let report = day().report(5_000_000, 120_000).unwrap();
    // Two were open, two came, two were completed (one of them before the day), two cancelled.
    assert_eq!(
        [
            report.carried_in,
            report.completed,
            report.cancelled,
            report.carried_out
        ],
        [2, 2, 2, 0]
    );
    assert_eq!((report.first_ticket, report.last_ticket), (1, 2));
    assert_eq!((report.first_document, report.last_document), (11, 16));
    assert_eq!(report.grand_total_sales, 5_020_000);
    assert_eq!(report.grand_total_returns, 138_500);
}

#[test]
fn hours_and_discounts_each_sum_to_the_sales() {
    let mut placed = sale(1, [5_000, 1_000], 364, &[(TenderKind::Card, "", 4_000, 0)]);
    placed.discounts = vec![e::AppliedDiscount {
        discount_id: "goodwill".into(),
        amount: 1_000,
        ..e::AppliedDiscount::default()
    }];
    let mut day = DayFigures::default();
    for hour in ["2026-03-02T10:00+09:00", "2026-03-02T11:00+09:00"] {
        day.placed(&placed, hour.to_owned()).unwrap();
    }
    let report = day.report(0, 0).unwrap();
    let hours: Vec<[i64; 4]> = report
        .hours
        .iter()
        .map(|hour| [hour.orders, hour.gross, hour.discount, hour.net])
        .collect();
    assert_eq!(hours, [[1, 5_000, 1_000, 4_000]; 2]);
    let discounts = report.discounts.unwrap();
    assert_eq!(
        (discounts.rows, discounts.count, discounts.discount),
        (1, 2, 2_000)
    );
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_and_no_figure() {
    let mut day = DayFigures::default();
    let most = || sale(1, [i64::MAX, 0], 0, &[(TenderKind::Card, "", i64::MAX, 0)]);
    day.placed(&most(), TEN.into()).unwrap();
    assert_eq!(day.placed(&most(), TEN.into()), Err(Overflow));
}
