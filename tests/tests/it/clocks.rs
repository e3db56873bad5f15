//! Clocks that are wrong: a ledger that was stamped ahead of its time sells on, and both sides and the auditor agree about it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::event::{Channel, Pricing, ServiceMode, TenderKind};
use contract::{BusinessDate, Money, OrderId, Reason, RequestId, Slug, StoreId};
use doppio::audit;
use event_log::jetstream::JetStreamLog;
use event_log::sqlite::SqliteLog;
use event_log::{EventLog, LedgerName};
use integration_tests::Nats;
use integration_tests::services::doppio;
use jiff::{SignedDuration, Timestamp};
use ordering::catalog::{self, Store};
use ordering::domain::{
    Actor, CarryOver, ChangeStatus, CloseBusinessDay, Command, Draft, DraftLine, DraftTender,
    ManualClose, NewStatus, PlaceOrder, Principal,
};
use ordering::ledger::{CommandIndex, Executed, Ledger, SecondClock, Verdict, Work};
use read_model::ReadModel;
use runtime::{Clock, Shutdown};
use uuid::Uuid;

const TEN_DAYS: SignedDuration = SignedDuration::from_hours(240);
const PATIENCE: Duration = Duration::from_secs(30);

struct Shop {
    log: Arc<dyn EventLog>,
    ledger: Ledger,
    clock: Clock,
    store: Arc<Store>,
}

impl Shop {
    async fn open(log: Arc<dyn EventLog>, clock: Clock, index: &Path) -> Result<Self> {
        let id = StoreId::new("gangnam")?;
        let catalog = catalog::default_catalog()?;
        let store = catalog.stores.get(&id).context("the store")?.clone();
        let ledger = Ledger::open(log.clone(), CommandIndex::open(index).await?, id).await?;
        Ok(Self {
            log,
            ledger,
            clock,
            store,
        })
    }

    async fn execute(&mut self, command: Command) -> Result<Verdict> {
        let actor = Actor {
            principal: Principal::TILL,
            client_time: Some(self.clock.now()),
            ..Actor::default()
        };
        let work = Work::new(command, actor, self.store.clone());
        let Executed {
            mut verdicts,
            ended,
        } = self.ledger.execute(&[work], &self.clock).await;
        ended?;
        verdicts.pop().context("a verdict")
    }

    async fn sell(&mut self, id: OrderId) -> Result<Verdict> {
        let slug = |text: &str| Slug::new(text);
        let (service_mode, till_unit_price, till_item) = (None, None, None);
        let line = DraftLine {
            line_id: slug("l1")?,
            sku: slug("americano")?,
            quantity: 1,
            options: vec![],
            service_mode,
            discounts: vec![],
            till_unit_price,
            till_item,
        };
        let draft = Draft {
            store_id: self.store.id.clone(),
            terminal_id: slug("till-1")?,
            terminal_seq: 0,
            staff_id: None,
            channel: Channel::Counter,
            service_mode: ServiceMode::EatIn,
            lines: vec![line],
            order_discounts: vec![],
            promotion_codes: vec![],
            member: None,
            pricing: Pricing::Server,
        };
        let tender = DraftTender {
            tender_id: slug("t1")?,
            kind: TenderKind::Card,
            scheme: String::new(),
            amount: Some(Money::new(4_500)),
            tendered: None,
            change: None,
            external_reference: String::new(),
            drawer_id: None,
        };
        self.execute(Command::PlaceOrder(Box::new(PlaceOrder {
            order_id: id,
            draft,
            tenders: vec![tender],
            expected_total: None,
            membership: None,
            quoted: None,
        })))
        .await
    }

    /// Sells one thing; returns the business date of the sale.
    async fn sold(&mut self) -> Result<String> {
        let answer = self.sell(new_order()).await??;
        let order = answer.view(&self.store.id).context("an order")?;
        Ok(order.business_date)
    }

    async fn kitchen(&mut self, order_id: OrderId, to: NewStatus) -> Result<()> {
        let request_id = RequestId::from_uuid(Uuid::now_v7());
        let command = ChangeStatus {
            order_id,
            request_id,
            to,
        };
        self.execute(Command::ChangeStatus(command)).await??;
        Ok(())
    }

    async fn close(&mut self, date: &str) -> Result<()> {
        let close = CloseBusinessDay {
            business_date: BusinessDate::parse(date)?,
            manual: Some(ManualClose {
                request_id: RequestId::from_uuid(Uuid::now_v7()),
                counts: vec![],
                carry_over: CarryOver::All,
            }),
        };
        self.execute(Command::CloseBusinessDay(close)).await??;
        Ok(())
    }

    async fn last_time(&self) -> Result<Timestamp> {
        let name = LedgerName::new(self.store.id.as_str())?;
        let records = self.log.read(&name, None, 1_000).await?;
        Ok(records.last().context("a record")?.header().recorded_at)
    }
}

fn new_order() -> OrderId {
    OrderId::from_uuid(Uuid::now_v7())
}

/// Stamped ahead by builds without a second clock, then sold on by this one, with clocks that are right, wrong and right again.
async fn sells_on(log: Arc<dyn EventLog>, clock: Clock) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut shop = Shop::open(log.clone(), clock, &directory.path().join("one.db")).await?;
    let id = new_order();
    shop.clock.jump(TEN_DAYS);
    let ahead = shop.sell(id).await??;
    let ahead = ahead
        .view(&shop.store.id)
        .context("an order")?
        .business_date;
    shop.kitchen(id, NewStatus::Preparing).await?;
    shop.clock.jump(-TEN_DAYS);
    let clock = shop.clock.clone();
    let mut shop = Shop::open(log.clone(), clock, &directory.path().join("two.db")).await?;
    shop.ledger
        .set_second_clock(SecondClock::of(log.clone(), &shop.clock));
    let today = shop.sold().await?;
    ensure!(today < ahead, "{today} and {ahead}");
    ensure!(shop.last_time().await? <= shop.clock.now());
    if !log.shares_clock() {
        // The terminal's clock is the server's; the log server's is neither. The sale is refused, the kitchen goes on, nothing is ahead.
        let right = shop.clock.now();
        shop.clock.jump(TEN_DAYS);
        let refused = shop.sell(new_order()).await?.err().context("sold")?;
        ensure!(refused.reason == Reason::ClockSuspect, "{refused}");
        shop.kitchen(id, NewStatus::Ready).await?;
        let stamp = shop.last_time().await?;
        ensure!(
            stamp.duration_since(right) < SignedDuration::from_mins(5),
            "{stamp}"
        );
        shop.clock.jump(-TEN_DAYS);
    }
    let again = shop.sold().await?;
    shop.close(&again).await?;
    judge(&shop, directory.path()).await
}

/// The auditor finds nothing wrong, and the projection follows without a difference.
async fn judge(shop: &Shop, directory: &Path) -> Result<()> {
    let audited = audit::ledger(&shop.log, &shop.store.id)
        .await
        .map_err(|failure| failure.error)?;
    ensure!(audited.problems.is_empty(), "{:#?}", audited.problems);
    ensure!(audited.verified_reports >= 2, "{audited:?}");
    let model = ReadModel::open(&format!("sqlite:{}", directory.join("read.db").display()))?;
    let stop = Shutdown::new();
    let config = status_projector::Config::default();
    let _health =
        status_projector::start(config, &shop.log, &model.writer, &stop, &Clock::system());
    let revision = shop.ledger.revision();
    let followed = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(Some(seen)) = model.reader.orders.store(&shop.store.id).await {
                if let Some(quarantine) = seen.store.quarantine {
                    break Err(anyhow::anyhow!("quarantined: {}", quarantine.reason));
                }
                if seen.store.revision().0 >= revision {
                    break Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    followed.context("the projection did not follow")??;
    for date in audited.days.keys() {
        let day = model
            .reader
            .orders
            .day(&shop.store.id, Some(BusinessDate::parse(date)?))
            .await?;
        let day = day.and_then(|seen| seen.found).context("a day")?;
        ensure!(day.differences.is_empty(), "{date}: {:?}", day.differences);
    }
    stop.finish(Duration::from_secs(5)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_stamped_ahead_of_its_time_sells_on_embedded() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let log = SqliteLog::create(&directory.path().join("log.db")).await?;
    sells_on(Arc::new(log), Clock::fallible()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_stamped_ahead_of_its_time_sells_on_nats() -> Result<()> {
    let nats = Nats::single().await?;
    let log = JetStreamLog::init(&nats.config()).await?;
    sells_on(Arc::new(log), Clock::fallible()).await
}

#[tokio::test]
async fn an_import_refuses_receipts_that_lie_in_the_future() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    std::fs::write(
        path("receipts.csv"),
        "receipt,sold_at,item\n1,2024-03-01T10:00,latte\n2,2099-01-01T10:00,latte\n",
    )?;
    std::fs::write(
        path("prices.csv"),
        "item,price_minor,currency,category,vat_percent\nlatte,450,GBP,coffee,20\n",
    )?;
    let (receipts, prices, data) = (path("receipts.csv"), path("prices.csv"), path("data"));
    let command = [
        "import",
        "receipts",
        &receipts,
        "--prices",
        &prices,
        "--store",
        "bakery",
        "--time-zone",
        "Europe/London",
        "--data",
        &data,
    ];
    let refused = doppio(&command).await?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success()
            && words.contains("receipts.csv:3 sold_at")
            && words.contains("future"),
        "{words}"
    );
    // Nothing was imported, not even what lies before it.
    std::fs::write(
        path("receipts.csv"),
        "receipt,sold_at,item\n1,2024-03-01T10:00,latte\n",
    )?;
    let imported = doppio(&[&command[..], &["--json"]].concat()).await?;
    let said: serde_json::Value = serde_json::from_slice(&imported.stdout)?;
    ensure!(said["imported"] == 1, "{said}");
    Ok(())
}
