//! What a cancellation and a refund give back: an order's part, by its tenders, out of the day's drawers.

use contract::event::{ReturnedTender, TenderKind};
use contract::{Money, Reason, Rejection, Slug};

use super::business_day::check_room;
use super::command::RequestedReturn;
use super::drawer;
use super::order::{Remainder, Sale, Unreadable};
use super::state::OpenDay;
use super::tenders::MAIN_DRAWER;

/// How a part of an order goes back.
pub struct Return {
    pub tenders: Vec<ReturnedTender>,
    pub flags: Vec<String>,
}

/// Gives a part of an order back. `approved`: also out of a drawer that should not hold so much.
pub fn give_back(
    day: &OpenDay,
    sale: &Sale,
    part: &Remainder,
    wished: &[RequestedReturn],
    approved: bool,
) -> Result<Return, Rejection> {
    let tenders = returned_tenders(sale, part.net, wished)?;
    let drawers = tenders.iter().map(|tender| tender.drawer_id.as_str());
    check_room(&day.figures, drawers, &part.taxes)?;
    let flags = drawer::take_out(&day.figures, drawer::cash(&tenders), approved)?;
    Ok(Return { tenders, flags })
}

/// A mistake in this program, not in the command.
pub fn unreadable(error: Unreadable) -> Rejection {
    Rejection::new(Reason::Internal, error.to_string())
}

/// How `amount` goes back: as wished, each tender up to its unreturned rest; or other than cash first, cash last.
fn returned_tenders(
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
