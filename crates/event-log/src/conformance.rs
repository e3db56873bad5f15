//! One suite of tests, which every backend of [`EventLog`] passes.
//!
//! Each function is one test of one law; [`each_law!`](crate::each_law) makes a test of every function for a backend's [`Fixture`].

mod appends;
mod chains;
mod changes;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::chain::ChainState;
use crate::error::LogError;
use crate::log::{
    AppendOutcome, Appended, Checkpoint, Delivered, EventLog, Expectation, LogEpoch, StreamIndex,
    Subscription, Tip,
};
use crate::record::{Header, LedgerName, Record, RecordHash, Revision};

pub use appends::*;
pub use chains::*;
pub use changes::*;
pub use subscriptions::*;

/// Why a test could not be carried out or failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Long enough for a cluster to elect a leader.
const PATIENCE: Duration = Duration::from_secs(30);

/// A backend under test: one log, fresh for each test.
#[async_trait::async_trait]
pub trait Fixture: Send + Sync {
    /// Another instance on the same log, as another process would have it.
    async fn open(&self) -> Result<Arc<dyn EventLog>, LogError>;

    /// Stops the server the hard way and starts it again; nothing for a backend without one.
    async fn restart(&self) -> Result<(), Failure>;

    /// Puts bytes at the end of a ledger past every check, as a foreign writer would.
    async fn put_raw(&self, ledger: &LedgerName, bytes: Bytes) -> Result<(), Failure>;

    /// Changes the stored bytes of one record; `false` when the backend gives no way to.
    async fn alter(&self, ledger: &LedgerName, revision: Revision) -> Result<bool, Failure>;

    /// Copies the log aside. Nobody has it open.
    async fn save(&self) -> Result<(), Failure>;

    /// Puts the copy back. Nobody has the log open.
    async fn restore(&self) -> Result<(), Failure>;

    /// Removes the log and makes a new one of the same name.
    async fn recreate(&self) -> Result<(), Failure>;

    /// Puts another log in the place of this one, under whoever has it open: one that says the same of itself, without any record.
    async fn replace(&self) -> Result<(), Failure>;

    /// Takes away the room for more records, or whatever else a write needs, under whoever has the log open; or gives it back.
    async fn set_full(&self, full: bool) -> Result<(), Failure>;

    async fn adopt(&self) -> Result<LogEpoch, LogError>;
}

/// Makes a test of every law: `each_law!(module, fixture_expression)`, where the expression is awaited and gives a `Result` of a
/// [`Fixture`].
#[macro_export]
macro_rules! each_law {
    ($backend:ident, $fixture:expr) => {
        $crate::each_law!($backend, $fixture;
            a_second_record_on_one_expectation_conflicts,
            an_occupied_ledger_refuses_the_expectation_empty,
            appending_again_says_stored_again,
            of_concurrent_appenders_exactly_one_wins_each_revision,
            one_record_sent_by_many_lands_once,
            ledgers_do_not_disturb_each_other,
            every_ledger_is_listed,
            the_server_tells_its_time,
            what_is_acknowledged_survives_a_restart,
            a_record_that_does_not_continue_its_expectation_is_refused,
            an_oversized_record_is_refused_before_sending,
            a_ledger_is_read_from_any_record_on,
            single_records_are_found,
            a_record_is_read_at_its_place,
            a_ledger_without_records_is_empty,
            orphans_are_skipped,
            a_tail_of_orphans_is_no_tip,
            a_gap_breaks_its_ledger_alone,
            unreadable_bytes_break_their_ledger_alone,
            altered_bytes_break_their_ledger_alone,
            a_newer_reader_is_asked_for,
            a_subscription_reads_then_lives,
            a_subscription_starts_anywhere,
            a_subscription_goes_on_across_restarts,
            a_subscription_hands_over_what_it_cannot_read,
            a_subscription_waits_no_longer_than_it_is_told,
            a_checkpoint_that_is_not_there_is_noticed,
            a_checkpoint_of_another_log_is_its_owners_trouble,
            a_recreated_log_is_noticed,
            a_log_restored_from_an_older_copy_is_noticed,
            adopting_raises_the_epoch,
            a_log_replaced_under_its_users_is_changed_for_good,
            a_first_record_does_not_land_in_another_log,
            a_witness_outside_is_believed,
            a_log_at_work_is_not_taken_for_another,
            a_log_without_room_takes_records_again_once_there_is_some
        );
    };
    ($backend:ident, $fixture:expr; $($law:ident),*) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() -> Result<(), event_log::conformance::Failure> {
                    let fixture = $fixture.await?;
                    event_log::conformance::$law(&fixture).await
                }
            )*
        }
    };
}

fn ledger(name: &str) -> LedgerName {
    LedgerName::new(name).unwrap_or_else(|error| unreachable!("{error}"))
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A record that follows `tip`, with a payload that says who wrote it.
fn following(name: &LedgerName, tip: Option<&Tip>, payload: &str) -> Result<Record, Failure> {
    after(name, tip.map(|tip| &tip.chain), payload)
}

fn after(name: &LedgerName, chain: Option<&ChainState>, payload: &str) -> Result<Record, Failure> {
    let started = Timestamp::from_microsecond(1_700_000_000_000_000)?;
    let header = Header {
        min_reader: 1,
        ledger_id: chain.map_or_else(Uuid::new_v4, |chain| chain.ledger_id),
        ledger: name.clone(),
        revision: chain.map_or(Revision::NONE, |chain| chain.revision).next(),
        previous_hash: chain.map_or(RecordHash::NONE, |chain| chain.hash),
        recorded_at: chain.map_or(Ok(started), |chain| {
            Timestamp::from_microsecond(chain.recorded_at_us + 1)
        })?,
        fold_from: Revision(1),
    };
    Ok(Record::seal(header, payload.as_bytes())?)
}

fn on(tip: Option<&Tip>) -> Expectation {
    tip.map_or(Expectation::Empty, |tip| Expectation::Tip(*tip))
}

async fn append(
    log: &dyn EventLog,
    record: &Record,
    tip: Option<&Tip>,
) -> Result<AppendOutcome, Failure> {
    // A restarted cluster may be without a leader for a while; then nothing was sent.
    let limit = soon();
    loop {
        match log.append(record, &on(tip), limit).await {
            Err(LogError::Unavailable(_)) if Instant::now() < limit => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return Ok(other?),
        }
    }
}

fn stored(outcome: AppendOutcome) -> Result<Tip, Failure> {
    match outcome {
        AppendOutcome::Stored(Appended { tip }) => Ok(tip),
        other => Err(format!("the record is not stored: {other:?}").into()),
    }
}

/// Appends `count` records, which no other call appends, to the end of a ledger.
async fn grow(
    log: &dyn EventLog,
    name: &LedgerName,
    mut tip: Option<Tip>,
    count: usize,
) -> Result<(Vec<Record>, Tip), Failure> {
    let mut records = Vec::new();
    for number in 0..count {
        let record = following(name, tip.as_ref(), &format!("{number} {}", Uuid::new_v4()))?;
        tip = Some(stored(append(log, &record, tip.as_ref()).await?)?);
        records.push(record);
    }
    Ok((records, tip.ok_or("nothing was appended")?))
}

async fn read_all(log: &dyn EventLog, name: &LedgerName) -> Result<Vec<Record>, LogError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let last = records.last().map(ChainState::after);
        let page = log.read(name, last.as_ref(), 7).await?;
        if page.is_empty() {
            return Ok(records);
        }
        records.extend(page);
    }
}

/// The next `count` records of a subscription.
async fn take(
    subscription: &mut Box<dyn Subscription>,
    count: usize,
) -> Result<Vec<Delivered>, Failure> {
    let limit = soon();
    let mut delivered = Vec::new();
    while delivered.len() < count {
        if Instant::now() >= limit {
            return Err(
                format!("only {} of {count} records were delivered", delivered.len()).into(),
            );
        }
        match subscription
            .next(count - delivered.len(), Duration::from_secs(1))
            .await
        {
            Ok(batch) => delivered.extend(batch),
            Err(LogError::Unavailable(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(delivered)
}

async fn subscribe(
    log: &dyn EventLog,
    stream: StreamIndex,
    after: Option<&Checkpoint>,
) -> Result<Box<dyn Subscription>, LogError> {
    let limit = soon();
    loop {
        match log.subscribe(stream, after).await {
            Err(LogError::Unavailable(_)) if Instant::now() < limit => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

fn checkpoint(log: &dyn EventLog, delivered: &Delivered) -> Checkpoint {
    Checkpoint {
        epoch: log.epoch(),
        position: delivered.position,
        hash: delivered.hash,
    }
}

fn hashes(delivered: &[Delivered]) -> Vec<RecordHash> {
    delivered.iter().map(|delivered| delivered.hash).collect()
}

fn is_changed<T>(result: &Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::Changed(_)))
}
