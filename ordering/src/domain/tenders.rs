use contract::event::{Tender, TenderKind};
use contract::{Money, MoneyError, Reason, Rejection, Slug};

use super::command::DraftTender;

/// Where cash goes when no drawer is named.
pub const MAIN_DRAWER: &str = "main";

fn out_of_range(_: MoneyError) -> Rejection {
    Rejection::new(
        Reason::AmountOutOfRange,
        "the tenders' amounts do not fit into 64 bits",
    )
}

/// Settles what is due with the tenders: Σ non-cash ≤ due, at most one cash tender, change = Σ tendered − due from cash,
/// Σ amount = due. A total of zero takes no tender.
pub fn settle(due: Money, drafts: &[DraftTender]) -> Result<Vec<Tender>, Rejection> {
    let cash = drafts
        .iter()
        .filter(|tender| tender.kind == TenderKind::Cash)
        .count();
    if cash > 1 {
        return Err(Rejection::field(
            Reason::TooManyCashTenders,
            "tenders",
            "at most one tender is cash",
        ));
    }
    let mut handed_over = Money::ZERO;
    for (index, tender) in drafts.iter().enumerate() {
        let wants_change = tender.change.is_some_and(|change| change > Money::ZERO)
            || matches!((tender.amount, tender.tendered), (Some(amount), Some(tendered)) if tendered > amount);
        if tender.kind != TenderKind::Cash && wants_change {
            return Err(Rejection::field(
                Reason::ChangeOnlyFromCash,
                format!("tenders[{index}].change"),
                "only cash gives change",
            ));
        }
        handed_over = handed_over
            .plus(face_value(tender).map_err(out_of_range)?)
            .map_err(out_of_range)?;
    }
    let do_not_sum = |why: &str| {
        Rejection::field(Reason::TendersDoNotSum, "tenders", why)
            .with("amount_due_minor", due)
            .with("tendered_minor", handed_over)
    };
    if due == Money::ZERO && !drafts.is_empty() {
        return Err(do_not_sum("nothing is due, so no tender is taken"));
    }
    if handed_over < due {
        return Err(do_not_sum("the tenders pay less than the amount due"));
    }
    let change = handed_over.minus(due).map_err(out_of_range)?;
    if change > Money::ZERO && cash == 0 {
        return Err(do_not_sum(
            "the tenders pay more than the amount due, and none is cash to give change from",
        ));
    }
    let mut settled = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let tendered = face_value(draft).map_err(out_of_range)?;
        if tendered <= Money::ZERO {
            return Err(Rejection::field(
                Reason::InvalidArgument,
                format!("tenders[{index}].amount"),
                "a tender is more than nothing",
            ));
        }
        let change = if draft.kind == TenderKind::Cash {
            change
        } else {
            Money::ZERO
        };
        if change > tendered {
            return Err(do_not_sum(
                "the tenders other than cash pay more than the amount due",
            ));
        }
        let amount = tendered.minus(change).map_err(out_of_range)?;
        if draft.amount.is_some_and(|stated| stated != amount)
            || draft.change.is_some_and(|stated| stated != change)
        {
            return Err(do_not_sum(
                "a tender's amount or change is not what follows from what was tendered",
            )
            .with("change_minor", change));
        }
        settled.push(Tender {
            tender_id: draft.tender_id.to_string(),
            kind: draft.kind.into(),
            scheme: draft.scheme.clone(),
            amount: amount.minor(),
            tendered: tendered.minor(),
            change: change.minor(),
            external_reference: draft.external_reference.clone(),
            drawer_id: match draft.kind {
                TenderKind::Cash => draft
                    .drawer_id
                    .as_ref()
                    .map_or(MAIN_DRAWER, Slug::as_str)
                    .to_owned(),
                _ => String::new(),
            },
        });
    }
    Ok(settled)
}

/// What was handed over: stated, or what the amount and the change say.
pub fn face_value(tender: &DraftTender) -> Result<Money, MoneyError> {
    match tender.tendered {
        Some(tendered) => Ok(tendered),
        None => tender
            .amount
            .unwrap_or_default()
            .plus(tender.change.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::fixture::{slug, tender};

    fn cash(tendered: i64) -> DraftTender {
        tender("cash", TenderKind::Cash, tendered)
    }

    fn card(amount: i64) -> DraftTender {
        tender("card", TenderKind::Card, amount)
    }

    /// Amount, tendered and change of each tender.
    fn settled(due: i64, drafts: &[DraftTender]) -> Result<Vec<[i64; 3]>, Reason> {
        let tenders = settle(Money::new(due), drafts).map_err(|rejection| rejection.reason)?;
        Ok(tenders
            .iter()
            .map(|tender| [tender.amount, tender.tendered, tender.change])
            .collect())
    }

    #[test]
    fn change_is_given_from_cash_alone() {
        assert_eq!(
            settled(4_500, &[cash(10_000)]),
            Ok(vec![[4_500, 10_000, 5_500]])
        );
        assert_eq!(
            settled(15_500, &[card(10_000), cash(6_000)]),
            Ok(vec![[10_000, 10_000, 0], [5_500, 6_000, 500]])
        );
        // Vouchers give none either.
        let voucher = tender("v", TenderKind::Voucher, 5_000);
        assert_eq!(settled(4_500, &[voucher]), Err(Reason::TendersDoNotSum));
        let with_change = DraftTender {
            change: Some(Money::new(500)),
            ..card(5_000)
        };
        assert_eq!(
            settled(4_500, &[with_change]),
            Err(Reason::ChangeOnlyFromCash)
        );
        let more_than_its_amount = DraftTender {
            amount: Some(Money::new(4_500)),
            ..card(5_000)
        };
        assert_eq!(
            settled(4_500, &[more_than_its_amount]),
            Err(Reason::ChangeOnlyFromCash)
        );
    }

    #[test]
    fn what_is_not_cash_pays_no_more_than_what_is_due() {
        assert_eq!(
            settled(4_500, &[card(5_000), cash(400)]),
            Err(Reason::TendersDoNotSum)
        );
        assert_eq!(settled(4_500, &[card(4_000)]), Err(Reason::TendersDoNotSum));
        assert_eq!(settled(4_500, &[]), Err(Reason::TendersDoNotSum));
    }

    #[test]
    fn at_most_one_tender_is_cash() {
        let other = tender("more", TenderKind::Cash, 500);
        assert_eq!(
            settled(4_500, &[cash(4_000), other]),
            Err(Reason::TooManyCashTenders)
        );
    }

    #[test]
    fn nothing_due_takes_no_tender() {
        assert_eq!(settled(0, &[]), Ok(vec![]));
        assert_eq!(settled(0, &[cash(1_000)]), Err(Reason::TendersDoNotSum));
        assert_eq!(
            settled(4_500, &[card(4_500), cash(0)]),
            Err(Reason::InvalidArgument)
        );
    }

    #[test]
    fn what_is_stated_has_to_be_what_follows() {
        let stated = |amount: Option<i64>, tendered: Option<i64>, change: Option<i64>| {
            let draft = DraftTender {
                amount: amount.map(Money::new),
                tendered: tendered.map(Money::new),
                change: change.map(Money::new),
                ..cash(0)
            };
            settled(4_500, &[draft])
        };
        let right = Ok(vec![[4_500, 10_000, 5_500]]);
        assert_eq!(stated(Some(4_500), Some(10_000), Some(5_500)), right);
        assert_eq!(stated(Some(4_500), Some(10_000), None), right);
        assert_eq!(stated(Some(4_500), None, Some(5_500)), right);
        assert_eq!(stated(None, Some(10_000), Some(5_500)), right);
        let wrong = Err(Reason::TendersDoNotSum);
        assert_eq!(stated(Some(4_500), Some(10_000), Some(5_000)), wrong);
        assert_eq!(stated(Some(4_000), Some(10_000), None), wrong);
    }

    #[test]
    fn cash_goes_to_a_drawer_and_nothing_else_does() {
        let drawer_of = |draft: DraftTender| {
            settle(Money::new(4_500), &[draft]).unwrap()[0]
                .drawer_id
                .clone()
        };
        assert_eq!(drawer_of(cash(4_500)), "main");
        let second = Some(slug("second"));
        let named = DraftTender {
            drawer_id: second.clone(),
            ..cash(4_500)
        };
        assert_eq!(drawer_of(named), "second");
        let of_card = DraftTender {
            drawer_id: second,
            ..card(4_500)
        };
        assert_eq!(drawer_of(of_card), "");
    }

    proptest! {
        #[test]
        fn what_is_settled_pays_exactly(due in 1_i64..100_000, by_card in 0_i64..100_000, in_cash in 0_i64..200_000) {
            let mut drafts = Vec::new();
            if by_card > 0 { drafts.push(card(by_card)); }
            if in_cash > 0 { drafts.push(cash(in_cash)); }
            let enough = by_card <= due && (by_card == due || by_card + in_cash >= due);
            match settle(Money::new(due), &drafts) {
                Ok(tenders) => {
                    prop_assert_eq!(tenders.iter().map(|tender| tender.amount).sum::<i64>(), due);
                    prop_assert!(tenders.iter().all(|tender| tender.amount == tender.tendered - tender.change && tender.amount >= 0));
                    prop_assert!(enough);
                }
                Err(rejection) => prop_assert!(!enough, "{}", rejection),
            }
        }
    }
}
