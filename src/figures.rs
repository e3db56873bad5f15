//! The names of a report's figures: one name for each, in differences, in exports and to be explained.

use std::collections::BTreeMap;

use crate::event::{Block, DayReport, DiscountSource, ListDigest, TenderKind};

const HASH_BYTES: usize = 6;

/// A tender kind as figures and rows of sales name it.
#[must_use]
pub fn tender_name(kind: TenderKind) -> String {
    kind.as_str_name()
        .trim_start_matches("TENDER_KIND_")
        .to_lowercase()
}

/// A discount's source as figures name it.
#[must_use]
pub fn discount_source_name(source: DiscountSource) -> String {
    source
        .as_str_name()
        .trim_start_matches("DISCOUNT_SOURCE_")
        .to_lowercase()
}

/// The first 6 bytes of a list's hash as a number, by which two lists of equal sums are told apart.
#[must_use]
pub fn fingerprint(list: &ListDigest) -> i64 {
    list.sha256
        .iter()
        .take(HASH_BYTES)
        .fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// All figures of a report by name. A drawer that was not counted has no such figure.
#[must_use]
pub fn figures(report: &DayReport) -> BTreeMap<String, i64> {
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
    let mut put = |group: &str, values: &[(&str, Option<i64>)]| {
        for (name, value) in values {
            if let Some(value) = value {
                all.insert(format!("{group}.{name}"), *value);
            }
        }
    };
    for row in &report.tenders {
        put(
            &format!("tenders.{}", tender_name(row.kind())),
            &[
                ("taken", Some(row.taken)),
                ("returned", Some(row.returned)),
                ("net", Some(row.net)),
            ],
        );
    }
    for row in &report.drawers {
        let flows = [
            ("carried", Some(row.carried)),
            ("opening_difference", row.opening_difference),
            ("float", Some(row.float)),
            ("tendered", Some(row.tendered)),
            ("change", Some(row.change)),
            ("returned", Some(row.returned)),
            ("paid_in", Some(row.paid_in)),
            ("paid_out", Some(row.paid_out)),
            ("expected", Some(row.expected)),
            ("counted", row.counted),
            ("over_short", row.over_short),
        ];
        put(&format!("drawers.{}", row.drawer_id), &flows);
    }
    for (name, list) in [("items", &report.items), ("categories", &report.categories)] {
        if let Some(list) = list {
            let sums = [
                ("rows", Some(list.rows)),
                ("units", Some(list.count)),
                ("gross", Some(list.gross)),
                ("discount", Some(list.discount)),
                ("net", Some(list.net)),
                ("digest", Some(fingerprint(list))),
            ];
            put(name, &sums);
        }
    }
    if let Some(list) = &report.discounts {
        let sums = [
            ("rows", Some(list.rows)),
            ("count", Some(list.count)),
            ("amount", Some(list.discount)),
            ("digest", Some(fingerprint(list))),
        ];
        put("discounts", &sums);
    }
    for row in &report.hours {
        let amounts = [
            ("orders", Some(row.orders)),
            ("gross", Some(row.gross)),
            ("discount", Some(row.discount)),
            ("net", Some(row.net)),
        ];
        put(&format!("hours.{}", row.hour), &amounts);
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
    // A turnover counts nothing.
    if name != "turnover" {
        all.insert(format!("{name}.count"), block.count);
    }
    let amounts = [
        ("gross", block.gross),
        ("discount", block.discount),
        ("net", block.net),
        ("supply", block.supply),
        ("vat", block.vat),
    ];
    all.extend(amounts.map(|(figure, value)| (format!("{name}.{figure}"), value)));
    for tax in &block.taxes {
        let class = format!("{name}.taxes.{}@{}", tax.tax_class, tax.rate_bp);
        all.extend(
            [("net", tax.net), ("supply", tax.supply), ("vat", tax.vat)]
                .map(|(figure, value)| (format!("{class}.{figure}"), value)),
        );
    }
}
