//! Cash that goes into a drawer or out of it other than by a sale.

use contract::event::{self as e, CashMovementKind, event::Event};
use contract::{Reason, Rejection};

use super::business_day::check_room;
use super::command::RecordCashMovement;
use super::drawer;
use super::optional_text;
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
        approver_id: optional_text(command.approver_id.as_ref()),
        flags,
    })])
}

#[cfg(test)]
mod tests {
    use contract::Money;

    use super::*;
    use crate::domain::MAX_DRAWERS_PER_DAY;
    use crate::domain::fixture::{given, moment, next_day, opened, request_id, slug};

    use CashMovementKind::{Float, PaidIn, PaidOut};

    const TODAY: &str = "2026-03-02";

    fn movement(
        date: &str,
        drawer: &str,
        kind: CashMovementKind,
        amount: i64,
    ) -> RecordCashMovement {
        RecordCashMovement {
            request_id: request_id(1),
            business_date: contract::BusinessDate::parse(date).unwrap(),
            drawer_id: slug(drawer),
            kind,
            amount: Money::new(amount),
            reason_code: slug("errand"),
            approver_id: None,
        }
    }

    fn decided(state: &StoreState, command: &RecordCashMovement) -> Result<e::CashMoved, Reason> {
        match decide(state, command)
            .map_err(|rejection| rejection.reason)?
            .as_slice()
        {
            [Event::CashMoved(moved)] => Ok(moved.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn moved(state: &mut StoreState, command: &RecordCashMovement) {
        let events = decide(state, command).unwrap();
        given(state, &events, &moment(1));
    }

    #[test]
    fn cash_is_moved_on_the_open_day() {
        for kind in [Float, PaidIn] {
            let moved = decided(&opened(), &movement(TODAY, "second", kind, 700)).unwrap();
            let expected = e::CashMoved {
                business_date: TODAY.into(),
                drawer_id: "second".into(),
                kind: kind.into(),
                amount: 700,
                reason_code: "errand".into(),
                ..e::CashMoved::default()
            };
            assert_eq!(moved, expected);
        }
    }

    #[test]
    fn it_is_meant_for_the_day_that_it_names() {
        let cash = |date: &str| movement(date, "main", PaidIn, 100);
        let none = StoreState::default();
        assert_eq!(decided(&none, &cash(TODAY)), Err(Reason::DayNotBegun));
        let mut state = opened();
        assert_eq!(
            decided(&state, &cash("2026-03-03")),
            Err(Reason::DayNotBegun)
        );
        assert_eq!(decided(&state, &cash("2026-03-01")), Err(Reason::DayClosed));
        assert!(decided(&state, &cash(TODAY)).is_ok());
        next_day(&mut state, &moment(24 * 60));
        assert_eq!(decided(&state, &cash(TODAY)), Err(Reason::DayClosed));
        assert!(decided(&state, &cash("2026-03-03")).is_ok());
    }

    #[test]
    fn what_a_drawer_should_not_hold_is_paid_out_by_an_approver_alone() {
        let mut state = opened();
        moved(&mut state, &movement(TODAY, "main", Float, 1_000));
        moved(&mut state, &movement(TODAY, "main", PaidIn, 500));
        let all = movement(TODAY, "main", PaidOut, 1_500);
        assert_eq!(decided(&state, &all).unwrap().flags, Vec::<String>::new());
        let mut more = movement(TODAY, "main", PaidOut, 1_501);
        assert_eq!(decided(&state, &more), Err(Reason::DrawerOverdrawn));
        // What lies in another drawer does not help.
        let other = movement(TODAY, "second", PaidOut, 1);
        assert_eq!(decided(&state, &other), Err(Reason::DrawerOverdrawn));
        more.approver_id = Some(slug("boss"));
        let paid = decided(&state, &more).unwrap();
        assert_eq!(paid.flags, ["DRAWER_OVERDRAWN"]);
        assert_eq!(paid.approver_id, "boss");
    }

    #[test]
    fn a_day_has_a_bounded_number_of_drawers() {
        let mut state = opened();
        let cash = |drawer: usize| movement(TODAY, &format!("drawer-{drawer}"), PaidIn, 100);
        for drawer in 0..MAX_DRAWERS_PER_DAY {
            moved(&mut state, &cash(drawer));
        }
        let one_more = cash(MAX_DRAWERS_PER_DAY);
        assert_eq!(decided(&state, &one_more), Err(Reason::TooManyKinds));
        assert!(decided(&state, &cash(0)).is_ok());
    }
}
