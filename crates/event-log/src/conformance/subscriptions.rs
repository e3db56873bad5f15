use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Failure, Fixture, checkpoint, grow, hashes, ledger, subscribe, take};
use crate::record::{Record, RecordHash, Revision};

pub async fn a_subscription_reads_then_lives(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (mut records, mut tip) = grow(&*log, &name, None, 20).await?;
    let reader = fixture.open().await?;
    let mut subscription = subscribe(&*reader, reader.stream_of(&name), None).await?;
    let mut seen = take(&mut subscription, 20).await?;
    for _ in 0..10 {
        let (more, end) = grow(&*log, &name, Some(tip), 2).await?;
        records.extend(more);
        tip = end;
        seen.extend(take(&mut subscription, 2).await?);
    }
    assert_eq!(
        hashes(&seen),
        records
            .iter()
            .map(Record::hash)
            .collect::<Vec<RecordHash>>()
    );
    assert!(seen.iter().all(|delivered| delivered.ledger == name));
    assert!(seen.is_sorted_by(|one, two| one.position < two.position));
    let head = log.head(log.stream_of(&name)).await?;
    assert_eq!(
        Some(head.position),
        seen.last().map(|delivered| delivered.position)
    );
    assert!(head.appended_at.is_some());
    assert!(
        subscription
            .next(10, Duration::from_millis(300))
            .await?
            .is_empty(),
        "nothing comes twice"
    );
    Ok(())
}

pub async fn a_subscription_starts_anywhere(fixture: &dyn Fixture) -> Result<(), Failure> {
    let log = fixture.open().await?;
    let stream = log.stream_of(&ledger("one"));
    grow(&*log, &ledger("one"), None, 10).await?;
    let mut first = subscribe(&*log, stream, None).await?;
    let all = take(&mut first, 10).await?;
    for (index, delivered) in all.iter().enumerate() {
        let reader = fixture.open().await?;
        let mut subscription =
            subscribe(&*reader, stream, Some(&checkpoint(&*log, delivered))).await?;
        let rest = take(&mut subscription, all.len() - index - 1).await?;
        assert_eq!(hashes(&rest), hashes(&all[index + 1..]));
    }
    Ok(())
}

pub async fn a_subscription_goes_on_across_restarts(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let mut subscription = subscribe(&*log, log.stream_of(&name), None).await?;
    let (mut records, mut tip, mut seen) = (Vec::new(), None, Vec::new());
    for round in 0..4 {
        let (more, end) = grow(&*log, &name, tip, 10).await?;
        records.extend(more);
        tip = Some(end);
        // Restarted once with everything read, once with half of it still to come.
        seen.extend(take(&mut subscription, if round % 2 == 0 { 10 } else { 5 }).await?);
        fixture.restart().await?;
        if round % 2 == 1 {
            seen.extend(take(&mut subscription, 5).await?);
        }
    }
    assert_eq!(
        hashes(&seen),
        records
            .iter()
            .map(Record::hash)
            .collect::<Vec<RecordHash>>()
    );
    Ok(())
}

pub async fn a_subscription_hands_over_what_it_cannot_read(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, _) = grow(&*log, &name, None, 2).await?;
    fixture.put_raw(&name, records[0].bytes().clone()).await?;
    let garbage = Bytes::from_static(b"no record at all");
    fixture.put_raw(&name, garbage.clone()).await?;
    let mut subscription = subscribe(&*log, log.stream_of(&name), None).await?;
    let seen = take(&mut subscription, 4).await?;
    assert_eq!(
        seen[2].record.as_ref().map(Record::revision),
        Ok(Revision(1)),
        "an orphan is the reader's to skip"
    );
    assert!(seen[3].record.is_err());
    assert_eq!(
        (seen[3].hash, &seen[3].ledger),
        (RecordHash::of(&garbage), &name)
    );
    let mut after_it = subscribe(
        &*log,
        log.stream_of(&name),
        Some(&checkpoint(&*log, &seen[3])),
    )
    .await?;
    assert!(
        after_it
            .next(10, Duration::from_millis(200))
            .await?
            .is_empty()
    );
    Ok(())
}

pub async fn a_subscription_waits_no_longer_than_it_is_told(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let mut subscription = subscribe(&*log, log.stream_of(&name), None).await?;
    let started = Instant::now();
    assert!(
        subscription
            .next(10, Duration::from_millis(400))
            .await?
            .is_empty()
    );
    let waited = started.elapsed();
    assert!(
        (Duration::from_millis(350)..Duration::from_millis(2500)).contains(&waited),
        "waited {waited:?}"
    );
    grow(&*log, &name, None, 3).await?;
    // Woken by an append, not by the end of the wait.
    let started = Instant::now();
    assert!(
        !subscription
            .next(10, Duration::from_secs(20))
            .await?
            .is_empty()
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    Ok(())
}
