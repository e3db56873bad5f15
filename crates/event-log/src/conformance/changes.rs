use std::time::Duration;

use tokio::time::Instant;

use super::{
    Failure, Fixture, append, checkpoint, following, grow, is_changed, ledger, on, read_all, soon,
    stored, subscribe, take,
};
use crate::error::LogError;
use crate::log::{AppendOutcome, Checkpoint, EventLog, Position, Tip};
use crate::record::{RecordHash, Revision};

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
    Ok(())
}

pub async fn a_checkpoint_of_another_log_is_its_owners_trouble(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let stream = log.stream_of(&name);
    grow(&*log, &name, None, 2).await?;
    let seen = take(&mut subscribe(&*log, stream, None).await?, 2).await?;
    let mut other_log = checkpoint(&*log, &seen[1]);
    other_log.epoch.log_id = uuid::Uuid::new_v4();
    let mut other_life = checkpoint(&*log, &seen[1]);
    other_life.epoch.epoch += 1;
    for other in [other_log, other_life] {
        assert!(is_changed(&subscribe(&*log, stream, Some(&other)).await));
    }
    log.ping().await?;
    grow(&*log, &ledger("two"), None, 1).await?;
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
    assert_eq!(log.tip(&name).await?, None);
    let next = following(&name, Some(&tip), "on a tip that is gone")?;
    assert!(is_changed(
        &log.append(&next, &on(Some(&tip)), soon()).await
    ));
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
    assert!(is_changed(&log.ping().await), "and stays so");
    let log = fixture.open().await?;
    let next = following(&name, Some(&lost_tip), "on a tip that was lost")?;
    assert!(is_changed(
        &log.append(&next, &on(Some(&lost_tip)), soon()).await
    ));
    let log = fixture.open().await?;
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
        AppendOutcome::Stored(_)
    ));
    assert_eq!(
        take(&mut subscribe(&*log, log.stream_of(&name), None).await?, 4)
            .await?
            .len(),
        4
    );
    Ok(())
}

/// Everything that can be asked of a log, on the ledgers of these tests.
async fn assert_changed(log: &dyn EventLog, tip: &Tip) -> Result<(), Failure> {
    let (one, two) = (ledger("one"), ledger("two"));
    let next = following(&one, Some(tip), "on a tip that is gone")?;
    assert!(is_changed(&log.append(&next, &on(Some(tip)), soon()).await));
    let first = following(&two, None, "of a ledger that is new")?;
    assert!(is_changed(&log.append(&first, &on(None), soon()).await));
    assert!(is_changed(&log.tip(&one).await));
    assert!(is_changed(&log.read(&one, None, 10).await));
    assert!(is_changed(&log.read_one(&one, Revision(1)).await));
    assert!(is_changed(&log.ledgers().await));
    assert!(is_changed(&log.head(log.stream_of(&one)).await));
    assert!(is_changed(&log.subscribe(log.stream_of(&one), None).await));
    assert!(is_changed(&log.ping().await));
    Ok(())
}

pub async fn a_log_replaced_under_its_users_is_changed_for_good(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (_, tip) = grow(&*log, &name, None, 3).await?;
    let mut subscription = subscribe(&*log, log.stream_of(&name), None).await?;
    take(&mut subscription, 3).await?;
    fixture.replace().await?;
    // Whoever looks first finds it, and all others know.
    let limit = soon();
    while !is_changed(&log.ping().await) {
        assert!(Instant::now() < limit, "nothing was noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_changed(&*log, &tip).await?;
    let delivered = subscription.next(10, Duration::from_secs(5)).await;
    assert!(is_changed(&delivered), "{delivered:?}");
    assert_changed(&*log, &tip).await
}

pub async fn a_first_record_does_not_land_in_another_log(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let log = fixture.open().await?;
    grow(&*log, &ledger("one"), None, 1).await?;
    fixture.replace().await?;
    let first = following(&ledger("two"), None, "expects nothing")?;
    let appended = log.append(&first, &on(None), soon()).await;
    assert!(is_changed(&appended), "{appended:?}");
    assert_eq!(fixture.open().await?.ledgers().await?, []);
    Ok(())
}

pub async fn a_witness_outside_is_believed(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 2).await?;
    let error = log.distrust("revision 3 is not in it".to_owned());
    assert!(error.to_string().contains("revision 3 is not in it"));
    assert_changed(&*log, &tip).await?;
    // Only this instance was told: another looks for itself.
    assert_eq!(read_all(&*fixture.open().await?, &name).await?, records);
    Ok(())
}

pub async fn a_log_without_room_takes_records_again_once_there_is_some(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 2).await?;
    fixture.set_full(true).await?;
    let next = following(&name, Some(&tip), "there is no room for it")?;
    for _ in 0..3 {
        let deadline = Instant::now() + Duration::from_millis(500);
        let appended = log.append(&next, &on(Some(&tip)), deadline).await;
        assert!(
            matches!(
                appended,
                Ok(AppendOutcome::Unknown(_)) | Err(LogError::Unavailable(_))
            ),
            "{appended:?}"
        );
    }
    assert_eq!(read_all(&*log, &name).await?, records);
    assert!(log.ping().await.is_err(), "health has to know");
    fixture.set_full(false).await?;
    let tip = stored(append(&*log, &next, Some(&tip)).await?)?;
    grow(&*log, &name, Some(tip), 2).await?;
    grow(&*log, &ledger("two"), None, 1).await?;
    log.ping().await?;
    Ok(())
}

pub async fn a_log_at_work_is_not_taken_for_another(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let until = Instant::now() + Duration::from_millis(1_500);
    let appending = async {
        let mut tip = None;
        while Instant::now() < until {
            (_, tip) = grow(&*log, &name, tip, 10)
                .await
                .map(|(records, tip)| (records, Some(tip)))?;
        }
        Ok::<_, Failure>(())
    };
    let looking = async {
        let mut looks = 0;
        while Instant::now() < until {
            log.ping().await?;
            looks += 1;
        }
        assert!(looks > 20, "{looks}");
        Ok::<_, Failure>(())
    };
    let (appended, looked) = tokio::join!(appending, looking);
    appended?;
    looked
}
