//! Giving back units of lines of an order, of any day; the order's status stays as it is.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::change_status::illegal;
use super::command::{RefundLine, RefundOrder};
use super::giving_back::{give_back, unreadable};
use super::optional_text;
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
    let approved = command.approver_id.is_some();
    let given = give_back(day, &sale, &part, &command.tenders, approved)?;
    Ok(vec![Event::OrderRefunded(e::OrderRefunded {
        order_id: command.order_id.to_bytes(),
        business_date: day.date.to_string(),
        sale_business_date: sale.placed.business_date.clone(),
        document_number: state.document_number + 1,
        reason_code: command.reason_code.to_string(),
        approver_id: optional_text(command.approver_id.as_ref()),
        lines: part.lines,
        gross: part.gross.minor(),
        discount: part.discount.minor(),
        net: part.net.minor(),
        taxes: part.taxes,
        tenders: given.tenders,
        flags: given.flags,
    })])
}

/// Units by line index, each at most what remains.
fn units(order: &Sale, command: &RefundOrder) -> Result<Vec<i32>, Rejection> {
    let mut units = vec![0; order.placed.lines.len()];
    for (position, refund) in command.lines.iter().enumerate() {
        let RefundLine { line_id, quantity } = refund;
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

#[cfg(test)]
mod tests {
    use contract::Money;
    use contract::event::{CashMovementKind, TenderKind};

    use super::*;
    use crate::domain::fixture::{
        draft, given, line, moment, next_day, opened, order_id, place, placed, request_id, shop,
        slug, tender,
    };
    use crate::domain::{RecordCashMovement, RequestedReturn, record_cash_movement};

    const NEXT_MORNING: i64 = 24 * 60;

    /// Three lattes and two bananas for 15,500: by card 10,000, the rest in cash.
    fn sold() -> StoreState {
        let promotions = r#"
            { id = "lattes", name = { en = "L" }, kind = "line", percent_bp = 1000, items = ["latte"] },
            { id = "mille", name = { en = "M" }, kind = "coupon", amount = 1000 },
        "#;
        let mut bought = draft(vec![line("latte", 3), line("banana", 2)]);
        bought.promotion_codes = vec![slug("mille")];
        let tenders = vec![
            tender("card", TenderKind::Card, 10_000),
            tender("cash", TenderKind::Cash, 6_000),
        ];
        let mut state = opened();
        placed(&mut state, &place(bought, tenders), &shop(promotions));
        state
    }

    fn completed(mut state: StoreState) -> StoreState {
        let order_id = order_id(0).to_bytes();
        // A ledger holds an order that is over only for the command that needs it.
        let events = [
            Event::PreparationStarted(e::PreparationStarted {
                order_id: order_id.clone(),
            }),
            Event::OrderReady(e::OrderReady {
                order_id: order_id.clone(),
            }),
            Event::OrderCompleted(e::OrderCompleted { order_id }),
        ];
        given(&mut state, &events, &moment(1));
        state
    }

    fn refund(lines: &[(&str, i32)]) -> RefundOrder {
        RefundOrder {
            order_id: order_id(0),
            request_id: request_id(1),
            approver_id: None,
            reason_code: slug("cold"),
            lines: lines
                .iter()
                .map(|(sku, units)| RefundLine {
                    line_id: slug(&format!("l-{sku}")),
                    quantity: *units,
                })
                .collect(),
            tenders: Vec::new(),
        }
    }

    fn decided(state: &StoreState, command: &RefundOrder) -> Result<e::OrderRefunded, Rejection> {
        let order = state.order(command.order_id).unwrap();
        match decide(state, order, command)?.as_slice() {
            [Event::OrderRefunded(refunded)] => Ok(refunded.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Refunds, and lets it have happened.
    fn refunded(state: &mut StoreState, lines: &[(&str, i32)]) -> e::OrderRefunded {
        let refunded = decided(state, &refund(lines)).unwrap();
        given(state, &[Event::OrderRefunded(refunded.clone())], &moment(2));
        refunded
    }

    #[test]
    fn parts_sum_to_what_was_paid() {
        let mut state = completed(sold());
        let mut parts = Vec::new();
        for _ in 0..3 {
            let part = refunded(&mut state, &[("latte", 1)]);
            assert_eq!((part.gross, part.gross - part.discount), (5_000, part.net));
            parts.push((part.net, part.taxes[0].vat));
        }
        assert_eq!(parts, [(4_228, 384), (4_227, 385), (4_227, 384)]);
        let rest = refunded(&mut state, &[("banana", 2)]);
        assert_eq!((rest.gross, rest.discount, rest.net), (3_000, 182, 2_818));
        assert_eq!((rest.taxes.len(), rest.taxes[0].vat), (1, 0));
    }

    #[test]
    fn money_goes_back_by_card_first_or_as_wished() {
        let mut state = completed(sold());
        let by = |refunded: &e::OrderRefunded| -> Vec<(String, i64)> {
            let tenders = refunded.tenders.iter();
            tenders
                .map(|tender| (tender.tender_id.clone(), tender.amount))
                .collect()
        };
        let mut wished = refund(&[("latte", 1)]);
        wished.tenders = vec![RequestedReturn {
            tender_id: slug("cash"),
            amount: Money::new(4_228),
            drawer_id: None,
            external_reference: String::new(),
        }];
        let in_cash = decided(&state, &wished).unwrap();
        assert_eq!(by(&in_cash), [("cash".to_owned(), 4_228)]);
        let most = refunded(&mut state, &[("latte", 2)]);
        assert_eq!(by(&most), [("card".to_owned(), 8_455)]);
        let rest = decided(&state, &refund(&[("latte", 1)])).unwrap();
        assert_eq!(
            by(&rest),
            [("card".to_owned(), 1_545), ("cash".to_owned(), 2_682)]
        );
    }

    #[test]
    fn more_than_remains_is_refused() {
        let mut state = completed(sold());
        refunded(&mut state, &[("latte", 2)]);
        let rejection = decided(&state, &refund(&[("banana", 1), ("latte", 2)])).unwrap_err();
        assert_eq!(rejection.reason, Reason::NothingLeftToRefund);
        assert!(rejection.metadata.contains(&("remaining", "1".to_owned())));
        let unknown = decided(&state, &refund(&[("tea", 1)])).unwrap_err();
        assert_eq!(unknown.reason, Reason::InvalidArgument);
    }

    #[test]
    fn the_last_unit_goes_back_once_the_order_is_completed() {
        let everything = refund(&[("latte", 3), ("banana", 2)]);
        let open = sold();
        let rejection = decided(&open, &everything).unwrap_err();
        assert_eq!(rejection.reason, Reason::CancelInstead);
        assert!(rejection.metadata.contains(&("state", "PLACED".to_owned())));
        let all_but_one = refund(&[("latte", 3), ("banana", 1)]);
        assert!(decided(&open, &all_but_one).is_ok());
        assert_eq!(decided(&completed(open), &everything).unwrap().net, 15_500);
    }

    #[test]
    fn a_cancelled_order_gives_nothing_back() {
        let mut state = sold();
        let cancelled = Event::OrderCancelled(e::OrderCancelled {
            order_id: order_id(0).to_bytes(),
            business_date: "2026-03-02".into(),
            sale_business_date: "2026-03-02".into(),
            document_number: 2,
            ..e::OrderCancelled::default()
        });
        given(&mut state, &[cancelled], &moment(1));
        let rejection = decided(&state, &refund(&[("latte", 1)])).unwrap_err();
        assert_eq!(rejection.reason, Reason::IllegalTransition);
    }

    #[test]
    fn a_refund_belongs_to_the_day_on_which_it_is_made() {
        let mut state = sold();
        next_day(&mut state, &moment(NEXT_MORNING));
        let refunded = decided(&state, &refund(&[("latte", 1)])).unwrap();
        assert_eq!(refunded.business_date, "2026-03-03");
        assert_eq!(refunded.sale_business_date, "2026-03-02");
        assert_eq!((refunded.document_number, refunded.net), (2, 4_228));
    }

    #[test]
    fn cash_that_the_drawer_should_not_hold_takes_an_approver() {
        let mut state = completed(sold());
        let emptied = RecordCashMovement {
            request_id: request_id(2),
            business_date: contract::BusinessDate::parse("2026-03-02").unwrap(),
            drawer_id: slug("main"),
            kind: CashMovementKind::PaidOut,
            amount: Money::new(5_500),
            reason_code: slug("bank"),
            approver_id: Some(slug("boss")),
        };
        let events = record_cash_movement::decide(&state, &emptied).unwrap();
        given(&mut state, &events, &moment(2));
        // By card there is no such question.
        assert!(decided(&state, &refund(&[("latte", 2)])).is_ok());
        let mut in_cash = refund(&[("latte", 3)]);
        let rejection = decided(&state, &in_cash).unwrap_err();
        assert_eq!(rejection.reason, Reason::DrawerOverdrawn);
        in_cash.approver_id = Some(slug("boss"));
        let refunded = decided(&state, &in_cash).unwrap();
        assert_eq!(refunded.flags, ["DRAWER_OVERDRAWN"]);
        assert_eq!(refunded.approver_id, "boss");
    }
}
