use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::event::{Channel, Pricing, ServiceMode, TaxKind, TenderKind};
use contract::{Currency, Money, OrderId, RequestId, Slug, StoreId};
use event_log::{EventLog, LogLocation};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use ordering::catalog::{Category, Item, Menu, Store, TaxClass, Text};
use ordering::domain::stamp::CLOCK_TOLERANCE;
use ordering::domain::{
    Actor, ChangeStatus, CloseBusinessDay, Command, Draft, DraftLine, DraftTender, NewStatus,
    PlaceOrder,
};
use ordering::ledger::{CommandIndex, Ledger, Recorded, Work};
use read_model::ReadModel;
use runtime::{Clock, Shutdown, telemetry};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::log::location;
use crate::clients::Target;
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, amount, say};
use crate::table::{Cell, Column, Table};

/// Receipts whose commands are looked up at once.
const LOOK_UP: usize = 500;
const PROJECTION_PATIENCE: Duration = Duration::from_secs(300);
const PROJECTION_LOOK: Duration = Duration::from_millis(20);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Each receipt becomes an order that was placed, paid and completed at its time, through the same rules as any other order. Importing
/// again changes nothing. The store must be nobody else's while this runs.
#[derive(Args)]
pub struct Receipts {
    /// CSV: receipt, sold_at (local time YYYY-MM-DDTHH:MM), item; one row a unit, in the order of the receipts.
    file: PathBuf,
    /// CSV: item, price_minor, currency, category, vat_percent.
    #[arg(long, value_name = "FILE")]
    prices: PathBuf,
    #[arg(long)]
    store: String,
    /// IANA name of the zone of the local times.
    #[arg(long, value_name = "ZONE")]
    time_zone: String,
    /// Local time at which a business day ends.
    #[arg(long, default_value = "04:00", value_name = "HH:MM")]
    cutoff: String,
    /// nats://host:port[,host:port…], or sqlite:PATH; or --data DIR.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
}

/// What an import did.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Imported {
    pub receipts: usize,
    pub imported: usize,
    pub there_already: usize,
    pub units: i64,
    pub gross_minor: i64,
    pub days_closed: usize,
    pub first_date: Option<String>,
    pub last_date: Option<String>,
}

struct Receipt {
    number: String,
    sold_at: Timestamp,
    /// Units by item, in order of first appearance.
    items: Vec<(Slug, i32)>,
}

impl Receipts {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        telemetry::start(Some("warn"));
        let bad = |error: Failure| Failure {
            code: ExitCode::Usage,
            error: error.error,
        };
        let (store, skus) = store(&self).map_err(bad)?;
        let receipts = receipts(&self.file, &store, &skus).map_err(bad)?;
        // Nobody else needs the index of an import into a log elsewhere; it is built from that log again if there is another.
        let scratch = tempfile::Builder::new()
            .prefix("doppio-import-")
            .tempdir()?;
        let (log, index, data) = match &target.data {
            Some(path) => {
                let data = DataDir::hold(path)?;
                let place = LogLocation::sqlite(&data.log());
                if data.is_new() {
                    place.init().await?;
                }
                (
                    place.open().await?,
                    CommandIndex::open(&data.index()).await?,
                    Some(data),
                )
            }
            None => {
                let index = CommandIndex::open(&scratch.path().join("index.db")).await?;
                (
                    location(&[("log", self.log.clone())])?.open().await?,
                    index,
                    None,
                )
            }
        };
        let progress = ProgressBar::new(receipts.len() as u64);
        if let Ok(style) = ProgressStyle::with_template(
            "{bar:40} {pos}/{len} receipts  {per_sec}  {eta} left  {msg}",
        ) {
            progress.set_style(style);
        }
        let (imported, revision) = import(log.clone(), index, &store, &receipts, &progress).await?;
        progress.finish_and_clear();
        if let Some(data) = &data {
            project(&log, data, &store.id, revision).await?;
        }
        match format {
            Format::Json => say(serde_json::to_string(&imported)?)?,
            Format::People => show(&imported, &store)?,
        }
        Ok(())
    }
}

/// Imports receipts as the only writer of a ledger; returns what was done and the ledger's last revision.
async fn import(
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    store: &Arc<Store>,
    receipts: &[Receipt],
    progress: &ProgressBar,
) -> Result<(Imported, u64), Failure> {
    refuse_future(&*log, receipts).await?;
    let mut ledger = Ledger::open(log, index, store.id.clone()).await?;
    let last_before = ledger.recorded_at();
    let mut done = Imported {
        receipts: receipts.len(),
        ..Imported::default()
    };
    let mut dates = BTreeSet::new();
    for chunk in receipts.chunks(LOOK_UP) {
        let commands: Vec<Vec<Command>> = chunk
            .iter()
            .map(|receipt| commands(receipt, store))
            .collect::<Result<_, _>>()?;
        let recorded = ledger.recorded(&commands.concat()).await?;
        let mut recorded = recorded.chunks(STEPS);
        for (receipt, commands) in chunk.iter().zip(commands) {
            let known = recorded.next().unwrap_or_default();
            if known.contains(&Recorded::Other) {
                let message = format!(
                    "receipt {} was imported before with other content",
                    receipt.number
                );
                return Err(Failure::new(ExitCode::Refused, message));
            }
            if known.iter().all(|recorded| *recorded == Recorded::Same) {
                done.there_already += 1;
            } else {
                let begun = known.contains(&Recorded::Same);
                if !begun && last_before.is_some_and(|last| receipt.sold_at < last) {
                    let message = format!(
                        "receipt {} was sold before the ledger's last record; a store's history is imported in order and alone",
                        receipt.number
                    );
                    return Err(Failure::new(ExitCode::Refused, message));
                }
                close_overdue(&mut ledger, store, receipt.sold_at, &mut done).await?;
                carry_out(
                    &mut ledger,
                    store,
                    commands,
                    receipt.sold_at,
                    &receipt.number,
                )
                .await?;
                done.imported += 1;
            }
            done.units += receipt
                .items
                .iter()
                .map(|(_, units)| i64::from(*units))
                .sum::<i64>();
            done.gross_minor += gross(receipt, store);
            dates.insert(
                store
                    .day_rule()
                    .context("the cutoff is not legal")?
                    .date_of(receipt.sold_at)?,
            );
            progress.inc(1);
        }
    }
    // The last day too, unless it is still going on.
    close_overdue(&mut ledger, store, Clock::system().now(), &mut done).await?;
    done.first_date = dates.first().map(ToString::to_string);
    done.last_date = dates.last().map(ToString::to_string);
    let revision = ledger.revision();
    Ok((done, revision))
}

/// What has been sold lies behind two clocks, this machine's and the log server's: a receipt that does not has a wrong date, and would take
/// the store there with it.
async fn refuse_future(log: &dyn EventLog, receipts: &[Receipt]) -> Result<(), Failure> {
    let (here, there) = (Clock::system().now(), log.server_time().await?);
    let future: Vec<&Receipt> = receipts
        .iter()
        .filter(|receipt| receipt.sold_at.duration_since(here.min(there)) > CLOCK_TOLERANCE)
        .collect();
    let Some(first) = future.first() else {
        return Ok(());
    };
    let message = format!(
        "receipt {} was sold at {}, and it is {here} here and {there} at the log's server; {} of {} receipts lie in the future, and \
         nothing was imported. Correct their dates, or the clock",
        first.number,
        first.sold_at,
        future.len(),
        receipts.len()
    );
    Err(Failure::new(ExitCode::Refused, message))
}

fn gross(receipt: &Receipt, store: &Store) -> i64 {
    receipt
        .items
        .iter()
        .filter_map(|(sku, units)| {
            Some(store.menu.items.get(sku)?.price.minor() * i64::from(*units))
        })
        .sum()
}

async fn close_overdue(
    ledger: &mut Ledger,
    store: &Arc<Store>,
    now: Timestamp,
    done: &mut Imported,
) -> Result<(), Failure> {
    let Some(day) = ledger.state().day.as_ref().filter(|day| day.end <= now) else {
        return Ok(());
    };
    let (business_date, end) = (day.date, day.end);
    carry_out(
        ledger,
        store,
        vec![Command::CloseBusinessDay(CloseBusinessDay {
            business_date,
            manual: None,
        })],
        end,
        "the close",
    )
    .await?;
    done.days_closed += 1;
    Ok(())
}

async fn carry_out(
    ledger: &mut Ledger,
    store: &Arc<Store>,
    commands: Vec<Command>,
    at: Timestamp,
    what: &str,
) -> Result<(), Failure> {
    let actor = Actor {
        principal: "import",
        client_time: Some(at),
        ..Actor::default()
    };
    let works: Vec<Work> = commands
        .into_iter()
        .map(|command| Work::new(command, actor.clone(), store.clone()))
        .collect();
    let (verdicts, ended) = ledger.execute(&works, &Clock::manual(at)).await;
    ended?;
    for verdict in verdicts {
        verdict.map_err(|rejection| {
            Failure::new(ExitCode::Refused, format!("receipt {what}: {rejection}"))
        })?;
    }
    Ok(())
}

/// Commands of one receipt.
const STEPS: usize = 4;

fn commands(receipt: &Receipt, store: &Store) -> Result<Vec<Command>, Failure> {
    let id = |step: &str| derived_id(store, receipt, step);
    let order_id = OrderId::from_uuid(id("order"));
    let mut lines = Vec::with_capacity(receipt.items.len());
    for (index, (sku, quantity)) in receipt.items.iter().enumerate() {
        let item = store
            .menu
            .items
            .get(sku)
            .with_context(|| format!("receipt {}: no item {sku}", receipt.number))?;
        lines.push(DraftLine {
            line_id: Slug::new(&format!("l{}", index + 1))?,
            sku: sku.clone(),
            quantity: *quantity,
            options: Vec::new(),
            service_mode: None,
            discounts: Vec::new(),
            till_unit_price: Some(item.price),
            till_item: None,
        });
    }
    let draft = Draft {
        store_id: store.id.clone(),
        terminal_id: Slug::new("import")?,
        terminal_seq: receipt.number.parse().unwrap_or(0),
        staff_id: None,
        channel: Channel::Counter,
        service_mode: ServiceMode::TakeAway,
        lines,
        order_discounts: Vec::new(),
        promotion_codes: Vec::new(),
        member: None,
        pricing: Pricing::Till,
    };
    let paid = gross(receipt, store);
    let tenders = if paid == 0 {
        Vec::new()
    } else {
        vec![DraftTender {
            tender_id: Slug::new("t1")?,
            kind: TenderKind::Other,
            scheme: String::new(),
            amount: Some(Money::new(paid)),
            tendered: None,
            change: None,
            external_reference: String::new(),
            drawer_id: None,
        }]
    };
    let step = |to, name| {
        Command::ChangeStatus(ChangeStatus {
            order_id,
            request_id: RequestId::from_uuid(id(name)),
            to,
        })
    };
    Ok(vec![
        Command::PlaceOrder(Box::new(PlaceOrder {
            order_id,
            draft,
            tenders,
            expected_total: None,
            membership: None,
            quoted: None,
        })),
        step(NewStatus::Preparing, "preparing"),
        step(NewStatus::Ready, "ready"),
        step(NewStatus::Completed, "completed"),
    ])
}

/// A UUIDv7 of the receipt's time and, where others have chance, a hash of what it is: the same receipt has the same id for ever.
fn derived_id(store: &Store, receipt: &Receipt, step: &str) -> Uuid {
    let digest = Sha256::digest(format!(
        "doppio import 1\n{}\n{}\n{step}",
        store.id, receipt.number
    ));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(receipt.sold_at.as_millisecond()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Brings the embedded read model up to the import, so that it can be queried at once.
async fn project(
    log: &Arc<dyn EventLog>,
    data: &DataDir,
    store: &StoreId,
    revision: u64,
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
        loop {
            if let Ok(Some(seen)) = model.reader.store(store).await
                && seen.store.revision().0 >= revision
            {
                return seen.store.quarantine.map(|quarantine| quarantine.reason);
            }
            tokio::time::sleep(PROJECTION_LOOK).await;
        }
    })
    .await;
    shutdown.finish(STOP_GRACE).await;
    match reached {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(Failure::new(
            ExitCode::CheckFailed,
            format!("the projection of {store} is quarantined: {reason}"),
        )),
        Err(_) => Err(Failure::new(
            ExitCode::Unavailable,
            "the projection did not catch up in time; it goes on with the next `doppio up`",
        )),
    }
}

fn show(done: &Imported, store: &Store) -> Result<(), Failure> {
    let rows = vec![
        vec!["receipts".to_owned(), done.receipts.to_string()],
        vec!["imported now".to_owned(), done.imported.to_string()],
        vec!["there already".to_owned(), done.there_already.to_string()],
        vec!["units".to_owned(), done.units.to_string()],
        vec![
            "gross".to_owned(),
            format!(
                "{} {}",
                amount(done.gross_minor, store.currency.exponent()),
                store.currency
            ),
        ],
        vec![
            "business days closed now".to_owned(),
            done.days_closed.to_string(),
        ],
        vec![
            "from".to_owned(),
            done.first_date.clone().unwrap_or_default(),
        ],
        vec!["to".to_owned(), done.last_date.clone().unwrap_or_default()],
    ];
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(Cell::from).collect());
    say(Table::new(
        [Column::text(store.id.as_str()), Column::number("")],
        rows,
    ))
}

#[derive(serde::Deserialize)]
struct PriceRow {
    item: String,
    price_minor: i64,
    currency: String,
    category: String,
    vat_percent: f64,
}

#[derive(serde::Deserialize)]
struct ReceiptRow {
    receipt: String,
    sold_at: String,
    item: String,
}

fn row<T>(path: &Path, row: Result<T, csv::Error>) -> Result<T, Failure> {
    Ok(row.with_context(|| format!("{} is not CSV of the expected columns", path.display()))?)
}

/// The store that the price list describes, and the sku of each article by its name.
fn store(import: &Receipts) -> Result<(Arc<Store>, BTreeMap<String, Slug>), Failure> {
    let path = &import.prices;
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut skus = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let (mut items, mut tax_classes, mut categories) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut currency = None;
    for price in reader.deserialize::<PriceRow>() {
        let price = row(path, price)?;
        let own = Currency::new(&price.currency)
            .with_context(|| format!("{}: {}", path.display(), price.item))?;
        if *currency.get_or_insert(own) != own {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("{}: a price list has one currency", path.display()),
            ));
        }
        if price.price_minor < 0 || !(0.0..=100.0).contains(&price.vat_percent) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!(
                    "{}: {}: a price or rate is out of range",
                    path.display(),
                    price.item
                ),
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 10000, as checked"
        )]
        let rate_bp = (price.vat_percent * 100.0).round() as u32;
        let tax = Slug::new(&format!("vat-{rate_bp}"))?;
        let kind = if rate_bp == 0 {
            TaxKind::Zero
        } else {
            TaxKind::Standard
        };
        tax_classes.entry(tax.clone()).or_insert_with(|| TaxClass {
            id: tax.clone(),
            kind,
            rates: vec![(Date::MIN, rate_bp)],
        });
        let category = slug(&price.category, &mut BTreeSet::new())?;
        let text = |name: &str| Text::from([("en".to_owned(), name.to_owned())]);
        categories
            .entry(category.clone())
            .or_insert_with(|| Category {
                id: category.clone(),
                name: text(&price.category),
            });
        let sku = slug(&price.item, &mut taken)?;
        if skus.insert(price.item.clone(), sku.clone()).is_some() {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("{}: {} is priced twice", path.display(), price.item),
            ));
        }
        let (name, price) = (text(&price.item), Money::new(price.price_minor));
        let item = Item {
            sku: sku.clone(),
            name,
            category,
            price,
            sold_out: false,
            options: Vec::new(),
            tax_eat_in: tax.clone(),
            tax_take_away: tax,
        };
        items.insert(sku, item);
    }
    let currency = currency.with_context(|| format!("{} has no prices", path.display()))?;
    let hash: [u8; 32] = Sha256::digest(std::fs::read(path)?).into();
    let version = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let fallback_tax = items
        .values()
        .next()
        .map(|item| item.tax_take_away.clone())
        .with_context(|| format!("{} has no prices", path.display()))?;
    let menu = Menu {
        version,
        fallback_tax,
        hash,
        currency,
        categories: categories.into_values().collect(),
        items,
        promotions: Vec::new(),
        tax_classes,
    };
    let zone = TimeZone::get(&import.time_zone).with_context(|| {
        format!(
            "--time-zone {:?} is not an IANA time zone",
            import.time_zone
        )
    })?;
    let cutoff: jiff::civil::Time = import
        .cutoff
        .parse()
        .with_context(|| format!("--cutoff {:?} is not a local time HH:MM", import.cutoff))?;
    let store = Store {
        id: StoreId::new(&import.store)
            .map_err(|error| Failure::new(ExitCode::Usage, format!("--store {error}")))?,
        name: Text::from([("en".to_owned(), import.store.clone())]),
        time_zone: import.time_zone.clone(),
        zone,
        cutoff_minutes: u32::from(cutoff.hour().unsigned_abs()) * 60
            + u32::from(cutoff.minute().unsigned_abs()),
        currency,
        discount_step: Money::new(1),
        ticket_modulus: None,
        legal_entity: String::new(),
        tax_id: String::new(),
        menu: Arc::new(menu),
    };
    Ok((Arc::new(store), skus))
}

/// A slug of a name: lower case, other characters as hyphens, at most 32 bytes, unique among `taken`.
fn slug(name: &str, taken: &mut BTreeSet<String>) -> Result<Slug, Failure> {
    const LONGEST: usize = 29;
    let mut text = String::new();
    for symbol in name.chars() {
        if symbol.is_ascii_alphanumeric() {
            text.push(symbol.to_ascii_lowercase());
        } else if !text.ends_with('-') && !text.is_empty() {
            text.push('-');
        }
    }
    text.truncate(LONGEST);
    let base = if text.trim_matches('-').is_empty() {
        "item"
    } else {
        text.trim_matches('-')
    };
    let mut unique = base.to_owned();
    let mut number = 2;
    while !taken.insert(unique.clone()) {
        unique = format!("{base}-{number}");
        number += 1;
    }
    Slug::new(&unique).map_err(|error| Failure::new(ExitCode::Usage, format!("{name:?} {error}")))
}

fn receipts(
    path: &Path,
    store: &Store,
    skus: &BTreeMap<String, Slug>,
) -> Result<Vec<Receipt>, Failure> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut receipts: Vec<Receipt> = Vec::new();
    let mut numbers = BTreeSet::new();
    for line in reader.deserialize::<ReceiptRow>() {
        let line = row(path, line)?;
        let wrong = |what: String| {
            Failure::new(
                ExitCode::Usage,
                format!("{}: receipt {}: {what}", path.display(), line.receipt),
            )
        };
        let local: DateTime = line
            .sold_at
            .parse()
            .map_err(|_| wrong(format!("{:?} is not a local time", line.sold_at)))?;
        // In the hour that a clock change repeats, the first; in one that it skips, after the change.
        let sold_at = store
            .zone
            .to_ambiguous_timestamp(local)
            .compatible()
            .map_err(|error| wrong(error.to_string()))?;
        let sku = skus
            .get(&line.item)
            .ok_or_else(|| wrong(format!("{:?} has no price", line.item)))?;
        if receipts
            .last()
            .is_none_or(|last| last.number != line.receipt)
        {
            if !numbers.insert(line.receipt.clone()) {
                return Err(wrong("its rows do not stand together".to_owned()));
            }
            if receipts.last().is_some_and(|last| sold_at < last.sold_at) {
                return Err(wrong("it was sold before the receipt above it".to_owned()));
            }
            receipts.push(Receipt {
                number: line.receipt.clone(),
                sold_at,
                items: Vec::new(),
            });
        }
        let Some(receipt) = receipts.last_mut() else {
            continue;
        };
        if receipt.sold_at != sold_at {
            return Err(wrong("it has two times".to_owned()));
        }
        match receipt.items.iter_mut().find(|(own, _)| own == sku) {
            Some((_, units)) => *units += 1,
            None => receipt.items.push((sku.clone(), 1)),
        }
    }
    Ok(receipts)
}
