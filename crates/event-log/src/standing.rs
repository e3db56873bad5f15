use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::LogError;

/// What an open log knows of its own soundness, shared by everything in the process that uses it.
///
/// A log that has changed stays changed: what was decided against its records may not be in it any more, for any ledger, and only an
/// operator can say which log is meant. A log that cannot be written now mends itself.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    changed: OnceLock<String>,
    failing: Mutex<Option<String>>,
}

impl Standing {
    /// [`LogError::Changed`] from the first time on that somebody found the log changed.
    pub(crate) fn sound(&self) -> Result<(), LogError> {
        match self.changed.get() {
            None => Ok(()),
            Some(detail) => Err(LogError::Changed(detail.clone())),
        }
    }

    /// Notes for good that this is not the log that was opened. The first reason stays.
    pub(crate) fn distrust(&self, detail: String) -> LogError {
        let mut first = false;
        let detail = self.changed.get_or_init(|| {
            first = true;
            detail
        });
        if first {
            tracing::error!(
                detail,
                "the event log has changed: nothing is written to it or read from it until an operator acts"
            );
        }
        LogError::Changed(detail.clone())
    }

    /// Notes what became of the last write: why it failed, or that it did not.
    pub(crate) fn wrote(&self, failure: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Why the last write failed, if it did.
    pub(crate) fn failing(&self) -> Option<String> {
        self.failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let standing = Standing::default();
        assert!(standing.sound().is_ok());
        standing.distrust("one".to_owned());
        standing.distrust("two".to_owned());
        let found = standing.sound().map_err(|error| error.to_string());
        assert_eq!(found, Err("the event log has changed: one".to_owned()));
    }
}
