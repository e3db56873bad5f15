use std::collections::BTreeMap;

use contract::event::{OrderLine, ServiceMode, TaxAmount, TaxKind};
use contract::{Money, MoneyError};
use jiff::civil::Date;

use crate::catalog::{Item, Menu};

/// A line's tax class and the rate in force.
pub struct LineTax {
    pub class: String,
    pub kind: TaxKind,
    pub rate_bp: u32,
}

/// Class = f(item, service mode); the rate is the one in force on the store's local calendar date.
pub fn of_item(menu: &Menu, item: &Item, mode: ServiceMode, on: Date) -> LineTax {
    let class = if mode == ServiceMode::TakeAway {
        &item.tax_take_away
    } else {
        &item.tax_eat_in
    };
    let (kind, rate_bp) = menu
        .tax_classes
        .get(class)
        .map_or((TaxKind::Unspecified, 0), |class| {
            (class.kind, class.rate_bp(on))
        });
    LineTax {
        class: class.as_str().to_owned(),
        kind,
        rate_bp,
    }
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
