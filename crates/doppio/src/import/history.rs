//! What of an import is in a store's ledger already, and whether it is the same.

use std::collections::HashMap;

use contract::{decode_payload, timestamp_from_proto};
use event_log::{ChainState, EventLog, LedgerName};
use jiff::Timestamp;
use ordering::domain::Command;
use ordering::domain::stamp::CLOCK_TOLERANCE;
use ordering::ledger::{Ledger, Repeat};
use uuid::Uuid;

use super::mistake::{Mistakes, shown};
use super::plan::{Plan, Planned};
use super::sale::sale;
use crate::exit::Failure;

/// Receipts whose commands are looked up at once.
const LOOK_UP: usize = 500;
/// Records read at once.
const PAGE: usize = 512;

/// Whether a receipt is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    New,
    /// An import ended in the middle of it.
    Begun,
    There,
}

/// The commands of one receipt: its sale's, then its returns'.
pub fn commands(plan: &Plan, planned: &Planned) -> Result<Vec<Command>, Failure> {
    let receipt = &planned.receipt;
    let mut commands = Vec::new();
    if !receipt.lines.is_empty() {
        let sale = sale(receipt, &plan.shops[receipt.shop], &plan.till).map_err(|(_, what)| {
            anyhow::anyhow!("receipt {}: {what}", shown(&receipt.identity.number))
        })?;
        commands.extend(sale.commands);
    }
    for refund in &planned.refunds {
        commands.push(Command::RefundOrder(refund.command.clone()));
    }
    Ok(commands)
}

/// Which receipts of a shop are there. Those that are there with other content or at another time are listed, and so is what would have to be
/// recorded before the ledger's end.
pub async fn compare(
    plan: &Plan,
    shop: usize,
    ledger: &Ledger,
    log: &dyn EventLog,
    conflicts: &mut Mistakes,
) -> Result<Vec<State>, Failure> {
    let own: Vec<&Planned> = plan
        .receipts
        .iter()
        .filter(|planned| planned.receipt.shop == shop)
        .collect();
    let mut states = Vec::with_capacity(own.len());
    // Command by which a receipt that is there is found in the log.
    let mut known: HashMap<Uuid, &Planned> = HashMap::new();
    for chunk in own.chunks(LOOK_UP) {
        let commands: Vec<Vec<Command>> = chunk
            .iter()
            .map(|planned| commands(plan, planned))
            .collect::<Result<_, _>>()?;
        let repeats = ledger.repeats(&commands.concat()).await?;
        let mut repeats = repeats.into_iter();
        for (planned, commands) in chunk.iter().zip(commands) {
            let found: Vec<Repeat> = repeats.by_ref().take(commands.len()).collect();
            let is_new = found.iter().all(|repeat| *repeat == Repeat::No);
            let is_there = found.iter().all(|repeat| *repeat == Repeat::Yes);
            states.push(match (is_new, is_there) {
                (true, _) => State::New,
                (_, true) => State::There,
                _ => State::Begun,
            });
            if is_new {
                if let Some(last) = ledger.recorded_at()
                    && planned.receipt.sold_at < last
                {
                    let what = format!(
                        "receipt {} was sold before the last record of {} of {}; a store's history is imported in order and alone",
                        shown(&planned.receipt.identity.number),
                        planned.receipt.identity.store,
                        local(plan, shop, last)
                    );
                    conflicts.note(&plan.file, planned.receipt.row, "sold_at", what);
                }
                continue;
            }
            if found.contains(&Repeat::OtherContent) {
                let what = format!(
                    "receipt {} was imported before, differently: other articles, amounts or tenders",
                    shown(&planned.receipt.identity.number)
                );
                conflicts.note(&plan.file, planned.receipt.row, "receipt", what);
            } else if !is_there
                && ledger
                    .recorded_at()
                    .is_some_and(|last| planned.receipt.sold_at < last)
            {
                // An import that was broken off has left only its last receipt unfinished.
                let what = format!(
                    "receipt {} was imported before, differently: it sold or took back less",
                    shown(&planned.receipt.identity.number)
                );
                conflicts.note(&plan.file, planned.receipt.row, "receipt", what);
            }
            let first = commands
                .iter()
                .zip(&found)
                .find(|(_, repeat)| **repeat != Repeat::No);
            if let Some(id) = first.and_then(|(command, _)| command.id()) {
                known.insert(id.0, planned);
            }
        }
    }
    compare_times(plan, shop, log, &known, conflicts).await?;
    Ok(states)
}

/// What has been sold lies behind two clocks, this machine's and the log server's: a receipt that does not would take its store there with it.
pub fn refuse_future(plan: &Plan, here: Timestamp, there: Timestamp, conflicts: &mut Mistakes) {
    for planned in &plan.receipts {
        let receipt = &planned.receipt;
        if receipt.sold_at.duration_since(here.min(there)) > CLOCK_TOLERANCE {
            let what = format!(
                "receipt {} lies in the future: it is {here} here and {there} at the log's server; correct its date, or the clock",
                shown(&receipt.identity.number)
            );
            conflicts.note(&plan.file, receipt.row, "sold_at", what);
        }
    }
}

/// Time is no content of a command; the log has it beside each.
async fn compare_times(
    plan: &Plan,
    shop: usize,
    log: &dyn EventLog,
    known: &HashMap<Uuid, &Planned>,
    conflicts: &mut Mistakes,
) -> Result<(), Failure> {
    if known.is_empty() {
        return Ok(());
    }
    let name = LedgerName::new(plan.shops[shop].id.as_str())?;
    let mut chain: Option<ChainState> = None;
    loop {
        let records = log.read(&name, chain.as_ref(), PAGE).await?;
        let Some(last) = records.last() else {
            return Ok(());
        };
        chain = Some(ChainState::after(last));
        for record in &records {
            for command in decode_payload(record.payload().clone())?.commands {
                let planned = Uuid::from_slice(&command.request_id)
                    .ok()
                    .and_then(|id| known.get(&id));
                let Some(planned) = planned else { continue };
                let then = command.client_time.as_ref().and_then(timestamp_from_proto);
                let receipt = &planned.receipt;
                if then != Some(receipt.sold_at) {
                    let then = then.map_or_else(
                        || "at an unknown time".to_owned(),
                        |then| format!("at {}", local(plan, shop, then)),
                    );
                    let what = format!(
                        "receipt {} was imported before, differently: sold {then}, here {}",
                        shown(&receipt.identity.number),
                        local(plan, shop, receipt.sold_at)
                    );
                    conflicts.note(&plan.file, receipt.row, "sold_at", what);
                }
            }
        }
    }
}

fn local(plan: &Plan, shop: usize, at: Timestamp) -> String {
    let zoned = at.to_zoned(plan.shops[shop].zone.clone());
    zoned.strftime("%Y-%m-%dT%H:%M %Z").to_string()
}
