use std::collections::BTreeMap;

use contract::event::{OrderLine, Pricing, TaxAmount, TaxKind};
use contract::{Money, MoneyError, Reason, Rejection, Slug};
use jiff::civil::Date;

use crate::catalog::Menu;

/// A line's tax class and the rate in force.
pub struct LineTax {
    pub class: String,
    pub kind: TaxKind,
    pub rate_bp: u32,
}

/// A class of the catalog with the rate in force on the store's local calendar date. Where none is in force yet, a sale that has happened
/// already (at the till's prices) takes the class's first rate, and any other is refused: nothing is sold at 0 % only because a rate is
/// missing.
pub fn of_class(
    menu: &Menu,
    class: &Slug,
    on: Date,
    pricing: Pricing,
) -> Result<LineTax, Rejection> {
    let missing = || {
        let message = format!("tax class {class} has no rate in force on {on}");
        Rejection::new(Reason::NoTaxRate, message).with("tax_class", class)
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
    use contract::event::ServiceMode;
    use proptest::prelude::*;

    use super::*;
    use crate::catalog;
    use crate::domain::fixture::{shop, slug};

    fn line(tax_class: &str, tax_rate_bp: u32, net: i64) -> OrderLine {
        OrderLine {
            tax_class: tax_class.to_owned(),
            tax_rate_bp,
            net,
            ..OrderLine::default()
        }
    }

    fn of(lines: &mut [OrderLine]) -> Vec<(String, i64, i64)> {
        let taxes = of_receipt(lines).unwrap();
        taxes
            .into_iter()
            .map(|tax| (tax.tax_class, tax.supply, tax.vat))
            .collect()
    }

    #[test]
    fn vectors_at_ten_percent() {
        for (net, supply, vat) in [
            (4_500, 4_091, 409),
            (4_100, 3_727, 373),
            (1_000_000, 909_091, 90_909),
        ] {
            let class = "std".to_owned();
            assert_eq!(of(&mut [line("std", 1_000, net)]), [(class, supply, vat)]);
        }
    }

    #[test]
    fn vat_is_computed_of_a_class_and_not_line_by_line() {
        // Three times 1,500 are 409 of VAT; line by line it would be 3 × 136 = 408.
        let mut lines = [
            line("std", 1_000, 1_500),
            line("ex", 0, 3_000),
            line("std", 1_000, 1_500),
            line("std", 1_000, 1_500),
        ];
        assert_eq!(
            of(&mut lines),
            [("ex".into(), 3_000, 0), ("std".into(), 4_091, 409)]
        );
        // Each line's share of its class's supply, by largest remainder, ties to the first.
        let supplies = lines.each_ref().map(|line| line.supply);
        assert_eq!(supplies, [1_364, 3_000, 1_364, 1_363]);
    }

    #[test]
    fn order_b_of_the_worked_example() {
        let mut lines = [line("std", 1_000, 12_682), line("ex", 0, 2_818)];
        assert_eq!(
            of(&mut lines),
            [("ex".into(), 2_818, 0), ("std".into(), 11_529, 1_153)]
        );
    }

    #[test]
    fn the_rate_is_the_one_in_force_on_the_date() {
        let shop = shop("");
        let rate = |date: &str| {
            let on = date.parse().unwrap();
            let tax = of_class(&shop.menu, &slug("std"), on, Pricing::Server);
            tax.unwrap().rate_bp
        };
        assert_eq!(rate("2026-12-31"), 1_000);
        assert_eq!(rate("2027-01-01"), 1_200);
    }

    #[test]
    fn a_class_without_a_rate_in_force_sells_nothing_but_what_was_sold_already() {
        let text = include_str!("../catalog/default.toml").replace("1977-07-01", "2027-01-01");
        let catalog = catalog::parse(&text).unwrap();
        let menu = &catalog.stores.values().next().unwrap().menu;
        let of = |sku: &str, on: &str, pricing| {
            let item = menu.items.values().find(|item| item.sku.as_str() == sku);
            let class = item.unwrap().tax_class(ServiceMode::EatIn);
            of_class(menu, class, on.parse().unwrap(), pricing).map(|tax| tax.rate_bp)
        };
        let refused = of("latte", "2026-12-31", Pricing::Server).unwrap_err();
        assert_eq!(refused.reason, Reason::NoTaxRate);
        assert_eq!(of("latte", "2026-12-31", Pricing::Till).ok(), Some(1_000));
        assert_eq!(of("latte", "2027-01-01", Pricing::Server).ok(), Some(1_000));
        assert_eq!(of("banana", "2026-12-31", Pricing::Server).ok(), Some(0));
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole(net in 0_i64..10_000_000, cuts in prop::collection::vec(0_i64..=1_000, 0..6), rate in 0_u32..3_000) {
            let mut nets: Vec<i64> = cuts.iter().map(|permille| net * permille / 1_000).chain([0, net]).collect();
            nets.sort_unstable_by(|a, b| b.cmp(a));
            let parts = nets.windows(2).map(|pair| of_difference(Money::new(pair[0]), Money::new(pair[1]), rate).unwrap());
            let whole = Money::new(net).vat_included(rate).unwrap();
            prop_assert_eq!(Money::sum(parts).unwrap(), whole);
        }
    }
}
