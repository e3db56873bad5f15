use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use event_log::LogLocation;
use member::Database;
use runtime::config::Settings;
use runtime::{Clock, telemetry};

use crate::clients::Target;
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::system::{Plan, System, listen_from};

const DEFAULT_DATA: &str = "doppio-data";
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7400);
const DEFAULT_GRACE_MS: u64 = 10_000;

/// Everything is embedded in --data (default: doppio-data) unless told otherwise. Settings come from these flags, then from DOPPIO_* in
/// the environment, then from doppio.toml.
#[derive(Args)]
pub struct Up {
    /// A settings file to read instead of doppio.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Base address: member listens at its port + 1, ordering + 2, query + 3, projector + 4 [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The event log: nats://host:port[,host:port…], or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// The read model: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    read_model: Option<String>,
    /// The members' database: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    member_db: Option<String>,
    /// Stores, menus and taxes; the built-in café when absent.
    #[arg(long, value_name = "FILE")]
    catalog: Option<String>,
}

impl Up {
    pub async fn run(self, target: &Target) -> Result<(), Failure> {
        if target.server.is_some() {
            return Err(Failure::new(
                ExitCode::Usage,
                "up runs a system; --server is for the commands that talk to one",
            ));
        }
        let flags = [
            ("listen", self.listen),
            (
                "data",
                target.data.as_ref().map(|path| path.display().to_string()),
            ),
            ("log", self.log),
            ("read_model", self.read_model),
            ("member_db", self.member_db),
            ("ordering.catalog", self.catalog),
        ];
        let mut settings = Settings::load(self.config.as_deref(), &flags);
        let base = settings.get("listen", DEFAULT_LISTEN);
        let grace = Duration::from_millis(settings.get("shutdown_grace_ms", DEFAULT_GRACE_MS));
        let filter = settings.find::<String>("log_filter");
        let own_log = settings.find::<String>("log").is_some();
        let log = if own_log {
            LogLocation::from_settings(|key| settings.find(key))
                .map_err(|(key, problem)| settings.problem(key, problem))
                .ok()
        } else {
            None
        };
        let read_model = settings.find::<String>("read_model");
        let member_db = settings.find::<String>("member_db");
        let member_db = member_db.and_then(|text| {
            Database::parse(&text)
                .map_err(|error| settings.problem("member_db", error))
                .ok()
        });
        let index = settings.find::<PathBuf>("ordering.index");
        let mut listen = listen_from(base)?;
        for (key, address) in [
            "member.listen",
            "ordering.listen",
            "query.listen",
            "projector.listen",
        ]
        .into_iter()
        .zip(&mut listen)
        {
            *address = settings.get(key, *address);
        }
        let data: PathBuf = settings.get("data", PathBuf::from(DEFAULT_DATA));
        telemetry::start(filter.as_deref());
        let data = DataDir::hold(&data)?;
        let plan = Plan {
            init_log: log.is_none() && data.is_new(),
            log: log.unwrap_or_else(|| LogLocation::sqlite(&data.log())),
            read_model: read_model
                .unwrap_or_else(|| format!("sqlite:{}", data.read_model().display())),
            member_db: member_db.unwrap_or_else(|| Database::Sqlite(data.members())),
            index: index.unwrap_or_else(|| data.index()),
            catalog: None,
            listen,
            settings,
            clock: Clock::system(),
            data: Some(data),
        };
        let mut system = System::start(plan).await?;
        system.shutdown.listen_for_signals()?;
        let addresses = system.addresses;
        tracing::info!(member = %addresses.member, ordering = %addresses.ordering, query = %addresses.query, "up; stop with Ctrl-C");
        let failed = system.until_stop().await;
        system.stop(grace).await?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
