//! Cash that goes into a drawer or out of it other than by a sale.

use contract::event::{self as e, CashMovementKind, event::Event};
use contract::{Reason, Rejection};

use super::business_day::check_room;
use super::command::RecordCashMovement;
use super::drawer;
use super::state::StoreState;

/// Decides a movement against the day that is open by now; the command names the day that it is meant for.
pub fn decide(state: &StoreState, command: &RecordCashMovement) -> Result<Vec<Event>, Rejection> {
    let date = command.business_date;
    let flags = match &state.day {
        Some(day) if day.date == date => {
            let drawer = command.drawer_id.as_str();
            check_room(&day.figures, std::iter::once(drawer), &[])?;
            let paid_out = (command.kind == CashMovementKind::PaidOut)
                .then(|| (drawer, command.amount.minor()));
            let approved = command.approver_id.is_some();
            drawer::take_out(&day.figures, paid_out.into_iter(), approved)?
        }
        _ if state.is_over(date) => {
            return Err(Rejection::new(
                Reason::DayClosed,
                format!("business day {date} is closed"),
            )
            .with("business_date", date));
        }
        _ => {
            return Err(Rejection::new(
                Reason::DayNotBegun,
                format!("business day {date} is not open"),
            )
            .with("business_date", date));
        }
    };
    Ok(vec![Event::CashMoved(e::CashMoved {
        business_date: date.to_string(),
        drawer_id: command.drawer_id.to_string(),
        kind: command.kind.into(),
        amount: command.amount.minor(),
        reason_code: command.reason_code.to_string(),
        approver_id: command
            .approver_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        flags,
    })])
}
