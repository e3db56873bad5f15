//! Which events an order's state allows. What they make of the order is contract's own fold, so that ordering answers with the same.

use std::collections::BTreeMap;

use contract::api::ordering as api;
use contract::api::types::{self, MembershipOutcome, OrderStatus};
use contract::event::{OrderPlaced, ReturnedLine, ReturnedTender, event::Event};

use super::poison::{Poison, equal, sum};

/// Refuses what the order's state does not allow. Other events than those of orders are none of its business.
pub(crate) fn check(order: &api::Order, event: &Event) -> Result<(), Poison> {
    match event {
        Event::PreparationStarted(_) => step(order, OrderStatus::Placed, OrderStatus::Preparing),
        Event::OrderReady(_) => step(order, OrderStatus::Preparing, OrderStatus::Ready),
        Event::OrderCompleted(_) => step(order, OrderStatus::Ready, OrderStatus::Completed),
        Event::OrderCancelled(event) => {
            if !matches!(
                order.status(),
                OrderStatus::Placed | OrderStatus::Preparing | OrderStatus::Ready
            ) {
                return Err(Poison::Illegal(format!(
                    "order {} is cancelled, but it is {}",
                    order.order_id,
                    order.status().as_str_name()
                )));
            }
            check_sale_date(order, &event.sale_business_date)?;
            check_returned_lines(order, &event.lines)?;
            check_returned_tenders(order, &event.tenders)?;
            let refunded = sum(
                order
                    .refunds
                    .iter()
                    .map(|refund| minor(refund.net.as_ref())),
                "what was refunded",
            )?;
            let net = order
                .priced
                .as_ref()
                .map_or(0, |priced| minor(priced.net.as_ref()));
            let remaining = net
                .checked_sub(refunded)
                .ok_or(Poison::Overflow("what remains of an order"))?;
            equal(event.net, remaining, || {
                format!(
                    "order {}: the net cancelled against what remains",
                    order.order_id
                )
            })
        }
        Event::OrderRefunded(event) => {
            if order.status() == OrderStatus::Cancelled {
                return Err(Poison::Illegal(format!(
                    "order {} is refunded, but it is cancelled",
                    order.order_id
                )));
            }
            check_sale_date(order, &event.sale_business_date)?;
            check_returned_lines(order, &event.lines)?;
            check_returned_tenders(order, &event.tenders)
        }
        Event::MemberAttached(_) => match outcome(order) {
            MembershipOutcome::Member => Err(Poison::Illegal(format!(
                "order {} gets a member, but it has one",
                order.order_id
            ))),
            _ => Ok(()),
        },
        Event::MembershipResolved(_) => match outcome(order) {
            MembershipOutcome::Unverified => Ok(()),
            other => Err(Poison::Illegal(format!(
                "the membership of order {} is resolved, but it is {}",
                order.order_id,
                other.as_str_name()
            ))),
        },
        _ => Ok(()),
    }
}

/// Discounts must name lines that are there.
pub(crate) fn check_placed(order_id: &str, placed: &OrderPlaced) -> Result<(), Poison> {
    let named = placed
        .discounts
        .iter()
        .flat_map(|discount| &discount.allocations)
        .map(|allocation| allocation.line_index);
    match named
        .into_iter()
        .find(|index| *index as usize >= placed.lines.len())
    {
        Some(index) => Err(Poison::Illegal(format!(
            "order {order_id}: a discount names line {index}, which is not there"
        ))),
        None => Ok(()),
    }
}

/// One step of `PLACED -> PREPARING -> READY -> COMPLETED`; no other is legal.
fn step(order: &api::Order, from: OrderStatus, to: OrderStatus) -> Result<(), Poison> {
    if order.status() == from {
        return Ok(());
    }
    Err(Poison::Illegal(format!(
        "order {} becomes {}, but it is {}",
        order.order_id,
        to.as_str_name(),
        order.status().as_str_name()
    )))
}

fn outcome(order: &api::Order) -> MembershipOutcome {
    order
        .membership
        .as_ref()
        .map_or(MembershipOutcome::Unspecified, api::Membership::outcome)
}

fn minor(money: Option<&types::Money>) -> i64 {
    money.map_or(0, |money| money.amount_minor)
}

fn check_sale_date(order: &api::Order, named: &str) -> Result<(), Poison> {
    if order.business_date == named {
        return Ok(());
    }
    Err(Poison::Illegal(format!(
        "order {} was sold on {}, not on {named}",
        order.order_id, order.business_date
    )))
}

/// No more units than remain of each line.
fn check_returned_lines(order: &api::Order, lines: &[ReturnedLine]) -> Result<(), Poison> {
    let sold = order
        .priced
        .as_ref()
        .map(|priced| priced.lines.as_slice())
        .unwrap_or_default();
    let mut given_back: BTreeMap<u32, i32> = BTreeMap::new();
    for line in lines {
        let row = sold.get(line.line_index as usize).ok_or_else(|| {
            Poison::Illegal(format!(
                "order {}: line {} is given back, but it is not there",
                order.order_id, line.line_index
            ))
        })?;
        let units = given_back.entry(line.line_index).or_default();
        *units = units.saturating_add(line.quantity);
        if line.quantity < 1 || *units > row.quantity - row.refunded_quantity {
            return Err(Poison::Illegal(format!(
                "order {}: {units} units of line {} are given back, but only {} remain",
                order.order_id,
                row.line_id,
                row.quantity - row.refunded_quantity
            )));
        }
    }
    Ok(())
}

/// No more on each tender than its unreturned rest.
fn check_returned_tenders(order: &api::Order, tenders: &[ReturnedTender]) -> Result<(), Poison> {
    let mut rest: BTreeMap<&str, i64> = order
        .tenders
        .iter()
        .map(|tender| (tender.tender_id.as_str(), minor(tender.amount.as_ref())))
        .collect();
    for tender in order.refunds.iter().flat_map(|refund| &refund.tenders) {
        if let Some(rest) = rest.get_mut(tender.tender_id.as_str()) {
            *rest -= minor(tender.amount.as_ref());
        }
    }
    for tender in tenders {
        match rest.get_mut(tender.tender_id.as_str()) {
            Some(rest) if tender.amount >= 0 && *rest >= tender.amount => *rest -= tender.amount,
            Some(rest) => {
                return Err(Poison::Illegal(format!(
                    "order {}: {} are returned on tender {}, of which {rest} remain",
                    order.order_id, tender.amount, tender.tender_id
                )));
            }
            None => {
                return Err(Poison::Illegal(format!(
                    "order {}: tender {} is returned, but the order has none of this name",
                    order.order_id, tender.tender_id
                )));
            }
        }
    }
    Ok(())
}
