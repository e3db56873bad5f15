//! What moves money, as one row an event with its lines and tenders.

use contract::api::ordering as api;
use contract::event::{
    OrderCancelled, OrderPlaced, OrderRefunded, ReturnedLine, ReturnedTender, TaxAmount, TenderKind,
};
use contract::{BusinessDate, LocalHour, Money, OrderId, StoreId};
use jiff::Timestamp;
use read_model::{
    DiscountRow, EventPlace, FactBlock, FactKind, FactRow, Facts, LineRow, TenderRow,
};

use super::figures::{ReturnBlock, drawer_name};
use super::poison::{Poison, difference, sum};

/// Where and when a fact was recorded.
pub(crate) struct Place {
    pub store: StoreId,
    pub place: EventPlace,
    pub recorded_at: Timestamp,
    /// Its local hour.
    pub hour: LocalHour,
}

/// What a cancellation or refund says of itself.
pub(crate) struct GivenBack<'a> {
    pub kind: FactKind,
    pub block: FactBlock,
    pub order_id: &'a [u8],
    pub business_date: &'a str,
    pub sale_business_date: &'a str,
    pub document_number: i64,
    pub reason_code: &'a str,
    pub amounts: [i64; 3],
    pub lines: &'a [ReturnedLine],
    pub taxes: &'a [TaxAmount],
    pub tenders: &'a [ReturnedTender],
}

impl<'a> GivenBack<'a> {
    pub fn cancelled(event: &'a OrderCancelled, block: ReturnBlock) -> Self {
        Self {
            kind: FactKind::Void,
            block: fact_block(block),
            order_id: &event.order_id,
            business_date: &event.business_date,
            sale_business_date: &event.sale_business_date,
            document_number: event.document_number,
            reason_code: &event.reason_code,
            amounts: [event.gross, event.discount, event.net],
            lines: &event.lines,
            taxes: &event.taxes,
            tenders: &event.tenders,
        }
    }

    pub fn refunded(event: &'a OrderRefunded, block: ReturnBlock) -> Self {
        Self {
            kind: FactKind::Refund,
            block: fact_block(block),
            order_id: &event.order_id,
            business_date: &event.business_date,
            sale_business_date: &event.sale_business_date,
            document_number: event.document_number,
            reason_code: &event.reason_code,
            amounts: [event.gross, event.discount, event.net],
            lines: &event.lines,
            taxes: &event.taxes,
            tenders: &event.tenders,
        }
    }
}

fn fact_block(block: ReturnBlock) -> FactBlock {
    match block {
        ReturnBlock::Voids => FactBlock::Voids,
        ReturnBlock::RefundsSameDay => FactBlock::RefundsSameDay,
        ReturnBlock::RefundsPriorDays => FactBlock::RefundsPriorDays,
    }
}

/// A sale that is known to balance.
pub(crate) fn sale(
    place: &Place,
    date: BusinessDate,
    order_id: OrderId,
    placed: &OrderPlaced,
) -> Result<Facts, Poison> {
    let mut lines: Vec<LineRow> = placed
        .lines
        .iter()
        .zip(0..)
        .map(|(line, position)| LineRow {
            store: place.store.clone(),
            place: place.place,
            position,
            line_index: position,
            sku: line.sku.clone(),
            category: line.category.clone(),
            quantity: line.quantity,
            gross: Money::new(line.gross),
            discount: Money::new(line.discount),
            net: Money::new(line.net),
            vat: Money::ZERO,
            tax_class: line.tax_class.clone(),
            tax_rate_bp: line.tax_rate_bp,
        })
        .collect();
    share_vat(&mut lines, &placed.taxes)?;
    let discounts = placed
        .discounts
        .iter()
        .zip(0..)
        .map(|(discount, position)| DiscountRow {
            store: place.store.clone(),
            place: place.place,
            position,
            source: discount.source,
            discount_id: discount.discount_id.clone(),
            amount: Money::new(discount.amount),
        });
    let tenders = placed
        .tenders
        .iter()
        .zip(0..)
        .map(|(tender, position)| TenderRow {
            store: place.store.clone(),
            place: place.place,
            position,
            tender_id: tender.tender_id.clone(),
            kind: tender.kind,
            drawer_id: drawer(tender.kind, &tender.drawer_id),
            tendered: Money::new(tender.tendered),
            change: Money::new(tender.change),
            taken: Money::new(tender.amount),
            returned: Money::ZERO,
        });
    let fact = FactRow {
        store: place.store.clone(),
        place: place.place,
        kind: FactKind::Sale,
        block: FactBlock::Sales,
        business_date: date,
        sale_business_date: date,
        order_id,
        recorded_at: place.recorded_at,
        hour: place.hour.name().to_owned(),
        hour_repeated: place.hour.is_repeated(),
        document_number: placed.document_number,
        reason_code: String::new(),
        gross: Money::new(placed.gross),
        discount: Money::new(placed.discount),
        net: Money::new(placed.net),
        vat: vat(&placed.taxes)?,
    };
    Ok(Facts {
        facts: vec![fact],
        lines,
        discounts: discounts.collect(),
        tenders: tenders.collect(),
        ..Facts::default()
    })
}

/// Something given back, which is known to balance and to be lines of `order`.
pub(crate) fn given_back(
    place: &Place,
    date: BusinessDate,
    sale_date: BusinessDate,
    order_id: OrderId,
    given: &GivenBack<'_>,
    order: &api::Order,
) -> Result<Facts, Poison> {
    let sold = order
        .priced
        .as_ref()
        .map(|priced| priced.lines.as_slice())
        .unwrap_or_default();
    let mut lines = Vec::with_capacity(given.lines.len());
    for (line, position) in given.lines.iter().zip(0..) {
        let of = sold.get(line.line_index as usize).ok_or_else(|| {
            Poison::Illegal(format!(
                "order {order_id}: line {} is given back, but it is not there",
                line.line_index
            ))
        })?;
        lines.push(LineRow {
            store: place.store.clone(),
            place: place.place,
            position,
            line_index: line.line_index,
            sku: of.sku.clone(),
            category: of.category.clone(),
            quantity: line.quantity,
            gross: Money::new(line.gross),
            discount: Money::new(line.discount),
            net: Money::new(line.net),
            vat: Money::ZERO,
            tax_class: of.tax_class.clone(),
            tax_rate_bp: of.tax_rate_bp,
        });
    }
    share_vat(&mut lines, given.taxes)?;
    let tenders = given
        .tenders
        .iter()
        .zip(0..)
        .map(|(tender, position)| TenderRow {
            store: place.store.clone(),
            place: place.place,
            position,
            tender_id: tender.tender_id.clone(),
            kind: tender.kind,
            drawer_id: drawer(tender.kind, &tender.drawer_id),
            tendered: Money::ZERO,
            change: Money::ZERO,
            taken: Money::ZERO,
            returned: Money::new(tender.amount),
        });
    let [gross, discount, net] = given.amounts.map(Money::new);
    let fact = FactRow {
        store: place.store.clone(),
        place: place.place,
        kind: given.kind,
        block: given.block,
        business_date: date,
        sale_business_date: sale_date,
        order_id,
        recorded_at: place.recorded_at,
        hour: place.hour.name().to_owned(),
        hour_repeated: place.hour.is_repeated(),
        document_number: given.document_number,
        reason_code: given.reason_code.to_owned(),
        gross,
        discount,
        net,
        vat: vat(given.taxes)?,
    };
    Ok(Facts {
        facts: vec![fact],
        lines,
        tenders: tenders.collect(),
        ..Facts::default()
    })
}

fn drawer(kind: i32, named: &str) -> String {
    if kind == TenderKind::Cash as i32 {
        drawer_name(named).to_owned()
    } else {
        String::new()
    }
}

fn vat(taxes: &[TaxAmount]) -> Result<Money, Poison> {
    sum(taxes.iter().map(|tax| tax.vat), "a receipt's VAT").map(Money::new)
}

/// Shares each class's supply over its lines by largest remainder, as the receipt does; a line's VAT is its net less its share.
/// Whatever the lines' amounts, the shares of a class sum to its VAT: what is left over is the first line's.
fn share_vat(lines: &mut [LineRow], taxes: &[TaxAmount]) -> Result<(), Poison> {
    for tax in taxes {
        let of_class =
            |line: &LineRow| line.tax_class == tax.tax_class && line.tax_rate_bp == tax.rate_bp;
        let mut own: Vec<&mut LineRow> = lines.iter_mut().filter(|line| of_class(line)).collect();
        let weights: Vec<Money> = own.iter().map(|line| line.net).collect();
        let overflow = |_| Poison::Overflow("a line's VAT");
        let shares = Money::new(tax.supply)
            .allocate(&weights)
            .map_err(overflow)?;
        let mut rest = tax.vat;
        for (line, share) in own.iter_mut().zip(shares) {
            line.vat = line.net.minus(share).map_err(overflow)?;
            rest = difference(rest, line.vat.minor(), "a line's VAT")?;
        }
        if let Some(line) = own.first_mut() {
            line.vat = line.vat.plus(Money::new(rest)).map_err(overflow)?;
        } else if let Some(line) = lines.first_mut() {
            line.vat = line.vat.plus(Money::new(rest)).map_err(overflow)?;
        }
    }
    Ok(())
}
