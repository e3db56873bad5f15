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
fn face_value(tender: &DraftTender) -> Result<Money, MoneyError> {
    match tender.tendered {
        Some(tendered) => Ok(tendered),
        None => tender
            .amount
            .unwrap_or_default()
            .plus(tender.change.unwrap_or_default()),
    }
}
