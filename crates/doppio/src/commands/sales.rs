use clap::{Args, Subcommand};
use contract::api::query::{
    GetDailySalesRequest, GetDailySalesResponse, GetSalesRequest, ListStoresRequest, SalesBasis,
    SalesGrouping, SalesRow,
};
use contract::api::types::Block;

use crate::clients::{Clients, call};
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, differing, money, name, table};

#[derive(Subcommand)]
pub enum Sales {
    /// One store's business date, running or closed.
    Day(Day),
    /// Sales of many days and stores, by what you like.
    Range(Range),
}

#[derive(Args)]
pub struct Day {
    #[arg(long)]
    store: String,
    /// YYYY-MM-DD; the latest one when absent.
    #[arg(long, default_value = "")]
    date: String,
    /// A token from an earlier answer: see nothing older. Repeatable.
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

#[derive(Args)]
pub struct Range {
    /// All stores when absent. Repeatable.
    #[arg(long = "store", value_name = "STORE")]
    stores: Vec<String>,
    /// YYYY-MM-DD, inclusive.
    #[arg(long)]
    from: String,
    /// YYYY-MM-DD, inclusive.
    #[arg(long)]
    to: String,
    /// day, store, item, category, hour, tender or membership.
    #[arg(long, default_value = "day")]
    by: String,
    /// Voids and refunds count on the day of the sale that they take back, not on their own.
    #[arg(long)]
    restated: bool,
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

impl Sales {
    pub async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        match self {
            Self::Day(day) => day.run(clients, format).await,
            Self::Range(range) => range.run(clients, format).await,
        }
    }
}

impl Range {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let group_by = SalesGrouping::from_str_name(&format!(
            "SALES_GROUPING_{}",
            self.by.to_ascii_uppercase()
        ));
        let group_by = group_by.ok_or_else(|| {
            Failure::new(
                ExitCode::Usage,
                format!(
                    "--by {:?}: day, store, item, category, hour, tender or membership",
                    self.by
                ),
            )
        })?;
        let basis = if self.restated {
            SalesBasis::AsRestated
        } else {
            SalesBasis::AsClosed
        };
        let request = GetSalesRequest {
            store_ids: self.stores,
            first_business_date: self.from,
            last_business_date: self.to,
            group_by: group_by.into(),
            basis: basis.into(),
            at_least: self.at_least,
        };
        let answer = clients
            .settlement
            .clone()
            .get_sales(call(request))
            .await?
            .into_inner();
        format.print(&answer, |answer| {
            let row = |row: &SalesRow| {
                let amounts = [
                    &row.sales_net,
                    &row.returns_net,
                    &row.turnover_net,
                    &row.turnover_vat,
                ]
                .map(|amount| money(amount.as_ref()));
                [
                    vec![row.key.clone(), row.count.to_string()],
                    amounts.to_vec(),
                ]
                .concat()
            };
            let totals = answer.totals.iter().map(|total| {
                row(&SalesRow {
                    key: "total".to_owned(),
                    ..total.clone()
                })
            });
            let rows = answer.rows.iter().map(row).chain(totals).collect();
            let table = table(
                &[&self.by, "count", "sales", "returns", "turnover", "VAT due"],
                rows,
                1,
            );
            format!("{table}{}", differing(&answer.differing_days))
        })
    }
}

impl Day {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let day = self;
        let request = GetDailySalesRequest {
            store_id: day.store,
            business_date: day.date,
            at_least: day.at_least,
        };
        let answer = clients
            .query
            .clone()
            .get_daily_sales(call(request))
            .await?
            .into_inner();
        format.print(&answer, show)
    }
}

fn show(sales: &GetDailySalesResponse) -> String {
    let mut text = format!(
        "{}  {}  {}",
        sales.store_id,
        sales.business_date,
        sales
            .state()
            .as_str_name()
            .trim_start_matches("BUSINESS_DAY_STATE_")
    );
    if sales.z_number > 0 {
        text.push_str(&format!("  Z {}", sales.z_number));
    }
    let block = |label: &str, block: Option<&Block>| {
        let block = block.cloned().unwrap_or_default();
        let amounts = [
            &block.gross,
            &block.discount,
            &block.net,
            &block.supply,
            &block.vat,
        ]
        .map(|amount| money(amount.as_ref()));
        [
            vec![label.to_owned(), block.count.to_string()],
            amounts.to_vec(),
        ]
        .concat()
    };
    let blocks = vec![
        block("Sales", sales.sales.as_ref()),
        block("Voids", sales.voids.as_ref()),
        block("Refunds, same day", sales.refunds_same_day.as_ref()),
        block("Refunds, earlier days", sales.refunds_prior_days.as_ref()),
        block("Turnover", sales.turnover.as_ref()),
    ];
    text.push_str(&format!(
        "\n{}",
        table(
            &["", "count", "gross", "discount", "net", "supply", "VAT"],
            blocks,
            1
        )
    ));
    let tenders = sales.tenders.iter().map(|tender| {
        let kind = tender
            .kind()
            .as_str_name()
            .trim_start_matches("TENDER_KIND_")
            .to_ascii_lowercase();
        vec![
            kind,
            money(tender.taken.as_ref()),
            money(tender.returned.as_ref()),
            money(tender.net.as_ref()),
        ]
    });
    text.push_str(&format!(
        "\n{}",
        table(
            &["tender", "taken", "returned", "net"],
            tenders.collect(),
            1
        )
    ));
    let items = sales.items.iter().map(|item| {
        vec![
            name(item.name.as_ref()),
            item.category.clone(),
            item.units.to_string(),
            money(item.gross.as_ref()),
            money(item.net.as_ref()),
        ]
    });
    text.push_str(&format!(
        "\n{}",
        table(
            &["item", "category", "units", "gross", "net"],
            items.collect(),
            2
        )
    ));
    let hours = sales.hours.iter().map(|hour| {
        vec![
            hour.hour.clone(),
            hour.orders.to_string(),
            money(hour.net.as_ref()),
        ]
    });
    text.push_str(&format!(
        "\n{}",
        table(&["hour", "orders", "net"], hours.collect(), 1)
    ));
    for difference in &sales.differences {
        text.push_str(&format!(
            "\nDIFFERENCE in {}: recorded {}, projected {}",
            difference.figure, difference.recorded, difference.projected
        ));
    }
    text
}

/// The stores that have a ledger.
pub async fn stores(clients: Clients, format: Format) -> Result<(), Failure> {
    let request = ListStoresRequest {
        page_size: 1_000,
        ..Default::default()
    };
    let answer = clients
        .query
        .clone()
        .list_stores(call(request))
        .await?
        .into_inner();
    format.print(&answer, |answer| {
        let rows = answer.stores.iter().map(|store| {
            vec![
                store.store_id.clone(),
                store.currency_code.clone(),
                store.time_zone.clone(),
                store.latest_business_date.clone(),
                store.quarantine_reason.clone(),
                store.revision.to_string(),
            ]
        });
        table(
            &[
                "store",
                "currency",
                "time zone",
                "latest date",
                "quarantined",
                "revision",
            ],
            rows.collect(),
            5,
        )
        .to_string()
    })
}
