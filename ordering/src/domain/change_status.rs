//! The kitchen's commands: an order on its way from PLACED to COMPLETED, without jumps.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::command::{ChangeStatus, NewStatus};
use super::order::{OrderState, Status};

pub fn decide(order: &OrderState, command: &ChangeStatus) -> Result<Vec<Event>, Rejection> {
    let order_id = command.order_id.to_bytes();
    let event = match (command.to, order.status) {
        (NewStatus::Preparing, Status::Placed) => {
            Event::PreparationStarted(e::PreparationStarted { order_id })
        }
        (NewStatus::Ready, Status::Preparing) => Event::OrderReady(e::OrderReady { order_id }),
        (NewStatus::Completed, Status::Ready) => {
            Event::OrderCompleted(e::OrderCompleted { order_id })
        }
        (to, _) => return Err(illegal(order, name(to))),
    };
    Ok(vec![event])
}

fn name(to: NewStatus) -> &'static str {
    match to {
        NewStatus::Preparing => "StartPreparation",
        NewStatus::Ready => "MarkReady",
        NewStatus::Completed => "CompleteOrder",
    }
}

/// Refuses a command that the order's state does not allow, naming both.
#[must_use]
pub fn illegal(order: &OrderState, command: &str) -> Rejection {
    Rejection::new(
        Reason::IllegalTransition,
        format!(
            "{command} is not possible while the order is {}",
            order.status.as_str()
        ),
    )
    .with("state", order.status.as_str())
    .with("command", command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventMeta;
    use contract::{OrderId, RequestId};
    use uuid::Uuid;

    fn order(status: Status) -> OrderState {
        let event = Event::OrderPlaced(e::OrderPlaced::default());
        let meta = EventMeta {
            revision: 1,
            index: 0,
            recorded_at: jiff::Timestamp::UNIX_EPOCH,
            terminal_id: "",
            staff_id: "",
            request_id: None,
        };
        let mut order = OrderState::place(&event, &meta).unwrap();
        order.status = status;
        order
    }

    #[test]
    fn only_the_next_step_is_legal() {
        let all = [
            Status::Placed,
            Status::Preparing,
            Status::Ready,
            Status::Completed,
            Status::Cancelled,
        ];
        for (to, from) in [
            (NewStatus::Preparing, Status::Placed),
            (NewStatus::Ready, Status::Preparing),
            (NewStatus::Completed, Status::Ready),
        ] {
            let command = ChangeStatus {
                order_id: OrderId::from_uuid(Uuid::nil()),
                request_id: RequestId::from_uuid(Uuid::nil()),
                to,
            };
            for status in all {
                let decided = decide(&order(status), &command);
                assert_eq!(decided.is_ok(), status == from, "{to:?} from {status:?}");
                if let Err(rejection) = decided {
                    assert_eq!(rejection.reason, Reason::IllegalTransition);
                }
            }
        }
    }
}
