//! Which discounts a draft gets, in which order, and what each takes off.

use contract::event::{
    AppliedDiscount, DiscountAllocation, DiscountSource, Pricing, applied_discount,
};
use contract::{Money, MoneyError, Reason, Rejection};

use super::{Priced, out_of_range};
use crate::catalog::{DiscountValue, Item, Promotion, PromotionKind, Store};
use crate::domain::Flag;
use crate::domain::command::{Draft, ManualDiscount};

const FULL_BP: u32 = 10_000;

/// What a discount takes off one line.
struct Share {
    line_index: usize,
    /// What it is taken of: the line's net before.
    basis: Money,
    amount: Money,
}

pub(super) struct Discounter<'a> {
    pub draft: &'a Draft,
    pub store: &'a Store,
    /// What the menu says of each line; `None` for what a till has sold and the menu does not have.
    pub items: &'a [Option<&'a Item>],
    pub member_prices: bool,
    pub priced: &'a mut Priced,
}

impl Discounter<'_> {
    /// Line promotion, manual line discounts, one order promotion, manual order discounts, coupons.
    pub fn apply(&mut self) -> Result<(), Rejection> {
        // A sale at a till's prices has happened: the till has applied the promotions already, so only what it states is taken off.
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
        // The same holds for coupons: their codes are kept, and what they took off is among the discounts that the till states.
        for (index, code) in self.draft.promotion_codes.iter().enumerate() {
            if automatic {
                self.coupon(index, code.as_str())?;
            } else if !self
                .store
                .menu
                .promotions
                .iter()
                .any(|promotion| promotion.id == *code)
            {
                self.priced.flags.insert(Flag::UnknownPromotion);
            }
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
            .filter(|&index| self.covers(promotion, index))
            .collect()
    }

    fn covers(&self, promotion: &Promotion, index: usize) -> bool {
        self.items[index].is_some_and(|item| promotion.covers(item))
    }

    /// Floored to the store's discount step. A full discount takes all, whatever the step: nobody pays 3 won for what is free.
    fn percent(&self, of: Money, percent_bp: u32) -> Result<Money, MoneyError> {
        if percent_bp >= FULL_BP {
            return Ok(of);
        }
        let exact = of.scale_floor(percent_bp.into(), FULL_BP.into())?;
        let step = self.store.discount_step.minor().max(1);
        Ok(Money::new(exact.minor() - exact.minor().rem_euclid(step)))
    }

    fn share_of_line(&self, line_index: usize, value: DiscountValue) -> Result<Share, MoneyError> {
        let basis = self.remaining(line_index);
        let amount = match value {
            DiscountValue::Percent(percent_bp) => self.percent(basis, percent_bp)?,
            DiscountValue::Fixed(amount) => amount.min(basis),
        };
        Ok(Share {
            line_index,
            basis,
            amount,
        })
    }

    /// The largest applicable line promotion, ties to the lowest id. A fixed one is per unit.
    fn best_line_promotion(&mut self, index: usize) -> Result<(), MoneyError> {
        let menu = &self.store.menu;
        let mut best: Option<(&Promotion, Share)> = None;
        for promotion in menu
            .promotions
            .iter()
            .filter(|promotion| promotion.kind == PromotionKind::Line)
        {
            if !self.applies(promotion) || !self.covers(promotion, index) {
                continue;
            }
            let value = match promotion.value {
                DiscountValue::Fixed(per_unit) => {
                    DiscountValue::Fixed(per_unit.times(self.priced.lines[index].quantity.into())?)
                }
                percent @ DiscountValue::Percent(_) => percent,
            };
            let share = self.share_of_line(index, value)?;
            if best.as_ref().is_none_or(|(other, most)| {
                share.amount > most.amount
                    || (share.amount == most.amount && promotion.id < other.id)
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
        let mut best: Option<(&Promotion, Money, Vec<Share>)> = None;
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
            let amount = Money::sum(shares.iter().map(|share| share.amount))?;
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
    fn shares_of_order(
        &self,
        lines: &[usize],
        value: DiscountValue,
    ) -> Result<Vec<Share>, MoneyError> {
        match value {
            DiscountValue::Percent(_) => lines
                .iter()
                .map(|&index| self.share_of_line(index, value))
                .collect(),
            DiscountValue::Fixed(amount) => {
                let bases: Vec<Money> = lines.iter().map(|&index| self.remaining(index)).collect();
                let amount = amount.min(Money::sum(bases.iter().copied())?);
                let amounts = amount.allocate(&bases)?;
                Ok(lines
                    .iter()
                    .zip(bases)
                    .zip(amounts)
                    .map(|((&line_index, basis), amount)| Share {
                        line_index,
                        basis,
                        amount,
                    })
                    .collect())
            }
        }
    }

    /// Takes a discount off its lines. A discount that takes nothing off is not recorded.
    fn take(
        &mut self,
        mut discount: AppliedDiscount,
        shares: Vec<Share>,
    ) -> Result<(), MoneyError> {
        let mut total = Money::ZERO;
        for share in shares {
            let Share {
                line_index,
                basis,
                amount,
            } = share;
            if amount == Money::ZERO {
                continue;
            }
            let line = &mut self.priced.lines[line_index];
            line.discount = Money::new(line.discount).plus(amount)?.minor();
            line.net = Money::new(line.gross)
                .minus(Money::new(line.discount))?
                .minor();
            total = total.plus(amount)?;
            discount.allocations.push(DiscountAllocation {
                line_index: u32::try_from(line_index).unwrap_or(u32::MAX),
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

#[cfg(test)]
mod tests {
    use contract::event::{DiscountSource, TenderKind};
    use contract::{Money, Reason};
    use proptest::prelude::*;

    use crate::domain::command::Draft;
    use crate::domain::fixture::{
        draft, line, morning, off, percent, shop, shop_with_step, slug, tender, till_draft,
    };
    use crate::domain::pricing::{Priced, price};
    use crate::domain::settle_tenders;

    fn priced(draft: &Draft, promotions: &str) -> Priced {
        price(draft, &shop(promotions), morning(), false).unwrap()
    }

    /// Source, id and amount of each discount, in the order in which they were taken.
    fn taken(priced: &Priced) -> Vec<(DiscountSource, &str, i64)> {
        priced
            .discounts
            .iter()
            .map(|discount| {
                let source = discount.source();
                (source, discount.discount_id.as_str(), discount.amount)
            })
            .collect()
    }

    fn with_code(mut draft: Draft, code: &str) -> Draft {
        draft.promotion_codes.push(slug(code));
        draft
    }

    #[test]
    fn a_full_discount_takes_all_that_remains_whatever_the_step() {
        let promotion = |kind: &str| {
            format!(
                r#"{{ id = "all", name = {{ en = "All" }}, kind = "{kind}", percent_bp = 10000 }}"#
            )
        };
        let candy = || draft(vec![line("candy", 1)]);
        let mut on_line = candy();
        on_line.lines[0].discounts.push(percent("all", 10_000));
        let mut on_order = candy();
        on_order.order_discounts.push(percent("all", 10_000));
        // The first leaves an amount that is no multiple of the step.
        let mut after_another = candy();
        after_another.lines[0].discounts.push(off("some", 5));
        after_another.order_discounts.push(percent("all", 10_000));
        let mut at_till = till_draft(vec![line("candy", 1)]);
        at_till.lines[0].till_unit_price = Some(Money::new(333));
        at_till.order_discounts.push(percent("all", 10_000));
        for (draft, promotions) in [
            (on_line, String::new()),
            (on_order, String::new()),
            (after_another, String::new()),
            (at_till, String::new()),
            (candy(), promotion("line")),
            (candy(), promotion("order")),
            (with_code(candy(), "all"), promotion("coupon")),
        ] {
            let priced = priced(&draft, &promotions);
            assert_eq!(
                (priced.gross.minor(), priced.net),
                (333, Money::ZERO),
                "{draft:?}"
            );
            assert_eq!(settle_tenders(priced.net, &[]).unwrap(), []);
        }
    }

    #[test]
    fn a_percentage_is_floored_to_the_stores_step() {
        let mut ten_off = draft(vec![line("candy", 1)]);
        ten_off.order_discounts.push(percent("ten", 1_000));
        for (step, discount) in [(1, 33), (10, 30), (100, 0)] {
            let priced = price(&ten_off, &shop_with_step(step, ""), morning(), false).unwrap();
            assert_eq!(priced.discount.minor(), discount, "step {step}");
            // A discount that takes nothing off is not recorded.
            assert_eq!(priced.discounts.len(), usize::from(discount > 0));
        }
    }

    #[test]
    fn the_largest_line_promotion_counts_and_the_lowest_id_of_equals() {
        let promotions = r#"
            { id = "c", name = { en = "C" }, kind = "line", percent_bp = 1000 },
            { id = "b", name = { en = "B" }, kind = "line", amount = 500 },
            { id = "a", name = { en = "A" }, kind = "line", percent_bp = 1000, categories = ["food"] },
            { id = "members", name = { en = "M" }, kind = "line", percent_bp = 5000, members_only = true },
        "#;
        // Two lattes: 10 % of 10,000 and 500 each are equal; the banana: A and C are equal, B is larger.
        let two = draft(vec![line("latte", 2), line("sandwich", 1)]);
        assert_eq!(
            taken(&priced(&two, promotions)),
            [
                (DiscountSource::LinePromotion, "b", 1_000),
                (DiscountSource::LinePromotion, "a", 700)
            ]
        );
        let for_members = price(&two, &shop(promotions), morning(), true).unwrap();
        assert_eq!(
            taken(&for_members),
            [
                (DiscountSource::LinePromotion, "members", 5_000),
                (DiscountSource::LinePromotion, "members", 3_500)
            ]
        );
    }

    #[test]
    fn a_fixed_line_promotion_is_per_unit_and_capped_at_the_line() {
        let promotions = r#"{ id = "a", name = { en = "A" }, kind = "line", amount = 1000, items = ["candy", "latte"] }"#;
        let priced = priced(&draft(vec![line("candy", 3), line("latte", 3)]), promotions);
        assert_eq!(
            taken(&priced),
            [
                (DiscountSource::LinePromotion, "a", 999),
                (DiscountSource::LinePromotion, "a", 3_000)
            ]
        );
        assert_eq!(priced.lines[0].net, 0);
    }

    #[test]
    fn discounts_follow_one_another_each_on_what_remains() {
        let promotions = r#"
            { id = "line", name = { en = "L" }, kind = "line", percent_bp = 1000 },
            { id = "order", name = { en = "O" }, kind = "order", percent_bp = 1000 },
            { id = "less", name = { en = "O" }, kind = "order", amount = 100 },
            { id = "coupon", name = { en = "C" }, kind = "coupon", amount = 1000 },
        "#;
        let mut lattes = with_code(draft(vec![line("latte", 2)]), "coupon");
        lattes.lines[0].discounts.push(percent("hand", 1_000));
        lattes.order_discounts.push(percent("boss", 1_000));
        let priced = priced(&lattes, promotions);
        assert_eq!(
            taken(&priced),
            [
                (DiscountSource::LinePromotion, "line", 1_000),
                (DiscountSource::LineManual, "hand", 900),
                (DiscountSource::OrderPromotion, "order", 810),
                (DiscountSource::OrderManual, "boss", 720),
                (DiscountSource::Coupon, "coupon", 1_000),
            ]
        );
        assert_eq!(
            (priced.discount.minor(), priced.net.minor()),
            (4_430, 5_570)
        );
        // Each is stored with what it was taken of.
        let bases = |index: usize| priced.discounts[index].allocations[0].basis;
        assert_eq!(
            [0, 1, 2, 3, 4].map(bases),
            [10_000, 9_000, 8_100, 7_290, 6_570]
        );
        let hand = &priced.discounts[1];
        assert_eq!(
            (hand.reason_code.as_str(), hand.approver_id.as_str()),
            ("goodwill", "boss")
        );
    }

    #[test]
    fn a_fixed_discount_on_the_order_is_shared_by_what_remains_of_its_lines() {
        let promotions = r#"
            { id = "latte", name = { en = "L" }, kind = "line", percent_bp = 1000, items = ["latte"] },
            { id = "thousand", name = { en = "T" }, kind = "coupon", amount = 1000 },
            { id = "food", name = { en = "F" }, kind = "coupon", amount = 9000, categories = ["food"] },
        "#;
        let of_example = draft(vec![line("latte", 3), line("banana", 2)]);
        let thousand = priced(&with_code(of_example.clone(), "thousand"), promotions);
        let shares: Vec<(u32, i64, i64)> = thousand.discounts[1]
            .allocations
            .iter()
            .map(|share| (share.line_index, share.basis, share.amount))
            .collect();
        assert_eq!(shares, [(0, 13_500, 818), (1, 3_000, 182)]);
        // Only what it covers, and no more than what is left of that.
        let food = priced(&with_code(of_example, "food"), promotions);
        assert_eq!((food.lines[0].net, food.lines[1].net), (13_500, 0));
        assert_eq!(food.discounts[1].amount, 3_000);
    }

    #[test]
    fn a_coupon_that_does_not_apply_is_refused() {
        let promotions = r#"
            { id = "food", name = { en = "F" }, kind = "coupon", amount = 1000, categories = ["food"] },
            { id = "big", name = { en = "B" }, kind = "coupon", amount = 1000, min_gross = 5001 },
            { id = "members", name = { en = "M" }, kind = "coupon", amount = 1000, members_only = true },
            { id = "no-code", name = { en = "N" }, kind = "order", amount = 1, min_gross = 100000 },
            { id = "once", name = { en = "O" }, kind = "coupon", amount = 1 },
        "#;
        let latte = draft(vec![line("latte", 1)]);
        let mut refused: Vec<Draft> = ["unknown", "food", "big", "members", "no-code"]
            .map(|code| with_code(latte.clone(), code))
            .into();
        refused.push(with_code(with_code(latte.clone(), "once"), "once"));
        for draft in refused {
            let rejection = price(&draft, &shop(promotions), morning(), false).unwrap_err();
            assert_eq!(
                rejection.reason,
                Reason::PromotionNotApplicable,
                "{rejection}"
            );
        }
        let for_members = price(
            &with_code(latte, "members"),
            &shop(promotions),
            morning(),
            true,
        );
        assert_eq!(for_members.unwrap().net.minor(), 4_000);
    }

    #[test]
    fn a_promotion_asks_for_the_gross_that_it_names() {
        let promotions =
            r#"{ id = "a", name = { en = "A" }, kind = "order", amount = 100, min_gross = 10000 }"#;
        for (lattes, discounts) in [(1, 0), (2, 1)] {
            let priced = priced(&draft(vec![line("latte", lattes)]), promotions);
            assert_eq!(priced.discounts.len(), discounts);
        }
    }

    prop_compose! {
        fn any_draft()(
            lines in prop::collection::vec((0_usize..4, 1_i32..20, prop::option::of(1_u32..=10_000)), 1..8),
            on_order in prop::collection::vec(prop_oneof![(1_u32..=10_000).prop_map(Ok), (0_i64..50_000).prop_map(Err)], 0..3),
            coupon in any::<bool>(),
        ) -> Draft {
            let skus = ["americano", "latte", "banana", "candy"];
            let lines = lines.into_iter().enumerate().map(|(index, (sku, quantity, off))| {
                let mut line = line(skus[sku], quantity);
                line.line_id = slug(&format!("l{index}"));
                line.discounts = off.map(|bp| percent("hand", bp)).into_iter().collect();
                line
            });
            let mut draft = draft(lines.collect());
            draft.order_discounts = on_order.into_iter().enumerate().map(|(index, value)| {
                let id = format!("d{index}");
                value.map_or_else(|amount| off(&id, amount), |bp| percent(&id, bp))
            }).collect();
            draft.promotion_codes = coupon.then(|| slug("coupon")).into_iter().collect();
            draft
        }
    }

    proptest! {
        #[test]
        fn every_order_balances(draft in any_draft(), step in prop_oneof![Just(1_i64), Just(10), Just(100)]) {
            let promotions = r#"
                { id = "line", name = { en = "L" }, kind = "line", percent_bp = 1500, items = ["latte", "candy"] },
                { id = "order", name = { en = "O" }, kind = "order", amount = 777 },
                { id = "coupon", name = { en = "C" }, kind = "coupon", percent_bp = 3333 },
            "#;
            let priced = price(&draft, &shop_with_step(step, promotions), morning(), false).unwrap();
            let sum = |amounts: &mut dyn Iterator<Item = i64>| amounts.sum::<i64>();
            for (index, line) in priced.lines.iter().enumerate() {
                prop_assert_eq!(line.gross, line.unit_price * i64::from(line.quantity));
                prop_assert_eq!(line.gross - line.discount, line.net);
                prop_assert!(line.net >= 0 && line.discount >= 0);
                let shares = priced.discounts.iter().flat_map(|discount| &discount.allocations);
                let own = sum(&mut shares.filter(|share| share.line_index as usize == index).map(|share| share.amount));
                prop_assert_eq!(own, line.discount);
            }
            for discount in &priced.discounts {
                prop_assert_eq!(sum(&mut discount.allocations.iter().map(|share| share.amount)), discount.amount);
                prop_assert!(discount.allocations.iter().all(|share| share.amount <= share.basis));
            }
            prop_assert_eq!(priced.gross.minor() - priced.discount.minor(), priced.net.minor());
            prop_assert_eq!(sum(&mut priced.taxes.iter().map(|tax| tax.supply + tax.vat)), priced.net.minor());
            for tax in &priced.taxes {
                let lines = priced.lines.iter().filter(|line| line.tax_class == tax.tax_class);
                prop_assert_eq!(sum(&mut lines.map(|line| line.supply)), tax.supply);
            }
            // Whatever is due can be paid.
            let tenders = if priced.net == Money::ZERO { vec![] } else { vec![tender("t1", TenderKind::Card, priced.net.minor())] };
            prop_assert!(settle_tenders(priced.net, &tenders).is_ok());
        }
    }
}
