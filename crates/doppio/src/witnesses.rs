//! Whether a log holds what was seen in it: by ordering's index, and by the read model.

use std::path::Path;

use event_log::{EventLog, LedgerName, LogError};
use ordering::ledger::{CommandIndex, LedgerError, examine};
use read_model::{ReadModelError, Readers};

/// Stores read at once.
const PAGE: u32 = 500;

/// What is wrong with a log, by a witness that knows; `None` when all that was seen in it is in it.
pub async fn by_index(log: &dyn EventLog, index: &Path) -> anyhow::Result<Option<String>> {
    if !index.exists() {
        return Ok(None);
    }
    match examine(log, &CommandIndex::open(index).await?).await {
        Ok(()) => Ok(None),
        Err(LedgerError::Log(LogError::Changed(detail))) => Ok(Some(detail)),
        Err(error) => Err(error.into()),
    }
}

/// Looks for the last record of every store, and for the record at every stream's checkpoint.
pub async fn by_read_model(
    log: &dyn EventLog,
    readers: &Readers,
) -> anyhow::Result<Option<String>> {
    let status = match readers.projection.status().await {
        Ok(status) => status,
        // Nothing was ever projected.
        Err(ReadModelError::Schema(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    for stream in status
        .streams
        .iter()
        .filter_map(|row| row.checkpoint().map(|checkpoint| (row.stream, checkpoint)))
    {
        let (stream, checkpoint) = stream;
        if checkpoint.epoch != log.epoch() {
            return Ok(Some(format!(
                "the read model was built from log {}, this is {}; remove it and it is built again, or connect the log that it was built from",
                checkpoint.epoch,
                log.epoch()
            )));
        }
        match log.subscribe(stream, Some(&checkpoint)).await {
            Ok(_) => {}
            Err(LogError::Changed(detail)) => return Ok(Some(detail)),
            Err(error) => return Err(error.into()),
        }
    }
    let mut after = None;
    loop {
        let rows = readers.orders.stores_after(after.as_ref(), PAGE).await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        after = Some(last.store.clone());
        for row in &rows {
            let Some(chain) = row.chain else { continue };
            let ledger = LedgerName::new(row.store.as_str())?;
            let record = match log.read_one(&ledger, chain.revision).await {
                Ok(record) => record,
                // A store of its own trouble, which its projection tells.
                Err(LogError::Broken { .. } | LogError::UpgradeRequired { .. }) => continue,
                Err(LogError::Changed(detail)) => return Ok(Some(detail)),
                Err(error) => return Err(error.into()),
            };
            if record.is_none_or(|record| record.hash() != chain.hash) {
                let detail = format!(
                    "ledger {ledger} had revision {} when it was projected, and has another record or none there",
                    chain.revision
                );
                return Ok(Some(detail));
            }
        }
    }
}
