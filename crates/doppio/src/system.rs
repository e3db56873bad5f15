//! The four services in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contract::card::CARD_KEYS_NEEDED;
use event_log::{EventLog, LogLocation};
use member::{Benefits, Database, Members};
use ordering::catalog;
use ordering::ledger::CommandIndex;
use read_model::ReadModel;
use runtime::config::Settings;
use runtime::{Clock, Shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::witnesses;

/// Where the four services listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub member: SocketAddr,
    pub ordering: SocketAddr,
    pub query: SocketAddr,
    pub projector: SocketAddr,
}

/// What the services stand on, and where they listen.
pub struct Plan {
    pub log: LogLocation,
    /// `postgres://…` or `sqlite:PATH`.
    pub read_model: String,
    pub member_db: Database,
    pub index: PathBuf,
    pub catalog: Option<PathBuf>,
    /// Four addresses in the order member, ordering, query, projector; port 0 for any free one.
    pub listen: [SocketAddr; 4],
    /// Make the log if it is missing: only for a data directory that is new.
    pub init_log: bool,
    pub settings: Settings,
    pub clock: Clock,
    /// Kept until the services have ended.
    pub data: Option<DataDir>,
}

/// Offsets of the services' ports from the base port.
const OFFSETS: [u16; 4] = [1, 2, 3, 4];

/// The services' addresses for a base address: member at its port + 1, ordering + 2, query + 3, projector + 4.
pub fn listen_from(base: SocketAddr) -> Result<[SocketAddr; 4], Failure> {
    let mut listen = [base; 4];
    if base.port() != 0 {
        for (address, offset) in listen.iter_mut().zip(OFFSETS) {
            let port = base.port().checked_add(offset);
            address.set_port(port.ok_or_else(|| {
                Failure::new(
                    ExitCode::Usage,
                    "the base port is too high for four services",
                )
            })?);
        }
    }
    Ok(listen)
}

impl Plan {
    /// Everything embedded in a data directory, on any free ports of the loopback interface.
    pub fn embedded(data: DataDir) -> Result<Self, Failure> {
        Ok(Self {
            log: LogLocation::sqlite(&data.log()),
            read_model: format!("sqlite:{}", data.read_model().display()),
            member_db: Database::Sqlite(data.members()),
            index: data.index(),
            catalog: None,
            listen: listen_from(SocketAddr::from(([127, 0, 0, 1], 0)))?,
            init_log: data.is_new(),
            settings: Settings::load(None, &[]),
            clock: Clock::system(),
            data: Some(data),
        })
    }
}

/// Running services.
pub struct System {
    pub addresses: Addresses,
    pub log: Arc<dyn EventLog>,
    pub shutdown: Shutdown,
    /// Why the log is not the one that the data beside it belongs to, if it is not. The services run, and refuse.
    pub log_changed: Option<String>,
    services: JoinSet<anyhow::Result<()>>,
    _data: Option<DataDir>,
}

impl System {
    /// Opens the engines and starts the services.
    pub async fn start(plan: Plan) -> Result<Self, Failure> {
        let Plan {
            log: location,
            read_model,
            member_db,
            index,
            catalog,
            listen,
            init_log,
            mut settings,
            clock,
            data,
        } = plan;
        let shutdown = Shutdown::new();
        let mut listeners = Vec::with_capacity(listen.len());
        for address in listen {
            listeners.push(
                TcpListener::bind(address)
                    .await
                    .with_context(|| format!("cannot listen on {address}"))?,
            );
        }
        let [
            member_listener,
            ordering_listener,
            query_listener,
            projector_listener,
        ] = <[TcpListener; 4]>::try_from(listeners)
            .map_err(|_| Failure::new(ExitCode::Failed, "four sockets are needed"))?;
        let addresses = Addresses {
            member: member_listener.local_addr()?,
            ordering: ordering_listener.local_addr()?,
            query: query_listener.local_addr()?,
            projector: projector_listener.local_addr()?,
        };
        let mut config = ordering_config(&mut settings, addresses.member)?;
        config.index.clone_from(&index);
        let card_keys = match (&config.card_keys, &data) {
            (Some(keys), _) => keys.clone(),
            (None, Some(data)) => data.card_keys()?,
            (None, None) => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("the setting card_keys {CARD_KEYS_NEEDED}"),
                ));
            }
        };
        config.card_keys = Some(card_keys.clone());
        let projector = status_projector::Config::from_settings(&mut settings);
        settings.finish()?;
        let (catalog, following) = catalog::open(
            catalog.or_else(|| config.catalog.clone()).as_deref(),
            Clock::system(),
        )?;
        if init_log {
            location
                .init()
                .await
                .with_context(|| format!("the event log {location}"))?;
        }
        let log = location
            .open()
            .await
            .with_context(|| format!("the event log {location}"))?;
        let model = ReadModel::open(&read_model)?;
        let log_changed = if data.is_some() {
            changed(&*log, &index, &model).await
        } else {
            None
        };
        let index = CommandIndex::open(&index)
            .await
            .with_context(|| format!("the command index {}", index.display()))?;
        // The projector does this too; done here, the query service finds its schema at once. A database that is down is waited for there.
        if let Err(error) = model.writer.prepare().await {
            tracing::warn!(%error, "the read model is not ready yet");
        }
        let members = Members::open(&member_db, card_keys.clone())
            .await
            .with_context(|| format!("the members' database {member_db}"))?;

        let mut services = JoinSet::new();
        let member_config = member::Config {
            listen: addresses.member,
            database: member_db,
            card_keys: Some(card_keys),
            benefits: Benefits::default(),
        };
        let (soft, member_clock) = (shutdown.clone(), clock.clone());
        services.spawn(async move {
            Ok(member::run(member_config, members, member_listener, soft, member_clock).await?)
        });
        let (soft, log_handle, ordering_clock) = (shutdown.clone(), log.clone(), clock.clone());
        shutdown.spawn_until_stop(following);
        services.spawn(async move {
            Ok(ordering::run(
                config,
                log_handle,
                index,
                catalog,
                ordering_listener,
                soft,
                ordering_clock,
            )
            .await?)
        });
        let (soft, log_handle, writer, projector_clock) = (
            shutdown.clone(),
            log.clone(),
            model.writer.clone(),
            clock.clone(),
        );
        services.spawn(async move {
            Ok(status_projector::run(
                projector,
                log_handle,
                writer,
                projector_listener,
                soft,
                projector_clock,
            )
            .await?)
        });
        let soft = shutdown.clone();
        services.spawn(async move {
            Ok(query_api::run(model.reader, query_listener, soft, clock).await?)
        });
        Ok(Self {
            addresses,
            log,
            shutdown,
            log_changed,
            services,
            _data: data,
        })
    }

    /// Waits until the services are told to stop. Why they have to, if nobody told them: one of them ended by itself, or a task died.
    pub async fn until_stop(&mut self) -> Option<anyhow::Error> {
        until_stop(&self.shutdown, &mut self.services).await
    }

    /// Stops all services: calls under way are finished within `grace`.
    pub async fn stop(mut self, grace: Duration) -> Result<(), Failure> {
        self.shutdown.begin();
        let ended = tokio::time::timeout(grace, async {
            while let Some(ended) = self.services.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::error!(error = format!("{error:#}"), "a service failed");
                }
            }
        })
        .await;
        if ended.is_err() {
            self.shutdown.hard().cancel();
        }
        self.shutdown.finish(grace).await;
        Ok(())
    }
}

async fn until_stop(
    shutdown: &Shutdown,
    services: &mut JoinSet<anyhow::Result<()>>,
) -> Option<anyhow::Error> {
    let soft = shutdown.soft();
    let ended = tokio::select! {
        // A service that was told to stop may end before this is polled again: it has not failed.
        biased;
        () = soft.cancelled() => None,
        ended = services.join_next() => Some(ended),
    };
    if let Some(failure) = shutdown.failure() {
        return Some(anyhow::anyhow!("{failure}"));
    }
    match ended? {
        Some(Ok(Err(error))) => Some(error),
        Some(Ok(Ok(()))) | None => Some(anyhow::anyhow!("a service has ended")),
        Some(Err(error)) => Some(error.into()),
    }
}

/// Why the log of a data directory is not the one that the data beside it belongs to. A witness that cannot be asked says nothing here:
/// the services ask again.
async fn changed(log: &dyn EventLog, index: &Path, model: &ReadModel) -> Option<String> {
    let by_index = witnesses::by_index(log, index).await;
    let said = match by_index {
        Ok(None) => witnesses::by_read_model(log, &model.reader).await,
        other => other,
    };
    said.unwrap_or_else(|error| {
        tracing::warn!(
            error = format!("{error:#}"),
            "the log could not be compared with what was derived from it"
        );
        None
    })
}

fn ordering_config(
    settings: &mut Settings,
    member: SocketAddr,
) -> Result<ordering::Config, Failure> {
    let mut config = ordering::Config::from(settings)
        .ok_or_else(|| Failure::new(ExitCode::Usage, "ordering.member_url is not legal"))?;
    config.member = runtime::channel::connect_lazy(&format!("http://{member}"))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_ends_because_it_was_told_to_has_not_failed() {
        // Which of two branches that are ready is taken must not be left to chance.
        for _ in 0..64 {
            let shutdown = Shutdown::new();
            let mut services = JoinSet::new();
            shutdown.begin();
            services.spawn(async { Ok(()) });
            tokio::task::yield_now().await;
            let failed = until_stop(&shutdown, &mut services).await;
            assert!(failed.is_none(), "{failed:?}");
        }
    }

    #[tokio::test]
    async fn a_service_that_ends_by_itself_and_a_task_that_died_are_failures() {
        let shutdown = Shutdown::new();
        let mut services = JoinSet::new();
        services.spawn(async { Ok(()) });
        let failed = until_stop(&shutdown, &mut services).await.unwrap();
        assert_eq!(failed.to_string(), "a service has ended");
        services.spawn(async { anyhow::bail!("the port is gone") });
        let failed = until_stop(&shutdown, &mut services).await.unwrap();
        assert_eq!(failed.to_string(), "the port is gone");
        shutdown.fail("the watch has ended by itself".to_owned());
        let failed = until_stop(&shutdown, &mut services).await.unwrap();
        assert_eq!(failed.to_string(), "the watch has ended by itself");
    }
}
