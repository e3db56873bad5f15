use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::leader::{self, Stored};
use super::setup::same_log;
use super::{Shared, tip_of};
use crate::error::LogError;
use crate::log::{Appended, Expectation, Outcome, StreamIndex};
use crate::record::{Record, RecordHash};

/// First and longest pause before the same bytes are sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How often the leader must say that the ledger ends before the expectation until it is believed; a new one may lag for a moment.
const TIMES_BEHIND: u32 = 8;

/// One append: frozen bytes on a frozen expectation, sent until what became of them is known.
pub(super) struct Append<'a> {
    shared: &'a Shared,
    record: &'a Record,
    stream: String,
    subject: String,
    /// Sequence of the ledger's last message that is expected, 0 for none.
    expected: u64,
    /// A try whose fate is open: from here on the record may land at any time.
    may_land: bool,
    times_behind: u32,
}

enum Try {
    Done(Result<Outcome, LogError>),
    /// To be sent again; says why.
    Again(String),
}

impl<'a> Append<'a> {
    pub(super) fn new(shared: &'a Shared, record: &'a Record, expectation: &Expectation) -> Self {
        let ledger = &record.header().ledger;
        let expected = match expectation {
            Expectation::Empty => 0,
            Expectation::Tip(tip) => tip.position.0,
        };
        let (stream, subject) = (shared.stream_name_of(ledger), shared.layout.subject(ledger));
        Self {
            shared,
            record,
            stream,
            subject,
            expected,
            may_land: false,
            times_behind: 0,
        }
    }

    pub(super) async fn run(mut self, deadline: Instant) -> Result<Outcome, LogError> {
        let mut pause = FIRST_PAUSE;
        let mut reason = "the deadline had passed".to_owned();
        loop {
            if Instant::now() >= deadline {
                return if self.may_land {
                    Ok(Outcome::Unknown(reason))
                } else {
                    Err(LogError::Unavailable(reason))
                };
            }
            match self.attempt(deadline).await {
                Try::Done(result) => return result,
                Try::Again(why) => reason = why,
            }
            tracing::debug!(
                subject = self.subject,
                expected = self.expected,
                reason,
                "an append is sent again"
            );
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&mut self, deadline: Instant) -> Try {
        // The client would keep what is sent now and send it at some later time.
        if !self.shared.writer.is_connected() {
            return Try::Again("the NATS server is not connected".to_owned());
        }
        if let Some(made) = self.shared.writer.unverified() {
            match timeout_at(deadline, self.verify()).await {
                Ok(Ok(())) => self.shared.writer.set_verified(made),
                Ok(Err(LogError::Unavailable(why))) => return Try::Again(why),
                Ok(Err(error)) if self.may_land => {
                    return Try::Done(Ok(Outcome::Unknown(error.to_string())));
                }
                Ok(Err(error)) => return Try::Done(Err(error)),
                Err(_) => return Try::Again("the streams could not be checked in time".to_owned()),
            }
        }
        match timeout_at(deadline, self.send()).await {
            Ok(Ok(sequence)) => Try::Done(Ok(self.stored(sequence))),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => {
                match timeout_at(deadline, self.resolve()).await {
                    Ok(resolved) => resolved,
                    Err(_) => Try::Again("the ledger's end could not be read in time".to_owned()),
                }
            }
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Try::Done(Err(LogError::Unusable(
                    "the NATS server's max_payload is smaller than the record; raise it".to_owned(),
                )))
            }
            Ok(Err(error)) => {
                self.may_land = true;
                Try::Again(describe(&error))
            }
            Err(_) => {
                self.may_land = true;
                Try::Again("no acknowledgement came before the deadline".to_owned())
            }
        }
    }

    /// After every connection: the servers may have been given another log meanwhile, and "empty" would hold there too.
    async fn verify(&self) -> Result<(), LogError> {
        for index in (0..self.shared.layout.streams).map(StreamIndex) {
            let info = self
                .shared
                .writer
                .stream_info(&self.shared.layout.stream_name(index))
                .await?;
            same_log(&info, self.shared.epoch)?;
        }
        Ok(())
    }

    async fn send(&self) -> Result<u64, async_nats::jetstream::context::PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            self.expected.to_string(),
        );
        let jetstream = &self.shared.writer.jetstream;
        let acknowledgement = jetstream
            .publish_with_headers(self.subject.clone(), headers, self.record.bytes().clone())
            .await?;
        Ok(acknowledgement.await?.sequence)
    }

    /// The server refused because the ledger does not end as expected. Exactly one record ever lands on an expectation: the first
    /// message after it. Whether that is ours is asked of the stream's leader.
    async fn resolve(&mut self) -> Try {
        match leader::next(
            &self.shared.writer,
            &self.stream,
            &self.subject,
            self.expected + 1,
        )
        .await
        {
            Ok(Some(first)) => Try::Done(Ok(self.judge(&first))),
            Ok(None) => self.look_behind().await,
            Err(error) => Try::Again(error.to_string()),
        }
    }

    fn judge(&self, first: &Stored) -> Outcome {
        if RecordHash::of(&first.body) == self.record.hash() {
            self.stored(first.sequence)
        } else {
            Outcome::Conflict
        }
    }

    /// Nothing stands after the expectation: an earlier try is still on its way, or the ledger has lost its end.
    async fn look_behind(&mut self) -> Try {
        let last = match leader::last(&self.shared.writer, &self.stream, &self.subject).await {
            Ok(last) => last.map_or(0, |stored| stored.sequence),
            Err(error) => return Try::Again(error.to_string()),
        };
        if last >= self.expected {
            return Try::Again("an append on this expectation is pending".to_owned());
        }
        self.times_behind += 1;
        let ledger = &self.record.header().ledger;
        let detail = format!(
            "ledger {ledger} ends at position {last}, before {}, which was there",
            self.expected
        );
        if self.times_behind >= TIMES_BEHIND && !self.may_land {
            return Try::Done(Err(LogError::Changed(detail)));
        }
        Try::Again(detail)
    }

    fn stored(&self, sequence: u64) -> Outcome {
        Outcome::Stored(Appended {
            tip: tip_of(self.record, sequence),
        })
    }
}

fn describe(error: &async_nats::jetstream::context::PublishError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
