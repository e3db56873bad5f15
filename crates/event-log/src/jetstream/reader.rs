use std::time::Duration;

use async_nats::StatusCode;
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::leader::Stored;
use super::link::REQUEST_TIMEOUT;
use super::locate::{LastMessage, Subject};
use super::{Shared, tip_of};
use crate::chain::ChainState;
use crate::error::LogError;
use crate::log::{Place, Placed, Position, Tip};
use crate::page::Page;
use crate::record::{LedgerName, Record, Revision};

/// Messages, and bytes of them, asked for at once.
const MAX_BATCH: usize = 512;
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long one call of `read` collects; what it has by then is its answer.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Records read at once when a ledger with orphans is walked to its end.
const WALK_PAGE: usize = 1024;

pub(super) async fn tip(shared: &Shared, ledger: &LedgerName) -> Result<Option<Tip>, LogError> {
    let subject = Subject::new(shared, ledger)?;
    // An append between the two questions to the leader makes the count run ahead once, seldom twice.
    for _ in 0..3 {
        let Some(last) = subject.last().await? else {
            return Ok(None);
        };
        let Ok(record) = Record::parse(last.body.clone()) else {
            break;
        };
        let tip = tip_of(&record, last.sequence);
        shared.mark(ledger, last.sequence, record.hash());
        if shared.last_read.get(ledger) == Some(tip) {
            return Ok(Some(tip));
        }
        if subject.is_plain(&record).await? {
            shared.last_read.set(ledger, tip);
            return Ok(Some(tip));
        }
    }
    walk(&subject).await.map(Some)
}

/// Follows the chain to the ledger's end, for a ledger with orphans or broken bytes.
async fn walk(subject: &Subject<'_>) -> Result<Tip, LogError> {
    let limit = Instant::now() + READ_LIMIT;
    let mut known = subject.shared.last_read.get(subject.ledger);
    // What is remembered may be of a log that was put back to an earlier state since; the ledger itself decides then.
    let mut remembered = known.is_some();
    while Instant::now() < limit {
        let from = known.map_or(1, |known| known.position.0 + 1);
        let mut scan = Scan::new(
            subject,
            known.as_ref().map(|known| &known.chain),
            WALK_PAGE,
            from,
        );
        scan.run().await?;
        let (end, reached, last) = (scan.end, scan.sequence, scan.last);
        let records = match scan.page.finish() {
            Err(LogError::Broken { .. }) if remembered => {
                subject.shared.last_read.forget(subject.ledger);
                (known, remembered) = (None, false);
                continue;
            }
            other => other?,
        };
        if let (Some(placed), Some(sequence)) = (records.last(), last) {
            let found = tip_of(&placed.record, sequence);
            subject.shared.last_read.set(subject.ledger, found);
            (known, remembered) = (Some(found), false);
        }
        if reached < end {
            continue;
        }
        // What a compare-and-append compares is the last message, orphan or not.
        return match known {
            Some(known) => Ok(Tip {
                position: Position(end.max(known.position.0)),
                ..known
            }),
            None => Err(LogError::Broken {
                ledger: subject.ledger.clone(),
                revision: Revision::NONE.next(),
                detail: "none of its messages is a first record".to_owned(),
            }),
        };
    }
    Err(LogError::Unavailable(format!(
        "ledger {} could not be read to its end within {} s",
        subject.ledger,
        READ_LIMIT.as_secs()
    )))
}

pub(super) async fn read(
    shared: &Shared,
    ledger: &LedgerName,
    after: Option<&ChainState>,
    max: usize,
) -> Result<Vec<Placed>, LogError> {
    let subject = Subject::new(shared, ledger)?;
    let from = match after {
        None => 1,
        Some(after) => match start(&subject, after).await? {
            Some(from) => from,
            None => return Ok(Vec::new()),
        },
    };
    let mut scan = Scan::new(&subject, after, max, from);
    scan.run().await?;
    let (last, complete) = (scan.last, scan.sequence >= scan.end);
    let records = scan.page.finish()?;
    if records.is_empty() && !complete && max > 0 {
        return Err(LogError::Unavailable(format!(
            "ledger {ledger} could not be read within {} s",
            READ_LIMIT.as_secs()
        )));
    }
    if let (Some(placed), Some(sequence)) = (records.last(), last) {
        shared
            .last_read
            .set(ledger, tip_of(&placed.record, sequence));
    }
    Ok(records)
}

/// The record at a place that was noted before, from any copy; a copy that has nothing there may be behind, and the leader is asked.
pub(super) async fn read_at(
    shared: &Shared,
    ledger: &LedgerName,
    place: &Place,
) -> Result<Option<Record>, LogError> {
    let subject = Subject::new(shared, ledger)?;
    let stored = subject.next(place.position.0).await?;
    Ok(stored
        .filter(|stored| stored.sequence == place.position.0)
        .and_then(|stored| Record::parse(stored.body).ok())
        .filter(|record| place.is_of(ledger, record)))
}

/// A sequence from which on to look for the record after `after`, `None` when there is none yet.
async fn start(subject: &Subject<'_>, after: &ChainState) -> Result<Option<u64>, LogError> {
    if let Some(known) = subject.shared.last_read.get(subject.ledger)
        && known.chain == *after
    {
        return Ok(Some(known.position.0 + 1));
    }
    let Some(LastMessage { last, plain }) = subject.last_and_plain().await? else {
        return Ok(None);
    };
    let Some(record) = plain else {
        return Ok(Some(1));
    };
    if record.revision() <= after.revision {
        return Ok(None);
    }
    Ok(subject
        .bisect(after.revision.next(), last.sequence)
        .await?
        .map(|stored| stored.sequence))
}

pub(super) async fn read_one(
    shared: &Shared,
    ledger: &LedgerName,
    revision: Revision,
) -> Result<Option<Record>, LogError> {
    let subject = Subject::new(shared, ledger)?;
    let Some(LastMessage { last, plain }) = subject.last_and_plain().await? else {
        return Ok(None);
    };
    let end = last.sequence;
    if let Some(record) = plain {
        if record.revision() <= revision {
            return Ok((record.revision() == revision).then_some(record));
        }
        let found = subject.bisect(revision, end).await?;
        return Ok(found
            .and_then(|stored| Record::parse(stored.body).ok())
            .filter(|record| record.revision() == revision));
    }
    // With an orphan in the ledger the first of a revision counts, and only going through them finds it.
    let mut from = 1;
    while from <= end {
        let mut batch = batch(&subject, from, MAX_BATCH).await?;
        if batch.is_empty() {
            batch.extend(subject.next_from_leader(from).await?);
        }
        let Some(furthest) = batch.last() else { break };
        from = furthest.sequence + 1;
        let found = batch
            .into_iter()
            .filter_map(|stored| Record::parse(stored.body).ok())
            .find(|record| record.revision() == revision);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Reads a ledger's messages in order, from any copy as far as it goes, from the leader where a copy is behind or looks broken.
struct Scan<'a> {
    subject: &'a Subject<'a>,
    page: Page<'a>,
    /// The last sequence that was taken.
    sequence: u64,
    /// Sequence of the last record that was taken, orphans apart.
    last: Option<u64>,
    /// The subject's last sequence, as its leader said at the start.
    end: u64,
}

impl<'a> Scan<'a> {
    fn new(subject: &'a Subject<'a>, after: Option<&ChainState>, max: usize, from: u64) -> Self {
        let page = Page::new(subject.ledger, after, max);
        // From the first message on for want of a known place.
        let page = if from == 1 {
            page.starting_before()
        } else {
            page
        };
        Self {
            subject,
            page,
            sequence: from.saturating_sub(1),
            last: None,
            end: 0,
        }
    }

    async fn run(&mut self) -> Result<(), LogError> {
        self.end = self.subject.last().await?.map_or(0, |last| last.sequence);
        let limit = Instant::now() + READ_LIMIT;
        while !self.page.is_done()
            && !self.page.is_heavy()
            && self.sequence < self.end
            && Instant::now() < limit
        {
            let batch = batch(
                self.subject,
                self.sequence + 1,
                self.page.missing().min(MAX_BATCH),
            )
            .await?;
            if batch.is_empty() {
                self.take_from_leader().await?;
            }
            for stored in batch {
                self.take(stored);
                if self.page.is_broken() {
                    // A copy's word is not enough to call a ledger broken.
                    self.page.resume();
                    self.take_from_leader().await?;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn take_from_leader(&mut self) -> Result<(), LogError> {
        match self.subject.next_from_leader(self.sequence + 1).await? {
            Some(stored) => self.take(stored),
            None => self.sequence = self.end,
        }
        Ok(())
    }

    fn take(&mut self, stored: Stored) {
        let before = self.page.last().map(|chain| chain.revision);
        self.page.push(Position(stored.sequence), stored.body);
        if !self.page.is_done() || self.page.last().map(|chain| chain.revision) != before {
            self.sequence = stored.sequence;
        }
        if self.page.last().map(|chain| chain.revision) != before {
            self.last = Some(stored.sequence);
        }
    }
}

#[derive(Serialize)]
struct BatchRequest<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

/// Several messages of one subject by one direct get, which the client library has no call for.
async fn batch(
    subject: &Subject<'_>,
    sequence: u64,
    messages: usize,
) -> Result<Vec<Stored>, LogError> {
    let connection = &subject.link;
    let unavailable =
        |why: String| LogError::Unavailable(format!("stream {}: {why}", subject.stream));
    let request = BatchRequest {
        seq: sequence,
        next_by_subj: &subject.subject,
        batch: messages.max(1),
        max_bytes: MAX_BATCH_BYTES,
    };
    let request = serde_json::to_vec(&request).map_err(|error| unavailable(error.to_string()))?;
    let inbox = connection.client.new_inbox();
    let mut answers = connection
        .client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let address = format!("$JS.API.DIRECT.GET.{}", subject.stream);
    let sent = connection
        .client
        .publish_with_reply(address, inbox, Bytes::from(request))
        .await;
    sent.map_err(|error| unavailable(error.to_string()))?;
    let mut batch: Vec<Stored> = Vec::new();
    loop {
        let answer = timeout(REQUEST_TIMEOUT, answers.next())
            .await
            .map_err(|_| unavailable("a read was not answered in time".to_owned()))?;
        let answer = answer.ok_or_else(|| unavailable("the connection was closed".to_owned()))?;
        match answer.status {
            None | Some(StatusCode::OK) => {}
            // 204 ends a batch; 404 says that there is none.
            Some(status) if status.as_u16() == 204 || status == StatusCode::NOT_FOUND => {
                return Ok(batch);
            }
            Some(status) => {
                return Err(unavailable(format!(
                    "a read was answered with status {status}"
                )));
            }
        }
        let sequence = answer
            .headers
            .as_ref()
            .and_then(|headers| headers.get(async_nats::header::NATS_SEQUENCE));
        let sequence = sequence.and_then(|value| value.as_str().parse().ok());
        let sequence = sequence
            .ok_or_else(|| unavailable("a read was answered without a sequence".to_owned()))?;
        batch.push(Stored {
            sequence,
            body: answer.payload,
        });
    }
}
