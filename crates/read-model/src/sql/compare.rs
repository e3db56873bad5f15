//! How far two generations are, store by store.

use std::collections::BTreeMap;

use sqlx::FromRow;
use uuid::Uuid;

use super::database::Database;
use super::words;
use crate::error::ReadModelError;

/// Stores compared at once.
const PAGE: i64 = 500;
const STORES_AFTER: &str = "SELECT store_id, revision, quarantine_reason FROM stores WHERE store_id > $1 ORDER BY store_id LIMIT $2";
const STORES_OF: &str = "SELECT s.store_id, s.revision, s.quarantine_reason FROM EACH_OF($1) k CROSS JOIN stores s \
     WHERE s.store_id = k.value ->> 0";
const LOGS: &str = "SELECT DISTINCT log_id, epoch FROM checkpoints WHERE position > 0";
const STREAMS_BEHIND: &str =
    "SELECT CAST(COUNT(*) AS BIGINT) FROM checkpoints WHERE position < head OR looks = 0";

#[derive(FromRow)]
struct StoreSight {
    store_id: String,
    revision: i64,
    quarantine_reason: String,
}

/// Whether one generation has every store at least as far as another one, unless both have quarantined it. Of another log nothing can be
/// compared: then it has to be level with its own.
pub(super) async fn is_as_far(before: &Database, now: &Database) -> Result<bool, ReadModelError> {
    let mut reading_before = before.reports().await?;
    let mut reading_now = now.reports().await?;
    let logs: Vec<(Uuid, i64)> = reading_before.query(LOGS).all().await?;
    let own_logs: Vec<(Uuid, i64)> = reading_now.query(LOGS).all().await?;
    if !logs.is_empty() && !own_logs.is_empty() && logs != own_logs {
        let (behind,): (i64,) = reading_now.query(STREAMS_BEHIND).one().await?;
        return Ok(behind == 0);
    }
    let mut after = String::new();
    loop {
        let page = reading_before.query(STORES_AFTER).bind(&after).bind(PAGE);
        let page: Vec<StoreSight> = page.all().await?;
        let Some(last) = page.last() else {
            return Ok(true);
        };
        after = last.store_id.clone();
        let keys = words::texts(page.iter().map(|store| store.store_id.clone()));
        let found = reading_now.query(now.words(STORES_OF)).bind(keys);
        let found: Vec<StoreSight> = found.all().await?;
        let found: BTreeMap<&str, &StoreSight> = found
            .iter()
            .map(|store| (store.store_id.as_str(), store))
            .collect();
        let is_as_far = |store: &StoreSight| {
            found.get(store.store_id.as_str()).is_some_and(|own| {
                let stands = |sight: &StoreSight| !sight.quarantine_reason.is_empty();
                own.revision >= store.revision || (stands(own) && stands(store))
            })
        };
        // A store of which nothing was ever applied need not be there.
        if !page
            .iter()
            .all(|store| store.revision == 0 || is_as_far(store))
        {
            return Ok(false);
        }
    }
}
