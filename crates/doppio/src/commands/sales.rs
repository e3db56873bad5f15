use clap::{Args, Subcommand};
use contract::api::query::{GetDailySalesRequest, GetDailySalesResponse, ListStoresRequest};
use contract::api::types::Block;

use crate::clients::{Clients, call};
use crate::exit::Failure;
use crate::output::{Format, money, name, table};

#[derive(Subcommand)]
pub enum Sales {
    /// One store's business date, running or closed.
    Day(Day),
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

impl Sales {
    pub async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let Self::Day(day) = self;
        let request = GetDailySalesRequest { store_id: day.store, business_date: day.date, at_least: day.at_least };
        let answer = clients.query.clone().get_daily_sales(call(request)).await?.into_inner();
        format.print(&answer, show)
    }
}

fn show(sales: &GetDailySalesResponse) -> String {
    let mut text =
        format!("{}  {}  {}", sales.store_id, sales.business_date, sales.state().as_str_name().trim_start_matches("BUSINESS_DAY_STATE_"));
    if sales.z_number > 0 {
        text.push_str(&format!("  Z {}", sales.z_number));
    }
    let block = |label: &str, block: Option<&Block>| {
        let block = block.cloned().unwrap_or_default();
        let amounts = [&block.gross, &block.discount, &block.net, &block.supply, &block.vat].map(|amount| money(amount.as_ref()));
        [vec![label.to_owned(), block.count.to_string()], amounts.to_vec()].concat()
    };
    let blocks = vec![
        block("Sales", sales.sales.as_ref()),
        block("Voids", sales.voids.as_ref()),
        block("Refunds, same day", sales.refunds_same_day.as_ref()),
        block("Refunds, earlier days", sales.refunds_prior_days.as_ref()),
        block("Turnover", sales.turnover.as_ref()),
    ];
    text.push_str(&format!("\n{}", table(&["", "count", "gross", "discount", "net", "supply", "VAT"], blocks, 1)));
    let tenders = sales.tenders.iter().map(|tender| {
        let kind = tender.kind().as_str_name().trim_start_matches("TENDER_KIND_").to_ascii_lowercase();
        vec![kind, money(tender.taken.as_ref()), money(tender.returned.as_ref()), money(tender.net.as_ref())]
    });
    text.push_str(&format!("\n{}", table(&["tender", "taken", "returned", "net"], tenders.collect(), 1)));
    let items = sales.items.iter().map(|item| {
        vec![name(item.name.as_ref()), item.category.clone(), item.units.to_string(), money(item.gross.as_ref()), money(item.net.as_ref())]
    });
    text.push_str(&format!("\n{}", table(&["item", "category", "units", "gross", "net"], items.collect(), 2)));
    let hours = sales.hours.iter().map(|hour| vec![hour.hour.clone(), hour.orders.to_string(), money(hour.net.as_ref())]);
    text.push_str(&format!("\n{}", table(&["hour", "orders", "net"], hours.collect(), 1)));
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
    let request = ListStoresRequest { page_size: 1_000, ..Default::default() };
    let answer = clients.query.clone().list_stores(call(request)).await?.into_inner();
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
        table(&["store", "currency", "time zone", "latest date", "quarantined", "revision"], rows.collect(), 5).to_string()
    })
}
