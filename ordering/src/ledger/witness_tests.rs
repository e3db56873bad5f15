use std::path::Path;
use std::sync::Arc;

use event_log::sqlite::SqliteLog;
use event_log::{AppendOutcome, ChainState, Expectation, Header, Record, Tip};
use jiff::Timestamp;

use super::super::Ledger;
use super::super::notes::Notes;
use super::*;
use crate::ledger::witnesses::Witnesses;

#[test]
fn only_a_raised_epoch_of_the_same_log_voids_what_an_index_knows() {
    let known = LogEpoch {
        log_id: Uuid::from_u128(1),
        epoch: 2,
    };
    let with = |log_id, epoch| LogEpoch {
        log_id: Uuid::from_u128(log_id),
        epoch,
    };
    assert!(matches!(acquaintance(None, known), Acquaintance::Same));
    assert!(matches!(
        acquaintance(Some(known), known),
        Acquaintance::Same
    ));
    assert!(matches!(
        acquaintance(Some(known), with(1, 3)),
        Acquaintance::Adopted
    ));
    for other in [with(1, 1), with(2, 2), with(2, 3)] {
        assert!(matches!(
            acquaintance(Some(known), other),
            Acquaintance::Other(_)
        ));
    }
}

#[test]
fn a_witness_moves_forward_alone_and_is_written_once() {
    let witnesses = Witnesses::default();
    let store = StoreId::new("gangnam").unwrap();
    let chain = |revision, bytes: &[u8]| ChainState {
        ledger_id: Uuid::from_u128(1),
        revision: Revision(revision),
        hash: RecordHash::of(bytes),
        recorded_at_us: 0,
    };
    witnesses.saw(&store, &chain(2, b"two"));
    witnesses.saw(&store, &chain(1, b"one"));
    let two = Witness::from(&chain(2, b"two"));
    assert_eq!(witnesses.unwritten(), [(store.clone(), two)]);
    witnesses.saw(&store, &chain(3, b"three"));
    witnesses.set_written(&[(store.clone(), two)]);
    let three = Witness::from(&chain(3, b"three"));
    assert_eq!(witnesses.unwritten(), [(store.clone(), three)]);
    witnesses.set_written(&[(store.clone(), three)]);
    assert_eq!(witnesses.unwritten(), []);
    assert_eq!(witnesses.of(&store), Some(three));
}

async fn append(log: &SqliteLog, store: &str, tip: Option<Tip>) -> Tip {
    let header = Header {
        min_reader: 1,
        ledger_id: tip.map_or_else(Uuid::new_v4, |tip| tip.chain.ledger_id),
        ledger: LedgerName::new(store).unwrap(),
        revision: tip.map_or(Revision::NONE, |tip| tip.chain.revision).next(),
        previous_hash: tip.map_or(RecordHash::NONE, |tip| tip.chain.hash),
        recorded_at: Timestamp::from_second(1_700_000_000).unwrap(),
        fold_from: Revision(1),
    };
    let record = Record::seal(header, Uuid::new_v4().as_bytes()).unwrap();
    let expectation = tip.map_or(Expectation::Empty, Expectation::Tip);
    let deadline = Instant::now() + Duration::from_secs(10);
    match log.append(&record, &expectation, deadline).await.unwrap() {
        AppendOutcome::Stored(appended) => appended.tip,
        other => panic!("{other:?}"),
    }
}

/// A log of one ledger with two records, a copy of it, and an index that has seen a third.
async fn a_witnessed_log(dir: &Path) -> (StoreId, CommandIndex) {
    let (path, store) = (dir.join("log.db"), StoreId::new("gangnam").unwrap());
    let index = CommandIndex::open(&dir.join("index.db")).await.unwrap();
    let log = SqliteLog::create(&path).await.unwrap();
    acquaint(&log, &index).await.unwrap();
    let tip = append(&log, "gangnam", None).await;
    let tip = append(&log, "gangnam", Some(tip)).await;
    let copy = dir.join("copy.db").display().to_string();
    let mut connection = connect(&path).await;
    sqlx::query("VACUUM INTO ?1")
        .bind(copy)
        .execute(&mut connection)
        .await
        .unwrap();
    let tip = append(&log, "gangnam", Some(tip)).await;
    index.witnesses.saw(&store, &tip.chain);
    index.write_witnesses().await.unwrap();
    (store, index)
}

async fn connect(path: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.connect().await.unwrap()
}

fn put_back(dir: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("log.db{suffix}")));
    }
    std::fs::rename(dir.join("copy.db"), dir.join("log.db")).unwrap();
}

fn is_changed<T>(result: &Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Log(LogError::Changed(_))))
}

#[tokio::test]
async fn a_log_that_lost_its_last_record_is_refused_for_every_store_until_it_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, index) = a_witnessed_log(dir.path()).await;
    let secret = index.secret("quote").await.unwrap();
    put_back(dir.path());
    // By a process that has never seen the record itself, and again by the next one.
    for _ in 0..2 {
        let index = CommandIndex::open(&dir.path().join("index.db"))
            .await
            .unwrap();
        let log = SqliteLog::open(&dir.path().join("log.db")).await.unwrap();
        let examined = examine(&log, &index).await;
        assert!(is_changed(&examined), "{examined:?}");
        let log = Arc::new(SqliteLog::open(&dir.path().join("log.db")).await.unwrap());
        let acquainted = acquaint(&*log, &index).await;
        assert!(is_changed(&acquainted), "{acquainted:?}");
        for store in [&store, &StoreId::new("hongdae").unwrap()] {
            let opened = Ledger::open(log.clone(), index.clone(), store.clone()).await;
            assert!(is_changed(&opened.map(|_| ())), "{store}");
        }
    }
    let adopted = SqliteLog::adopt(&dir.path().join("log.db")).await.unwrap();
    let index = CommandIndex::open(&dir.path().join("index.db"))
        .await
        .unwrap();
    let log = SqliteLog::open(&dir.path().join("log.db")).await.unwrap();
    acquaint(&log, &index).await.unwrap();
    assert_eq!(index.log().await.unwrap(), Some(adopted));
    assert_eq!(index.witness(&store).await.unwrap(), None);
    assert_eq!(index.secret("quote").await.unwrap(), secret, "kept");
}

#[tokio::test]
async fn a_record_in_the_place_of_another_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = a_witnessed_log(dir.path()).await;
    put_back(dir.path());
    let log = SqliteLog::open(&dir.path().join("log.db")).await.unwrap();
    let tip = log.tip(&LedgerName::new("gangnam").unwrap()).await.unwrap();
    for _ in 0..2 {
        let tip = log.tip(&LedgerName::new("gangnam").unwrap()).await.unwrap();
        append(&log, "gangnam", tip).await;
    }
    assert!(tip.is_some());
    let index = CommandIndex::open(&dir.path().join("index.db"))
        .await
        .unwrap();
    let opened = Ledger::open(Arc::new(log), index, store).await;
    assert!(is_changed(&opened.map(|_| ())));
}

#[tokio::test]
async fn an_index_of_another_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, index) = a_witnessed_log(dir.path()).await;
    let other = SqliteLog::create(&dir.path().join("other.db"))
        .await
        .unwrap();
    let acquainted = acquaint(&other, &index).await;
    assert!(is_changed(&acquainted), "{acquainted:?}");
    // Raising the other log's epoch does not make it this one.
    drop(other);
    SqliteLog::adopt(&dir.path().join("other.db"))
        .await
        .unwrap();
    let other = SqliteLog::open(&dir.path().join("other.db")).await.unwrap();
    assert!(is_changed(&acquaint(&other, &index).await));
}

#[tokio::test]
async fn an_index_that_could_not_be_written_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = CommandIndex::open(&dir.path().join("index.db"))
        .await
        .unwrap();
    let mut other = connect(&dir.path().join("index.db")).await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON stamps BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END";
    sqlx::raw_sql(full).execute(&mut other).await.unwrap();
    let store = StoreId::new("gangnam").unwrap();
    let stamp = ChainState {
        ledger_id: Uuid::from_u128(1),
        revision: Revision(1),
        hash: RecordHash::of(b"one"),
        recorded_at_us: 0,
    };
    let notes = Notes {
        through: Some(stamp),
        ..Notes::default()
    };
    // More often than there are connections.
    for _ in 0..6 {
        assert!(index.add(&store, &notes).await.is_err());
    }
    sqlx::raw_sql("DROP TRIGGER full")
        .execute(&mut other)
        .await
        .unwrap();
    for _ in 0..6 {
        index.add(&store, &notes).await.unwrap();
    }
    assert_eq!(index.stamp(&store).await.unwrap(), Some(stamp));
    let reopened = CommandIndex::open(&dir.path().join("index.db"))
        .await
        .unwrap();
    assert_eq!(reopened.stamp(&store).await.unwrap(), Some(stamp));
}

#[tokio::test]
async fn a_broken_ledger_hides_no_other_s_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    let index = CommandIndex::open(&dir.path().join("index.db"))
        .await
        .unwrap();
    let log = SqliteLog::create(&path).await.unwrap();
    acquaint(&log, &index).await.unwrap();
    for store in ["broken", "whole"] {
        let mut tip = None;
        for _ in 0..2 {
            tip = Some(append(&log, store, tip).await);
        }
        let store = StoreId::new(store).unwrap();
        index.witnesses.saw(&store, &tip.unwrap().chain);
    }
    index.write_witnesses().await.unwrap();
    drop(log);
    let mut connection = connect(&path).await;
    sqlx::query("UPDATE records SET body = x'00' WHERE ledger = 'broken' AND revision = 2")
        .execute(&mut connection)
        .await
        .unwrap();
    let log = SqliteLog::open(&path).await.unwrap();
    examine(&log, &index).await.unwrap();
    drop(log);
    sqlx::query("DELETE FROM records WHERE ledger = 'whole' AND revision = 2")
        .execute(&mut connection)
        .await
        .unwrap();
    let log = SqliteLog::open(&path).await.unwrap();
    let found = examine(&log, &index).await.unwrap_err();
    assert!(
        matches!(&found, LedgerError::Log(LogError::Changed(detail)) if detail.contains("whole")),
        "{found}"
    );
}
