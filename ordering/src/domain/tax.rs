use std::collections::BTreeMap;

use contract::event::{OrderLine, Pricing, ServiceMode, TaxAmount, TaxKind};
use contract::{Money, MoneyError, Reason, Rejection};
use jiff::civil::Date;

use crate::catalog::{Item, Menu};

/// A line's tax class and the rate in force.
pub struct LineTax {
    pub class: String,
    pub kind: TaxKind,
    pub rate_bp: u32,
}

/// Class = f(item, service mode); the rate is the one in force on the store's local calendar date. Where none is in force yet, a sale
/// that has happened already (at the till's prices) takes the class's first rate, and any other is refused: nothing is sold at 0 % only
/// because a rate is missing.
pub fn of_item(
    menu: &Menu,
    item: &Item,
    mode: ServiceMode,
    on: Date,
    pricing: Pricing,
) -> Result<LineTax, Rejection> {
    let class = if mode == ServiceMode::TakeAway {
        &item.tax_take_away
    } else {
        &item.tax_eat_in
    };
    let missing = || {
        let message = format!("tax class {class} has no rate in force on {on}");
        Rejection::new(Reason::NoTaxRate, message)
            .with("tax_class", class)
            .with("sku", &item.sku)
    };
    let class = menu.tax_classes.get(class).ok_or_else(missing)?;
    let rate_bp = match class.rate_bp(on) {
        None if pricing == Pricing::Till => class.first_rate_bp(),
        rate => rate.ok_or_else(missing)?,
    };
    Ok(LineTax {
        class: class.id.as_str().to_owned(),
        kind: class.kind,
        rate_bp,
    })
}

/// VAT of a receipt: computed on the net of each class, never line by line. Writes each line's share of its class's supply.
pub fn of_receipt(lines: &mut [OrderLine]) -> Result<Vec<TaxAmount>, MoneyError> {
    let mut classes: BTreeMap<(String, u32), (i32, Vec<usize>)> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        classes
            .entry((line.tax_class.clone(), line.tax_rate_bp))
            .or_insert((line.tax_kind, Vec::new()))
            .1
            .push(index);
    }
    let mut taxes = Vec::with_capacity(classes.len());
    for ((tax_class, rate_bp), (kind, indexes)) in classes {
        let nets: Vec<Money> = indexes
            .iter()
            .map(|&index| Money::new(lines[index].net))
            .collect();
        let net = Money::sum(nets.iter().copied())?;
        let vat = net.vat_included(rate_bp)?;
        let supply = net.minus(vat)?;
        for (&index, share) in indexes.iter().zip(supply.allocate(&nets)?) {
            lines[index].supply = share.minor();
        }
        taxes.push(TaxAmount {
            tax_class,
            kind,
            rate_bp,
            net: net.minor(),
            supply: supply.minor(),
            vat: vat.minor(),
        });
    }
    Ok(taxes)
}

/// VAT of what is taken from a class whose net goes down: VAT(before) - VAT(after), so that parts sum exactly to the whole.
pub fn of_difference(before: Money, after: Money, rate_bp: u32) -> Result<Money, MoneyError> {
    before
        .vat_included(rate_bp)?
        .minus(after.vat_included(rate_bp)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_class_without_a_rate_in_force_sells_nothing_but_what_was_sold_already() {
        let text = include_str!("../catalog/default.toml").replace("1977-07-01", "2027-01-01");
        let catalog = catalog::parse(&text).unwrap();
        let menu = &catalog.stores.values().next().unwrap().menu;
        let of = |sku: &str, on: &str, pricing| {
            let item = menu.items.values().find(|item| item.sku.as_str() == sku);
            of_item(
                menu,
                item.unwrap(),
                ServiceMode::EatIn,
                on.parse().unwrap(),
                pricing,
            )
            .map(|tax| tax.rate_bp)
        };
        let refused = of("latte", "2026-12-31", Pricing::Server).unwrap_err();
        assert_eq!(refused.reason, Reason::NoTaxRate);
        assert_eq!(of("latte", "2026-12-31", Pricing::Till).ok(), Some(1_000));
        assert_eq!(of("latte", "2027-01-01", Pricing::Server).ok(), Some(1_000));
        assert_eq!(of("banana", "2026-12-31", Pricing::Server).ok(), Some(0));
    }
}
