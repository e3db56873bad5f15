use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use contract::event::ServiceMode;
use contract::{Currency, Slug, StoreId};
use event_log::{EventLog, LogLocation};
use indicatif::{ProgressBar, ProgressStyle};
use ordering::domain::stamp::CLOCK_TOLERANCE;
use ordering::ledger::{CommandIndex, Ledger, acquaint};
use read_model::ReadModel;
use runtime::{Clock, Shutdown, telemetry};
use sha2::{Digest, Sha256};

use super::log::location;
use crate::clients::Target;
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::import::history::{self, State};
use crate::import::mapping::Mapping;
use crate::import::mistake::Mistakes;
use crate::import::plan::Plan;
use crate::import::prices::{self, PriceList, Vocabulary};
use crate::import::recalled::recall;
use crate::import::receipts::{self, Rules};
use crate::import::report::{self, Imported};
use crate::import::run;
use crate::import::sale::Till;
use crate::import::sheet::{Form, name_of, text_of};
use crate::import::stores::Shop;
use crate::output::Format;

const PROJECTION_PATIENCE: Duration = Duration::from_secs(300);
const PROJECTION_LOOK: Duration = Duration::from_millis(20);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Each receipt becomes an order that was placed, paid and completed at its time, through the same rules as any other order. Importing
/// again changes nothing. The stores must be nobody else's while this runs. Files are checked whole before anything is recorded.
#[derive(Args)]
pub struct Receipts {
    /// CSV: receipt, sold_at, item; and, where the till has them, quantity, unit_price, discount, tax, category, code, service_mode,
    /// tender, staff, member, returns, store, source. README says what each holds.
    file: PathBuf,
    /// CSV: item, price or price_minor, currency, category, vat_percent, code, category_code.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// TOML: the till's names of columns and values.
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// The store of the receipts whose rows name none.
    #[arg(long)]
    store: Option<String>,
    /// IANA name of the zone of the local times.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Local time at which a business day ends.
    #[arg(long, default_value = "04:00", value_name = "HH:MM")]
    cutoff: String,
    /// Where the numbers are from: a receipt is known by store, source and number.
    #[arg(long, default_value = "import", value_name = "CODE")]
    source: String,
    /// Receipt numbers begin anew with each business day.
    #[arg(long, value_enum, value_name = "WHEN")]
    receipts_restart: Option<Restart>,
    /// The file is in no order of time.
    #[arg(long)]
    sort: bool,
    /// ISO 4217 code, where no price list states it.
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Language of the articles' names.
    #[arg(long, default_value = "en", value_name = "TAG")]
    language: String,
    /// Of rows that say neither.
    #[arg(long, value_enum, default_value = "take-away", value_name = "MODE")]
    service_mode: Mode,
    /// What stands between two fields: one character, or `tab` [default: a comma].
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// 4,50 and not 4.50.
    #[arg(long)]
    decimal_comma: bool,
    /// The last row is whole although no line break ends it.
    #[arg(long)]
    last_row_is_whole: bool,
    /// Check everything, list every mistake, record nothing.
    #[arg(long)]
    dry_run: bool,
    /// nats://host:port[,host:port…], or sqlite:PATH; or --data DIR.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restart {
    Daily,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    EatIn,
    TakeAway,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii_punctuation() && *byte != b'"' || *byte == b'\t' => Ok(*byte),
        _ => Err("one character such as ; or |, or tab".to_owned()),
    }
}

fn usage(message: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Usage, message)
}

fn text(path: &Path) -> Result<String, Failure> {
    text_of(path).map_err(|what| usage(format!("{} {what}", path.display())))
}

impl Receipts {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        telemetry::start(Some("warn"));
        let mut vocabulary = Vocabulary::default();
        let mut plan = self.plan(&mut vocabulary, format)?;
        if plan.receipts.is_empty() {
            return report::show(&[], &vocabulary, self.dry_run, format);
        }
        // Nobody else needs the index of an import into a log recorded; it is built from that log again if there is another.
        let scratch = tempfile::Builder::new()
            .prefix("doppio-import-")
            .tempdir()?;
        let place = self.place(target, scratch.path()).await?;
        let Some(place) = place else {
            // A dry run into a log that is not made yet: nothing can be there.
            let mut conflicts = Mistakes::default();
            plan.take_back(&HashMap::new(), &mut conflicts);
            self.refuse_if_any(ExitCode::Usage, conflicts, &vocabulary, format)?;
            let states = BTreeMap::new();
            return report::show(&counted(&plan, &states)?, &vocabulary, true, format);
        };
        let (mut ledgers, states) = self.compare(&mut plan, &place, &vocabulary, format).await?;
        if self.dry_run {
            return report::show(&counted(&plan, &states)?, &vocabulary, true, format);
        }
        let progress = ProgressBar::new(plan.receipts.len() as u64);
        if let Ok(style) = ProgressStyle::with_template(
            "{bar:40} {pos}/{len} receipts  {per_sec}  {eta} left  {msg}",
        ) {
            progress.set_style(style);
        }
        let mut done = Vec::with_capacity(ledgers.len());
        let mut revisions = Vec::with_capacity(ledgers.len());
        let recorded = async {
            for (shop, ledger) in ledgers.iter_mut().enumerate() {
                let states = states.get(&shop).map_or(&[][..], Vec::as_slice);
                done.push(run::import(&plan, shop, states, ledger, &progress).await?);
                revisions.push((plan.shops[shop].id.clone(), ledger.revision()));
            }
            Ok::<(), Failure>(())
        };
        let recorded = recorded.await;
        progress.finish_and_clear();
        let witnessed = place.index.write_witnesses().await;
        recorded?;
        witnessed?;
        if let Some(data) = &place.data {
            project(&place.log, data, &revisions).await?;
        }
        report::show(&done, &vocabulary, false, format)
    }

    /// Reads and checks the files.
    fn plan(&self, vocabulary: &mut Vocabulary, format: Format) -> Result<Plan, Failure> {
        let mapping = match &self.mapping {
            Some(path) => Mapping::parse(&text(path)?)
                .map_err(|error| usage(format!("{}: {error}", path.display())))?,
            None => Mapping::default(),
        };
        let mapped = mapping
            .delimiter
            .map(|symbol| {
                delimiter(&symbol.to_string())
                    .map_err(|what| usage(format!("the mapping's delimiter: {what}")))
            })
            .transpose()?;
        let form = Form {
            delimiter: self.delimiter.or(mapped).unwrap_or(b','),
            decimal_comma: self.decimal_comma || mapping.decimal_comma.unwrap_or(false),
            last_row_is_whole: self.last_row_is_whole,
        };
        let stated = self
            .currency
            .as_deref()
            .map(|code| {
                Currency::new(code).map_err(|error| usage(format!("--currency {code:?}: {error}")))
            })
            .transpose()?;
        // Wrong on the command line, not in a row.
        let zone = self.time_zone.as_deref().unwrap_or("UTC");
        let named = self.store.as_deref().unwrap_or("any");
        Shop::of(named, mapping.stores.get(named), Some(zone), &self.cutoff).map_err(usage)?;
        let source = Slug::new(&self.source)
            .map_err(|error| usage(format!("--source {:?} {error}", self.source)))?;
        let mut mistakes = Mistakes::default();
        let mut menu_hash = Sha256::digest("doppio import without a price list").into();
        let prices = match &self.prices {
            Some(path) => {
                let text = text(path)?;
                menu_hash = Sha256::digest(&text).into();
                let file = name_of(path);
                prices::read(
                    &file,
                    &text,
                    form,
                    &mapping,
                    stated,
                    vocabulary,
                    &mut mistakes,
                )
            }
            None => PriceList {
                currency: stated,
                ..PriceList::default()
            },
        };
        let text = text(&self.file)?;
        let Some(currency) = prices.currency else {
            self.refuse_if_any(ExitCode::Usage, mistakes, vocabulary, format)?;
            return Err(usage(
                "in which currency? Say --currency, or name a price list with --prices",
            ));
        };
        let now = Clock::system().now();
        let rules = Rules {
            form,
            mapping: &mapping,
            currency,
            store: self.store.as_deref(),
            time_zone: self.time_zone.as_deref(),
            cutoff: &self.cutoff,
            source,
            service_mode: match self.service_mode {
                Mode::EatIn => ServiceMode::EatIn,
                Mode::TakeAway => ServiceMode::TakeAway,
            },
            restart_daily: self.receipts_restart == Some(Restart::Daily),
            sort: self.sort,
            latest: now.saturating_add(CLOCK_TOLERANCE).unwrap_or(now),
        };
        let file = name_of(&self.file);
        let receipts = receipts::read(&file, &text, &rules, &prices, vocabulary, &mut mistakes);
        let till = Till {
            currency,
            language: self.language.clone(),
            menu_hash,
        };
        let plan = Plan::of(&file, receipts, till, &mut mistakes);
        self.refuse_if_any(ExitCode::Usage, mistakes, vocabulary, format)?;
        Ok(plan)
    }

    fn refuse_if_any(
        &self,
        code: ExitCode,
        mistakes: Mistakes,
        vocabulary: &Vocabulary,
        format: Format,
    ) -> Result<(), Failure> {
        if mistakes.is_empty() {
            return Ok(());
        }
        let mistakes = mistakes.sorted();
        Err(report::refuse(
            code,
            &mistakes,
            vocabulary,
            self.dry_run,
            format,
        ))
    }

    /// Opens the log, made where the data directory is new; `None` for a dry run that has none to look at.
    async fn place(&self, target: &Target, scratch: &Path) -> Result<Option<Place>, Failure> {
        let Some(path) = &target.data else {
            let location = match location(&[("log", self.log.clone())]) {
                Ok(location) => location,
                Err(_) if self.dry_run && self.log.is_none() => return Ok(None),
                Err(failure) => return Err(failure),
            };
            return Ok(Some(Place {
                log: location.open().await?,
                index: CommandIndex::open(&scratch.join("index.db")).await?,
                data: None,
            }));
        };
        if self.dry_run && !path.join("log.db").exists() {
            return Ok(None);
        }
        let data = DataDir::hold(path)?;
        let log = LogLocation::sqlite(&data.log());
        if data.is_new() {
            log.init().await?;
        }
        Ok(Some(Place {
            log: log.open().await?,
            index: CommandIndex::open(&data.index()).await?,
            data: Some(data),
        }))
    }

    /// The ledgers of the plan's shops, and which of their receipts are there. What is there differently is listed, and nothing recorded.
    async fn compare(
        &self,
        plan: &mut Plan,
        place: &Place,
        vocabulary: &Vocabulary,
        format: Format,
    ) -> Result<(Vec<Ledger>, BTreeMap<usize, Vec<State>>), Failure> {
        acquaint(&*place.log, &place.index).await?;
        let mut ledgers = Vec::with_capacity(plan.shops.len());
        for shop in &plan.shops {
            let (log, index) = (place.log.clone(), place.index.clone());
            ledgers.push(Ledger::open(log, index, shop.id.clone()).await?);
        }
        let mut recorded = HashMap::new();
        for (shop, id) in plan.sales_named() {
            let store = &plan.shops[shop].id;
            if let Some(recalled) = recall(&mut ledgers[shop], store, id).await? {
                recorded.insert(id, recalled);
            }
        }
        let mut mistakes = Mistakes::default();
        plan.take_back(&recorded, &mut mistakes);
        self.refuse_if_any(ExitCode::Usage, mistakes, vocabulary, format)?;
        let mut conflicts = Mistakes::default();
        let there = place.log.server_time().await?;
        history::refuse_future(plan, Clock::system().now(), there, &mut conflicts);
        let mut states = BTreeMap::new();
        for (shop, ledger) in ledgers.iter().enumerate() {
            if let Some(currency) = ledger.currency().filter(|own| *own != plan.till.currency) {
                let what = format!(
                    "the ledger of {} is in {currency} for ever",
                    plan.shops[shop].id
                );
                conflicts.note(&plan.file, 0, "", what);
                continue;
            }
            let own = history::compare(plan, shop, ledger, &*place.log, &mut conflicts).await?;
            states.insert(shop, own);
        }
        self.refuse_if_any(ExitCode::Refused, conflicts, vocabulary, format)?;
        Ok((ledgers, states))
    }
}

/// Where an import goes.
struct Place {
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    data: Option<DataDir>,
}

/// What would be imported.
fn counted(plan: &Plan, states: &BTreeMap<usize, Vec<State>>) -> Result<Vec<Imported>, Failure> {
    let mut all = Vec::with_capacity(plan.shops.len());
    for (index, shop) in plan.shops.iter().enumerate() {
        let mut own = Imported::of(&crate::import::sale::store(shop, &plan.till)?);
        let mut dates = std::collections::BTreeSet::new();
        for planned in plan
            .receipts
            .iter()
            .filter(|planned| planned.receipt.shop == index)
        {
            own.count(planned);
            dates.insert(planned.receipt.date);
        }
        let there = states.get(&index).into_iter().flatten();
        own.there_already = there.filter(|state| **state == State::There).count();
        own.first_date = dates.first().map(ToString::to_string);
        own.last_date = dates.last().map(ToString::to_string);
        all.push(own);
    }
    Ok(all)
}

/// Brings the embedded read model up to the import, so that it can be queried at once.
async fn project(
    log: &Arc<dyn EventLog>,
    data: &DataDir,
    revisions: &[(StoreId, u64)],
) -> Result<(), Failure> {
    let model = ReadModel::open(&format!("sqlite:{}", data.read_model().display()))?;
    let shutdown = Shutdown::new();
    let _health = status_projector::start(
        status_projector::Config::default(),
        log,
        &model.writer,
        &shutdown,
        &Clock::system(),
    );
    let reached = tokio::time::timeout(PROJECTION_PATIENCE, async {
        for (store, revision) in revisions {
            // A ledger without a record is never seen.
            let mut seen_to = 0;
            while seen_to < *revision {
                if let Ok(Some(seen)) = model.reader.orders.store(store).await {
                    seen_to = seen.store.revision().0;
                    if let Some(quarantine) = seen.store.quarantine {
                        return Some((store, quarantine.reason));
                    }
                }
                if seen_to < *revision {
                    tokio::time::sleep(PROJECTION_LOOK).await;
                }
            }
        }
        None
    })
    .await;
    shutdown.finish(STOP_GRACE).await;
    match reached {
        Ok(None) => Ok(()),
        Ok(Some((store, reason))) => Err(Failure::new(
            ExitCode::CheckFailed,
            format!("the projection of {store} is quarantined: {reason}"),
        )),
        Err(_) => Err(Failure::new(
            ExitCode::Unavailable,
            "the projection did not catch up in time; it goes on with the next `doppio up`",
        )),
    }
}
