use std::time::{Duration, Instant};

use clap::Args;
use contract::Reason;
use contract::api::admin::{
    GetProjectionStatusRequest, GetProjectionStatusResponse, StreamProgress,
};
use contract::api::member::CheckMembershipRequest;
use contract::api::member::check_membership_request::Key;
use contract::api::ordering::GetMenuRequest;
use contract::api::query::{ListStoresRequest, StoreSummary};
use contract::card::{CARD_KEYS_NEEDED, CardKeys};
use contract::timestamp_from_proto;
use event_log::LogLocation;
use event_log::sqlite::SqliteLog;
use jiff::{SignedDuration, Timestamp};
use member::Members;
use read_model::ReadModel;
use runtime::Clock;
use runtime::config::Settings;
use tonic_types::StatusExt as _;

use super::health;
use crate::clients::{Clients, Target, call};
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure, unreachable};
use crate::output::{Format, quarantined, say};
use crate::row;
use crate::table::{Column, Table};
use crate::witnesses;

const SILENCE_WORTH_A_WARNING: SignedDuration = SignedDuration::from_secs(10);
/// Two services' business days part when their clocks do.
const SKEW_WORTH_A_WARNING: SignedDuration = SignedDuration::from_secs(5);
const LAG_WORTH_A_WARNING: f64 = 5.0;
/// How long a projector may take to its first sign of life, and how often that is looked for.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// With --data: the embedded engines. Otherwise the services at --server, and the engines that the settings name (--log, --read-model,
/// --member-db, DOPPIO_*, doppio.toml).
#[derive(Args)]
pub struct Doctor {
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    #[arg(long, value_name = "URL")]
    read_model: Option<String>,
    #[arg(long, value_name = "URL")]
    member_db: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    Good,
    Warning,
    Bad,
}

impl Finding {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "BAD",
        }
    }
}

/// Something that was looked at.
struct Check {
    what: String,
    finding: Finding,
    detail: String,
}

#[derive(Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn add(&mut self, what: impl Into<String>, finding: Finding, detail: impl Into<String>) {
        self.0.push(Check {
            what: what.into(),
            finding,
            detail: detail.into(),
        });
    }
}

impl Doctor {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        let mut findings = Findings::default();
        if let Some(path) = &target.data {
            let data = DataDir::hold_existing(path)?;
            if data.is_new() {
                findings.add(
                    "data directory",
                    Finding::Warning,
                    "nothing is here yet; `doppio up` makes it",
                );
            } else {
                log(&mut findings, &LogLocation::sqlite(&data.log())).await;
                embedded_log(&mut findings, &data).await;
                read_model(
                    &mut findings,
                    &format!("sqlite:{}", data.read_model().display()),
                )
                .await;
                members(
                    &mut findings,
                    &format!("sqlite:{}", data.members().display()),
                    data.card_keys()?,
                )
                .await;
            }
        } else {
            services(&mut findings, target).await?;
            let flags = [
                ("log", self.log),
                ("read_model", self.read_model),
                ("member_db", self.member_db),
            ];
            let mut settings = Settings::load(None, &flags);
            if settings.find::<String>("log").is_some() {
                match LogLocation::from_settings(|key| settings.find(key)) {
                    Ok(location) => {
                        log(&mut findings, &location).await;
                        same_log(&mut findings, &location, target).await?;
                    }
                    Err((key, problem)) => {
                        findings.add("settings", Finding::Bad, format!("{key}: {problem}"));
                    }
                }
            }
            if let Some(url) = settings.find::<String>("read_model") {
                read_model(&mut findings, &url).await;
            }
            if let Some(url) = settings.find::<String>("member_db") {
                match settings
                    .find::<String>("card_keys")
                    .map(|text| CardKeys::parse(&text))
                {
                    Some(Ok(keys)) => members(&mut findings, &url, keys).await,
                    Some(Err(error)) => settings.problem("card_keys", error),
                    None => settings.problem("card_keys", CARD_KEYS_NEEDED),
                }
            }
            if let Err(error) = settings.finish() {
                findings.add("settings", Finding::Bad, error.to_string());
            }
        }
        show(&findings, format)?;
        match findings
            .0
            .iter()
            .filter(|check| check.finding == Finding::Bad)
            .count()
        {
            0 => Ok(()),
            bad => Err(Failure::new(
                ExitCode::CheckFailed,
                format!("{bad} of {} checks are bad", findings.0.len()),
            )),
        }
    }
}

fn show(findings: &Findings, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let all: Vec<_> = findings
                .0
                .iter()
                .map(|check| serde_json::json!({ "check": check.what, "finding": check.finding.as_str(), "detail": check.detail }))
                .collect();
            say(serde_json::json!({ "checks": all }))
        }
        Format::People => {
            let rows = findings
                .0
                .iter()
                .map(|check| row![&check.what, check.finding.as_str(), &check.detail]);
            say(Table::new(
                [
                    Column::text("check"),
                    Column::id("finding"),
                    Column::text("detail"),
                ],
                rows,
            ))
        }
    }
}

fn took(began: Instant) -> String {
    let elapsed: Duration = began.elapsed();
    format!("{elapsed:.1?}")
}

/// A ledger's currency is its own for ever; ordering sells nothing by a catalog that says another.
async fn currencies(findings: &mut Findings, clients: &Clients, stores: &[StoreSummary]) {
    for store in stores {
        let request = GetMenuRequest {
            store_id: store.store_id.clone(),
        };
        let Err(status) = clients.ordering.clone().get_menu(call(request)).await else {
            continue;
        };
        let info = status.get_details_error_info();
        if info.is_some_and(|info| info.reason == Reason::CurrencyChanged.as_str()) {
            findings.add("catalog", Finding::Bad, status.message());
        }
    }
}

async fn services(findings: &mut Findings, target: &Target) -> Result<(), Failure> {
    let [member, ordering, query] = target.urls()?;
    for (name, url) in [
        ("member", &member),
        ("ordering", &ordering),
        ("query-api", &query),
    ] {
        let began = Instant::now();
        match health::check(url, "").await {
            Ok(true) => findings.add(
                name,
                Finding::Good,
                format!("serving at {url}, answered in {}", took(began)),
            ),
            Ok(false) => findings.add(
                name,
                Finding::Bad,
                format!("{url} answers that it is not serving; see its log"),
            ),
            Err(failure) => findings.add(name, Finding::Bad, format!("{failure}; is it running?")),
        }
    }
    let clients = Clients::connect(&member, &ordering, &query)?;
    let key = Some(Key::PhoneNumber("+820000000000".to_owned()));
    match clients
        .member
        .clone()
        .check_membership(call(CheckMembershipRequest { key }))
        .await
    {
        Ok(_) => findings.add("membership check", Finding::Good, "answers"),
        Err(status) => findings.add("membership check", Finding::Bad, unanswered(&status)),
    }
    match clients
        .query
        .clone()
        .list_stores(call(ListStoresRequest::default()))
        .await
    {
        Ok(answer) => {
            findings.add("read model", Finding::Good, "answers");
            currencies(findings, &clients, &answer.into_inner().stores).await;
        }
        Err(status) => findings.add("read model", Finding::Bad, unanswered(&status)),
    }
    match projection(&clients).await {
        Ok(status) => {
            if status.streams.is_empty() {
                findings.add(
                    "projection",
                    Finding::Warning,
                    "no projector has ever run against this read model",
                );
            }
            let now = Clock::system().now();
            for stream in &status.streams {
                let (finding, detail) = progress(stream, now);
                findings.add("projection", finding, detail);
            }
            for day in &status.differing_days {
                findings.add(
                    "projection",
                    Finding::Bad,
                    format!(
                        "the figures of {} at {} are not what the projection computes; `doppio settle verify` says which is right",
                        day.business_date, day.store_id
                    ),
                );
            }
            for store in &status.quarantined {
                findings.add(
                    "projection",
                    Finding::Bad,
                    format!("quarantined: store {}", quarantined(store)),
                );
            }
        }
        Err(status) => findings.add("projection", Finding::Bad, unanswered(&status)),
    }
    Ok(())
}

/// How a stream's projection stands. What it says of its own lag is of the time when it last wrote.
fn progress(stream: &StreamProgress, now: Timestamp) -> (Finding, String) {
    let index = stream.stream;
    if !stream.log_changed.is_empty() {
        let detail = format!(
            "stream {index}: LOG_CHANGED: {}. {}",
            stream.log_changed,
            Reason::LogChanged.meaning()
        );
        return (Finding::Bad, detail);
    }
    if let Some(silent) = silence(stream, now) {
        let detail = format!(
            "stream {index}: no projector has written for {} s; is one running, and is it well?",
            silent.as_secs()
        );
        return (Finding::Bad, detail);
    }
    let finding = if stream.lag_seconds > LAG_WORTH_A_WARNING {
        Finding::Warning
    } else {
        Finding::Good
    };
    let detail = format!(
        "stream {index}: {} records and {:.1} s behind, owner {}",
        stream.lag_records, stream.lag_seconds, stream.owner
    );
    (finding, detail)
}

/// How the projection stands. A projector that has only just begun has not written yet: a standing one is looked at for a moment.
pub(super) async fn projection(
    clients: &Clients,
) -> Result<GetProjectionStatusResponse, tonic::Status> {
    let until = Instant::now() + BEGINS_WITHIN;
    loop {
        let request = call(GetProjectionStatusRequest {});
        let status = clients.admin.clone().get_projection_status(request).await?;
        let status = status.into_inner();
        let now = Clock::system().now();
        let stands = |stream| silence(stream, now).is_some();
        if Instant::now() >= until || !status.streams.iter().any(stands) {
            return Ok(status);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long no projector has written a stream's progress, where that is long enough to say that none is at work.
pub(super) fn silence(stream: &StreamProgress, now: Timestamp) -> Option<SignedDuration> {
    let at = stream.update_time.as_ref().and_then(timestamp_from_proto)?;
    Some(now.duration_since(at)).filter(|silent| *silent > SILENCE_WORTH_A_WARNING)
}

/// Why a call was not answered, for one line.
fn unanswered(status: &tonic::Status) -> String {
    unreachable(status).unwrap_or_else(|| status.message().to_owned())
}

/// Whether the read model was built from this log, and this life of it.
async fn same_log(
    findings: &mut Findings,
    location: &LogLocation,
    target: &Target,
) -> Result<(), Failure> {
    let [member, ordering, query] = target.urls()?;
    let status = Clients::connect(&member, &ordering, &query)?
        .admin
        .get_projection_status(call(GetProjectionStatusRequest {}))
        .await;
    if let (Ok(info), Ok(status)) = (location.info().await, status) {
        let status = status.into_inner();
        // Said already, and a log that was made anew from what is known of it has the same name.
        if status
            .streams
            .iter()
            .any(|stream| !stream.log_changed.is_empty())
        {
            return Ok(());
        }
        let (own, projected) = (info.epoch.to_string(), status.log_epoch);
        if projected.is_empty() || projected == own {
            findings.add("log and read model", Finding::Good, "belong together");
        } else {
            findings.add(
                "log and read model",
                Finding::Bad,
                format!("the log is {own}, the read model was built from {projected}: rebuild it"),
            );
        }
    }
    Ok(())
}

/// Compares a server's clock with that of the machine on which this command runs. Which clock a service goes by, no service tells.
fn skew(findings: &mut Findings, whose: &str, there: Timestamp, here: Timestamp) {
    let skew = there.duration_since(here).abs();
    let finding = if skew > SKEW_WORTH_A_WARNING {
        Finding::Bad
    } else {
        Finding::Good
    };
    findings.add(
        "clocks",
        finding,
        format!(
            "{whose} and that of the machine on which doctor runs differ by {:.1} s; ordering's own is compared only where it runs there too",
            skew.as_secs_f64()
        ),
    );
}

async fn clock(findings: &mut Findings, location: &LogLocation) {
    let Ok(log) = location.open().await else {
        return;
    };
    if log.shares_clock() {
        let detail =
            "the log is a file: it has no clock beside that of the machine on which ordering runs";
        return findings.add("clocks", Finding::Good, detail);
    }
    match log.server_time().await {
        Ok(there) => skew(
            findings,
            "the log server's clock",
            there,
            Clock::system().now(),
        ),
        Err(error) => findings.add(
            "clocks",
            Finding::Warning,
            format!("the log server does not tell its time: {error}"),
        ),
    }
}

async fn log(findings: &mut Findings, location: &LogLocation) {
    clock(findings, location).await;
    let began = Instant::now();
    match location.info().await {
        Ok(info) => {
            let records: u64 = info.streams.iter().map(|stream| stream.records).sum();
            findings.add(
                "event log",
                Finding::Good,
                format!(
                    "{location}: log {}, {} records in {} streams, answered in {}",
                    info.epoch,
                    records,
                    info.streams.len(),
                    took(began)
                ),
            );
            match location {
                LogLocation::Sqlite(_) => findings.add("event log, durability", Finding::Good, "every append is synced to disk (WAL, synchronous=FULL)"),
                LogLocation::JetStream(_) => findings.add(
                    "event log, durability",
                    Finding::Warning,
                    "a client cannot see NATS's sync_interval: make sure that every node says `sync_interval: always` under jetstream, or acknowledged orders can be lost",
                ),
            }
        }
        Err(error) => findings.add("event log", Finding::Bad, format!("{location}: {error}")),
    }
}

/// Whether the log of a data directory can be written, and holds what was seen in it.
async fn embedded_log(findings: &mut Findings, data: &DataDir) {
    // Said already where it cannot be opened.
    let Ok(log) = SqliteLog::open(&data.log()).await else {
        return;
    };
    match log.probe().await {
        Ok(()) => findings.add(
            "event log, writing",
            Finding::Good,
            "a record can be stored",
        ),
        Err(error) => findings.add(
            "event log, writing",
            Finding::Bad,
            format!("nothing can be stored: {error}; is the disk full, or the file read-only?"),
        ),
    }
    let url = format!("sqlite:{}", data.read_model().display());
    let said = async {
        if let Some(detail) = witnesses::by_index(&log, &data.index()).await? {
            return Ok(Some(detail));
        }
        if data.read_model_files().is_ok_and(|files| files.is_empty()) {
            return Ok(None);
        }
        let model = ReadModel::open(&url)?;
        witnesses::by_read_model(&log, &model.reader).await
    };
    let said: anyhow::Result<Option<String>> = said.await;
    match said {
        Ok(None) => findings.add(
            "event log, witnesses",
            Finding::Good,
            "it holds every record that ordering's index and the read model have seen last",
        ),
        Ok(Some(detail)) => findings.add(
            "event log, witnesses",
            Finding::Bad,
            format!("LOG_CHANGED: {detail}. {}", Reason::LogChanged.meaning()),
        ),
        Err(error) => findings.add(
            "event log, witnesses",
            Finding::Warning,
            format!("{error:#}"),
        ),
    }
}

async fn read_model(findings: &mut Findings, url: &str) {
    let model = match ReadModel::open(url) {
        Ok(model) => model,
        Err(error) => return findings.add("read model, database", Finding::Bad, error.to_string()),
    };
    match model.reader.projection.check().await {
        Ok(()) => findings.add(
            "read model, database",
            Finding::Good,
            "reachable, its schema is the one that this version needs",
        ),
        Err(error) => findings.add("read model, database", Finding::Bad, error.to_string()),
    }
}

async fn members(findings: &mut Findings, url: &str, keys: CardKeys) {
    let database = match member::Database::parse(url) {
        Ok(database) => database,
        Err(error) => {
            return findings.add(
                "members' database",
                Finding::Bad,
                format!("member_db {error}"),
            );
        }
    };
    match Members::open(&database, keys).await {
        Ok(members) => {
            match members.probe().await {
                Ok(()) => findings.add(
                    "members' database",
                    Finding::Good,
                    format!("{database}: reachable, its schema is the one that this version needs"),
                ),
                Err(error) => findings.add("members' database", Finding::Bad, error.to_string()),
            }
            if let Ok(facts) = members.inspect().await {
                let (finding, detail) = match facts.durable {
                    true => (Finding::Good, "a commit is on disk when it is acknowledged"),
                    false => (
                        Finding::Bad,
                        "fsync or synchronous_commit is off: a power failure loses members that were registered; turn them on",
                    ),
                };
                findings.add(
                    "members' database, durability",
                    finding,
                    format!("{}: {detail}", facts.version),
                );
                skew(
                    findings,
                    "the clock of the members' database",
                    facts.now,
                    Clock::system().now(),
                );
            }
            members.close().await;
        }
        Err(error) => findings.add("members' database", Finding::Bad, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use contract::timestamp_to_proto;

    use super::*;

    #[test]
    fn whose_clocks_differ_is_said() {
        let here = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds, wanted) in [(1, Finding::Good), (-7, Finding::Bad)] {
            let mut findings = Findings::default();
            let there = here + SignedDuration::from_secs(seconds);
            skew(&mut findings, "the log server's clock", there, here);
            let check = &findings.0[0];
            assert!(check.finding == wanted, "{}", check.detail);
            let says = |words: &str| check.detail.contains(words);
            assert!(
                says("the log server's clock")
                    && says("on which doctor runs")
                    && says("ordering's own"),
                "{}",
                check.detail
            );
        }
    }

    #[test]
    fn a_projection_that_stands_still_is_not_called_well() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let wrote = |seconds_ago| StreamProgress {
            update_time: Some(timestamp_to_proto(
                now - SignedDuration::from_secs(seconds_ago),
            )),
            ..StreamProgress::default()
        };
        let (finding, detail) = progress(&wrote(1), now);
        assert!(finding == Finding::Good, "{detail}");
        let (finding, detail) = progress(&wrote(12), now);
        assert!(
            finding == Finding::Bad && detail.contains("12 s"),
            "{detail}"
        );
        let changed = StreamProgress {
            log_changed: "another file was put in its place".to_owned(),
            ..wrote(1)
        };
        let (finding, detail) = progress(&changed, now);
        assert!(
            finding == Finding::Bad && detail.contains("LOG_CHANGED"),
            "{detail}"
        );
        let behind = StreamProgress {
            lag_seconds: 24.8,
            ..wrote(1)
        };
        assert!(progress(&behind, now).0 == Finding::Warning);
    }
}
