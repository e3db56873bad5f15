use clap::{Args, Subcommand};
use contract::api::admin::GetProjectionStatusRequest;
use contract::api::query::{
    GetDailySalesRequest, GetDailySalesResponse, GetSalesRequest, ListStoresRequest, SalesBasis,
    SalesGrouping, SalesRow,
};
use contract::api::types::Block;

use super::status::is_of_its_log;
use crate::clients::{Clients, call};
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, differing, name, stands_still};
use crate::pages::{PAGE_SIZE, whole};
use crate::row;
use crate::table::{Cell, Column, Table};

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
    #[arg(long)]
    date: Option<String>,
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
            let row = |row: &SalesRow| -> Vec<Cell> {
                row![
                    &row.key,
                    row.count,
                    &row.sales_net,
                    &row.returns_net,
                    &row.turnover_net,
                    &row.turnover_vat,
                ]
            };
            let totals = answer.totals.iter().map(|total| {
                row(&SalesRow {
                    key: "total".to_owned(),
                    ..total.clone()
                })
            });
            let rows = answer.rows.iter().map(row).chain(totals);
            let columns = [
                Column::id(&self.by),
                Column::number("count"),
                Column::money("sales"),
                Column::money("returns").spare(2),
                Column::money("turnover"),
                Column::money("VAT due").spare(1),
            ];
            let table = Table::new(columns, rows);
            format!("{table}{}", differing(&answer.differing_days))
        })
    }
}

impl Day {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let day = self;
        let request = GetDailySalesRequest {
            store_id: day.store,
            business_date: day.date.unwrap_or_default(),
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
        row![
            label,
            block
                .count
                .map(|count| count.to_string())
                .unwrap_or_default(),
            &block.gross,
            &block.discount,
            &block.net,
            &block.supply,
            &block.vat,
        ]
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
        Table::new(
            [
                Column::id(""),
                Column::number("count"),
                Column::money("gross").spare(2),
                Column::money("discount").spare(3),
                Column::money("net"),
                Column::money("supply").spare(1),
                Column::money("VAT"),
            ],
            blocks
        )
    ));
    let tenders = sales.tenders.iter().map(|tender| {
        let kind = tender
            .kind()
            .as_str_name()
            .trim_start_matches("TENDER_KIND_")
            .to_ascii_lowercase();
        row![kind, &tender.taken, &tender.returned, &tender.net]
    });
    text.push_str(&format!(
        "\n{}",
        Table::new(
            [
                Column::id("tender"),
                Column::money("taken"),
                Column::money("returned"),
                Column::money("net"),
            ],
            tenders
        )
    ));
    let items = sales.items.iter().map(|item| {
        row![
            name(item.name.as_ref()),
            &item.category,
            item.units,
            &item.gross,
            &item.net,
        ]
    });
    text.push_str(&format!(
        "\n{}",
        Table::new(
            [
                Column::text("item"),
                Column::id("category").spare(2),
                Column::number("units"),
                Column::money("gross").spare(1),
                Column::money("net"),
            ],
            items
        )
    ));
    let hours = sales
        .hours
        .iter()
        .map(|hour| row![&hour.hour, hour.orders, &hour.net]);
    text.push_str(&format!(
        "\n{}",
        Table::new(
            [
                Column::id("hour"),
                Column::number("orders"),
                Column::money("net"),
            ],
            hours
        )
    ));
    if sales.more_rows {
        text.push_str("\nThere are more items than are shown here: doppio settle show and doppio settle x print them all.");
    }
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
    let answer = whole(None, |page_token| {
        let mut query = clients.query.clone();
        let request = ListStoresRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        async move { query.list_stores(call(request)).await }
    })
    .await?;
    format.print(&answer, |answer| {
        let rows = answer.stores.iter().map(|store| {
            row![
                &store.store_id,
                &store.currency_code,
                &store.time_zone,
                &store.latest_business_date,
                store.revision,
                &store.quarantine_reason,
            ]
        });
        Table::new(
            [
                Column::id("store"),
                Column::id("currency"),
                Column::id("time zone"),
                Column::id("latest date"),
                Column::number("revision").spare(1),
                Column::text("quarantined"),
            ],
            rows,
        )
        .to_string()
    })?;
    let quarantined = answer.stores.iter().filter_map(|store| {
        let reason = &store.quarantine_reason;
        (!reason.is_empty()).then(|| stands_still(&store.store_id, store.revision, reason))
    });
    let said: Vec<_> = quarantined.collect();
    if !said.is_empty() {
        return Err(Failure::new(ExitCode::CheckFailed, said.join("\n")));
    }
    let mut admin = clients.admin.clone();
    let status = admin.get_projection_status(call(GetProjectionStatusRequest {}));
    is_of_its_log(status.await?.get_ref())
}
