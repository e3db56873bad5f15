use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::leader::{self, Stored};
use super::link::Link;
use super::{Shared, tip_of};
use crate::error::LogError;
use crate::log::{AppendOutcome, Appended, Expectation, StreamIndex};
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
    index: StreamIndex,
    stream: String,
    subject: String,
    /// Sequence of the ledger's last message that is expected, 0 for none.
    expected: u64,
    /// A try whose fate is open: from here on the record may land at any time.
    may_land: bool,
    times_behind: u32,
}

enum Try {
    Done(Result<AppendOutcome, LogError>),
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
        Self {
            shared,
            record,
            index: shared.stream_of(ledger),
            stream: shared.stream_name_of(ledger),
            subject: shared.known.layout.subject(ledger),
            expected,
            may_land: false,
            times_behind: 0,
        }
    }

    pub(super) async fn run(self, deadline: Instant) -> Result<AppendOutcome, LogError> {
        let (known, index) = (&self.shared.known, self.index);
        let outcome = self.send_until(deadline).await;
        match &outcome {
            Ok(AppendOutcome::Stored(_) | AppendOutcome::Conflict) => known.wrote(index, None),
            Ok(AppendOutcome::Unknown(why)) => known.wrote(index, Some(why.clone())),
            // Nothing was sent.
            Err(_) => {}
        }
        outcome
    }

    async fn send_until(mut self, deadline: Instant) -> Result<AppendOutcome, LogError> {
        let mut pause = FIRST_PAUSE;
        let mut reason = "the deadline had passed".to_owned();
        loop {
            if Instant::now() >= deadline {
                return if self.may_land {
                    Ok(AppendOutcome::Unknown(reason))
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
        if let Err(error) = self.shared.known.standing.sound() {
            return self.ended(error);
        }
        let link = match self.shared.writer.link() {
            Ok(link) => link,
            Err(error) => return Try::Again(error.to_string()),
        };
        // A ledger's first record expects nothing, which holds in any other log too, also in one that was put in the place of this one
        // under a living connection.
        if self.expected == 0
            && let Err(stop) = self.check_stream(&link, deadline).await
        {
            return stop;
        }
        match timeout_at(deadline, self.send(&link)).await {
            Ok(Ok(sequence)) => {
                self.may_land = true;
                self.acknowledged(&link, sequence, deadline).await
            }
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => {
                match timeout_at(deadline, self.resolve(&link, deadline)).await {
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

    /// What an error comes to, by whether the record may have been stored.
    fn ended(&self, error: LogError) -> Try {
        Try::Done(if self.may_land {
            Ok(AppendOutcome::Unknown(error.to_string()))
        } else {
            Err(error)
        })
    }

    /// Whether the ledger's stream is the one that was opened; how to go on when it is not, or does not say.
    async fn check_stream(&self, link: &Link, deadline: Instant) -> Result<(), Try> {
        match timeout_at(deadline, self.shared.known.check_stream(link, self.index)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(LogError::Unavailable(why))) => Err(Try::Again(why)),
            Ok(Err(error)) => Err(self.ended(error)),
            Err(_) => Err(Try::Again(
                "the stream could not be checked in time".to_owned(),
            )),
        }
    }

    async fn send(&self, link: &Link) -> Result<u64, async_nats::jetstream::context::PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            self.expected.to_string(),
        );
        let acknowledgement = link
            .jetstream
            .publish_with_headers(self.subject.clone(), headers, self.record.bytes().clone())
            .await?;
        Ok(acknowledgement.await?.sequence)
    }

    /// The record is stored at a sequence of a stream: of this log, unless that was replaced just now.
    async fn acknowledged(&self, link: &Link, sequence: u64, deadline: Instant) -> Try {
        if sequence <= self.expected {
            let detail = format!(
                "stream {} stored a record at {sequence}, after {}, which was in it",
                self.stream, self.expected
            );
            return self.ended(self.shared.known.standing.distrust(detail));
        }
        if self.expected == 0
            && let Err(stop) = self.check_stream(link, deadline).await
        {
            return stop;
        }
        self.shared
            .known
            .mark(self.index, sequence, self.record.hash());
        Try::Done(Ok(AppendOutcome::Stored(Appended {
            tip: tip_of(self.record, sequence),
        })))
    }

    /// The server refused because the ledger does not end as expected. Exactly one record ever lands on an expectation: the first
    /// message after it. Whether that is ours is asked of the stream's leader.
    async fn resolve(&mut self, link: &Link, deadline: Instant) -> Try {
        match leader::next(link, &self.stream, &self.subject, self.expected + 1).await {
            Ok(Some(first)) => self.judge(link, &first, deadline).await,
            Ok(None) => self.look_behind(link, deadline).await,
            Err(error) => Try::Again(error.to_string()),
        }
    }

    async fn judge(&mut self, link: &Link, first: &Stored, deadline: Instant) -> Try {
        if RecordHash::of(&first.body) == self.record.hash() {
            self.may_land = true;
            return self.acknowledged(link, first.sequence, deadline).await;
        }
        // Another's record, if the stream is still this log's.
        match self.check_stream(link, deadline).await {
            Ok(()) => Try::Done(Ok(AppendOutcome::Conflict)),
            Err(stop) => stop,
        }
    }

    /// Nothing stands after the expectation: an earlier try is still on its way, or the ledger has lost its end.
    async fn look_behind(&mut self, link: &Link, deadline: Instant) -> Try {
        if let Err(stop) = self.check_stream(link, deadline).await {
            return stop;
        }
        let last = match leader::last(link, &self.stream, &self.subject).await {
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
}

fn describe(error: &async_nats::jetstream::context::PublishError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
