//! Balances, asserted where they are projected as they were asserted where they were written.

use contract::event::{OrderPlaced, ReturnedLine, ReturnedTender, TaxAmount};

use super::poison::{Poison, difference, equal, sum};

/// `gross - discount = net`, line by line and as a whole; VAT by class and tenders sum to net; discounts sum to discount.
pub(crate) fn sale(order_id: &str, placed: &OrderPlaced) -> Result<(), Poison> {
    for line in &placed.lines {
        let of = |what: &str| format!("order {order_id}, line {}: {what}", line.line_id);
        let gross = line
            .unit_price
            .checked_mul(i64::from(line.quantity))
            .ok_or(Poison::Overflow("a line's gross"))?;
        equal(gross, line.gross, || {
            of("unit price times quantity against gross")
        })?;
        equal(
            difference(line.gross, line.discount, "a line's net")?,
            line.net,
            || of("gross less discount against net"),
        )?;
        if line.quantity < 1 || line.unit_price < 0 || line.discount < 0 || line.net < 0 {
            return Err(Poison::Unbalanced(of(
                "a quantity below 1 or a negative amount",
            )));
        }
    }
    let of = |what: &'static str| move || format!("order {order_id}: {what}");
    equal(
        sum(
            placed.lines.iter().map(|line| line.gross),
            "the lines' gross",
        )?,
        placed.gross,
        of("the lines' gross against the order's"),
    )?;
    equal(
        sum(
            placed.lines.iter().map(|line| line.discount),
            "the lines' discount",
        )?,
        placed.discount,
        of("the lines' discount against the order's"),
    )?;
    equal(
        difference(placed.gross, placed.discount, "an order's net")?,
        placed.net,
        of("gross less discount against net"),
    )?;
    equal(
        sum(
            placed.discounts.iter().map(|discount| discount.amount),
            "the discounts",
        )?,
        placed.discount,
        of("the discounts against the order's discount"),
    )?;
    taxes(order_id, &placed.taxes, placed.net)?;
    for tender in &placed.tenders {
        let amount = difference(tender.tendered, tender.change, "a tender")?;
        equal(amount, tender.amount, || {
            format!(
                "order {order_id}, tender {}: tendered less change against amount",
                tender.tender_id
            )
        })?;
        if tender.amount < 0 || tender.change < 0 {
            return Err(Poison::Unbalanced(format!(
                "order {order_id}, tender {}: a negative amount",
                tender.tender_id
            )));
        }
    }
    equal(
        sum(
            placed.tenders.iter().map(|tender| tender.amount),
            "the tenders",
        )?,
        placed.net,
        of("the tenders against net"),
    )
}

/// The same of what is given back.
pub(crate) fn give_back(
    order_id: &str,
    [gross, discount, net]: [i64; 3],
    lines: &[ReturnedLine],
    returned_taxes: &[TaxAmount],
    tenders: &[ReturnedTender],
) -> Result<(), Poison> {
    let of = |what: &'static str| move || format!("order {order_id}, given back: {what}");
    if gross < 0 || discount < 0 || net < 0 {
        return Err(Poison::Unbalanced(of("a negative amount")()));
    }
    equal(
        sum(lines.iter().map(|line| line.gross), "the lines' gross")?,
        gross,
        of("the lines' gross against the whole"),
    )?;
    equal(
        sum(
            lines.iter().map(|line| line.discount),
            "the lines' discount",
        )?,
        discount,
        of("the lines' discount against the whole"),
    )?;
    equal(
        difference(gross, discount, "what is given back")?,
        net,
        of("gross less discount against net"),
    )?;
    taxes(order_id, returned_taxes, net)?;
    equal(
        sum(tenders.iter().map(|tender| tender.amount), "the tenders")?,
        net,
        of("the tenders against net"),
    )
}

fn taxes(order_id: &str, taxes: &[TaxAmount], net: i64) -> Result<(), Poison> {
    for tax in taxes {
        let class = sum([tax.supply, tax.vat], "a class's supply and VAT")?;
        equal(class, tax.net, || {
            format!(
                "order {order_id}, tax class {}: supply and VAT against net",
                tax.tax_class
            )
        })?;
    }
    let total = sum(taxes.iter().map(|tax| tax.net), "the tax classes")?;
    equal(total, net, || {
        format!("order {order_id}: the tax classes against net")
    })
}
