use super::{
    Failure, Fixture, checkpoint, following, grow, is_changed, ledger, on, read_all, soon,
    subscribe, take,
};
use crate::log::{Checkpoint, Outcome, Position};
use crate::record::RecordHash;

pub async fn a_checkpoint_that_is_not_there_is_noticed(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let stream = log.stream_of(&name);
    grow(&*log, &name, None, 3).await?;
    let seen = take(&mut subscribe(&*log, stream, None).await?, 3).await?;
    let good = checkpoint(&*log, &seen[1]);
    subscribe(&*log, stream, Some(&good)).await?;
    let other_hash = Checkpoint {
        hash: RecordHash::of(b"another record"),
        ..good
    };
    assert!(is_changed(
        &subscribe(&*log, stream, Some(&other_hash)).await
    ));
    let beyond = Checkpoint {
        position: Position(good.position.0 + 100),
        ..good
    };
    assert!(is_changed(&subscribe(&*log, stream, Some(&beyond)).await));
    let mut other_log = good;
    other_log.epoch.log_id = uuid::Uuid::new_v4();
    assert!(is_changed(
        &subscribe(&*log, stream, Some(&other_log)).await
    ));
    Ok(())
}

pub async fn a_recreated_log_is_noticed(fixture: &dyn Fixture) -> Result<(), Failure> {
    let name = ledger("one");
    let (old, tip) = {
        let log = fixture.open().await?;
        let (_, tip) = grow(&*log, &name, None, 3).await?;
        let seen = take(&mut subscribe(&*log, log.stream_of(&name), None).await?, 3).await?;
        (checkpoint(&*log, &seen[2]), tip)
    };
    fixture.recreate().await?;
    let log = fixture.open().await?;
    assert_ne!(log.epoch().log_id, old.epoch.log_id);
    assert!(is_changed(
        &subscribe(&*log, log.stream_of(&name), Some(&old)).await
    ));
    let next = following(&name, Some(&tip), "on a tip that is gone")?;
    assert!(is_changed(
        &log.append(&next, &on(Some(&tip)), soon()).await
    ));
    assert_eq!(log.tip(&name).await?, None);
    Ok(())
}

pub async fn a_log_restored_from_an_older_copy_is_noticed(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let name = ledger("one");
    let (records, old_tip) = grow(&*fixture.open().await?, &name, None, 3).await?;
    fixture.save().await?;
    let (lost, lost_tip, before, after) = {
        let log = fixture.open().await?;
        let (lost, lost_tip) = grow(&*log, &name, Some(old_tip), 3).await?;
        let seen = take(&mut subscribe(&*log, log.stream_of(&name), None).await?, 6).await?;
        (
            lost,
            lost_tip,
            checkpoint(&*log, &seen[2]),
            checkpoint(&*log, &seen[4]),
        )
    };
    fixture.restore().await?;
    let log = fixture.open().await?;
    let stream = log.stream_of(&name);
    assert_eq!(read_all(&*log, &name).await?, records);
    subscribe(&*log, stream, Some(&before)).await?;
    assert!(
        is_changed(&subscribe(&*log, stream, Some(&after)).await),
        "the log is shorter now"
    );
    let next = following(&name, Some(&lost_tip), "on a tip that was lost")?;
    assert!(is_changed(
        &log.append(&next, &on(Some(&lost_tip)), soon()).await
    ));
    // Grown over the lost end with other records: only their hashes tell.
    grow(&*log, &name, Some(old_tip), 3).await?;
    let same_length = read_all(&*log, &name).await?;
    assert_eq!(same_length.len(), 6);
    assert_ne!(same_length[4].hash(), lost[1].hash());
    assert!(
        is_changed(&subscribe(&*log, stream, Some(&after)).await),
        "the log holds other records now"
    );
    Ok(())
}

pub async fn adopting_raises_the_epoch(fixture: &dyn Fixture) -> Result<(), Failure> {
    let name = ledger("one");
    let (first, old, tip) = {
        let log = fixture.open().await?;
        let (_, tip) = grow(&*log, &name, None, 3).await?;
        let seen = take(&mut subscribe(&*log, log.stream_of(&name), None).await?, 3).await?;
        (log.epoch(), checkpoint(&*log, &seen[2]), tip)
    };
    let raised = fixture.adopt().await?;
    assert_eq!(
        (raised.log_id, raised.epoch),
        (first.log_id, first.epoch + 1)
    );
    let log = fixture.open().await?;
    assert_eq!(log.epoch(), raised);
    assert!(is_changed(
        &subscribe(&*log, log.stream_of(&name), Some(&old)).await
    ));
    let next = following(&name, Some(&tip), "the adopted log goes on")?;
    assert!(matches!(
        log.append(&next, &on(Some(&tip)), soon()).await?,
        Outcome::Stored(_)
    ));
    assert_eq!(
        take(&mut subscribe(&*log, log.stream_of(&name), None).await?, 4)
            .await?
            .len(),
        4
    );
    Ok(())
}
