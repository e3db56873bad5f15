use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{AccountErrorKind, CreateStreamErrorKind};
use async_nats::jetstream::stream::Config;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::JetStreamConfig;
use super::known::{Known, made_at};
use super::layout::{Identity, Layout, MAX_MESSAGE_BYTES, set_epoch};
use super::link::Link;
use crate::error::LogError;
use crate::log::{LogEpoch, StreamIndex};

/// The oldest server, as (major, minor), whose compare-and-append was tested to hold.
pub const MIN_SERVER: (u64, u64) = (2, 12);

/// Refuses a server that is older than [`MIN_SERVER`].
pub fn check_server(version: &str) -> Result<(), LogError> {
    let mut numbers = version
        .trim_start_matches('v')
        .split(['.', '-'])
        .map(str::parse::<u64>);
    let (major, minor) = MIN_SERVER;
    match (numbers.next(), numbers.next()) {
        (Some(Ok(found_major)), Some(Ok(found_minor)))
            if (found_major, found_minor) >= MIN_SERVER =>
        {
            Ok(())
        }
        _ => Err(LogError::Unusable(format!(
            "the NATS server is version {version:?}; update it to {major}.{minor} or newer"
        ))),
    }
}

/// How long `init` waits for a cluster that has just started.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

async fn check_servers(link: &Link) -> Result<(), LogError> {
    let server = link.client.server_info();
    check_server(&server.version)?;
    if server.max_payload < MAX_MESSAGE_BYTES {
        let found = server.max_payload;
        return Err(LogError::Unusable(format!(
            "the NATS server takes messages of {found} bytes only; set its max_payload to {MAX_MESSAGE_BYTES} or more"
        )));
    }
    let off = || {
        LogError::Unusable(
            "JetStream is off; start nats-server with --jetstream, and enable it for this account"
                .to_owned(),
        )
    };
    match link.jetstream.query_account().await {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            AccountErrorKind::JetStreamUnavailable => Err(off()),
            AccountErrorKind::JetStream(api)
                if [
                    ErrorCode::JETSTREAM_NOT_ENABLED,
                    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
                ]
                .contains(&api.error_code()) =>
            {
                Err(off())
            }
            _ => Err(LogError::Unavailable(format!(
                "JetStream does not answer: {error}"
            ))),
        },
    }
}

pub(super) async fn init(config: &JetStreamConfig) -> Result<(), LogError> {
    let layout = Layout::new(&config.prefix, config.streams)?;
    let link = Link::connect(config, "doppio event log, init").await?;
    check_servers(&link).await?;
    for index in (0..layout.streams).map(StreamIndex) {
        let name = layout.stream_name(index);
        if link.find_stream(&name).await?.is_some() {
            return Err(exists(&name));
        }
    }
    let epoch = LogEpoch {
        log_id: Uuid::new_v4(),
        epoch: 1,
    };
    for index in (0..layout.streams).map(StreamIndex) {
        make(&link, layout.config(index, epoch, config.replicas)).await?;
    }
    Ok(())
}

/// A cluster that has just started takes a moment until all its servers may be given a copy.
async fn make(link: &Link, config: Config) -> Result<(), LogError> {
    let (name, limit) = (config.name.clone(), Instant::now() + CLUSTER_PATIENCE);
    loop {
        let Err(error) = link.jetstream.create_stream(config.clone()).await else {
            return Ok(());
        };
        let waiting = match error.kind() {
            CreateStreamErrorKind::JetStream(api) => match api.error_code() {
                ErrorCode::STREAM_NAME_EXIST => return Err(exists(&name)),
                ErrorCode::CLUSTER_NO_PEERS
                | ErrorCode::CLUSTER_NOT_AVAILABLE
                | ErrorCode::CLUSTER_NOT_LEADER => api.to_string(),
                _ => {
                    return Err(LogError::Unusable(format!(
                        "stream {name} cannot be made: {api}"
                    )));
                }
            },
            _ => error.to_string(),
        };
        if Instant::now() >= limit {
            let replicas = config.num_replicas;
            return Err(LogError::Unavailable(format!(
                "stream {name} needs {replicas} servers that are up: {waiting}"
            )));
        }
        sleep(RETRY_PAUSE).await;
    }
}

fn exists(name: &str) -> LogError {
    LogError::Unusable(format!(
        "stream {name} exists already; open that log, or choose another prefix"
    ))
}

pub(super) async fn open(link: &Link, config: &JetStreamConfig) -> Result<Known, LogError> {
    check_servers(link).await?;
    let found = streams(link, config).await?;
    let (layout, epoch) = (found.layout, found.identities[0].epoch);
    if let Some(other) = found
        .identities
        .iter()
        .find(|identity| identity.epoch != epoch)
    {
        return Err(LogError::Unusable(format!(
            "streams {} and {} have different epochs, {epoch} and {}; finish with `doppio log adopt`",
            layout.stream_name(StreamIndex(0)),
            layout.stream_name(StreamIndex(other.index)),
            other.epoch,
        )));
    }
    Ok(Known::new(layout, epoch, found.made))
}

pub(super) async fn adopt(config: &JetStreamConfig) -> Result<LogEpoch, LogError> {
    let link = Link::connect(config, "doppio event log, adopt").await?;
    check_servers(&link).await?;
    let found = streams(&link, config).await?;
    let highest = found
        .identities
        .iter()
        .map(|identity| identity.epoch.epoch)
        .max()
        .unwrap_or_default();
    let raised = LogEpoch {
        epoch: highest.saturating_add(1),
        ..found.identities[0].epoch
    };
    for index in (0..found.layout.streams).map(StreamIndex) {
        let name = found.layout.stream_name(index);
        let mut stream = link.stream_info(&name).await?.config;
        set_epoch(&mut stream, raised.epoch);
        let updated = link.jetstream.update_stream(&stream).await;
        updated.map_err(|error| {
            LogError::Unavailable(format!(
                "stream {name} keeps its epoch: {error}; adopt the log again"
            ))
        })?;
    }
    Ok(raised)
}

/// All streams of a log, checked; of one log, but perhaps not of one epoch.
struct Found {
    layout: Layout,
    identities: Vec<Identity>,
    /// When each was made.
    made: Vec<i128>,
}

async fn streams(link: &Link, config: &JetStreamConfig) -> Result<Found, LogError> {
    let first = Layout::new(&config.prefix, 1)?.stream_name(StreamIndex(0));
    let info = link.find_stream(&first).await?.ok_or_else(|| {
        LogError::Unusable(format!(
            "there is no stream {first}; make the log with `doppio log init`, or change the prefix"
        ))
    })?;
    let identity = Identity::of(&info.config)?;
    let layout = Layout::new(&config.prefix, identity.streams)?;
    let (mut identities, mut made) = (Vec::new(), Vec::new());
    for index in (0..layout.streams).map(StreamIndex) {
        let name = layout.stream_name(index);
        let info = link.find_stream(&name).await?.ok_or_else(|| {
            LogError::Unusable(format!(
                "stream {name} is missing, of {} that the log has; restore it from a backup",
                layout.streams
            ))
        })?;
        let own = Identity::of(&info.config)?;
        if (own.epoch.log_id, own.streams, own.index)
            != (identity.epoch.log_id, identity.streams, index.0)
        {
            return Err(LogError::Unusable(format!(
                "stream {name} belongs to log {} (stream {} of {}), {first} to log {}; restore all streams from one backup",
                own.epoch.log_id, own.index, own.streams, identity.epoch.log_id
            )));
        }
        layout.check(index, &info.config, config.replicas)?;
        identities.push(own);
        made.push(made_at(&info));
    }
    Ok(Found {
        layout,
        identities,
        made,
    })
}

#[cfg(test)]
mod tests {
    use super::check_server;

    #[test]
    fn servers_before_2_12_are_refused_with_what_to_change() {
        for version in ["2.12.0", "2.12.1-RC.2", "v2.15.1", "3.0.0"] {
            check_server(version).unwrap();
        }
        for version in ["2.11.9", "1.99.0", "", "unknown"] {
            let refused = check_server(version).unwrap_err().to_string();
            assert!(refused.contains("update it to 2.12"), "{refused}");
        }
    }
}
