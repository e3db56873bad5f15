//! Sums over facts, by whatever they are grouped.

use std::fmt::Write as _;

use super::joins;
use crate::settlement::{MAX_SALES_ROWS, SalesBasis, SalesGrouping, SalesQuery};

/// A statement for the rows, or without grouping for the `total`: of stores `$1` unless `$4` is 0, dates `$2` to `$3`. Made of nothing but
/// this module's texts.
pub(super) fn sums(query: &SalesQuery, total: bool) -> String {
    let date = match query.basis {
        SalesBasis::AsClosed => "business_date",
        SalesBasis::AsRestated => "sale_business_date",
    };
    let orders_placed = "SUM(CASE WHEN f.kind = 1 THEN 1 ELSE 0 END)";
    let (key, join, count, amounts) = match query.grouping {
        _ if total => ("''", "", orders_placed, "f"),
        SalesGrouping::Day => (
            if date == "business_date" {
                "f.business_date"
            } else {
                "f.sale_business_date"
            },
            "",
            orders_placed,
            "f",
        ),
        SalesGrouping::Store => ("f.store_id", "", orders_placed, "f"),
        SalesGrouping::Hour => (
            "substr(f.hour, 12, 2) || CASE f.hour_repeated WHEN 0 THEN '' ELSE ' repeated' END",
            "",
            orders_placed,
            "f",
        ),
        SalesGrouping::Item => (
            "l.sku",
            joins::LINES,
            "SUM(CASE WHEN f.kind = 1 THEN l.quantity ELSE 0 END)",
            "l",
        ),
        SalesGrouping::Category => (
            "l.category",
            joins::LINES,
            "SUM(CASE WHEN f.kind = 1 THEN l.quantity ELSE 0 END)",
            "l",
        ),
        SalesGrouping::Membership => (
            "CAST(o.membership AS TEXT)",
            joins::ORDERS,
            orders_placed,
            "f",
        ),
        // An order may be paid with two cards.
        SalesGrouping::Tender => (
            "CAST(t.kind AS TEXT)",
            joins::TENDERS,
            "COUNT(DISTINCT CASE WHEN f.kind = 1 THEN f.order_id END)",
            "t",
        ),
    };
    let mut sql = format!(
        "SELECT s.currency AS currency, {key} AS sales_key, CAST({count} AS BIGINT) AS placed, "
    );
    // Writing to a string does not fail.
    let _ = match amounts {
        "t" => write!(
            sql,
            "CAST(SUM(t.taken) AS BIGINT) AS sales_net, CAST(SUM(t.returned) AS BIGINT) AS returns_net, \
                 CAST(NULL AS BIGINT) AS turnover_vat"
        ),
        of => write!(
            sql,
            "CAST(SUM(CASE WHEN f.kind = 1 THEN {of}.net ELSE 0 END) AS BIGINT) AS sales_net, \
                 CAST(SUM(CASE WHEN f.kind = 1 THEN 0 ELSE {of}.net END) AS BIGINT) AS returns_net, \
                 CAST(SUM(CASE WHEN f.kind = 1 THEN {of}.vat ELSE -{of}.vat END) AS BIGINT) AS turnover_vat"
        ),
    };
    let _ = write!(
        sql,
        " FROM stores s JOIN facts f ON f.store_id = s.store_id AND f.{date} BETWEEN $2 AND $3 {join} \
             WHERE s.currency <> '' \
             AND (CAST($4 AS BIGINT) = 0 OR s.store_id IN (SELECT k.value ->> 0 FROM EACH_OF($1) k)) GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {}",
        MAX_SALES_ROWS + 1
    );
    sql
}
