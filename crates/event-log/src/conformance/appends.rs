use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::task::JoinSet;

use super::{Failure, Fixture, append, following, grow, ledger, on, read_all, soon, stored};
use crate::error::LogError;
use crate::log::AppendOutcome;
use crate::record::{MAX_PAYLOAD_BYTES, Record, RecordHash, Revision, SealError};

pub async fn a_second_record_on_one_expectation_conflicts(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (_, tip) = grow(&*log, &name, None, 3).await?;
    let (first, second) = (
        following(&name, Some(&tip), "first")?,
        following(&name, Some(&tip), "second")?,
    );
    let won = stored(append(&*log, &first, Some(&tip)).await?)?;
    assert!(matches!(
        append(&*log, &second, Some(&tip)).await?,
        AppendOutcome::Conflict
    ));
    let again = following(&name, Some(&won), "second")?;
    let end = stored(append(&*log, &again, Some(&won)).await?)?;
    assert_eq!(log.tip(&name).await?, Some(end));
    assert!(
        matches!(
            append(&*log, &second, Some(&tip)).await?,
            AppendOutcome::Conflict
        ),
        "still, when others have followed"
    );
    Ok(())
}

pub async fn an_occupied_ledger_refuses_the_expectation_empty(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    grow(&*log, &name, None, 2).await?;
    let other = following(&name, None, "another first record")?;
    assert!(matches!(
        append(&*log, &other, None).await?,
        AppendOutcome::Conflict
    ));
    assert_eq!(read_all(&*log, &name).await?.len(), 2);
    Ok(())
}

pub async fn appending_again_says_stored_again(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, other, name) = (fixture.open().await?, fixture.open().await?, ledger("one"));
    let first = following(&name, None, "first")?;
    let one = stored(append(&*log, &first, None).await?)?;
    assert_eq!(stored(append(&*log, &first, None).await?)?.chain, one.chain);
    let second = following(&name, Some(&one), "second")?;
    let two = stored(append(&*other, &second, Some(&one)).await?)?;
    assert_eq!(
        stored(append(&*log, &second, Some(&one)).await?)?,
        two,
        "said by another instance"
    );
    grow(&*log, &name, Some(two), 5).await?;
    assert_eq!(
        stored(append(&*log, &second, Some(&one)).await?)?.chain,
        two.chain,
        "when others have followed"
    );
    assert_eq!(
        stored(append(&*other, &first, None).await?)?.chain,
        one.chain
    );
    assert_eq!(read_all(&*log, &name).await?.len(), 7);
    Ok(())
}

pub async fn of_concurrent_appenders_exactly_one_wins_each_revision(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    const APPENDERS: usize = 6;
    const WINS: usize = 15;
    let name = ledger("contended");
    let mut appenders = JoinSet::new();
    for appender in 0..APPENDERS {
        let (log, name) = (fixture.open().await?, name.clone());
        appenders.spawn(async move {
            let mut won: Vec<(Revision, RecordHash)> = Vec::new();
            let mut tip = log.tip(&name).await?;
            while won.len() < WINS {
                let record = following(&name, tip.as_ref(), &format!("{appender}/{}", won.len()))?;
                match append(&*log, &record, tip.as_ref()).await? {
                    AppendOutcome::Stored(appended) => {
                        won.push((record.revision(), record.hash()));
                        tip = Some(appended.tip);
                    }
                    AppendOutcome::Conflict => tip = log.tip(&name).await?,
                    AppendOutcome::Unknown(why) => return Err(Failure::from(why)),
                }
            }
            Ok(won)
        });
    }
    let mut winners: HashMap<Revision, RecordHash> = HashMap::new();
    while let Some(won) = appenders.join_next().await {
        for (revision, hash) in won?? {
            assert!(
                winners.insert(revision, hash).is_none(),
                "revision {revision} was won twice"
            );
        }
    }
    let records = read_all(&*fixture.open().await?, &name).await?;
    assert_eq!(records.len(), APPENDERS * WINS);
    for record in records {
        assert_eq!(winners.get(&record.revision()), Some(&record.hash()));
    }
    Ok(())
}

pub async fn one_record_sent_by_many_lands_once(fixture: &dyn Fixture) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (_, tip) = grow(&*log, &name, None, 1).await?;
    let record = Arc::new(following(&name, Some(&tip), "sent by many")?);
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let (log, record) = (fixture.open().await?, record.clone());
        senders.spawn(async move { stored(append(&*log, &record, Some(&tip)).await?) });
    }
    while let Some(sent) = senders.join_next().await {
        assert_eq!(sent??.chain.hash, record.hash());
    }
    assert_eq!(read_all(&*log, &name).await?.len(), 2);
    Ok(())
}

pub async fn ledgers_do_not_disturb_each_other(fixture: &dyn Fixture) -> Result<(), Failure> {
    let log = fixture.open().await?;
    let mut growing = JoinSet::new();
    for number in 0..20 {
        let (log, name) = (log.clone(), ledger(&format!("store-{number}")));
        growing.spawn(async move { Ok::<_, Failure>((grow(&*log, &name, None, 10).await?, name)) });
    }
    while let Some(grown) = growing.join_next().await {
        let ((records, tip), name) = grown??;
        assert_eq!(read_all(&*log, &name).await?, records);
        assert_eq!(log.tip(&name).await?, Some(tip));
    }
    Ok(())
}

pub async fn what_is_acknowledged_survives_a_restart(fixture: &dyn Fixture) -> Result<(), Failure> {
    let name = ledger("one");
    let log = fixture.open().await?;
    let (mut records, tip) = grow(&*log, &name, None, 5).await?;
    fixture.restart().await?;
    let (more, _) = grow(&*log, &name, Some(tip), 5).await?;
    records.extend(more);
    fixture.restart().await?;
    let reopened = fixture.open().await?;
    assert_eq!(reopened.epoch(), log.epoch());
    assert_eq!(read_all(&*reopened, &name).await?, records);
    Ok(())
}

pub async fn every_ledger_is_listed(fixture: &dyn Fixture) -> Result<(), Failure> {
    let log = fixture.open().await?;
    assert_eq!(log.ledgers().await?, []);
    // Far more than the partitions, so that every stream has some.
    let mut names = Vec::new();
    for number in 0..100 {
        let name = ledger(&format!("store-{number}"));
        grow(&*log, &name, None, if number % 10 == 0 { 2 } else { 1 }).await?;
        names.push(name);
    }
    names.sort_unstable();
    assert_eq!(log.ledgers().await?, names);
    Ok(())
}

pub async fn the_server_tells_its_time(fixture: &dyn Fixture) -> Result<(), Failure> {
    let log = fixture.open().await?;
    let one = log.server_time().await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let other = log.server_time().await?;
    assert!(other > one, "{other} after {one}");
    Ok(())
}

pub async fn a_record_that_does_not_continue_its_expectation_is_refused(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (fixture.open().await?, ledger("one"));
    let (records, tip) = grow(&*log, &name, None, 2).await?;
    let unrelated = following(&name, None, "a first record")?;
    assert!(matches!(
        log.append(&unrelated, &on(Some(&tip)), soon()).await,
        Err(LogError::Unusable(_))
    ));
    let next = following(&name, Some(&tip), "a third record")?;
    assert!(matches!(
        log.append(&next, &on(None), soon()).await,
        Err(LogError::Unusable(_))
    ));
    assert_eq!(read_all(&*log, &name).await?, records);
    Ok(())
}

pub async fn an_oversized_record_is_refused_before_sending(
    fixture: &dyn Fixture,
) -> Result<(), Failure> {
    let (log, name) = (
        fixture.open().await?,
        ledger("a-name-as-long-as-a-name-may-be1"),
    );
    let largest = following(&name, None, &"x".repeat(MAX_PAYLOAD_BYTES))?;
    let tip = stored(append(&*log, &largest, None).await?)?;
    assert_eq!(read_all(&*log, &name).await?, [largest]);
    let refused = following(&name, Some(&tip), &"x".repeat(MAX_PAYLOAD_BYTES + 1));
    assert!(
        refused.is_err_and(|error| matches!(error.downcast_ref(), Some(SealError::Oversized(_))))
    );
    // One that was sealed by other code.
    let mut bytes = BytesMut::from(&following(&name, Some(&tip), "small")?.bytes()[..]);
    bytes.put_bytes(b'x', MAX_PAYLOAD_BYTES);
    let large = Record::parse(bytes.freeze())?;
    assert!(matches!(
        log.append(&large, &on(Some(&tip)), soon()).await,
        Err(LogError::Unusable(_))
    ));
    assert_eq!(log.tip(&name).await?, Some(tip));
    Ok(())
}
