use bytes::{Bytes, BytesMut};

use super::{Failure, Fixture, after, append, following, grow, ledger, read_all, stored};
use crate::chain::ChainState;
use crate::error::LogError;
use crate::log::{AppendOutcome, EventLog, Place, Position, Tip};
use crate::record::{LedgerName, READER_VERSION, Record, RecordHash, Revision};

pub async fn a_ledger_is_read_from_any_record_on(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (writer, name, noise) = (fixture.open().await?, ledger("one"), ledger("noise"));
    let (mut records, mut tip, mut noise_tip) = (Vec::new(), None, None);
    for _ in 0..10 {
        let (more, end) = grow(&*writer, &name, tip, 4).await?;
        records.extend(more);
        tip = Some(end);
        noise_tip = Some(grow(&*writer, &noise, noise_tip, 3).await?.1);
    }
    // A fresh instance remembers no place and has to search.
    for (index, record) in records.iter().enumerate().step_by(3) {
        let log = fixture.open().await?;
        let chain = ChainState::after(record);
        assert_eq!(
            log.read(&name, Some(&chain), 1000).await?,
            records[index + 1..]
        );
        let few: Vec<Record> = records[index + 1..].iter().take(2).cloned().collect();
        assert_eq!(log.read(&name, Some(&chain), 2).await?, few);
    }
    assert_eq!(read_all(&*writer, &name).await?, records);
    assert_eq!(writer.tip(&name).await?, tip);
    Ok(())
}

pub async fn single_records_are_found(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, _) = grow(&*log, &name, None, 12).await?;
    for record in &records {
        assert_eq!(
            log.read_one(&name, record.revision()).await?.as_ref(),
            Some(record)
        );
    }
    assert_eq!(log.read_one(&name, Revision(13)).await?, None);
    Ok(())
}

pub async fn a_record_is_read_at_its_place(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (writer, name, noise) = (fixture.open().await?, ledger("one"), ledger("noise"));
    let (mut records, mut tip) = (Vec::new(), None);
    for _ in 0..4 {
        let (more, end) = grow(&*writer, &name, tip, 3).await?;
        records.extend(more);
        tip = Some(end);
        grow(&*writer, &noise, writer.tip(&noise).await?, 2).await?;
    }
    let log = fixture.open().await?;
    let placed = log.read_placed(&name, None, 1000).await?;
    assert_eq!(
        placed
            .iter()
            .map(|placed| &placed.record)
            .collect::<Vec<_>>(),
        records.iter().collect::<Vec<_>>()
    );
    assert_eq!(
        placed.last().map(|placed| placed.position),
        tip.map(|tip| tip.position)
    );
    for own in &placed {
        let place = own.place();
        assert_eq!(
            log.read_at(&name, &place).await?.as_ref(),
            Some(&own.record)
        );
        // A wrong hint is no answer: another position, another record, another ledger, beyond the end.
        let position = Position(place.position.0 + 1);
        assert_eq!(
            log.read_at(&name, &Place { position, ..place }).await?,
            None
        );
        let hash = RecordHash([7; 32]);
        assert_eq!(log.read_at(&name, &Place { hash, ..place }).await?, None);
        let revision = place.revision.next();
        assert_eq!(
            log.read_at(&name, &Place { revision, ..place }).await?,
            None
        );
        assert_eq!(log.read_at(&noise, &place).await?, None);
        let position = Position(1_000_000);
        assert_eq!(
            log.read_at(&name, &Place { position, ..place }).await?,
            None
        );
    }
    Ok(())
}

pub async fn a_ledger_without_records_is_empty(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("nothing"));
    assert_eq!(log.tip(&name).await?, None);
    assert_eq!(log.read(&name, None, 10).await?, []);
    assert_eq!(log.read_one(&name, Revision(1)).await?, None);
    let head = log.head(log.stream_of(&name)).await?;
    assert_eq!((head.position.0, head.appended_at), (0, None));
    log.ping().await?;
    Ok(())
}

pub async fn orphans_are_skipped(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (mut records, tip) = grow(&*log, &name, None, 5).await?;
    // A copy of a stored record, and a record of a writer that went its own way from revision 2 on.
    fixture.put_raw(&name, records[3].bytes().clone()).await?;
    let fork = after(&name, Some(&ChainState::after(&records[1])), "a fork")?;
    fixture.put_raw(&name, fork.bytes().clone()).await?;
    let tip = continued(&*log, &name, tip).await?;
    assert_eq!(log.tip(&name).await?, Some(tip));
    let (more, end) = grow(&*log, &name, Some(tip), 4).await?;
    records.push(
        log.read_one(&name, Revision(6))
            .await?
            .ok_or("revision 6 is missing")?,
    );
    records.extend(more);
    for log in [log, fixture.open().await?] {
        assert_eq!(log.tip(&name).await?, Some(end));
        assert_eq!(read_all(&*log, &name).await?, records);
        for (index, record) in records.iter().enumerate() {
            let chain = ChainState::after(record);
            assert_eq!(
                log.read(&name, Some(&chain), 100).await?,
                records[index + 1..],
                "after {}",
                record.revision()
            );
            assert_eq!(
                log.read_one(&name, record.revision()).await?.as_ref(),
                Some(record)
            );
        }
    }
    Ok(())
}

/// Appends one record as ordering does: on a conflict it reloads the tip and seals another.
async fn continued(log: &dyn EventLog, name: &LedgerName, known: Tip) -> Result<Tip, Failure> {
    let mut tip = known;
    for _ in 0..3 {
        let record = following(name, Some(&tip), "after orphans")?;
        match append(log, &record, Some(&tip)).await? {
            AppendOutcome::Conflict => tip = log.tip(name).await?.ok_or("the ledger is empty")?,
            outcome => return stored(outcome),
        }
        assert_eq!(tip.chain, known.chain, "an orphan is no tip");
    }
    Err("orphans kept the ledger from going on".into())
}

pub async fn a_tail_of_orphans_is_no_tip(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 6).await?;
    // A whole branch: each of its records continues the one before, and only the ledger's beginning tells that it is none.
    let mut chain = ChainState::after(&records[1]);
    for _ in 0..3 {
        let fork = after(&name, Some(&chain), "a branch")?;
        chain = ChainState::after(&fork);
        fixture.put_raw(&name, fork.bytes().clone()).await?;
    }
    for log in [log, fixture.open().await?] {
        let found = log.tip(&name).await?.ok_or("the ledger is empty")?;
        assert_eq!((found.chain, found.fold_from), (tip.chain, tip.fold_from));
        assert_eq!(read_all(&*log, &name).await?, records);
        assert_eq!(
            log.read_one(&name, Revision(3)).await?.as_ref(),
            Some(&records[2])
        );
    }
    continued(&*fixture.open().await?, &name, tip).await?;
    Ok(())
}

/// The ledger reads up to `good` records and is broken after them; another ledger goes on.
async fn assert_broken(
    log: &dyn EventLog,
    name: &LedgerName,
    good: &[Record],
) -> Result<(), Failure> {
    let last = good.last().map(ChainState::after);
    if !good.is_empty() {
        assert_eq!(log.read(name, None, 100).await?, good);
    }
    match log.read(name, last.as_ref(), 100).await {
        Err(LogError::Broken {
            ledger, revision, ..
        }) => {
            assert_eq!(ledger, *name);
            assert_eq!(revision.0, u64::try_from(good.len())? + 1);
        }
        other => return Err(format!("the break was not found: {other:?}").into()),
    }
    let other = ledger("another");
    let (records, tip) = grow(log, &other, log.tip(&other).await?, 3).await?;
    assert_eq!(log.tip(&other).await?, Some(tip));
    assert!(read_all(log, &other).await?.ends_with(&records));
    Ok(())
}

pub async fn a_gap_breaks_its_ledger_alone(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 3).await?;
    let skipped = following(&name, Some(&tip), "never stored")?;
    let beyond = after(&name, Some(&ChainState::after(&skipped)), "after the gap")?;
    fixture.put_raw(&name, beyond.bytes().clone()).await?;
    assert_broken(&*log, &name, &records).await?;
    assert_broken(&*fixture.open().await?, &name, &records).await
}

pub async fn unreadable_bytes_break_their_ledger_alone(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, _) = grow(&*log, &name, None, 3).await?;
    fixture
        .put_raw(&name, Bytes::from_static(b"no record at all"))
        .await?;
    assert_broken(&*log, &name, &records).await?;
    let reopened = fixture.open().await?;
    assert_broken(&*reopened, &name, &records).await?;
    assert!(matches!(
        reopened.tip(&name).await,
        Err(LogError::Broken { .. })
    ));
    Ok(())
}

pub async fn altered_bytes_break_their_ledger_alone(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 6).await?;
    if fixture.alter(&name, Revision(3)).await? {
        let read = fixture.open().await?.read(&name, None, 2).await?;
        assert_eq!(read, records[..2]);
        // The bytes of revision 3 are still a record; the hash that revision 4 names gives them away.
        let read = fixture.open().await?.read(&name, None, 100).await?;
        assert_eq!(read.len(), 3);
        assert_ne!(read[2], records[2]);
        return assert_broken(&*fixture.open().await?, &name, &read).await;
    }
    // Where stored bytes cannot be reached, a record that was altered on its way stands for it.
    let next = following(&name, Some(&tip), "the seventh")?;
    let mut altered = BytesMut::from(&next.bytes()[..]);
    altered[40] ^= 1;
    fixture.put_raw(&name, altered.freeze()).await?;
    assert_broken(&*fixture.open().await?, &name, &records).await
}

pub async fn a_newer_reader_is_asked_for(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 2).await?;
    let mut header = following(&name, Some(&tip), "")?.header().clone();
    header.min_reader = READER_VERSION + 1;
    let newer = Record::seal(header, b"of the future")?;
    stored(append(&*log, &newer, Some(&tip)).await?)?;
    assert_eq!(log.read(&name, None, 100).await?, records);
    match log.read(&name, Some(&tip.chain), 100).await {
        Err(LogError::UpgradeRequired {
            revision: Revision(3),
            min_reader,
            ..
        }) => assert_eq!(min_reader, READER_VERSION + 1),
        other => return Err(format!("a record of a newer reader was read: {other:?}").into()),
    }
    Ok(())
}
