//! A day can always be closed, and no cash disappears between two days.

use contract::Currency;
use contract::event::{BusinessDayOpened, DrawerFigures};
use event_log::MAX_PAYLOAD_BYTES;
use prost::Message as _;

use super::*;
use crate::domain::RequestedReturn;

const LANGUAGES: [(&str, char); 4] = [("en", 'a'), ("ko", '라'), ("ja", 'ラ'), ("zh", '拿')];

fn take_cash(
    shop: &Shop,
    drawer: &str,
    kind: CashMovementKind,
    amount: i64,
    approver: Option<&str>,
) -> Command {
    let Command::RecordCashMovement(command) = cash(shop, kind, amount) else {
        panic!("cash moves")
    };
    Command::RecordCashMovement(RecordCashMovement {
        drawer_id: slug(drawer),
        approver_id: approver.map(slug),
        ..command
    })
}

fn cash_sale(drawer: &str) -> Command {
    let paid = DraftTender {
        drawer_id: Some(slug(drawer)),
        ..tender(TenderKind::Cash, 5_000)
    };
    Command::PlaceOrder(Box::new(place(
        new_order(),
        vec![line("latte", 1)],
        &[],
        vec![paid],
    )))
}

fn counting(shop: &Shop, counts: &[(&str, i64)]) -> Command {
    let counts = counts
        .iter()
        .map(|(drawer, counted)| DrawerCount {
            drawer_id: slug(drawer),
            counted: Money::new(*counted),
        })
        .collect();
    Command::CloseBusinessDay(CloseBusinessDay {
        business_date: shop.ledger.state().day.as_ref().unwrap().date,
        manual: Some(ManualClose {
            request_id: request(),
            counts,
            carry_over: CarryOver::All,
        }),
    })
}

impl Shop {
    /// Closes by hand, and takes the clock to the next day.
    async fn close_counting(&mut self, counts: &[(&str, i64)]) -> BusinessDayClosed {
        let answer = self.one(counting(self, counts)).await.unwrap();
        self.clock.advance(SignedDuration::from_hours(24));
        let Some(Event::BusinessDayClosed(closed)) = answer.fact.map(|fact| *fact) else {
            panic!("a close answers with its Z")
        };
        *closed
    }

    async fn last_opening(&self) -> BusinessDayOpened {
        let opened = self.events().await.into_iter().rev().find_map(|event| {
            if let Event::BusinessDayOpened(opened) = event {
                Some(opened)
            } else {
                None
            }
        });
        opened.unwrap()
    }
}

fn drawers(closed: &BusinessDayClosed) -> Vec<DrawerFigures> {
    closed.report.as_ref().unwrap().drawers.clone()
}

/// A menu of items with names of 64 characters in four languages.
fn long_menu(items: usize) -> Arc<Store> {
    let items: String = (0..items)
        .map(|number| {
            let names: Vec<String> = LANGUAGES
                .iter()
                .map(|(language, letter)| {
                    let name: String = std::iter::repeat_n(*letter, 60).collect();
                    format!("{language} = \"{name}{number:04}\"")
                })
                .collect();
            let names = names.join(", ");
            format!("{{ sku = \"item-{number:04}\", name = {{ {names} }}, category = \"fruit\", price = 1500, tax = \"ex\" }},\n")
        })
        .collect();
    let catalog = CATALOG.replacen("items = [", &format!("items = [\n{items}"), 1);
    let stores = catalog::parse(&catalog).unwrap().stores;
    stores.values().next().unwrap().clone()
}

#[tokio::test]
async fn five_thousand_items_with_long_names_are_sold_in_one_day_and_closed() {
    let mut shop = Shop::open().await;
    shop.store = long_menu(5_000);
    for order in 0..50 {
        let lines = (order * 100..(order + 1) * 100)
            .map(|number| line(&format!("item-{number:04}"), 1))
            .collect();
        shop.place(lines, &[], vec![tender(TenderKind::Card, 150_000)])
            .await;
    }
    // The first sale of the next day closes it by itself.
    shop.clock.advance(SignedDuration::from_hours(24));
    shop.place(
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    )
    .await;
    let closes = shop.closes().await;
    let [closed] = closes.as_slice() else {
        panic!("one close")
    };
    let report = closed.report.as_ref().unwrap();
    let items = report.items.as_ref().unwrap();
    assert_eq!(
        (items.rows, items.count, items.net, items.sha256.len()),
        (5_000, 5_000, 7_500_000, 32)
    );
    assert!(closed.encoded_len() < 4_096, "{}", closed.encoded_len());
}

#[tokio::test]
async fn sixty_drawers_are_used_over_three_days() {
    let mut shop = Shop::open().await;
    for day in 0..3 {
        let names: Vec<String> = (0..20)
            .map(|number| format!("drawer-{}", day * 20 + number))
            .collect();
        for name in &names {
            shop.one(cash_sale(name)).await.unwrap();
        }
        let counts: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        let closed = shop.close_counting(&counts).await;
        // Those of the days before hold nothing, and nobody touched them.
        assert_eq!(drawers(&closed).len(), 20, "day {day}");
        assert!(closed.carry_over.unwrap().floats.is_empty());
    }
}

#[tokio::test]
async fn a_count_is_checked_by_the_rule_of_a_sale() {
    let mut shop = Shop::open().await;
    for number in 0..50 {
        let name = format!("drawer-{number}");
        shop.one(cash_sale(&name)).await.unwrap();
    }
    let one_more = [
        cash_sale("drawer-50"),
        take_cash(&shop, "drawer-50", CashMovementKind::Float, 1, None),
        counting(&shop, &[("drawer-50", 0)]),
    ];
    for command in one_more {
        let refused = shop.one(command).await.unwrap_err();
        assert_eq!(refused.reason, Reason::TooManyKinds);
    }
    shop.one(cash_sale("drawer-49")).await.unwrap();
    // They hold cash, so they stay; those that are counted as empty leave.
    let closed = shop
        .close_counting(&[("drawer-0", 0), ("drawer-1", 4_000)])
        .await;
    let floats = closed.carry_over.unwrap().floats;
    assert_eq!(floats.len(), 49);
    assert!(
        floats
            .iter()
            .any(|float| (float.drawer_id.as_str(), float.amount) == ("drawer-1", 4_000))
    );
    shop.one(cash_sale("drawer-50")).await.unwrap();
}

#[tokio::test]
async fn cash_that_is_missing_at_an_opening_is_a_figure() {
    let mut shop = Shop::open().await;
    shop.one(cash_sale("main")).await.unwrap();
    shop.one(cash_sale("side")).await.unwrap();
    let closed = shop.close_counting(&[("main", 5_000)]).await;
    assert!(
        drawers(&closed)
            .iter()
            .all(|drawer| (drawer.carried, drawer.opening_difference) == (0, None))
    );
    // 300 have gone overnight; nobody looks into the side drawer.
    let counted = take_cash(&shop, "main", CashMovementKind::Float, 4_700, None);
    shop.one(counted).await.unwrap();
    let closed = shop
        .close_counting(&[("main", 4_700), ("side", 5_000)])
        .await;
    let figures: Vec<_> = drawers(&closed)
        .iter()
        .map(|drawer| {
            (
                drawer.carried,
                drawer.opening_difference,
                drawer.float,
                drawer.over_short,
            )
        })
        .collect();
    assert_eq!(
        figures,
        [
            (5_000, Some(-300), 4_700, Some(0)),
            (5_000, None, 5_000, Some(0))
        ]
    );
}

#[tokio::test]
async fn no_more_than_a_drawer_should_hold_leaves_it_without_an_approver() {
    let mut shop = Shop::open().await;
    let sale = cash_sale("main");
    let order_id = sale.new_order().unwrap();
    shop.one(sale).await.unwrap();
    let paid_out = |shop: &Shop, amount, approver| {
        take_cash(shop, "main", CashMovementKind::PaidOut, amount, approver)
    };
    let refused = shop.one(paid_out(&shop, 5_001, None)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DrawerOverdrawn);
    shop.one(paid_out(&shop, 1_000, None)).await.unwrap();
    // What it should hold is short of the refund by now.
    let refused = shop.one(cancel(order_id)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DrawerOverdrawn);
    let tender_id = slug("t-1");
    let approved = |drawer: Option<&str>, approver: Option<&str>| {
        Command::CancelOrder(CancelOrder {
            order_id,
            request_id: request(),
            approver_id: approver.map(slug),
            reason_code: slug("changed-mind"),
            tenders: vec![RequestedReturn {
                tender_id: tender_id.clone(),
                amount: Money::new(5_000),
                drawer_id: drawer.map(slug),
                external_reference: String::new(),
            }],
        })
    };
    let refused = shop.one(approved(Some("other"), None)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DrawerOverdrawn);
    let cancelled = shop.one(approved(None, Some("chief"))).await;
    let flags = order(&cancelled).cancellation.unwrap().flags;
    assert_eq!(flags, ["DRAWER_OVERDRAWN"]);
    let flagged = shop
        .one(paid_out(&shop, 195_500, Some("chief")))
        .await
        .unwrap();
    assert!(
        matches!(flagged.fact.as_deref(), Some(Event::CashMoved(moved)) if moved.flags == ["DRAWER_OVERDRAWN"])
    );
    // 5,000 in, 1,000, 5,000 and 195,500 out: over by what cannot have been in it, and no float is below nothing.
    shop.clock.advance(SignedDuration::from_hours(24));
    shop.place(
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    )
    .await;
    let closes = shop.closes().await;
    let drawer = &drawers(&closes[0])[0];
    assert_eq!(
        (drawer.expected, drawer.counted, drawer.over_short),
        (-196_500, None, Some(196_500))
    );
    assert!(shop.last_opening().await.floats.is_empty());
}

/// The till's order is not at fault where the store's own settings leave no room.
#[tokio::test]
async fn a_day_that_cannot_turn_is_no_mistake_of_the_order() {
    let mut shop = Shop::open().await;
    shop.one(americano(new_order())).await.unwrap();
    shop.clock.advance(SignedDuration::from_hours(24));
    let store = Store {
        legal_entity: "x".repeat(MAX_PAYLOAD_BYTES),
        ..(*shop.store).clone()
    };
    shop.store = Arc::new(store);
    let refused = shop.one(americano(new_order())).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Internal);
}

#[tokio::test]
async fn a_ledger_sells_in_its_own_currency_alone() {
    let mut shop = Shop::open().await;
    shop.one(americano(new_order())).await.unwrap();
    let before = shop.events().await.len();
    let won = shop.store.clone();
    Arc::make_mut(&mut shop.store).currency = Currency::new("GBP").unwrap();
    // Within the open day and on the next, of which nothing is opened either.
    for _ in 0..2 {
        let refused = shop.one(americano(new_order())).await.unwrap_err();
        assert_eq!(refused.reason, Reason::CurrencyChanged);
        shop.clock.advance(SignedDuration::from_hours(24));
    }
    assert_eq!(shop.events().await.len(), before);
    shop.store = won;
    shop.one(americano(new_order())).await.unwrap();
    assert!(shop.events().await.len() > before);
}
