//! What a draft costs. The server prices; what it finds is stored with the order and never computed again.

use contract::event::{
    AppliedDiscount, DiscountAllocation, DiscountSource, LineOption, OrderLine, Pricing,
    ServiceMode, TaxAmount, applied_discount,
};
use contract::{Money, MoneyError, Reason, Rejection};
use jiff::Timestamp;

use super::command::{Draft, DraftLine, ManualDiscount};
use super::{MAX_AMOUNT_MINOR, tax};
use crate::catalog::{DiscountValue, Item, Promotion, PromotionKind, Store};

const FULL_BP: i64 = 10_000;

/// A draft with its prices.
#[derive(Debug, Clone, Default)]
pub struct Priced {
    pub lines: Vec<OrderLine>,
    pub discounts: Vec<AppliedDiscount>,
    pub taxes: Vec<TaxAmount>,
    pub gross: Money,
    pub discount: Money,
    pub net: Money,
    /// A till's price differs from the menu's.
    pub till_price_differs: bool,
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
    for (index, line) in draft.lines.iter().enumerate() {
        let item = store.menu.items.get(&line.sku).ok_or_else(|| {
            Rejection::field(
                Reason::UnknownItem,
                format!("draft.lines[{index}].sku"),
                format!("the menu has no item {}", line.sku),
            )
            .with("sku", &line.sku)
        })?;
        if item.sold_out && draft.pricing != Pricing::Till {
            return Err(Rejection::field(
                Reason::SoldOut,
                format!("draft.lines[{index}].sku"),
                format!("{} is sold out", line.sku),
            )
            .with("sku", &line.sku));
        }
        let options = options_of(index, line, item)?;
        let menu_price = unit_price(item, &options).map_err(out_of_range)?;
        let unit_price = match line.till_unit_price {
            Some(price) => {
                priced.till_price_differs |= price != menu_price;
                price
            }
            None => menu_price,
        };
        if unit_price < Money::ZERO {
            return Err(Rejection::field(
                Reason::OptionNotAllowed,
                format!("draft.lines[{index}].options"),
                "with these options the price would be negative",
            ));
        }
        let mode = line.service_mode.unwrap_or(draft.service_mode);
        let mode = if mode == ServiceMode::Unspecified {
            ServiceMode::EatIn
        } else {
            mode
        };
        let tax = tax::of_item(&store.menu, item, mode, on, draft.pricing)?;
        let gross = unit_price
            .times(line.quantity.into())
            .map_err(out_of_range)?;
        priced.lines.push(OrderLine {
            line_id: line.line_id.to_string(),
            sku: line.sku.to_string(),
            name: item.name.clone(),
            category: item.category.to_string(),
            quantity: line.quantity,
            options,
            service_mode: mode.into(),
            unit_price: unit_price.minor(),
            gross: gross.minor(),
            discount: 0,
            net: gross.minor(),
            tax_class: tax.class,
            tax_kind: tax.kind.into(),
            tax_rate_bp: tax.rate_bp,
            supply: 0,
        });
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

fn options_of(index: usize, line: &DraftLine, item: &Item) -> Result<Vec<LineOption>, Rejection> {
    let mut options: Vec<LineOption> = Vec::with_capacity(line.options.len());
    for (option_index, wanted) in line.options.iter().enumerate() {
        let field = format!("draft.lines[{index}].options[{option_index}]");
        let option = item
            .options
            .iter()
            .find(|option| option.id == wanted.option_id)
            .ok_or_else(|| {
                Rejection::field(
                    Reason::UnknownOption,
                    format!("{field}.option_id"),
                    format!("{} has no option {}", item.sku, wanted.option_id),
                )
                .with("sku", &item.sku)
                .with("option_id", &wanted.option_id)
            })?;
        if wanted.quantity > option.max_quantity {
            let description = format!(
                "at most {} of {} on one {}",
                option.max_quantity, option.id, item.sku
            );
            return Err(Rejection::field(
                Reason::OptionNotAllowed,
                format!("{field}.quantity"),
                description,
            ));
        }
        if options
            .iter()
            .any(|earlier| earlier.option_id == option.id.as_str())
        {
            return Err(Rejection::field(
                Reason::OptionNotAllowed,
                format!("{field}.option_id"),
                format!("{} is named twice", option.id),
            ));
        }
        options.push(LineOption {
            option_id: option.id.to_string(),
            name: option.name.clone(),
            quantity: wanted.quantity,
            unit_price: option.price_delta.minor(),
        });
    }
    Ok(options)
}

fn unit_price(item: &Item, options: &[LineOption]) -> Result<Money, MoneyError> {
    options.iter().try_fold(item.price, |price, option| {
        price.plus(Money::new(option.unit_price).times(option.quantity.into())?)
    })
}

/// A discount on some lines: per line index, what it was taken of and how much it is.
type Shares = Vec<(usize, Money, Money)>;

struct Discounter<'a> {
    draft: &'a Draft,
    store: &'a Store,
    items: &'a [&'a Item],
    member_prices: bool,
    priced: &'a mut Priced,
}

impl Discounter<'_> {
    /// Line promotion, manual line discounts, one order promotion, manual order discounts, coupons.
    fn apply(&mut self) -> Result<(), Rejection> {
        // A sale that has happened at a till's prices had its promotions then; only what the till itself states is taken off.
        let automatic = self.draft.pricing != Pricing::Till;
        for index in 0..self.items.len() {
            if automatic {
                self.best_line_promotion(index).map_err(out_of_range)?;
            }
            for discount in &self.draft.lines[index].discounts {
                let share = self
                    .share_of_line(index, discount.value)
                    .map_err(out_of_range)?;
                self.take(manual(discount, DiscountSource::LineManual), vec![share])
                    .map_err(out_of_range)?;
            }
        }
        let every_line: Vec<usize> = (0..self.items.len()).collect();
        if automatic {
            self.best_order_promotion().map_err(out_of_range)?;
        }
        for discount in &self.draft.order_discounts {
            let shares = self
                .shares_of_order(&every_line, discount.value)
                .map_err(out_of_range)?;
            self.take(manual(discount, DiscountSource::OrderManual), shares)
                .map_err(out_of_range)?;
        }
        // Codes of a sale that has happened are kept as information: what they took off, the till states.
        for (index, code) in self
            .draft
            .promotion_codes
            .iter()
            .enumerate()
            .filter(|_| automatic)
        {
            self.coupon(index, code.as_str())?;
        }
        Ok(())
    }

    fn remaining(&self, index: usize) -> Money {
        Money::new(self.priced.lines[index].net)
    }

    fn applies(&self, promotion: &Promotion) -> bool {
        (!promotion.members_only || self.member_prices) && self.priced.gross >= promotion.min_gross
    }

    fn eligible(&self, promotion: &Promotion) -> Vec<usize> {
        (0..self.items.len())
            .filter(|&index| promotion.covers(self.items[index]))
            .collect()
    }

    fn percent(&self, of: Money, percent_bp: u32) -> Result<Money, MoneyError> {
        let exact = of.scale_floor(percent_bp.into(), FULL_BP)?;
        let step = self.store.discount_step.minor().max(1);
        Ok(Money::new(exact.minor() - exact.minor().rem_euclid(step)))
    }

    fn share_of_line(
        &self,
        index: usize,
        value: DiscountValue,
    ) -> Result<(usize, Money, Money), MoneyError> {
        let basis = self.remaining(index);
        let amount = match value {
            DiscountValue::Percent(percent_bp) => self.percent(basis, percent_bp)?,
            DiscountValue::Fixed(amount) => amount.min(basis),
        };
        Ok((index, basis, amount))
    }

    /// The largest applicable line promotion, ties to the lowest id. A fixed one is per unit.
    fn best_line_promotion(&mut self, index: usize) -> Result<(), MoneyError> {
        let menu = &self.store.menu;
        let mut best: Option<(&Promotion, (usize, Money, Money))> = None;
        for promotion in menu
            .promotions
            .iter()
            .filter(|promotion| promotion.kind == PromotionKind::Line)
        {
            if !self.applies(promotion) || !promotion.covers(self.items[index]) {
                continue;
            }
            let value = match promotion.value {
                DiscountValue::Fixed(per_unit) => {
                    DiscountValue::Fixed(per_unit.times(self.priced.lines[index].quantity.into())?)
                }
                percent @ DiscountValue::Percent(_) => percent,
            };
            let share = self.share_of_line(index, value)?;
            if best.is_none_or(|(other, (_, _, amount))| {
                share.2 > amount || (share.2 == amount && promotion.id < other.id)
            }) {
                best = Some((promotion, share));
            }
        }
        match best {
            Some((promotion, share)) => self.take(
                promoted(promotion, DiscountSource::LinePromotion),
                vec![share],
            ),
            None => Ok(()),
        }
    }

    fn best_order_promotion(&mut self) -> Result<(), MoneyError> {
        let mut best: Option<(&Promotion, Money, Shares)> = None;
        for promotion in self
            .store
            .menu
            .promotions
            .iter()
            .filter(|promotion| promotion.kind == PromotionKind::Order)
        {
            if !self.applies(promotion) {
                continue;
            }
            let shares = self.shares_of_order(&self.eligible(promotion), promotion.value)?;
            let amount = Money::sum(shares.iter().map(|(_, _, amount)| *amount))?;
            if best.as_ref().is_none_or(|(other, most, _)| {
                amount > *most || (amount == *most && promotion.id < other.id)
            }) {
                best = Some((promotion, amount, shares));
            }
        }
        match best {
            Some((promotion, _, shares)) => {
                self.take(promoted(promotion, DiscountSource::OrderPromotion), shares)
            }
            None => Ok(()),
        }
    }

    fn coupon(&mut self, index: usize, code: &str) -> Result<(), Rejection> {
        let field = format!("draft.promotion_codes[{index}]");
        let refuse = |why: String| {
            Rejection::field(Reason::PromotionNotApplicable, &field, why)
                .with("promotion_code", code)
        };
        let menu = &self.store.menu;
        let promotion = menu
            .promotions
            .iter()
            .find(|promotion| {
                promotion.kind == PromotionKind::Coupon && promotion.id.as_str() == code
            })
            .ok_or_else(|| refuse(format!("there is no coupon {code}")))?;
        if self.draft.promotion_codes[..index]
            .iter()
            .any(|earlier| earlier.as_str() == code)
        {
            return Err(refuse(format!("the coupon {code} is named twice")));
        }
        if !self.applies(promotion) {
            return Err(refuse(format!(
                "the coupon {code} does not apply to this order"
            )));
        }
        let eligible = self.eligible(promotion);
        if eligible.is_empty() {
            return Err(refuse(format!(
                "the coupon {code} covers none of the lines"
            )));
        }
        let shares = self
            .shares_of_order(&eligible, promotion.value)
            .map_err(out_of_range)?;
        self.take(promoted(promotion, DiscountSource::Coupon), shares)
            .map_err(out_of_range)
    }

    /// An order-level discount over lines: a percentage is taken per line, a fixed amount is shared by what remains of each.
    fn shares_of_order(&self, lines: &[usize], value: DiscountValue) -> Result<Shares, MoneyError> {
        match value {
            DiscountValue::Percent(_) => lines
                .iter()
                .map(|&index| self.share_of_line(index, value))
                .collect(),
            DiscountValue::Fixed(amount) => {
                let bases: Vec<Money> = lines.iter().map(|&index| self.remaining(index)).collect();
                let amount = amount.min(Money::sum(bases.iter().copied())?);
                let shares = amount.allocate(&bases)?;
                Ok(lines
                    .iter()
                    .zip(bases)
                    .zip(shares)
                    .map(|((&index, basis), share)| (index, basis, share))
                    .collect())
            }
        }
    }

    /// Takes a discount off its lines. One of nothing leaves no trace.
    fn take(&mut self, mut discount: AppliedDiscount, shares: Shares) -> Result<(), MoneyError> {
        let mut total = Money::ZERO;
        for (index, basis, amount) in shares {
            if amount == Money::ZERO {
                continue;
            }
            let line = &mut self.priced.lines[index];
            line.discount = Money::new(line.discount).plus(amount)?.minor();
            line.net = Money::new(line.gross)
                .minus(Money::new(line.discount))?
                .minor();
            total = total.plus(amount)?;
            let line_index = u32::try_from(index).unwrap_or(u32::MAX);
            discount.allocations.push(DiscountAllocation {
                line_index,
                basis: basis.minor(),
                amount: amount.minor(),
            });
        }
        if total > Money::ZERO {
            discount.amount = total.minor();
            self.priced.discounts.push(discount);
        }
        Ok(())
    }
}

fn event_value(value: DiscountValue) -> applied_discount::Value {
    match value {
        DiscountValue::Percent(percent_bp) => applied_discount::Value::PercentBp(percent_bp),
        DiscountValue::Fixed(amount) => applied_discount::Value::Fixed(amount.minor()),
    }
}

fn promoted(promotion: &Promotion, source: DiscountSource) -> AppliedDiscount {
    AppliedDiscount {
        discount_id: promotion.id.to_string(),
        discount_version: promotion.version,
        source: source.into(),
        value: Some(event_value(promotion.value)),
        ..AppliedDiscount::default()
    }
}

fn manual(discount: &ManualDiscount, source: DiscountSource) -> AppliedDiscount {
    AppliedDiscount {
        discount_id: discount.discount_id.to_string(),
        source: source.into(),
        value: Some(event_value(discount.value)),
        reason_code: discount.reason_code.to_string(),
        approver_id: discount.approver_id.to_string(),
        ..AppliedDiscount::default()
    }
}
