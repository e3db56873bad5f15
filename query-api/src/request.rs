//! What all calls have in common: fields, tokens, deadlines, and what every answer says of its freshness.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use contract::api::types::{Freshness, OrderStatus, StoreQuarantine};
use contract::{
    BusinessDate, ConsistencyToken, Currency, Fields, Reason, Rejection, StoreId,
    timestamp_to_proto,
};
use event_log::{LogEpoch, Revision, StreamIndex};
use jiff::Timestamp;
use read_model::{OrderReader, Quarantine, SalesStore, StoreRow};
use runtime::{DeadlineLimits, deadline_of};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataMap;

use crate::error::QueryError;
use crate::wait::quarantined;

/// Of a read that names no deadline, and the longest that one may name.
pub(crate) const DEADLINES: DeadlineLimits = DeadlineLimits {
    default: Duration::from_secs(5),
    longest: Duration::from_secs(30),
};
/// What is kept of a deadline for the answer's way back: a tenth, within these bounds.
const SHORTEST_MARGIN: Duration = Duration::from_millis(10);
const LONGEST_MARGIN: Duration = Duration::from_millis(200);
const MAX_TOKENS: usize = 64;
/// Stores named in an answer's freshness.
const MAX_QUARANTINED: usize = 100;
/// When to read again from a model that has only just been begun.
const EMPTY_RETRY: Duration = Duration::from_millis(500);

/// Those of the stores named that are well-formed.
pub(crate) fn stores(fields: &mut Fields, named: &[String], most: usize) -> Vec<StoreId> {
    if named.len() > most {
        fields.note(
            "store_ids",
            format_args!("at most {most} stores; none means all"),
        );
    }
    let named = named.iter().take(most).enumerate();
    named
        .filter_map(|(index, store)| {
            fields.take(format_args!("store_ids[{index}]"), StoreId::new(store))
        })
        .collect()
}

/// A date that may be left out; none, too, where it is malformed.
pub(crate) fn date(fields: &mut Fields, field: &str, text: &str) -> Option<BusinessDate> {
    if text.is_empty() {
        None
    } else {
        fields.take(field, BusinessDate::parse(text))
    }
}

pub(crate) fn statuses(fields: &mut Fields, statuses: &[i32]) {
    for (index, status) in statuses.iter().enumerate() {
        if !matches!(OrderStatus::try_from(*status), Ok(status) if status != OrderStatus::Unspecified)
        {
            fields.note(
                format_args!("statuses[{index}]"),
                format_args!("{status} is not a status of orders"),
            );
        }
    }
}

pub(crate) fn tokens(at_least: &[String]) -> Result<Vec<ConsistencyToken>, QueryError> {
    if at_least.len() > MAX_TOKENS {
        let description = format!("at most {MAX_TOKENS} tokens");
        return Err(Rejection::field(Reason::InvalidArgument, "at_least", description).into());
    }
    let parse = |(index, text): (usize, &String)| {
        ConsistencyToken::parse(text).map_err(|error| {
            Rejection::field(
                Reason::MalformedConsistencyToken,
                format!("at_least[{index}]"),
                error.to_string(),
            )
            .into()
        })
    };
    at_least.iter().enumerate().map(parse).collect()
}

/// The instant by which an answer must have left to be there by the caller's deadline.
pub(crate) fn answer_by(metadata: &MetadataMap) -> Instant {
    let deadline = deadline_of(metadata, DEADLINES);
    let margin = (deadline.saturating_duration_since(Instant::now()) / 10)
        .clamp(SHORTEST_MARGIN, LONGEST_MARGIN);
    deadline.checked_sub(margin).unwrap_or(deadline)
}

pub(crate) async fn by<T, E: Into<QueryError>>(
    deadline: Instant,
    read: impl Future<Output = Result<T, E>>,
) -> Result<T, QueryError> {
    timeout_at(deadline, read)
        .await
        .map_err(|_| QueryError::Slow)?
        .map_err(Into::into)
}

/// A store without a currency has a ledger of which not even the first record could be applied.
pub(crate) fn known(store: &StoreRow) -> Result<Currency, QueryError> {
    store
        .currency
        .ok_or_else(|| quarantined(&store.store).into())
}

/// Why there is nothing to read of a store: of an empty model nothing can be said.
pub(crate) async fn unknown_store(
    orders: &dyn OrderReader,
    store: &StoreId,
    deadline: Instant,
) -> QueryError {
    match by(deadline, orders.stores_after(None, 1)).await {
        Ok(found) if found.is_empty() => {
            Rejection::new(Reason::NothingProjected, Reason::NothingProjected.meaning())
                .retry_after(EMPTY_RETRY)
                .into()
        }
        Ok(_) => Rejection::new(
            Reason::UnknownStore,
            format!("There is no store {store}, or it has not sold anything yet."),
        )
        .with("store_id", store)
        .into(),
        Err(error) => error,
    }
}

pub(crate) fn no_such_day(store: &StoreId) -> Rejection {
    Rejection::new(Reason::NoSuchDay, Reason::NoSuchDay.meaning()).with("store_id", store)
}

/// Of one store.
pub(crate) fn freshness(store: &StoreRow, epoch: Option<LogEpoch>) -> Option<Freshness> {
    let epoch = epoch?;
    let token = ConsistencyToken {
        log_id: epoch.log_id,
        epoch: epoch.epoch,
        store: store.store.clone(),
        revision: store.revision().0,
    };
    let quarantined: Vec<_> = store
        .quarantine
        .iter()
        .map(|quarantine| stands_still(&store.store, store.revision(), quarantine))
        .collect();
    Some(Freshness {
        consistency_token: token.to_string(),
        as_of: store.recorded_at().map(timestamp_to_proto),
        quarantined_count: count(quarantined.len()),
        quarantined,
    })
}

/// Of several stores, which has no token.
pub(crate) fn freshness_of_all(stores: &[SalesStore]) -> Option<Freshness> {
    let consistency_token = match stores {
        [row] => row.epoch.map_or_else(String::new, |epoch| {
            ConsistencyToken {
                log_id: epoch.log_id,
                epoch: epoch.epoch,
                store: row.store.clone(),
                revision: row.revision.0,
            }
            .to_string()
        }),
        _ => String::new(),
    };
    let still: Vec<_> = stores
        .iter()
        .filter_map(|row| Some((row, row.quarantine.as_ref()?)))
        .collect();
    let quarantined = still
        .iter()
        .take(MAX_QUARANTINED)
        .map(|(row, quarantine)| stands_still(&row.store, row.revision, quarantine))
        .collect();
    (!stores.is_empty()).then_some(Freshness {
        consistency_token,
        as_of: as_of(stores).map(timestamp_to_proto),
        quarantined_count: count(still.len()),
        quarantined,
    })
}

/// The instant before which nothing is missing. A stream hands over the facts of its stores in order: where one is behind, its newest fact
/// counts; streams that are not have nothing to hand over, however long ago their stores sold anything.
fn as_of(stores: &[SalesStore]) -> Option<Timestamp> {
    let going: Vec<_> = stores
        .iter()
        .filter(|row| row.quarantine.is_none())
        .collect();
    if going.is_empty() {
        return stores.iter().filter_map(|row| row.recorded_at).max();
    }
    let mut behind: BTreeMap<StreamIndex, Timestamp> = BTreeMap::new();
    for row in going.iter().filter(|row| row.behind) {
        if let Some(at) = row.recorded_at {
            let newest = behind.entry(row.stream).or_insert(at);
            *newest = at.max(*newest);
        }
    }
    let newest = going.iter().filter_map(|row| row.recorded_at).max();
    behind.into_values().min().or(newest)
}

fn stands_still(store: &StoreId, revision: Revision, quarantine: &Quarantine) -> StoreQuarantine {
    StoreQuarantine {
        store_id: store.to_string(),
        revision: i64::try_from(revision.0).unwrap_or(i64::MAX),
        reason: quarantine.reason.clone(),
        quarantine_time: Some(timestamp_to_proto(quarantine.at)),
        skipped_records: i64::try_from(quarantine.skipped).unwrap_or(i64::MAX),
    }
}

fn count(stores: usize) -> i32 {
    i32::try_from(stores).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str, stream: u16, minute: i64, behind: bool) -> SalesStore {
        SalesStore {
            store: StoreId::new(name).unwrap(),
            stream: StreamIndex(stream),
            revision: Revision(7),
            recorded_at: Some(Timestamp::from_second(minute * 60).unwrap()),
            epoch: None,
            quarantine: None,
            behind,
        }
    }

    fn still(row: SalesStore) -> SalesStore {
        let quarantine = Quarantine {
            reason: "revision 8: broken".into(),
            revision: Revision(8),
            at: Timestamp::UNIX_EPOCH,
            skipped: 2,
        };
        SalesStore {
            quarantine: Some(quarantine),
            ..row
        }
    }

    fn minutes(stores: &[SalesStore]) -> Option<i64> {
        as_of(stores).map(|at| at.as_second() / 60)
    }

    #[test]
    fn an_idle_store_does_not_make_a_chain_older() {
        let (idle, busy) = (store("a", 0, 1, false), store("b", 1, 500, false));
        assert_eq!(minutes(&[idle.clone(), busy.clone()]), Some(500));
        // In one stream with a busy one, of which more is to come.
        assert_eq!(
            minutes(&[store("a", 0, 1, true), store("b", 0, 500, true)]),
            Some(500)
        );
        // A stream that is behind is what is missing.
        assert_eq!(minutes(&[idle, busy, store("c", 2, 300, true)]), Some(300));
    }

    #[test]
    fn a_store_that_stands_still_is_named_and_holds_up_nobody() {
        let (stuck, busy) = (still(store("a", 0, 3, true)), store("b", 1, 500, false));
        assert_eq!(minutes(&[stuck.clone(), busy.clone()]), Some(500));
        assert_eq!(minutes(std::slice::from_ref(&stuck)), Some(3));
        let freshness = freshness_of_all(&[stuck, busy]).unwrap();
        assert_eq!(freshness.quarantined_count, 1);
        let named = &freshness.quarantined[0];
        assert_eq!(
            (
                named.store_id.as_str(),
                named.revision,
                named.skipped_records
            ),
            ("a", 7, 2)
        );
    }

    #[test]
    fn many_that_stand_still_are_counted() {
        let stores: Vec<_> = (0..250)
            .map(|number| still(store(&format!("s{number}"), 0, 1, false)))
            .collect();
        let freshness = freshness_of_all(&stores).unwrap();
        assert_eq!(
            (freshness.quarantined.len(), freshness.quarantined_count),
            (MAX_QUARANTINED, 250)
        );
    }
}
