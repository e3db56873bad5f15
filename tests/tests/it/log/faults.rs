use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use event_log::conformance::Fixture as _;
use event_log::jetstream::{JetStreamConfig, JetStreamLog};
use event_log::{
    AppendOutcome, Appended, ChainState, EventLog, Expectation, Header, LedgerName, LogError,
    Record, RecordHash, Revision, Tip,
};
use integration_tests::proxy::Direction;
use integration_tests::{Nats, TcpProxy};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fixtures::JetStreamFixture;

fn deadline(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

pub fn first_record(ledger: &LedgerName) -> Result<Record> {
    following(ledger, None)
}

fn following(ledger: &LedgerName, tip: Option<&Tip>) -> Result<Record> {
    let chain: Option<ChainState> = tip.map(|tip| tip.chain);
    let header = Header {
        min_reader: 1,
        ledger_id: chain.map_or_else(Uuid::new_v4, |chain| chain.ledger_id),
        ledger: ledger.clone(),
        revision: chain.map_or(Revision::NONE, |chain| chain.revision).next(),
        previous_hash: chain.map_or(RecordHash::NONE, |chain| chain.hash),
        recorded_at: Timestamp::from_microsecond(
            chain.map_or(1_700_000_000_000_000, |chain| chain.recorded_at_us + 1),
        )?,
        fold_from: Revision(1),
    };
    Ok(Record::seal(header, Uuid::new_v4().as_bytes())?)
}

fn on(tip: Option<&Tip>) -> Expectation {
    tip.map_or(Expectation::Empty, |tip| Expectation::Tip(*tip))
}

/// Appends a ledger's first record.
pub async fn append(log: &dyn EventLog, record: &Record) -> Result<Tip> {
    append_on(log, record, None).await
}

/// Each connection takes a moment to notice that its server is back.
async fn append_on(log: &dyn EventLog, record: &Record, tip: Option<&Tip>) -> Result<Tip> {
    let append = async || log.append(record, &on(tip), deadline(30)).await;
    match once_available(append).await? {
        AppendOutcome::Stored(Appended { tip }) => Ok(tip),
        other => bail!("the record is not stored: {other:?}"),
    }
}

/// Calls again while the log is away, for 30 s.
async fn once_available<T>(mut call: impl AsyncFnMut() -> Result<T, LogError>) -> Result<T> {
    let limit = deadline(30);
    loop {
        match call().await {
            Err(LogError::Unavailable(_)) if Instant::now() < limit => {
                sleep(Duration::from_millis(20)).await;
            }
            other => return Ok(other?),
        }
    }
}

/// A log whose connections all go through the proxy.
async fn through(proxy: &TcpProxy, config: &JetStreamConfig) -> Result<JetStreamLog> {
    let servers = vec![format!("nats://{}", proxy.address())];
    Ok(JetStreamLog::open(&JetStreamConfig {
        servers,
        ..config.clone()
    })
    .await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_held_back_lands_after_the_reader_looked() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let proxy = TcpProxy::start(fixture.nats.address(0)).await?;
    let (slow, direct) = (
        through(&proxy, &fixture.config).await?,
        fixture.log().await?,
    );
    let ledger = LedgerName::new("held")?;
    let tip = append(&slow, &first_record(&ledger)?).await?;
    let record = following(&ledger, Some(&tip))?;

    proxy.hold(Direction::ToServer);
    let outcome = slow
        .append(
            &record,
            &on(Some(&tip)),
            Instant::now() + Duration::from_millis(700),
        )
        .await?;
    ensure!(matches!(outcome, AppendOutcome::Unknown(_)), "{outcome:?}");
    ensure!(
        direct.tip(&ledger).await? == Some(tip),
        "a reader does not find it"
    );
    ensure!(direct.read(&ledger, Some(&tip.chain), 10).await?.is_empty());

    proxy.release(Direction::ToServer);
    let limit = deadline(10);
    while direct.tip(&ledger).await? == Some(tip) {
        ensure!(Instant::now() < limit, "what was held back never landed");
        sleep(Duration::from_millis(20)).await;
    }
    ensure!(direct.read(&ledger, Some(&tip.chain), 10).await? == std::slice::from_ref(&record));
    let stored = append_on(&slow, &record, Some(&tip)).await?;
    ensure!(direct.tip(&ledger).await? == Some(stored));
    let other = following(&ledger, Some(&tip))?;
    ensure!(matches!(
        direct.append(&other, &on(Some(&tip)), deadline(10)).await?,
        AppendOutcome::Conflict
    ));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_is_made_up_for() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let proxy = TcpProxy::start(fixture.nats.address(0)).await?;
    let (cut_off, direct) = (
        through(&proxy, &fixture.config).await?,
        fixture.log().await?,
    );
    let ledger = LedgerName::new("unacknowledged")?;
    let tip = append(&cut_off, &first_record(&ledger)?).await?;
    let record = following(&ledger, Some(&tip))?;

    // The record arrives, its acknowledgement does not, and the server dies.
    proxy.hold(Direction::ToClient);
    let appending = {
        let (record, cut_off) = (record.clone(), cut_off.clone());
        tokio::spawn(async move { cut_off.append(&record, &on(Some(&tip)), deadline(30)).await })
    };
    let limit = deadline(10);
    while direct.tip(&ledger).await? == Some(tip) {
        ensure!(Instant::now() < limit, "the record never arrived");
        sleep(Duration::from_millis(5)).await;
    }
    fixture.nats.kill(0);
    proxy.cut();
    proxy.release(Direction::ToClient);
    sleep(Duration::from_millis(300)).await;
    fixture.nats.restart().await?;

    let outcome = appending.await??;
    ensure!(matches!(outcome, AppendOutcome::Stored(_)), "{outcome:?}");
    ensure!(
        fixture
            .log()
            .await?
            .read(&ledger, Some(&tip.chain), 10)
            .await?
            == [record]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_appending_loses_nothing_and_doubles_nothing() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    kill_while_appending(&fixture, |nats| {
        nats.kill(0);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_while_appending_loses_nothing_and_doubles_nothing() -> Result<()> {
    let fixture = JetStreamFixture::cluster().await?;
    let leader = fixture.nats.leader_of("ORDERS-0").await?;
    kill_while_appending(&fixture, move |nats| {
        nats.kill(leader);
        Ok(())
    })
    .await
}

/// One appender goes on through a fault, sending what is unknown again; in the end the ledger holds exactly what it was told.
async fn kill_while_appending(
    fixture: &JetStreamFixture,
    fault: impl FnOnce(&Nats) -> Result<()>,
) -> Result<()> {
    let log = fixture.log().await?;
    let ledger = LedgerName::new("killed")?;
    let appender = {
        let (log, ledger) = (log.clone(), ledger.clone());
        tokio::spawn(async move {
            let (mut tip, mut records) = (None, Vec::new());
            let stop = deadline(4);
            while Instant::now() < stop {
                let record = following(&ledger, tip.as_ref())?;
                let limit = deadline(60);
                loop {
                    match log
                        .append(
                            &record,
                            &on(tip.as_ref()),
                            Instant::now() + Duration::from_millis(500),
                        )
                        .await
                    {
                        Ok(AppendOutcome::Stored(appended)) => {
                            tip = Some(appended.tip);
                            break;
                        }
                        Ok(AppendOutcome::Unknown(_)) | Err(LogError::Unavailable(_)) => {}
                        other => bail!("{other:?}"),
                    }
                    ensure!(Instant::now() < limit, "appends do not go on");
                }
                records.push(record);
            }
            Ok(records)
        })
    };
    sleep(Duration::from_secs(1)).await;
    fault(&fixture.nats)?;
    sleep(Duration::from_millis(500)).await;
    fixture.nats.restart().await?;
    let records = appender.await??;
    ensure!(records.len() > 10, "only {} appends", records.len());
    let read = read_whole(&fixture.log().await?, &ledger).await?;
    ensure!(
        read == records,
        "{} records are read, {} were appended",
        read.len(),
        records.len()
    );
    Ok(())
}

async fn read_whole(log: &JetStreamLog, ledger: &LedgerName) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let last = records.last().map(ChainState::after);
        let page = log.read(ledger, last.as_ref(), 500).await?;
        if page.is_empty() {
            return Ok(records);
        }
        records.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_return_by_their_deadline_without_a_server() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let log = fixture.log().await?;
    let ledger = LedgerName::new("deadline")?;
    let tip = append(&log, &first_record(&ledger)?).await?;
    let next = following(&ledger, Some(&tip))?;

    fixture.nats.pause(0)?;
    let started = Instant::now();
    let outcome = log
        .append(
            &next,
            &on(Some(&tip)),
            Instant::now() + Duration::from_millis(500),
        )
        .await?;
    ensure!(matches!(outcome, AppendOutcome::Unknown(_)), "{outcome:?}");
    ensure!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    ensure!(matches!(
        log.tip(&ledger).await,
        Err(LogError::Unavailable(_))
    ));
    ensure!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    fixture.nats.resume(0)?;
    append_on(&log, &next, Some(&tip)).await?;

    fixture.nats.kill(0);
    sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    let more = following(&ledger, log_tip(&next, &tip).as_ref())?;
    let _ = log
        .append(
            &more,
            &on(log_tip(&next, &tip).as_ref()),
            Instant::now() + Duration::from_millis(500),
        )
        .await;
    ensure!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    ensure!(matches!(
        log.head(log.stream_of(&ledger)).await,
        Err(LogError::Unavailable(_))
    ));
    ensure!(matches!(log.ping().await, Err(LogError::Unavailable(_))));
    Ok(())
}

fn log_tip(record: &Record, before: &Tip) -> Option<Tip> {
    let position = event_log::Position(before.position.0 + 1);
    Some(Tip {
        chain: ChainState::after(record),
        fold_from: record.header().fold_from,
        position,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_subscription_notices_that_the_log_was_put_back() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let ledger = LedgerName::new("put-back")?;
    let log = fixture.log().await?;
    let tip = append(&log, &first_record(&ledger)?).await?;
    fixture.nats.kill(0);
    fixture.nats.save("before")?;
    fixture.nats.restart().await?;
    append_on(&log, &following(&ledger, Some(&tip))?, Some(&tip)).await?;
    let stream = log.stream_of(&ledger);
    let mut subscription = once_available(async || log.subscribe(stream, None).await).await?;
    let mut seen = 0;
    while seen < 2 {
        let next = async || subscription.next(10, Duration::from_secs(5)).await;
        seen += once_available(next).await?.len();
    }
    fixture.nats.kill(0);
    fixture.nats.restore("before")?;
    fixture.nats.restart().await?;
    let limit = deadline(20);
    loop {
        ensure!(Instant::now() < limit, "nothing was noticed");
        match subscription.next(10, Duration::from_secs(1)).await {
            Err(LogError::Changed(_)) => return Ok(()),
            Err(LogError::Unavailable(_)) => {}
            Ok(delivered) => ensure!(delivered.is_empty(), "{delivered:?}"),
            Err(error) => return Err(error).context("another error"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_notices_that_the_log_was_recreated() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let log = fixture.log().await?;
    let (one, two) = (LedgerName::new("one")?, LedgerName::new("two")?);
    append(&log, &first_record(&one)?).await?;
    let jetstream = async_nats::jetstream::new(async_nats::connect(fixture.nats.urls()).await?);
    jetstream.delete_stream("ORDERS-0").await?;
    JetStreamLog::init(&fixture.config).await?;
    fixture.nats.kill(0);
    fixture.nats.restart().await?;
    // Even a ledger's first record, which expects nothing, must not land in another log.
    let limit = deadline(10);
    loop {
        match log
            .append(&first_record(&two)?, &Expectation::Empty, deadline(5))
            .await
        {
            Err(LogError::Changed(_)) => return Ok(()),
            Err(LogError::Unavailable(_)) if Instant::now() < limit => {}
            other => bail!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_on_a_connection_before_its_streams_are_checked() -> Result<()> {
    const LEDGERS: usize = 40;
    let fixture = JetStreamFixture::single().await?;
    let proxy = TcpProxy::start(fixture.nats.address(0)).await?;
    for _ in 0..5 {
        let log = std::sync::Arc::new(through(&proxy, &fixture.config).await?);
        proxy.hold(Direction::ToServer);
        let mut appends = tokio::task::JoinSet::new();
        for number in 0..LEDGERS {
            let log = log.clone();
            appends.spawn(async move {
                let ledger = LedgerName::new(&format!("store-{number}"))?;
                let record = first_record(&ledger)?;
                anyhow::Ok(log.append(&record, &Expectation::Empty, deadline(10)).await)
            });
        }
        sleep(Duration::from_millis(100)).await;
        fixture.replace().await.map_err(anyhow::Error::from_boxed)?;
        // What was held goes down with its connection; the next one leads to another log of the same name and id.
        proxy.cut();
        proxy.release(Direction::ToServer);
        while let Some(appended) = appends.join_next().await {
            let appended = appended??;
            ensure!(
                matches!(
                    appended,
                    Err(LogError::Changed(_)) | Ok(AppendOutcome::Unknown(_))
                ),
                "{appended:?}"
            );
        }
        let ledgers = fixture.log().await?.ledgers().await?;
        ensure!(ledgers.is_empty(), "{ledgers:?}");
    }
    Ok(())
}

/// A first record has its stream checked by itself. A later one expects what the other log holds as well, so that only the check of the
/// new connection keeps it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_on_a_connection_to_a_copy_of_the_log() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let proxy = TcpProxy::start(fixture.nats.address(0)).await?;
    let log = through(&proxy, &fixture.config).await?;
    let ledger = LedgerName::new("copied")?;
    let first = first_record(&ledger)?;
    let tip = append(&log, &first).await?;
    fixture.replace().await.map_err(anyhow::Error::from_boxed)?;
    fixture
        .put_raw(&ledger, first.bytes().clone())
        .await
        .map_err(anyhow::Error::from_boxed)?;
    let copy = fixture.log().await?;
    ensure!(
        copy.tip(&ledger).await? == Some(tip),
        "the other log holds the record at another place"
    );
    proxy.cut();
    let second = following(&ledger, Some(&tip))?;
    let limit = deadline(20);
    loop {
        match log.append(&second, &on(Some(&tip)), deadline(5)).await {
            Err(LogError::Changed(_)) => break,
            // The connection that was cut may have been used before its end was noticed.
            Ok(AppendOutcome::Unknown(_)) | Err(LogError::Unavailable(_))
                if Instant::now() < limit => {}
            other => bail!("{other:?}"),
        }
    }
    let records = copy.read(&ledger, None, 10).await?;
    ensure!(records == [first], "{records:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_subscriptions_leave_no_consumers() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let log = fixture.log().await?;
    append(&log, &first_record(&LedgerName::new("one")?)?).await?;
    for _ in 0..20 {
        let mut subscription = log.subscribe(event_log::StreamIndex(0), None).await?;
        ensure!(subscription.next(10, Duration::from_secs(5)).await?.len() == 1);
    }
    let jetstream = async_nats::jetstream::new(async_nats::connect(fixture.nats.urls()).await?);
    let limit = deadline(10);
    loop {
        let info = jetstream.get_stream("ORDERS-0").await?.get_info().await?;
        if info.state.consumer_count == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "{} consumers are left",
            info.state.consumer_count
        );
        sleep(Duration::from_millis(50)).await;
    }
}
