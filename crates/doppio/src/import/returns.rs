//! What was taken back: units of a sale that the row names, at what they were sold for.

use std::collections::{BTreeMap, HashMap};

use contract::{Money, OrderId, RequestId, Slug};
use ordering::domain::{RefundLine, RefundOrder, RequestedReturn};

use super::mistake::{Mistakes, shown};
use super::receipts::{Identity, Receipt, Return};
use super::sale::{Refused, Sold, SoldLine, derived_id, order_id};
use super::tender::Paid;

/// Units that returns have taken, by order and line.
pub type Taken = HashMap<(OrderId, Slug), i64>;

/// A refund and what it comes to.
#[derive(Debug, Clone)]
pub struct Refund {
    pub command: RefundOrder,
    pub net: Money,
    pub units: i64,
}

/// By which the refund of a sale by a receipt is known for ever.
#[must_use]
pub fn refund_request(receipt: &Identity, sale: OrderId) -> RequestId {
    RequestId::from_uuid(derived_id(receipt, &format!("refund {sale}")))
}

/// The refunds of a receipt, one for each sale that it names.
pub fn refunds(
    file: &str,
    receipt: &Receipt,
    sold: impl Fn(OrderId) -> Option<Sold>,
    taken: &mut Taken,
    mistakes: &mut Mistakes,
) -> Vec<Refund> {
    let mut by_sale: BTreeMap<OrderId, Vec<&Return>> = BTreeMap::new();
    for back in &receipt.returns {
        by_sale.entry(order_id(&back.sale)).or_default().push(back);
    }
    let single = by_sale.len() == 1;
    let mut refunds = Vec::with_capacity(by_sale.len());
    for (sale, backs) in by_sale {
        let first = backs[0];
        let number = shown(&first.sale.number);
        let Some(sale) = sold(sale) else {
            let what = format!("the sale {number} is neither further up nor imported before");
            mistakes.note(file, first.row, "returns", what);
            continue;
        };
        if sale.sold_at > receipt.sold_at {
            let what = format!("the sale {number} is later than its return");
            mistakes.note(file, first.row, "returns", what);
            continue;
        }
        let mut refund = Refund {
            command: RefundOrder {
                order_id: sale.order_id,
                request_id: refund_request(&receipt.identity, sale.order_id),
                approver_id: None,
                reason_code: match Slug::new("returned") {
                    Ok(reason) => reason,
                    Err(error) => {
                        mistakes.note(file, first.row, "returns", error);
                        continue;
                    }
                },
                lines: Vec::new(),
                tenders: Vec::new(),
            },
            net: Money::ZERO,
            units: 0,
        };
        let mut whole = true;
        for back in backs {
            if let Err((column, what)) = take(back, &sale, taken, &mut refund) {
                whole = false;
                mistakes.note(file, back.row, column, what);
            }
        }
        if whole && !receipt.tenders.is_empty() {
            let given = if single {
                given_back(&receipt.tenders, &sale, refund.net)
            } else {
                Err((
                    "tender",
                    "leave it empty where several sales are taken back".to_owned(),
                ))
            };
            match given {
                Ok(tenders) => refund.command.tenders = tenders,
                Err((column, what)) => {
                    whole = false;
                    mistakes.note(file, first.row, column, what);
                }
            }
        }
        if whole {
            refunds.push(refund);
        }
    }
    refunds
}

/// Takes units from the sale's lines of the article, the first ones first; all of them or none.
fn take(back: &Return, sale: &Sold, taken: &mut Taken, refund: &mut Refund) -> Result<(), Refused> {
    let out_of_range = |error: contract::MoneyError| ("quantity", error.to_string());
    let mut left = back.units;
    let mut net = Money::ZERO;
    let mut parts: Vec<(&SoldLine, i64)> = Vec::new();
    let lines = sale.lines.iter().filter(|line| {
        line.sku == back.item.code && back.unit_price.is_none_or(|price| price == line.unit_price)
    });
    for line in lines {
        let place = (sale.order_id, line.line_id.clone());
        let remaining = line.units - taken.get(&place).copied().unwrap_or(0);
        let units = left.min(remaining);
        if units <= 0 {
            continue;
        }
        let worth = worth(line, remaining)
            .and_then(|whole| whole.minus(worth(line, remaining - units)?))
            .map_err(out_of_range)?;
        net = net.plus(worth).map_err(out_of_range)?;
        left -= units;
        parts.push((line, units));
    }
    if left > 0 {
        let price = if back.unit_price.is_some() {
            " at that price"
        } else {
            ""
        };
        let what = format!(
            "takes back {} of {}, of which the sale {} has only {} left{price}",
            back.units,
            shown(&back.item.name),
            shown(&back.sale.number),
            back.units - left
        );
        return Err(("quantity", what));
    }
    if back.amount.is_some_and(|stated| stated != net) {
        let what = format!("what was sold for {net} minor units was given back for another amount");
        return Err(("unit_price", what));
    }
    for (line, units) in parts {
        *taken
            .entry((sale.order_id, line.line_id.clone()))
            .or_default() += units;
        let units = i32::try_from(units).map_err(|error| ("quantity", error.to_string()))?;
        let own = &mut refund.command.lines;
        match own.iter_mut().find(|own| own.line_id == line.line_id) {
            Some(more) => more.quantity += units,
            None => own.push(RefundLine {
                line_id: line.line_id.clone(),
                quantity: units,
            }),
        }
    }
    refund.net = refund.net.plus(net).map_err(out_of_range)?;
    refund.units += back.units;
    Ok(())
}

/// What the first `units` of a line are worth: floor(net × units / all).
fn worth(line: &SoldLine, units: i64) -> Result<Money, contract::MoneyError> {
    line.net.scale_floor(units, line.units)
}

/// The sale's tenders that the money went back to.
fn given_back(paid: &[Paid], sale: &Sold, net: Money) -> Result<Vec<RequestedReturn>, Refused> {
    let mut returns: Vec<RequestedReturn> = Vec::with_capacity(paid.len());
    for paid in paid {
        let tender = sale.tenders.iter().find(|tender| {
            tender.kind == paid.kind
                && (paid.scheme.is_empty() || paid.scheme == tender.scheme)
                && !returns.iter().any(|own| own.tender_id == tender.tender_id)
        });
        let Some(tender) = tender else {
            return Err(("tender", "the sale was not paid that way".to_owned()));
        };
        let amount = paid
            .amount
            .map_or(net, |amount| Money::new(amount.minor().saturating_abs()));
        if amount == Money::ZERO {
            continue;
        }
        if amount > tender.amount {
            return Err((
                "tender",
                "gives back more than was paid that way".to_owned(),
            ));
        }
        returns.push(RequestedReturn {
            tender_id: tender.tender_id.clone(),
            amount,
            drawer_id: None,
            external_reference: String::new(),
        });
    }
    let sum = Money::sum(returns.iter().map(|own| own.amount));
    if sum != Ok(net) {
        let what = format!(
            "what was taken back is worth {net} minor units, the tenders say another amount"
        );
        return Err(("tender", what));
    }
    Ok(returns)
}
