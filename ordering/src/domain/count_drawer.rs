//! A count that comes after a close which counted nothing.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::command::CountDrawer;
use super::state::StoreState;

/// The drawer must be one that the last close left uncounted, and not have been counted since.
pub fn decide(state: &StoreState, command: &CountDrawer) -> Result<Vec<Event>, Rejection> {
    let expected = match state.last_closed {
        Some(last) if last == command.business_date => {
            state.uncounted.get(command.drawer_id.as_str())
        }
        _ => None,
    };
    let Some(expected) = expected else {
        let message = format!(
            "drawer {} of {} is not waiting to be counted",
            command.drawer_id, command.business_date
        );
        return Err(Rejection::new(Reason::DayNotCounted, message));
    };
    Ok(vec![Event::DrawerCounted(e::DrawerCounted {
        business_date: command.business_date.to_string(),
        drawer_id: command.drawer_id.to_string(),
        counted: command.counted.minor(),
        expected: *expected,
    })])
}
