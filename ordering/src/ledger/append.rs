use std::time::Duration;

use event_log::{AppendOutcome, Expectation, LogError, Record, Tip};
use tokio::time::Instant;

use super::{Ledger, LedgerError};

/// How long one attempt at an append may take before it is tried again with the same bytes.
const ATTEMPT: Duration = Duration::from_secs(2);
/// First and longest pause between two attempts, and while something is waited for that must come.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is said again that an outcome is still unknown: a log of words may be on the disk that is full.
const SAID_AGAIN: Duration = Duration::from_secs(30);
/// How long a log that cannot be reached at all is tried before the commands are refused: nothing was sent.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(3);
/// How often a tail that must be there is looked for.
const TAIL_LOOKS: u32 = 40;

/// What became of a record that was to be appended.
pub(super) enum Landed {
    Stored(Tip),
    /// Another record stands in its place.
    Lost,
    /// Nothing was sent.
    Unreachable(LedgerError),
    /// It was sent, and now the log cannot tell: whoever asked has to ask again.
    Unclear(LedgerError),
}

impl Ledger {
    /// Appends a frozen record until it is known what became of it.
    pub(super) async fn append(&self, record: &Record) -> Landed {
        let expectation = self.tip.map_or(Expectation::Empty, Expectation::Tip);
        let began = Instant::now();
        let mut sent = false;
        let mut pause = PAUSE_BETWEEN_ATTEMPTS;
        let mut said: Option<Instant> = None;
        loop {
            match self
                .log
                .append(record, &expectation, Instant::now() + ATTEMPT)
                .await
            {
                Ok(AppendOutcome::Stored(appended)) => return Landed::Stored(appended.tip),
                Ok(AppendOutcome::Conflict) => return Landed::Lost,
                Ok(AppendOutcome::Unknown(cause)) => {
                    sent = true;
                    if said.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
                        said = Some(Instant::now());
                        tracing::warn!(ledger = %self.name, revision = %record.revision(), cause, "append: outcome unknown, sending the same again");
                    }
                }
                Err(LogError::Unavailable(cause)) => {
                    if !sent && began.elapsed() >= UNREACHABLE_PATIENCE {
                        return Landed::Unreachable(LogError::Unavailable(cause).into());
                    }
                }
                Err(error) if sent => return Landed::Unclear(error.into()),
                Err(error) => return Landed::Unreachable(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// After a lost compare-and-append somebody else's record is there, or an orphan; it is seen before anything is decided again.
    pub(super) async fn see_tail(&mut self) -> Result<(), LedgerError> {
        let before = self.tip.map(|tip| tip.position);
        for _ in 0..TAIL_LOOKS {
            if self.catch_up().await? > 0 || self.tip.map(|tip| tip.position) != before {
                return Ok(());
            }
            tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await;
        }
        Err(LogError::Unavailable(format!(
            "the record that stands at the end of ledger {} cannot be read",
            self.name
        ))
        .into())
    }
}
