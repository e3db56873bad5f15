//! Requests that say the same have the same content, however they are written; requests that say something else have not.

use contract::api::{ordering as api, types};
use contract::{Money, StoreId};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;

use super::commands::{CommandRequest as _, Desk};
use super::fields::TillFields;
use super::quote::QuoteKey;
use crate::domain::ContentHash;
use crate::domain::fixture::{card_keys, order_id, shop, uuid};

fn money(minor: i64) -> Option<types::Money> {
    Some(shop("").currency.amount(Money::new(minor)))
}

/// The content of a request, after its way over the wire.
fn content(request: &api::PlaceOrderRequest) -> ContentHash {
    let bytes = request.encode_to_vec();
    let request = api::PlaceOrderRequest::decode(bytes.as_slice()).unwrap();
    let desk = Desk {
        card_keys: &card_keys(),
        quotes: &QuoteKey::new(Vec::new()),
        now: Timestamp::UNIX_EPOCH,
    };
    let wanted = TillFields::read(|fields| request.read(fields, &desk)).unwrap();
    assert_eq!(wanted.value.store_id, StoreId::new("seoul").unwrap());
    ContentHash::of(&wanted.value.command).unwrap()
}

prop_compose! {
    fn any_line()(
        sku in "[a-z]{1,8}",
        quantity in 1_i32..=999,
        options in prop::collection::btree_map("[a-z]{1,8}", 1_i32..5, 0..4),
        mode in 0_i32..=2,
        discount in prop::option::of(1_u32..=10_000),
        price in 0_i64..100_000,
    ) -> api::DraftLine {
        let option = |(option_id, quantity)| api::DraftOption { option_id, quantity };
        api::DraftLine {
            sku,
            quantity,
            options: options.into_iter().map(option).collect(),
            service_mode: mode,
            discounts: discount.map(|bp| discount_of(api::manual_discount::Value::PercentBp(bp))).into_iter().collect(),
            till_unit_price: money(price),
            ..api::DraftLine::default()
        }
    }
}

fn discount_of(value: api::manual_discount::Value) -> api::ManualDiscount {
    api::ManualDiscount {
        discount_id: "d".into(),
        value: Some(value),
        reason_code: "r".into(),
        approver_id: "a".into(),
    }
}

prop_compose! {
    /// Requests with every default left out that can be.
    fn any_request()(
        lines in prop::collection::vec(any_line(), 1..5),
        mode in prop_oneof![Just(0_i32), Just(2)],
        channel in prop_oneof![Just(0_i32), Just(2)],
        at_till in any::<bool>(),
        tenders in prop::collection::vec((2_i32..=5, 1_i64..100_000), 0..3),
        cash in prop::option::of(1_i64..100_000),
        member in any::<bool>(),
    ) -> api::PlaceOrderRequest {
        let cash = cash.map(|tendered| (1, tendered));
        let tenders = tenders.into_iter().chain(cash).enumerate().map(|(index, (kind, tendered))| api::Tender {
            tender_id: format!("t{index}"),
            kind,
            tendered: money(tendered),
            ..api::Tender::default()
        });
        let lines = lines.into_iter().enumerate().map(|(index, mut line)| {
            line.line_id = format!("l{index}");
            line.till_unit_price = line.till_unit_price.filter(|_| at_till);
            line
        });
        let draft = api::OrderDraft {
            store_id: "seoul".into(),
            terminal_id: "till-1".into(),
            channel,
            service_mode: mode,
            lines: lines.collect(),
            member: member.then(|| api::order_draft::Member::MemberId(uuid(3).to_string())),
            pricing: if at_till { types::Pricing::Till.into() } else { 0 },
            ..api::OrderDraft::default()
        };
        api::PlaceOrderRequest {
            order_id: order_id(0).to_string(),
            draft: Some(draft),
            tenders: tenders.collect(),
            client_time: Some(prost_types::Timestamp::default()),
            ..api::PlaceOrderRequest::default()
        }
    }
}

/// Ways to write the same otherwise; each is a bit of the choice.
fn rewrite(request: &mut api::PlaceOrderRequest, choice: u32) {
    let mut bit = 0;
    let mut chosen = || {
        bit += 1;
        choice & (1 << (bit - 1)) != 0
    };
    if chosen() {
        request.order_id = request.order_id.to_uppercase();
    }
    if chosen() {
        request.expected_total = money(1);
    }
    if chosen() {
        request.quote_token = "a-quote".into();
        request.client_time = Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        });
    }
    let (modes, options, discounts) = (chosen(), chosen(), chosen());
    let (others, defaults) = (chosen(), chosen());
    if let Some(draft) = &mut request.draft {
        if others && let Some(api::order_draft::Member::MemberId(id)) = &mut draft.member {
            *id = id.to_uppercase();
        }
        if defaults {
            draft.channel = draft.channel.max(1);
            draft.pricing = draft.pricing.max(1);
            draft.service_mode = draft.service_mode.max(1);
        }
        if discounts {
            let nothing = api::manual_discount::Value::Amount(money(0).unwrap_or_default());
            draft.order_discounts.push(discount_of(nothing));
        }
        let mode = draft.service_mode.max(1);
        for line in &mut draft.lines {
            if modes && line.service_mode == 0 {
                line.service_mode = mode;
            } else if modes && line.service_mode == mode {
                line.service_mode = 0;
            }
            if options {
                line.options.reverse();
                for option in &mut line.options {
                    option.quantity = match option.quantity {
                        1 => 0,
                        quantity => quantity,
                    };
                }
            }
            if discounts {
                let nothing = api::manual_discount::Value::Amount(money(0).unwrap_or_default());
                line.discounts.push(discount_of(nothing));
            }
        }
    }
    let (amounts, changes, drawers) = (chosen(), chosen(), chosen());
    for tender in &mut request.tenders {
        let is_cash = tender.kind() == types::TenderKind::Cash;
        let tendered = tender
            .tendered
            .as_ref()
            .map_or(0, |money| money.amount_minor);
        match (amounts, is_cash) {
            (true, false) => {
                tender.amount = tender.tendered.take();
            }
            // As if something were given back.
            (true, true) => {
                tender.amount = money(tendered - tendered / 3);
                tender.change = money(tendered / 3);
            }
            (false, _) => {}
        }
        if changes && !is_cash {
            tender.change = money(0);
        }
        if drawers {
            tender.drawer_id = if is_cash { "main" } else { "any" }.into();
        }
    }
}

/// Something else is wanted.
fn change(request: &mut api::PlaceOrderRequest, what: usize, which: Index) {
    let tenders = request.tenders.len();
    if let Some(tender) = (what == 0 && tenders > 0).then(|| which.get(&request.tenders).clone()) {
        let index = which.index(tenders);
        let amount = tender
            .tendered
            .or(tender.amount)
            .map_or(0, |money| money.amount_minor);
        let kind = tender.kind;
        request.tenders[index] = api::Tender {
            tender_id: tender.tender_id,
            kind,
            tendered: money(amount + 1),
            ..api::Tender::default()
        };
        return;
    }
    let Some(draft) = &mut request.draft else {
        return;
    };
    let mode = draft.service_mode.max(1);
    let index = which.index(draft.lines.len());
    let line = &mut draft.lines[index];
    match what {
        1 => line.quantity = line.quantity % 999 + 1,
        2 => line.sku.push('x'),
        3 => {
            let own = if line.service_mode == 0 {
                mode
            } else {
                line.service_mode
            };
            line.service_mode = 3 - own;
        }
        4 => line.options.push(api::DraftOption {
            option_id: "one-more".into(),
            quantity: 0,
        }),
        5 => line
            .discounts
            .insert(0, discount_of(api::manual_discount::Value::PercentBp(17))),
        6 => draft.promotion_codes.push("code".into()),
        7 => draft.channel = 5 - draft.channel.max(1),
        8 => draft.staff_id = "somebody".into(),
        9 => draft.member = Some(api::order_draft::Member::MemberId(uuid(9).to_string())),
        10 => draft.terminal_seq += 1,
        _ => draft.terminal_id.push('x'),
    }
}

proptest! {
    #[test]
    fn the_same_written_otherwise_has_the_same_content(request in any_request(), choice in any::<u32>()) {
        let mut other = request.clone();
        rewrite(&mut other, choice);
        prop_assert_eq!(content(&request), content(&other), "{:?}\n{:?}", request, other);
    }

    #[test]
    fn something_else_has_another_content(request in any_request(), what in 0_usize..12, which in any::<Index>(), choice in any::<u32>()) {
        let mut other = request.clone();
        change(&mut other, what, which);
        // Whatever the way that it is written in.
        rewrite(&mut other, choice);
        prop_assert_ne!(content(&request), content(&other), "{:?}\n{:?}", request, other);
    }
}
