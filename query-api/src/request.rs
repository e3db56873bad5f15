//! What all calls have in common: fields, tokens, deadlines, and what every answer says of its freshness.

use std::future::Future;
use std::time::Duration;

use contract::api::types::{Freshness, OrderStatus};
use contract::{
    BusinessDate, ConsistencyToken, Currency, Reason, Rejection, StoreId, Violation,
    timestamp_to_proto,
};
use event_log::LogEpoch;
use read_model::{SalesStore, StoreRow};
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
/// Gathers what is wrong with a request's fields, so that all of it is said at once.
#[derive(Default)]
pub(crate) struct Fields {
    pub violations: Vec<Violation>,
}

impl Fields {
    pub fn check<T>(&mut self, field: Result<T, Violation>) -> Option<T> {
        field
            .map_err(|violation| self.violations.push(violation))
            .ok()
    }

    pub fn take<T, E: std::fmt::Display>(&mut self, name: &str, value: Result<T, E>) -> Option<T> {
        self.check(value.map_err(|error| Violation {
            field: name.to_owned(),
            description: error.to_string(),
        }))
    }

    pub fn store(&mut self, text: &str) -> Option<StoreId> {
        self.take("store_id", StoreId::new(text))
    }

    /// Those of the stores named that are well-formed.
    pub fn stores(&mut self, named: &[String], most: usize) -> Vec<StoreId> {
        if named.len() > most {
            let description = format!("at most {most} stores; none means all");
            self.violations.push(Violation {
                field: "store_ids".into(),
                description,
            });
        }
        let named = named.iter().take(most).enumerate();
        named
            .filter_map(|(index, store)| {
                self.take(&format!("store_ids[{index}]"), StoreId::new(store))
            })
            .collect()
    }

    /// `Some(None)`: none is named.
    pub fn date(&mut self, name: &str, text: &str) -> Option<Option<BusinessDate>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.take(name, BusinessDate::parse(text)).map(Some)
        }
    }

    pub fn statuses(&mut self, statuses: &[i32]) -> Option<Vec<i32>> {
        for (index, status) in statuses.iter().enumerate() {
            if !matches!(OrderStatus::try_from(*status), Ok(status) if status != OrderStatus::Unspecified)
            {
                let description = format!("{status} is not a status of orders");
                self.violations.push(Violation {
                    field: format!("statuses[{index}]"),
                    description,
                });
            }
        }
        Some(statuses.to_vec())
    }

    pub fn all<T>(self, values: Option<T>) -> Result<T, QueryError> {
        match (Rejection::invalid(self.violations), values) {
            (None, Some(values)) => Ok(values),
            (Some(rejection), _) => Err(rejection.into()),
            (None, None) => {
                Err(Rejection::new(Reason::InvalidArgument, "The request is malformed.").into())
            }
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

pub(crate) fn unknown_store(store: &StoreId) -> Rejection {
    Rejection::new(
        Reason::UnknownStore,
        format!("There is no store {store}, or it has not sold anything yet."),
    )
    .with("store_id", store)
}

pub(crate) fn no_such_day(store: &StoreId) -> Rejection {
    Rejection::new(Reason::NoSuchDay, Reason::NoSuchDay.meaning()).with("store_id", store)
}

pub(crate) fn freshness(store: &StoreRow, epoch: Option<LogEpoch>) -> Option<Freshness> {
    let epoch = epoch?;
    let token = ConsistencyToken {
        log_id: epoch.log_id,
        epoch: epoch.epoch,
        store: store.store.clone(),
        revision: store.revision().0,
    };
    Some(Freshness {
        consistency_token: token.to_string(),
        as_of: store.recorded_at().map(timestamp_to_proto),
    })
}

/// Of several stores: no token, and the instant of the one furthest behind.
pub(crate) fn freshness_of_all(stores: &[SalesStore]) -> Option<Freshness> {
    let as_of = stores
        .iter()
        .filter_map(|row| row.recorded_at)
        .min()
        .map(timestamp_to_proto);
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
    (!stores.is_empty()).then_some(Freshness {
        consistency_token,
        as_of,
    })
}
