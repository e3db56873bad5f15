//! A shop for the tests of the rules, and what its tills send.

use std::sync::Arc;

use contract::event::{Channel, Pricing, ServiceMode, TenderKind, event::Event};
use contract::{Money, OrderId, Slug, StoreId};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::business_day::{self, Moment};
use super::command::{
    Draft, DraftLine, DraftOption, DraftTender, ManualDiscount, PlaceOrder, TillItem,
};
use super::{EventMeta, StoreState, place_order};
use crate::catalog::{self, DiscountValue, Store};

/// Sells in won, floors percentages to 10 won. `promotions`: lines of TOML.
pub fn shop(promotions: &str) -> Arc<Store> {
    shop_with_step(10, promotions)
}

pub fn shop_with_step(discount_step: i64, promotions: &str) -> Arc<Store> {
    let text = format!(
        r#"
        [[tax_classes]]
        id = "ex"
        kind = "exempt"
        [[tax_classes]]
        id = "std"
        kind = "standard"
        rates = [{{ from = "1977-07-01", rate_bp = 1000 }}, {{ from = "2027-01-01", rate_bp = 1200 }}]
        [[tax_classes]]
        id = "red"
        kind = "reduced"
        rates = [{{ from = "1977-07-01", rate_bp = 500 }}]
        [[menus]]
        id = "cafe"
        currency = "KRW"
        categories = [{{ id = "coffee", name = {{ en = "Coffee" }} }}, {{ id = "food", name = {{ en = "Food" }} }}]
        options = [
            {{ id = "shot", name = {{ en = "Shot" }}, price_delta = 500, max_quantity = 2 }},
            {{ id = "small", name = {{ en = "Small" }}, price_delta = -300 }},
        ]
        items = [
            {{ sku = "americano", name = {{ en = "Americano" }}, category = "coffee", price = 4500, options = ["shot", "small"], tax = "std" }},
            {{ sku = "latte", name = {{ en = "Latte" }}, category = "coffee", price = 5000, tax = "std" }},
            {{ sku = "banana", name = {{ en = "Banana" }}, category = "food", price = 1500, tax = "ex" }},
            {{ sku = "sandwich", name = {{ en = "Sandwich" }}, category = "food", price = 7000, tax = {{ eat_in = "std", take_away = "red" }} }},
            {{ sku = "candy", name = {{ en = "Candy" }}, category = "food", price = 333, tax = "std" }},
            {{ sku = "cake", name = {{ en = "Cake" }}, category = "food", price = 6500, tax = "std", sold_out = true }},
        ]
        promotions = [{promotions}]
        [[stores]]
        id = "seoul"
        name = {{ en = "Seoul" }}
        menu = "cafe"
        time_zone = "Asia/Seoul"
        currency = "KRW"
        discount_step = {discount_step}
        "#
    );
    catalog::parse(&text).unwrap().stores[&StoreId::new("seoul").unwrap()].clone()
}

/// A morning in Seoul, at the first of the two rates.
pub fn morning() -> Timestamp {
    "2026-03-02T10:00:00+09:00".parse().unwrap()
}

/// The circumstances of a decision in this minute of the morning.
pub fn moment(minute: i64) -> Moment {
    let at = morning() + SignedDuration::from_mins(minute);
    Moment {
        at,
        latest: at,
        doubt: None,
        last_revision: 0,
        last_hash: [0; 32],
        new_ledger_id: Uuid::nil(),
        client_time: Some(at),
    }
}

/// What has happened by then.
pub fn given(state: &mut StoreState, events: &[Event], moment: &Moment) {
    for event in events {
        let meta = EventMeta {
            revision: 1,
            index: 0,
            recorded_at: moment.at,
            terminal_id: "",
            staff_id: "",
            request_id: None,
        };
        state.evolve(event, &meta).unwrap();
    }
}

/// A store whose day is open.
pub fn opened() -> StoreState {
    let mut state = StoreState::default();
    next_day(&mut state, &moment(0));
    state
}

/// The day of this moment is opened, after the one before it was closed.
pub fn next_day(state: &mut StoreState, moment: &Moment) {
    let events = business_day::prepare(state, &shop(""), moment).unwrap();
    given(state, &events, moment);
}

/// An order is taken on the open day.
pub fn placed(state: &mut StoreState, command: &PlaceOrder, store: &Store) {
    let moment = moment(0);
    let events = place_order::decide(state, command, store, &moment).unwrap();
    given(state, &events, &moment);
}

pub fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

/// An order id of this minute of the morning.
pub fn order_id(minute: i64) -> OrderId {
    let millis = u64::try_from(morning().as_millisecond() + minute * 60_000).unwrap();
    OrderId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid())
}

pub fn request_id(number: u8) -> contract::RequestId {
    let id = uuid::Builder::from_unix_timestamp_millis(1_772_413_200_000, &[number; 10]);
    contract::RequestId::from_uuid(id.into_uuid())
}

pub fn line(sku: &str, quantity: i32) -> DraftLine {
    DraftLine {
        line_id: slug(&format!("l-{sku}")),
        sku: slug(sku),
        quantity,
        options: Vec::new(),
        service_mode: None,
        discounts: Vec::new(),
        till_unit_price: None,
        till_item: None,
    }
}

/// A line that a till has sold at a price of its own.
pub fn sold(sku: &str, quantity: i32, unit_price: i64) -> DraftLine {
    DraftLine {
        till_unit_price: Some(Money::new(unit_price)),
        ..line(sku, quantity)
    }
}

pub fn option(id: &str, quantity: i32) -> DraftOption {
    DraftOption {
        option_id: slug(id),
        quantity,
    }
}

pub fn till_item(name: &str, category: &str, tax_class: &str) -> TillItem {
    TillItem {
        name: [("ko".to_owned(), name.to_owned())].into(),
        category: Some(slug(category)),
        tax_class: Some(slug(tax_class)),
    }
}

pub fn draft(lines: Vec<DraftLine>) -> Draft {
    Draft {
        store_id: StoreId::new("seoul").unwrap(),
        terminal_id: slug("till-1"),
        terminal_seq: 7,
        staff_id: Some(slug("s1")),
        channel: Channel::Counter,
        service_mode: ServiceMode::EatIn,
        lines,
        order_discounts: Vec::new(),
        promotion_codes: Vec::new(),
        member: None,
        pricing: Pricing::Server,
    }
}

/// A sale that has happened.
pub fn till_draft(lines: Vec<DraftLine>) -> Draft {
    Draft {
        pricing: Pricing::Till,
        ..draft(lines)
    }
}

pub fn percent(id: &str, percent_bp: u32) -> ManualDiscount {
    discount(id, DiscountValue::Percent(percent_bp))
}

pub fn off(id: &str, amount: i64) -> ManualDiscount {
    discount(id, DiscountValue::Fixed(Money::new(amount)))
}

fn discount(id: &str, value: DiscountValue) -> ManualDiscount {
    ManualDiscount {
        discount_id: slug(id),
        value,
        reason_code: slug("goodwill"),
        approver_id: slug("boss"),
    }
}

/// What was handed over, and nothing else stated.
pub fn tender(id: &str, kind: TenderKind, tendered: i64) -> DraftTender {
    DraftTender {
        tender_id: slug(id),
        kind,
        scheme: String::new(),
        amount: None,
        tendered: Some(Money::new(tendered)),
        change: None,
        external_reference: String::new(),
        drawer_id: None,
    }
}

pub fn place(draft: Draft, tenders: Vec<DraftTender>) -> PlaceOrder {
    PlaceOrder {
        order_id: order_id(0),
        draft,
        tenders,
        expected_total: None,
        membership: None,
        quoted: None,
    }
}

pub fn uuid(number: u8) -> Uuid {
    request_id(number).uuid()
}

/// Keys of card hashes.
pub fn card_keys() -> contract::card::CardKeys {
    contract::card::CardKeys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}
