//! The figures of one business day while records are folded into them. SEMANTICS of the blocks: S sales, V voids, R refunds of the day's
//! own orders, P refunds and cancellations of earlier days' orders; turnover = S - V - R - P, figure by figure.

use std::collections::BTreeMap;

use contract::event::{
    Block, CashMoved, CashMovementKind, DayReport, DrawerFigures, HourFigures, OrderPlaced,
    ReturnedTender, TaxAmount, TenderFigures, TenderKind,
};

use super::lists::Lists;
use super::poison::{Poison, add, difference};

/// Where cash goes when a tender names no drawer.
const MAIN_DRAWER: &str = "main";

#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// The figures without order, and the digests of the lists once the day is closed; tenders, drawers and hours are kept in the maps below.
    report: DayReport,
    sales: Block,
    voids: Block,
    refunds_same_day: Block,
    refunds_prior_days: Block,
    tenders: BTreeMap<i32, TenderFigures>,
    drawers: BTreeMap<String, DrawerFigures>,
    hours: BTreeMap<String, HourFigures>,
}

/// What a cancellation or refund gives back.
pub(crate) struct Returned<'a> {
    pub gross: i64,
    pub discount: i64,
    pub net: i64,
    pub taxes: &'a [TaxAmount],
    pub tenders: &'a [ReturnedTender],
    pub document_number: i64,
}

/// Which block something given back counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnBlock {
    Voids,
    RefundsSameDay,
    RefundsPriorDays,
}

impl Figures {
    /// A day that begins: what earlier days left behind.
    pub fn begin(carried_in: i64, grand_total_sales: i64, grand_total_returns: i64) -> Self {
        let report = DayReport {
            carried_in,
            carried_out: carried_in,
            grand_total_sales,
            grand_total_returns,
            ..DayReport::default()
        };
        Self {
            report,
            ..Self::default()
        }
    }

    pub fn of(mut report: DayReport) -> Self {
        Self {
            sales: report.sales.take().unwrap_or_default(),
            voids: report.voids.take().unwrap_or_default(),
            refunds_same_day: report.refunds_same_day.take().unwrap_or_default(),
            refunds_prior_days: report.refunds_prior_days.take().unwrap_or_default(),
            tenders: std::mem::take(&mut report.tenders)
                .into_iter()
                .map(|row| (row.kind, row))
                .collect(),
            drawers: std::mem::take(&mut report.drawers)
                .into_iter()
                .map(|row| (row.drawer_id.clone(), row))
                .collect(),
            hours: std::mem::take(&mut report.hours)
                .into_iter()
                .map(|row| (row.hour.clone(), row))
                .collect(),
            report,
        }
    }

    pub fn sales_count(&self) -> i64 {
        self.sales.count
    }

    pub fn grand_totals(&self) -> (i64, i64) {
        (
            self.report.grand_total_sales,
            self.report.grand_total_returns,
        )
    }

    /// An order's sale, already known to balance. `hour`: its local hour.
    pub fn sale(&mut self, placed: &OrderPlaced, hour: &str) -> Result<(), Poison> {
        let amounts = [placed.gross, placed.discount, placed.net];
        count_in(&mut self.sales, amounts, &placed.taxes)?;
        add(
            &mut self.report.grand_total_sales,
            placed.net,
            "the grand total of sales",
        )?;
        for tender in &placed.tenders {
            let row = self
                .tenders
                .entry(tender.kind)
                .or_insert_with(|| TenderFigures {
                    kind: tender.kind,
                    ..TenderFigures::default()
                });
            add(&mut row.taken, tender.amount, "a tender's amount taken")?;
            add(&mut row.net, tender.amount, "a tender's net")?;
            if tender.kind == TenderKind::Cash as i32 {
                let drawer = self.drawer(&tender.drawer_id);
                add(&mut drawer.tendered, tender.tendered, "a drawer's cash")?;
                add(&mut drawer.change, tender.change, "a drawer's change")?;
                expect(drawer)?;
            }
        }
        let row = match self.hours.get_mut(hour) {
            Some(row) => row,
            None => self
                .hours
                .entry(hour.to_owned())
                .or_insert_with(|| HourFigures {
                    hour: hour.to_owned(),
                    ..HourFigures::default()
                }),
        };
        row.orders += 1;
        add(&mut row.gross, placed.gross, "an hour's gross")?;
        add(&mut row.discount, placed.discount, "an hour's discount")?;
        add(&mut row.net, placed.net, "an hour's net")?;
        self.report.first_ticket = 1;
        self.report.last_ticket = placed.ticket_number;
        self.document(placed.document_number);
        Ok(())
    }

    /// Something given back, already known to balance.
    pub fn give_back(&mut self, block: ReturnBlock, returned: &Returned<'_>) -> Result<(), Poison> {
        let block = match block {
            ReturnBlock::Voids => &mut self.voids,
            ReturnBlock::RefundsSameDay => &mut self.refunds_same_day,
            ReturnBlock::RefundsPriorDays => &mut self.refunds_prior_days,
        };
        count_in(
            block,
            [returned.gross, returned.discount, returned.net],
            returned.taxes,
        )?;
        add(
            &mut self.report.grand_total_returns,
            returned.net,
            "the grand total of returns",
        )?;
        for tender in returned.tenders {
            let row = self
                .tenders
                .entry(tender.kind)
                .or_insert_with(|| TenderFigures {
                    kind: tender.kind,
                    ..TenderFigures::default()
                });
            add(
                &mut row.returned,
                tender.amount,
                "a tender's amount returned",
            )?;
            add(&mut row.net, -tender.amount, "a tender's net")?;
            if tender.kind == TenderKind::Cash as i32 {
                let drawer = self.drawer(&tender.drawer_id);
                add(
                    &mut drawer.returned,
                    tender.amount,
                    "a drawer's cash returned",
                )?;
                expect(drawer)?;
            }
        }
        self.document(returned.document_number);
        Ok(())
    }

    pub fn completed(&mut self, orders: i64) {
        self.report.completed += orders;
    }

    pub fn cancelled(&mut self) {
        self.report.cancelled += 1;
    }

    pub fn float(&mut self, drawer_id: &str, amount: i64) -> Result<(), Poison> {
        let drawer = self.drawer(drawer_id);
        add(&mut drawer.carried, amount, "a drawer's float")?;
        drawer.float = drawer.carried;
        expect(drawer)
    }

    /// The cash that a drawer is expected to hold.
    pub fn expected(&self, drawer_id: &str) -> i64 {
        self.drawers
            .get(drawer_name(drawer_id))
            .map_or(0, |drawer| drawer.expected)
    }

    pub fn cash(&mut self, moved: &CashMoved) -> Result<(), Poison> {
        if moved.amount < 0 {
            return Err(Poison::Unbalanced(format!(
                "a cash movement of {} on drawer {}",
                moved.amount, moved.drawer_id
            )));
        }
        let drawer = self.drawer(&moved.drawer_id);
        match moved.kind() {
            // A float states what the drawer starts with; it does not add to what was carried over.
            CashMovementKind::Float => {
                drawer.float = moved.amount;
                let difference = difference(
                    moved.amount,
                    drawer.carried,
                    "a drawer's opening difference",
                )?;
                drawer.opening_difference = Some(difference);
            }
            CashMovementKind::PaidIn => {
                add(&mut drawer.paid_in, moved.amount, "a drawer's cash paid in")?;
            }
            CashMovementKind::PaidOut => add(
                &mut drawer.paid_out,
                moved.amount,
                "a drawer's cash paid out",
            )?,
            CashMovementKind::Unspecified => {
                return Err(Poison::Illegal("a cash movement is of no kind".into()));
            }
        }
        expect(drawer)
    }

    /// The day ends. A drawer that nobody counted and that should hold less than nothing holds nothing; the lists are proven by digests.
    pub fn close(&mut self, lists: &Lists) -> Result<(), Poison> {
        for drawer in self.drawers.values_mut() {
            if drawer.counted.is_none() && drawer.expected < 0 {
                drawer.over_short = Some(difference(0, drawer.expected, "a drawer's difference")?);
            }
        }
        lists.prove(&mut self.report)
    }

    /// A count is a fact from outside; what it is over or short by is computed here.
    pub fn counted(&mut self, drawer_id: &str, counted: i64) -> Result<(), Poison> {
        let drawer = self.drawer(drawer_id);
        drawer.counted = Some(counted);
        drawer.over_short = Some(
            counted
                .checked_sub(drawer.expected)
                .ok_or(Poison::Overflow("a drawer's difference"))?,
        );
        Ok(())
    }

    /// Asserts what holds of every day, and writes the figures down in a fixed order. `open_orders`: those not completed or cancelled.
    pub fn report(&self, open_orders: i64) -> Result<DayReport, Poison> {
        let mut turnover = Block::default();
        for (block, sign) in [
            (&self.sales, 1),
            (&self.voids, -1),
            (&self.refunds_same_day, -1),
            (&self.refunds_prior_days, -1),
        ] {
            accumulate(
                &mut turnover,
                [block.gross, block.discount, block.net],
                &block.taxes,
                sign,
            )?;
        }
        turnover.taxes.sort_by(|a, b| {
            (&a.tax_class, a.kind, a.rate_bp).cmp(&(&b.tax_class, b.kind, b.rate_bp))
        });
        Ok(DayReport {
            sales: Some(sorted(&self.sales)),
            voids: Some(sorted(&self.voids)),
            refunds_same_day: Some(sorted(&self.refunds_same_day)),
            refunds_prior_days: Some(sorted(&self.refunds_prior_days)),
            turnover: Some(turnover),
            tenders: self.tenders.values().copied().collect(),
            drawers: self.drawers.values().cloned().collect(),
            hours: self.hours.values().cloned().collect(),
            carried_out: open_orders,
            ..self.report.clone()
        })
    }

    fn drawer(&mut self, drawer_id: &str) -> &mut DrawerFigures {
        let drawer_id = drawer_name(drawer_id);
        self.drawers
            .entry(drawer_id.to_owned())
            .or_insert_with(|| DrawerFigures {
                drawer_id: drawer_id.to_owned(),
                ..DrawerFigures::default()
            })
    }

    fn document(&mut self, number: i64) {
        if self.report.first_document == 0 {
            self.report.first_document = number;
        }
        self.report.last_document = number;
    }
}

/// The drawer that cash goes to.
pub(crate) fn drawer_name(named: &str) -> &str {
    if named.is_empty() { MAIN_DRAWER } else { named }
}

/// expected = float + tendered - change - returned + paid in - paid out.
fn expect(drawer: &mut DrawerFigures) -> Result<(), Poison> {
    let flows = i128::from(drawer.float) + i128::from(drawer.tendered)
        - i128::from(drawer.change)
        - i128::from(drawer.returned);
    let expected = flows + i128::from(drawer.paid_in) - i128::from(drawer.paid_out);
    drawer.expected =
        i64::try_from(expected).map_err(|_| Poison::Overflow("a drawer's expected cash"))?;
    Ok(())
}

fn count_in(block: &mut Block, amounts: [i64; 3], taxes: &[TaxAmount]) -> Result<(), Poison> {
    block.count += 1;
    accumulate(block, amounts, taxes, 1)
}

/// VAT is summed up receipt by receipt, never computed from totals. `sign` is 1 or -1.
fn accumulate(
    block: &mut Block,
    [gross, discount, net]: [i64; 3],
    taxes: &[TaxAmount],
    sign: i64,
) -> Result<(), Poison> {
    let add = |to: &mut i64, amount: i64, what| {
        add(
            to,
            amount.checked_mul(sign).ok_or(Poison::Overflow(what))?,
            what,
        )
    };
    add(&mut block.gross, gross, "a block's gross")?;
    add(&mut block.discount, discount, "a block's discount")?;
    add(&mut block.net, net, "a block's net")?;
    for tax in taxes {
        add(&mut block.supply, tax.supply, "a block's supply")?;
        add(&mut block.vat, tax.vat, "a block's VAT")?;
        let same = |row: &TaxAmount| {
            row.tax_class == tax.tax_class && row.kind == tax.kind && row.rate_bp == tax.rate_bp
        };
        let at = block.taxes.iter().position(same).unwrap_or_else(|| {
            block.taxes.push(TaxAmount {
                net: 0,
                supply: 0,
                vat: 0,
                ..tax.clone()
            });
            block.taxes.len() - 1
        });
        let row = &mut block.taxes[at];
        add(&mut row.net, tax.net, "a class's net")?;
        add(&mut row.supply, tax.supply, "a class's supply")?;
        add(&mut row.vat, tax.vat, "a class's VAT")?;
    }
    Ok(())
}

fn sorted(block: &Block) -> Block {
    let mut block = block.clone();
    block
        .taxes
        .sort_by(|a, b| (&a.tax_class, a.kind, a.rate_bp).cmp(&(&b.tax_class, b.kind, b.rate_bp)));
    block
}
