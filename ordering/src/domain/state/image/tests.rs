use contract::event::{CashMovementKind, MembershipOutcome, TenderKind, event::Event};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::domain::image::STATE_VERSION;
use crate::domain::{DayFigures, EventMeta};

fn id(number: u128) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(number << 80 | 0x7000_8000_0000_0000_0000))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_413_200 + second).unwrap()
}

fn date(text: &str) -> BusinessDate {
    BusinessDate::parse(text).unwrap()
}

fn taxes() -> Vec<e::TaxAmount> {
    vec![e::TaxAmount {
        tax_class: "std".to_owned(),
        kind: 1,
        rate_bp: 1_000,
        net: 8_000,
        supply: 7_273,
        vat: 727,
    }]
}

fn placed(number: u128) -> e::OrderPlaced {
    e::OrderPlaced {
        order_id: id(number).to_bytes(),
        business_date: "2026-03-02".to_owned(),
        ticket_number: 1,
        document_number: 5,
        lines: vec![e::OrderLine {
            sku: "latte".to_owned(),
            category: "coffee".to_owned(),
            quantity: 2,
            unit_price: 5_000,
            gross: 10_000,
            discount: 2_000,
            net: 8_000,
            ..e::OrderLine::default()
        }],
        discounts: vec![e::AppliedDiscount {
            discount_id: "boss".to_owned(),
            amount: 2_000,
            ..e::AppliedDiscount::default()
        }],
        gross: 10_000,
        discount: 2_000,
        net: 8_000,
        taxes: taxes(),
        tenders: vec![e::Tender {
            tender_id: "t-1".to_owned(),
            kind: TenderKind::Cash.into(),
            amount: 8_000,
            tendered: 10_000,
            change: 2_000,
            drawer_id: "main".to_owned(),
            ..e::Tender::default()
        }],
        membership: Some(membership()),
        ..e::OrderPlaced::default()
    }
}

fn membership() -> e::Membership {
    e::Membership {
        outcome: MembershipOutcome::Unverified.into(),
        member_id: "m-1".to_owned(),
        ..e::Membership::default()
    }
}

fn returned() -> Vec<e::ReturnedTender> {
    vec![e::ReturnedTender {
        tender_id: "t-1".to_owned(),
        kind: TenderKind::Cash.into(),
        amount: 4_000,
        drawer_id: "main".to_owned(),
        ..e::ReturnedTender::default()
    }]
}

fn refunded(sold_on: &str) -> e::OrderRefunded {
    e::OrderRefunded {
        order_id: id(1).to_bytes(),
        business_date: "2026-03-02".to_owned(),
        sale_business_date: sold_on.to_owned(),
        document_number: 6,
        lines: vec![e::ReturnedLine {
            line_index: 0,
            quantity: 1,
            gross: 5_000,
            discount: 1_000,
            net: 4_000,
        }],
        gross: 5_000,
        discount: 1_000,
        net: 4_000,
        taxes: taxes(),
        tenders: returned(),
        ..e::OrderRefunded::default()
    }
}

fn figures() -> DayFigures {
    let floats = [("main".to_owned(), 90_000)].into_iter().collect();
    let mut figures = DayFigures::begin(3, 1, &floats);
    let hour = "2026-03-02T10:00:00+09:00".to_owned();
    figures.placed(&placed(1), hour).unwrap();
    figures.completed().unwrap();
    for sold_on in ["2026-03-02", "2026-03-01"] {
        figures.refunded(&refunded(sold_on)).unwrap();
    }
    figures
        .cancelled(&e::OrderCancelled {
            business_date: "2026-03-02".to_owned(),
            sale_business_date: "2026-03-02".to_owned(),
            document_number: 7,
            gross: 100,
            net: 100,
            taxes: taxes(),
            tenders: returned(),
            ..e::OrderCancelled::default()
        })
        .unwrap();
    for (kind, amount) in [
        (CashMovementKind::Float, 100_000),
        (CashMovementKind::PaidIn, 500),
        (CashMovementKind::PaidOut, 300),
    ] {
        figures
            .cash_moved(&e::CashMoved {
                drawer_id: "main".to_owned(),
                kind: kind.into(),
                amount,
                ..e::CashMoved::default()
            })
            .unwrap();
    }
    figures.counted("main", 99_000);
    figures
}

/// A state in which everything says something.
fn example() -> StoreState {
    let meta = |index| EventMeta {
        revision: 8,
        index,
        recorded_at: at(60),
        terminal_id: "till-1",
        staff_id: "ann",
        request_id: Some(Uuid::from_u128(9)),
    };
    let mut order = OrderState::place(&Event::OrderPlaced(placed(1)), &meta(0)).unwrap();
    let preparing = e::PreparationStarted {
        order_id: id(1).to_bytes(),
    };
    order
        .apply(&Event::PreparationStarted(preparing), &meta(1))
        .unwrap();
    let back = Event::OrderRefunded(refunded("2026-03-02"));
    order.apply(&back, &meta(2)).unwrap();
    let in_memory = OpenOrder {
        placed_revision: 8,
        order: Some(Arc::new(order)),
    };
    let in_the_log = OpenOrder {
        placed_revision: 2,
        order: None,
    };
    let mut closed = ClosedDates::default();
    for text in ["2026-02-27", "2026-02-28", "2026-03-01", "2099-01-01"] {
        closed.insert(date(text));
    }
    StoreState {
        identity: Some(Identity {
            ledger_id: Uuid::from_u128(7),
            currency: Currency::new("KRW").unwrap(),
        }),
        settings: Some(Arc::new(Settings(e::StoreConfigured {
            time_zone: "Asia/Seoul".to_owned(),
            cutoff_minutes: 240,
            ..e::StoreConfigured::default()
        }))),
        day: Some(OpenDay {
            date: date("2026-03-02"),
            start: at(0),
            end: at(86_400),
            rule: DayRule::new(TimeZone::get("Asia/Seoul").unwrap(), 255).unwrap(),
            figures: figures(),
        }),
        last_closed: Some(date("2026-03-01")),
        closed: Arc::new(closed),
        z_number: 41,
        previous_z_hash: Some([5; 32]),
        grand_total_sales: 5_000_000,
        grand_total_returns: 120_000,
        document_number: 77,
        floats: [("main".to_owned(), 90_000)].into_iter().collect(),
        uncounted: [("side".to_owned(), -1)].into_iter().collect(),
        open_count: 4,
        open_orders: [(id(1), in_memory), (id(2), in_the_log)]
            .into_iter()
            .collect(),
        unresolved: [(id(1), Arc::new(membership()))].into_iter().collect(),
        completed_between: 2,
        menu_version: "2026-03-01".to_owned(),
        menu_hash: vec![1, 2, 3],
        touched: Default::default(),
        closed_in_record: false,
    }
}

fn parts(state: &StoreState) -> Vec<ChangesImage> {
    let mut parts = Vec::new();
    let taken = Held::default().changes::<()>(&Held::of(state), 1, |part| {
        parts.push(part.clone());
        Ok(())
    });
    taken.unwrap();
    parts
}

#[test]
fn a_state_is_read_back_as_it_was() {
    let state = example();
    let mut held = Held::default();
    let parts = parts(&state);
    assert_eq!(parts.len(), 3);
    for part in &parts {
        let bytes = part.encode_to_vec();
        held.change(ChangesImage::decode(bytes.as_slice()).unwrap())
            .unwrap();
    }
    let bytes = state.image().unwrap().encode_to_vec();
    let image = StateImage::decode(bytes.as_slice()).unwrap();
    assert!(StoreState::from_image(image.clone(), held).unwrap() == state);
    // A part that is missing is missed.
    assert!(StoreState::from_image(image, Held::default()).is_err());
    let empty = StoreState::default();
    let image = empty.image().unwrap();
    assert!(StoreState::from_image(image, Held::default()).unwrap() == empty);
}

#[test]
fn what_has_changed_is_what_is_handed_out() {
    let before = example();
    let mut after = before.clone();
    after.open_orders.remove(&id(2));
    after.unresolved.clear();
    let mut again = after.clone();
    let open = OpenOrder {
        placed_revision: 9,
        order: None,
    };
    again.open_orders.insert(id(3), open);
    let count = |before: &StoreState, after: &StoreState| {
        let mut held = Held::of(before);
        let mut changed = [0; 4];
        Held::of(before)
            .changes::<ImageError>(&Held::of(after), 1, |part| {
                changed[0] += part.open.len();
                changed[1] += part.left.len();
                changed[2] += part.owed.len();
                changed[3] += part.settled.len();
                held.change(part.clone())
            })
            .unwrap();
        assert!(held.open_orders == after.open_orders && held.unresolved == after.unresolved);
        changed
    };
    assert_eq!(count(&before, &before), [0, 0, 0, 0]);
    assert_eq!(count(&before, &after), [0, 1, 0, 1]);
    assert_eq!(count(&after, &again), [1, 0, 0, 0]);
    assert_eq!(count(&again, &before), [1, 1, 1, 0]);
}

/// Whoever changes what is written changes the version with it, and then these numbers.
#[test]
fn another_form_of_the_state_is_another_version() {
    let state = example();
    let mut digest = Sha256::new();
    for part in parts(&state) {
        digest.update(part.encode_to_vec());
    }
    digest.update(state.image().unwrap().encode_to_vec());
    let form = (STATE_VERSION, hex::encode(digest.finalize()));
    assert_eq!(
        form,
        (
            1,
            "b17929bc997f8ca04a04974ac256e64de94507ce140c4487eae6504c8987b9a3".to_owned()
        )
    );
}
