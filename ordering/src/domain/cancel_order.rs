//! Voiding a whole order before it is completed; what remains of it is given back.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::change_status::illegal;
use super::command::CancelOrder;
use super::giving_back::{give_back, unreadable};
use super::optional_text;
use super::order::OrderState;
use super::state::StoreState;

pub fn decide(
    state: &StoreState,
    order: &OrderState,
    command: &CancelOrder,
) -> Result<Vec<Event>, Rejection> {
    if !order.status.is_open() {
        return Err(illegal(order, "CancelOrder"));
    }
    let Some(day) = &state.day else {
        return Err(Rejection::new(
            Reason::Internal,
            "an order is cancelled while no business day is open",
        ));
    };
    let sale = order.sale().map_err(unreadable)?;
    let rest = sale.rest().map_err(|_| {
        Rejection::new(
            Reason::AmountOutOfRange,
            "what remains of the order does not fit into 64 bits",
        )
    })?;
    let approved = command.approver_id.is_some();
    let given = give_back(day, &sale, &rest, &command.tenders, approved)?;
    Ok(vec![Event::OrderCancelled(e::OrderCancelled {
        order_id: command.order_id.to_bytes(),
        business_date: day.date.to_string(),
        sale_business_date: sale.placed.business_date.clone(),
        document_number: state.document_number + 1,
        reason_code: command.reason_code.to_string(),
        approver_id: optional_text(command.approver_id.as_ref()),
        lines: rest.lines,
        gross: rest.gross.minor(),
        discount: rest.discount.minor(),
        net: rest.net.minor(),
        taxes: rest.taxes,
        tenders: given.tenders,
        flags: given.flags,
    })])
}
