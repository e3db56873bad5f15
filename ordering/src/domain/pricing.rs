//! What a draft costs. The server prices; what it finds is stored with the order and never computed again.

mod discounts;
mod line;

use std::collections::BTreeSet;

use contract::event::{AppliedDiscount, OrderLine, TaxAmount};
use contract::{Money, MoneyError, Reason, Rejection};
use jiff::Timestamp;

use self::discounts::Discounter;
use super::command::Draft;
use super::{Flag, MAX_AMOUNT_MINOR, tax};
use crate::catalog::Store;

/// A draft with its prices.
#[derive(Debug, Clone, Default)]
pub struct Priced {
    pub lines: Vec<OrderLine>,
    pub discounts: Vec<AppliedDiscount>,
    pub taxes: Vec<TaxAmount>,
    pub gross: Money,
    pub discount: Money,
    pub net: Money,
    /// What is odd about a sale at the till's own prices.
    pub flags: BTreeSet<Flag>,
}

fn out_of_range(_: MoneyError) -> Rejection {
    Rejection::new(
        Reason::AmountOutOfRange,
        "the order's amounts do not fit into 64 bits",
    )
}

/// Prices a draft as of `at`. `member_prices`: whether members' promotions apply.
pub fn price(
    draft: &Draft,
    store: &Store,
    at: Timestamp,
    member_prices: bool,
) -> Result<Priced, Rejection> {
    let on = store.zone.to_datetime(at).date();
    let mut priced = Priced::default();
    let mut items = Vec::with_capacity(draft.lines.len());
    for index in 0..draft.lines.len() {
        let (line, item) = line::price(draft, index, store, on, &mut priced.flags)?;
        priced.lines.push(line);
        items.push(item);
    }
    priced.gross =
        Money::sum(priced.lines.iter().map(|line| Money::new(line.gross))).map_err(out_of_range)?;
    if priced.gross.minor() > MAX_AMOUNT_MINOR {
        return Err(Rejection::new(
            Reason::AmountOutOfRange,
            format!("an order comes to at most {MAX_AMOUNT_MINOR} minor units"),
        ));
    }
    Discounter {
        draft,
        store,
        items: &items,
        member_prices,
        priced: &mut priced,
    }
    .apply()?;
    priced.discount = Money::sum(priced.lines.iter().map(|line| Money::new(line.discount)))
        .map_err(out_of_range)?;
    priced.net = priced.gross.minus(priced.discount).map_err(out_of_range)?;
    priced.taxes = tax::of_receipt(&mut priced.lines).map_err(out_of_range)?;
    Ok(priced)
}
