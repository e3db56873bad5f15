//! What is the same content, and what is not; and the first form's bytes, frozen.

use contract::event::{CashMovementKind, Channel, Pricing, ServiceMode};
use contract::{OrderId, StoreId};

use super::*;
use crate::domain::command::{DraftOption, DrawerCount, RefundLine};
use crate::domain::fixture::{
    draft, line, off, option, order_id, percent, place, request_id, slug, sold, tender, till_draft,
    till_item, uuid,
};

fn hash(command: &Command) -> ContentHash {
    ContentHash::of(command).unwrap()
}

fn same(a: &Command, b: &Command) {
    assert_eq!(hash(a), hash(b), "\n{a:?}\n{b:?}");
}

fn place_order() -> PlaceOrder {
    let mut draft = draft(vec![line("americano", 2), line("latte", 1)]);
    draft.lines[0].options = vec![option("shot", 1), option("small", 1)];
    draft.lines[0].discounts = vec![percent("a", 1_000), off("b", 100)];
    draft.order_discounts = vec![percent("c", 500), off("d", 200)];
    draft.promotion_codes = vec![slug("x"), slug("y")];
    draft.member = Some(MemberKey::MemberId(uuid(3)));
    let tenders = vec![
        tender("card", TenderKind::Card, 10_000),
        tender("cash", TenderKind::Cash, 5_000),
    ];
    place(draft, tenders)
}

fn sale_of_till() -> PlaceOrder {
    let mut sold = sold("tea", 1, 4_800);
    sold.till_item = Some(till_item("차", "tea", "red"));
    place(
        till_draft(vec![sold]),
        vec![tender("card", TenderKind::Card, 4_800)],
    )
}

fn cancel() -> CancelOrder {
    let wish = |id: &str, amount| RequestedReturn {
        tender_id: slug(id),
        amount: Money::new(amount),
        drawer_id: None,
        external_reference: String::new(),
    };
    CancelOrder {
        order_id: order_id(0),
        request_id: request_id(1),
        approver_id: Some(slug("boss")),
        reason_code: slug("mistake"),
        tenders: vec![wish("card", 10_000), wish("cash", 3_500)],
    }
}

fn refund_line(line: &str, quantity: i32) -> RefundLine {
    RefundLine {
        line_id: slug(line),
        quantity,
    }
}

fn drawer_count(drawer: &str, counted: i64) -> DrawerCount {
    DrawerCount {
        drawer_id: slug(drawer),
        counted: Money::new(counted),
    }
}

fn refund() -> RefundOrder {
    let cancel = cancel();
    RefundOrder {
        order_id: cancel.order_id,
        request_id: cancel.request_id,
        approver_id: cancel.approver_id,
        reason_code: cancel.reason_code,
        lines: vec![refund_line("l-latte", 1), refund_line("l-americano", 2)],
        tenders: cancel.tenders,
    }
}

fn close() -> (BusinessDate, ManualClose) {
    let manual = ManualClose {
        request_id: request_id(2),
        counts: vec![drawer_count("main", 100), drawer_count("bar", 5)],
        carry_over: CarryOver::Named(vec![order_id(2), order_id(1)]),
    };
    (BusinessDate::parse("2026-03-02").unwrap(), manual)
}

fn close_of((business_date, manual): (BusinessDate, ManualClose)) -> Command {
    Command::CloseBusinessDay(CloseBusinessDay {
        business_date,
        manual: Some(manual),
    })
}

fn cash_movement() -> RecordCashMovement {
    RecordCashMovement {
        request_id: request_id(4),
        business_date: close().0,
        drawer_id: slug("main"),
        kind: CashMovementKind::PaidOut,
        amount: Money::new(12_000),
        reason_code: slug("milk"),
        approver_id: Some(slug("boss")),
    }
}

fn count() -> CountDrawer {
    CountDrawer {
        request_id: request_id(5),
        business_date: close().0,
        drawer_id: slug("main"),
        counted: Money::new(99_000),
    }
}

fn attach() -> AttachMember {
    AttachMember {
        order_id: order_id(0),
        request_id: request_id(6),
        member_id: uuid(3),
        tier: "gold".into(),
        points_rate_bp: 300,
    }
}

fn status(to: NewStatus) -> Command {
    Command::ChangeStatus(ChangeStatus {
        order_id: order_id(0),
        request_id: request_id(7),
        to,
    })
}

fn placing(command: &PlaceOrder) -> Command {
    Command::PlaceOrder(Box::new(command.clone()))
}

fn all() -> Vec<(&'static str, Command)> {
    vec![
        ("place-order", placing(&place_order())),
        ("place-order at the till's prices", placing(&sale_of_till())),
        ("start-preparation", status(NewStatus::Preparing)),
        ("mark-ready", status(NewStatus::Ready)),
        ("complete-order", status(NewStatus::Completed)),
        ("cancel-order", Command::CancelOrder(cancel())),
        ("refund-order", Command::RefundOrder(refund())),
        ("attach-member", Command::AttachMember(attach())),
        (
            "record-cash-movement",
            Command::RecordCashMovement(cash_movement()),
        ),
        ("close-business-day", close_of(close())),
        ("count-drawer", Command::CountDrawer(count())),
    ]
}

/// What is recorded with commands never changes its meaning: another form needs another version.
#[test]
fn the_first_form_is_frozen() {
    let vectors: Vec<String> = all()
        .iter()
        .map(|(name, command)| format!("{name}: {}", hex::encode(hash(command).current())))
        .collect();
    insta::assert_snapshot!("content_hash_1", vectors.join("\n"));
}

#[test]
fn the_stored_version_decides_by_which_form_a_repeat_is_compared() {
    let (first, other) = (
        hash(&placing(&place_order())),
        hash(&placing(&sale_of_till())),
    );
    for (version, recorded) in [
        (CONTENT_HASH_VERSION, first.current()),
        (FORM_OF_TESTS, first.by_form_of_tests()),
    ] {
        assert_eq!(first.is(version, &recorded), Ok(true));
        assert_eq!(other.is(version, &recorded), Ok(false));
    }
    assert_ne!(first.current(), first.by_form_of_tests());
    assert_eq!(first.is(2, &first.current()), Err(UnknownForm(2)));
}

#[test]
fn a_default_spelled_out_is_the_same_content() {
    let plain = place_order();
    let command = placing(&plain);
    let rewritten = |rewrite: &dyn Fn(&mut PlaceOrder)| {
        let mut other = plain.clone();
        rewrite(&mut other);
        same(&command, &placing(&other));
    };
    rewritten(&|order| order.draft.lines[0].service_mode = Some(order.draft.service_mode));
    rewritten(&|order| order.draft.lines[0].options[0].quantity = 0);
    rewritten(&|order| order.draft.lines[0].options.reverse());
    rewritten(&|order| order.draft.lines[1].till_item = Some(Default::default()));
    rewritten(&|order| order.draft.lines[1].discounts.push(off("none", 0)));
    rewritten(&|order| order.draft.order_discounts.insert(0, off("none", 0)));
    // Conditions and what a check answered are no content.
    rewritten(&|order| order.expected_total = Some(Money::new(1)));
    rewritten(&|order| order.quoted = Some(Box::default()));
    rewritten(&|order| order.membership = Some(crate::domain::MemberStanding::NotMember));
    // What is handed over by card is what is paid by it; a card has no drawer.
    rewritten(&|order| order.tenders[0].amount = Some(Money::new(10_000)));
    rewritten(&|order| {
        order.tenders[0].amount = order.tenders[0].tendered.take();
    });
    rewritten(&|order| order.tenders[0].change = Some(Money::ZERO));
    rewritten(&|order| order.tenders[0].drawer_id = Some(slug("bar")));
    // The change follows from what was handed over in cash and from the price.
    rewritten(&|order| order.tenders[1].change = Some(Money::new(1_500)));
    rewritten(&|order| {
        order.tenders[1].tendered = None;
        order.tenders[1].amount = Some(Money::new(3_500));
        order.tenders[1].change = Some(Money::new(1_500));
    });
    rewritten(&|order| order.tenders[1].drawer_id = Some(slug(MAIN_DRAWER)));
}

#[test]
fn lists_without_an_order_are_the_same_in_any() {
    let mut turned = refund();
    turned.lines.reverse();
    turned.tenders.reverse();
    same(
        &Command::RefundOrder(refund()),
        &Command::RefundOrder(turned),
    );
    let mut turned = cancel();
    turned.tenders.reverse();
    same(
        &Command::CancelOrder(cancel()),
        &Command::CancelOrder(turned),
    );
    let (date, mut turned) = close();
    turned.counts.reverse();
    turned.carry_over = CarryOver::Named(vec![order_id(1), order_id(2), order_id(1)]);
    same(&close_of(close()), &close_of((date, turned)));
}

#[test]
fn a_member_who_was_attached_is_the_same_whatever_the_check_said() {
    let mut later = attach();
    later.tier = "silver".into();
    later.points_rate_bp = 100;
    same(
        &Command::AttachMember(attach()),
        &Command::AttachMember(later),
    );
}

#[test]
fn a_card_is_content_only_in_that_there_is_one() {
    let with = |member: Option<MemberKey>| {
        let mut order = place_order();
        order.draft.member = member;
        order
    };
    let card = |byte| with(Some(card_of(byte)));
    same(&placing(&card(1)), &placing(&card(2)));
    assert_ne!(hash(&placing(&card(1))), hash(&placing(&with(None))));
    assert_ne!(hash(&placing(&card(1))), hash(&placing(&place_order())));
}

fn card_of(byte: u8) -> MemberKey {
    MemberKey::Card(vec![
        contract::card::CardHash::new("k1", &[byte; 32]).unwrap(),
    ])
}

/// Every other change of a field is other content.
#[test]
fn each_field_of_each_command_is_content() {
    let mut commands: Vec<Command> = all().into_iter().map(|(_, command)| command).collect();
    let order = |change: &dyn Fn(&mut PlaceOrder)| {
        let mut order = place_order();
        change(&mut order);
        placing(&order)
    };
    commands.extend([
        order(&|order| order.order_id = order_id(1)),
        order(&|order| order.draft.store_id = StoreId::new("busan").unwrap()),
        order(&|order| order.draft.terminal_id = slug("till-2")),
        order(&|order| order.draft.terminal_seq = 8),
        order(&|order| order.draft.staff_id = None),
        order(&|order| order.draft.channel = Channel::Kiosk),
        order(&|order| order.draft.service_mode = ServiceMode::TakeAway),
        order(&|order| order.draft.pricing = Pricing::Till),
        order(&|order| order.draft.member = None),
        order(&|order| order.draft.member = Some(MemberKey::MemberId(uuid(4)))),
        order(&|order| order.draft.lines.reverse()),
        order(&|order| order.draft.order_discounts.reverse()),
        order(&|order| order.draft.promotion_codes.reverse()),
        order(&|order| order.tenders.reverse()),
    ]);
    let of_line =
        |change: &dyn Fn(&mut DraftLine)| order(&|order| change(&mut order.draft.lines[0]));
    commands.extend([
        of_line(&|line| line.line_id = slug("other")),
        of_line(&|line| line.sku = slug("latte")),
        of_line(&|line| line.quantity = 3),
        of_line(&|line| line.service_mode = Some(ServiceMode::TakeAway)),
        of_line(&|line| line.options[0].option_id = slug("syrup")),
        of_line(&|line| line.options[0].quantity = 2),
        of_line(&|line| drop(line.options.pop())),
        of_line(&|line| {
            line.options.push(DraftOption {
                option_id: slug("ice"),
                quantity: 1,
            });
        }),
        of_line(&|line| line.discounts.reverse()),
        of_line(&|line| line.discounts[0].discount_id = slug("z")),
        of_line(&|line| line.discounts[0].value = DiscountValue::Percent(999)),
        of_line(&|line| line.discounts[0].value = DiscountValue::Fixed(Money::new(1_000))),
        of_line(&|line| line.discounts[0].reason_code = slug("other")),
        of_line(&|line| line.discounts[0].approver_id = slug("other")),
        of_line(&|line| line.till_unit_price = Some(Money::new(4_500))),
    ]);
    let of_tender =
        |change: &dyn Fn(&mut DraftTender)| order(&|order| change(&mut order.tenders[1]));
    commands.extend([
        of_tender(&|tender| tender.tender_id = slug("other")),
        of_tender(&|tender| tender.kind = TenderKind::Other),
        of_tender(&|tender| tender.scheme = "visa".into()),
        of_tender(&|tender| tender.tendered = Some(Money::new(5_001))),
        of_tender(&|tender| tender.external_reference = "R-1".into()),
        of_tender(&|tender| tender.drawer_id = Some(slug("bar"))),
    ]);
    let of_sold = |change: &dyn Fn(&mut crate::domain::TillItem)| {
        let mut order = sale_of_till();
        order.draft.lines[0].till_item.iter_mut().for_each(change);
        placing(&order)
    };
    commands.extend([
        of_sold(&|item| item.name.clear()),
        of_sold(&|item| drop(item.name.insert("en".into(), "Tea".into()))),
        of_sold(&|item| item.category = None),
        of_sold(&|item| item.category = Some(slug("food"))),
        of_sold(&|item| item.tax_class = None),
        of_sold(&|item| item.tax_class = Some(slug("std"))),
    ]);
    let of_cancel = |change: &dyn Fn(&mut CancelOrder)| {
        let mut cancel = cancel();
        change(&mut cancel);
        Command::CancelOrder(cancel)
    };
    commands.extend([
        of_cancel(&|cancel| cancel.order_id = order_id(1)),
        of_cancel(&|cancel| cancel.approver_id = None),
        of_cancel(&|cancel| cancel.reason_code = slug("other")),
        of_cancel(&|cancel| cancel.tenders.clear()),
        of_cancel(&|cancel| cancel.tenders[0].tender_id = slug("other")),
        of_cancel(&|cancel| cancel.tenders[0].amount = Money::new(9_999)),
        of_cancel(&|cancel| cancel.tenders[0].drawer_id = Some(slug("bar"))),
        of_cancel(&|cancel| cancel.tenders[0].external_reference = "R-1".into()),
    ]);
    let of_refund = |change: &dyn Fn(&mut RefundOrder)| {
        let mut refund = refund();
        change(&mut refund);
        Command::RefundOrder(refund)
    };
    commands.extend([
        of_refund(&|refund| refund.order_id = order_id(1)),
        of_refund(&|refund| refund.approver_id = None),
        of_refund(&|refund| refund.reason_code = slug("other")),
        of_refund(&|refund| refund.lines[0].line_id = slug("other")),
        of_refund(&|refund| refund.lines[0].quantity = 2),
        of_refund(&|refund| drop(refund.lines.pop())),
        of_refund(&|refund| refund.tenders.clear()),
    ]);
    let of_cash = |change: &dyn Fn(&mut RecordCashMovement)| {
        let mut movement = cash_movement();
        change(&mut movement);
        Command::RecordCashMovement(movement)
    };
    let tomorrow = BusinessDate::parse("2026-03-03").unwrap();
    commands.extend([
        of_cash(&|movement| movement.business_date = tomorrow),
        of_cash(&|movement| movement.drawer_id = slug("bar")),
        of_cash(&|movement| movement.kind = CashMovementKind::PaidIn),
        of_cash(&|movement| movement.amount = Money::new(1)),
        of_cash(&|movement| movement.reason_code = slug("other")),
        of_cash(&|movement| movement.approver_id = None),
    ]);
    let of_close = |change: &dyn Fn(&mut (BusinessDate, ManualClose))| {
        let mut close = close();
        change(&mut close);
        close_of(close)
    };
    commands.extend([
        of_close(&|close| close.0 = tomorrow),
        of_close(&|close| close.1.counts.clear()),
        of_close(&|close| close.1.counts[0].drawer_id = slug("other")),
        of_close(&|close| close.1.counts[0].counted = Money::new(101)),
        of_close(&|close| close.1.carry_over = CarryOver::All),
        of_close(&|close| close.1.carry_over = CarryOver::Named(Vec::<OrderId>::new())),
    ]);
    let of_count = |change: &dyn Fn(&mut CountDrawer)| {
        let mut count = count();
        change(&mut count);
        Command::CountDrawer(count)
    };
    commands.extend([
        of_count(&|count| count.business_date = tomorrow),
        of_count(&|count| count.drawer_id = slug("bar")),
        of_count(&|count| count.counted = Money::new(1)),
    ]);
    let mut other_member = attach();
    other_member.member_id = uuid(4);
    commands.push(Command::AttachMember(other_member));
    for (index, command) in commands.iter().enumerate() {
        for other in &commands[..index] {
            assert_ne!(hash(command), hash(other), "\n{command:?}\n{other:?}");
        }
    }
}

#[test]
fn the_system_decides_without_an_id_and_without_content() {
    let sweep = Command::CloseBusinessDay(CloseBusinessDay {
        business_date: close().0,
        manual: None,
    });
    assert_eq!(ContentHash::of(&sweep), None);
}
