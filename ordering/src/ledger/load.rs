use std::sync::Arc;

use contract::{OrderId, StoreId};
use event_log::{ChainState, EventLog, LedgerName, LogError, Record, Revision, Tip};

use super::{CommandIndex, Ledger, LedgerError, Recent, fold};
use crate::domain::{OrderState, StoreState};

/// Records read at once.
const PAGE: usize = 512;
/// Commands gathered before they are written to the index.
const INDEX_BATCH: usize = 20_000;

impl Ledger {
    /// Loads a store's ledger: folds from its last close, and brings the index up to there.
    pub async fn open(
        log: Arc<dyn EventLog>,
        index: CommandIndex,
        store_id: StoreId,
    ) -> Result<Self, LedgerError> {
        let name = LedgerName::new(store_id.as_str())
            .map_err(|error| LogError::Unusable(error.to_string()))?;
        let mut ledger = Self {
            log,
            index,
            store_id,
            name,
            state: StoreState::default(),
            tip: None,
            recent: Recent::default(),
            indexed: false,
        };
        let Some(tip) = ledger.log.tip(&ledger.name).await? else {
            // An index that knows the ledger is a witness of records that the log has lost.
            if ledger.index.stamp(&ledger.store_id).await?.is_some() {
                return Err(LogError::Changed(format!(
                    "ledger {} had records and has none",
                    ledger.name
                ))
                .into());
            }
            return Ok(ledger);
        };
        let mut chain = ledger.index_up_to(tip.fold_from).await?;
        ledger.indexed = chain.is_some();
        loop {
            let records = ledger.log.read(&ledger.name, chain.as_ref(), PAGE).await?;
            let Some(last) = records.last() else { break };
            chain = Some(ChainState::after(last));
            for record in &records {
                ledger.take_in(record)?;
            }
        }
        if chain.map(|chain| chain.revision) < Some(tip.chain.revision) {
            return Err(LogError::Unavailable(format!(
                "ledger {} could not be read to its end",
                ledger.name
            ))
            .into());
        }
        ledger.refresh_tip().await?;
        Ok(ledger)
    }

    /// Reads what other instances have appended.
    pub(super) async fn catch_up(&mut self) -> Result<usize, LedgerError> {
        let mut count = 0;
        loop {
            let chain = self.tip.map(|tip| tip.chain);
            let records = self.log.read(&self.name, chain.as_ref(), PAGE).await?;
            if records.is_empty() {
                break;
            }
            count += records.len();
            for record in &records {
                let before = self.tip.map(|tip| tip.chain);
                self.take_in(record)?;
                if let Some(before) = before
                    && record.header().fold_from == record.revision()
                {
                    self.move_to_index(&before).await;
                }
            }
        }
        self.refresh_tip().await?;
        Ok(count)
    }

    /// Whether the ledger still ends where this state does.
    pub(super) async fn is_current(&self) -> Result<bool, LedgerError> {
        let tip = self.log.tip(&self.name).await?;
        Ok(tip.map(|tip| tip.chain) == self.tip.map(|tip| tip.chain))
    }

    fn take_in(&mut self, record: &Record) -> Result<(), LedgerError> {
        let payload = fold::decode(record)?;
        fold::evolve(&mut self.state, record, &payload)?;
        fold::note(&mut self.recent, record.revision().0, &payload);
        self.state.forget_touched();
        let position = self.tip.map(|tip| tip.position).unwrap_or_default();
        self.tip = Some(Tip {
            chain: ChainState::after(record),
            fold_from: record.header().fold_from,
            position,
        });
        Ok(())
    }

    /// The log's own word on the last record; only it knows the position that an append is compared with.
    async fn refresh_tip(&mut self) -> Result<(), LedgerError> {
        let tip = self.log.tip(&self.name).await?;
        let own = self.tip.map(|tip| tip.chain.revision).unwrap_or_default();
        match tip {
            Some(tip) if self.tip.is_some_and(|own| own.chain == tip.chain) => {
                self.tip = Some(tip);
                Ok(())
            }
            // Somebody has gone on appending meanwhile: the next append will say so.
            Some(tip) if tip.chain.revision > own => Ok(()),
            None if self.tip.is_none() => Ok(()),
            _ => Err(LogError::Changed(format!(
                "ledger {} had revision {own} and no longer ends with it",
                self.name
            ))
            .into()),
        }
    }

    /// Indexes the records before `fold_from` that are not indexed yet. Returns the place in the chain before `fold_from`.
    async fn index_up_to(
        &mut self,
        fold_from: Revision,
    ) -> Result<Option<ChainState>, LedgerError> {
        let before = Revision(fold_from.0.saturating_sub(1));
        let mut chain = self.index.stamp(&self.store_id).await?;
        if let Some(stamp) = chain {
            let there = self.log.read_one(&self.name, stamp.revision).await?;
            match there {
                Some(record) if record.hash() == stamp.hash => {}
                Some(_) => {
                    tracing::warn!(store = %self.store_id, "the command index is of another log; building it again");
                    self.index.forget(&self.store_id).await?;
                    chain = None;
                }
                None => {
                    return Err(LogError::Changed(format!(
                        "ledger {} had revision {} and has it no longer",
                        self.name, stamp.revision
                    ))
                    .into());
                }
            }
        }
        if before == Revision::NONE {
            return Ok(None);
        }
        if chain.is_some_and(|chain| chain.revision >= before) {
            // Indexed beyond the close that is folded from: the place in the chain is read from the record itself.
            let record = self.log.read_one(&self.name, before).await?;
            let record = record.ok_or_else(|| {
                LogError::Changed(format!(
                    "ledger {} no longer has revision {before}",
                    self.name
                ))
            })?;
            return Ok(Some(ChainState::after(&record)));
        }
        let mut recent = Recent::default();
        while chain.map_or(Revision::NONE, |chain| chain.revision) < before {
            let records = self.log.read(&self.name, chain.as_ref(), PAGE).await?;
            if records.is_empty() {
                return Err(LogError::Unavailable(format!(
                    "ledger {} could not be read up to revision {before}",
                    self.name
                ))
                .into());
            }
            for record in records
                .iter()
                .take_while(|record| record.revision() <= before)
            {
                fold::note(&mut recent, record.revision().0, &fold::decode(record)?);
                chain = Some(ChainState::after(record));
            }
            if let Some(stamp) = &chain
                && (recent.commands.len() >= INDEX_BATCH || stamp.revision == before)
            {
                self.index
                    .add(&self.store_id, &std::mem::take(&mut recent), stamp)
                    .await?;
            }
        }
        Ok(chain)
    }

    /// After a close at `fold_from`: moves what lies before it from memory to the index. Failing leaves it in memory.
    pub(super) async fn move_to_index(&mut self, stamp: &ChainState) {
        if let Err(error) = self.index.add(&self.store_id, &self.recent, stamp).await {
            tracing::error!(store = %self.store_id, %error, "commands stay in memory");
            return;
        }
        self.indexed = true;
        let through = stamp.revision.0;
        self.recent
            .commands
            .retain(|_, entry| entry.revision > through);
        self.recent.orders.retain(|_, revisions| {
            revisions.retain(|revision| *revision > through);
            !revisions.is_empty()
        });
    }

    /// An order, from memory or folded from the records that speak of it. `None`: the ledger has no such order.
    pub(super) async fn order(
        &mut self,
        id: OrderId,
    ) -> Result<Option<Arc<OrderState>>, LedgerError> {
        if let Some(order) = self.state.order(id) {
            return Ok(Some(order.clone()));
        }
        let mut revisions = if self.indexed {
            self.index.order_records(&self.store_id, id).await?
        } else {
            Vec::new()
        };
        revisions.extend(self.recent.orders.get(&id).into_iter().flatten());
        revisions.sort_unstable();
        revisions.dedup();
        // An index beyond this ledger's fold knows records that are not ours to see yet.
        let last = self.revision();
        let mut order = None;
        for revision in revisions.into_iter().filter(|revision| *revision <= last) {
            let record = self.log.read_one(&self.name, Revision(revision)).await?;
            let record = record.ok_or_else(|| {
                LogError::Changed(format!(
                    "ledger {} no longer has revision {revision}",
                    self.name
                ))
            })?;
            order = fold::fold_order(order, id, &record)?;
        }
        Ok(order.map(Arc::new))
    }
}
