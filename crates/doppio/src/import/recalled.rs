//! What is recorded of a sale that a return names.

use contract::{Money, OrderId, Slug, StoreId, timestamp_from_proto};
use jiff::Timestamp;
use ordering::domain::CommandId;
use ordering::ledger::Ledger;
use uuid::Uuid;

use super::sale::{Sold, SoldLine, SoldTender};
use crate::exit::Failure;

/// A recorded sale, and what refunds of it have taken.
pub struct Recalled {
    pub sold: Sold,
    pub taken: Vec<TakenBack>,
}

/// Units of a line that a refund took.
pub struct TakenBack {
    pub line_id: Slug,
    pub units: i64,
    /// The refund's.
    pub request: Uuid,
}

/// A sale of an earlier import.
pub async fn recall(
    ledger: &mut Ledger,
    store: &StoreId,
    id: OrderId,
) -> Result<Option<Recalled>, Failure> {
    let Some(answer) = ledger.outcome(CommandId::from(id), None).await? else {
        return Ok(None);
    };
    let answer = answer.map_err(|rejection| anyhow::anyhow!("{rejection}"))?;
    let Some(order) = answer.view_now(store) else {
        return Ok(None);
    };
    let money = |money: &Option<contract::api::types::Money>| {
        Money::new(money.as_ref().map_or(0, |money| money.amount_minor))
    };
    let mut sold = Sold {
        order_id: id,
        sold_at: order
            .place_time
            .as_ref()
            .and_then(timestamp_from_proto)
            .unwrap_or(Timestamp::MIN),
        lines: Vec::new(),
        tenders: Vec::new(),
    };
    for line in order.priced.iter().flat_map(|priced| &priced.lines) {
        sold.lines.push(SoldLine {
            line_id: Slug::new(&line.line_id)?,
            sku: Slug::new(&line.sku)?,
            units: line.quantity.into(),
            unit_price: money(&line.unit_price),
            net: money(&line.net),
        });
    }
    for tender in &order.tenders {
        sold.tenders.push(SoldTender {
            tender_id: Slug::new(&tender.tender_id)?,
            kind: contract::event::TenderKind::try_from(tender.kind).unwrap_or_default(),
            scheme: tender.scheme.clone(),
            amount: money(&tender.amount),
        });
    }
    let mut taken = Vec::new();
    for refund in &order.refunds {
        let request = Uuid::try_parse(&refund.request_id)?;
        for line in &refund.lines {
            taken.push(TakenBack {
                line_id: Slug::new(&line.line_id)?,
                units: line.quantity.into(),
                request,
            });
        }
    }
    Ok(Some(Recalled { sold, taken }))
}
