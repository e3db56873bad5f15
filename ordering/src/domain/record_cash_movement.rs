//! Cash that goes into a drawer or out of it other than by a sale.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::command::RecordCashMovement;
use super::state::StoreState;

/// Decides a movement against the day that is open by now; the command names the day that it is meant for.
pub fn decide(state: &StoreState, command: &RecordCashMovement) -> Result<Vec<Event>, Rejection> {
    let date = command.business_date;
    match &state.day {
        Some(day) if day.date == date => {
            if !day.figures.has_room_for(
                std::iter::once(command.drawer_id.as_str()),
                std::iter::empty(),
            ) {
                return Err(Rejection::new(
                    Reason::TooManyKinds,
                    Reason::TooManyKinds.meaning(),
                ));
            }
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
    }
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
    })])
}
