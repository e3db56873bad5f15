mod image;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use contract::event::{
    self as e, Block, DayReport, DrawerFigures, HourFigures, ListDigest, OrderLine, OrderPlaced,
    ReturnedTender, TaxAmount, TenderFigures,
};
use contract::list_digest::{self, ListAmounts};
use imbl::OrdMap;

pub use self::image::FiguresImage;

use super::{MAX_DRAWERS_PER_DAY, MAX_TAX_CLASSES_PER_DAY};

/// Amounts of cash by drawer.
pub type Floats = OrdMap<String, i64>;

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

#[derive(Debug, Clone, Default, PartialEq)]
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
            // Orders less refunds count nothing.
            count: 0,
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

/// Rows of a list by key.
type List = OrdMap<String, ListAmounts>;

fn add_to(list: &mut List, key: &str, amounts: ListAmounts) -> Result<(), Overflow> {
    match list.get_mut(key) {
        Some(row) => *row = row.plus(amounts).ok_or(Overflow)?,
        None => {
            list.insert(key.to_owned(), amounts);
        }
    }
    Ok(())
}

fn sold(line: &OrderLine) -> ListAmounts {
    ListAmounts {
        count: line.quantity.into(),
        gross: line.gross,
        discount: line.discount,
        net: line.net,
    }
}

fn digest(list: &List) -> Result<Option<ListDigest>, Overflow> {
    let rows = list.iter().map(|(key, row)| (key.as_str(), *row));
    list_digest::digest(rows).map(Some).ok_or(Overflow)
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Drawer {
    /// What the last close left in it.
    carried: i64,
    /// What it was counted to hold at the opening, if it was.
    stated: Option<i64>,
    tendered: i64,
    change: i64,
    returned: i64,
    paid_in: i64,
    paid_out: i64,
    counted: Option<i64>,
}

impl Drawer {
    fn float(&self) -> i64 {
        self.stated.unwrap_or(self.carried)
    }

    fn expected(&self) -> Result<i64, Overflow> {
        [
            self.tendered,
            -self.change,
            -self.returned,
            self.paid_in,
            -self.paid_out,
        ]
        .into_iter()
        .try_fold(self.float(), i64::checked_add)
        .ok_or(Overflow)
    }

    /// What it holds at the close as far as anybody knows: what was counted, else what it should hold, which cannot be less than nothing.
    fn held(&self) -> Result<i64, Overflow> {
        match self.counted {
            Some(counted) => Ok(counted),
            None => Ok(self.expected()?.max(0)),
        }
    }

    /// Its figures at the close.
    fn figures(&self, drawer_id: &str) -> Result<DrawerFigures, Overflow> {
        let expected = self.expected()?;
        let known = self.counted.is_some() || expected < 0;
        let over_short = self.held()?.checked_sub(expected).ok_or(Overflow)?;
        let opening_difference = self
            .stated
            .map(|stated| stated.checked_sub(self.carried).ok_or(Overflow))
            .transpose()?;
        Ok(DrawerFigures {
            drawer_id: drawer_id.to_owned(),
            float: self.float(),
            tendered: self.tendered,
            change: self.change,
            returned: self.returned,
            paid_in: self.paid_in,
            paid_out: self.paid_out,
            expected,
            counted: self.counted,
            over_short: known.then_some(over_short),
            carried: self.carried,
            opening_difference,
        })
    }
}

/// The figures of a business day as far as it has come: what the X report shows and the Z report freezes. A copy shares what it holds
/// with the original: one is made for every record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DayFigures {
    sales: Sums,
    voids: Sums,
    refunds_same_day: Sums,
    refunds_prior_days: Sums,
    /// By kind: taken, returned.
    tenders: OrdMap<i32, (i64, i64)>,
    drawers: OrdMap<String, Drawer>,
    items: List,
    /// By each line's category, which a changed menu may change in the middle of a day.
    categories: List,
    hours: OrdMap<String, (i64, i64, i64, i64)>,
    discounts: List,
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
                        carried: *float,
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
            add_to(&mut self.items, &line.sku, sold(line))?;
            add_to(&mut self.categories, &line.category, sold(line))?;
        }
        let (orders, gross, discount, net) = self.hours.entry(hour).or_default();
        add(orders, 1)?;
        add(gross, placed.gross)?;
        add(discount, placed.discount)?;
        add(net, placed.net)?;
        for applied in &placed.discounts {
            let once = ListAmounts {
                count: 1,
                discount: applied.amount,
                ..ListAmounts::default()
            };
            let key = list_digest::discount_key(applied.source, &applied.discount_id);
            add_to(&mut self.discounts, &key, once)?;
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
                drawer.stated = Some(moved.amount);
                Ok(())
            }
            e::CashMovementKind::PaidIn => add(&mut drawer.paid_in, moved.amount),
            e::CashMovementKind::PaidOut => add(&mut drawer.paid_out, moved.amount),
            e::CashMovementKind::Unspecified => Ok(()),
        }
    }

    /// Whether the day's report has room for these drawers beside those it has.
    #[must_use]
    pub fn has_room_for_drawers<'a>(&self, drawers: impl Iterator<Item = &'a str>) -> bool {
        let new = drawers
            .filter(|drawer| !drawer.is_empty() && !self.drawers.contains_key(*drawer))
            .collect::<BTreeSet<_>>()
            .len();
        new == 0 || self.drawers.len() + new <= MAX_DRAWERS_PER_DAY
    }

    /// Whether the day's report has room for these tax classes, each at its rate, beside those it has.
    #[must_use]
    pub fn has_room_for_taxes(&self, taxes: &[TaxAmount]) -> bool {
        let blocks = [
            &self.sales,
            &self.voids,
            &self.refunds_same_day,
            &self.refunds_prior_days,
        ];
        let known = |tax: &TaxAmount| {
            let key = (tax.tax_class.clone(), tax.rate_bp);
            blocks.iter().any(|block| block.taxes.contains_key(&key))
        };
        if taxes.iter().all(known) {
            return true;
        }
        let mut all: BTreeSet<(&str, u32)> = blocks
            .iter()
            .flat_map(|block| block.taxes.keys())
            .map(|(class, rate)| (class.as_str(), *rate))
            .collect();
        all.extend(
            taxes
                .iter()
                .map(|tax| (tax.tax_class.as_str(), tax.rate_bp)),
        );
        all.len() <= MAX_TAX_CLASSES_PER_DAY
    }

    /// What a drawer should hold by now.
    pub fn expected(&self, drawer_id: &str) -> Result<i64, Overflow> {
        self.drawers.get(drawer_id).map_or(Ok(0), Drawer::expected)
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

    /// What each drawer holds at the close: the next day's floats. A drawer that holds nothing leaves.
    pub fn closing_floats(&self) -> Result<Floats, Overflow> {
        let mut floats = Floats::new();
        for (id, drawer) in &self.drawers {
            let held = drawer.held()?;
            if held != 0 {
                floats.insert(id.clone(), held);
            }
        }
        Ok(floats)
    }

    /// The body of the report at the close. Grand totals are those before this day.
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
            items: digest(&self.items)?,
            categories: digest(&self.categories)?,
            discounts: digest(&self.discounts)?,
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
            report.drawers.push(drawer.figures(drawer_id)?);
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
        Ok(report)
    }
}
