//! From requests to commands. Everything malformed in a request is reported at once.

use contract::api::{ordering as api, types};
use contract::card::{CardDigest, CardKeys};
use contract::event::{CashMovementKind, Channel, Pricing, ServiceMode, TenderKind};
use contract::text::{first_deceptive, is_card_number};
use contract::{
    BusinessDate, Currency, Money, OrderId, Reason, Rejection, RequestId, Slug, StoreId, Violation,
    timestamp_from_proto,
};
use jiff::Timestamp;
use runtime::TraceContext;
use uuid::Uuid;

use super::membership::Presented;
use crate::catalog::{DiscountValue, MAX_UNIT_PRICE_MINOR};
use crate::domain::MAX_AMOUNT_MINOR;
use crate::domain::{
    Actor, CarryOver, Draft, DraftLine, DraftOption, DraftTender, ManualDiscount, MemberKey,
    RequestedReturn, TillItem,
};
use crate::ledger::Stated;

const MAX_LINES: usize = 200;
const MAX_QUANTITY: i32 = 999;
const MAX_OPTIONS: usize = 20;
const MAX_DISCOUNTS: usize = 10;
const MAX_TENDERS: usize = 20;
const MAX_DRAWERS: usize = 50;
const MAX_CARRIED: usize = 2_000;
const MAX_PROMOTION_CODES: usize = 10;
const MAX_REFERENCE_BYTES: usize = 64;
const MAX_LANGUAGES: usize = 8;
const MAX_LANGUAGE_BYTES: usize = 35;
const MAX_NAME_BYTES: usize = 200;

/// Gathers what is wrong with a request.
#[derive(Default)]
pub struct Check {
    violations: Vec<Violation>,
    /// The first problem that has a reason of its own.
    special: Option<Rejection>,
    /// The currency of the request's amounts.
    stated: Option<Stated>,
}

impl Check {
    /// Refuses what is malformed. What remains is a currency that the ledger may not be in: told once it is known that the command is
    /// not recorded.
    pub fn finish(self) -> Result<Option<Stated>, Rejection> {
        // Malformed fields first: what depends on them is told once they are right.
        match (Rejection::invalid(self.violations), self.special) {
            (Some(rejection), _) | (None, Some(rejection)) => Err(rejection),
            (None, None) => Ok(self.stated),
        }
    }

    fn note(&mut self, field: impl Into<String>, description: impl std::fmt::Display) {
        self.violations.push(Violation {
            field: field.into(),
            description: description.to_string(),
        });
    }

    /// The one reader of ids and codes: what a till sends is for ever in the log, so a card's number is refused in any of them.
    pub fn slug(&mut self, field: &str, text: &str) -> Option<Slug> {
        self.no_card_number(field, text);
        Slug::new(text)
            .map_err(|error| self.note(field, error))
            .ok()
    }

    pub fn optional_slug(&mut self, field: &str, text: &str) -> Option<Slug> {
        if text.is_empty() {
            None
        } else {
            self.slug(field, text)
        }
    }

    pub fn order_id(&mut self, text: &str) -> Option<OrderId> {
        OrderId::parse(text)
            .map_err(|error| self.note("order_id", error))
            .ok()
    }

    pub fn request_id(&mut self, text: &str) -> Option<RequestId> {
        RequestId::parse(text)
            .map_err(|error| self.note("request_id", error))
            .ok()
    }

    pub fn member_id(&mut self, field: &str, text: &str) -> Option<Uuid> {
        RequestId::parse(text)
            .map(RequestId::uuid)
            .map_err(|error| self.note(field, error))
            .ok()
    }

    fn at_most(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            self.note(field, format_args!("at most {most}, not {count}"));
        }
    }

    /// An amount that is not negative, in the currency that all of the request's amounts are in.
    fn amount(&mut self, field: &str, money: &types::Money) -> Option<Money> {
        let other = match (Currency::new(&money.currency_code), &self.stated) {
            (Ok(currency), None) => {
                let field = field.to_owned();
                self.stated = Some(Stated { field, currency });
                None
            }
            (Ok(currency), Some(stated)) if stated.currency == currency => None,
            (_, Some(stated)) => Some(format!("other amounts are in {}", stated.currency)),
            (Err(error), None) => Some(error.to_string()),
        };
        if let Some(description) = other {
            self.special
                .get_or_insert_with(|| Rejection::field(Reason::WrongCurrency, field, description));
            return None;
        }
        if money.amount_minor > MAX_AMOUNT_MINOR {
            let description = format!("at most {MAX_AMOUNT_MINOR} minor units");
            self.special.get_or_insert_with(|| {
                Rejection::field(Reason::AmountOutOfRange, field, description)
            });
            return None;
        }
        Money::non_negative(money.amount_minor)
            .map_err(|error| self.note(field, error))
            .ok()
    }

    fn optional_amount(&mut self, field: &str, money: Option<&types::Money>) -> Option<Money> {
        money.and_then(|money| self.amount(field, money))
    }

    fn time(&mut self, field: &str, time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
        let time = time?;
        let instant = timestamp_from_proto(time);
        if instant.is_none() {
            self.note(field, "is not a legal timestamp");
        }
        instant
    }

    /// A name in one language, as a catalog has them.
    fn name(&mut self, field: &str, language: &str, name: &str) {
        let is_tag = (1..=MAX_LANGUAGE_BYTES).contains(&language.len())
            && language
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_tag {
            self.note(field, "a name's language is a BCP 47 tag");
        }
        if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || first_deceptive(name).is_some()
        {
            self.note(
                field,
                format_args!(
                    "a name has 1 to {MAX_NAME_BYTES} bytes, without control or direction characters"
                ),
            );
        }
        self.no_card_number(field, name);
    }

    fn reference(&mut self, field: &str, text: &str) {
        if text.len() > MAX_REFERENCE_BYTES
            || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        {
            self.note(
                field,
                format_args!("at most {MAX_REFERENCE_BYTES} printable ASCII characters"),
            );
        }
        self.no_card_number(field, text);
    }

    fn no_card_number(&mut self, field: &str, text: &str) {
        if is_card_number(text) {
            self.note(
                field,
                "looks like a payment card's number, which is never recorded; for a payment use its approval number",
            );
        }
    }
}

/// The store that a request names, by its id.
pub fn store_id(text: &str) -> Result<StoreId, Rejection> {
    store_id_at("store_id", text)
}

fn store_id_at(field: &str, text: &str) -> Result<StoreId, Rejection> {
    let mut check = Check::default();
    check.no_card_number(field, text);
    check.finish()?;
    StoreId::new(text)
        .map_err(|error| Rejection::field(Reason::InvalidArgument, field, error.to_string()))
}

/// A draft's own store comes with the path of its field.
pub fn draft_of(draft: Option<api::OrderDraft>) -> Result<(api::OrderDraft, StoreId), Rejection> {
    let draft =
        draft.ok_or_else(|| Rejection::field(Reason::InvalidArgument, "draft", "is missing"))?;
    let store = store_id_at("draft.store_id", &draft.store_id)?;
    Ok((draft, store))
}

/// Who calls, and when by their clock.
pub fn actor(
    check: &mut Check,
    terminal: (&str, &str),
    staff: (&str, &str),
    client_time: Option<&prost_types::Timestamp>,
    trace: TraceContext,
) -> Actor {
    Actor {
        principal: "till",
        terminal_id: check.optional_slug(terminal.0, terminal.1),
        staff_id: check.optional_slug(staff.0, staff.1),
        client_time: check.time("client_time", client_time),
        occurred_at: None,
        traceparent: trace.to_string(),
    }
}

/// For commands that may open a business day, which takes the caller's clock.
pub fn require_client_time(check: &mut Check, client_time: Option<&prost_types::Timestamp>) {
    if client_time.is_none() {
        check.note("client_time", "is missing");
    }
}

pub fn occurred_at(check: &mut Check, time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    check.time("occur_time", time)
}

/// A draft, and what the till presented for the membership check.
pub fn draft(
    check: &mut Check,
    draft: &api::OrderDraft,
    store_id: &StoreId,
    keys: &CardKeys,
) -> Option<(Draft, Option<Presented>)> {
    let pricing = match draft.pricing() {
        types::Pricing::Till => Pricing::Till,
        types::Pricing::Server | types::Pricing::Unspecified => Pricing::Server,
    };
    enum_known(
        check,
        "draft.pricing",
        types::Pricing::try_from(draft.pricing).is_ok(),
    );
    let channel = enumeration(
        check,
        "draft.channel",
        Channel::try_from(draft.channel).ok(),
        Channel::Counter,
        Channel::Unspecified,
    );
    let service_mode = enumeration(
        check,
        "draft.service_mode",
        ServiceMode::try_from(draft.service_mode).ok(),
        ServiceMode::EatIn,
        ServiceMode::Unspecified,
    );
    if draft.lines.is_empty() {
        check.note("draft.lines", "an order has at least one line");
    }
    if draft.lines.len() > MAX_LINES {
        let description = format!("at most {MAX_LINES}, not {}", draft.lines.len());
        check.special.get_or_insert_with(|| {
            Rejection::field(Reason::TooManyLines, "draft.lines", description)
        });
        return None;
    }
    if draft.terminal_seq < 0 {
        check.note("draft.terminal_seq", "is negative");
    }
    let terminal_id = check.slug("draft.terminal_id", &draft.terminal_id);
    let staff_id = check.optional_slug("draft.staff_id", &draft.staff_id);
    let lines: Vec<DraftLine> = draft
        .lines
        .iter()
        .enumerate()
        .filter_map(|(index, own)| line(check, &format!("draft.lines[{index}]"), own, pricing))
        .collect();
    for (index, own) in draft.lines.iter().enumerate() {
        if draft.lines[..index]
            .iter()
            .any(|earlier| earlier.line_id == own.line_id)
        {
            check.note(format!("draft.lines[{index}].line_id"), "is not unique");
        }
    }
    let order_discounts = discounts(check, "draft.order_discounts", &draft.order_discounts);
    check.at_most(
        "draft.promotion_codes",
        draft.promotion_codes.len(),
        MAX_PROMOTION_CODES,
    );
    let promotion_codes = draft
        .promotion_codes
        .iter()
        .take(MAX_PROMOTION_CODES)
        .enumerate()
        .filter_map(|(index, code)| check.slug(&format!("draft.promotion_codes[{index}]"), code))
        .collect();
    let presented = draft
        .member
        .as_ref()
        .and_then(|member| presented(check, member, keys));
    let parsed = Draft {
        store_id: store_id.clone(),
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
    Some((parsed, presented))
}

fn enum_known(check: &mut Check, field: &str, known: bool) {
    if !known {
        check.note(field, "is not a known value");
    }
}

/// An enum's value, the default for none.
fn enumeration<T: PartialEq + Copy>(
    check: &mut Check,
    field: &str,
    value: Option<T>,
    default: T,
    unspecified: T,
) -> T {
    enum_known(check, field, value.is_some());
    value
        .filter(|value| *value != unspecified)
        .unwrap_or(default)
}

fn presented(
    check: &mut Check,
    member: &api::order_draft::Member,
    keys: &CardKeys,
) -> Option<Presented> {
    match member {
        api::order_draft::Member::MemberId(id) => check
            .member_id("draft.member_id", id)
            .map(|id| MemberKey::MemberId(id).into()),
        api::order_draft::Member::CardToken(token) => {
            let digest = CardDigest::of_token(token)
                .map_err(|error| check.note("draft.card_token", error))
                .ok()?;
            let key = MemberKey::Card(keys.hashes(digest));
            Some(Presented {
                key,
                card_token: Some(token.clone()),
            })
        }
    }
}

fn line(
    check: &mut Check,
    field: &str,
    line: &api::DraftLine,
    pricing: Pricing,
) -> Option<DraftLine> {
    if !(1..=MAX_QUANTITY).contains(&line.quantity) {
        check.note(
            format!("{field}.quantity"),
            format_args!("1 to {MAX_QUANTITY}, not {}", line.quantity),
        );
    }
    check.at_most(&format!("{field}.options"), line.options.len(), MAX_OPTIONS);
    let options = line
        .options
        .iter()
        .take(MAX_OPTIONS)
        .enumerate()
        .filter_map(|(index, option)| {
            let field = format!("{field}.options[{index}]");
            if !(0..=MAX_QUANTITY).contains(&option.quantity) {
                check.note(
                    format!("{field}.quantity"),
                    format_args!("0 to {MAX_QUANTITY}"),
                );
            }
            Some(DraftOption {
                option_id: check.slug(&format!("{field}.option_id"), &option.option_id)?,
                quantity: option.quantity.max(1),
            })
        })
        .collect();
    let price_field = format!("{field}.till_unit_price");
    let till_unit_price = check.optional_amount(&price_field, line.till_unit_price.as_ref());
    match (pricing, &line.till_unit_price) {
        (Pricing::Till, None) => check.note(&price_field, "is required with PRICING_TILL"),
        (Pricing::Till, Some(_)) | (_, None) => {}
        (_, Some(_)) => check.note(&price_field, "is only for PRICING_TILL"),
    }
    if pricing != Pricing::Till && line.till_item.is_some() {
        check.note(format!("{field}.till_item"), "is only for PRICING_TILL");
    }
    let till_item = line
        .till_item
        .as_ref()
        .map(|item| till_item(check, &format!("{field}.till_item"), item));
    if till_unit_price.is_some_and(|price| price.minor() > MAX_UNIT_PRICE_MINOR) {
        let description = format!("at most {MAX_UNIT_PRICE_MINOR} minor units");
        check.special.get_or_insert_with(|| {
            Rejection::field(Reason::AmountOutOfRange, &price_field, description)
        });
    }
    enum_known(
        check,
        &format!("{field}.service_mode"),
        ServiceMode::try_from(line.service_mode).is_ok(),
    );
    let service_mode = ServiceMode::try_from(line.service_mode)
        .ok()
        .filter(|mode| *mode != ServiceMode::Unspecified);
    let discounts = discounts(check, &format!("{field}.discounts"), &line.discounts);
    let line_id = check.slug(&format!("{field}.line_id"), &line.line_id);
    let sku = check.slug(&format!("{field}.sku"), &line.sku);
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
fn till_item(check: &mut Check, field: &str, item: &api::TillItem) -> TillItem {
    let name = item.name.clone().unwrap_or_default().text;
    check.at_most(&format!("{field}.name"), name.len(), MAX_LANGUAGES);
    for (language, name) in name.iter().take(MAX_LANGUAGES) {
        check.name(&format!("{field}.name[{language:?}]"), language, name);
    }
    TillItem {
        name,
        category: check.optional_slug(&format!("{field}.category"), &item.category),
        tax_class: check.optional_slug(&format!("{field}.tax_class"), &item.tax_class),
    }
}

fn discounts(
    check: &mut Check,
    field: &str,
    discounts: &[api::ManualDiscount],
) -> Vec<ManualDiscount> {
    check.at_most(field, discounts.len(), MAX_DISCOUNTS);
    let mut parsed = Vec::with_capacity(discounts.len());
    for (index, discount) in discounts.iter().take(MAX_DISCOUNTS).enumerate() {
        let field = format!("{field}[{index}]");
        let value = match &discount.value {
            Some(api::manual_discount::Value::PercentBp(percent_bp))
                if (1..=10_000).contains(percent_bp) =>
            {
                Some(DiscountValue::Percent(*percent_bp))
            }
            Some(api::manual_discount::Value::PercentBp(_)) => {
                check.note(format!("{field}.percent_bp"), "1 to 10000 basis points");
                None
            }
            Some(api::manual_discount::Value::Amount(amount)) => check
                .amount(&format!("{field}.amount"), amount)
                .map(DiscountValue::Fixed),
            None => {
                check.note(&field, "give percent_bp or amount");
                None
            }
        };
        let discount_id = check.slug(&format!("{field}.discount_id"), &discount.discount_id);
        let reason_code = check.slug(&format!("{field}.reason_code"), &discount.reason_code);
        let approver_id = check.slug(&format!("{field}.approver_id"), &discount.approver_id);
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

pub fn tenders(check: &mut Check, tenders: &[api::Tender]) -> Vec<DraftTender> {
    check.at_most("tenders", tenders.len(), MAX_TENDERS);
    let mut parsed = Vec::with_capacity(tenders.len());
    for (index, tender) in tenders.iter().take(MAX_TENDERS).enumerate() {
        let field = format!("tenders[{index}]");
        if tenders[..index]
            .iter()
            .any(|earlier| earlier.tender_id == tender.tender_id)
        {
            check.note(format!("{field}.tender_id"), "is not unique");
        }
        let kind = TenderKind::try_from(tender.kind)
            .ok()
            .filter(|kind| *kind != TenderKind::Unspecified);
        enum_known(check, &format!("{field}.kind"), kind.is_some());
        check.optional_slug(&format!("{field}.scheme"), &tender.scheme);
        check.reference(
            &format!("{field}.external_reference"),
            &tender.external_reference,
        );
        if tender.amount.is_none() && tender.tendered.is_none() {
            check.note(format!("{field}.amount"), "give amount or tendered");
        }
        let amount = check.optional_amount(&format!("{field}.amount"), tender.amount.as_ref());
        let tendered =
            check.optional_amount(&format!("{field}.tendered"), tender.tendered.as_ref());
        let change = check.optional_amount(&format!("{field}.change"), tender.change.as_ref());
        let drawer_id = check.optional_slug(&format!("{field}.drawer_id"), &tender.drawer_id);
        let tender_id = check.slug(&format!("{field}.tender_id"), &tender.tender_id);
        if let (Some(tender_id), Some(kind)) = (tender_id, kind) {
            let (scheme, external_reference) =
                (tender.scheme.clone(), tender.external_reference.clone());
            parsed.push(DraftTender {
                tender_id,
                kind,
                scheme,
                amount,
                tendered,
                change,
                external_reference,
                drawer_id,
            });
        }
    }
    parsed
}

pub fn expected_total(check: &mut Check, total: Option<&types::Money>) -> Option<Money> {
    check.optional_amount("expected_total", total)
}

pub fn returned_tenders(
    check: &mut Check,
    tenders: &[api::ReturnedTender],
) -> Vec<RequestedReturn> {
    check.at_most("tenders", tenders.len(), MAX_TENDERS);
    let mut parsed = Vec::with_capacity(tenders.len());
    for (index, tender) in tenders.iter().take(MAX_TENDERS).enumerate() {
        let field = format!("tenders[{index}]");
        check.reference(
            &format!("{field}.external_reference"),
            &tender.external_reference,
        );
        match &tender.amount {
            None => check.note(format!("{field}.amount"), "is missing"),
            Some(money) if money.amount_minor == 0 => {
                check.note(format!("{field}.amount"), "a tender is more than nothing");
            }
            Some(_) => {}
        }
        let amount = check.optional_amount(&format!("{field}.amount"), tender.amount.as_ref());
        let drawer_id = check.optional_slug(&format!("{field}.drawer_id"), &tender.drawer_id);
        let tender_id = check.slug(&format!("{field}.tender_id"), &tender.tender_id);
        if let (Some(tender_id), Some(amount)) = (tender_id, amount) {
            parsed.push(RequestedReturn {
                tender_id,
                amount,
                drawer_id,
                external_reference: tender.external_reference.clone(),
            });
        }
    }
    parsed
}

pub fn business_date(check: &mut Check, text: &str) -> Option<BusinessDate> {
    BusinessDate::parse(text)
        .map_err(|error| check.note("business_date", error))
        .ok()
}

/// An amount that has to be there.
pub fn amount(check: &mut Check, field: &str, money: Option<&types::Money>) -> Option<Money> {
    if money.is_none() {
        check.note(field, "is missing");
    }
    check.optional_amount(field, money)
}

pub fn refund_lines(check: &mut Check, lines: &[api::RefundLine]) -> Vec<(Slug, i32)> {
    if lines.is_empty() {
        check.note("lines", "a refund has at least one line");
    }
    check.at_most("lines", lines.len(), MAX_LINES);
    let mut parsed = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().take(MAX_LINES).enumerate() {
        if !(1..=MAX_QUANTITY).contains(&line.quantity) {
            check.note(
                format!("lines[{index}].quantity"),
                format_args!("1 to {MAX_QUANTITY}, not {}", line.quantity),
            );
        }
        if lines[..index]
            .iter()
            .any(|earlier| earlier.line_id == line.line_id)
        {
            check.note(format!("lines[{index}].line_id"), "is named twice");
        }
        parsed.extend(
            check
                .slug(&format!("lines[{index}].line_id"), &line.line_id)
                .map(|id| (id, line.quantity)),
        );
    }
    parsed
}

pub fn cash_movement_kind(
    check: &mut Check,
    kind: i32,
    approver: &str,
) -> Option<CashMovementKind> {
    let kind = CashMovementKind::try_from(kind)
        .ok()
        .filter(|kind| *kind != CashMovementKind::Unspecified);
    enum_known(check, "kind", kind.is_some());
    if kind == Some(CashMovementKind::PaidOut) && approver.is_empty() {
        check.note("approver_id", "is needed to pay cash out");
    }
    kind
}

pub fn counts(check: &mut Check, counts: &[api::DrawerCount]) -> Vec<(Slug, Money)> {
    check.at_most("counts", counts.len(), MAX_DRAWERS);
    let mut parsed = Vec::with_capacity(counts.len());
    for (index, count) in counts.iter().take(MAX_DRAWERS).enumerate() {
        if counts[..index]
            .iter()
            .any(|earlier| earlier.drawer_id == count.drawer_id)
        {
            check.note(format!("counts[{index}].drawer_id"), "is counted twice");
        }
        let drawer = check.slug(&format!("counts[{index}].drawer_id"), &count.drawer_id);
        let counted = amount(
            check,
            &format!("counts[{index}].counted"),
            count.counted.as_ref(),
        );
        parsed.extend(drawer.zip(counted));
    }
    parsed
}

pub fn carry_over(check: &mut Check, all: bool, ids: &[String]) -> CarryOver {
    if all {
        if !ids.is_empty() {
            check.note("carry_over_order_ids", "is empty with carry_over_all");
        }
        return CarryOver::All;
    }
    check.at_most("carry_over_order_ids", ids.len(), MAX_CARRIED);
    let mut parsed = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().take(MAX_CARRIED).enumerate() {
        match OrderId::parse(id) {
            Ok(id) => parsed.push(id),
            Err(error) => check.note(format!("carry_over_order_ids[{index}]"), error),
        }
    }
    CarryOver::Named(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_till_says_of_an_item_is_checked() {
        let store = crate::domain::fixture::shop("");
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
            let mut check = Check::default();
            draft(
                &mut check,
                &request,
                &store.id,
                &crate::domain::fixture::card_keys(),
            );
            let violations = check.finish().err().map(|refusal| refusal.violations);
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

    #[test]
    fn a_returned_tender_is_more_than_nothing() {
        let currency = Currency::new("KRW").unwrap();
        let nothing = api::ReturnedTender {
            tender_id: "t1".into(),
            amount: Some(currency.amount(Money::ZERO)),
            ..api::ReturnedTender::default()
        };
        let mut check = Check::default();
        returned_tenders(&mut check, &[nothing]);
        let refusal = check.finish().unwrap_err();
        assert_eq!(refusal.violations[0].field, "tenders[0].amount");
    }
}
