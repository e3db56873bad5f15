//! Records a plan, each receipt at its own time, as the only writer of its ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use indicatif::ProgressBar;
use jiff::Timestamp;
use ordering::catalog::Store;
use ordering::domain::{Actor, CloseBusinessDay, Command, Principal};
use ordering::ledger::{Executed, Ledger, Work};
use runtime::Clock;

use super::history::State;
use super::mistake::shown;
use super::plan::{Plan, Planned};
use super::report::Imported;
use super::sale::{sale, store};
use crate::exit::{ExitCode, Failure};

/// Records what is not there yet of one shop's receipts. `states`: of these, in their order.
pub async fn import(
    plan: &Plan,
    shop: usize,
    states: &[State],
    ledger: &mut Ledger,
    progress: &ProgressBar,
) -> Result<Imported, Failure> {
    let bare = Arc::new(store(&plan.shops[shop], &plan.till)?);
    let own = plan
        .receipts
        .iter()
        .filter(|planned| planned.receipt.shop == shop);
    let mut done = Imported::of(&bare);
    let mut dates = BTreeSet::new();
    for (planned, state) in own.zip(states) {
        match state {
            State::There => done.there_already += 1,
            State::New | State::Begun => {
                let recorded = async {
                    close_overdue(ledger, &bare, planned.receipt.sold_at, &mut done).await?;
                    receipt(plan, planned, &bare, ledger).await
                };
                recorded
                    .await
                    .map_err(|failure| broken_off(failure, &done))?;
                done.imported += 1;
            }
        }
        done.count(planned);
        dates.insert(planned.receipt.date);
        progress.inc(1);
    }
    // The last day too, unless it is still going on.
    close_overdue(ledger, &bare, Clock::system().now(), &mut done).await?;
    done.first_date = dates.first().map(ToString::to_string);
    done.last_date = dates.last().map(ToString::to_string);
    Ok(done)
}

/// A failure in the middle: what came before it stays.
fn broken_off(failure: Failure, done: &Imported) -> Failure {
    let so_far = format!(
        "broken off after {} receipts of {} were imported; they stay, and importing again goes on from there",
        done.imported, done.store
    );
    Failure {
        code: failure.code,
        error: failure.error.context(so_far),
    }
}

async fn receipt(
    plan: &Plan,
    planned: &Planned,
    bare: &Arc<Store>,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let receipt = &planned.receipt;
    let what = format!("receipt {}", shown(&receipt.identity.number));
    if !receipt.lines.is_empty() {
        let sale = sale(receipt, &plan.shops[receipt.shop], &plan.till)
            .map_err(|(_, why)| anyhow::anyhow!("{what}: {why}"))?;
        carry_out(
            ledger,
            &sale.store,
            sale.commands,
            receipt.sold_at,
            planned,
            &what,
        )
        .await?;
    }
    let refunds: Vec<Command> = planned
        .refunds
        .iter()
        .map(|refund| Command::RefundOrder(refund.command.clone()))
        .collect();
    if !refunds.is_empty() {
        carry_out(ledger, bare, refunds, receipt.sold_at, planned, &what).await?;
    }
    Ok(())
}

async fn close_overdue(
    ledger: &mut Ledger,
    store: &Arc<Store>,
    now: Timestamp,
    done: &mut Imported,
) -> Result<(), Failure> {
    let Some(day) = ledger.state().day.as_ref().filter(|day| day.end <= now) else {
        return Ok(());
    };
    let (business_date, end) = (day.date, day.end);
    let close = Command::CloseBusinessDay(CloseBusinessDay {
        business_date,
        manual: None,
    });
    let actor = Actor {
        principal: Principal::IMPORT,
        client_time: Some(end),
        ..Actor::default()
    };
    execute(
        ledger,
        store,
        vec![close],
        &actor,
        end,
        &format!("the close of {business_date}"),
    )
    .await?;
    done.days_closed += 1;
    Ok(())
}

async fn carry_out(
    ledger: &mut Ledger,
    store: &Arc<Store>,
    commands: Vec<Command>,
    at: Timestamp,
    planned: &Planned,
    what: &str,
) -> Result<(), Failure> {
    let receipt = &planned.receipt;
    let actor = Actor {
        principal: Principal::IMPORT,
        client_time: Some(at),
        terminal_id: Some(receipt.identity.source.clone()),
        staff_id: receipt.staff.clone(),
        ..Actor::default()
    };
    execute(ledger, store, commands, &actor, at, what).await
}

async fn execute(
    ledger: &mut Ledger,
    store: &Arc<Store>,
    commands: Vec<Command>,
    actor: &Actor,
    at: Timestamp,
    what: &str,
) -> Result<(), Failure> {
    let works: Vec<Work> = commands
        .into_iter()
        .map(|command| Work::new(command, actor.clone(), store.clone()))
        .collect();
    let Executed { verdicts, ended } = ledger.execute(&works, &Clock::manual(at)).await;
    ended?;
    for verdict in verdicts {
        verdict
            .map_err(|rejection| Failure::new(ExitCode::Refused, format!("{what}: {rejection}")))?;
    }
    Ok(())
}
