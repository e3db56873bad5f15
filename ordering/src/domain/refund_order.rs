//! Giving back units of lines of an order, of any day; the order's status stays as it is.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::business_day::check_room;
use super::cancel_order::{returned_tenders, unreadable};
use super::change_status::illegal;
use super::command::RefundOrder;
use super::drawer;
use super::order::{OrderState, Sale, Status};
use super::state::StoreState;

pub fn decide(
    state: &StoreState,
    order: &OrderState,
    command: &RefundOrder,
) -> Result<Vec<Event>, Rejection> {
    if order.status == Status::Cancelled {
        return Err(illegal(order, "RefundOrder"));
    }
    let Some(day) = &state.day else {
        return Err(Rejection::new(
            Reason::Internal,
            "an order is refunded while no business day is open",
        ));
    };
    let sale = order.sale().map_err(unreadable)?;
    let units = units(&sale, command)?;
    let takes_all = units
        .iter()
        .enumerate()
        .all(|(index, units)| *units == sale.units_left(index));
    if takes_all && order.status != Status::Completed {
        return Err(
            Rejection::new(Reason::CancelInstead, Reason::CancelInstead.meaning())
                .with("state", order.status.as_str()),
        );
    }
    let part = sale.part(&units).map_err(|_| {
        Rejection::new(
            Reason::AmountOutOfRange,
            "what is refunded does not fit into 64 bits",
        )
    })?;
    let tenders = returned_tenders(&sale, part.net, &command.tenders)?;
    check_room(
        &day.figures,
        tenders.iter().map(|tender| tender.drawer_id.as_str()),
        &part.taxes,
    )?;
    let approved = command.approver_id.is_some();
    let flags = drawer::take_out(&day.figures, drawer::cash(&tenders), approved)?;
    Ok(vec![Event::OrderRefunded(e::OrderRefunded {
        order_id: command.order_id.to_bytes(),
        business_date: day.date.to_string(),
        sale_business_date: sale.placed.business_date.clone(),
        document_number: state.document_number + 1,
        reason_code: command.reason_code.to_string(),
        approver_id: command
            .approver_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        lines: part.lines,
        gross: part.gross.minor(),
        discount: part.discount.minor(),
        net: part.net.minor(),
        taxes: part.taxes,
        tenders,
        flags,
    })])
}

/// Units by line index, each at most what remains.
fn units(order: &Sale, command: &RefundOrder) -> Result<Vec<i32>, Rejection> {
    let mut units = vec![0; order.placed.lines.len()];
    for (position, (line_id, quantity)) in command.lines.iter().enumerate() {
        let field = format!("lines[{position}]");
        let index = order
            .placed
            .lines
            .iter()
            .position(|line| line.line_id == line_id.as_str())
            .ok_or_else(|| {
                Rejection::field(
                    Reason::InvalidArgument,
                    format!("{field}.line_id"),
                    format!("the order has no line {line_id}"),
                )
            })?;
        let left = order.units_left(index);
        if *quantity > left {
            let description = format!("{left} units of line {line_id} remain, not {quantity}");
            return Err(Rejection::field(
                Reason::NothingLeftToRefund,
                format!("{field}.quantity"),
                description,
            )
            .with("line_id", line_id)
            .with("remaining", left));
        }
        units[index] = *quantity;
    }
    Ok(units)
}
