use contract::Reason;
use contract::api::admin::{GetProjectionStatusResponse, StreamProgress};
use runtime::Clock;

use super::doctor::{projection, silence};
use crate::clients::Clients;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, differing, quarantined};
use crate::row;
use crate::table::{Column, Table};

/// Shows the projection's progress; fails when the log has changed, nobody projects, a store is quarantined, or a day's figures are not
/// what was recorded.
pub async fn run(clients: Clients, format: Format) -> Result<(), Failure> {
    let answer = projection(&clients).await?;
    let now = Clock::system().now();
    let standing: Vec<_> = answer
        .streams
        .iter()
        .filter_map(|stream| Some((stream.stream, silence(stream, now)?)))
        .collect();
    format.print(&answer, |answer| {
        let streams = answer.streams.iter().map(|stream| {
            row![
                stream.stream.to_string(),
                &stream.owner,
                stream.generation.to_string(),
                stream.checkpoint.to_string(),
                stream.head.to_string(),
                stream.lag_records.to_string(),
                format!("{:.1}", stream.lag_seconds),
                stream.orphans.to_string(),
            ]
        });
        let columns = [
            Column::number("stream"),
            Column::id("owner").spare(1),
            Column::number("generation").spare(2),
            Column::number("checkpoint"),
            Column::number("head"),
            Column::number("lag\nrecords"),
            Column::number("lag\ns"),
            Column::number("orphans"),
        ];
        let mut text = Table::new(columns, streams).to_string();
        for (stream, silent) in &standing {
            text.push_str(&format!(
                "\nNOT PROJECTING, stream {stream}: nothing has been written for {} s; its lag is not known",
                silent.as_secs()
            ));
        }
        for stream in answer.streams.iter().filter(|stream| is_changed(stream)) {
            text.push_str(&format!(
                "\nLOG CHANGED, stream {}: {}",
                stream.stream, stream.log_changed
            ));
        }
        for store in &answer.quarantined {
            text.push_str(&format!(
                "\nQUARANTINED {} ({} records skipped)",
                quarantined(store),
                store.skipped_records
            ));
        }
        text + &differing(&answer.differing_days)
    })?;
    is_of_its_log(&answer)?;
    if !standing.is_empty() {
        return Err(Failure::new(
            ExitCode::CheckFailed,
            "no projector is at work; is one running, and is it well?",
        ));
    }
    match answer.quarantined.as_slice() {
        [] if answer.differing_days.is_empty() => Ok(()),
        [] => {
            let days = answer.differing_days.len();
            Err(Failure::new(
                ExitCode::CheckFailed,
                format!("{days} closed days have figures that the projection computes otherwise"),
            ))
        }
        stores => Err(Failure::new(
            ExitCode::CheckFailed,
            format!("{} of the stores are quarantined", stores.len()),
        )),
    }
}

/// Fails where the log is not the one any more that the read model was built from.
pub(super) fn is_of_its_log(status: &GetProjectionStatusResponse) -> Result<(), Failure> {
    if status.streams.iter().any(is_changed) {
        return Err(Failure::new(
            ExitCode::CheckFailed,
            format!("LOG_CHANGED: {}", Reason::LogChanged.meaning()),
        ));
    }
    Ok(())
}

fn is_changed(stream: &StreamProgress) -> bool {
    !stream.log_changed.is_empty()
}
