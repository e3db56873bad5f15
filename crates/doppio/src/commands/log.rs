use clap::{Args, Subcommand};
use event_log::{LogError, LogInfo, LogLocation};
use runtime::config::Settings;

use crate::clients::Target;
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, say};
use crate::row;
use crate::table::{Column, Table};

#[derive(Subcommand)]
pub enum Log {
    /// Make a new, empty log. Refuses where there is one.
    Init(Init),
    /// What a log holds.
    Info(Where),
    /// Take up a log that was restored from a backup, under the next epoch.
    Adopt(Where),
}

/// Which log; --data for the one of a data directory.
#[derive(Args)]
pub struct Where {
    /// nats://host:port[,host:port…], or sqlite:PATH; DOPPIO_LOG and doppio.toml say it too.
    #[arg(long, value_name = "URL")]
    pub log: Option<String>,
    /// How many streams it has, from its making on [default: 1].
    #[arg(long)]
    streams: Option<u16>,
    /// How many servers keep a copy of it: 1, 3 or 5 [default: 1].
    #[arg(long)]
    replicas: Option<usize>,
}

/// The log to make.
#[derive(Args)]
pub struct Init {
    #[command(flatten)]
    place: Where,
    /// No error when the log is there already.
    #[arg(long)]
    if_missing: bool,
}

impl Where {
    /// Where the log is, and the hold on the data directory that it is in.
    pub fn location(
        &self,
        target: &Target,
        make: bool,
    ) -> Result<(LogLocation, Option<DataDir>), Failure> {
        if let Some(path) = &target.data {
            let data = if make {
                DataDir::hold(path)?
            } else {
                DataDir::hold_existing(path)?
            };
            return Ok((LogLocation::sqlite(&data.log()), Some(data)));
        }
        location(&[
            ("log", self.log.clone()),
            (
                "log_streams",
                self.streams.map(|streams| streams.to_string()),
            ),
            (
                "log_replicas",
                self.replicas.map(|replicas| replicas.to_string()),
            ),
        ])
        .map(|location| (location, None))
    }
}

/// Where the log is by flags and settings.
pub fn location(flags: &[(&str, Option<String>)]) -> Result<LogLocation, Failure> {
    let mut settings = Settings::load(None, flags);
    let location = LogLocation::from_settings(|key| settings.find(key))
        .map_err(|(key, problem)| settings.problem(key, problem));
    settings.finish()?;
    location.map_err(|()| {
        Failure::new(
            ExitCode::Usage,
            "which log? --log nats://host:port or sqlite:PATH",
        )
    })
}

impl Log {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        match self {
            Self::Init(Init { place, if_missing }) => {
                let (location, _data) = place.location(target, true)?;
                if if_missing && let Ok(info) = location.info().await {
                    return show(&location, &info, format);
                }
                let made = location.init().await.map_err(|error| match error {
                    // Nothing is made where something is.
                    LogError::Unusable(_) => Failure {
                        code: ExitCode::Refused,
                        error: error.into(),
                    },
                    other => other.into(),
                });
                show(&location, &made?, format)
            }
            Self::Info(place) => {
                let (location, _data) = place.location(target, false)?;
                show(&location, &location.info().await?, format)
            }
            Self::Adopt(place) => {
                let (location, data) = place.location(target, false)?;
                let epoch = location.adopt().await?;
                if let Some(data) = &data {
                    data.remove_read_model()?;
                }
                let derived = if data.is_some() {
                    "the read model of before was removed; it and ordering's index are built again at the next start"
                } else {
                    "ordering builds its indexes again. The read model has to be built again too: stop the projectors, drop the schemas doppio_generations and doppio_read, and doppio_read_2 and so on (or delete the embedded read model's files), start them"
                };
                match format {
                    Format::Json => {
                        say(serde_json::json!({ "log_id": epoch.log_id, "epoch": epoch.epoch }))?;
                    }
                    Format::People => {
                        say(format_args!(
                            "{location} is now log {epoch}; tokens of before are refused, and services that have the log open stop until they are restarted. Derived data: {derived}"
                        ))?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn show(location: &LogLocation, info: &LogInfo, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let streams: Vec<_> = info
                .streams
                .iter()
                .map(|stream| {
                    serde_json::json!({
                        "index": stream.index.0, "name": stream.name, "records": stream.records, "bytes": stream.bytes,
                        "replicas": stream.replicas, "head": stream.head.position.0,
                    })
                })
                .collect();
            say(
                serde_json::json!({ "log_id": info.epoch.log_id, "epoch": info.epoch.epoch, "streams": streams }),
            )?;
        }
        Format::People => {
            let rows = info.streams.iter().map(|stream| {
                row![
                    &stream.name,
                    stream.records,
                    stream.bytes,
                    stream.replicas.to_string(),
                    stream.head.position.0,
                ]
            });
            say(format_args!(
                "{location}: log {}, epoch {}",
                info.epoch.log_id, info.epoch.epoch
            ))?;
            say(Table::new(
                [
                    Column::id("stream"),
                    Column::number("records"),
                    Column::number("bytes"),
                    Column::number("replicas"),
                    Column::number("head"),
                ],
                rows,
            ))?;
        }
    }
    Ok(())
}
