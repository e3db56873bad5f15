//! Cash that is taken out of a drawer: what it should hold says how much.

use std::collections::BTreeMap;

use contract::event::{ReturnedTender, TenderKind};
use contract::{Reason, Rejection};

use super::Flag;
use super::figures::DayFigures;

/// Checks that the drawers should hold what is taken out of them. Where one should not, an approver is needed, and the event is flagged:
/// the flags come back.
pub fn take_out<'a>(
    figures: &DayFigures,
    amounts: impl Iterator<Item = (&'a str, i64)>,
    approved: bool,
) -> Result<Vec<String>, Rejection> {
    let out_of_range = || {
        Rejection::new(
            Reason::AmountOutOfRange,
            "the drawer's cash does not fit into 64 bits",
        )
    };
    let mut by_drawer: BTreeMap<&str, i64> = BTreeMap::new();
    for (drawer_id, amount) in amounts {
        let taken = by_drawer.entry(drawer_id).or_default();
        *taken = taken.checked_add(amount).ok_or_else(out_of_range)?;
    }
    let mut flags = Vec::new();
    for (drawer_id, amount) in by_drawer {
        let expected = figures.expected(drawer_id).map_err(|_| out_of_range())?;
        if amount <= expected {
            continue;
        }
        if !approved {
            let message = format!(
                "drawer {drawer_id} should hold {expected}, and {amount} is to be taken out of it without an approver"
            );
            return Err(Rejection::new(Reason::DrawerOverdrawn, message)
                .with("drawer_id", drawer_id)
                .with("expected_minor", expected)
                .with("amount_minor", amount));
        }
        flags = vec![Flag::DrawerOverdrawn.as_str().to_owned()];
    }
    Ok(flags)
}

/// The cash among what goes back, by drawer.
pub fn cash(tenders: &[ReturnedTender]) -> impl Iterator<Item = (&str, i64)> {
    tenders
        .iter()
        .filter(|tender| tender.kind() == TenderKind::Cash)
        .map(|tender| (tender.drawer_id.as_str(), tender.amount))
}
