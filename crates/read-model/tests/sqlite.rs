//! The suite on embedded SQLite. PostgreSQL runs it in the integration tests.

use event_log::{Checkpoint, LogEpoch, Position, RecordHash, StreamIndex};
use jiff::Timestamp;
use read_model::conformance::Failure;
use read_model::{Batch, Facts, Fence, Generation, ReadModel, each_law};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use uuid::Uuid;

async fn fresh() -> Result<(ReadModel, ReadModel, tempfile::TempDir), Failure> {
    let directory = tempfile::tempdir()?;
    let url = format!(
        "sqlite:{}",
        directory.path().join("read-model.db").display()
    );
    Ok((ReadModel::open(&url)?, ReadModel::open(&url)?, directory))
}

each_law!(sqlite, super::fresh());

/// A trigger has SQLite end a transaction by itself, as it does when a disk is full.
#[tokio::test]
async fn a_transaction_that_sqlite_ended_keeps_nothing_from_the_next() -> Result<(), Failure> {
    let (model, _, directory) = fresh().await?;
    model.writer.prepare().await?;
    let epoch = LogEpoch {
        log_id: Uuid::from_u128(7),
        epoch: 1,
    };
    let seen = model
        .writer
        .stream(Generation(1), StreamIndex(0), epoch)
        .await?;
    let row = model.writer.claim(&seen, "one", epoch).await?;
    let row = row.ok_or("the stream is not free")?;
    let batch = Batch {
        fence: Fence {
            generation: row.generation,
            stream: row.stream,
            term: row.term,
            position: row.position,
        },
        checkpoint: Checkpoint {
            epoch,
            position: Position(5),
            hash: RecordHash::of(b"five"),
        },
        head: Position(5),
        lag_us: 0,
        orphans: 0,
        at: Timestamp::from_second(1_700_000_000)?,
        stores: Vec::new(),
        placed: Vec::new(),
        orders: Vec::new(),
        facts: Facts::default(),
        days: Vec::new(),
    };
    let mut other = SqliteConnectOptions::new()
        .filename(directory.path().join("read-model.db"))
        .connect()
        .await?;
    sqlx::raw_sql(
        "CREATE TRIGGER full BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END",
    )
    .execute(&mut other)
    .await?;
    for _ in 0..3 {
        assert!(model.writer.commit(&batch).await.is_err());
    }
    sqlx::raw_sql("DROP TRIGGER full")
        .execute(&mut other)
        .await?;
    model.writer.commit(&batch).await?;
    Ok(())
}
