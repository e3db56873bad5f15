//! Settlement over both read models, through a real client: the worked example figure by figure, sums, explanations, analysts' views.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use contract::api::admin::GetProjectionStatusRequest;
use contract::api::admin::admin_service_client::AdminServiceClient;
use contract::api::query::query_service_client::QueryServiceClient;
use contract::api::query::settlement_service_client::SettlementServiceClient;
use contract::api::query::{
    ExplainFigureRequest, GetDailySalesRequest, GetSalesRequest, GetXReportRequest,
    GetZReportRequest, ListZReportsRequest, SalesBasis, SalesGrouping, SalesRow,
    get_z_report_request::Key,
};
use contract::api::types::{
    Block, BusinessDayState, DayLists, DayReport, DifferingDay, Money, TenderKind,
};
use contract::event::{DrawerCounted, event::Event};
use contract::{ConsistencyToken, Currency, StoreId, event};
use event_log::sqlite::SqliteLog;
use event_log::{AppendOutcome, EventLog, Expectation, Record, Revision};
use integration_tests::Postgres;
use prost::Message as _;
use read_model::ReadModel;
use runtime::{Clock, Shutdown};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use status_projector::fixture::{Failure, Ledger, example};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// In the evening of the worked example's today.
const EVENING: &str = "2026-03-02T10:00:00Z";

type Client = SettlementServiceClient<Channel>;

pub(super) struct Rig {
    log: Arc<dyn EventLog>,
    model: ReadModel,
    pub(super) client: Client,
    channel: Channel,
    /// Where query-api listens.
    pub(super) url: String,
    pub(super) stop: Shutdown,
    _directory: tempfile::TempDir,
}

fn sound<T>(result: Result<T, Failure>) -> Result<T> {
    result.map_err(|error| anyhow!("{error}"))
}

impl Rig {
    pub(super) async fn on(
        model: impl FnOnce(&std::path::Path) -> Result<ReadModel>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let model = model(directory.path())?;
        let log: Arc<dyn EventLog> =
            Arc::new(SqliteLog::create(&directory.path().join("log.db")).await?);
        let stop = Shutdown::new();
        let _health = status_projector::start(
            status_projector::Config::default(),
            &log,
            &model.writer,
            &stop,
            &Clock::system(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let channel = runtime::channel::connect_lazy(&url)?;
        let client = Client::new(channel.clone());
        let (reader, serving, clock) = (
            model.reader.clone(),
            stop.clone(),
            Clock::manual(EVENING.parse()?),
        );
        tokio::spawn(async move { query_api::run(reader, listener, serving, clock).await });
        Ok(Self {
            log,
            model,
            client,
            channel,
            url,
            stop,
            _directory: directory,
        })
    }

    pub(super) async fn embedded() -> Result<Self> {
        Self::on(|directory| {
            Ok(ReadModel::open(&format!(
                "sqlite:{}",
                directory.join("read-model.db").display()
            ))?)
        })
        .await
    }

    async fn append(&self, records: &[Record]) -> Result<()> {
        for record in records {
            let expectation = match record.revision() {
                Revision(1) => Expectation::Empty,
                _ => Expectation::Tip(
                    self.log
                        .tip(&record.header().ledger)
                        .await?
                        .context("the ledger has a tip")?,
                ),
            };
            match self
                .log
                .append(record, &expectation, Instant::now() + PATIENCE)
                .await?
            {
                AppendOutcome::Stored(_) => {}
                other => bail!("{other:?}"),
            }
        }
        Ok(())
    }

    /// A token of the ledger's last record.
    pub(super) fn token(&self, ledger: &Ledger) -> Result<Vec<String>> {
        let (epoch, store) = (self.log.epoch(), StoreId::new(ledger.name.as_str())?);
        let revision = ledger.chain.map_or(0, |chain| chain.revision.0);
        Ok(vec![
            ConsistencyToken {
                log_id: epoch.log_id,
                epoch: epoch.epoch,
                store,
                revision,
            }
            .to_string(),
        ])
    }

    /// The figures of the store's latest day as the projection has them.
    async fn figures(&self, ledger: &Ledger) -> Result<event::DayReport> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let seen = self
                .model
                .reader
                .orders
                .day(&StoreId::new(ledger.name.as_str())?, None)
                .await
                .ok()
                .flatten();
            if let Some(seen) = seen.filter(|seen| {
                Some(seen.store.revision()) == ledger.chain.map(|chain| chain.revision)
            }) {
                return Ok(event::DayReport::decode(
                    seen.found.context("a day")?.body.as_slice(),
                )?);
            }
            ensure!(
                Instant::now() < limit,
                "store {} is not projected",
                ledger.name
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn x(&self, ledger: &Ledger) -> Result<(DayReport, DayLists)> {
        let request = GetXReportRequest {
            store_id: ledger.name.to_string(),
            at_least: self.token(ledger)?,
        };
        let answer = self.client.clone().get_x_report(request).await?;
        let answer = answer.into_inner();
        Ok((
            answer.report.context("a report")?,
            answer.lists.context("lists")?,
        ))
    }

    async fn sales(
        &self,
        stores: &[&str],
        days: [&str; 2],
        group_by: SalesGrouping,
        basis: SalesBasis,
    ) -> Result<(Rows, Rows)> {
        let request = GetSalesRequest {
            store_ids: stores.iter().map(|store| (*store).to_owned()).collect(),
            first_business_date: days[0].into(),
            last_business_date: days[1].into(),
            group_by: group_by.into(),
            basis: basis.into(),
            at_least: vec![],
        };
        let answer = self.client.clone().get_sales(request).await?.into_inner();
        Ok((
            answer.rows.iter().map(row).collect(),
            answer.totals.iter().map(row).collect(),
        ))
    }

    /// All facts of a figure, two a page: its value, and their amounts.
    async fn explain(&self, store: &str, date: &str, figure: &str) -> Result<(i64, Vec<i64>)> {
        let mut client = self.client.clone();
        let mut request = ExplainFigureRequest {
            store_id: store.into(),
            business_date: date.into(),
            figure: figure.into(),
            page_size: 2,
            ..ExplainFigureRequest::default()
        };
        let mut amounts = Vec::new();
        loop {
            let answer = client.explain_figure(request.clone()).await?.into_inner();
            amounts.extend(answer.facts.iter().map(|fact| fact.amount));
            if answer.next_page_token.is_empty() {
                ensure!(
                    answer.facts_total == amounts.iter().sum::<i64>(),
                    "{figure}: {} {amounts:?}",
                    answer.facts_total
                );
                return Ok((answer.value, amounts));
            }
            request.page_token = answer.next_page_token;
        }
    }
}

/// Currency, key, count, net of sales, of returns, of turnover, VAT of turnover.
type Rows = Vec<(String, String, i64, i64, i64, i64, Option<i64>)>;

fn row(row: &SalesRow) -> (String, String, i64, i64, i64, i64, Option<i64>) {
    let vat = row.turnover_vat.as_ref().map(|vat| vat.amount_minor);
    (
        row.currency_code.clone(),
        row.key.clone(),
        row.count,
        minor(row.sales_net.as_ref()),
        minor(row.returns_net.as_ref()),
        minor(row.turnover_net.as_ref()),
        vat,
    )
}

fn krw(
    key: &str,
    count: i64,
    sales: i64,
    returns: i64,
    vat: Option<i64>,
) -> (String, String, i64, i64, i64, i64, Option<i64>) {
    (
        "KRW".into(),
        key.into(),
        count,
        sales,
        returns,
        sales - returns,
        vat,
    )
}

pub(super) fn minor(money: Option<&Money>) -> i64 {
    money.map_or(0, |money| money.amount_minor)
}

pub(super) fn block(block: Option<&Block>) -> [i64; 6] {
    let of = |money: fn(&Block) -> Option<&Money>| minor(block.and_then(money));
    [
        block.and_then(|block| block.count).unwrap_or(0),
        of(|block| block.gross.as_ref()),
        of(|block| block.discount.as_ref()),
        of(|block| block.net.as_ref()),
        of(|block| block.supply.as_ref()),
        of(|block| block.vat.as_ref()),
    ]
}

/// Every figure of a report that is a sum over facts, by path.
pub(super) fn figures(report: &DayReport, lists: &DayLists) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    let mut put = |path: String, names: &[&str], values: &[i64]| {
        all.extend(
            names
                .iter()
                .zip(values)
                .map(|(name, value)| (format!("{path}.{name}"), *value)),
        );
    };
    for (name, own) in [
        ("sales", &report.sales),
        ("voids", &report.voids),
        ("refunds_same_day", &report.refunds_same_day),
        ("refunds_prior_days", &report.refunds_prior_days),
        ("turnover", &report.turnover),
    ] {
        put(
            name.into(),
            &["count", "gross", "discount", "net", "supply", "vat"],
            &block(own.as_ref()),
        );

        for tax in own.iter().flat_map(|own| &own.taxes) {
            let values = [
                minor(tax.net.as_ref()),
                minor(tax.supply.as_ref()),
                minor(tax.vat.as_ref()),
            ];
            put(
                format!("{name}.taxes.{}@{}", tax.tax_class, tax.rate_bp),
                &["net", "supply", "vat"],
                &values,
            );
        }
    }
    for own in &report.tenders {
        let kind = own
            .kind()
            .as_str_name()
            .trim_start_matches("TENDER_KIND_")
            .to_lowercase();
        let values = [
            minor(own.taken.as_ref()),
            minor(own.returned.as_ref()),
            minor(own.net.as_ref()),
        ];
        put(
            format!("tenders.{kind}"),
            &["taken", "returned", "net"],
            &values,
        );
    }
    for own in &report.drawers {
        let flows = [
            &own.float,
            &own.tendered,
            &own.change,
            &own.returned,
            &own.paid_in,
            &own.paid_out,
            &own.expected,
        ];
        let values = [
            flows.as_slice(),
            &[
                &own.counted,
                &own.over_short,
                &own.carried,
                &own.opening_difference,
            ],
        ]
        .concat();
        let names = [
            "float",
            "tendered",
            "change",
            "returned",
            "paid_in",
            "paid_out",
            "expected",
            "counted",
            "over_short",
            "carried",
            "opening_difference",
        ];
        let values: Vec<i64> = values
            .into_iter()
            .map(|money| minor(money.as_ref()))
            .collect();
        put(format!("drawers.{}", own.drawer_id), &names, &values);
    }
    let amounts = ["units", "gross", "discount", "net"];
    for own in &lists.items {
        let values = [
            own.units,
            minor(own.gross.as_ref()),
            minor(own.discount.as_ref()),
            minor(own.net.as_ref()),
        ];
        put(format!("items.{}", own.sku), &amounts, &values);
    }
    for own in &lists.categories {
        let values = [
            own.units,
            minor(own.gross.as_ref()),
            minor(own.discount.as_ref()),
            minor(own.net.as_ref()),
        ];
        put(format!("categories.{}", own.category), &amounts, &values);
    }
    for own in &report.hours {
        let values = [
            own.orders,
            minor(own.gross.as_ref()),
            minor(own.discount.as_ref()),
            minor(own.net.as_ref()),
        ];
        put(
            format!("hours.{}", own.hour),
            &["orders", "gross", "discount", "net"],
            &values,
        );
    }
    for own in &lists.discounts {
        let source = own
            .source()
            .as_str_name()
            .trim_start_matches("DISCOUNT_SOURCE_")
            .to_lowercase();
        put(
            format!("discounts.{source}.{}", own.discount_id),
            &["count", "amount"],
            &[own.count, minor(own.amount.as_ref())],
        );
    }
    for (name, list) in [("items", &report.items), ("categories", &report.categories)] {
        let list = list.clone().unwrap_or_default();
        let values = [
            list.rows,
            list.count,
            minor(list.gross.as_ref()),
            minor(list.discount.as_ref()),
            minor(list.net.as_ref()),
        ];
        let names = ["rows", "units", "gross", "discount", "net"];
        put(name.into(), &names, &values);
    }
    let list = report.discounts.clone().unwrap_or_default();
    put(
        "discounts".into(),
        &["rows", "count", "amount"],
        &[list.rows, list.count, minor(list.discount.as_ref())],
    );
    let single = [
        ("carried_in", report.carried_in),
        ("completed", report.completed),
        ("cancelled", report.cancelled),
        ("carried_out", report.carried_out),
        ("first_ticket", report.first_ticket),
        ("last_ticket", report.last_ticket),
        ("first_document", report.first_document),
        ("last_document", report.last_document),
        (
            "grand_total_sales",
            minor(report.grand_total_sales.as_ref()),
        ),
        (
            "grand_total_returns",
            minor(report.grand_total_returns.as_ref()),
        ),
        ("grand_total", minor(report.grand_total.as_ref())),
    ];
    all.extend(single.map(|(name, value)| (name.to_owned(), value)));
    // Orders less refunds count nothing.
    all.remove("turnover.count");
    all
}

fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    because: &str,
    says: &str,
) -> Result<()> {
    let status = answer
        .err()
        .with_context(|| format!("{because} is expected"))?;
    let reason = status
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default();
    ensure!(
        (status.code(), reason.as_str()) == (code, because),
        "{because} is expected, not {status:?}"
    );
    ensure!(
        status.message().contains(says),
        "{says:?} is expected, not {:?}",
        status.message()
    );
    Ok(())
}

/// The worked example in store gangnam, closed, and a store in London that was closed with a wrong figure.
pub(super) async fn settle(rig: &Rig) -> Result<Ledger> {
    let mut ledger = sound(Ledger::new("gangnam"))?;
    let (records, [p, q]) = sound(example::yesterday(&mut ledger))?;
    rig.append(&records).await?;
    rig.figures(&ledger).await?;
    let (x, _) = rig.x(&ledger).await?;
    ensure!(
        x.z_number == 0
            && x.state() == BusinessDayState::Overdue
            && x.business_date == "2026-03-01"
    );
    let report = rig.figures(&ledger).await?;
    rig.append(&[sound(ledger.close(ledger.closed(report, 1)))?])
        .await?;
    let (records, _) = sound(example::today(&mut ledger, &p, &q))?;
    rig.append(&records).await?;

    let (x, lists) = rig.x(&ledger).await?;
    ensure!(
        x.state() == BusinessDayState::Open
            && x.previous_z_hash.is_empty()
            && x.close_time.is_none()
    );
    ensure!(
        ledger
            .chain
            .is_some_and(|chain| chain.hash.0[..] == x.last_hash[..])
    );
    worked_example(&x, &lists)?;
    for (figure, value) in figures(&x, &lists) {
        let (said, amounts) = rig.explain("gangnam", "2026-03-02", &figure).await?;
        ensure!(
            said == value && amounts.iter().sum::<i64>() == value,
            "{figure}: {value}, {said}, {amounts:?}"
        );
    }

    let mut counted = rig.figures(&ledger).await?;
    let drawer = counted.drawers.first_mut().context("a drawer")?;
    (drawer.counted, drawer.over_short) = (Some(144_000), Some(-500));
    let close = sound(ledger.close(ledger.closed(counted, 1)))?;
    let (last, closed_at) = (close.header().previous_hash, close.header().recorded_at);
    rig.append(&[close]).await?;
    let request = GetZReportRequest {
        store_id: "gangnam".into(),
        key: Some(Key::ZNumber(2)),
        at_least: rig.token(&ledger)?,
    };
    let answer = rig.client.clone().get_z_report(request).await?.into_inner();
    let z = answer.report.context("a report")?;
    // The lists, and with them what proves them, are those of the X report.
    ensure!(answer.lists.as_ref() == Some(&lists) && z.items == x.items);
    ensure!(z.items.as_ref().is_some_and(|list| list.sha256.len() == 32));
    ensure!(
        answer.differences.is_empty()
            && z.z_number == 2
            && z.automatic
            && z.report_version == 1
            && z.last_hash == last.0
    );
    ensure!(
        z.close_time == Some(contract::timestamp_to_proto(closed_at))
            && z.previous_z_hash.len() == 32
    );
    ensure!(
        z.drawers
            .first()
            .is_some_and(|drawer| minor(drawer.over_short.as_ref()) == -500)
    );
    // But for who, when and the count it is the X report.
    let drawers = x.drawers.clone();
    let same = DayReport {
        state: x.state,
        z_number: 0,
        close_time: None,
        automatic: false,
        report_version: 0,
        previous_z_hash: vec![],
        drawers,
        ..z.clone()
    };
    ensure!(same == x, "{same:?}\n{x:?}");
    for (figure, value) in figures(&z, &lists) {
        let (said, amounts) = rig.explain("gangnam", "2026-03-02", &figure).await?;
        ensure!(
            said == value && amounts.iter().sum::<i64>() == value,
            "{figure}: {value}, {said}, {amounts:?}"
        );
    }

    // Counted after the close: the report stays as it was, the count is shown beside it. Yesterday nobody had counted.
    let count = DrawerCounted {
        business_date: "2026-03-01".into(),
        drawer_id: "main".into(),
        counted: 9_900,
        expected: 10_000,
    };
    rig.append(&[sound(ledger.append(vec![Event::DrawerCounted(count)]))?])
        .await?;
    let request = GetZReportRequest {
        store_id: "gangnam".into(),
        key: Some(Key::ZNumber(1)),
        at_least: rig.token(&ledger)?,
    };
    let answer = rig.client.clone().get_z_report(request).await?.into_inner();
    let late: Vec<_> = answer
        .late_counts
        .iter()
        .map(|row| (row.drawer_id.as_str(), minor(row.over_short.as_ref())))
        .collect();
    ensure!(
        late == [("main", -100)] && answer.differences.is_empty(),
        "{answer:?}"
    );
    ensure!(answer.report.is_some_and(|z| {
        z.drawers
            .first()
            .is_some_and(|drawer| drawer.counted.is_none())
    }));

    let mut london = sound(Ledger::at(
        "london",
        "Europe/London",
        "GBP",
        "2026-03-02T09:00:00Z",
    ))?;
    rig.append(&[sound(london.open_day("2026-03-02", &[]))?])
        .await?;
    let order = sound(london.americano())?;
    rig.append(&[sound(london.place(order))?]).await?;
    let mut wrong = rig.figures(&london).await?;
    wrong.carried_out = 7;
    rig.append(&[sound(london.close(london.closed(wrong, 1)))?])
        .await?;
    rig.figures(&london).await?;
    Ok(ledger)
}

pub(super) fn worked_example(report: &DayReport, lists: &DayLists) -> Result<()> {
    ensure!(block(report.sales.as_ref()) == [5, 38_700, 7_000, 31_700, 29_210, 2_490]);
    ensure!(block(report.voids.as_ref()) == [1, 5_200, 0, 5_200, 4_727, 473]);
    ensure!(block(report.refunds_same_day.as_ref()) == [1, 5_000, 772, 4_228, 3_844, 384]);
    ensure!(block(report.refunds_prior_days.as_ref()) == [2, 9_500, 0, 9_500, 8_637, 863]);
    ensure!(
        report
            .turnover
            .as_ref()
            .is_some_and(|own| own.count.is_none())
    );
    ensure!(block(report.turnover.as_ref()) == [0, 19_000, 6_228, 12_772, 12_002, 770]);
    let tenders: Vec<_> = report
        .tenders
        .iter()
        .map(|row| {
            (
                row.kind(),
                minor(row.taken.as_ref()),
                minor(row.returned.as_ref()),
            )
        })
        .collect();
    let expected = [
        (TenderKind::Cash, 16_700, 10_200),
        (TenderKind::Card, 10_000, 4_228),
        (TenderKind::Mobile, 5_000, 4_500),
    ];
    ensure!(tenders == expected, "{tenders:?}");
    ensure!(
        report
            .drawers
            .first()
            .is_some_and(|drawer| minor(drawer.expected.as_ref()) == 144_500)
    );
    let items: Vec<_> = lists
        .items
        .iter()
        .map(|row| (row.sku.as_str(), minor(row.net.as_ref())))
        .collect();
    ensure!(
        items
            == [
                ("americano", 9_500),
                ("banana", 4_318),
                ("cold-brew", 5_200),
                ("latte", 12_682)
            ],
        "{items:?}"
    );
    ensure!(
        (
            report.carried_in,
            report.completed,
            report.cancelled,
            report.carried_out
        ) == (1, 3, 2, 1)
    );
    Ok(())
}

async fn sums(rig: &Rig) -> Result<()> {
    let all = ["2026-03-01", "2026-03-02"];
    let (rows, totals) = rig
        .sales(&["gangnam"], all, SalesGrouping::Day, SalesBasis::AsClosed)
        .await?;
    ensure!(
        rows == [
            krw("2026-03-01", 2, 14_500, 0, Some(1_318)),
            krw("2026-03-02", 5, 31_700, 18_928, Some(770))
        ],
        "{rows:?}"
    );
    ensure!(
        totals == [krw("", 7, 46_200, 18_928, Some(2_088))],
        "{totals:?}"
    );
    let (rows, restated) = rig
        .sales(
            &["gangnam"],
            all,
            SalesGrouping::Day,
            SalesBasis::AsRestated,
        )
        .await?;
    ensure!(
        rows == [
            krw("2026-03-01", 2, 14_500, 9_500, Some(455)),
            krw("2026-03-02", 5, 31_700, 9_428, Some(1_633))
        ],
        "{rows:?}"
    );
    ensure!(restated == totals, "over all days both are the same");
    let today = ["2026-03-02", "2026-03-02"];
    let (rows, _) = rig
        .sales(
            &["gangnam"],
            today,
            SalesGrouping::Tender,
            SalesBasis::AsClosed,
        )
        .await?;
    let expected = [
        krw("card", 1, 10_000, 4_228, None),
        krw("cash", 3, 16_700, 10_200, None),
        krw("mobile", 1, 5_000, 4_500, None),
    ];
    ensure!(rows == expected, "{rows:?}");
    let (rows, _) = rig
        .sales(
            &["gangnam"],
            today,
            SalesGrouping::Membership,
            SalesBasis::Unspecified,
        )
        .await?;
    ensure!(
        rows == [krw("none", 5, 31_700, 18_928, Some(770))],
        "{rows:?}"
    );
    // Whatever it is grouped by, rows sum to the totals.
    for basis in [SalesBasis::AsClosed, SalesBasis::AsRestated] {
        for grouping in (0..=7).filter_map(|grouping| SalesGrouping::try_from(grouping).ok()) {
            let (rows, totals) = rig.sales(&[], all, grouping, basis).await?;
            ensure!(
                totals.len() == 2 && totals[0].0 == "GBP" && totals[1].3 == 46_200,
                "{grouping:?}: {totals:?}"
            );
            for total in &totals {
                let own: Vec<_> = rows.iter().filter(|row| row.0 == total.0).collect();
                ensure!(
                    own.iter().map(|row| row.5).sum::<i64>() == total.5,
                    "{grouping:?}: {rows:?}"
                );
                if grouping != SalesGrouping::Tender {
                    ensure!(
                        own.iter().map(|row| row.2).sum::<i64>() == total.2,
                        "{grouping:?}: {rows:?}"
                    );
                    ensure!(
                        own.iter().filter_map(|row| row.6).sum::<i64>() == total.6.unwrap_or(0),
                        "{grouping:?}: {rows:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

async fn refusals(rig: &Rig, ledger: &mut Ledger) -> Result<()> {
    let mut client = rig.client.clone();
    let x = |store: &str| GetXReportRequest {
        store_id: store.into(),
        at_least: vec![],
    };
    refused(
        client.get_x_report(x("nowhere")).await,
        Code::NotFound,
        "UNKNOWN_STORE",
        "nowhere",
    )?;
    refused(
        client.get_x_report(x("gangnam")).await,
        Code::NotFound,
        "NO_SUCH_DAY",
        "2026-03-02 is closed",
    )?;
    let z = |key: Key| GetZReportRequest {
        store_id: "gangnam".into(),
        key: Some(key),
        at_least: vec![],
    };
    let date = |date: &str| z(Key::BusinessDate(date.into()));
    refused(
        client.get_z_report(date("2026-3-2")).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        "YYYY-MM-DD",
    )?;
    refused(
        client.get_z_report(z(Key::ZNumber(0))).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        "from 1",
    )?;
    refused(
        client.get_z_report(z(Key::ZNumber(3))).await,
        Code::NotFound,
        "NO_SUCH_DAY",
        "number 2",
    )?;
    refused(
        client.get_z_report(date("2026-03-05")).await,
        Code::FailedPrecondition,
        "DAY_NOT_BEGUN",
        "has not begun",
    )?;
    refused(
        client.get_z_report(date("2026-02-20")).await,
        Code::NotFound,
        "NO_SUCH_DAY",
        "did not trade",
    )?;
    let none = GetZReportRequest {
        key: None,
        ..date("")
    };
    refused(
        client.get_z_report(none).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        "name a business date",
    )?;
    // At 19:00 in Seoul it is the 2nd until 04:00.
    let daily = |date: &str| GetDailySalesRequest {
        store_id: "gangnam".into(),
        business_date: date.into(),
        at_least: vec![],
    };
    let mut query = QueryServiceClient::new(rig.channel.clone());
    refused(
        query.get_daily_sales(daily("2026-03-03")).await,
        Code::FailedPrecondition,
        "DAY_NOT_BEGUN",
        "today is 2026-03-02",
    )?;
    ensure!(
        query
            .get_daily_sales(daily("2026-02-20"))
            .await?
            .into_inner()
            .state()
            == BusinessDayState::NoTrade
    );
    let open = sound(ledger.open_day("2026-03-03", &[]))?;
    rig.append(&[open]).await?;
    let token = rig.token(ledger)?;
    let open = GetZReportRequest {
        at_least: token,
        ..date("2026-03-03")
    };
    refused(
        client.get_z_report(open).await,
        Code::NotFound,
        "NO_SUCH_DAY",
        "still open",
    )?;

    let sales = |first: &str, last: &str| GetSalesRequest {
        first_business_date: first.into(),
        last_business_date: last.into(),
        ..GetSalesRequest::default()
    };
    refused(
        client.get_sales(sales("", "2026-03-01")).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        "first_business_date",
    )?;
    for (first, last) in [("2025-03-01", "2026-03-02"), ("2026-03-02", "2026-03-01")] {
        refused(
            client.get_sales(sales(first, last)).await,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "up to 365 days",
        )?;
    }
    client.get_sales(sales("2025-03-02", "2026-03-02")).await?;
    let unknown = GetSalesRequest {
        store_ids: vec!["gangnam".into(), "nowhere".into()],
        ..sales("2026-03-01", "2026-03-01")
    };
    refused(
        client.get_sales(unknown).await,
        Code::NotFound,
        "UNKNOWN_STORE",
        "nowhere",
    )?;

    let explain = |figure: &str, page_token: &str| ExplainFigureRequest {
        store_id: "gangnam".into(),
        business_date: "2026-03-02".into(),
        figure: figure.into(),
        page_size: 1,
        page_token: page_token.into(),
        ..ExplainFigureRequest::default()
    };
    refused(
        client.explain_figure(explain("sales.nett", "")).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        "refunds_prior_days",
    )?;
    let next = client
        .explain_figure(explain("sales.net", ""))
        .await?
        .into_inner()
        .next_page_token;
    ensure!(!next.is_empty());
    refused(
        client.explain_figure(explain("sales.vat", &next)).await,
        Code::InvalidArgument,
        "MALFORMED_PAGE_TOKEN",
        "request",
    )?;
    let later = ExplainFigureRequest {
        business_date: "2026-04-01".into(),
        ..explain("sales.net", "")
    };
    refused(
        client.explain_figure(later).await,
        Code::FailedPrecondition,
        "DAY_NOT_BEGUN",
        "has not begun",
    )?;
    Ok(())
}

async fn pages(rig: &Rig) -> Result<()> {
    let mut client = rig.client.clone();
    let list = |page_token: &str| ListZReportsRequest {
        store_id: "gangnam".into(),
        page_size: 1,
        page_token: page_token.into(),
        ..ListZReportsRequest::default()
    };
    let first = client.list_z_reports(list("")).await?.into_inner();
    let second = client
        .list_z_reports(list(&first.next_page_token))
        .await?
        .into_inner();
    ensure!(second.next_page_token.is_empty());
    let numbers: Vec<_> = first
        .reports
        .iter()
        .chain(&second.reports)
        .map(|report| report.z_number)
        .collect();
    ensure!(numbers == [1, 2]);
    ensure!(
        second
            .reports
            .first()
            .is_some_and(|z| minor(z.grand_total.as_ref()) == 46_200 - 18_928)
    );
    let other = ListZReportsRequest {
        first_business_date: "2026-03-02".into(),
        ..list(&first.next_page_token)
    };
    refused(
        client.list_z_reports(other).await,
        Code::InvalidArgument,
        "MALFORMED_PAGE_TOKEN",
        "request",
    )?;
    let ranged = ListZReportsRequest {
        last_business_date: "2026-03-01".into(),
        page_size: 0,
        ..list("")
    };
    ensure!(
        client
            .list_z_reports(ranged)
            .await?
            .into_inner()
            .reports
            .len()
            == 1
    );
    // A difference is shown, never replaced.
    let request = GetZReportRequest {
        store_id: "london".into(),
        key: Some(Key::BusinessDate("2026-03-02".into())),
        at_least: vec![],
    };
    let answer = client.get_z_report(request).await?.into_inner();
    let differences: Vec<_> = answer
        .differences
        .iter()
        .map(|row| (row.figure.as_str(), row.recorded, row.projected))
        .collect();
    ensure!(
        differences == [("carried_out", 7, 1)]
            && answer.report.is_some_and(|report| report.carried_out == 7)
    );
    let shown = |days: &[DifferingDay]| {
        let [day] = days else { return false };
        let at = (
            day.store_id.as_str(),
            day.business_date.as_str(),
            day.z_number,
            day.differences.len(),
        );
        at == ("london", "2026-03-02", 1, 1)
    };
    let london = ListZReportsRequest {
        store_id: "london".into(),
        ..ListZReportsRequest::default()
    };
    ensure!(shown(
        &client
            .list_z_reports(london)
            .await?
            .into_inner()
            .differing_days
    ));
    ensure!(second.differing_days.is_empty());
    let (first_business_date, last_business_date) =
        ("2026-03-01".to_owned(), "2026-03-02".to_owned());
    let sales = GetSalesRequest {
        first_business_date,
        last_business_date,
        ..GetSalesRequest::default()
    };
    ensure!(shown(
        &client
            .get_sales(sales.clone())
            .await?
            .into_inner()
            .differing_days
    ));
    let other = GetSalesRequest {
        store_ids: vec!["gangnam".into()],
        ..sales
    };
    ensure!(
        client
            .get_sales(other)
            .await?
            .into_inner()
            .differing_days
            .is_empty()
    );
    let mut admin = AdminServiceClient::new(rig.channel.clone());
    let status = admin
        .get_projection_status(GetProjectionStatusRequest {})
        .await?
        .into_inner();
    ensure!(shown(&status.differing_days), "{status:?}");
    Ok(())
}

/// The service's health is told apart from the others'.
async fn health(rig: &Rig) -> Result<()> {
    let mut health = HealthClient::new(rig.channel.clone());
    let request = HealthCheckRequest {
        service: "doppio.query.v1.SettlementService".into(),
    };
    let patience = Instant::now() + Duration::from_secs(20);
    // A server that has only just started has not said yet what it serves.
    loop {
        match health.check(request.clone()).await {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => return Ok(()),
            other => ensure!(Instant::now() < patience, "never healthy: {other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn all(rig: &Rig) -> Result<()> {
    health(rig).await?;
    let mut ledger = settle(rig).await?;
    sums(rig).await?;
    pages(rig).await?;
    refusals(rig, &mut ledger).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_settles_on_sqlite() -> Result<()> {
    let rig = Rig::embedded().await?;
    all(&rig).await?;
    rig.stop.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_settles_on_postgresql() -> Result<()> {
    let url = Postgres::shared().await?.fresh_database().await?.url;
    let rig = Rig::on(|_| Ok(ReadModel::open(&url)?)).await?;
    all(&rig).await?;
    rig.stop.finish(PATIENCE).await;
    Ok(())
}

/// The SQL blocks of a page.
fn statements(page: &str) -> Vec<&str> {
    page.split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(sql, _)| sql))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analysts_read_the_views_and_nothing_else() -> Result<()> {
    let url = Postgres::shared().await?.fresh_database().await?.url;
    let rig = Rig::on(|_| Ok(ReadModel::open(&url)?)).await?;
    settle(&rig).await?;
    let mut analyst = PgConnection::connect(&url).await?;
    sqlx::query("SET ROLE doppio_analyst")
        .execute(&mut analyst)
        .await?;
    for forbidden in [
        "SELECT 1 FROM doppio_read.facts",
        "SELECT 1 FROM doppio_read.orders",
        "CREATE TABLE doppio_analytics.mine (a int)",
    ] {
        let error = sqlx::query(AssertSqlSafe(forbidden))
            .execute(&mut analyst)
            .await
            .err()
            .context(forbidden)?;
        ensure!(
            error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .as_deref()
                == Some("42501"),
            "{forbidden}: {error}"
        );
    }
    let page = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ANALYSTS.md"),
    )?;
    let questions = statements(&page);
    ensure!(questions.len() == 10, "{}", questions.len());
    for sql in &questions {
        let rows = sqlx::query(AssertSqlSafe(*sql))
            .fetch_all(&mut analyst)
            .await
            .with_context(|| (*sql).to_owned())?;
        ensure!(!rows.is_empty(), "no rows: {sql}");
    }
    let sum = format!(
        "SELECT sum(turnover)::bigint AS total FROM ({}) q",
        questions[3].trim().trim_end_matches(';')
    );
    ensure!(
        sqlx::query(AssertSqlSafe(sum))
            .fetch_one(&mut analyst)
            .await?
            .try_get::<i64, _>("total")?
            == 27_272
    );

    // Views sum to the Zs, and every column is described.
    let sums = "SELECT z.store_id, z.turnover_net, d.turnover_net AS by_day, i.net::bigint AS by_item, t.net::bigint AS by_tender, \
                z.sales_vat, d.vat, l.vat::bigint AS by_line, o.net::bigint AS by_order, z.sales_net \
                FROM doppio_analytics.z_reports z JOIN doppio_analytics.sales_by_day d USING (store_id, business_date) \
                JOIN (SELECT store_id, business_date, sum(turnover_net) AS net FROM doppio_analytics.sales_by_item GROUP BY 1, 2) i \
                USING (store_id, business_date) \
                JOIN (SELECT store_id, business_date, sum(taken - returned) AS net FROM doppio_analytics.tenders GROUP BY 1, 2) t \
                USING (store_id, business_date) \
                JOIN (SELECT store_id, business_date, sum(vat) AS vat FROM doppio_analytics.order_lines GROUP BY 1, 2) l \
                USING (store_id, business_date) \
                JOIN (SELECT store_id, business_date, sum(net) AS net FROM doppio_analytics.orders GROUP BY 1, 2) o \
                USING (store_id, business_date)";
    let rows = sqlx::query(sums).fetch_all(&mut analyst).await?;
    ensure!(rows.len() == 3, "{}", rows.len());
    for row in &rows {
        let of = |column: &str| row.try_get::<i64, _>(column);
        let net = of("turnover_net")?;
        ensure!((of("by_day")?, of("by_item")?, of("by_tender")?) == (net, net, net));
        ensure!(
            (of("vat")?, of("by_line")?, of("by_order")?)
                == (of("sales_vat")?, of("sales_vat")?, of("sales_net")?)
        );
    }
    let letters = || b'A'..=b'Z';
    let codes: Vec<String> = letters()
        .flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])))
        .filter_map(|code| String::from_utf8(code.to_vec()).ok())
        .filter(|code| Currency::new(code).is_ok_and(|currency| currency.exists()))
        .collect();
    ensure!(codes.len() > 150, "{codes:?}");
    let decimals =
        "SELECT code, doppio_analytics.currency_decimals(code) FROM unnest($1::text[]) AS code";
    let rows = sqlx::query_as(decimals)
        .bind(&codes)
        .fetch_all(&mut analyst)
        .await?;
    for (code, decimals) in rows {
        let (code, decimals): (String, i64) = (code, decimals);
        let known = i64::from(Currency::new(&code)?.exponent());
        ensure!(
            decimals == known,
            "{code} has {known} decimals, not {decimals}"
        );
    }
    let columns = "SELECT c.relname::text, a.attname::text, col_description(c.oid, a.attnum::integer) IS NOT NULL FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
                   WHERE n.nspname = 'doppio_analytics' AND c.relkind = 'v'";
    let rows = sqlx::query(columns).fetch_all(&mut analyst).await?;
    ensure!(rows.len() > 80, "{}", rows.len());
    for row in rows {
        let (view, column, described): (String, String, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        ensure!(described, "{view}.{column} is not described");
        // The page knows every column of every view.
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{view}` |")))
            .with_context(|| view.clone())?;
        ensure!(
            line.contains(&format!("`{column}`")),
            "{view}.{column} is missing in docs/ANALYSTS.md"
        );
    }
    rig.stop.finish(PATIENCE).await;
    Ok(())
}

/// A server of its own: roles are all databases'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_make_roles_is_not_held_up() -> Result<()> {
    let postgres = Postgres::start().await?;
    let database = postgres.fresh_database().await?;
    let mut superuser = PgConnection::connect(&database.url).await?;
    sqlx::query("CREATE ROLE plain LOGIN")
        .execute(&mut superuser)
        .await?;
    let grant = format!("GRANT CREATE ON DATABASE {} TO plain", database.name);
    sqlx::query(AssertSqlSafe(grant))
        .execute(&mut superuser)
        .await?;
    let plain = ReadModel::open(&database.url.replace("doppio@", "plain@"))?;
    plain.writer.prepare().await?;
    plain.reader.projection.check().await?;
    let roles = sqlx::query("SELECT 1 FROM pg_roles WHERE rolname = 'doppio_analyst'")
        .fetch_all(&mut superuser)
        .await?;
    ensure!(roles.is_empty(), "nobody made the role");
    sqlx::query("SELECT * FROM doppio_analytics.z_reports")
        .fetch_all(&mut superuser)
        .await?;
    // What docs/ANALYSTS.md says to run.
    for statement in [
        "CREATE ROLE doppio_analyst NOLOGIN",
        "GRANT USAGE ON SCHEMA doppio_analytics TO doppio_analyst",
        "GRANT SELECT ON ALL TABLES IN SCHEMA doppio_analytics TO doppio_analyst",
        "SET ROLE doppio_analyst",
        "SELECT * FROM doppio_analytics.z_reports",
    ] {
        sqlx::query(statement)
            .execute(&mut superuser)
            .await
            .context(statement)?;
    }
    Ok(())
}
