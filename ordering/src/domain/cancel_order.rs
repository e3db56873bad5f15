//! Voiding a whole order before it is completed; what remains of it is given back.

use contract::event::{self as e, ReturnedTender, TenderKind, event::Event};
use contract::{Money, Reason, Rejection, Slug};

use super::business_day::check_room;
use super::change_status::illegal;
use super::command::{CancelOrder, RequestedReturn};
use super::drawer;
use super::order::{OrderState, Sale, Unreadable};
use super::state::StoreState;
use super::tenders::MAIN_DRAWER;

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
    let tenders = returned_tenders(&sale, rest.net, &command.tenders)?;
    check_room(
        &day.figures,
        tenders.iter().map(|tender| tender.drawer_id.as_str()),
        &rest.taxes,
    )?;
    let approved = command.approver_id.is_some();
    let flags = drawer::take_out(&day.figures, drawer::cash(&tenders), approved)?;
    Ok(vec![Event::OrderCancelled(e::OrderCancelled {
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
        lines: rest.lines,
        gross: rest.gross.minor(),
        discount: rest.discount.minor(),
        net: rest.net.minor(),
        taxes: rest.taxes,
        tenders,
        flags,
    })])
}

/// A mistake in this program, not in the command.
pub fn unreadable(error: Unreadable) -> Rejection {
    Rejection::new(Reason::Internal, error.to_string())
}

/// How `amount` goes back: as wished, each tender up to its unreturned rest; or other than cash first, cash last.
pub fn returned_tenders(
    order: &Sale,
    amount: Money,
    wished: &[RequestedReturn],
) -> Result<Vec<ReturnedTender>, Rejection> {
    let overflow = |_| {
        Rejection::new(
            Reason::AmountOutOfRange,
            "the returned amounts do not fit into 64 bits",
        )
    };
    let rest_of = |index: usize| order.placed.tenders[index].amount - order.returned[index];
    let mut returned = Vec::new();
    if wished.is_empty() {
        let mut left = amount.minor();
        let (cash, other): (Vec<usize>, Vec<usize>) = (0..order.placed.tenders.len())
            .partition(|&index| order.placed.tenders[index].kind() == TenderKind::Cash);
        for index in other.into_iter().chain(cash) {
            let part = left.min(rest_of(index));
            if part > 0 {
                returned.push(returned_tender(order, index, part, None, ""));
                left -= part;
            }
        }
        if left > 0 {
            return Err(Rejection::new(
                Reason::ReturnExceedsTender,
                "the order's tenders do not hold what is to be given back",
            ));
        }
        return Ok(returned);
    }
    let sum = Money::sum(wished.iter().map(|wish| wish.amount)).map_err(overflow)?;
    if sum != amount {
        return Err(Rejection::field(
            Reason::ReturnsDoNotSum,
            "tenders",
            format!("{amount} is given back, the tenders sum to {sum}"),
        )
        .with("amount_minor", amount)
        .with("tenders_minor", sum));
    }
    for (position, wish) in wished.iter().enumerate() {
        let field = format!("tenders[{position}]");
        let index = order
            .placed
            .tenders
            .iter()
            .position(|tender| tender.tender_id == wish.tender_id.as_str())
            .ok_or_else(|| {
                Rejection::field(
                    Reason::ReturnExceedsTender,
                    format!("{field}.tender_id"),
                    format!("the order has no tender {}", wish.tender_id),
                )
            })?;
        if wished[..position]
            .iter()
            .any(|earlier| earlier.tender_id == wish.tender_id)
            || wish.amount.minor() > rest_of(index)
        {
            let description = format!("{} is left on tender {}", rest_of(index), wish.tender_id);
            return Err(Rejection::field(
                Reason::ReturnExceedsTender,
                format!("{field}.amount"),
                description,
            ));
        }
        returned.push(returned_tender(
            order,
            index,
            wish.amount.minor(),
            wish.drawer_id.as_ref(),
            &wish.external_reference,
        ));
    }
    Ok(returned)
}

fn returned_tender(
    order: &Sale,
    index: usize,
    amount: i64,
    drawer: Option<&Slug>,
    external_reference: &str,
) -> ReturnedTender {
    let tender = &order.placed.tenders[index];
    let drawer_id = match tender.kind() {
        TenderKind::Cash => drawer
            .map_or_else(
                || {
                    if tender.drawer_id.is_empty() {
                        MAIN_DRAWER
                    } else {
                        &tender.drawer_id
                    }
                },
                |drawer| drawer.as_str(),
            )
            .to_owned(),
        _ => String::new(),
    };
    ReturnedTender {
        tender_id: tender.tender_id.clone(),
        kind: tender.kind,
        amount,
        drawer_id,
        external_reference: external_reference.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use contract::event::{OrderPlaced, Tender};

    use super::*;
    use crate::domain::fixture::slug;

    /// An order paid with 10,000 by card, 4,000 in cash and 1,000 by voucher.
    fn order() -> Sale {
        let tender = |id: &str, kind: TenderKind, amount, drawer: &str| Tender {
            tender_id: id.to_owned(),
            kind: kind.into(),
            amount,
            tendered: amount,
            drawer_id: drawer.to_owned(),
            ..Tender::default()
        };
        let tenders = vec![
            tender("cash", TenderKind::Cash, 4_000, "second"),
            tender("card", TenderKind::Card, 10_000, ""),
            tender("voucher", TenderKind::Voucher, 1_000, ""),
        ];
        let placed = OrderPlaced {
            tenders,
            net: 15_000,
            ..OrderPlaced::default()
        };
        Sale {
            refunded: Vec::new(),
            returned: vec![0; placed.tenders.len()],
            placed,
        }
    }

    fn wish(id: &str, amount: i64, drawer: Option<&str>) -> RequestedReturn {
        RequestedReturn {
            tender_id: slug(id),
            amount: Money::new(amount),
            drawer_id: drawer.map(slug),
            external_reference: "R-1".into(),
        }
    }

    fn returned(
        order: &Sale,
        amount: i64,
        wished: &[RequestedReturn],
    ) -> Result<Vec<(String, i64, String)>, Reason> {
        let tenders = returned_tenders(order, Money::new(amount), wished)
            .map_err(|rejection| rejection.reason)?;
        Ok(tenders
            .into_iter()
            .map(|tender| (tender.tender_id, tender.amount, tender.drawer_id))
            .collect())
    }

    fn parts(parts: &[(&str, i64, &str)]) -> Result<Vec<(String, i64, String)>, Reason> {
        let owned = |(id, amount, drawer): &(&str, i64, &str)| {
            ((*id).to_owned(), *amount, (*drawer).to_owned())
        };
        Ok(parts.iter().map(owned).collect())
    }

    #[test]
    fn money_goes_back_as_it_was_paid_and_cash_last() {
        let mut order = order();
        assert_eq!(returned(&order, 9_000, &[]), parts(&[("card", 9_000, "")]));
        let all = [
            ("card", 10_000, ""),
            ("voucher", 1_000, ""),
            ("cash", 4_000, "second"),
        ];
        assert_eq!(returned(&order, 15_000, &[]), parts(&all));
        // Up to what is left of each.
        order.returned = vec![1_000, 10_000, 0];
        let rest = [("voucher", 1_000, ""), ("cash", 500, "second")];
        assert_eq!(returned(&order, 1_500, &[]), parts(&rest));
        assert_eq!(
            returned(&order, 4_001, &[]),
            Err(Reason::ReturnExceedsTender)
        );
    }

    #[test]
    fn money_goes_back_as_wished() {
        let wished = [
            wish("cash", 4_000, Some("main")),
            wish("card", 5_000, Some("main")),
        ];
        assert_eq!(
            returned(&order(), 9_000, &wished),
            parts(&[("cash", 4_000, "main"), ("card", 5_000, "")])
        );
        let from_its_own_drawer = [wish("cash", 1_000, None)];
        assert_eq!(
            returned(&order(), 1_000, &from_its_own_drawer),
            parts(&[("cash", 1_000, "second")])
        );
    }

    #[test]
    fn a_wish_that_makes_no_sense_is_refused() {
        let order = order();
        let refused = |amount, wished: &[RequestedReturn]| returned(&order, amount, wished);
        assert_eq!(
            refused(9_000, &[wish("card", 8_999, None)]),
            Err(Reason::ReturnsDoNotSum)
        );
        assert_eq!(
            refused(4_001, &[wish("cash", 4_001, None)]),
            Err(Reason::ReturnExceedsTender)
        );
        assert_eq!(
            refused(100, &[wish("gift", 100, None)]),
            Err(Reason::ReturnExceedsTender)
        );
        assert_eq!(
            refused(200, &[wish("card", 100, None), wish("card", 100, None)]),
            Err(Reason::ReturnExceedsTender)
        );
    }
}
