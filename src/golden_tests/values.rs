//! One instance of everything that is stored, every field set, with figures that agree with each other where that is easy to see.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost_types::Timestamp;

use crate::event::event::Event as Case;
use crate::event::*;

fn id(last: u8) -> Bytes {
    let mut bytes = [
        0x01, 0x93, 0x52, 0xf0, 0x7a, 0x1c, 0x7c, 0x3e, 0x8f, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0,
    ];
    bytes[15] = last;
    Bytes::copy_from_slice(&bytes)
}

fn hash(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 32])
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_772_413_200 + seconds,
        nanos: 123_456_000,
    })
}

fn name(ko: &str, en: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("ko".into(), ko.into()), ("en".into(), en.into())])
}

fn settings() -> StoreConfigured {
    StoreConfigured {
        time_zone: "Asia/Seoul".into(),
        cutoff_minutes: 300,
        legal_entity: "Doppio Korea".into(),
        tax_id: "123-45-67890".into(),
        store_name: name("강남점", "Gangnam"),
        discount_step: 10,
    }
}

fn floats() -> Vec<DrawerFloat> {
    vec![DrawerFloat {
        drawer_id: "main".into(),
        amount: 100_000,
    }]
}

fn taxes(net: i64) -> Vec<TaxAmount> {
    let supply = net * 10 / 11;
    vec![TaxAmount {
        tax_class: "standard".into(),
        kind: TaxKind::Standard.into(),
        rate_bp: 1_000,
        net,
        supply,
        vat: net - supply,
    }]
}

fn line() -> OrderLine {
    OrderLine {
        line_id: "l-1".into(),
        sku: "americano".into(),
        name: name("아메리카노", "Americano"),
        category: "coffee".into(),
        quantity: 2,
        options: vec![LineOption {
            option_id: "shot".into(),
            name: name("샷 추가", "Extra shot"),
            quantity: 1,
            unit_price: 500,
        }],
        service_mode: ServiceMode::TakeAway.into(),
        unit_price: 5_000,
        gross: 10_000,
        discount: 1_500,
        net: 8_500,
        tax_class: "standard".into(),
        tax_kind: TaxKind::Standard.into(),
        tax_rate_bp: 1_000,
        supply: 7_727,
    }
}

fn discount(
    source: DiscountSource,
    value: applied_discount::Value,
    basis: i64,
    amount: i64,
) -> AppliedDiscount {
    AppliedDiscount {
        discount_id: "morning".into(),
        discount_version: 3,
        source: source.into(),
        value: Some(value),
        amount,
        allocations: vec![DiscountAllocation {
            line_index: 1,
            basis,
            amount,
        }],
        reason_code: "regular".into(),
        approver_id: "manager-1".into(),
    }
}

fn order_placed() -> OrderPlaced {
    OrderPlaced {
        order_id: id(1),
        business_date: "2026-03-02".into(),
        ticket_number: 7,
        ticket_label: "A-007".into(),
        document_number: 1_007,
        channel: Channel::Kiosk.into(),
        service_mode: ServiceMode::TakeAway.into(),
        terminal_seq: 42,
        lines: vec![
            OrderLine {
                line_id: "l-0".into(),
                ..line()
            },
            line(),
        ],
        discounts: vec![
            discount(
                DiscountSource::LinePromotion,
                applied_discount::Value::PercentBp(1_000),
                10_000,
                1_000,
            ),
            discount(
                DiscountSource::OrderManual,
                applied_discount::Value::Fixed(500),
                9_000,
                500,
            ),
        ],
        gross: 20_000,
        discount: 3_000,
        net: 17_000,
        taxes: taxes(17_000),
        tenders: vec![Tender {
            tender_id: "t-1".into(),
            kind: TenderKind::Cash.into(),
            scheme: "won".into(),
            amount: 17_000,
            tendered: 20_000,
            change: 3_000,
            external_reference: "A-12345".into(),
            drawer_id: "main".into(),
        }],
        membership: Some(Membership {
            outcome: MembershipOutcome::Member.into(),
            member_id: "019352f0-7a1c-7c3e-8f00-0123456789ab".into(),
            card_token_hashes: vec![CardTokenHash {
                key_id: "2026-11".to_owned(),
                hmac_sha256: hash(0xca),
            }],
            tier: "gold".into(),
            points_rate_bp: 500,
        }),
        pricing: Pricing::Server.into(),
        menu_version: "2026-03-01".into(),
        pricing_rule: "v1".into(),
        tax_rule: "kr-v1".into(),
        flags: vec!["CLIENT_CLOCK_ODD".into()],
        promotion_codes: vec!["morning".into()],
    }
}

fn returned_lines() -> Vec<ReturnedLine> {
    vec![ReturnedLine {
        line_index: 1,
        quantity: 2,
        gross: 10_000,
        discount: 1_500,
        net: 8_500,
    }]
}

fn returned_tenders() -> Vec<ReturnedTender> {
    vec![ReturnedTender {
        tender_id: "t-1".into(),
        kind: TenderKind::Cash.into(),
        amount: 8_500,
        drawer_id: "main".into(),
        external_reference: "R-12345".into(),
    }]
}

fn order_cancelled() -> OrderCancelled {
    OrderCancelled {
        order_id: id(1),
        business_date: "2026-03-03".into(),
        sale_business_date: "2026-03-02".into(),
        document_number: 1_008,
        reason_code: "customer".into(),
        approver_id: "manager-1".into(),
        lines: returned_lines(),
        gross: 10_000,
        discount: 1_500,
        net: 8_500,
        taxes: taxes(8_500),
        tenders: returned_tenders(),
        flags: vec!["DRAWER_OVERDRAWN".into()],
    }
}

fn order_refunded() -> OrderRefunded {
    OrderRefunded {
        order_id: id(1),
        business_date: "2026-03-03".into(),
        sale_business_date: "2026-03-02".into(),
        document_number: 1_009,
        reason_code: "quality".into(),
        approver_id: "manager-1".into(),
        lines: returned_lines(),
        gross: 10_000,
        discount: 1_500,
        net: 8_500,
        taxes: taxes(8_500),
        tenders: returned_tenders(),
        flags: vec!["DRAWER_OVERDRAWN".into()],
    }
}

fn block(count: i64, gross: i64, discount: i64) -> Option<Block> {
    let net = gross - discount;
    let supply = net * 10 / 11;
    Some(Block {
        count,
        gross,
        discount,
        net,
        supply,
        vat: net - supply,
        taxes: taxes(net),
    })
}

fn list(rows: i64, count: i64) -> Option<ListDigest> {
    Some(ListDigest {
        rows,
        count,
        gross: 200_000,
        discount: 30_000,
        net: 170_000,
        sha256: hash(0x11),
    })
}

fn report() -> DayReport {
    DayReport {
        sales: block(10, 200_000, 30_000),
        voids: block(1, 20_000, 3_000),
        refunds_same_day: block(1, 10_000, 1_500),
        refunds_prior_days: block(1, 5_000, 500),
        turnover: block(7, 165_000, 25_000),
        tenders: vec![TenderFigures {
            kind: TenderKind::Cash.into(),
            taken: 170_000,
            returned: 30_000,
            net: 140_000,
        }],
        drawers: vec![DrawerFigures {
            drawer_id: "main".into(),
            float: 100_000,
            tendered: 200_000,
            change: 30_000,
            returned: 30_000,
            paid_in: 5_000,
            paid_out: 2_000,
            expected: 243_000,
            counted: Some(242_000),
            over_short: Some(-1_000),
            carried: 100_500,
            opening_difference: Some(-500),
        }],
        items: list(12, 40),
        categories: list(1, 40),
        hours: vec![HourFigures {
            hour: "2026-03-02T10:00+09:00".into(),
            orders: 10,
            gross: 200_000,
            discount: 30_000,
            net: 170_000,
        }],
        discounts: list(2, 10),
        carried_in: 1,
        completed: 8,
        cancelled: 1,
        carried_out: 2,
        first_ticket: 1,
        last_ticket: 10,
        first_document: 1_001,
        last_document: 1_013,
        grand_total_sales: 9_170_000,
        grand_total_returns: 430_000,
    }
}

fn carry_over() -> CarryOver {
    CarryOver {
        open_orders: vec![CarriedOrder {
            order_id: id(1),
            placed_revision: 17,
        }],
        open_order_count: 1,
        floats: floats(),
        document_number: 1_013,
        grand_total_sales: 9_170_000,
        grand_total_returns: 430_000,
        ledger_id: id(0xee),
        currency_code: "KRW".into(),
        settings: Some(settings()),
        menu_version: "2026-03-01".into(),
        menu_hash: hash(0x3e),
        unresolved_membership_count: 1,
        closed_dates: vec![ClosedDates {
            first_business_date: "2026-02-10".into(),
            last_business_date: "2026-03-02".into(),
        }],
    }
}

/// One instance of each, in the order of their field numbers.
pub fn every_event() -> Vec<Event> {
    let cases = [
        Case::LedgerOpened(LedgerOpened {
            ledger_id: id(0xee),
            store_id: "gangnam".into(),
            currency_code: "KRW".into(),
            time_zone: "Asia/Seoul".into(),
            cutoff_minutes: 300,
            legal_entity: "Doppio Korea".into(),
            tax_id: "123-45-67890".into(),
            store_name: name("강남점", "Gangnam"),
        }),
        Case::StoreConfigured(settings()),
        Case::BusinessDayOpened(BusinessDayOpened {
            business_date: "2026-03-02".into(),
            time_zone: "Asia/Seoul".into(),
            cutoff_minutes: 300,
            start_time: time(0),
            end_time: time(86_400),
            floats: floats(),
        }),
        Case::OrderPlaced(order_placed()),
        Case::PreparationStarted(PreparationStarted { order_id: id(1) }),
        Case::OrderReady(OrderReady { order_id: id(1) }),
        Case::OrderCompleted(OrderCompleted { order_id: id(1) }),
        Case::OrderCancelled(order_cancelled()),
        Case::OrderRefunded(order_refunded()),
        Case::MemberAttached(MemberAttached {
            order_id: id(1),
            member_id: "019352f0-7a1c-7c3e-8f00-0123456789ab".into(),
            tier: "silver".into(),
            points_rate_bp: 300,
        }),
        Case::MembershipResolved(MembershipResolved {
            order_id: id(2),
            outcome: MembershipOutcome::NotMember.into(),
            member_id: "019352f0-7a1c-7c3e-8f00-0123456789ab".into(),
            tier: "basic".into(),
            points_rate_bp: 100,
        }),
        Case::CashMoved(CashMoved {
            business_date: "2026-03-02".into(),
            drawer_id: "main".into(),
            kind: CashMovementKind::PaidOut.into(),
            amount: 2_000,
            reason_code: "milk".into(),
            approver_id: "manager-1".into(),
            flags: vec!["DRAWER_OVERDRAWN".into()],
        }),
        Case::DrawerCounted(DrawerCounted {
            business_date: "2026-03-02".into(),
            drawer_id: "main".into(),
            counted: 242_000,
            expected: 243_000,
        }),
        Case::BusinessDayClosed(Box::new(BusinessDayClosed {
            business_date: "2026-03-02".into(),
            z_number: 31,
            report_version: 1,
            previous_z_hash: hash(0x2a),
            last_revision: 1_234,
            last_hash: hash(0x1a),
            automatic: true,
            report: Some(report()),
            carry_over: Some(carry_over()),
            start_time: time(0),
            end_time: time(86_400),
            close_time: time(80_000),
        })),
        Case::MenuPublished(MenuPublished {
            version: "2026-03-01".into(),
            hash: hash(0x3e),
        }),
        Case::LedgerRepaired(LedgerRepaired {
            from_revision: 99,
            reason_code: "disk".into(),
        }),
        Case::PeriodClosed(PeriodClosed {
            first_business_date: "2026-02-01".into(),
            last_business_date: "2026-02-28".into(),
        }),
    ];
    cases
        .into_iter()
        .map(|case| Event { event: Some(case) })
        .collect()
}

/// A record of one command that made two things happen.
pub fn record() -> RecordPayload {
    RecordPayload {
        software_version: "0.1.0".into(),
        commands: vec![RecordedCommand {
            request_id: id(3),
            content_hash: hash(0xc0),
            content_hash_version: 1,
            actor: Some(Actor {
                principal: "till".into(),
                terminal_id: "t-1".into(),
                staff_id: "s-1".into(),
            }),
            client_time: time(60),
            utc_offset_seconds: 32_400,
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            events: vec![
                Event {
                    event: Some(Case::PreparationStarted(PreparationStarted {
                        order_id: id(1),
                    })),
                },
                Event {
                    event: Some(Case::OrderReady(OrderReady { order_id: id(1) })),
                },
            ],
            occurred_at: time(30),
        }],
        clocks: Some(Clocks {
            server_time: time(90),
            second_time: time(91),
            set_back: true,
        }),
    }
}
