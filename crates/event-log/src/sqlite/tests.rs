//! A write that panics, which nothing is known to do: here whoever listens to the writer's log does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::span;
use uuid::Uuid;

use super::*;
use crate::record::{Header, RecordHash};

/// Panics once, at the first warning.
#[derive(Default)]
struct Panicking(AtomicBool);

impl tracing::Subscriber for Panicking {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        assert!(self.0.swap(true, Ordering::Relaxed), "nobody writes now");
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

async fn run(path: &Path, sql: &'static str) {
    let mut connection = schema::connect(path).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

// On one thread, so that the writer's task has the same subscriber.
#[tokio::test]
async fn a_panic_while_writing_is_an_unknown_outcome_and_the_next_append_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = SqliteLog::create(&path).await.unwrap();
    let header = Header {
        min_reader: 1,
        ledger_id: Uuid::new_v4(),
        ledger: LedgerName::new("store-1").unwrap(),
        revision: Revision(1),
        previous_hash: RecordHash::NONE,
        recorded_at: Timestamp::UNIX_EPOCH,
        fold_from: Revision(1),
    };
    let record = Record::seal(header, b"payload").unwrap();
    let append = async || {
        let deadline = Instant::now() + Duration::from_secs(5);
        log.append(&record, &Expectation::Empty, deadline).await
    };
    run(
        &path,
        "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ROLLBACK, 'full'); END",
    )
    .await;
    let panicking = Arc::new(Panicking::default());
    let listening = tracing::subscriber::set_default(panicking.clone());
    let appended = append().await;
    drop(listening);
    assert!(panicking.0.load(Ordering::Relaxed), "there was no panic");
    assert!(
        matches!(appended, Ok(AppendOutcome::Unknown(_))),
        "{appended:?}"
    );
    run(&path, "DROP TRIGGER full").await;
    let appended = append().await;
    assert!(
        matches!(appended, Ok(AppendOutcome::Stored(_))),
        "{appended:?}"
    );
    log.ping().await.unwrap();
}
