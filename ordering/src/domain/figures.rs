#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use contract::event::{
    self as e, Block, CategoryFigures, DayReport, DiscountFigures, DrawerFigures, HourFigures,
    ItemFigures, OrderLine, OrderPlaced, ReturnedTender, TaxAmount, TenderFigures,
};

use imbl::OrdMap;

use super::state::Floats;
use super::{MAX_DISCOUNTS_PER_DAY, MAX_DRAWERS_PER_DAY};

/// A sum does not fit into 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

fn add(total: &mut i64, amount: i64) -> Result<(), Overflow> {
    *total = total.checked_add(amount).ok_or(Overflow)?;
    Ok(())
}

fn difference(whole: i64, parts: [i64; 3]) -> Result<i64, Overflow> {
    parts
        .into_iter()
        .try_fold(whole, i64::checked_sub)
        .ok_or(Overflow)
}

#[derive(Debug, Clone, Default)]
struct Sums {
    count: i64,
    gross: i64,
    discount: i64,
    net: i64,
    /// By class and rate: kind, net, supply, vat.
    taxes: OrdMap<(String, u32), (i32, [i64; 3])>,
}

impl Sums {
    fn add(
        &mut self,
        gross: i64,
        discount: i64,
        net: i64,
        taxes: &[TaxAmount],
    ) -> Result<(), Overflow> {
        add(&mut self.count, 1)?;
        add(&mut self.gross, gross)?;
        add(&mut self.discount, discount)?;
        add(&mut self.net, net)?;
        for tax in taxes {
            let (_, sums) = self
                .taxes
                .entry((tax.tax_class.clone(), tax.rate_bp))
                .or_insert((tax.kind, [0; 3]));
            add(&mut sums[0], tax.net)?;
            add(&mut sums[1], tax.supply)?;
            add(&mut sums[2], tax.vat)?;
        }
        Ok(())
    }

    fn block(&self) -> Result<Block, Overflow> {
        let mut block = Block {
            count: self.count,
            gross: self.gross,
            discount: self.discount,
            net: self.net,
            ..Block::default()
        };
        for ((tax_class, rate_bp), (kind, [net, supply, vat])) in &self.taxes {
            add(&mut block.supply, *supply)?;
            add(&mut block.vat, *vat)?;
            block.taxes.push(TaxAmount {
                tax_class: tax_class.clone(),
                kind: *kind,
                rate_bp: *rate_bp,
                net: *net,
                supply: *supply,
                vat: *vat,
            });
        }
        Ok(block)
    }

    /// `self - voids - same day - prior days`, figure by figure.
    fn less(&self, parts: [&Self; 3]) -> Result<Self, Overflow> {
        let mut rest = Self {
            count: difference(self.count, parts.map(|part| part.count))?,
            gross: difference(self.gross, parts.map(|part| part.gross))?,
            discount: difference(self.discount, parts.map(|part| part.discount))?,
            net: difference(self.net, parts.map(|part| part.net))?,
            taxes: self.taxes.clone(),
        };
        for (key, (kind, sums)) in parts.iter().flat_map(|part| &part.taxes) {
            let (_, rest) = rest.taxes.entry(key.clone()).or_insert((*kind, [0; 3]));
            for (rest, sum) in rest.iter_mut().zip(sums) {
                *rest = rest.checked_sub(*sum).ok_or(Overflow)?;
            }
        }
        Ok(rest)
    }
}

#[derive(Debug, Clone, Default)]
struct Sold {
    name: BTreeMap<String, String>,
    category: String,
    units: i64,
    gross: i64,
    discount: i64,
    net: i64,
}

impl Sold {
    fn add(&mut self, line: &OrderLine) -> Result<(), Overflow> {
        add(&mut self.units, line.quantity.into())?;
        add(&mut self.gross, line.gross)?;
        add(&mut self.discount, line.discount)?;
        add(&mut self.net, line.net)
    }
}

#[derive(Debug, Clone, Default)]
struct Drawer {
    float: i64,
    tendered: i64,
    change: i64,
    returned: i64,
    paid_in: i64,
    paid_out: i64,
    counted: Option<i64>,
}

impl Drawer {
    fn expected(&self) -> Result<i64, Overflow> {
        [
            self.tendered,
            -self.change,
            -self.returned,
            self.paid_in,
            -self.paid_out,
        ]
        .into_iter()
        .try_fold(self.float, i64::checked_add)
        .ok_or(Overflow)
    }
}

/// The figures of a business day as far as it has come: what the X report shows and the Z report freezes. A copy shares what it holds
/// with the original: one is made for every record.
#[derive(Debug, Clone, Default)]
pub struct DayFigures {
    sales: Sums,
    voids: Sums,
    refunds_same_day: Sums,
    refunds_prior_days: Sums,
    /// By kind: taken, returned.
    tenders: OrdMap<i32, (i64, i64)>,
    drawers: OrdMap<String, Drawer>,
    items: OrdMap<String, Sold>,
    /// By each line's category, which a changed menu may change in the middle of a day.
    categories: OrdMap<String, Sold>,
    hours: OrdMap<String, (i64, i64, i64, i64)>,
    discounts: OrdMap<(i32, String), (i64, i64)>,
    carried_in: i64,
    completed: i64,
    cancelled: i64,
    first_document: i64,
    last_document: i64,
}

impl DayFigures {
    /// A day that begins with open orders of earlier days, some of which were completed since the last close, and floats in the drawers.
    #[must_use]
    pub fn begin(carried_in: i64, completed: i64, floats: &Floats) -> Self {
        let drawers = floats
            .iter()
            .map(|(drawer, float)| {
                (
                    drawer.clone(),
                    Drawer {
                        float: *float,
                        ..Drawer::default()
                    },
                )
            })
            .collect();
        Self {
            carried_in,
            completed,
            drawers,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn last_ticket(&self) -> i64 {
        self.sales.count
    }

    fn document(&mut self, number: i64) {
        if self.first_document == 0 {
            self.first_document = number;
        }
        self.last_document = number;
    }

    /// `hour`: start of the local hour with its offset.
    pub fn placed(&mut self, placed: &OrderPlaced, hour: String) -> Result<(), Overflow> {
        self.sales
            .add(placed.gross, placed.discount, placed.net, &placed.taxes)?;
        self.document(placed.document_number);
        for tender in &placed.tenders {
            add(
                &mut self.tenders.entry(tender.kind).or_default().0,
                tender.amount,
            )?;
            if tender.kind() == e::TenderKind::Cash {
                let drawer = self.drawers.entry(tender.drawer_id.clone()).or_default();
                add(&mut drawer.tendered, tender.tendered)?;
                add(&mut drawer.change, tender.change)?;
            }
        }
        for line in &placed.lines {
            let item = self.items.entry(line.sku.clone()).or_default();
            item.name.clone_from(&line.name);
            item.category.clone_from(&line.category);
            item.add(line)?;
            self.categories
                .entry(line.category.clone())
                .or_default()
                .add(line)?;
        }
        let (orders, gross, discount, net) = self.hours.entry(hour).or_default();
        add(orders, 1)?;
        add(gross, placed.gross)?;
        add(discount, placed.discount)?;
        add(net, placed.net)?;
        for applied in &placed.discounts {
            let (count, amount) = self
                .discounts
                .entry((applied.source, applied.discount_id.clone()))
                .or_default();
            add(count, 1)?;
            add(amount, applied.amount)?;
        }
        Ok(())
    }

    pub fn completed(&mut self) -> Result<(), Overflow> {
        add(&mut self.completed, 1)
    }

    pub fn cancelled(&mut self, cancelled: &e::OrderCancelled) -> Result<(), Overflow> {
        let same_day = cancelled.sale_business_date == cancelled.business_date;
        let block = if same_day {
            &mut self.voids
        } else {
            &mut self.refunds_prior_days
        };
        block.add(
            cancelled.gross,
            cancelled.discount,
            cancelled.net,
            &cancelled.taxes,
        )?;
        self.document(cancelled.document_number);
        add(&mut self.cancelled, 1)?;
        self.returned(&cancelled.tenders)
    }

    pub fn refunded(&mut self, refunded: &e::OrderRefunded) -> Result<(), Overflow> {
        let same_day = refunded.sale_business_date == refunded.business_date;
        let block = if same_day {
            &mut self.refunds_same_day
        } else {
            &mut self.refunds_prior_days
        };
        block.add(
            refunded.gross,
            refunded.discount,
            refunded.net,
            &refunded.taxes,
        )?;
        self.document(refunded.document_number);
        self.returned(&refunded.tenders)
    }

    fn returned(&mut self, tenders: &[ReturnedTender]) -> Result<(), Overflow> {
        for tender in tenders {
            add(
                &mut self.tenders.entry(tender.kind).or_default().1,
                tender.amount,
            )?;
            if tender.kind() == e::TenderKind::Cash {
                add(
                    &mut self
                        .drawers
                        .entry(tender.drawer_id.clone())
                        .or_default()
                        .returned,
                    tender.amount,
                )?;
            }
        }
        Ok(())
    }

    pub fn cash_moved(&mut self, moved: &e::CashMoved) -> Result<(), Overflow> {
        let drawer = self.drawers.entry(moved.drawer_id.clone()).or_default();
        match moved.kind() {
            // A float states what the drawer starts with; it does not add to what was carried over.
            e::CashMovementKind::Float => {
                drawer.float = moved.amount;
                Ok(())
            }
            e::CashMovementKind::PaidIn => add(&mut drawer.paid_in, moved.amount),
            e::CashMovementKind::PaidOut => add(&mut drawer.paid_out, moved.amount),
            e::CashMovementKind::Unspecified => Ok(()),
        }
    }

    /// Whether the day's report has room for what an order brings: its drawers and discounts.
    #[must_use]
    pub fn has_room_for<'a>(
        &self,
        drawers: impl Iterator<Item = &'a str>,
        discounts: impl Iterator<Item = (i32, &'a str)>,
    ) -> bool {
        let new_drawers = drawers
            .filter(|drawer| !drawer.is_empty() && !self.drawers.contains_key(*drawer))
            .collect::<BTreeSet<_>>()
            .len();
        let new_discounts = discounts
            .filter(|(source, id)| !self.discounts.contains_key(&(*source, (*id).to_owned())))
            .collect::<BTreeSet<_>>()
            .len();
        (new_drawers == 0 || self.drawers.len() + new_drawers <= MAX_DRAWERS_PER_DAY)
            && (new_discounts == 0 || self.discounts.len() + new_discounts <= MAX_DISCOUNTS_PER_DAY)
    }

    /// What a drawer was counted to hold at the close.
    pub fn counted(&mut self, drawer_id: &str, counted: i64) {
        self.drawers
            .entry(drawer_id.to_owned())
            .or_default()
            .counted = Some(counted);
    }

    /// What goes back to customers, for the grand total of returns.
    pub fn returns_net(&self) -> Result<i64, Overflow> {
        [self.refunds_same_day.net, self.refunds_prior_days.net]
            .into_iter()
            .try_fold(self.voids.net, i64::checked_add)
            .ok_or(Overflow)
    }

    #[must_use]
    pub fn sales_net(&self) -> i64 {
        self.sales.net
    }

    /// What each drawer should hold, or was counted to hold: the next day's floats.
    pub fn closing_floats(&self) -> Result<Floats, Overflow> {
        self.drawers
            .iter()
            .map(|(id, drawer)| {
                Ok((
                    id.clone(),
                    drawer.counted.map_or_else(|| drawer.expected(), Ok)?,
                ))
            })
            .collect()
    }

    /// The body of the report. Grand totals are those before this day.
    pub fn report(
        &self,
        grand_total_sales: i64,
        grand_total_returns: i64,
    ) -> Result<DayReport, Overflow> {
        let turnover = self.sales.less([
            &self.voids,
            &self.refunds_same_day,
            &self.refunds_prior_days,
        ])?;
        let mut report = DayReport {
            sales: Some(self.sales.block()?),
            voids: Some(self.voids.block()?),
            refunds_same_day: Some(self.refunds_same_day.block()?),
            refunds_prior_days: Some(self.refunds_prior_days.block()?),
            turnover: Some(turnover.block()?),
            carried_in: self.carried_in,
            completed: self.completed,
            cancelled: self.cancelled,
            carried_out: self
                .carried_in
                .checked_add(self.sales.count)
                .and_then(|open| open.checked_sub(self.completed))
                .and_then(|open| open.checked_sub(self.cancelled))
                .ok_or(Overflow)?,
            first_ticket: i64::from(self.sales.count > 0),
            last_ticket: self.sales.count,
            first_document: self.first_document,
            last_document: self.last_document,
            grand_total_sales: grand_total_sales
                .checked_add(self.sales.net)
                .ok_or(Overflow)?,
            grand_total_returns: grand_total_returns
                .checked_add(self.returns_net()?)
                .ok_or(Overflow)?,
            ..DayReport::default()
        };
        for (kind, (taken, returned)) in &self.tenders {
            let net = taken.checked_sub(*returned).ok_or(Overflow)?;
            report.tenders.push(TenderFigures {
                kind: *kind,
                taken: *taken,
                returned: *returned,
                net,
            });
        }
        for (drawer_id, drawer) in &self.drawers {
            let expected = drawer.expected()?;
            report.drawers.push(DrawerFigures {
                drawer_id: drawer_id.clone(),
                float: drawer.float,
                tendered: drawer.tendered,
                change: drawer.change,
                returned: drawer.returned,
                paid_in: drawer.paid_in,
                paid_out: drawer.paid_out,
                expected,
                counted: drawer.counted,
                over_short: drawer
                    .counted
                    .map(|counted| counted.checked_sub(expected).ok_or(Overflow))
                    .transpose()?,
            });
        }
        for (sku, item) in &self.items {
            report.items.push(ItemFigures {
                sku: sku.clone(),
                name: item.name.clone(),
                category: item.category.clone(),
                units: item.units,
                gross: item.gross,
                discount: item.discount,
                net: item.net,
            });
        }
        for (category, sold) in &self.categories {
            report.categories.push(CategoryFigures {
                category: category.clone(),
                units: sold.units,
                gross: sold.gross,
                discount: sold.discount,
                net: sold.net,
            });
        }
        for (hour, (orders, gross, discount, net)) in &self.hours {
            report.hours.push(HourFigures {
                hour: hour.clone(),
                orders: *orders,
                gross: *gross,
                discount: *discount,
                net: *net,
            });
        }
        for ((source, discount_id), (count, amount)) in &self.discounts {
            report.discounts.push(DiscountFigures {
                source: *source,
                discount_id: discount_id.clone(),
                count: *count,
                amount: *amount,
            });
        }
        Ok(report)
    }
}
