//! The API's [`Order`] as a fold over an order's events: what ordering answers with, and what queries make of what the projection keeps.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{ordering as api, types};
use crate::event::{self as e, event::Event};
use crate::ids::OrderId;
use crate::money::{Currency, Money};
use crate::time::to_proto;

/// What an event's record and command say about it.
#[derive(Debug, Clone, Copy)]
pub struct EventContext<'a> {
    pub store_id: &'a str,
    pub currency: Currency,
    pub recorded_at: Timestamp,
    pub revision: u64,
    pub terminal_id: &'a str,
    pub staff_id: &'a str,
    /// Text of the command's request id; empty for what the system decided.
    pub request_id: &'a str,
}

/// The order that an event speaks of, `None` when it speaks of none.
#[must_use]
pub fn order_of(event: &Event) -> Option<OrderId> {
    let bytes = match event {
        Event::OrderPlaced(event) => &event.order_id,
        Event::PreparationStarted(event) => &event.order_id,
        Event::OrderReady(event) => &event.order_id,
        Event::OrderCompleted(event) => &event.order_id,
        Event::OrderCancelled(event) => &event.order_id,
        Event::OrderRefunded(event) => &event.order_id,
        Event::MemberAttached(event) => &event.order_id,
        Event::MembershipResolved(event) => &event.order_id,
        Event::LedgerOpened(_)
        | Event::StoreConfigured(_)
        | Event::BusinessDayOpened(_)
        | Event::CashMoved(_)
        | Event::DrawerCounted(_)
        | Event::BusinessDayClosed(_)
        | Event::MenuPublished(_)
        | Event::LedgerRepaired(_)
        | Event::PeriodClosed(_) => return None,
    };
    OrderId::from_slice(bytes).ok()
}

/// The order after an event of its own. `None` when there is no order and the event does not place one. Does not judge whether the
/// event is legal.
#[must_use]
pub fn fold(
    order: Option<api::Order>,
    event: &Event,
    context: &EventContext<'_>,
) -> Option<api::Order> {
    if let Event::OrderPlaced(placed) = event {
        return Some(placed_order(placed, context));
    }
    let mut order = order?;
    let money = |minor| Some(context.currency.amount(Money::new(minor)));
    match event {
        Event::PreparationStarted(_) => order.set_status(types::OrderStatus::Preparing),
        Event::OrderReady(_) => order.set_status(types::OrderStatus::Ready),
        Event::OrderCompleted(_) => order.set_status(types::OrderStatus::Completed),
        Event::OrderCancelled(cancelled) => {
            order.set_status(types::OrderStatus::Cancelled);
            order.cancellation = Some(api::Cancellation {
                cancel_time: Some(to_proto(context.recorded_at)),
                business_date: cancelled.business_date.clone(),
                document_number: cancelled.document_number,
                reason_code: cancelled.reason_code.clone(),
                staff_id: context.staff_id.to_owned(),
                approver_id: cancelled.approver_id.clone(),
                amount: money(cancelled.net),
                tenders: returned_tenders(&cancelled.tenders, context.currency),
                flags: cancelled.flags.clone(),
            });
        }
        Event::OrderRefunded(refunded) => add_refund(&mut order, refunded, context),
        Event::MemberAttached(attached) => {
            order.membership = Some(api::Membership {
                outcome: types::MembershipOutcome::Member.into(),
                member_id: attached.member_id.clone(),
                tier: attached.tier.clone(),
                points_rate_bp: attached.points_rate_bp,
            });
        }
        Event::MembershipResolved(resolved) => {
            order.membership = Some(api::Membership {
                outcome: resolved.outcome,
                member_id: resolved.member_id.clone(),
                tier: resolved.tier.clone(),
                points_rate_bp: resolved.points_rate_bp,
            });
        }
        _ => return Some(order),
    }
    order.update_time = Some(to_proto(context.recorded_at));
    order.revision = i64::try_from(context.revision).unwrap_or(i64::MAX);
    Some(order)
}

fn placed_order(placed: &e::OrderPlaced, context: &EventContext<'_>) -> api::Order {
    let currency = context.currency;
    let money = |minor| Some(currency.amount(Money::new(minor)));
    api::Order {
        store_id: context.store_id.to_owned(),
        order_id: OrderId::from_slice(&placed.order_id)
            .map(|id| id.to_string())
            .unwrap_or_default(),
        status: types::OrderStatus::Placed.into(),
        business_date: placed.business_date.clone(),
        ticket_number: placed.ticket_number,
        ticket_label: placed.ticket_label.clone(),
        document_number: placed.document_number,
        terminal_id: context.terminal_id.to_owned(),
        staff_id: context.staff_id.to_owned(),
        channel: placed.channel,
        service_mode: placed.service_mode,
        pricing: placed.pricing,
        priced: Some(priced(placed, currency)),
        tenders: placed
            .tenders
            .iter()
            .map(|tender| api::Tender {
                tender_id: tender.tender_id.clone(),
                kind: tender.kind,
                scheme: tender.scheme.clone(),
                amount: money(tender.amount),
                tendered: money(tender.tendered),
                change: money(tender.change),
                external_reference: tender.external_reference.clone(),
                drawer_id: tender.drawer_id.clone(),
            })
            .collect(),
        membership: placed
            .membership
            .as_ref()
            .map(|membership| api::Membership {
                outcome: membership.outcome,
                member_id: membership.member_id.clone(),
                tier: membership.tier.clone(),
                points_rate_bp: membership.points_rate_bp,
            }),
        place_time: Some(to_proto(context.recorded_at)),
        update_time: Some(to_proto(context.recorded_at)),
        cancellation: None,
        refunds: Vec::new(),
        flags: placed.flags.clone(),
        revision: i64::try_from(context.revision).unwrap_or(i64::MAX),
        terminal_seq: placed.terminal_seq,
    }
}

/// The priced part of a placing; also what a quote shows.
#[must_use]
pub fn priced(placed: &e::OrderPlaced, currency: Currency) -> api::PricedOrder {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    api::PricedOrder {
        lines: placed
            .lines
            .iter()
            .map(|line| priced_line(line, currency))
            .collect(),
        discounts: placed
            .discounts
            .iter()
            .map(|discount| applied_discount(discount, &placed.lines, currency))
            .collect(),
        gross: money(placed.gross),
        discount: money(placed.discount),
        net: money(placed.net),
        amount_due: money(placed.net),
        taxes: taxes(&placed.taxes, currency),
        menu_version: placed.menu_version.clone(),
        pricing_rule: placed.pricing_rule.clone(),
        tax_rule: placed.tax_rule.clone(),
    }
}

fn priced_line(line: &e::OrderLine, currency: Currency) -> api::PricedLine {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    api::PricedLine {
        line_id: line.line_id.clone(),
        sku: line.sku.clone(),
        name: localized(&line.name),
        category: line.category.clone(),
        quantity: line.quantity,
        options: line
            .options
            .iter()
            .map(|option| api::PricedOption {
                option_id: option.option_id.clone(),
                name: localized(&option.name),
                quantity: option.quantity,
                unit_price: money(option.unit_price),
            })
            .collect(),
        service_mode: line.service_mode,
        unit_price: money(line.unit_price),
        gross: money(line.gross),
        discount: money(line.discount),
        net: money(line.net),
        tax_class: line.tax_class.clone(),
        tax_rate_bp: line.tax_rate_bp,
        supply: money(line.supply),
        refunded_quantity: 0,
    }
}

fn applied_discount(
    discount: &e::AppliedDiscount,
    lines: &[e::OrderLine],
    currency: Currency,
) -> api::AppliedDiscount {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    api::AppliedDiscount {
        discount_id: discount.discount_id.clone(),
        discount_version: discount.discount_version,
        source: discount.source,
        value: discount.value.as_ref().map(|value| match value {
            e::applied_discount::Value::PercentBp(percent_bp) => {
                api::applied_discount::Value::PercentBp(*percent_bp)
            }
            e::applied_discount::Value::Fixed(fixed) => {
                api::applied_discount::Value::Fixed(currency.amount(Money::new(*fixed)))
            }
        }),
        amount: money(discount.amount),
        allocations: discount
            .allocations
            .iter()
            .map(|allocation| api::DiscountAllocation {
                line_id: line_id(
                    lines.iter().map(|line| &line.line_id),
                    allocation.line_index,
                ),
                basis: money(allocation.basis),
                amount: money(allocation.amount),
            })
            .collect(),
        reason_code: discount.reason_code.clone(),
        approver_id: discount.approver_id.clone(),
    }
}

fn add_refund(order: &mut api::Order, refunded: &e::OrderRefunded, context: &EventContext<'_>) {
    let money = |minor| Some(context.currency.amount(Money::new(minor)));
    let priced_lines = order
        .priced
        .as_ref()
        .map(|priced| priced.lines.as_slice())
        .unwrap_or_default();
    let lines = refunded
        .lines
        .iter()
        .map(|line| api::RefundedLine {
            line_id: line_id(
                priced_lines.iter().map(|line| &line.line_id),
                line.line_index,
            ),
            quantity: line.quantity,
            gross: money(line.gross),
            discount: money(line.discount),
            net: money(line.net),
        })
        .collect();
    if let Some(priced) = &mut order.priced {
        for line in &refunded.lines {
            if let Some(target) = priced.lines.get_mut(line.line_index as usize) {
                target.refunded_quantity = target.refunded_quantity.saturating_add(line.quantity);
            }
        }
    }
    order.refunds.push(api::Refund {
        refund_time: Some(to_proto(context.recorded_at)),
        request_id: context.request_id.to_owned(),
        business_date: refunded.business_date.clone(),
        document_number: refunded.document_number,
        reason_code: refunded.reason_code.clone(),
        staff_id: context.staff_id.to_owned(),
        approver_id: refunded.approver_id.clone(),
        lines,
        gross: money(refunded.gross),
        discount: money(refunded.discount),
        net: money(refunded.net),
        taxes: taxes(&refunded.taxes, context.currency),
        tenders: returned_tenders(&refunded.tenders, context.currency),
        flags: refunded.flags.clone(),
    });
}

fn line_id<'a>(mut ids: impl Iterator<Item = &'a String>, index: u32) -> String {
    ids.nth(index as usize).cloned().unwrap_or_default()
}

fn localized(text: &BTreeMap<String, String>) -> Option<types::LocalizedText> {
    Some(types::LocalizedText { text: text.clone() })
}

/// VAT amounts of an event for the API.
#[must_use]
pub fn taxes(taxes: &[e::TaxAmount], currency: Currency) -> Vec<types::TaxAmount> {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    taxes
        .iter()
        .map(|tax| types::TaxAmount {
            tax_class: tax.tax_class.clone(),
            kind: tax.kind,
            rate_bp: tax.rate_bp,
            net: money(tax.net),
            supply: money(tax.supply),
            vat: money(tax.vat),
        })
        .collect()
}

fn returned_tenders(tenders: &[e::ReturnedTender], currency: Currency) -> Vec<api::ReturnedTender> {
    tenders
        .iter()
        .map(|tender| api::ReturnedTender {
            tender_id: tender.tender_id.clone(),
            kind: tender.kind,
            amount: Some(currency.amount(Money::new(tender.amount))),
            drawer_id: tender.drawer_id.clone(),
            external_reference: tender.external_reference.clone(),
        })
        .collect()
}
