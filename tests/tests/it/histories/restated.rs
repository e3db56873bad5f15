//! What the read model makes of a history's settlement.

use anyhow::{Context as _, Result, ensure};
use contract::api::query::{
    ExplainFigureRequest, GetSalesRequest, GetZReportRequest, ListZReportsRequest, SalesBasis,
    SalesRow, get_z_report_request::Key,
};
use contract::api::types::DayReport;
use contract::{ConsistencyToken, StoreId};
use doppio::clients::Clients;

use super::super::settlement::{figures, minor};

/// By day, and the total's net and VAT.
type Turnover = (Vec<(String, i64)>, i64, i64);

/// Over all days, what was turned over as closed is what was turned over as restated, and what the Zs say; and the figures of a Z are
/// explained by events that sum to them.
pub async fn restated(clients: &Clients, store: &StoreId, token: &ConsistencyToken) -> Result<()> {
    let mut client = clients.settlement.clone();
    let at_least = vec![token.to_string()];
    let mut reports = Vec::new();
    let mut request = ListZReportsRequest {
        store_id: store.to_string(),
        at_least: at_least.clone(),
        ..ListZReportsRequest::default()
    };
    loop {
        let page = client.list_z_reports(request.clone()).await?.into_inner();
        reports.extend(page.reports);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let net = |report: &DayReport| {
        minor(
            report
                .turnover
                .as_ref()
                .and_then(|block| block.net.as_ref()),
        )
    };
    let vat = |report: &DayReport| {
        minor(
            report
                .turnover
                .as_ref()
                .and_then(|block| block.vat.as_ref()),
        )
    };
    let (first, last) = reports.first().zip(reports.last()).context("a Z report")?;
    let sales = async |basis: SalesBasis| -> Result<Turnover> {
        let request = GetSalesRequest {
            store_ids: vec![store.to_string()],
            first_business_date: first.business_date.clone(),
            last_business_date: last.business_date.clone(),
            basis: basis.into(),
            at_least: at_least.clone(),
            ..GetSalesRequest::default()
        };
        let answer = clients
            .settlement
            .clone()
            .get_sales(request)
            .await?
            .into_inner();
        let of = |row: &SalesRow| {
            (
                minor(row.turnover_net.as_ref()),
                minor(row.turnover_vat.as_ref()),
            )
        };
        let total = answer.totals.first().map(of).unwrap_or_default();
        Ok((
            answer
                .rows
                .iter()
                .map(|row| (row.key.clone(), of(row).0))
                .collect(),
            total.0,
            total.1,
        ))
    };
    let (by_day, closed_net, closed_vat) = sales(SalesBasis::AsClosed).await?;
    let (restated_by_day, restated_net, restated_vat) = sales(SalesBasis::AsRestated).await?;
    let of_reports = (
        reports.iter().map(net).sum::<i64>(),
        reports.iter().map(vat).sum::<i64>(),
    );
    ensure!(
        of_reports == (closed_net, closed_vat) && of_reports == (restated_net, restated_vat),
        "{of_reports:?}, {closed_net}, {restated_net}"
    );
    ensure!(restated_by_day.iter().map(|(_, net)| net).sum::<i64>() == restated_net);
    for report in &reports {
        let day = by_day
            .iter()
            .find(|(date, _)| *date == report.business_date)
            .map_or(0, |(_, net)| *net);
        ensure!(
            day == net(report),
            "{}: {day}, not {}",
            report.business_date,
            net(report)
        );
    }
    for report in [&reports[reports.len() / 2], last] {
        let key = Key::ZNumber(report.z_number);
        let request = GetZReportRequest {
            store_id: store.to_string(),
            key: Some(key),
            at_least: at_least.clone(),
        };
        let lists = client.get_z_report(request).await?.into_inner().lists;
        for (figure, value) in figures(report, &lists.context("lists")?) {
            let request = ExplainFigureRequest {
                store_id: store.to_string(),
                business_date: report.business_date.clone(),
                figure: figure.clone(),
                page_size: 1_000,
                ..ExplainFigureRequest::default()
            };
            let answer = client.explain_figure(request).await?.into_inner();
            let sum: i64 = answer.facts.iter().map(|fact| fact.amount).sum();
            ensure!(
                (answer.value, answer.facts_total, sum) == (value, value, value),
                "{}, {figure}: {value}, {answer:?}",
                report.business_date
            );
        }
    }
    Ok(())
}
