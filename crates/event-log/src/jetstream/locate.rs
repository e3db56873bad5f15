use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::stream::DirectGetErrorKind;
use futures::TryStreamExt;

use super::Shared;
use super::leader::{self, Stored};
use super::link::Link;
use crate::error::LogError;
use crate::log::Tip;
use crate::record::{LedgerName, Record, Revision};

/// Ledgers of which it is remembered. When there are more, all are forgotten: it only saves a search.
const MAX_LEDGERS: usize = 8192;

/// The record of each ledger that was read last, so that reading on needs no search. `position` is the record's own here.
#[derive(Debug, Default)]
pub(super) struct LastRead(Mutex<HashMap<LedgerName, Tip>>);

impl LastRead {
    pub(super) fn get(&self, ledger: &LedgerName) -> Option<Tip> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(ledger)
            .copied()
    }

    pub(super) fn set(&self, ledger: &LedgerName, record: Tip) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_LEDGERS && !all.contains_key(ledger) {
            all.clear();
        }
        all.insert(ledger.clone(), record);
    }

    pub(super) fn forget(&self, ledger: &LedgerName) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(ledger);
    }
}

/// The last message of a ledger's subject.
pub(super) struct LastMessage {
    pub(super) last: Stored,
    /// Its record, where the subject is plain.
    pub(super) plain: Option<Record>,
}

/// A ledger's subject and stream, for the calls of one read.
pub(super) struct Subject<'a> {
    pub(super) shared: &'a Shared,
    pub(super) ledger: &'a LedgerName,
    pub(super) link: Arc<Link>,
    pub(super) stream: String,
    pub(super) subject: String,
}

impl<'a> Subject<'a> {
    pub(super) fn new(shared: &'a Shared, ledger: &'a LedgerName) -> Result<Self, LogError> {
        Ok(Self {
            shared,
            ledger,
            link: shared.reader()?,
            stream: shared.stream_name_of(ledger),
            subject: shared.known.layout.subject(ledger),
        })
    }

    pub(super) async fn last(&self) -> Result<Option<Stored>, LogError> {
        leader::last(&self.link, &self.stream, &self.subject).await
    }

    pub(super) async fn next_from_leader(&self, sequence: u64) -> Result<Option<Stored>, LogError> {
        leader::next(&self.link, &self.stream, &self.subject, sequence).await
    }

    /// How many messages the ledger's subject holds.
    async fn count(&self) -> Result<u64, LogError> {
        let unavailable = |error: async_nats::jetstream::stream::InfoError| {
            LogError::Unavailable(format!("stream {}: {error}", self.stream))
        };
        let stream = self.link.stream(&self.stream).await?;
        let mut subjects = stream
            .info_builder()
            .subjects(&self.subject)
            .fetch()
            .await
            .map_err(unavailable)?;
        let mut count = 0;
        while let Some((_, messages)) = subjects.try_next().await.map_err(unavailable)? {
            count += u64::try_from(messages).unwrap_or(u64::MAX);
        }
        Ok(count)
    }

    /// The last message, and its record where the subject is plain.
    pub(super) async fn last_and_plain(&self) -> Result<Option<LastMessage>, LogError> {
        let mut found = None;
        // An append between the two questions to the leader makes the count run ahead once, seldom twice.
        for _ in 0..3 {
            let Some(last) = self.last().await? else {
                return Ok(None);
            };
            let Ok(record) = Record::parse(last.body.clone()) else {
                return Ok(Some(LastMessage { last, plain: None }));
            };
            if self.is_plain(&record).await? {
                let plain = Some(record);
                return Ok(Some(LastMessage { last, plain }));
            }
            found = Some(LastMessage { last, plain: None });
        }
        Ok(found)
    }

    /// Whether revisions grow with sequences: the subject then holds as many messages as its last one's revision says. With an
    /// orphan in it no search may be trusted, and only reading from a known place finds what the chain decides.
    pub(super) async fn is_plain(&self, last: &Record) -> Result<bool, LogError> {
        Ok(self.count().await? == last.revision().0)
    }

    /// The first message with at least this revision, by bisection of the sequences up to `end`. Only for a plain subject.
    pub(super) async fn bisect(
        &self,
        revision: Revision,
        end: u64,
    ) -> Result<Option<Stored>, LogError> {
        let (mut low, mut high) = (1, end);
        let mut best = None;
        while low <= high {
            let middle = low + (high - low) / 2;
            let Some(stored) = self.next(middle).await? else {
                high = middle.saturating_sub(1);
                continue;
            };
            let Ok(record) = Record::parse(stored.body.clone()) else {
                let detail = format!("position {} holds no readable record", stored.sequence);
                return Err(LogError::Broken {
                    ledger: self.ledger.clone(),
                    revision,
                    detail,
                });
            };
            if record.revision() == revision {
                return Ok(Some(stored));
            }
            if record.revision() < revision {
                low = stored.sequence + 1;
            } else {
                best = Some(stored);
                high = middle.saturating_sub(1);
            }
        }
        Ok(best)
    }

    /// From any copy; a copy that has nothing there may be behind, and the leader is asked.
    pub(super) async fn next(&self, sequence: u64) -> Result<Option<Stored>, LogError> {
        let stream = self.link.stream(&self.stream).await?;
        match stream
            .direct_get_builder()
            .sequence(sequence)
            .next_by_subject(&self.subject)
            .send()
            .await
        {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                self.next_from_leader(sequence).await
            }
            Err(error) => Err(LogError::Unavailable(format!(
                "stream {}: {error}",
                self.stream
            ))),
        }
    }
}
