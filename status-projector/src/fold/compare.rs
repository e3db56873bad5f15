//! The Z's recorded figures against the projection's own.

use std::collections::BTreeMap;

use contract::event::{Block, DayReport};
use read_model::FigureDifference;

/// At most so many differences are kept of one day: beyond that the day is wrong as a whole.
const MAX_DIFFERENCES: usize = 200;

/// Every figure that differs, by name. A figure that one side does not have counts as 0 there.
pub(crate) fn differences(recorded: &DayReport, projected: &DayReport) -> Vec<FigureDifference> {
    let (recorded, projected) = (figures(recorded), figures(projected));
    let names: std::collections::BTreeSet<&String> =
        recorded.keys().chain(projected.keys()).collect();
    let value = |of: &BTreeMap<String, i64>, name: &String| of.get(name).copied().unwrap_or(0);
    names
        .into_iter()
        .map(|name| FigureDifference {
            figure: name.clone(),
            recorded: value(&recorded, name),
            projected: value(&projected, name),
        })
        .filter(|difference| difference.recorded != difference.projected)
        .take(MAX_DIFFERENCES)
        .collect()
}

/// All figures of a report by name.
pub(crate) fn figures(report: &DayReport) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    let blocks = [
        ("sales", &report.sales),
        ("voids", &report.voids),
        ("refunds_same_day", &report.refunds_same_day),
        ("refunds_prior_days", &report.refunds_prior_days),
        ("turnover", &report.turnover),
    ];
    for (name, block) in blocks {
        if let Some(block) = block {
            block_figures(name, block, &mut all);
        }
    }
    let mut put = |group: &str, key: &str, values: &[(&str, i64)]| {
        for (name, value) in values {
            all.insert(format!("{group}[{key}].{name}"), *value);
        }
    };
    for row in &report.tenders {
        let key = row
            .kind()
            .as_str_name()
            .trim_start_matches("TENDER_KIND_")
            .to_lowercase();
        put(
            "tenders",
            &key,
            &[
                ("taken", row.taken),
                ("returned", row.returned),
                ("net", row.net),
            ],
        );
    }
    for row in &report.drawers {
        let flows = [
            ("float", row.float),
            ("tendered", row.tendered),
            ("change", row.change),
            ("returned", row.returned),
            ("paid_in", row.paid_in),
            ("paid_out", row.paid_out),
            ("expected", row.expected),
            ("counted", row.counted.unwrap_or(0)),
            ("over_short", row.over_short.unwrap_or(0)),
        ];
        put("drawers", &row.drawer_id, &flows);
    }
    for row in &report.items {
        let amounts = [
            ("units", row.units),
            ("gross", row.gross),
            ("discount", row.discount),
            ("net", row.net),
        ];
        put("items", &row.sku, &amounts);
    }
    for row in &report.categories {
        let amounts = [
            ("units", row.units),
            ("gross", row.gross),
            ("discount", row.discount),
            ("net", row.net),
        ];
        put("categories", &row.category, &amounts);
    }
    for row in &report.hours {
        let amounts = [
            ("orders", row.orders),
            ("gross", row.gross),
            ("discount", row.discount),
            ("net", row.net),
        ];
        put("hours", &row.hour, &amounts);
    }
    for row in &report.discounts {
        let source = row
            .source()
            .as_str_name()
            .trim_start_matches("DISCOUNT_SOURCE_")
            .to_lowercase();
        put(
            "discounts",
            &format!("{source}/{}", row.discount_id),
            &[("count", row.count), ("amount", row.amount)],
        );
    }
    let single = [
        ("carried_in", report.carried_in),
        ("completed", report.completed),
        ("cancelled", report.cancelled),
        ("carried_out", report.carried_out),
        ("first_ticket", report.first_ticket),
        ("last_ticket", report.last_ticket),
        ("first_document", report.first_document),
        ("last_document", report.last_document),
        ("grand_total_sales", report.grand_total_sales),
        ("grand_total_returns", report.grand_total_returns),
    ];
    all.extend(single.map(|(name, value)| (name.to_owned(), value)));
    all
}

fn block_figures(name: &str, block: &Block, all: &mut BTreeMap<String, i64>) {
    let amounts = [
        ("count", block.count),
        ("gross", block.gross),
        ("discount", block.discount),
        ("net", block.net),
        ("supply", block.supply),
        ("vat", block.vat),
    ];
    all.extend(amounts.map(|(figure, value)| (format!("{name}.{figure}"), value)));
    for tax in &block.taxes {
        let class = format!("{name}.taxes[{} {}]", tax.tax_class, tax.rate_bp);
        all.extend(
            [("net", tax.net), ("supply", tax.supply), ("vat", tax.vat)]
                .map(|(figure, value)| (format!("{class}.{figure}"), value)),
        );
    }
}
