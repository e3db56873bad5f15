//! Sales over dates and stores.

use contract::api::query::{
    GetSalesRequest, GetSalesResponse, SalesBasis as Basis, SalesGrouping as Grouping, SalesRow,
};
use contract::{BusinessDate, Fields, Money, Reason, Rejection};
use read_model::{MAX_SALES_ROWS, SalesBasis, SalesGrouping, SalesQuery, SalesSum};
use tokio::time::Instant;

use crate::error::QueryError;
use crate::figure::tender_name;
use crate::queries::Queries;
use crate::request::{by, freshness_of_all, stores, tokens, unknown_store};
use crate::sales::differing_day;

const MAX_STORES: usize = 1_000;
/// A leap year.
const MAX_DAYS: i32 = 366;

impl Queries {
    pub async fn sales_of(
        &self,
        request: GetSalesRequest,
        deadline: Instant,
    ) -> Result<GetSalesResponse, QueryError> {
        let query = sales_query(&request)?;
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let sales = by(deadline, self.settlement.sales(&query)).await?;
        if let Some(unknown) = query
            .stores
            .iter()
            .find(|store| !sales.stores.iter().any(|row| row.store == **store))
        {
            return Err(unknown_store(&*self.orders, unknown, deadline).await);
        }
        if sales.rows.len() > MAX_SALES_ROWS {
            let message = format!(
                "The answer has more than {MAX_SALES_ROWS} rows. Name fewer stores or days, or group by something else."
            );
            return Err(Rejection::new(Reason::InvalidArgument, message).into());
        }
        let key = |key: &str| match query.grouping {
            SalesGrouping::Tender => key.parse().map_or_else(|_| key.to_owned(), tender_name),
            SalesGrouping::Membership => membership_name(key).to_owned(),
            _ => key.to_owned(),
        };
        let mut rows = sales
            .rows
            .iter()
            .map(|row| sales_row(row, key(&row.key)))
            .collect::<Result<Vec<_>, _>>()?;
        rows.sort_by(|a, b| (&a.currency_code, &a.key).cmp(&(&b.currency_code, &b.key)));
        let mut totals = sales
            .totals
            .iter()
            .map(|row| sales_row(row, String::new()))
            .collect::<Result<Vec<_>, _>>()?;
        if matches!(
            query.grouping,
            SalesGrouping::Item | SalesGrouping::Category
        ) {
            for total in &mut totals {
                total.count = rows
                    .iter()
                    .filter(|row| row.currency_code == total.currency_code)
                    .try_fold(0_i64, |sum, row| sum.checked_add(row.count))
                    .ok_or(QueryError::Overflow)?;
            }
        }
        let differing_days = sales.differing.iter().map(differing_day).collect();
        Ok(GetSalesResponse {
            rows,
            totals,
            freshness: freshness_of_all(&sales.stores),
            differing_days,
        })
    }
}

fn sales_query(request: &GetSalesRequest) -> Result<SalesQuery, Rejection> {
    Fields::read(|fields| {
        let stores = stores(fields, &request.store_ids, MAX_STORES);
        let first = fields.take(
            "first_business_date",
            BusinessDate::parse(&request.first_business_date),
        );
        let last = fields.take(
            "last_business_date",
            BusinessDate::parse(&request.last_business_date),
        );
        let days = first
            .zip(last)
            .map(|(first, last)| (last.date() - first.date()).get_days());
        if days.is_some_and(|days| !(0..MAX_DAYS).contains(&days)) {
            fields.note(
                "last_business_date",
                format_args!(
                    "must be the first date or up to {} days after it",
                    MAX_DAYS - 1
                ),
            );
        }
        let grouping = match Grouping::try_from(request.group_by) {
            Ok(Grouping::Unspecified | Grouping::Day) => Ok(SalesGrouping::Day),
            Ok(Grouping::Store) => Ok(SalesGrouping::Store),
            Ok(Grouping::Item) => Ok(SalesGrouping::Item),
            Ok(Grouping::Category) => Ok(SalesGrouping::Category),
            Ok(Grouping::Hour) => Ok(SalesGrouping::Hour),
            Ok(Grouping::Tender) => Ok(SalesGrouping::Tender),
            Ok(Grouping::Membership) => Ok(SalesGrouping::Membership),
            Err(_) => Err(format!("{} is not a grouping", request.group_by)),
        };
        let grouping = fields.take("group_by", grouping);
        let basis = match Basis::try_from(request.basis) {
            Ok(Basis::Unspecified | Basis::AsClosed) => Ok(SalesBasis::AsClosed),
            Ok(Basis::AsRestated) => Ok(SalesBasis::AsRestated),
            Err(_) => Err(format!("{} is not a basis", request.basis)),
        };
        let basis = fields.take("basis", basis);
        Some(SalesQuery {
            stores,
            first: first?,
            last: last?,
            grouping: grouping?,
            basis: basis?,
        })
    })
}

fn sales_row(sum: &SalesSum, key: String) -> Result<SalesRow, QueryError> {
    let money = |minor| Some(sum.currency.amount(Money::new(minor)));
    let turnover = Money::new(sum.sales_net)
        .minus(Money::new(sum.returns_net))
        .map_err(|_| QueryError::Overflow)?;
    Ok(SalesRow {
        key,
        currency_code: sum.currency.to_string(),
        count: sum.count,
        sales_net: money(sum.sales_net),
        returns_net: money(sum.returns_net),
        turnover_net: money(turnover.minor()),
        turnover_vat: sum.turnover_vat.and_then(money),
    })
}

fn membership_name(outcome: &str) -> &'static str {
    match outcome {
        "1" => "member",
        "2" => "not_member",
        "3" => "unverified",
        _ => "none",
    }
}
