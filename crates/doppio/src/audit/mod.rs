//! Recomputes a ledger's days from the log alone, with code of its own, and compares them with what the read model serves.

mod clocks;
mod members;
mod settlement;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::api::query::{GetDailySalesRequest, GetDailySalesResponse};
use contract::api::types::{DayLists, Money};
use contract::event::event::Event;
use contract::{OrderId, StoreId, decode_payload};
use event_log::{ChainState, EventLog, LedgerName, LogError};

use self::settlement::{EventRecord, Settlement};
use crate::clients::{Clients, call};
use crate::exit::Failure;

const PAGE: usize = 1_000;

/// One business date as its events have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayAudit {
    pub orders: i64,
    pub units: i64,
    pub gross: i64,
    pub discount: i64,
    pub net: i64,
    pub vat: i64,
    pub voids: i64,
    pub voids_net: i64,
    pub by_item: BTreeMap<String, i64>,
    pub z_number: Option<i64>,
}

/// A whole ledger.
#[derive(Debug, Clone, Default)]
pub struct LedgerAudit {
    pub records: u64,
    pub events: u64,
    pub days: BTreeMap<String, DayAudit>,
    pub orders: BTreeSet<OrderId>,
    /// Orders that were accepted without an answer of the member service and have none yet.
    pub owed: BTreeSet<OrderId>,
    /// Z reports that were recomputed and found as recorded.
    pub verified_reports: usize,
    /// It could not be read to its end; the problems say why.
    pub is_broken: bool,
    /// What is wrong with the ledger itself.
    pub problems: Vec<String>,
}

/// Reads a ledger from its first record, to its end or to the record that breaks it.
pub async fn ledger(log: &Arc<dyn EventLog>, store: &StoreId) -> Result<LedgerAudit, Failure> {
    let name = LedgerName::new(store.as_str())?;
    let mut audit = LedgerAudit::default();
    let mut chain: Option<ChainState> = None;
    let (mut document, mut tickets) = (0_i64, BTreeMap::<String, i64>::new());
    let mut settlement = Settlement::default();
    let mut time = clocks::Time::default();
    let mut members = members::Members::default();
    loop {
        let records = match log.read(&name, chain.as_ref(), PAGE).await {
            Err(broken @ LogError::Broken { .. }) => {
                audit.broken(broken);
                break;
            }
            read => read?,
        };
        let Some(last) = records.last() else { break };
        chain = Some(ChainState::after(last));
        for record in &records {
            audit.records += 1;
            let payload = match decode_payload(record.payload()) {
                Ok(payload) => payload,
                Err(error) => {
                    audit.broken(format!("revision {}: {error}", record.revision()));
                    return Ok(audit);
                }
            };
            if let Err(problem) = time.take(record.header().recorded_at, payload.clocks.as_ref()) {
                audit
                    .problems
                    .push(format!("revision {}: {problem}", record.revision()));
            }
            let events = payload
                .commands
                .iter()
                .flat_map(|command| &command.events)
                .filter_map(|event| event.event.as_ref());
            for (index, event) in events.enumerate() {
                let around = EventRecord {
                    revision: record.revision().0,
                    index,
                    recorded_at: record.header().recorded_at,
                    previous_hash: &record.header().previous_hash.0,
                    hash: &record.hash().0,
                };
                for taken in [settlement.take(event, &around), members.take(event)] {
                    if let Err(problem) = taken {
                        audit
                            .problems
                            .push(format!("revision {}: {problem}", record.revision()));
                    }
                }
                audit.events += 1;
                audit.take(event, record.revision().0, &mut document, &mut tickets);
            }
        }
    }
    audit.verified_reports = settlement.verified;
    audit.owed = members.owed;
    Ok(audit)
}

impl LedgerAudit {
    fn broken(&mut self, why: impl std::fmt::Display) {
        self.is_broken = true;
        self.problems.push(why.to_string());
    }

    fn take(
        &mut self,
        event: &Event,
        revision: u64,
        document: &mut i64,
        tickets: &mut BTreeMap<String, i64>,
    ) {
        let mut number = |found: i64, problems: &mut Vec<String>| {
            *document += 1;
            if found != *document {
                problems.push(format!(
                    "revision {revision}: document {found} where {document} is due"
                ));
                *document = found;
            }
        };
        match event {
            Event::OrderPlaced(placed) => {
                number(placed.document_number, &mut self.problems);
                let ticket = tickets.entry(placed.business_date.clone()).or_default();
                *ticket += 1;
                if placed.ticket_number != *ticket {
                    self.problems.push(format!(
                        "revision {revision}: ticket {} of {} where {ticket} is due",
                        placed.ticket_number, placed.business_date
                    ));
                    *ticket = placed.ticket_number;
                }
                match OrderId::from_slice(&placed.order_id) {
                    Ok(id) if self.orders.insert(id) => {}
                    Ok(id) => self
                        .problems
                        .push(format!("revision {revision}: order {id} is placed twice")),
                    Err(error) => self.problems.push(format!("revision {revision}: {error}")),
                }
                let day = self.days.entry(placed.business_date.clone()).or_default();
                day.orders += 1;
                day.gross += placed.gross;
                day.discount += placed.discount;
                day.net += placed.net;
                day.vat += placed.taxes.iter().map(|tax| tax.vat).sum::<i64>();
                for line in &placed.lines {
                    day.units += i64::from(line.quantity);
                    *day.by_item.entry(line.sku.clone()).or_default() += i64::from(line.quantity);
                }
            }
            Event::OrderCancelled(cancelled) => {
                number(cancelled.document_number, &mut self.problems);
                if cancelled.business_date == cancelled.sale_business_date {
                    let day = self
                        .days
                        .entry(cancelled.business_date.clone())
                        .or_default();
                    day.voids += 1;
                    day.voids_net += cancelled.net;
                }
            }
            Event::OrderRefunded(refunded) => number(refunded.document_number, &mut self.problems),
            Event::BusinessDayOpened(opened) => {
                let date = opened.business_date.clone();
                if self.days.insert(date, DayAudit::default()).is_some() {
                    self.problems.push(format!(
                        "revision {revision}: business day {} is opened twice",
                        opened.business_date
                    ));
                }
            }
            Event::BusinessDayClosed(closed) => {
                self.days
                    .entry(closed.business_date.clone())
                    .or_default()
                    .z_number = Some(closed.z_number);
            }
            _ => {}
        }
    }

    /// Compares every day with what the query service answers; returns the differences and the answers.
    pub async fn compare(
        &self,
        clients: &Clients,
        store: &StoreId,
        at_least: &[String],
    ) -> Result<(Vec<String>, Vec<GetDailySalesResponse>), Failure> {
        let mut differences = Vec::new();
        let mut answers = Vec::new();
        for (date, day) in &self.days {
            let request = GetDailySalesRequest {
                store_id: store.to_string(),
                business_date: date.clone(),
                at_least: at_least.to_vec(),
            };
            let sales = clients
                .query
                .clone()
                .get_daily_sales(call(request))
                .await?
                .into_inner();
            let minor = |money: Option<&Money>| money.map_or(0, |money| money.amount_minor);
            let block = |block: Option<&contract::api::types::Block>| {
                (
                    block.and_then(|block| block.count).unwrap_or(0),
                    block.map_or(0, |block| minor(block.net.as_ref())),
                )
            };
            let voids = block(sales.voids.as_ref());
            let token = at_least.to_vec();
            let first = DayLists {
                items: sales.items.clone(),
                more: sales.more_rows,
                ..DayLists::default()
            };
            let items = clients
                .all_rows(store.as_str(), date, token, first)
                .await?
                .items;
            let projected = DayAudit {
                orders: sales.orders,
                units: items.iter().map(|item| item.units).sum(),
                gross: minor(sales.gross.as_ref()),
                discount: minor(sales.discount.as_ref()),
                net: minor(sales.net.as_ref()),
                vat: minor(sales.vat.as_ref()),
                voids: voids.0,
                voids_net: voids.1,
                by_item: items
                    .iter()
                    .map(|item| (item.sku.clone(), item.units))
                    .collect(),
                z_number: Some(sales.z_number).filter(|number| *number > 0),
            };
            if projected != *day {
                differences.push(format!(
                    "{store} {date}: the log says {day:?}, the read model {projected:?}"
                ));
            }
            for difference in &sales.differences {
                differences.push(format!(
                    "{store} {date}: {}: the Z report says {}, the projection {}",
                    difference.figure, difference.recorded, difference.projected
                ));
            }
            answers.push(sales);
        }
        Ok((differences, answers))
    }
}
