//! What proves that the log still holds what was acknowledged: where each ledger ended when it was last seen, kept beside the log.

use std::time::Duration;

use contract::StoreId;
use event_log::{EventLog, LedgerName, LogEpoch, LogError, RecordHash, Revision};
use futures::{TryStreamExt as _, stream};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::LedgerError;
use super::index::{CommandIndex, IndexError, unsigned};
use super::witnesses::Witness;

/// How often the latest witnesses are written: off the path of any answer.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// How long a ledger must look shorter than it was until that is believed: a new leader of the log may lag for a moment.
const LAG_PATIENCE: Duration = Duration::from_secs(3);
const LAG_PAUSE: Duration = Duration::from_millis(100);
/// Ledgers looked at at once.
const CHECKS_AT_ONCE: usize = 16;
/// Tables of the index that outlive an adoption of the log: they hold nothing of its records.
const KEPT_TABLES: [&str; 2] = ["secrets", "log"];

impl CommandIndex {
    /// The log that the index is of.
    async fn log(&self) -> Result<Option<LogEpoch>, IndexError> {
        let row = sqlx::query("SELECT log_id, epoch FROM log")
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(LogEpoch {
            log_id: Uuid::from_slice(row.try_get(0)?).map_err(|_| IndexError::Malformed)?,
            epoch: row.try_get(1)?,
        }))
    }

    async fn set_log(&self, epoch: LogEpoch) -> Result<(), IndexError> {
        sqlx::query("INSERT OR REPLACE INTO log (id, log_id, epoch) VALUES (1, ?1, ?2)")
            .bind(epoch.log_id.as_bytes().as_slice())
            .bind(epoch.epoch)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets everything that was derived from the log's earlier life.
    async fn begin_anew(&self, epoch: LogEpoch) -> Result<(), IndexError> {
        let mut transaction = self.pool.begin().await?;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@' AND name NOT LIKE '@_sqlx@_%' ESCAPE '@'",
        )
        .fetch_all(&mut *transaction)
        .await?;
        for table in tables
            .iter()
            .filter(|table| !KEPT_TABLES.contains(&table.as_str()))
        {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}")))
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("UPDATE log SET log_id = ?1, epoch = ?2")
            .bind(epoch.log_id.as_bytes().as_slice())
            .bind(epoch.epoch)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.snapshots.forget_all().await;
        Ok(())
    }

    /// The last record that was seen in a ledger, in this process or before it.
    pub(super) async fn witness(&self, store: &StoreId) -> Result<Option<Witness>, IndexError> {
        if let Some(witness) = self.witnesses.of(store) {
            return Ok(Some(witness));
        }
        let row = sqlx::query("SELECT revision, hash FROM witnesses WHERE store_id = ?1")
            .bind(store.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| witness(row.try_get(0)?, row.try_get(1)?))
            .transpose()
    }

    async fn all_witnesses(&self) -> Result<Vec<(StoreId, Witness)>, IndexError> {
        let rows = sqlx::query("SELECT store_id, revision, hash FROM witnesses ORDER BY store_id")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let store = StoreId::new(row.try_get(0)?).map_err(|_| IndexError::Malformed)?;
                Ok((store, witness(row.try_get(1)?, row.try_get(2)?)?))
            })
            .collect()
    }

    async fn add_witnesses(&self, witnesses: &[(StoreId, Witness)]) -> Result<(), IndexError> {
        let rows: Vec<_> = witnesses
            .iter()
            .map(|(store, witness)| {
                json!([
                    store.as_str(),
                    witness.revision.0,
                    hex::encode(witness.hash.0)
                ])
            })
            .collect();
        // Another process may have seen more of the ledger.
        sqlx::query(
            "INSERT INTO witnesses (store_id, revision, hash)
             SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?1) WHERE true
             ON CONFLICT (store_id) DO UPDATE SET revision = excluded.revision, hash = excluded.hash
             WHERE excluded.revision > revision",
        )
        .bind(json!(rows).to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes the witnesses that are not written yet.
    pub async fn write_witnesses(&self) -> Result<(), IndexError> {
        let unwritten = self.witnesses.unwritten();
        if !unwritten.is_empty() {
            self.add_witnesses(&unwritten).await?;
            self.witnesses.set_written(&unwritten);
        }
        Ok(())
    }

    /// Writes witnesses again and again, until `stop`, and then those that came last. Failing leaves them for the next time.
    pub async fn keep_witnesses(&self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let stopped = stop.is_cancelled();
            match self.write_witnesses().await {
                Ok(()) if failing => {
                    tracing::info!("the index is written again");
                    failing = false;
                }
                Err(error) if !failing => {
                    tracing::warn!(%error, "the index cannot be written; selling goes on, and it is tried again");
                    failing = true;
                }
                Ok(()) | Err(_) => {}
            }
            if stopped {
                return;
            }
            tokio::select! {
                () = sleep(WRITE_INTERVAL) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

fn witness(revision: i64, hash: Vec<u8>) -> Result<Witness, IndexError> {
    Ok(Witness {
        revision: Revision(unsigned(revision)?),
        hash: RecordHash(hash.try_into().map_err(|_| IndexError::Malformed)?),
    })
}

/// What a log is to an index.
enum Acquaintance {
    /// The one that the index was built from, or the first.
    Same,
    /// An operator has taken it up again since: what the index knows is of its earlier life.
    Adopted,
    Other(String),
}

fn acquaintance(known: Option<LogEpoch>, found: LogEpoch) -> Acquaintance {
    match known {
        None => Acquaintance::Same,
        Some(known) if known == found => Acquaintance::Same,
        Some(known) if known.log_id == found.log_id && known.epoch < found.epoch => {
            Acquaintance::Adopted
        }
        Some(known) => Acquaintance::Other(format!(
            "the index was built from log {known}, this is {found}; connect that log, or remove the index if this one is meant"
        )),
    }
}

/// Makes the index and the log acquainted: refuses a log that is not the one that the index was built from, or that has lost records
/// since, and then for every ledger. What the index knows of a life before an adoption is forgotten.
pub async fn acquaint(log: &dyn EventLog, index: &CommandIndex) -> Result<(), LedgerError> {
    let found = log.epoch();
    match acquaintance(index.log().await?, found) {
        Acquaintance::Same => index.set_log(found).await?,
        Acquaintance::Adopted => {
            tracing::info!(log = %found, "the log was adopted: the index of its earlier life is built again");
            index.begin_anew(found).await?;
        }
        Acquaintance::Other(detail) => return Err(log.distrust(detail).into()),
    }
    testify(log, index).await
}

/// Whether the log is the one that the index was built from and holds all that the index has seen in it. Changes nothing in the index.
pub async fn examine(log: &dyn EventLog, index: &CommandIndex) -> Result<(), LedgerError> {
    match acquaintance(index.log().await?, log.epoch()) {
        Acquaintance::Same => testify(log, index).await,
        Acquaintance::Adopted => Ok(()),
        Acquaintance::Other(detail) => Err(log.distrust(detail).into()),
    }
}

async fn testify(log: &dyn EventLog, index: &CommandIndex) -> Result<(), LedgerError> {
    stream::iter(index.all_witnesses().await?.into_iter().map(Ok))
        .try_for_each_concurrent(CHECKS_AT_ONCE, |(store, witness)| async move {
            match confirm(log, &store, witness).await {
                // A ledger of its own trouble, which opening it tells: it must not hide that another has lost records.
                Err(LedgerError::Log(
                    LogError::Broken { .. } | LogError::UpgradeRequired { .. },
                )) => Ok(()),
                other => other,
            }
        })
        .await
}

/// Whether a ledger still holds a record that was seen in it. A ledger that does not proves the whole log changed.
pub(super) async fn confirm(
    log: &dyn EventLog,
    store: &StoreId,
    witness: Witness,
) -> Result<(), LedgerError> {
    let name =
        LedgerName::new(store.as_str()).map_err(|error| LogError::Unusable(error.to_string()))?;
    let revision = witness.revision;
    let patience = Instant::now() + LAG_PATIENCE;
    loop {
        let found = match log.tip(&name).await? {
            Some(tip) if tip.chain.revision == revision => Some(tip.chain.hash),
            Some(tip) if tip.chain.revision > revision => log
                .read_one(&name, revision)
                .await?
                .map(|record| record.hash()),
            Some(_) | None => None,
        };
        match found {
            Some(hash) if hash == witness.hash => return Ok(()),
            Some(_) => {
                let detail = format!(
                    "revision {revision} of ledger {name} is another record than the one that was there"
                );
                return Err(log.distrust(detail).into());
            }
            None if Instant::now() >= patience => {
                let detail = format!("ledger {name} had revision {revision} and has it no longer");
                return Err(log.distrust(detail).into());
            }
            None => sleep(LAG_PAUSE).await,
        }
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
