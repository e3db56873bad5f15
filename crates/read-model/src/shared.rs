//! What both backends say in the same words: one text of each statement, so that they cannot drift apart.

use event_log::RecordHash;
use jiff::Timestamp;

use crate::error::ReadModelError;

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64, column: &str) -> Result<u64, ReadModelError> {
    u64::try_from(value).map_err(|_| ReadModelError::Corrupt(format!("{column} is negative")))
}

pub(crate) fn hash(bytes: &[u8], column: &str) -> Result<RecordHash, ReadModelError> {
    bytes
        .try_into()
        .map(RecordHash)
        .map_err(|_| ReadModelError::Corrupt(format!("{column} has {} bytes, not 32", bytes.len())))
}

pub(crate) fn instant(us: i64, column: &str) -> Result<Timestamp, ReadModelError> {
    Timestamp::from_microsecond(us)
        .map_err(|_| ReadModelError::Corrupt(format!("{column} is out of range")))
}

pub(crate) fn corrupt(column: &'static str) -> impl Fn(&dyn std::fmt::Display) -> ReadModelError {
    move |error| ReadModelError::Corrupt(format!("{column}: {error}"))
}

/// Names of stores, or other text without quotes to worry about, as a JSON array.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, ReadModelError> {
    serde_json::to_string(value).map_err(|error| ReadModelError::Corrupt(error.to_string()))
}

macro_rules! live {
    () => {
        "(SELECT generation FROM live_generations WHERE projection = 'sales')"
    };
}

macro_rules! store_columns {
    () => {
        "s.store_id, s.stream, s.ledger_id, s.revision, s.hash, s.recorded_at_us, s.currency, s.time_zone, s.cutoff_minutes, s.name, \
         s.latest_date, s.day_open, s.z_number, s.z_hash, s.document_number, s.open_orders, s.completed_between, s.grand_total_sales, s.grand_total_returns, \
         s.quarantine_reason, s.quarantine_revision, s.quarantined_at_us, s.skipped_records"
    };
}

macro_rules! store_and_epoch {
    () => {
        " FROM stores s LEFT JOIN checkpoints c ON c.projection = 'sales' AND c.generation = s.generation AND c.stream = s.stream "
    };
}

macro_rules! day_columns {
    () => {
        "d.store_id AS d_store_id, d.business_date AS d_date, d.state AS d_state, d.time_zone AS d_time_zone, d.start_at_us AS d_start, \
         d.end_at_us AS d_end, d.closed_at_us AS d_closed, d.z_number AS d_z_number, d.revision AS d_revision, d.body AS d_body, \
         d.recorded AS d_recorded, d.differences AS d_differences, d.figures AS d_figures"
    };
}

macro_rules! stream_columns {
    () => {
        "generation, stream, log_id, epoch, position, hash, head, lag_us, orphans, owner, term, beat, looks, \
         log_changed, updated_at_us"
    };
}

/// Both traits for a backend with pools `reads`, `reports` and `writes`, and methods `commit_batch`, `stored_orders`, `stored_days`, `stored_lists` and `told`.
/// `$list` turns the JSON array in `$1` into rows; `$list2` the one in `$2`.
macro_rules! backend {
    ($model:ident, $row:ty, $list:literal, $list2:literal) => {
        fn stream_row(row: &$row) -> Result<StreamRow, ReadModelError> {
            Ok(StreamRow {
                generation: Generation(row.try_get("generation")?),
                stream: StreamIndex(u16::try_from(row.try_get::<i64, _>("stream")?).map_err(|error| corrupt("stream")(&error))?),
                epoch: epoch(row)?.ok_or_else(|| ReadModelError::Corrupt("log_id is null".into()))?,
                position: Position(unsigned(row.try_get("position")?, "position")?),
                hash: hash(row.try_get("hash")?, "hash")?,
                head: Position(unsigned(row.try_get("head")?, "head")?),
                lag_us: row.try_get("lag_us")?,
                orphans: unsigned(row.try_get("orphans")?, "orphans")?,
                owner: row.try_get("owner")?,
                term: unsigned(row.try_get("term")?, "term")?,
                beat: unsigned(row.try_get("beat")?, "beat")?,
                looks: unsigned(row.try_get("looks")?, "looks")?,
                log_changed: row.try_get("log_changed")?,
                updated_at: instant(row.try_get("updated_at_us")?, "updated_at_us")?,
            })
        }

        fn epoch(row: &$row) -> Result<Option<LogEpoch>, ReadModelError> {
            let (Some(log_id), Some(epoch)) = (row.try_get::<Option<Uuid>, _>("log_id")?, row.try_get::<Option<i64>, _>("epoch")?) else {
                return Ok(None);
            };
            Ok(Some(LogEpoch { log_id, epoch: u32::try_from(epoch).map_err(|error| corrupt("epoch")(&error))? }))
        }

        fn date(text: &str) -> Result<Option<BusinessDate>, ReadModelError> {
            if text.is_empty() {
                return Ok(None);
            }
            BusinessDate::parse(text).map(Some).map_err(|error| corrupt("business_date")(&error))
        }

        fn store_row(row: &$row) -> Result<StoreRow, ReadModelError> {
            let recorded_at_us: i64 = row.try_get("recorded_at_us")?;
            let chain = match row.try_get::<Option<Uuid>, _>("ledger_id")? {
                Some(ledger_id) => Some(ChainState {
                    ledger_id,
                    revision: Revision(unsigned(row.try_get("revision")?, "revision")?),
                    hash: hash(row.try_get("hash")?, "hash")?,
                    recorded_at_us,
                }),
                None => None,
            };
            let currency: &str = row.try_get("currency")?;
            let currency = match currency {
                "" => None,
                code => Some(Currency::new(code).map_err(|error| corrupt("currency")(&error))?),
            };
            let reason: String = row.try_get("quarantine_reason")?;
            let quarantine = match reason.is_empty() {
                true => None,
                false => Some(Quarantine {
                    reason,
                    revision: Revision(unsigned(row.try_get("quarantine_revision")?, "quarantine_revision")?),
                    at: instant(row.try_get("quarantined_at_us")?, "quarantined_at_us")?,
                    skipped: unsigned(row.try_get("skipped_records")?, "skipped_records")?,
                }),
            };
            Ok(StoreRow {
                store: StoreId::new(row.try_get("store_id")?).map_err(|error| corrupt("store_id")(&error))?,
                stream: StreamIndex(u16::try_from(row.try_get::<i64, _>("stream")?).map_err(|error| corrupt("stream")(&error))?),
                chain,
                currency,
                time_zone: row.try_get("time_zone")?,
                cutoff_minutes: u32::try_from(row.try_get::<i64, _>("cutoff_minutes")?).map_err(|error| corrupt("cutoff_minutes")(&error))?,
                name: serde_json::from_str(row.try_get("name")?).map_err(|error| corrupt("name")(&error))?,
                latest_date: date(row.try_get("latest_date")?)?,
                day_open: row.try_get::<i64, _>("day_open")? != 0,
                z_number: row.try_get("z_number")?,
                z_hash: hash(row.try_get("z_hash")?, "z_hash")?,
                document_number: row.try_get("document_number")?,
                open_orders: row.try_get("open_orders")?,
                completed_between: row.try_get("completed_between")?,
                grand_total_sales: Money::new(row.try_get("grand_total_sales")?),
                grand_total_returns: Money::new(row.try_get("grand_total_returns")?),
                quarantine,
            })
        }

        fn day_row(row: &$row) -> Result<Option<DayRow>, ReadModelError> {
            let Some(store) = row.try_get::<Option<String>, _>("d_store_id")? else { return Ok(None) };
            let closed: i64 = row.try_get("d_closed")?;
            let state: i64 = row.try_get("d_state")?;
            Ok(Some(DayRow {
                store: StoreId::new(&store).map_err(|error| corrupt("store_id")(&error))?,
                date: date(row.try_get("d_date")?)?.ok_or_else(|| ReadModelError::Corrupt("business_date is empty".into()))?,
                state: if state == 2 { DayState::Closed } else { DayState::Open },
                time_zone: row.try_get("d_time_zone")?,
                start: instant(row.try_get("d_start")?, "start_at_us")?,
                end: instant(row.try_get("d_end")?, "end_at_us")?,
                closed_at: if state == 2 { Some(instant(closed, "closed_at_us")?) } else { None },
                z_number: row.try_get("d_z_number")?,
                revision: Revision(unsigned(row.try_get("d_revision")?, "revision")?),
                body: row.try_get("d_body")?,
                recorded: row.try_get("d_recorded")?,
                differences: serde_json::from_str(row.try_get("d_differences")?).map_err(|error| corrupt("differences")(&error))?,
                figures: serde_json::from_str(row.try_get("d_figures")?).map_err(|error| corrupt("figures")(&error))?,
            }))
        }

        fn fenced(fence: &Fence) -> ReadModelError {
            ReadModelError::Fenced { stream: fence.stream, position: fence.position, term: fence.term }
        }

        #[async_trait::async_trait]
        impl ReadModelWriter for $model {
            async fn migrate(&self) -> Result<(), ReadModelError> {
                self.run_migrations().await
            }

            async fn live_generation(&self) -> Result<Generation, ReadModelError> {
                let row = sqlx::query("SELECT generation FROM live_generations WHERE projection = 'sales'").fetch_one(&self.writes).await?;
                Ok(Generation(row.try_get("generation")?))
            }

            async fn stream(&self, generation: Generation, stream: StreamIndex, epoch: LogEpoch) -> Result<StreamRow, ReadModelError> {
                const READ: &str = concat!(
                    "SELECT ",
                    stream_columns!(),
                    " FROM checkpoints WHERE projection = 'sales' AND generation = $1 AND stream = $2"
                );
                if let Some(row) = sqlx::query(READ).bind(generation.0).bind(i64::from(stream.0)).fetch_optional(&self.writes).await? {
                    return stream_row(&row);
                }
                sqlx::query(
                    "INSERT INTO checkpoints (projection, generation, stream, log_id, epoch, position, hash, head, lag_us, orphans, owner, \
                     term, beat, updated_at_us) VALUES ('sales', $1, $2, $3, $4, 0, $5, 0, 0, 0, '', 0, 0, 0) ON CONFLICT DO NOTHING",
                )
                .bind(generation.0)
                .bind(i64::from(stream.0))
                .bind(epoch.log_id)
                .bind(i64::from(epoch.epoch))
                .bind(&RecordHash::NONE.0[..])
                .execute(&self.writes)
                .await?;
                stream_row(&sqlx::query(READ).bind(generation.0).bind(i64::from(stream.0)).fetch_one(&self.writes).await?)
            }

            async fn claim(&self, seen: &StreamRow, owner: &str, epoch: LogEpoch) -> Result<Option<StreamRow>, ReadModelError> {
                let epoch = if seen.position == Position(0) { epoch } else { seen.epoch };
                let claimed = sqlx::query(
                    "UPDATE checkpoints SET owner = $1, term = term + 1, beat = beat + 1, log_id = $2, epoch = $3 \
                     WHERE projection = 'sales' AND generation = $4 AND stream = $5 AND position = $6 AND term = $7 AND beat = $8",
                )
                .bind(owner)
                .bind(epoch.log_id)
                .bind(i64::from(epoch.epoch))
                .bind(seen.generation.0)
                .bind(i64::from(seen.stream.0))
                .bind(signed(seen.position.0))
                .bind(signed(seen.term))
                .bind(signed(seen.beat))
                .execute(&self.writes)
                .await?;
                if claimed.rows_affected() == 0 {
                    return Ok(None);
                }
                Ok(Some(StreamRow { owner: owner.to_owned(), term: seen.term + 1, beat: seen.beat + 1, epoch, ..seen.clone() }))
            }

            async fn release(&self, fence: &Fence) -> Result<(), ReadModelError> {
                let released = sqlx::query(
                    "UPDATE checkpoints SET owner = '', beat = beat + 1 \
                     WHERE projection = 'sales' AND generation = $1 AND stream = $2 AND position = $3 AND term = $4",
                )
                .bind(fence.generation.0)
                .bind(i64::from(fence.stream.0))
                .bind(signed(fence.position.0))
                .bind(signed(fence.term))
                .execute(&self.writes)
                .await?;
                if released.rows_affected() == 0 { Err(fenced(fence)) } else { Ok(()) }
            }

            async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), ReadModelError> {
                let fence = &heartbeat.fence;
                let beaten = sqlx::query(
                    "UPDATE checkpoints SET head = CASE WHEN position = $6 THEN $1 ELSE head END, \
                     lag_us = CASE WHEN position = $6 THEN $2 ELSE lag_us END, updated_at_us = $3, beat = beat + 1, \
                     looks = looks + $8, log_changed = $9 \
                     WHERE projection = 'sales' AND generation = $4 AND stream = $5 AND term = $7",
                )
                .bind(signed(heartbeat.head.0))
                .bind(heartbeat.lag_us)
                .bind(heartbeat.at.as_microsecond())
                .bind(fence.generation.0)
                .bind(i64::from(fence.stream.0))
                .bind(signed(fence.position.0))
                .bind(signed(fence.term))
                .bind(i64::from(heartbeat.looked))
                .bind(&heartbeat.log_changed)
                .execute(&self.writes)
                .await?;
                if beaten.rows_affected() == 0 { Err(fenced(fence)) } else { Ok(()) }
            }

            async fn stores(&self, generation: Generation, stores: &[StoreId]) -> Result<Vec<StoreRow>, ReadModelError> {
                let ids: Vec<&str> = stores.iter().map(StoreId::as_str).collect();
                let rows = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    " FROM stores s WHERE s.generation = $1 AND s.store_id IN ",
                    $list2
                ))
                .bind(generation.0)
                .bind(json(&ids)?)
                .fetch_all(&self.writes)
                .await?;
                rows.iter().map(store_row).collect()
            }

            async fn orders(
                &self,
                generation: Generation,
                orders: &[(StoreId, OrderId)],
            ) -> Result<Vec<(StoreId, OrderId, Vec<u8>)>, ReadModelError> {
                if orders.is_empty() {
                    return Ok(Vec::new());
                }
                let rows = self.stored_orders(generation, orders).await?;
                rows.iter()
                    .map(|row| {
                        let store = StoreId::new(row.try_get("store_id")?).map_err(|error| corrupt("store_id")(&error))?;
                        Ok((store, OrderId::from_uuid(row.try_get("order_id")?), row.try_get("body")?))
                    })
                    .collect()
            }

            async fn days(&self, generation: Generation, days: &[(StoreId, BusinessDate)]) -> Result<Vec<DayRow>, ReadModelError> {
                if days.is_empty() {
                    return Ok(Vec::new());
                }
                let rows = self.stored_days(generation, days).await?;
                rows.iter().filter_map(|row| day_row(row).transpose()).collect()
            }

            async fn day_lists(&self, generation: Generation, days: &[(StoreId, BusinessDate)]) -> Result<Vec<ListRow>, ReadModelError> {
                if days.is_empty() {
                    return Ok(Vec::new());
                }
                self.stored_lists(generation, days).await?.iter().map(list_row).collect()
            }

            async fn commit(&self, batch: &Batch) -> Result<(), ReadModelError> {
                self.commit_batch(batch).await
            }
        }

        #[async_trait::async_trait]
        impl ReadModelReader for $model {
            async fn check(&self) -> Result<(), ReadModelError> {
                let newest = Self::newest_migration();
                let found = self.migrated_to().await?.unwrap_or(0);
                if found < newest {
                    return Err(ReadModelError::Schema(format!(
                        "its schema is at version {found}, this build reads version {newest}: start status-projector of this version, \
                         which brings it up to date"
                    )));
                }
                Ok(())
            }

            async fn listen(&self, hint: &watch::Sender<u64>) {
                self.told(hint).await;
            }

            async fn progress(&self, stores: &[StoreId]) -> Result<Progress, ReadModelError> {
                // Before the stores: what was projected by then is in their rows.
                let streams = sqlx::query(concat!(
                    "SELECT stream, position, head, looks, log_changed FROM checkpoints WHERE projection = 'sales' AND generation = ",
                    live!(),
                    " ORDER BY stream"
                ))
                .fetch_all(&self.reads)
                .await?;
                let mut progress = Progress::default();
                for row in &streams {
                    let changed: String = row.try_get("log_changed")?;
                    if !changed.is_empty() {
                        progress.log_changed.get_or_insert(changed);
                    }
                    progress.streams.push(StreamSight {
                        stream: StreamIndex(u16::try_from(row.try_get::<i64, _>("stream")?).map_err(|error| corrupt("stream")(&error))?),
                        level: row.try_get::<i64, _>("position")? >= row.try_get::<i64, _>("head")?,
                        looks: unsigned(row.try_get("looks")?, "looks")?,
                    });
                }
                let ids: Vec<&str> = stores.iter().map(StoreId::as_str).collect();
                let rows = sqlx::query(concat!(
                    "SELECT c.log_id, c.epoch, s.store_id, s.revision, s.quarantine_reason FROM \
                     (SELECT generation, log_id, epoch FROM checkpoints WHERE projection = 'sales' AND generation = ",
                    live!(),
                    " ORDER BY position DESC LIMIT 1) c LEFT JOIN stores s ON s.generation = c.generation AND s.store_id IN ",
                    $list
                ))
                .bind(json(&ids)?)
                .fetch_all(&self.reads)
                .await?;
                for row in &rows {
                    progress.epoch = epoch(row)?;
                    let Some(store) = row.try_get::<Option<String>, _>("store_id")? else { continue };
                    let store = StoreId::new(&store).map_err(|error| corrupt("store_id")(&error))?;
                    let revision = Revision(unsigned(row.try_get("revision")?, "revision")?);
                    let quarantined = !row.try_get::<&str, _>("quarantine_reason")?.is_empty();
                    progress.stores.insert(store, StoreProgress { revision, quarantined });
                }
                Ok(progress)
            }

            async fn store(&self, store: &StoreId) -> Result<Option<Seen<()>>, ReadModelError> {
                let row = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch ",
                    store_and_epoch!(),
                    "WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                ))
                .bind(store.as_str())
                .fetch_optional(&self.reads)
                .await?;
                row.map(|row| Ok(Seen { store: store_row(&row)?, epoch: epoch(&row)?, found: () })).transpose()
            }

            async fn stores_after(&self, after: Option<&StoreId>, limit: u32) -> Result<Vec<StoreRow>, ReadModelError> {
                let rows = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    " FROM stores s WHERE s.store_id > $1 AND s.generation = ",
                    live!(),
                    " ORDER BY s.store_id LIMIT $2"
                ))
                .bind(after.map_or("", StoreId::as_str))
                .bind(i64::from(limit))
                .fetch_all(&self.reads)
                .await?;
                rows.iter().map(store_row).collect()
            }

            async fn order(&self, store: &StoreId, order: OrderId) -> Result<Option<Seen<Option<Vec<u8>>>>, ReadModelError> {
                let row = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, o.body AS o_body ",
                    store_and_epoch!(),
                    "LEFT JOIN orders o ON o.generation = s.generation AND o.store_id = s.store_id AND o.order_id = $2 \
                     WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                ))
                .bind(store.as_str())
                .bind(order.uuid())
                .fetch_optional(&self.reads)
                .await?;
                row.map(|row| Ok(Seen { store: store_row(&row)?, epoch: epoch(&row)?, found: row.try_get("o_body")? })).transpose()
            }

            async fn orders_page(&self, page: &OrderPage) -> Result<Option<Seen<Orders>>, ReadModelError> {
                let any = page.statuses.is_empty();
                let wanted = page.statuses.iter().filter(|status| (0..63).contains(*status)).fold(0_i64, |bits, status| bits | 1 << status);
                let rows = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, o.ticket_number AS o_ticket, o.body AS o_body ",
                    store_and_epoch!(),
                    "LEFT JOIN (SELECT store_id, ticket_number, body FROM orders WHERE generation = ",
                    live!(),
                    " AND store_id = $1 AND business_date = (CASE WHEN $2 = '' THEN (SELECT latest_date FROM stores WHERE generation = ",
                    live!(),
                    " AND store_id = $1) ELSE $2 END) AND ticket_number > $3 AND (($4 >> CAST(status AS INTEGER)) & 1) = 1 \
                     ORDER BY ticket_number LIMIT $5) o ON o.store_id = s.store_id WHERE s.store_id = $1 AND s.generation = ",
                    live!(),
                    " ORDER BY o.ticket_number"
                ))
                .bind(page.store.as_str())
                .bind(page.date.map(|date| date.to_string()).unwrap_or_default())
                .bind(page.after_ticket)
                .bind(if any { i64::MAX } else { wanted })
                .bind(i64::from(page.limit))
                .fetch_all(&self.reads)
                .await?;
                let Some(first) = rows.first() else { return Ok(None) };
                let mut found = Vec::with_capacity(rows.len());
                for row in &rows {
                    let (Some(ticket), Some(body)) = (row.try_get("o_ticket")?, row.try_get("o_body")?) else { continue };
                    found.push((ticket, body));
                }
                Ok(Some(Seen { store: store_row(first)?, epoch: epoch(first)?, found }))
            }

            async fn day(
                &self,
                store: &StoreId,
                date: Option<BusinessDate>,
            ) -> Result<Option<Seen<Option<DayRow>>>, ReadModelError> {
                let row = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, ",
                    day_columns!(),
                    store_and_epoch!(),
                    "LEFT JOIN business_days d ON d.generation = s.generation AND d.store_id = s.store_id \
                     AND d.business_date = (CASE WHEN $2 = '' THEN s.latest_date ELSE $2 END) WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                ))
                .bind(store.as_str())
                .bind(date.map(|date| date.to_string()).unwrap_or_default())
                .fetch_optional(&self.reads)
                .await?;
                row.map(|row| Ok(Seen { store: store_row(&row)?, epoch: epoch(&row)?, found: day_row(&row)? })).transpose()
            }

            async fn status(&self) -> Result<ProjectionStatus, ReadModelError> {
                // Operators look at it now and then, and each row is true by itself: two statements will do.
                let streams = sqlx::query(concat!(
                    "SELECT ",
                    stream_columns!(),
                    " FROM checkpoints WHERE projection = 'sales' AND generation = ",
                    live!(),
                    " ORDER BY stream"
                ))
                .fetch_all(&self.reads)
                .await?;
                let quarantined = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    " FROM stores s WHERE s.quarantine_reason <> '' AND s.generation = ",
                    live!(),
                    " ORDER BY s.store_id LIMIT 1000"
                ))
                .fetch_all(&self.reads)
                .await?;
                let mut snapshot = self.snapshot().await?;
                let differing = differing_days(&mut snapshot, &[], ["", "9999-12-31"]).await?;
                snapshot.rollback().await?;
                Ok(ProjectionStatus {
                    differing,
                    streams: streams.iter().map(stream_row).collect::<Result<_, _>>()?,
                    quarantined: quarantined.iter().map(store_row).collect::<Result<_, _>>()?,
                })
            }
        }
    };
}

pub(crate) use {backend, day_columns, live, store_and_epoch, store_columns, stream_columns};
