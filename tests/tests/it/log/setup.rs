use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::{self, stream};
use event_log::jetstream::{JetStreamConfig, JetStreamLog};
use event_log::sqlite::SqliteLog;
use event_log::{EventLog, LedgerName, LogError};
use integration_tests::Nats;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::fixtures::{JetStreamFixture, missing};

/// What opening is refused with.
async fn refusal(config: &JetStreamConfig) -> String {
    match JetStreamLog::open(config).await {
        Ok(_) => "it was opened".to_owned(),
        Err(LogError::Unusable(what)) => what,
        Err(other) => format!("another error: {other}"),
    }
}

#[tokio::test]
async fn a_missing_file_is_refused_and_not_made() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = missing(directory.path())?;
    let refused = SqliteLog::open(&path)
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(refused.contains("doppio log init"), "{refused}");
    missing(directory.path())?;
    SqliteLog::create(&path).await?;
    let refused = SqliteLog::create(&path)
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(refused.contains("exists already"), "{refused}");
    let foreign = directory.path().join("foreign.db");
    std::fs::write(&foreign, "")?;
    let refused = SqliteLog::open(&foreign)
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(refused.contains("not a log of Doppio"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn streams_are_opened_not_conjured() -> Result<()> {
    let nats = Nats::single().await?;
    let config = JetStreamConfig {
        streams: 4,
        ..nats.config()
    };
    let refused = refusal(&config).await;
    ensure!(
        refused.contains("there is no stream ORDERS-0") && refused.contains("doppio log init"),
        "{refused}"
    );
    let made = JetStreamLog::init(&config).await?;
    ensure!(made.streams() == 4 && made.info().await?.streams.len() == 4);
    ensure!(
        JetStreamLog::open(&nats.config()).await?.epoch() == made.epoch(),
        "the number of streams is in the streams"
    );
    let again = JetStreamLog::init(&config)
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(again.contains("exists already"), "{again}");

    let jetstream = jetstream::new(async_nats::connect(nats.urls()).await?);
    jetstream.delete_stream("ORDERS-2").await?;
    let refused = refusal(&config).await;
    ensure!(refused.contains("ORDERS-2 is missing"), "{refused}");

    // A set of streams of two logs.
    let other = JetStreamConfig {
        prefix: "OTHER".to_owned(),
        ..config.clone()
    };
    JetStreamLog::init(&other).await?;
    let mut foreign = jetstream
        .get_stream("OTHER-2")
        .await?
        .get_info()
        .await?
        .config;
    jetstream.delete_stream("OTHER-2").await?;
    foreign.name = "ORDERS-2".to_owned();
    foreign.subjects = foreign
        .subjects
        .iter()
        .map(|subject| subject.replace("other", "orders"))
        .collect();
    jetstream.create_stream(foreign).await?;
    let refused = refusal(&config).await;
    ensure!(refused.contains("belongs to log"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn ledgers_are_spread_over_streams() -> Result<()> {
    let nats = Nats::single().await?;
    let config = JetStreamConfig {
        streams: 4,
        ..nats.config()
    };
    let log = JetStreamLog::init(&config).await?;
    let mut used = std::collections::BTreeSet::new();
    for number in 0..40 {
        let ledger = LedgerName::new(&format!("store-{number}"))?;
        used.insert(log.stream_of(&ledger));
        ensure!(log.tip(&ledger).await?.is_none());
        let record = super::faults::first_record(&ledger)?;
        super::faults::append(&log, &record).await?;
        ensure!(log.read(&ledger, None, 10).await? == [record]);
    }
    ensure!(used.len() == 4);
    let info = log.info().await?;
    ensure!(
        info.streams
            .iter()
            .map(|stream| stream.records)
            .sum::<u64>()
            == 40
    );
    Ok(())
}

#[tokio::test]
async fn a_stream_that_may_lose_records_is_refused() -> Result<()> {
    let fixture = JetStreamFixture::single().await?;
    let jetstream = jetstream::new(async_nats::connect(fixture.nats.urls()).await?);
    let made = jetstream
        .get_stream("ORDERS-0")
        .await?
        .get_info()
        .await?
        .config;
    for (change, what) in [
        (
            (|config| config.max_age = Duration::from_secs(3600)) as fn(&mut stream::Config),
            "set max_age to 0",
        ),
        (
            |config| config.discard = stream::DiscardPolicy::Old,
            "set discard to new",
        ),
        (|config| config.max_message_size = 1000, "set max_msg_size"),
        (
            |config| config.max_messages_per_subject = 10,
            "set max_msgs_per_subject to -1",
        ),
        (
            |config| config.subjects.truncate(10),
            "restore its subjects",
        ),
        (
            |config| config.allow_direct = false,
            "set allow_direct to true",
        ),
    ] {
        let mut changed = made.clone();
        change(&mut changed);
        jetstream.update_stream(&changed).await?;
        let refused = refusal(&fixture.config).await;
        ensure!(refused.contains(what), "{refused}");
        jetstream.update_stream(&made).await?;
    }
    fixture.log().await?;
    let three = JetStreamConfig {
        replicas: 3,
        ..fixture.config.clone()
    };
    let refused = refusal(&three).await;
    ensure!(refused.contains("keeps 1 copies"), "{refused}");
    jetstream.delete_stream("ORDERS-0").await?;
    jetstream
        .create_stream(stream::Config {
            deny_delete: false,
            ..made
        })
        .await?;
    let refused = refusal(&fixture.config).await;
    ensure!(refused.contains("deny_delete"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() -> Result<()> {
    let nats = Nats::without_jetstream().await?;
    let refused = refusal(&nats.config()).await;
    ensure!(
        refused.contains("JetStream is off") && refused.contains("--jetstream"),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() -> Result<()> {
    let config = JetStreamConfig::new(vec![format!("nats://{}", old_server().await?)]);
    let refused = refusal(&config).await;
    ensure!(
        refused.contains("2.11.4") && refused.contains("update it to 2.12"),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn no_server_is_unavailable_soon() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let opened = JetStreamLog::open(&JetStreamConfig::new(vec![format!(
        "nats://127.0.0.1:{port}"
    )]))
    .await;
    ensure!(matches!(opened, Err(LogError::Unavailable(_))));
    Ok(())
}

/// Speaks as much of NATS as a client needs to connect: the greeting of an old version, and an answer to every ping.
async fn old_server() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let info = r#"{"server_id":"OLD","server_name":"old","version":"2.11.4","go":"go1.22","host":"127.0.0.1","port":4222,
                "headers":true,"max_payload":1048576,"proto":1,"client_id":1,"jetstream":true}"#
                .replace('\n', "");
            let _ = client
                .write_all(format!("INFO {info}\r\n").as_bytes())
                .await;
            tokio::spawn(async move {
                let mut received = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut received).await {
                    if received[..length].windows(4).any(|word| word == b"PING") {
                        let _ = client.write_all(b"PONG\r\n").await;
                    }
                }
            });
        }
    });
    Ok(address.to_string())
}
