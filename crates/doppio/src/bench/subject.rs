//! The system that is measured: embedded in this process, in this process on engines of its own, as four processes, or running already.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::api::ordering::GetMenuRequest;
use contract::api::types::Money;
use event_log::{EventLog, LogError, LogLocation};
use member::Database;
use runtime::Clock;
use runtime::config::Settings;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::catalog::{self, CURRENCY, MAX_STORES, PRICE, SKU};
use super::children::{Services, Stand};
use super::process::Watched;
use super::sales::{Offer, draft};
use crate::clients::{Clients, Target, call};
use crate::data_dir::{DataDir, new_card_key};
use crate::exit::{ExitCode, Failure};
use crate::system::{Plan, System, listen_from};
use crate::tills::register_members;

const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long the engines may take to start.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Which engines are measured.
#[derive(Args, Debug, Clone)]
#[command(
    next_help_heading = "Engines: all embedded in a new directory, unless named here; with --server, services that run"
)]
pub struct Engines {
    /// The event log, nats://host:port[,host:port…] or sqlite:PATH. On NATS it has to be there: doppio log init makes it.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// How many servers keep a copy of the log [default: 1].
    #[arg(long, value_name = "N")]
    replicas: Option<usize>,
    /// The read model: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    read_model: Option<String>,
    /// The members' database: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    member_db: Option<String>,
    /// Run the four services as four processes, as in production. Needs a log on NATS, which they can share.
    #[arg(long, requires = "log")]
    processes: bool,
    /// Stores of running services that are sold at; all tills of a bench's own services are at stores of its own.
    #[arg(long = "store", value_name = "ID")]
    running_stores: Vec<String>,
    /// A process to watch beside the bench's own, such as ordering=4711.
    #[arg(long = "pid", value_name = "NAME=PID", value_parser = watched)]
    pids: Vec<Watched>,
}

fn watched(text: &str) -> Result<Watched, String> {
    let (name, pid) = text.split_once('=').ok_or("must be NAME=PID")?;
    let pid = pid
        .parse()
        .map_err(|_| format!("{pid:?} is no process id"))?;
    Ok(Watched {
        name: name.to_owned(),
        pid,
    })
}

/// What is measured.
pub struct Subject {
    pub member_url: String,
    pub ordering_url: String,
    pub query_url: String,
    /// The log, where the bench may write to it.
    pub log: Option<Arc<dyn EventLog>>,
    /// The stores that sell, the hottest first.
    pub offers: Vec<Offer>,
    pub watched: Vec<Watched>,
    /// What it is, for people.
    pub described: String,
    /// Whether load and services share a process.
    pub shares_process: bool,
    hosted: Hosted,
    // Removed after the services have ended.
    _directory: Option<TempDir>,
}

/// Where the services run.
enum Hosted {
    Here(Box<Here>),
    Apart(Box<Apart>),
    /// They are somebody else's, or are just being restarted.
    Elsewhere,
}

/// The four services in this process.
struct Here {
    system: System,
    recipe: Recipe,
}

/// The four services as processes of their own.
struct Apart {
    services: Services,
    recipe: Recipe,
    // Held as long as they run.
    _data: DataDir,
}

/// What the services of a bench are started with.
#[derive(Clone)]
struct Recipe {
    path: PathBuf,
    /// `None` for the one in the directory.
    log: Option<LogLocation>,
    log_url: String,
    replicas: Option<usize>,
    read_model: Option<String>,
    member_db: Option<String>,
    catalog: PathBuf,
}

/// What becomes of ordering's local files while it is stopped: its index and whatever else it keeps beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFiles {
    Kept,
    Removed,
}

impl Subject {
    /// Starts the engines and the services, with so many stores.
    pub async fn start(engines: &Engines, target: &Target, stores: usize) -> Result<Self, Failure> {
        let running = target.server.is_some() || target.ordering_server.is_some();
        if !(1..=MAX_STORES).contains(&stores) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("--stores is 1 to {MAX_STORES}"),
            ));
        }
        let started = async {
            if running {
                engines.running(target).await
            } else {
                engines.hosted(target, stores).await
            }
        };
        timeout(START_LIMIT, started).await.map_err(|_| {
            Failure::new(
                ExitCode::Unavailable,
                format!("the engines were not up within {START_LIMIT:?}"),
            )
        })?
    }

    pub fn clients(&self) -> Result<Clients, Failure> {
        Clients::connect(&self.member_url, &self.ordering_url, &self.query_url)
    }

    /// Members who may buy.
    pub async fn members(&self, count: u32) -> Result<Vec<String>, Failure> {
        register_members(&self.clients()?, count).await
    }

    pub async fn stop(self) -> Result<(), Failure> {
        match self.hosted {
            Hosted::Here(here) => here.system.stop(STOP_GRACE).await,
            Hosted::Apart(apart) => apart.services.stop().await,
            Hosted::Elsewhere => Ok(()),
        }
    }

    /// Stops ordering and starts it again: alone where it is a process, else with the other services. Returns when the start began;
    /// it may not take orders yet.
    pub async fn restart(&mut self, files: LocalFiles) -> Result<Instant, Failure> {
        let (started, began) = match std::mem::replace(&mut self.hosted, Hosted::Elsewhere) {
            Hosted::Elsewhere => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    "services that the bench did not start are not restarted by it",
                ));
            }
            Hosted::Here(here) => {
                let Here { system, recipe } = *here;
                system.stop(STOP_GRACE).await?;
                recipe.prepare(files)?;
                let began = Instant::now();
                (recipe.here().await?, began)
            }
            Hosted::Apart(apart) => {
                let mut apart = *apart;
                let program = apart.services.ordering.stop().await?;
                apart.recipe.prepare(files)?;
                let began = Instant::now();
                apart.services.ordering = program.spawn()?;
                let log = self.log.clone();
                (Started::apart(apart, log), began)
            }
        };
        self.take(started);
        Ok(began)
    }

    fn take(&mut self, started: Started) {
        self.member_url = started.member_url;
        self.ordering_url = started.ordering_url;
        self.query_url = started.query_url;
        self.log = started.log;
        self.hosted = started.hosted;
        let watched = std::mem::replace(&mut self.watched, started.watched);
        let known: Vec<String> = self.watched.iter().map(|own| own.name.clone()).collect();
        let others = watched.into_iter().filter(|own| !known.contains(&own.name));
        self.watched.extend(others);
    }
}

impl Engines {
    fn location(&self) -> Result<Option<LogLocation>, Failure> {
        let Some(log) = &self.log else {
            return Ok(None);
        };
        let flags = [
            ("log", Some(log.clone())),
            (
                "log_replicas",
                self.replicas.map(|replicas| replicas.to_string()),
            ),
        ];
        crate::commands::log::location(&flags).map(Some)
    }

    /// Services that the bench starts.
    async fn hosted(&self, target: &Target, stores: usize) -> Result<Subject, Failure> {
        if !self.running_stores.is_empty() {
            return Err(Failure::new(
                ExitCode::Usage,
                "--store is for services that run already (--server); a bench's own stores are made by --stores",
            ));
        }
        let (path, temporary) = directory(target)?;
        let location = self.location()?;
        if self.processes && !matches!(location, Some(LogLocation::JetStream(_))) {
            return Err(Failure::new(
                ExitCode::Usage,
                "--processes needs a log that processes can share: --log nats://…",
            ));
        }
        let described = self.described(location.as_ref());
        let ids = catalog::store_ids(stores);
        let recipe = Recipe {
            catalog: path.join("bench-catalog.toml"),
            path,
            log: location,
            log_url: self.log.clone().unwrap_or_default(),
            replicas: self.replicas,
            read_model: self.read_model.clone(),
            member_db: self.member_db.clone(),
        };
        std::fs::create_dir_all(&recipe.path)
            .with_context(|| format!("cannot make {}", recipe.path.display()))?;
        catalog::write(&recipe.catalog, &ids)?;
        recipe.prepare(LocalFiles::Kept)?;
        let started = if self.processes {
            recipe.apart().await?
        } else {
            recipe.here().await?
        };
        let mut watched = started.watched;
        watched.extend(self.pids.iter().cloned());
        Ok(Subject {
            member_url: started.member_url,
            ordering_url: started.ordering_url,
            query_url: started.query_url,
            log: started.log,
            offers: ids.into_iter().map(own_offer).collect(),
            watched,
            described,
            shares_process: !self.processes,
            hosted: started.hosted,
            _directory: temporary,
        })
    }

    fn described(&self, log: Option<&LogLocation>) -> String {
        let count = if self.processes { "four" } else { "one" };
        let plural = if self.processes { "es" } else { "" };
        let log = log.map_or_else(|| "the embedded log".to_owned(), ToString::to_string);
        let read_model = match self.read_model.as_deref() {
            Some(url) if url.starts_with("postgres") => "PostgreSQL",
            _ => "the embedded read model",
        };
        format!("the services in {count} process{plural} on {log} and {read_model}")
    }

    /// Services that run already.
    async fn running(&self, target: &Target) -> Result<Subject, Failure> {
        if self.read_model.is_some() || self.member_db.is_some() {
            return Err(Failure::new(
                ExitCode::Usage,
                "--read-model and --member-db are of services that the bench starts; those at --server have theirs",
            ));
        }
        if self.running_stores.is_empty() {
            return Err(Failure::new(
                ExitCode::Usage,
                "which stores are sold at? --store ID, of the catalog of the services that run",
            ));
        }
        let [member_url, ordering_url, query_url] = target.urls()?;
        let clients = Clients::connect(&member_url, &ordering_url, &query_url)?;
        let mut offers = Vec::new();
        for store in &self.running_stores {
            offers.push(offer(&clients, store).await?);
        }
        let log = match self.location()? {
            Some(location) => Some(exists(&location).await?),
            None => None,
        };
        Ok(Subject {
            described: format!("running services, ordering at {ordering_url}"),
            member_url,
            ordering_url,
            query_url,
            log,
            offers,
            watched: self.pids.clone(),
            shares_process: false,
            hosted: Hosted::Elsewhere,
            _directory: None,
        })
    }
}

/// Services that run, and how they are reached.
struct Started {
    member_url: String,
    ordering_url: String,
    query_url: String,
    log: Option<Arc<dyn EventLog>>,
    watched: Vec<Watched>,
    hosted: Hosted,
}

impl Started {
    fn apart(apart: Apart, log: Option<Arc<dyn EventLog>>) -> Self {
        let services = &apart.services;
        Self {
            member_url: services.member.url(),
            ordering_url: services.ordering.url(),
            query_url: services.query.url(),
            log,
            watched: services.watched(),
            hosted: Hosted::Apart(Box::new(apart)),
        }
    }
}

impl Recipe {
    /// Ordering's local files are in a directory of their own.
    fn local_files(&self) -> PathBuf {
        self.path.join("ordering")
    }

    fn prepare(&self, files: LocalFiles) -> Result<(), Failure> {
        let local = self.local_files();
        if files == LocalFiles::Removed && local.exists() {
            std::fs::remove_dir_all(&local)
                .with_context(|| format!("cannot remove {}", local.display()))?;
        }
        std::fs::create_dir_all(&local)
            .with_context(|| format!("cannot make {}", local.display()))?;
        Ok(())
    }

    fn index(&self) -> PathBuf {
        self.local_files().join("index.db")
    }

    fn read_model(&self, data: &DataDir) -> String {
        let own = || format!("sqlite:{}", data.read_model().display());
        self.read_model.clone().unwrap_or_else(own)
    }

    fn member_db(&self, data: &DataDir) -> String {
        let own = || format!("sqlite:{}", data.members().display());
        self.member_db.clone().unwrap_or_else(own)
    }

    /// The four services in this process.
    async fn here(self) -> Result<Started, Failure> {
        if let Some(location) = &self.log {
            exists(location).await?;
        }
        let data = DataDir::hold(&self.path)?;
        let member_db = Database::parse(&self.member_db(&data))
            .map_err(|error| Failure::new(ExitCode::Usage, format!("--member-db {error}")))?;
        let own_log = LogLocation::sqlite(&data.log());
        let plan = Plan {
            init_log: self.log.is_none() && data.is_new(),
            log: self.log.clone().unwrap_or(own_log),
            read_model: self.read_model(&data),
            member_db,
            index: self.index(),
            catalog: Some(self.catalog.clone()),
            listen: listen_from(SocketAddr::from(([127, 0, 0, 1], 0)))?,
            settings: Settings::load(None, &[]),
            clock: Clock::system(),
            data: Some(data),
        };
        let system = System::start(plan).await?;
        if let Some(detail) = &system.log_changed {
            let message = format!("LOG_CHANGED: {detail}");
            system.stop(STOP_GRACE).await?;
            return Err(Failure::new(ExitCode::Refused, message));
        }
        let url = |address: SocketAddr| format!("http://{address}");
        Ok(Started {
            member_url: url(system.addresses.member),
            ordering_url: url(system.addresses.ordering),
            query_url: url(system.addresses.query),
            log: Some(system.log.clone()),
            watched: vec![Watched {
                name: "doppio".to_owned(),
                pid: std::process::id(),
            }],
            hosted: Hosted::Here(Box::new(Here {
                system,
                recipe: self,
            })),
        })
    }

    /// The four services as four processes.
    async fn apart(self) -> Result<Started, Failure> {
        let log = match &self.log {
            Some(location) => Some(exists(location).await?),
            None => None,
        };
        let data = DataDir::hold(&self.path)?;
        let services = Services::start(&Stand {
            log: &self.log_url,
            replicas: self.replicas,
            read_model: &self.read_model(&data),
            member_db: &self.member_db(&data),
            card_keys: &new_card_key(Some("bench"))?,
            catalog: &self.catalog,
            index: &self.index(),
            directory: &self.path,
        })
        .await?;
        let apart = Apart {
            services,
            recipe: self,
            _data: data,
        };
        Ok(Started::apart(apart, log))
    }
}

/// What is sold at a store of the bench's own.
fn own_offer(store: String) -> Offer {
    Offer {
        store,
        sku: SKU.to_owned(),
        due: Money {
            currency_code: CURRENCY.to_owned(),
            amount_minor: PRICE,
        },
    }
}

/// Opens a log that has to be there.
async fn exists(location: &LogLocation) -> Result<Arc<dyn EventLog>, Failure> {
    location.open().await.map_err(|error| match error {
        LogError::Unusable(why) => Failure::new(
            ExitCode::Usage,
            format!("{location}: {why}\nA bench makes no log: doppio log init --log URL does."),
        ),
        other => other.into(),
    })
}

/// The first thing that a store sells, and what it costs.
async fn offer(clients: &Clients, store: &str) -> Result<Offer, Failure> {
    let request = GetMenuRequest {
        store_id: store.to_owned(),
    };
    let menu = clients.ordering.clone().get_menu(call(request)).await?;
    let items = menu.into_inner().menu.unwrap_or_default().items;
    let item = items.into_iter().find(|item| !item.sold_out);
    let item = item
        .ok_or_else(|| Failure::new(ExitCode::Refused, format!("store {store} sells nothing")))?;
    let due = clients.amount_due(draft(store, &item.sku)).await?;
    Ok(Offer {
        store: store.to_owned(),
        sku: item.sku,
        due,
    })
}

fn directory(target: &Target) -> Result<(PathBuf, Option<TempDir>), Failure> {
    if let Some(path) = &target.data {
        return Ok((path.clone(), None));
    }
    let temporary = tempfile::Builder::new().prefix("doppio-bench-").tempdir()?;
    let path: &Path = temporary.path();
    Ok((path.to_owned(), Some(temporary)))
}
