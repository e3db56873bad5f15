/// Why a record cannot be applied. Its store's projection stands still at the record before it; the text is what operators read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Poison {
    #[error("the record cannot be read: {0}")]
    Unreadable(String),
    #[error("UPGRADE_REQUIRED: the record needs reader version {0}; upgrade the projector")]
    UpgradeRequired(u16),
    #[error("the ledger is broken: {0}")]
    Broken(String),
    #[error("{0} does not fit into 64 bits")]
    Overflow(&'static str),
    /// Amounts that must be equal are not.
    #[error("{0}")]
    Unbalanced(String),
    /// An event that the state before it does not allow.
    #[error("{0}")]
    Illegal(String),
    /// What the read model holds of the store is not what a projector writes.
    #[error("the read model's own row is corrupt: {0}")]
    Corrupt(String),
}

pub(crate) fn add(to: &mut i64, amount: i64, what: &'static str) -> Result<(), Poison> {
    *to = to.checked_add(amount).ok_or(Poison::Overflow(what))?;
    Ok(())
}

pub(crate) fn sum(
    amounts: impl IntoIterator<Item = i64>,
    what: &'static str,
) -> Result<i64, Poison> {
    amounts
        .into_iter()
        .try_fold(0_i64, i64::checked_add)
        .ok_or(Poison::Overflow(what))
}

pub(crate) fn difference(from: i64, amount: i64, what: &'static str) -> Result<i64, Poison> {
    from.checked_sub(amount).ok_or(Poison::Overflow(what))
}

/// `left` and `right` must be the same amount.
pub(crate) fn equal(left: i64, right: i64, what: impl FnOnce() -> String) -> Result<(), Poison> {
    if left == right {
        Ok(())
    } else {
        Err(Poison::Unbalanced(format!(
            "{}: {left} is not {right}",
            what()
        )))
    }
}
