//! What a till wants to sell, be it for a quote or for an order.

use std::fmt::Arguments;

use contract::Reason;
use contract::api::{ordering as api, types};
use contract::card::{CardDigest, CardKeys};
use contract::event::{Channel, Pricing, ServiceMode};

use super::fields::{TillFields, is_repeated};
use super::membership::Presented;
use crate::catalog::{DiscountValue, MAX_UNIT_PRICE_MINOR};
use crate::domain::{Draft, DraftLine, DraftOption, ManualDiscount, MemberKey, TillItem};

pub const MAX_LINES: usize = 200;
pub const MAX_QUANTITY: i32 = 999;
const MAX_OPTIONS: usize = 20;
const MAX_DISCOUNTS: usize = 10;
const MAX_PROMOTION_CODES: usize = 10;
const MAX_LANGUAGES: usize = 8;

/// A draft, and what the till presented for the membership check.
pub struct Asked {
    pub draft: Draft,
    pub presented: Option<Presented>,
}

/// Reads a draft.
pub fn draft(
    fields: &mut TillFields,
    draft: Option<&api::OrderDraft>,
    keys: &CardKeys,
) -> Option<Asked> {
    fields.require("draft", draft.is_some());
    let draft = draft?;
    let store_id = fields.store_id("draft.store_id", &draft.store_id);
    let pricing = fields.chosen("draft.pricing", draft.pricing, &types::Pricing::Unspecified);
    let pricing = match pricing {
        Some(types::Pricing::Till) => Pricing::Till,
        Some(types::Pricing::Server | types::Pricing::Unspecified) | None => Pricing::Server,
    };
    let channel = fields
        .chosen("draft.channel", draft.channel, &Channel::Unspecified)
        .unwrap_or(Channel::Counter);
    let service_mode = fields
        .chosen(
            "draft.service_mode",
            draft.service_mode,
            &ServiceMode::Unspecified,
        )
        .unwrap_or(ServiceMode::EatIn);
    if draft.lines.is_empty() {
        fields.note("draft.lines", "an order has at least one line");
    }
    if draft.lines.len() > MAX_LINES {
        let description = format!("at most {MAX_LINES}, not {}", draft.lines.len());
        fields.refuse(Reason::TooManyLines, "draft.lines", description);
        return None;
    }
    if draft.terminal_seq < 0 {
        fields.note("draft.terminal_seq", "is negative");
    }
    let terminal_id = fields.slug("draft.terminal_id", &draft.terminal_id);
    let staff_id = fields.optional_slug("draft.staff_id", &draft.staff_id);
    let lines: Vec<DraftLine> = draft
        .lines
        .iter()
        .enumerate()
        .filter_map(|(index, own)| line(fields, format_args!("draft.lines[{index}]"), own, pricing))
        .collect();
    for index in 0..draft.lines.len() {
        if is_repeated(&draft.lines, index, |line| &line.line_id) {
            fields.note(
                format_args!("draft.lines[{index}].line_id"),
                "is not unique",
            );
        }
    }
    let order_discounts = discounts(
        fields,
        format_args!("draft.order_discounts"),
        &draft.order_discounts,
    );
    fields.at_most(
        "draft.promotion_codes",
        draft.promotion_codes.len(),
        MAX_PROMOTION_CODES,
    );
    let promotion_codes = draft
        .promotion_codes
        .iter()
        .take(MAX_PROMOTION_CODES)
        .enumerate()
        .filter_map(|(index, code)| {
            fields.slug(format_args!("draft.promotion_codes[{index}]"), code)
        })
        .collect();
    let presented = draft
        .member
        .as_ref()
        .and_then(|member| presented(fields, member, keys));
    let draft = Draft {
        store_id: store_id?,
        terminal_id: terminal_id?,
        terminal_seq: draft.terminal_seq,
        staff_id,
        channel,
        service_mode,
        lines,
        order_discounts,
        promotion_codes,
        member: presented.as_ref().map(|presented| presented.key.clone()),
        pricing,
    };
    Some(Asked { draft, presented })
}

fn presented(
    fields: &mut TillFields,
    member: &api::order_draft::Member,
    keys: &CardKeys,
) -> Option<Presented> {
    match member {
        api::order_draft::Member::MemberId(id) => fields
            .member_id("draft.member_id", id)
            .map(|id| MemberKey::MemberId(id).into()),
        api::order_draft::Member::CardToken(token) => {
            let digest = fields.take("draft.card_token", CardDigest::of_token(token))?;
            let key = MemberKey::Card(keys.hashes(digest));
            Some(Presented {
                key,
                card_token: Some(token.clone()),
            })
        }
    }
}

fn line(
    fields: &mut TillFields,
    field: Arguments<'_>,
    line: &api::DraftLine,
    pricing: Pricing,
) -> Option<DraftLine> {
    if !(1..=MAX_QUANTITY).contains(&line.quantity) {
        fields.note(
            format_args!("{field}.quantity"),
            format_args!("1 to {MAX_QUANTITY}, not {}", line.quantity),
        );
    }
    fields.at_most(
        format_args!("{field}.options"),
        line.options.len(),
        MAX_OPTIONS,
    );
    let options = line
        .options
        .iter()
        .take(MAX_OPTIONS)
        .enumerate()
        .filter_map(|(index, option)| {
            let field = format_args!("{field}.options[{index}]");
            if !(0..=MAX_QUANTITY).contains(&option.quantity) {
                fields.note(
                    format_args!("{field}.quantity"),
                    format_args!("0 to {MAX_QUANTITY}"),
                );
            }
            Some(DraftOption {
                option_id: fields.slug(format_args!("{field}.option_id"), &option.option_id)?,
                quantity: option.quantity.max(1),
            })
        })
        .collect();
    let price_field = format_args!("{field}.till_unit_price");
    let till_unit_price = fields.optional_amount(price_field, line.till_unit_price.as_ref());
    match (pricing, &line.till_unit_price) {
        (Pricing::Till, None) => fields.note(price_field, "is required with PRICING_TILL"),
        (Pricing::Till, Some(_)) | (_, None) => {}
        (_, Some(_)) => fields.note(price_field, "is only for PRICING_TILL"),
    }
    if pricing != Pricing::Till && line.till_item.is_some() {
        fields.note(
            format_args!("{field}.till_item"),
            "is only for PRICING_TILL",
        );
    }
    let till_item = line
        .till_item
        .as_ref()
        .map(|item| till_item(fields, format_args!("{field}.till_item"), item));
    if till_unit_price.is_some_and(|price| price.minor() > MAX_UNIT_PRICE_MINOR) {
        let description = format!("at most {MAX_UNIT_PRICE_MINOR} minor units");
        fields.refuse(Reason::AmountOutOfRange, price_field, description);
    }
    let service_mode = fields.chosen(
        format_args!("{field}.service_mode"),
        line.service_mode,
        &ServiceMode::Unspecified,
    );
    let discounts = discounts(fields, format_args!("{field}.discounts"), &line.discounts);
    let line_id = fields.slug(format_args!("{field}.line_id"), &line.line_id);
    let sku = fields.slug(format_args!("{field}.sku"), &line.sku);
    Some(DraftLine {
        line_id: line_id?,
        sku: sku?,
        quantity: line.quantity,
        options,
        service_mode,
        discounts,
        till_unit_price,
        till_item,
    })
}

/// What a till itself knows of an item.
fn till_item(fields: &mut TillFields, field: Arguments<'_>, item: &api::TillItem) -> TillItem {
    let name = item.name.clone().unwrap_or_default().text;
    fields.at_most(format_args!("{field}.name"), name.len(), MAX_LANGUAGES);
    for (language, name) in name.iter().take(MAX_LANGUAGES) {
        fields.name(format_args!("{field}.name[{language:?}]"), language, name);
    }
    TillItem {
        name,
        category: fields.optional_slug(format_args!("{field}.category"), &item.category),
        tax_class: fields.optional_slug(format_args!("{field}.tax_class"), &item.tax_class),
    }
}

fn discounts(
    fields: &mut TillFields,
    field: Arguments<'_>,
    discounts: &[api::ManualDiscount],
) -> Vec<ManualDiscount> {
    fields.at_most(field, discounts.len(), MAX_DISCOUNTS);
    let mut parsed = Vec::with_capacity(discounts.len());
    for (index, discount) in discounts.iter().take(MAX_DISCOUNTS).enumerate() {
        let field = format_args!("{field}[{index}]");
        let value = match &discount.value {
            Some(api::manual_discount::Value::PercentBp(percent_bp))
                if (1..=10_000).contains(percent_bp) =>
            {
                Some(DiscountValue::Percent(*percent_bp))
            }
            Some(api::manual_discount::Value::PercentBp(_)) => {
                fields.note(
                    format_args!("{field}.percent_bp"),
                    "1 to 10000 basis points",
                );
                None
            }
            Some(api::manual_discount::Value::Amount(amount)) => fields
                .amount(format_args!("{field}.amount"), amount)
                .map(DiscountValue::Fixed),
            None => {
                fields.note(field, "give percent_bp or amount");
                None
            }
        };
        let discount_id = fields.slug(format_args!("{field}.discount_id"), &discount.discount_id);
        let reason_code = fields.slug(format_args!("{field}.reason_code"), &discount.reason_code);
        let approver_id = fields.slug(format_args!("{field}.approver_id"), &discount.approver_id);
        if let (Some(discount_id), Some(value), Some(reason_code), Some(approver_id)) =
            (discount_id, value, reason_code, approver_id)
        {
            parsed.push(ManualDiscount {
                discount_id,
                value,
                reason_code,
                approver_id,
            });
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use contract::Money;

    use super::*;
    use crate::domain::fixture;

    #[test]
    fn what_a_till_says_of_an_item_is_checked() {
        let store = fixture::shop("");
        let wrong = |pricing: types::Pricing, item: api::TillItem| -> Vec<String> {
            let line = api::DraftLine {
                line_id: "l1".into(),
                sku: "tea".into(),
                quantity: 1,
                till_unit_price: (pricing == types::Pricing::Till)
                    .then(|| store.currency.amount(Money::new(1))),
                till_item: Some(item),
                ..api::DraftLine::default()
            };
            let request = api::OrderDraft {
                store_id: "seoul".into(),
                terminal_id: "till-1".into(),
                pricing: pricing.into(),
                lines: vec![line],
                ..api::OrderDraft::default()
            };
            let read =
                TillFields::read(|fields| draft(fields, Some(&request), &fixture::card_keys()));
            let violations = read.err().map(|refusal| refusal.violations);
            let fields = violations.into_iter().flatten();
            fields.map(|violation| violation.field).collect()
        };
        let named = |language: &str, name: &str| api::TillItem {
            name: Some(types::LocalizedText {
                text: [(language.to_owned(), name.to_owned())].into(),
            }),
            category: "tea".into(),
            tax_class: "std".into(),
        };
        let till = types::Pricing::Till;
        let none = Vec::<String>::new();
        assert_eq!(wrong(till, named("ko", "유자차")), none);
        assert_eq!(wrong(till, api::TillItem::default()), none);
        assert_eq!(
            wrong(types::Pricing::Server, named("ko", "유자차")),
            ["draft.lines[0].till_item"]
        );
        for (language, name) in [
            ("ko", ""),
            ("ko", "tea\u{1b}[31m"),
            ("ko", "a\u{202e}b"),
            ("ko", "4111 1111 1111 1111"),
            ("", "tea"),
            ("k o", "tea"),
        ] {
            assert_eq!(wrong(till, named(language, name)).len(), 1, "{name:?}");
        }
        let shouted = api::TillItem {
            category: "Tea".into(),
            tax_class: "STD".into(),
            ..api::TillItem::default()
        };
        assert_eq!(
            wrong(till, shouted),
            [
                "draft.lines[0].till_item.category",
                "draft.lines[0].till_item.tax_class"
            ]
        );
    }
}
