use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use jiff::Timestamp;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::file::LogFile;
use super::reader::{record_at, tip, tip_of};
use super::schema::{self, epoch, unavailable};
use crate::error::LogError;
use crate::log::{AppendOutcome, Appended, Expectation, Landmark, LogEpoch, Position, Tip};
use crate::record::{LedgerName, Record, RecordHash};
use crate::standing::Standing;

/// Appends in one commit.
const MAX_APPENDS_PER_COMMIT: usize = 1024;
/// Bytes of records in one commit, so that one statement's parameter stays small.
const MAX_BYTES_PER_COMMIT: usize = 8 * 1024 * 1024;
/// Ledgers whose tips the writer remembers between commits.
const MAX_REMEMBERED_TIPS: usize = 8192;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Append(Box<Waiting>),
    /// Write something that no reader looks at.
    Probe(oneshot::Sender<Result<(), LogError>>),
}

/// One append and the caller who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) record: Record,
    pub(super) expectation: Expectation,
    pub(super) answer: oneshot::Sender<Result<AppendOutcome, LogError>>,
}

/// The one task that writes: the cost of a sync is shared by all appends that waited for it.
pub(super) struct Writer {
    /// `None` after a failure: SQLite may have ended the transaction by itself or not, so the connection is not used again.
    connection: Option<SqliteConnection>,
    file: LogFile,
    epoch: LogEpoch,
    committed: watch::Sender<u64>,
    standing: Arc<Standing>,
    tips: HashMap<LedgerName, Option<Tip>>,
    /// SQLite's count of commits by other connections; what is remembered holds as long as it stands still.
    data_version: Option<i64>,
    /// The last record that was stored here: it must be found again whenever somebody else has written.
    last: Option<Landmark>,
}

/// What a commit will store, and the outcome that each caller is told once it has.
#[derive(Default)]
struct Plan {
    rows: Vec<(Position, Record)>,
    outcomes: Vec<Result<AppendOutcome, LogError>>,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        file: LogFile,
        epoch: LogEpoch,
        committed: watch::Sender<u64>,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            connection: Some(connection),
            file,
            epoch,
            committed,
            standing,
            tips: HashMap::new(),
            data_version: None,
            last: None,
        }
    }

    /// Runs until the log is dropped and everything that was queued is committed.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            let (mut batch, mut probes, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Append(waiting) => {
                        bytes += waiting.record.bytes().len();
                        batch.push(*waiting);
                    }
                    Request::Probe(answer) => probes.push(answer),
                }
                next = if batch.len() < MAX_APPENDS_PER_COMMIT && bytes < MAX_BYTES_PER_COMMIT {
                    queue.try_recv().ok()
                } else {
                    None
                };
            }
            // A caller who has given up was told "unknown", which stays true when nothing is written.
            batch.retain(|waiting| !waiting.answer.is_closed());
            // A panic is a failure like any other: those who wait hear that the outcome is unknown, and the next write starts anew.
            if !batch.is_empty()
                && AssertUnwindSafe(self.commit(batch))
                    .catch_unwind()
                    .await
                    .is_err()
            {
                let reason = LogError::Unavailable("a write to the log panicked".to_owned());
                let _ = self.settle::<()>(Err(Failure::refused(reason))).await;
            }
            if !probes.is_empty() {
                let failure = self.probe().await.err();
                for answer in probes {
                    // Who has gone away needs no answer.
                    let _ = answer.send(match &failure {
                        None => Ok(()),
                        Some(failure) => Err(failure.error()),
                    });
                }
            }
        }
        self.disconnect().await;
    }

    async fn commit(&mut self, batch: Vec<Waiting>) {
        let said = self.standing.failing();
        let outcomes = match self.store(&batch).await {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                // Once for each cause: the same comes with every attempt until it has passed.
                if said.is_none_or(|said| said != failure.reason.to_string()) {
                    tracing::warn!(error = %failure.reason, appends = batch.len(), "a commit to the log failed");
                }
                batch.iter().map(|_| failure.outcome()).collect()
            }
        };
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            // A caller who has gone away needs no answer.
            let _ = waiting.answer.send(outcome);
        }
    }

    async fn store(
        &mut self,
        batch: &[Waiting],
    ) -> Result<Vec<Result<AppendOutcome, LogError>>, Failure> {
        let stored = self.try_store(batch).await;
        self.settle(stored).await
    }

    async fn probe(&mut self) -> Result<(), Failure> {
        let probed = self.try_probe().await;
        self.settle(probed).await
    }

    /// After a failure nothing is known of the connection, nor of what the file holds: both are looked at anew before the next write.
    async fn settle<T>(&mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Ok(done) => Ok(done),
            Err(mut failure) => {
                self.tips.clear();
                self.data_version = None;
                self.disconnect().await;
                if let LogError::Changed(detail) = failure.reason {
                    failure.reason = self.standing.distrust(detail);
                } else {
                    self.standing.wrote(Some(failure.reason.to_string()));
                }
                Err(failure)
            }
        }
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the log's file failed");
        }
    }

    /// The connection, made anew after a failure. Only to the file that was opened.
    async fn connected<'a>(
        connection: &'a mut Option<SqliteConnection>,
        file: &LogFile,
    ) -> Result<&'a mut SqliteConnection, Failure> {
        file.check().map_err(Failure::refused)?;
        if let Some(connection) = connection {
            return Ok(connection);
        }
        let made = schema::connect(file.path()).await.map_err(|error| {
            // It could be opened before: what keeps it from being opened now may pass.
            Failure::refused(LogError::Unavailable(error.to_string()))
        })?;
        Ok(connection.insert(made))
    }

    async fn try_store(
        &mut self,
        batch: &[Waiting],
    ) -> Result<Vec<Result<AppendOutcome, LogError>>, Failure> {
        self.standing.sound().map_err(Failure::refused)?;
        let connection = Self::connected(&mut self.connection, &self.file).await?;
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(Failure::before_commit)?;
        let version: i64 = sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut *transaction)
            .await
            .map_err(Failure::before_commit)?;
        if self.data_version != Some(version) || self.tips.len() > MAX_REMEMBERED_TIPS {
            still_holds(&mut transaction, self.epoch, self.last)
                .await
                .map_err(Failure::refused)?;
            self.tips.clear();
            self.data_version = Some(version);
        }
        let plan = plan(&mut transaction, &mut self.tips, batch)
            .await
            .map_err(Failure::refused)?;
        let Some((position, record)) = plan.rows.last() else {
            transaction
                .rollback()
                .await
                .map_err(Failure::before_commit)?;
            return Ok(self.kept(plan.outcomes));
        };
        insert(&mut transaction, &plan.rows)
            .await
            .map_err(Failure::before_commit)?;
        transaction.commit().await.map_err(Failure::at_commit)?;
        self.standing.wrote(None);
        // A file that was replaced meanwhile has taken the records with it.
        self.file.check().map_err(|reason| Failure {
            reason,
            may_be_stored: true,
        })?;
        self.last = Some(Landmark {
            position: *position,
            hash: record.hash(),
        });
        self.committed.send_replace(position.0);
        Ok(self.kept(plan.outcomes))
    }

    /// A ledger that has lost records stands for the whole log.
    fn kept(
        &self,
        outcomes: Vec<Result<AppendOutcome, LogError>>,
    ) -> Vec<Result<AppendOutcome, LogError>> {
        let keep = |outcome| match outcome {
            Err(LogError::Changed(detail)) => Err(self.standing.distrust(detail)),
            other => other,
        };
        outcomes.into_iter().map(keep).collect()
    }

    /// Changes a value that nobody reads. It has to be another one each time: SQLite writes no page that stays as it is.
    async fn try_probe(&mut self) -> Result<(), Failure> {
        self.standing.sound().map_err(Failure::refused)?;
        let connection = Self::connected(&mut self.connection, &self.file).await?;
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(Failure::before_commit)?;
        sqlx::query(
            "INSERT OR REPLACE INTO metadata (key, value) VALUES ('probe', hex(randomblob(16)))",
        )
        .execute(&mut *transaction)
        .await
        .map_err(Failure::before_commit)?;
        transaction.commit().await.map_err(Failure::at_commit)?;
        self.standing.wrote(None);
        Ok(())
    }
}

/// Whether this is still the log that was opened, with everything that was stored in it.
async fn still_holds(
    connection: &mut SqliteConnection,
    expected: LogEpoch,
    last: Option<Landmark>,
) -> Result<(), LogError> {
    let found = epoch(connection).await?;
    if found != expected {
        return Err(LogError::Changed(format!(
            "it was opened as {expected} and is {found} now; restart to take it up"
        )));
    }
    let Some(Landmark { position, hash }) = last else {
        return Ok(());
    };
    let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM records WHERE position = ?1")
        .bind(position.0.cast_signed())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    if body.is_some_and(|body| RecordHash::of(&body) == hash) {
        return Ok(());
    }
    Err(LogError::Changed(format!(
        "position {} no longer holds the record that was stored there",
        position.0
    )))
}

/// Decides every append of a batch against the tips, in the order in which they came.
async fn plan(
    connection: &mut SqliteConnection,
    tips: &mut HashMap<LedgerName, Option<Tip>>,
    batch: &[Waiting],
) -> Result<Plan, LogError> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'records'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
    let mut next = last.unwrap_or(0).cast_unsigned() + 1;
    let mut plan = Plan::default();
    for Waiting {
        record,
        expectation,
        ..
    } in batch
    {
        let ledger = &record.header().ledger;
        let known = match tips.get(ledger) {
            Some(known) => *known,
            None => match tip(connection, ledger).await {
                Ok(found) => *tips.entry(ledger.clone()).or_insert(found),
                Err(broken @ LogError::Broken { .. }) => {
                    plan.outcomes.push(Err(broken));
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        let expected = match expectation {
            Expectation::Empty => None,
            Expectation::Tip(tip) => Some(tip.chain),
        };
        if known.map(|tip| tip.chain) == expected {
            let stored = tip_of(record, Position(next));
            tips.insert(ledger.clone(), Some(stored));
            plan.rows.push((Position(next), record.clone()));
            plan.outcomes
                .push(Ok(AppendOutcome::Stored(Appended { tip: stored })));
            next += 1;
        } else {
            let outcome = missed(connection, &plan.rows, record, known).await;
            plan.outcomes.push(outcome);
        }
    }
    Ok(plan)
}

/// The outcome for a record whose expectation is not the tip: stored before, beaten by another, or the log has lost records.
async fn missed(
    connection: &mut SqliteConnection,
    planned: &[(Position, Record)],
    record: &Record,
    known: Option<Tip>,
) -> Result<AppendOutcome, LogError> {
    let (ledger, revision) = (&record.header().ledger, record.revision());
    let reached = known.is_some_and(|tip| tip.chain.revision >= revision);
    if !reached {
        let detail = format!(
            "ledger {ledger} does not end with the record that revision {revision} is to follow"
        );
        return Err(LogError::Changed(detail));
    }
    let same_place = |row: &&(Position, Record)| {
        row.1.header().ledger == *ledger && row.1.revision() == revision
    };
    let found = match planned.iter().find(same_place) {
        Some((position, other)) => Some((*position, other.clone())),
        None => match record_at(connection, ledger, revision).await {
            // Unreadable bytes stand at this revision, and they are not this record's.
            Err(LogError::Broken { .. }) => None,
            other => other?,
        },
    };
    Ok(match found {
        Some((position, other)) if other.hash() == record.hash() => {
            AppendOutcome::Stored(Appended {
                tip: tip_of(record, position),
            })
        }
        _ => AppendOutcome::Conflict,
    })
}

/// One statement for all rows, with hex bodies in a JSON array: several times faster than a statement a row.
async fn insert(
    connection: &mut SqliteConnection,
    rows: &[(Position, Record)],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO records (position, ledger, revision, appended_at, body)
         SELECT value ->> 0, value ->> 1, value ->> 2, ?2, unhex(value ->> 3) FROM json_each(?1)",
    )
    .bind(json_rows(rows))
    .bind(now_us())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Nothing here needs escaping: numbers, ledger names and hex digits.
fn json_rows(rows: &[(Position, Record)]) -> String {
    let bytes: usize = rows
        .iter()
        .map(|(_, record)| record.bytes().len() * 2 + 80)
        .sum();
    let mut json = String::with_capacity(bytes + 2);
    json.push('[');
    for (index, (position, record)) in rows.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        let header = record.header();
        json.push_str(&format!(
            "[{},\"{}\",{},\"",
            position.0, header.ledger, header.revision
        ));
        push_hex(&mut json, record.bytes());
        json.push_str("\"]");
    }
    json.push(']');
    json
}

fn push_hex(text: &mut String, bytes: &Bytes) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "when a record arrived is an operator's measure, no fact of the trade"
)]
fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Why a commit did not happen, and whether it may have happened all the same.
struct Failure {
    reason: LogError,
    may_be_stored: bool,
}

impl Failure {
    fn before_commit(error: sqlx::Error) -> Self {
        Self::refused(unavailable(error))
    }

    fn refused(reason: LogError) -> Self {
        Self {
            reason,
            may_be_stored: false,
        }
    }

    fn at_commit(error: sqlx::Error) -> Self {
        Self {
            reason: unavailable(error),
            may_be_stored: true,
        }
    }

    fn outcome(&self) -> Result<AppendOutcome, LogError> {
        if self.may_be_stored {
            return Ok(AppendOutcome::Unknown(self.reason.to_string()));
        }
        Err(self.error())
    }

    fn error(&self) -> LogError {
        match &self.reason {
            LogError::Changed(detail) => LogError::Changed(detail.clone()),
            LogError::Unusable(detail) => LogError::Unusable(detail.clone()),
            LogError::Unavailable(detail) => LogError::Unavailable(detail.clone()),
            other => LogError::Unavailable(other.to_string()),
        }
    }
}
