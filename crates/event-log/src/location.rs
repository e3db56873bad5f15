use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::info::LogInfo;
use crate::jetstream::{JetStreamConfig, JetStreamLog};
use crate::log::{EventLog, LogEpoch};
use crate::sqlite::SqliteLog;

/// Where a log is: `nats://host:port[,host:port…]` or `sqlite:PATH`.
#[derive(Debug, Clone)]
pub enum LogLocation {
    Sqlite(PathBuf),
    JetStream(JetStreamConfig),
}

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("must be nats://host:port[,host:port…] or sqlite:PATH")]
pub struct LocationError;

impl LogLocation {
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(LocationError)
            } else {
                Ok(Self::Sqlite(PathBuf::from(path)))
            };
        }
        let mut scheme = None;
        let mut servers = Vec::new();
        for server in text.split(',').map(str::trim) {
            if let Some((own, _)) = server.split_once("://") {
                scheme = Some(own.to_owned());
            }
            match (
                scheme.as_deref(),
                server.split_once("://").map_or(server, |(_, host)| host),
            ) {
                (Some(scheme @ ("nats" | "tls")), host)
                    if !host.is_empty() && !host.ends_with('@') =>
                {
                    servers.push(format!("{scheme}://{host}"));
                }
                _ => return Err(LocationError),
            }
        }
        Ok(Self::JetStream(JetStreamConfig::new(servers)))
    }

    /// Reads where the log is from settings, by key: `log`, `log_credentials`, `log_prefix`, `log_streams`, `log_replicas`. What is
    /// wrong comes back with its key.
    pub fn from_settings(
        mut setting: impl FnMut(&str) -> Option<String>,
    ) -> Result<Self, (&'static str, String)> {
        let text = setting("log").ok_or((
            "log",
            "is needed: nats://host:port[,host:port…], or sqlite:PATH".to_owned(),
        ))?;
        let mut location = Self::parse(&text).map_err(|error| ("log", error.to_string()))?;
        if let Self::JetStream(config) = &mut location {
            config.credentials = setting("log_credentials").map(PathBuf::from);
            if let Some(prefix) = setting("log_prefix") {
                config.prefix = prefix;
            }
            if let Some(streams) = setting("log_streams") {
                config.streams = streams
                    .parse()
                    .map_err(|_| ("log_streams", "must be 1 to 64".to_owned()))?;
            }
            if let Some(replicas) = setting("log_replicas") {
                config.replicas = replicas
                    .parse()
                    .map_err(|_| ("log_replicas", "must be 1, 3 or 5".to_owned()))?;
            }
        }
        Ok(location)
    }

    #[must_use]
    pub fn sqlite(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }

    /// Opens a log that exists.
    pub async fn open(&self) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteLog::open(path).await?),
            Self::JetStream(config) => Arc::new(JetStreamLog::open(config).await?),
        })
    }

    /// Makes a new, empty log. Refuses where there is one.
    pub async fn init(&self) -> Result<LogInfo, LogError> {
        match self {
            Self::Sqlite(path) => SqliteLog::create(path).await?.info().await,
            Self::JetStream(config) => JetStreamLog::init(config).await?.info().await,
        }
    }

    pub async fn info(&self) -> Result<LogInfo, LogError> {
        match self {
            Self::Sqlite(path) => SqliteLog::open(path).await?.info().await,
            Self::JetStream(config) => JetStreamLog::open(config).await?.info().await,
        }
    }

    /// Takes up a log that was restored from a backup, under the next epoch.
    pub async fn adopt(&self) -> Result<LogEpoch, LogError> {
        match self {
            Self::Sqlite(path) => SqliteLog::adopt(path).await,
            Self::JetStream(config) => JetStreamLog::adopt(config).await,
        }
    }
}

/// Without what may be a password.
impl fmt::Display for LogLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::JetStream(config) => {
                let hosts: Vec<&str> = config
                    .servers
                    .iter()
                    .map(|server| {
                        server
                            .rsplit_once(['@', '/'])
                            .map_or(server.as_str(), |(_, host)| host)
                    })
                    .collect();
                write!(f, "nats://{}", hosts.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_anything_else_is_refused() {
        for (text, shown) in [
            ("sqlite:a/b.db", "sqlite:a/b.db"),
            (
                "nats://till:secret@one:4222,two:4222",
                "nats://one:4222,two:4222",
            ),
            (
                "nats://one:4222,nats://two:4222",
                "nats://one:4222,nats://two:4222"
                    .replace(",nats://", ",")
                    .as_str(),
            ),
        ] {
            assert_eq!(
                LogLocation::parse(text).map(|location| location.to_string()),
                Ok(shown.to_owned())
            );
        }
        for text in [
            "",
            "sqlite:",
            "one:4222",
            "postgres://one/two",
            "nats://",
            "nats://one,,two",
        ] {
            assert_eq!(
                LogLocation::parse(text).err(),
                Some(LocationError),
                "{text}"
            );
        }
    }
}
