//! One suite of tests, which every backend passes.
//!
//! Each function is one test of one law; [`each_law!`](crate::each_law) makes a test of every function for a backend. A test gets two
//! handles on one fresh, empty database, as two processes would have them.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::list_digest::ListAmounts;
use contract::{BusinessDate, Currency, Money, OrderId, StoreId};
use event_log::{ChainState, Checkpoint, LogEpoch, Position, RecordHash, Revision, StreamIndex};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Batch, BlockAmount, CashKind, CashRow, ChangePlace, ChangedPage, CompletionRow, DayList,
    DayRow, DayState, Digests, DiscountAmount, DiscountRow, DrawerFlow, EventPlace, ExportQuery,
    ExportTable, FactBlock, FactKind, FactRow, Facts, Fence, Figure, FigureDifference, FigureQuery,
    Generation, Heartbeat, LineAmount, LineRow, ListFigure, ListPage, ListRow, ListedOrder,
    OrderPage, OrderRow, Quarantine, ReadModel, ReadModelError, ReadModelWriter, Readers,
    ReportKey, ReportQuery, SalesBasis, SalesGrouping, SalesQuery, SalesSum, StoreFigure, StoreRow,
    StreamRow, TaxPart, TenderFlow, TenderRow, Value, ZPage,
};

/// Why a test could not be carried out or failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const STREAM: StreamIndex = StreamIndex(0);
const LIVE: Generation = Generation(1);
const EPOCH: LogEpoch = LogEpoch {
    log_id: Uuid::from_u128(7),
    epoch: 3,
};
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a test of every law: `each_law!(module, fixture_expression)`, where the expression is awaited and gives a `Result` of two
/// [`ReadModel`]s and of whatever must live as long as they do.
#[macro_export]
macro_rules! each_law {
    ($backend:ident, $fixture:expr) => {
        $crate::each_law!($backend, $fixture;
            a_reader_says_when_there_is_no_schema,
            of_two_claims_on_one_sight_one_succeeds,
            who_was_fenced_changes_nothing,
            a_batch_is_committed_once,
            a_failed_batch_leaves_nothing,
            rows_are_read_as_they_were_written,
            rows_written_again_are_replaced,
            orders_are_paged_by_ticket,
            changed_orders_are_read_in_the_order_of_their_last_change,
            progress_tells_revisions_and_quarantine,
            listeners_are_told,
            a_heartbeat_and_a_release_need_the_fence,
            what_the_projector_says_of_the_log_is_told_to_readers,
            generations_are_made_switched_and_dropped,
            reads_neither_fail_nor_mix_while_generations_are_switched,
            an_upgrade_never_empties_what_is_read,
            a_stream_without_progress_takes_up_another_log,
            z_reports_are_found_by_number_and_paged,
            sales_are_summed_by_either_basis,
            a_figure_is_explained_by_its_facts,
            a_beat_goes_on_while_its_batch_moves_the_position,
            a_fact_written_twice_is_refused,
            an_order_placed_twice_is_refused,
            many_rows_are_written_as_few_are,
            a_sum_that_does_not_fit_is_told_from_an_outage,
            exports_leave_room_for_orders,
            stores_asked_of_tell_quarantine_and_lag,
            lists_are_added_to_and_read_page_by_page,
        );
    };
    ($backend:ident, $fixture:expr; $($law:ident,)*) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() -> Result<(), $crate::conformance::Failure> {
                    let (one, other, _kept) = $fixture.await?;
                    $crate::conformance::$law(&one, &other).await
                }
            )*
        }
    };
}

fn store() -> Result<StoreId, Failure> {
    Ok(StoreId::new("gangnam")?)
}

fn date(text: &str) -> Result<BusinessDate, Failure> {
    Ok(BusinessDate::parse(text)?)
}

fn instant(seconds: i64) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_second(1_700_000_000 + seconds)?)
}

fn order_id(number: u128) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(
        0x0193_52f0_7a1c_7c3e_8f00_0000_0000_0000 + number,
    ))
}

fn store_row(revision: u64) -> Result<StoreRow, Failure> {
    Ok(StoreRow {
        chain: Some(ChainState {
            ledger_id: Uuid::from_u128(11),
            revision: Revision(revision),
            hash: RecordHash([u8::try_from(revision % 256)?; 32]),
            recorded_at_us: instant(i64::try_from(revision)?)?.as_microsecond(),
        }),
        currency: Some(Currency::new("KRW")?),
        time_zone: "Asia/Seoul".into(),
        cutoff_minutes: 270,
        name: BTreeMap::from([("ko".into(), "강남점 \"1호\"".into())]),
        latest_date: Some(date("2026-03-02")?),
        day_open: true,
        z_number: 4,
        z_hash: RecordHash([9; 32]),
        document_number: 12,
        open_orders: 2,
        completed_between: 1,
        grand_total_sales: Money::new(5_000_000),
        grand_total_returns: Money::new(120_000),
        ..StoreRow::new(store()?, STREAM)
    })
}

fn order_row(number: i64, on: &str, status: i32) -> Result<OrderRow, Failure> {
    Ok(OrderRow {
        store: store()?,
        order_id: order_id(
            u128::from(number.unsigned_abs()) + if on == "2026-03-02" { 0 } else { 1_000 },
        ),
        business_date: date(on)?,
        ticket_number: number,
        status,
        membership: 1,
        placed_at: instant(number)?,
        updated_at: instant(number + 5)?,
        revision: Revision(2),
        body: format!("order {number} of {on} \0\u{1}").into(),
    })
}

fn day_row() -> Result<DayRow, Failure> {
    Ok(DayRow {
        store: store()?,
        date: date("2026-03-02")?,
        state: DayState::Closed,
        time_zone: "Asia/Seoul".into(),
        start: instant(0)?,
        end: instant(86_400)?,
        closed_at: Some(instant(86_500)?),
        z_number: 5,
        revision: Revision(9),
        body: vec![0, 1, 2, 255],
        recorded: vec![],
        differences: vec![FigureDifference {
            figure: "sales.net \"x\"".into(),
            recorded: -5,
            projected: i64::MAX,
        }],
        figures: BTreeMap::from([("items[latte].net".into(), i64::MIN)]),
    })
}

/// An owner's sight of the stream.
async fn own(writer: &dyn ReadModelWriter, owner: &str) -> Result<StreamRow, Failure> {
    let seen = writer.stream(LIVE, STREAM, EPOCH).await?;
    writer
        .claim(&seen, owner, EPOCH)
        .await?
        .ok_or_else(|| "nobody else claims it".into())
}

fn fence(row: &StreamRow) -> Fence {
    Fence {
        generation: row.generation,
        stream: row.stream,
        term: row.term,
        position: row.position,
    }
}

fn batch(owned: &StreamRow, position: u64) -> Result<Batch, Failure> {
    Ok(Batch {
        fence: fence(owned),
        checkpoint: Checkpoint {
            epoch: EPOCH,
            position: Position(position),
            hash: RecordHash([3; 32]),
        },
        head: Position(position + 1),
        lag_us: 17,
        orphans: 2,
        at: instant(100)?,
        stores: vec![store_row(position)?],
        placed: vec![],
        orders: vec![],
        facts: Facts::default(),
        days: vec![],
    })
}

fn is_fenced<T>(result: &Result<T, ReadModelError>) -> bool {
    matches!(result, Err(ReadModelError::Fenced { .. }))
}

pub async fn a_reader_says_when_there_is_no_schema(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    assert!(matches!(
        other.reader.projection.check().await,
        Err(ReadModelError::Schema(_))
    ));
    let (first, second) = tokio::join!(one.writer.prepare(), other.writer.prepare());
    first?;
    second?;
    one.writer.prepare().await?;
    other.reader.projection.check().await?;
    Ok(())
}

pub async fn of_two_claims_on_one_sight_one_succeeds(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let seen = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    assert_eq!((seen.position, seen.checkpoint()), (Position(0), None));
    assert_eq!(other.writer.stream(LIVE, STREAM, EPOCH).await?, seen);
    let (first, second) = tokio::join!(
        one.writer.claim(&seen, "one", EPOCH),
        other.writer.claim(&seen, "other", EPOCH)
    );
    let (first, second) = (first?, second?);
    assert!(first.is_some() != second.is_some());
    let owned = first.or(second).ok_or("one has it")?;
    assert_eq!(one.writer.stream(LIVE, STREAM, EPOCH).await?, owned);
    assert!(one.writer.claim(&seen, "late", EPOCH).await?.is_none());
    Ok(())
}

pub async fn who_was_fenced_changes_nothing(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let fenced = own(&*one.writer, "one").await?;
    let owner = own(&*other.writer, "other").await?;
    assert!(is_fenced(&one.writer.commit(&batch(&fenced, 4)?).await));
    assert!(one.reader.orders.store(&store()?).await?.is_none());
    other.writer.commit(&batch(&owner, 5)?).await?;
    assert!(is_fenced(&one.writer.commit(&batch(&fenced, 6)?).await));
    let seen = one
        .reader
        .orders
        .store(&store()?)
        .await?
        .ok_or("the store is there")?;
    assert_eq!(seen.store.revision(), Revision(5));
    Ok(())
}

pub async fn a_batch_is_committed_once(one: &ReadModel, _other: &ReadModel) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let batch = Batch {
        orders: vec![order_row(1, "2026-03-02", 1)?],
        ..batch(&owned, 5)?
    };
    one.writer.commit(&batch).await?;
    assert!(
        is_fenced(&one.writer.commit(&batch).await),
        "the same batch again"
    );
    let now = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    assert_eq!(
        (now.position, now.hash, now.head, now.lag_us, now.orphans),
        (Position(5), RecordHash([3; 32]), Position(6), 17, 2)
    );
    assert_eq!(now.checkpoint(), Some(batch.checkpoint));
    assert!(now.beat > owned.beat);
    Ok(())
}

pub async fn a_failed_batch_leaves_nothing(
    one: &ReadModel,
    _other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    // Two orders with one ticket break the index in the middle of the transaction.
    let twin = OrderRow {
        order_id: order_id(77),
        ..order_row(1, "2026-03-02", 1)?
    };
    let bad = Batch {
        orders: vec![order_row(1, "2026-03-02", 1)?, twin],
        ..batch(&owned, 5)?
    };
    assert!(one.writer.commit(&bad).await.is_err());
    assert!(one.reader.orders.store(&store()?).await?.is_none());
    one.writer.commit(&batch(&owned, 5)?).await?;
    Ok(())
}

pub async fn rows_are_read_as_they_were_written(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let still = StoreRow {
        quarantine: Some(Quarantine {
            reason: "revision 3: it's \"broken\"".into(),
            revision: Revision(3),
            at: instant(1)?,
            skipped: 4,
        }),
        ..StoreRow::new(StoreId::new("busan")?, STREAM)
    };
    let (order, day) = (order_row(1, "2026-03-02", 1)?, day_row()?);
    let written = Batch {
        stores: vec![store_row(5)?, still.clone()],
        orders: vec![order.clone()],
        facts: facts()?,
        days: vec![day.clone()],
        ..batch(&owned, 5)?
    };
    one.writer.commit(&written).await?;

    let seen = other
        .reader
        .orders
        .store(&store()?)
        .await?
        .ok_or("the store is there")?;
    assert_eq!((seen.store, seen.epoch), (store_row(5)?, Some(EPOCH)));
    let mut rows = one
        .writer
        .stores(
            LIVE,
            &[store()?, StoreId::new("busan")?, StoreId::new("nowhere")?],
        )
        .await?;
    rows.sort_by(|a, b| a.store.cmp(&b.store));
    assert_eq!(rows, [still, store_row(5)?]);
    let bodies = one
        .writer
        .orders(LIVE, &[(store()?, order_id(1)), (store()?, order_id(2))])
        .await?;
    assert_eq!(bodies, [(store()?, order_id(1), order.body.to_vec())]);
    let days = one
        .writer
        .days(
            LIVE,
            &[
                (store()?, date("2026-03-02")?),
                (store()?, date("2026-03-03")?),
            ],
        )
        .await?;
    assert_eq!(days, std::slice::from_ref(&day));

    let found = other
        .reader
        .orders
        .order(&store()?, order_id(1))
        .await?
        .ok_or("the store is there")?;
    assert_eq!(found.found, Some(order.body.to_vec()));
    assert_eq!(
        other
            .reader
            .orders
            .order(&store()?, order_id(2))
            .await?
            .ok_or("the store is there")?
            .found,
        None
    );
    assert!(
        other
            .reader
            .orders
            .order(&StoreId::new("nowhere")?, order_id(1))
            .await?
            .is_none()
    );
    assert_eq!(
        other
            .reader
            .orders
            .day(&store()?, None)
            .await?
            .ok_or("the store is there")?
            .found,
        Some(day.clone())
    );
    assert_eq!(
        other
            .reader
            .orders
            .day(&store()?, Some(day.date))
            .await?
            .ok_or("the store is there")?
            .found,
        Some(day)
    );
    assert_eq!(
        other
            .reader
            .orders
            .day(&store()?, Some(date("2026-01-01")?))
            .await?
            .ok_or("the store is there")?
            .found,
        None
    );
    let status = other.reader.projection.status().await?;
    assert_eq!((status.streams.len(), status.quarantined.len()), (1, 1));
    let stores = other.reader.orders.stores_after(None, 1).await?;
    assert_eq!(
        stores
            .iter()
            .map(|row| row.store.as_str())
            .collect::<Vec<_>>(),
        ["busan"]
    );
    let stores = other
        .reader
        .orders
        .stores_after(Some(&StoreId::new("busan")?), 10)
        .await?;
    assert_eq!(
        stores
            .iter()
            .map(|row| row.store.as_str())
            .collect::<Vec<_>>(),
        ["gangnam"]
    );
    Ok(())
}

pub async fn rows_written_again_are_replaced(
    one: &ReadModel,
    _other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let mut owned = own(&*one.writer, "one").await?;
    let (order, day) = (order_row(1, "2026-03-02", 1)?, day_row()?);
    one.writer
        .commit(&Batch {
            orders: vec![order.clone()],
            days: vec![day.clone()],
            ..batch(&owned, 5)?
        })
        .await?;
    owned.position = Position(5);
    let order = OrderRow {
        status: 4,
        body: vec![1].into(),
        revision: Revision(6),
        ..order
    };
    let day = DayRow {
        body: vec![7; 100_000],
        z_number: 6,
        ..day
    };
    one.writer
        .commit(&Batch {
            orders: vec![order],
            days: vec![day.clone()],
            ..batch(&owned, 6)?
        })
        .await?;
    assert_eq!(
        one.reader
            .orders
            .store(&store()?)
            .await?
            .ok_or("the store is there")?
            .store,
        store_row(6)?
    );
    assert_eq!(
        one.reader
            .orders
            .order(&store()?, order_id(1))
            .await?
            .ok_or("the store is there")?
            .found,
        Some(vec![1])
    );
    assert_eq!(
        one.reader
            .orders
            .day(&store()?, None)
            .await?
            .ok_or("the store is there")?
            .found,
        Some(day)
    );
    Ok(())
}

pub async fn orders_are_paged_by_ticket(one: &ReadModel, other: &ReadModel) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let mut orders = vec![order_row(1, "2026-03-01", 4)?];
    for ticket in (1..=25).rev() {
        orders.push(order_row(
            ticket,
            "2026-03-02",
            if ticket % 2 == 0 { 4 } else { 1 },
        )?);
    }
    one.writer
        .commit(&Batch {
            orders,
            ..batch(&owned, 5)?
        })
        .await?;
    let page = OrderPage {
        store: store()?,
        date: None,
        statuses: vec![],
        after_ticket: 0,
        limit: 10,
    };
    let mut tickets = Vec::new();
    loop {
        let after_ticket = tickets.last().copied().unwrap_or(0);
        let found = other
            .reader
            .orders
            .orders_page(&OrderPage {
                after_ticket,
                ..page.clone()
            })
            .await?
            .ok_or("the store is there")?
            .found;
        if found.is_empty() {
            break;
        }
        assert!(found.len() <= 10);
        tickets.extend(found.iter().map(|order| order.ticket_number));
    }
    assert_eq!(tickets, (1..=25).collect::<Vec<_>>());
    let only = |statuses: Vec<i32>, on: Option<BusinessDate>| OrderPage {
        statuses,
        date: on,
        limit: 100,
        ..page.clone()
    };
    let count = async |page: OrderPage| {
        other
            .reader
            .orders
            .orders_page(&page)
            .await
            .map(|seen| seen.map(|seen| seen.found.len()))
    };
    assert_eq!(count(only(vec![4], None)).await?, Some(12));
    assert_eq!(count(only(vec![1, 4], None)).await?, Some(25));
    assert_eq!(count(only(vec![5], None)).await?, Some(0));
    assert_eq!(
        count(only(vec![], Some(date("2026-03-01")?))).await?,
        Some(1)
    );
    assert_eq!(
        count(only(vec![], Some(date("2020-01-01")?))).await?,
        Some(0)
    );
    assert_eq!(
        count(OrderPage {
            store: StoreId::new("nowhere")?,
            ..page.clone()
        })
        .await?,
        None
    );
    Ok(())
}

pub async fn changed_orders_are_read_in_the_order_of_their_last_change(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let mut owned = own(&*one.writer, "one").await?;
    let changed = |number: i64, revision: u64| {
        let row = order_row(number, "2026-03-02", 1)?;
        Ok::<_, Failure>(OrderRow {
            revision: Revision(revision),
            ..row
        })
    };
    // Three of one record, and one of another store.
    let mut placed = vec![
        changed(1, 2)?,
        changed(2, 3)?,
        changed(4, 3)?,
        changed(3, 3)?,
    ];
    let busan = StoreId::new("busan")?;
    placed.push(OrderRow {
        store: busan.clone(),
        ..changed(9, 4)?
    });
    let stores = vec![store_row(3)?, StoreRow::new(busan, STREAM)];
    let first = Batch {
        placed,
        stores,
        ..batch(&owned, 5)?
    };
    one.writer.commit(&first).await?;
    owned.position = Position(5);
    let page = async |after: ChangePlace, limit| {
        let page = ChangedPage {
            store: store()?,
            after,
            limit,
        };
        let seen = other.reader.orders.changed_orders(&page).await?;
        let seen = seen.ok_or("the store is there")?;
        let of = |order: ListedOrder| (order.ticket_number, order.revision.0, order.order_id);
        let found: Vec<_> = seen.found.into_iter().map(of).collect();
        Ok::<_, Failure>((seen.store.revision().0, found))
    };
    let after = |revision| ChangePlace {
        revision: Revision(revision),
        order: None,
    };
    let tickets = |found: &[(i64, u64, OrderId)]| -> Vec<(i64, u64)> {
        found.iter().map(|order| (order.0, order.1)).collect()
    };
    let (revision, all) = page(after(0), 100).await?;
    assert_eq!(revision, 3, "up to where there are no more");
    assert_eq!(tickets(&all), [(1, 2), (2, 3), (3, 3), (4, 3)]);
    assert_eq!(
        tickets(&page(after(2), 100).await?.1),
        [(2, 3), (3, 3), (4, 3)]
    );
    assert_eq!(tickets(&page(after(3), 100).await?.1), []);
    // A page that ends within a record goes on within it.
    let mut place = after(0);
    let mut read = Vec::new();
    loop {
        let (_, found) = page(place, 2).await?;
        let Some(last) = found.last() else { break };
        assert!(found.len() <= 2);
        place = ChangePlace {
            revision: Revision(last.1),
            order: Some(last.2),
        };
        read.extend(found);
    }
    assert_eq!(read, all);
    // An order that changes again is found at its new place alone.
    let second = Batch {
        stores: vec![store_row(6)?],
        orders: vec![changed(2, 6)?],
        ..batch(&owned, 6)?
    };
    one.writer.commit(&second).await?;
    let (revision, found) = page(after(0), 100).await?;
    assert_eq!(
        (revision, tickets(&found)),
        (6, vec![(1, 2), (3, 3), (4, 3), (2, 6)])
    );
    let nowhere = ChangedPage {
        store: StoreId::new("nowhere")?,
        after: after(0),
        limit: 1,
    };
    assert!(
        other
            .reader
            .orders
            .changed_orders(&nowhere)
            .await?
            .is_none()
    );
    Ok(())
}

pub async fn progress_tells_revisions_and_quarantine(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let nothing = other.reader.projection.progress(&[store()?]).await?;
    assert!(nothing.epoch.is_none() && nothing.stores.is_empty());
    let owned = own(&*one.writer, "one").await?;
    let quarantine = Quarantine {
        reason: "broken".into(),
        revision: Revision(3),
        at: instant(1)?,
        skipped: 0,
    };
    let busan = StoreId::new("busan")?;
    let still = StoreRow {
        quarantine: Some(quarantine),
        ..StoreRow::new(busan.clone(), STREAM)
    };
    one.writer
        .commit(&Batch {
            stores: vec![store_row(5)?, still],
            ..batch(&owned, 5)?
        })
        .await?;
    let progress = other
        .reader
        .projection
        .progress(&[store()?, busan.clone(), StoreId::new("nowhere")?])
        .await?;
    assert_eq!(progress.epoch, Some(EPOCH));
    let told: Vec<_> = progress
        .stores
        .iter()
        .map(|(store, progress)| (store.as_str(), progress.revision.0, progress.quarantined))
        .collect();
    assert_eq!(told, [("busan", 0, true), ("gangnam", 5, false)]);
    Ok(())
}

pub async fn listeners_are_told(one: &ReadModel, _other: &ReadModel) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let (hint, mut hinted) = watch::channel(0);
    let projection = one.reader.projection.clone();
    let listening = tokio::spawn(async move { projection.listen(&hint).await });
    let mut owned = own(&*one.writer, "one").await?;
    let told = async {
        // A commit from before the listener was there tells nobody.
        for position in 1.. {
            one.writer.commit(&batch(&owned, position)?).await?;
            owned.position = Position(position);
            if tokio::time::timeout(Duration::from_millis(200), hinted.changed())
                .await
                .is_ok()
            {
                break;
            }
        }
        Ok::<(), Failure>(())
    };
    tokio::time::timeout(PATIENCE, told).await??;
    listening.abort();
    Ok(())
}

pub async fn a_heartbeat_and_a_release_need_the_fence(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let fenced = own(&*one.writer, "one").await?;
    let owned = own(&*other.writer, "other").await?;
    let beat = |row: &StreamRow| {
        Ok::<_, Failure>(Heartbeat {
            fence: fence(row),
            head: Position(40),
            looked: true,
            log_changed: String::new(),
            lag_us: 5,
            at: instant(3)?,
        })
    };
    assert!(is_fenced(&one.writer.beat(&beat(&fenced)?).await));
    assert!(is_fenced(&one.writer.release(&fence(&fenced)).await));
    other.writer.beat(&beat(&owned)?).await?;
    let now = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    assert_eq!(
        (now.head, now.lag_us, now.updated_at, now.owner.as_str()),
        (Position(40), 5, instant(3)?, "other")
    );
    assert!(now.beat > owned.beat);
    other.writer.release(&fence(&owned)).await?;
    assert_eq!(one.writer.stream(LIVE, STREAM, EPOCH).await?.owner, "");
    Ok(())
}

pub async fn what_the_projector_says_of_the_log_is_told_to_readers(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let beat = |looked, head, log_changed: &str| {
        Ok::<_, Failure>(Heartbeat {
            fence: fence(&owned),
            head: Position(head),
            looked,
            log_changed: log_changed.to_owned(),
            lag_us: 0,
            at: instant(3)?,
        })
    };
    let level = owned.position.0;
    for (looked, head, changed) in [
        (true, level, ""),
        (false, level + 3, ""),
        (true, level, "it ends at 4, before 7"),
        (true, level, ""),
    ] {
        one.writer.beat(&beat(looked, head, changed)?).await?;
        let row = one.writer.stream(LIVE, STREAM, EPOCH).await?;
        let progress = other.reader.projection.progress(&[]).await?;
        assert_eq!(row.log_changed, changed);
        assert_eq!(progress.log_changed.as_deref().unwrap_or_default(), changed);
        let [sight] = progress.streams.as_slice() else {
            return Err(format!("{:?}", progress.streams).into());
        };
        assert_eq!(
            (sight.stream, sight.level, sight.looks),
            (STREAM, head == level, row.looks)
        );
    }
    let looks = one.writer.stream(LIVE, STREAM, EPOCH).await?.looks;
    assert_eq!(looks, owned.looks + 3);
    Ok(())
}

/// What an owner of the generation's stream sees.
async fn own_of(
    writer: &dyn ReadModelWriter,
    generation: Generation,
) -> Result<StreamRow, Failure> {
    let seen = writer.stream(generation, STREAM, EPOCH).await?;
    let claimed = writer.claim(&seen, "one", EPOCH).await?;
    claimed.ok_or_else(|| "nobody else claims it".into())
}

/// Rows of which each says what generation they are of: the store by its revision, the order by its body, the day by its figures, the facts by
/// what they sold for.
async fn fill(
    writer: &dyn ReadModelWriter,
    generation: Generation,
    revision: u64,
) -> Result<(), Failure> {
    let owned = own_of(writer, generation).await?;
    let of_generation = i64::try_from(revision)?;
    let order = OrderRow {
        body: format!("{revision}").into(),
        ..order_row(1, "2026-03-02", 1)?
    };
    let day = DayRow {
        figures: BTreeMap::from([("sales.count".into(), of_generation)]),
        ..day_row()?
    };
    let mut facts = facts()?;
    for fact in &mut facts.facts {
        fact.document_number = of_generation;
        fact.order_id = order_id(1);
    }
    let rows = Batch {
        stores: vec![store_row(revision)?],
        placed: vec![order],
        days: vec![day],
        facts,
        ..batch(&owned, 5)?
    };
    Ok(writer.commit(&rows).await?)
}

/// Reads in every way; gives the one generation that all of an answer is of, by the store's revision.
async fn read_in_every_way(reader: &Readers) -> Result<Vec<u64>, Failure> {
    let store = store()?;
    let mut found = Vec::new();
    let seen = reader.orders.order(&store, order_id(1)).await?;
    let seen = seen.ok_or("the store is there")?;
    let revision = seen.store.revision().0;
    assert_eq!(seen.found, Some(revision.to_string().into_bytes()));
    found.push(revision);
    let query = ReportQuery {
        store: store.clone(),
        key: ReportKey::Latest,
        rows: 10,
        digests: true,
    };
    let seen = reader.settlement.report(&query).await?;
    let seen = seen.ok_or("the store is there")?;
    let revision = seen.store.revision().0;
    let reported = seen.found.ok_or("the day is there")?;
    assert_eq!(
        reported.day.figures["sales.count"],
        i64::try_from(revision)?
    );
    found.push(revision);
    let query = ExportQuery {
        table: ExportTable::Orders,
        stores: vec![],
        first: None,
        last: None,
    };
    let mut export = reader.tables.export(&query).await?;
    let revision = export.stores()[0].revision.0;
    // However much time passes.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let columns = query.table.columns();
    let number = columns
        .iter()
        .position(|column| column.name == "document_number");
    let number = number.ok_or("orders have document numbers")?;
    let mut exported = 0;
    while let Some(rows) = export.next().await? {
        for row in rows {
            assert_eq!(row[number], Value::Integer(i64::try_from(revision)?));
            exported += 1;
        }
    }
    assert!(exported > 0);
    found.push(revision);
    let progress = reader
        .projection
        .progress(std::slice::from_ref(&store))
        .await?;
    found.push(progress.stores[&store].revision.0);
    Ok(found)
}

/// Waits until a read is answered from the generation of this revision.
async fn until_read(reader: &Readers, revision: u64) -> Result<(), Failure> {
    let seen = async {
        loop {
            let seen = reader.orders.store(&store()?).await?;
            if seen.ok_or("the store is there")?.store.revision().0 == revision {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await?
}

pub async fn generations_are_made_switched_and_dropped(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    assert_eq!(one.writer.prepare().await?, LIVE);
    assert_eq!(other.writer.prepare().await?, LIVE);
    fill(&*one.writer, LIVE, 5).await?;
    let next = one.generations.create().await?;
    assert_eq!(other.writer.written().await?, [LIVE, next]);
    fill(&*other.writer, next, 7).await?;
    // Each is read by name, and the live one without.
    until_read(&other.reader, 5).await?;
    until_read(&other.reader_of(LIVE), 5).await?;
    until_read(&other.reader_of(next), 7).await?;

    one.generations.switch(LIVE, next).await?;
    until_read(&one.reader, 7).await?;
    until_read(&other.reader, 7).await?;
    let rows = other.generations.list().await?;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.generation, row.is_live, row.is_previous))
        .collect();
    assert_eq!(told, [(LIVE, false, true), (next, true, false)]);
    assert!(
        rows.iter()
            .all(|row| row.live_since.is_some() && !row.is_being_dropped)
    );

    assert_eq!(other.generations.roll_back().await?, LIVE);
    until_read(&one.reader, 5).await?;
    assert_eq!(other.generations.roll_back().await?, next);
    until_read(&one.reader, 7).await?;

    let again = one.generations.switch(LIVE, next).await;
    assert!(
        matches!(again, Err(ReadModelError::NotLive(LIVE))),
        "{again:?}"
    );
    let nowhere = Generation(99);
    for refused in [
        one.generations.switch(next, nowhere).await,
        one.generations.remove(nowhere).await,
    ] {
        assert!(
            matches!(refused, Err(ReadModelError::NoGeneration(_))),
            "{refused:?}"
        );
    }
    let live = one.generations.remove(next).await;
    assert!(matches!(live, Err(ReadModelError::Live(_))), "{live:?}");

    // Whoever reads it reads on; then it is gone, with all that was in it.
    let named = other.reader_of(LIVE);
    let query = ExportQuery {
        table: ExportTable::Orders,
        stores: vec![],
        first: None,
        last: None,
    };
    let mut export = named.tables.export(&query).await?;
    let (dropped, read) = tokio::join!(one.generations.remove(LIVE), async {
        let rows = export.next().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let more = export.next().await?;
        drop(export);
        Ok::<_, Failure>((rows, more))
    });
    dropped?;
    assert!(matches!(read?, (Some(_), None)));
    assert!(other.reader_of(LIVE).orders.store(&store()?).await.is_err());
    let rows = other.generations.list().await?;
    assert_eq!(rows.len(), 1);
    let nothing = one.generations.roll_back().await;
    assert!(
        matches!(nothing, Err(ReadModelError::NothingToGoBackTo)),
        "{nothing:?}"
    );
    // A number is not given out again.
    assert_eq!(one.generations.create().await?, Generation(3));
    one.generations.remove(Generation(3)).await?;
    assert_eq!(one.generations.create().await?, Generation(4));
    until_read(&other.reader, 7).await
}

pub async fn reads_neither_fail_nor_mix_while_generations_are_switched(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    const READERS: usize = 3;
    const SWITCHING: Duration = Duration::from_secs(6);
    one.writer.prepare().await?;
    fill(&*one.writer, LIVE, 5).await?;
    let next = one.generations.create().await?;
    fill(&*one.writer, next, 7).await?;
    let stop = CancellationToken::new();
    let mut reading = tokio::task::JoinSet::new();
    for number in 0..READERS {
        let reader = if number == 0 { one } else { other }.reader.clone();
        let stop = stop.clone();
        reading.spawn(async move {
            let mut found = Vec::new();
            while !stop.is_cancelled() {
                found.extend(read_in_every_way(&reader).await?);
            }
            Ok::<_, Failure>(found)
        });
    }
    let until = tokio::time::Instant::now() + SWITCHING;
    let mut switches = 0;
    while tokio::time::Instant::now() < until {
        let model = if switches % 2 == 0 { one } else { other };
        model
            .generations
            .roll_back()
            .await
            .map(drop)
            .or_else(|error| match error {
                ReadModelError::NothingToGoBackTo => Ok(()),
                error => Err(error),
            })?;
        if switches == 0 {
            one.generations.switch(LIVE, next).await?;
        }
        switches += 1;
        // More often than readers look, and less often.
        let pause = [1, 30, 600][switches % 3];
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    stop.cancel();
    let mut found = Vec::new();
    while let Some(read) = reading.join_next().await {
        found.extend(read??);
    }
    for revision in [5, 7] {
        let times = found.iter().filter(|read| **read == revision).count();
        assert!(
            times > 0,
            "generation of {revision} in {} reads",
            found.len()
        );
    }
    assert!(found.iter().all(|read| [5, 7].contains(read)));
    assert!(switches > 10, "{switches} switches");
    Ok(())
}

pub async fn an_upgrade_never_empties_what_is_read(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    let (old, old_too) = (one.older_by(1), other.older_by(1));
    let busan = StoreId::new("busan")?;
    let at = |store: &StoreId, revision: u64| {
        let row = store_row(revision)?;
        Ok::<_, Failure>(StoreRow {
            store: store.clone(),
            ..row
        })
    };
    assert_eq!(old.writer.prepare().await?, LIVE);
    let mut owned = own(&*old.writer, "old").await?;
    let stores = vec![at(&store()?, 5)?, at(&busan, 3)?];
    let rows = Batch {
        stores,
        ..batch(&owned, 8)?
    };
    old.writer.commit(&rows).await?;
    owned.position = Position(8);

    // The new build finds tables that are not its own, and makes its own beside them. Any number of instances find the same.
    let (first, second) = tokio::join!(one.writer.prepare(), other.writer.prepare());
    let next = first?;
    assert_eq!((next, second?), (Generation(2), next));
    assert_eq!(old.writer.written().await?, [LIVE]);
    assert_eq!(one.writer.written().await?, [next]);
    let refused = one.reader.orders.store(&store()?).await;
    assert!(
        matches!(refused, Err(ReadModelError::Schema(_))),
        "{refused:?}"
    );
    until_read(&old_too.reader, 5).await?;

    // It takes over once it has every store as far, and not before.
    let mut owner = own_of(&*one.writer, next).await?;
    let mut position = 0;
    for (stores, is_as_far) in [
        (vec![], false),
        (vec![at(&store()?, 5)?], false),
        (vec![at(&busan, 2)?], false),
        (vec![at(&busan, 3)?], true),
    ] {
        if !stores.is_empty() {
            position += 1;
            let rows = Batch {
                stores,
                ..batch(&owner, position)?
            };
            one.writer.commit(&rows).await?;
            owner.position = Position(position);
        }
        assert_eq!(one.writer.take_over(next).await?, is_as_far);
        assert_eq!(other.writer.take_over(next).await?, is_as_far, "again");
        until_read(&old_too.reader, 5).await?;
    }
    until_read(&one.reader, 5).await?;
    until_read(&other.reader, 5).await?;
    // Readers of the build before go on with what they can read, as long as it is there.
    let rows = Batch {
        stores: vec![store_row(6)?],
        ..batch(&owned, 9)?
    };
    old.writer.commit(&rows).await?;
    until_read(&old_too.reader, 6).await?;
    until_read(&one.reader, 5).await?;
    // Back to the build before, and on again.
    assert_eq!(old.generations.roll_back().await?, LIVE);
    until_read(&old_too.reader, 6).await?;
    until_read(&one.reader, 5).await?;
    assert_eq!(one.writer.prepare().await?, next);
    assert!(
        !one.writer.take_over(next).await?,
        "it has not been as far since"
    );
    // A store that stands still in both holds up nothing.
    let still = |revision: u64| {
        let row = store_row(revision)?;
        Ok::<_, Failure>(StoreRow {
            quarantine: Some(Quarantine {
                reason: "broken".into(),
                revision: Revision(7),
                at: instant(1)?,
                skipped: 0,
            }),
            ..row
        })
    };
    owned.position = Position(9);
    let rows = Batch {
        stores: vec![still(6)?],
        ..batch(&owned, 10)?
    };
    old.writer.commit(&rows).await?;
    assert!(
        !one.writer.take_over(next).await?,
        "it stands still in one alone"
    );
    let rows = Batch {
        stores: vec![still(5)?],
        ..batch(&owner, position + 1)?
    };
    one.writer.commit(&rows).await?;
    assert!(one.writer.take_over(next).await?);
    Ok(())
}

pub async fn a_stream_without_progress_takes_up_another_log(
    one: &ReadModel,
    _other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let mut owned = own(&*one.writer, "one").await?;
    let another = LogEpoch {
        log_id: Uuid::from_u128(8),
        epoch: 1,
    };
    let seen = one
        .writer
        .claim(&owned, "one", another)
        .await?
        .ok_or("nobody else claims it")?;
    assert_eq!(seen.epoch, another);
    owned = one
        .writer
        .claim(&seen, "one", EPOCH)
        .await?
        .ok_or("nobody else claims it")?;
    one.writer.commit(&batch(&owned, 5)?).await?;
    let now = one.writer.stream(LIVE, STREAM, another).await?;
    let claimed = one
        .writer
        .claim(&now, "one", another)
        .await?
        .ok_or("nobody else claims it")?;
    assert_eq!(
        claimed.epoch, EPOCH,
        "what was projected from a log stays that log's"
    );
    Ok(())
}

fn at(revision: u64) -> EventPlace {
    EventPlace {
        revision: Revision(revision),
        index: 1,
    }
}

fn list_row(list: DayList, key: &str, count: i64) -> Result<ListRow, Failure> {
    Ok(ListRow {
        store: store()?,
        date: date("2026-03-01")?,
        list,
        key: key.into(),
        category: "coffee \"hot\"".into(),
        name: BTreeMap::from([("ko".into(), "라떼 \"1\"".into())]),
        amounts: ListAmounts {
            count,
            gross: count * 5_000,
            discount: count * 500,
            net: count * 4_500,
        },
    })
}

/// A sale of two lines on the first day, paid in cash; half of it given back on the second; a float, stated twice.
fn facts() -> Result<Facts, Failure> {
    let sale = FactRow {
        store: store()?,
        place: at(2),
        kind: FactKind::Sale,
        block: FactBlock::Sales,
        business_date: date("2026-03-01")?,
        sale_business_date: date("2026-03-01")?,
        order_id: order_id(1_001),
        recorded_at: instant(1)?,
        hour: "2026-03-01T09:00+09:00".into(),
        hour_repeated: false,
        document_number: 1,
        reason_code: String::new(),
        gross: Money::new(10_000),
        discount: Money::new(1_000),
        net: Money::new(9_000),
        vat: Money::new(818),
    };
    let refund = FactRow {
        place: at(5),
        kind: FactKind::Refund,
        block: FactBlock::RefundsPriorDays,
        business_date: date("2026-03-02")?,
        recorded_at: instant(2)?,
        hour: "2026-03-02T09:00+08:00".into(),
        hour_repeated: true,
        document_number: 2,
        reason_code: "spilled".into(),
        gross: Money::new(5_000),
        discount: Money::new(500),
        net: Money::new(4_500),
        vat: Money::new(409),
        ..sale.clone()
    };
    let line = LineRow {
        store: store()?,
        place: at(2),
        position: 0,
        line_index: 0,
        sku: "latte".into(),
        category: "coffee \0 \"hot\"".into(),
        quantity: 1,
        gross: Money::new(5_000),
        discount: Money::new(500),
        net: Money::new(4_500),
        vat: Money::new(409),
        tax_class: "STD".into(),
        tax_rate_bp: 1_000,
    };
    let cash = TenderRow {
        store: store()?,
        place: at(2),
        position: 0,
        tender_id: "cash-1".into(),
        kind: 1,
        drawer_id: "main".into(),
        tendered: Money::new(10_000),
        change: Money::new(1_000),
        taken: Money::new(9_000),
        returned: Money::ZERO,
    };
    let back = TenderRow {
        place: at(5),
        tendered: Money::ZERO,
        change: Money::ZERO,
        taken: Money::ZERO,
        returned: Money::new(4_500),
        ..cash.clone()
    };
    let float = CashRow {
        store: store()?,
        place: EventPlace {
            revision: Revision(1),
            index: 1,
        },
        position: 0,
        kind: CashKind::OpeningFloat,
        business_date: date("2026-03-01")?,
        recorded_at: instant(0)?,
        drawer_id: "main".into(),
        amount: Money::new(50_000),
        effect: Money::new(50_000),
        reason_code: String::new(),
    };
    let restated = CashRow {
        place: at(3),
        kind: CashKind::Float,
        amount: Money::new(40_000),
        effect: Money::new(-10_000),
        ..float.clone()
    };
    let counted = CashRow {
        place: EventPlace {
            revision: Revision(4),
            index: 0,
        },
        kind: CashKind::Counted,
        amount: Money::new(48_000),
        effect: Money::ZERO,
        ..float.clone()
    };
    let late = CashRow {
        place: at(6),
        kind: CashKind::CountedLate,
        business_date: date("2026-03-02")?,
        ..counted.clone()
    };
    let discount = |position, source, amount| {
        Ok::<_, Failure>(DiscountRow {
            store: store()?,
            place: at(2),
            position,
            source,
            discount_id: "spring".into(),
            amount: Money::new(amount),
        })
    };
    let completion = CompletionRow {
        store: store()?,
        place: at(3),
        z_number: 4,
        order_id: order_id(1_001),
        recorded_at: instant(1)?,
    };
    let lines = vec![
        line.clone(),
        LineRow {
            position: 1,
            line_index: 1,
            ..line.clone()
        },
        LineRow {
            place: at(5),
            ..line
        },
    ];
    Ok(Facts {
        facts: vec![sale, refund],
        lines,
        discounts: vec![
            discount(0, 5, 600)?,
            discount(1, 5, 300)?,
            discount(2, 2, 100)?,
        ],
        tenders: vec![cash, back],
        completions: vec![completion],
        cash: vec![float, restated, counted, late],
        lists: vec![list_row(DayList::Items, "latte", 2)?],
    })
}

pub async fn z_reports_are_found_by_number_and_paged(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let mut days = vec![DayRow {
        state: DayState::Open,
        z_number: 0,
        closed_at: None,
        date: date("2026-03-09")?,
        ..day_row()?
    }];
    for number in 1..=5 {
        days.push(DayRow {
            z_number: number,
            date: date(&format!("2026-03-0{number}"))?,
            ..day_row()?
        });
    }
    one.writer
        .commit(&Batch {
            days: days.clone(),
            ..batch(&owned, 5)?
        })
        .await?;
    let third = other
        .reader
        .settlement
        .z_report(&store()?, 3)
        .await?
        .ok_or("the store is there")?;
    assert_eq!(third.found.as_ref(), days.get(3));
    for unknown in [0, 6] {
        assert_eq!(
            other
                .reader
                .settlement
                .z_report(&store()?, unknown)
                .await?
                .ok_or("the store is there")?
                .found,
            None
        );
    }
    let page = ZPage {
        store: store()?,
        first: None,
        last: None,
        after_number: 0,
        limit: 10,
    };
    let numbers = async |page: ZPage| -> Result<Vec<i64>, Failure> {
        let seen = other
            .reader
            .settlement
            .z_reports(&page)
            .await?
            .ok_or("the store is there")?;
        Ok(seen.found.iter().map(|day| day.z_number).collect())
    };
    assert_eq!(numbers(page.clone()).await?, [1, 2, 3, 4, 5]);
    assert_eq!(
        numbers(ZPage {
            after_number: 2,
            limit: 2,
            ..page.clone()
        })
        .await?,
        [3, 4]
    );
    let between = ZPage {
        first: Some(date("2026-03-02")?),
        last: Some(date("2026-03-04")?),
        ..page.clone()
    };
    assert_eq!(numbers(between).await?, [2, 3, 4]);
    assert!(
        numbers(ZPage {
            after_number: 5,
            ..page.clone()
        })
        .await?
        .is_empty()
    );
    let nowhere = StoreId::new("nowhere")?;
    assert!(
        other
            .reader
            .settlement
            .z_reports(&ZPage {
                store: nowhere.clone(),
                ..page
            })
            .await?
            .is_none()
    );
    assert!(
        other
            .reader
            .settlement
            .z_report(&nowhere, 1)
            .await?
            .is_none()
    );
    Ok(())
}

pub async fn sales_are_summed_by_either_basis(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let order = order_row(1, "2026-03-01", 4)?;
    one.writer
        .commit(&Batch {
            orders: vec![order],
            facts: facts()?,
            ..batch(&owned, 5)?
        })
        .await?;
    let (first, last) = (date("2026-03-01")?, date("2026-03-02")?);
    let query = SalesQuery {
        stores: vec![store()?],
        first,
        last,
        grouping: SalesGrouping::Day,
        basis: SalesBasis::AsClosed,
    };
    let currency = Currency::new("KRW")?;
    let sum = |key: &str, count, sales_net, returns_net, turnover_vat| SalesSum {
        currency,
        key: key.into(),
        count,
        sales_net,
        returns_net,
        turnover_vat,
    };
    let sales = other.reader.settlement.sales(&query).await?;
    assert_eq!(
        sales.rows,
        [
            sum("2026-03-01", 1, 9_000, 0, Some(818)),
            sum("2026-03-02", 0, 0, 4_500, Some(-409))
        ]
    );
    assert_eq!(sales.totals, [sum("", 1, 9_000, 4_500, Some(409))]);
    assert_eq!(
        sales
            .stores
            .iter()
            .map(|row| (row.store.as_str(), row.revision.0, row.epoch))
            .collect::<Vec<_>>(),
        [("gangnam", 5, Some(EPOCH))]
    );
    let restated = SalesQuery {
        basis: SalesBasis::AsRestated,
        ..query.clone()
    };
    assert_eq!(
        other.reader.settlement.sales(&restated).await?.rows,
        [sum("2026-03-01", 1, 9_000, 4_500, Some(409))]
    );
    for (grouping, rows) in [
        (
            SalesGrouping::Store,
            vec![sum("gangnam", 1, 9_000, 4_500, Some(409))],
        ),
        (
            SalesGrouping::Item,
            vec![sum("latte", 2, 9_000, 4_500, Some(409))],
        ),
        (
            SalesGrouping::Hour,
            vec![
                sum("09", 1, 9_000, 0, Some(818)),
                sum("09 repeated", 0, 0, 4_500, Some(-409)),
            ],
        ),
        (SalesGrouping::Tender, vec![sum("1", 1, 9_000, 4_500, None)]),
        (
            SalesGrouping::Membership,
            vec![sum("1", 1, 9_000, 4_500, Some(409))],
        ),
    ] {
        assert_eq!(
            other
                .reader
                .settlement
                .sales(&SalesQuery {
                    grouping,
                    stores: vec![],
                    ..query.clone()
                })
                .await?
                .rows,
            rows,
            "{grouping:?}"
        );
    }
    assert_eq!(
        other
            .reader
            .settlement
            .sales(&SalesQuery {
                grouping: SalesGrouping::Category,
                ..query.clone()
            })
            .await?
            .rows
            .len(),
        1
    );
    let none = other
        .reader
        .settlement
        .sales(&SalesQuery {
            stores: vec![StoreId::new("nowhere")?],
            ..query.clone()
        })
        .await?;
    assert!(none.rows.is_empty() && none.totals.is_empty() && none.stores.is_empty());
    let second = other
        .reader
        .settlement
        .sales(&SalesQuery {
            first: last,
            ..query
        })
        .await?;
    assert_eq!(second.totals, [sum("", 0, 0, 4_500, Some(-409))]);
    Ok(())
}

pub async fn a_figure_is_explained_by_its_facts(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let days = vec![
        DayRow {
            date: date("2026-03-01")?,
            z_number: 4,
            ..day_row()?
        },
        day_row()?,
    ];
    one.writer
        .commit(&Batch {
            facts: facts()?,
            days,
            ..batch(&owned, 5)?
        })
        .await?;
    let (first, second) = (date("2026-03-01")?, date("2026-03-02")?);
    let net = BlockAmount::Net;
    for (date, figure, amounts) in [
        (
            first,
            Figure::Block(Some(FactBlock::Sales), net),
            vec![9_000],
        ),
        (first, Figure::Block(Some(FactBlock::Voids), net), vec![]),
        (first, Figure::Block(None, BlockAmount::Supply), vec![8_182]),
        (second, Figure::Block(None, net), vec![-4_500]),
        (
            second,
            Figure::Block(Some(FactBlock::RefundsPriorDays), BlockAmount::Count),
            vec![1],
        ),
        (
            second,
            Figure::Tax(None, "STD".into(), TaxPart::Vat),
            vec![-409],
        ),
        (
            second,
            Figure::Tax(None, "STD@1000".into(), TaxPart::Vat),
            vec![-409],
        ),
        (
            second,
            Figure::Tax(None, "STD@500".into(), TaxPart::Vat),
            vec![],
        ),
        (first, Figure::Tax(None, "EX".into(), TaxPart::Vat), vec![]),
        (
            first,
            Figure::Item("latte".into(), LineAmount::Units),
            vec![2],
        ),
        (
            first,
            Figure::Category("latte".into(), LineAmount::Net),
            vec![],
        ),
        (
            first,
            Figure::Hour("2026-03-01T09:00+09:00".into(), net),
            vec![9_000],
        ),
        (first, Figure::Tender(1, TenderFlow::Taken), vec![9_000]),
        (second, Figure::Tender(1, TenderFlow::Net), vec![-4_500]),
        (
            first,
            Figure::Drawer("main".into(), DrawerFlow::Float),
            vec![50_000, -10_000],
        ),
        (
            first,
            Figure::Drawer("main".into(), DrawerFlow::Expected),
            vec![50_000, 9_000, -10_000],
        ),
        (
            first,
            Figure::Drawer("main".into(), DrawerFlow::Counted),
            vec![48_000],
        ),
        (
            first,
            Figure::Drawer("main".into(), DrawerFlow::OverShort),
            vec![-50_000, -9_000, 10_000, 48_000],
        ),
        // Not counted at its close.
        (
            second,
            Figure::Drawer("main".into(), DrawerFlow::Counted),
            vec![],
        ),
        (
            second,
            Figure::Drawer("main".into(), DrawerFlow::Expected),
            vec![-4_500],
        ),
        (
            second,
            Figure::Drawer("main".into(), DrawerFlow::OverShort),
            // Nobody counted it, and it cannot hold less than nothing.
            vec![4_500],
        ),
        (
            first,
            Figure::Drawer("main".into(), DrawerFlow::Carried),
            vec![50_000],
        ),
        (
            first,
            Figure::Drawer("main".into(), DrawerFlow::OpeningDifference),
            vec![-10_000],
        ),
        (
            first,
            Figure::List(DayList::Items, ListFigure::Rows),
            vec![1],
        ),
        (
            first,
            Figure::List(DayList::Categories, ListFigure::Count),
            vec![2],
        ),
        (
            first,
            Figure::List(DayList::Items, ListFigure::Net),
            vec![9_000],
        ),
        (
            first,
            Figure::List(DayList::Discounts, ListFigure::Rows),
            vec![2],
        ),
        (
            first,
            Figure::List(DayList::Discounts, ListFigure::Discount),
            vec![1_000],
        ),
        (
            second,
            Figure::List(DayList::Items, ListFigure::Digest),
            vec![],
        ),
        (
            first,
            Figure::Discount(5, "spring".into(), DiscountAmount::Count),
            vec![2],
        ),
        (
            first,
            Figure::Discount(5, "spring".into(), DiscountAmount::Amount),
            vec![900],
        ),
        (
            first,
            Figure::Discount(5, "autumn".into(), DiscountAmount::Amount),
            vec![],
        ),
        (
            second,
            Figure::Discount(5, "spring".into(), DiscountAmount::Amount),
            vec![],
        ),
        (first, Figure::Store(StoreFigure::CarriedIn), vec![]),
        (first, Figure::Store(StoreFigure::Completed), vec![1]),
        (first, Figure::Store(StoreFigure::CarriedOut), vec![1, -1]),
        (second, Figure::Store(StoreFigure::CarriedIn), vec![1, -1]),
        (second, Figure::Store(StoreFigure::Completed), vec![]),
        (second, Figure::Store(StoreFigure::Cancelled), vec![]),
        (first, Figure::Store(StoreFigure::FirstTicket), vec![1]),
        (second, Figure::Store(StoreFigure::LastTicket), vec![]),
        (
            second,
            Figure::Store(StoreFigure::FirstDocument),
            vec![1, 1],
        ),
        (first, Figure::Store(StoreFigure::LastDocument), vec![1]),
        (
            first,
            Figure::Store(StoreFigure::GrandTotalSales),
            vec![9_000],
        ),
        (
            second,
            Figure::Store(StoreFigure::GrandTotalReturns),
            vec![4_500],
        ),
        (
            second,
            Figure::Store(StoreFigure::GrandTotal),
            vec![9_000, -4_500],
        ),
    ] {
        let query = FigureQuery {
            store: store()?,
            date,
            figure: figure.clone(),
            after: None,
            limit: 10,
        };
        let seen = other
            .reader
            .settlement
            .explain(&query)
            .await?
            .ok_or("the store is there")?;
        let found: Vec<i64> = seen.found.facts.iter().map(|fact| fact.amount).collect();
        assert_eq!(
            (seen.found.total, found),
            (amounts.iter().sum(), amounts.clone()),
            "{figure:?}"
        );
        assert!(seen.found.day.is_some());
        // One fact after another.
        let (mut after, mut paged) = (None, Vec::new());
        loop {
            let seen = other
                .reader
                .settlement
                .explain(&FigureQuery {
                    after,
                    limit: 1,
                    ..query.clone()
                })
                .await?
                .ok_or("the store is there")?;
            let Some(fact) = seen.found.facts.first() else {
                break;
            };
            paged.push(fact.amount);
            after = Some(fact.place);
        }
        assert_eq!(paged, amounts, "{figure:?}");
    }
    let query = FigureQuery {
        store: store()?,
        date: first,
        figure: Figure::Drawer("main".into(), DrawerFlow::Expected),
        after: None,
        limit: 10,
    };
    let seen = other
        .reader
        .settlement
        .explain(&query)
        .await?
        .ok_or("the store is there")?;
    let events: Vec<_> = seen
        .found
        .facts
        .iter()
        .map(|fact| (fact.event_type, fact.order_id))
        .collect();
    assert_eq!(
        events,
        [
            ("BusinessDayOpened", None),
            ("OrderPlaced", Some(order_id(1_001))),
            ("CashMoved", None)
        ]
    );
    assert!(
        other
            .reader
            .settlement
            .explain(&FigureQuery {
                store: StoreId::new("nowhere")?,
                ..query
            })
            .await?
            .is_none()
    );
    Ok(())
}

pub async fn a_beat_goes_on_while_its_batch_moves_the_position(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let before = Heartbeat {
        fence: fence(&owned),
        head: Position(3),
        lag_us: 99,
        looked: false,
        log_changed: String::new(),
        at: instant(3)?,
    };
    one.writer.commit(&batch(&owned, 5)?).await?;
    one.writer.beat(&before).await?;
    let now = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    assert_eq!(
        (now.position, now.head, now.lag_us, now.updated_at),
        (Position(5), Position(6), 17, instant(3)?),
        "what the batch said of the head stands"
    );
    own(&*other.writer, "other").await?;
    assert!(is_fenced(&one.writer.beat(&before).await));
    Ok(())
}

pub async fn a_fact_written_twice_is_refused(
    one: &ReadModel,
    _other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let mut owned = own(&*one.writer, "one").await?;
    let all = facts()?;
    one.writer
        .commit(&Batch {
            facts: all.clone(),
            ..batch(&owned, 5)?
        })
        .await?;
    owned.position = Position(5);
    let alone = [
        Facts {
            facts: all.facts,
            ..Facts::default()
        },
        Facts {
            lines: all.lines,
            ..Facts::default()
        },
        Facts {
            discounts: all.discounts,
            ..Facts::default()
        },
        Facts {
            tenders: all.tenders,
            ..Facts::default()
        },
        Facts {
            completions: all.completions,
            ..Facts::default()
        },
        Facts {
            cash: all.cash,
            ..Facts::default()
        },
    ];
    for facts in alone {
        let again = Batch {
            facts,
            ..batch(&owned, 6)?
        };
        let committed = one.writer.commit(&again).await;
        assert!(
            matches!(committed, Err(ReadModelError::Refused(_))),
            "{committed:?} of {:?}",
            again.facts
        );
    }
    let now = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    assert_eq!(now.position, Position(5));
    Ok(())
}

pub async fn an_order_placed_twice_is_refused(
    one: &ReadModel,
    _other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let order = order_row(1, "2026-03-02", 1)?;
    one.writer
        .commit(&Batch {
            placed: vec![order.clone()],
            ..batch(&owned, 5)?
        })
        .await?;
    // Alone, and among as many as are written another way.
    let owned = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    for others in [0, 200] {
        let mut placed = vec![OrderRow {
            ticket_number: 1_000,
            body: "another".into(),
            ..order.clone()
        }];
        for number in 0..others {
            placed.push(order_row(2 + number, "2026-03-02", 1)?);
        }
        let again = Batch {
            placed,
            ..batch(&owned, 6)?
        };
        let committed = one.writer.commit(&again).await;
        assert!(
            matches!(committed, Err(ReadModelError::Refused(_))),
            "{committed:?}"
        );
    }
    let now = one.writer.stream(LIVE, STREAM, EPOCH).await?;
    assert_eq!(now.position, Position(5));
    let keys = [(store()?, order.order_id), (store()?, order_id(2))];
    assert_eq!(
        one.writer.orders(LIVE, &keys).await?,
        [(store()?, order.order_id, order.body.to_vec())]
    );
    one.writer.commit(&batch(&owned, 6)?).await?;
    Ok(())
}

/// A sale of an order with all that belongs to it, of which no two have the same values.
fn sold(store: &StoreId, number: i64) -> Result<(OrderRow, Facts), Failure> {
    let place = at(u64::try_from(number)?);
    let day = date("2026-03-02")?;
    let order = OrderRow {
        store: store.clone(),
        revision: place.revision,
        ..order_row(number, "2026-03-02", 1)?
    };
    let own = facts()?;
    let mut of_order = Facts::default();
    for row in own.facts.into_iter().take(1) {
        of_order.facts.push(FactRow {
            store: store.clone(),
            place,
            business_date: day,
            sale_business_date: day,
            order_id: order.order_id,
            document_number: number,
            reason_code: format!("reason \0 {number}"),
            ..row
        });
    }
    for row in own.lines.into_iter().take(1) {
        of_order.lines.push(LineRow {
            store: store.clone(),
            place,
            sku: format!("item-{number} \0 \"é\""),
            gross: Money::new(number),
            ..row
        });
    }
    for row in own.tenders.into_iter().take(1) {
        of_order.tenders.push(TenderRow {
            store: store.clone(),
            place,
            tender_id: format!("tender-{number}"),
            tendered: Money::new(-number),
            ..row
        });
    }
    of_order.discounts.push(DiscountRow {
        store: store.clone(),
        place,
        position: 0,
        source: 1,
        discount_id: format!("discount-{number}"),
        amount: Money::new(number),
    });
    of_order.completions.push(CompletionRow {
        store: store.clone(),
        place,
        z_number: 5,
        order_id: order.order_id,
        recorded_at: instant(number)?,
    });
    for row in own.cash.into_iter().take(1) {
        of_order.cash.push(CashRow {
            store: store.clone(),
            place,
            kind: CashKind::PaidIn,
            business_date: day,
            amount: Money::new(number),
            ..row
        });
    }
    Ok((order, of_order))
}

/// Backends may write many rows in another way than few: nobody sees which.
pub async fn many_rows_are_written_as_few_are(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    const ROWS: i64 = 4_200;
    one.writer.prepare().await?;
    let mut owned = own(&*one.writer, "one").await?;
    let (gangnam, busan) = (store()?, StoreId::new("busan")?);
    for (store, at_once) in [(&gangnam, ROWS), (&busan, 300)] {
        for first in (0..ROWS).step_by(usize::try_from(at_once)?) {
            let (mut placed, mut facts) = (Vec::new(), Facts::default());
            for number in first..first + at_once {
                let (order, own) = sold(store, number + 1)?;
                placed.push(order);
                facts.append(own);
            }
            let position = owned.position.0 + 5;
            let row = StoreRow {
                store: store.clone(),
                ..store_row(position)?
            };
            one.writer
                .commit(&Batch {
                    stores: vec![row],
                    placed,
                    facts,
                    days: vec![DayRow {
                        store: store.clone(),
                        ..day_row()?
                    }],
                    ..batch(&owned, position)?
                })
                .await?;
            owned.position = Position(position);
        }
    }
    let keys = |store: &StoreId| {
        let numbers = 1..=u128::from(ROWS.unsigned_abs());
        let key = |number| (store.clone(), order_id(number));
        numbers.map(key).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for store in [&gangnam, &busan] {
        let mut texts = Vec::new();
        let mut orders = one.writer.orders(LIVE, &keys(store)).await?;
        orders.sort();
        let bodies = orders.iter().map(|(_, order, body)| (order, body));
        texts.push(format!("{:?}", bodies.collect::<Vec<_>>()));
        for table in [
            ExportTable::Orders,
            ExportTable::OrderLines,
            ExportTable::Tenders,
        ] {
            let query = ExportQuery {
                table,
                stores: vec![store.clone()],
                first: None,
                last: None,
            };
            let mut export = other.reader.tables.export(&query).await?;
            let mut rows = 0;
            while let Some(page) = export.next().await? {
                rows += 1;
                texts.push(format!("{page:?}").replace(store.as_str(), "store"));
            }
            assert!(rows > 0, "{table:?} of {store}");
        }
        for figure in [
            Figure::Store(StoreFigure::Completed),
            Figure::Drawer("main".into(), DrawerFlow::PaidIn),
            Figure::List(DayList::Discounts, ListFigure::Discount),
        ] {
            let query = FigureQuery {
                store: store.clone(),
                date: date("2026-03-02")?,
                figure,
                after: None,
                limit: 5_000,
            };
            let explained = other
                .reader
                .settlement
                .explain(&query)
                .await?
                .ok_or("the store")?;
            let facts = explained.found.facts;
            assert_eq!(facts.len(), usize::try_from(ROWS)?, "{:?}", query.figure);
            texts.push(format!("{facts:?}"));
        }
        found.push(texts);
    }
    assert_eq!(found[0], found[1]);
    Ok(())
}

pub async fn a_sum_that_does_not_fit_is_told_from_an_outage(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let mut facts = facts()?;
    let mut huge = facts.facts.remove(0);
    huge.net = Money::new(i64::MAX - 1);
    facts.facts = vec![
        huge.clone(),
        FactRow {
            place: at(7),
            ..huge
        },
    ];
    one.writer
        .commit(&Batch {
            facts,
            ..batch(&owned, 5)?
        })
        .await?;
    let (first, last) = (date("2026-03-01")?, date("2026-03-02")?);
    let query = SalesQuery {
        stores: vec![],
        first,
        last,
        grouping: SalesGrouping::Day,
        basis: SalesBasis::AsClosed,
    };
    let sales = other.reader.settlement.sales(&query).await;
    assert!(
        matches!(sales, Err(ReadModelError::OutOfRange(_))),
        "{sales:?}"
    );
    Ok(())
}

/// More exports than there may be at once: whoever asks for an order is not kept waiting.
pub async fn exports_leave_room_for_orders(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    const TRIES: usize = 16;
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let order = order_row(1, "2026-03-02", 1)?;
    one.writer
        .commit(&Batch {
            orders: vec![order.clone()],
            ..batch(&owned, 5)?
        })
        .await?;
    let query = ExportQuery {
        table: ExportTable::Orders,
        stores: vec![],
        first: None,
        last: None,
    };
    let mut under_way = Vec::new();
    while under_way.len() < TRIES {
        match other.reader.tables.export(&query).await {
            Ok(export) => under_way.push(export),
            Err(ReadModelError::Unavailable(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    assert!((2..TRIES).contains(&under_way.len()), "{}", under_way.len());
    let store = store()?;
    let read = other.reader.orders.order(&store, order.order_id);
    let read = tokio::time::timeout(Duration::from_secs(1), read).await??;
    assert!(read.is_some_and(|seen| seen.found.is_some()));
    Ok(())
}

pub async fn stores_asked_of_tell_quarantine_and_lag(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let mut owned = own(&*one.writer, "one").await?;
    let quarantine = Quarantine {
        reason: "revision 4: broken".into(),
        revision: Revision(4),
        at: instant(9)?,
        skipped: 3,
    };
    let still = StoreRow {
        store: StoreId::new("busan")?,
        quarantine: Some(quarantine.clone()),
        ..store_row(3)?
    };
    let (first, last) = (date("2026-03-01")?, date("2026-03-02")?);
    let query = SalesQuery {
        stores: vec![],
        first,
        last,
        grouping: SalesGrouping::Day,
        basis: SalesBasis::AsClosed,
    };
    for behind in [true, false] {
        let position = owned.position.0 + 5;
        one.writer
            .commit(&Batch {
                stores: vec![store_row(5)?, still.clone()],
                head: Position(position + u64::from(behind)),
                ..batch(&owned, position)?
            })
            .await?;
        owned.position = Position(position);
        let told: Vec<_> = other
            .reader
            .settlement
            .sales(&query)
            .await?
            .stores
            .into_iter()
            .map(|row| (row.store.to_string(), row.quarantine, row.behind))
            .collect();
        assert_eq!(
            told,
            [
                ("busan".to_owned(), Some(quarantine.clone()), behind),
                ("gangnam".to_owned(), None, behind)
            ]
        );
    }
    Ok(())
}

pub async fn lists_are_added_to_and_read_page_by_page(
    one: &ReadModel,
    other: &ReadModel,
) -> Result<(), Failure> {
    one.writer.prepare().await?;
    let owned = own(&*one.writer, "one").await?;
    let day = DayRow {
        date: date("2026-03-01")?,
        z_number: 4,
        ..day_row()?
    };
    let first = vec![
        list_row(DayList::Items, "a-b", 1)?,
        list_row(DayList::Items, "a1", 2)?,
        list_row(DayList::Items, "latte", 3)?,
        list_row(DayList::Discounts, "5/spring", 4)?,
    ];
    let batch_of = |owned: &StreamRow, position, lists| {
        Ok::<_, Failure>(Batch {
            days: vec![day.clone()],
            facts: Facts {
                lists,
                ..Facts::default()
            },
            ..batch(owned, position)?
        })
    };
    let batch = batch_of(&owned, 5, first.clone())?;
    one.writer.commit(&batch).await?;
    // A batch that is sent again is fenced, so nothing is added twice.
    assert!(is_fenced(&one.writer.commit(&batch).await));
    let renamed = ListRow {
        category: "hot".into(),
        name: BTreeMap::from([("en".into(), "Latte".into())]),
        ..list_row(DayList::Items, "latte", 10)?
    };
    let owned = StreamRow {
        position: Position(5),
        ..owned
    };
    one.writer
        .commit(&batch_of(&owned, 6, vec![renamed.clone()])?)
        .await?;
    let latte = ListRow {
        amounts: list_row(DayList::Items, "latte", 13)?.amounts,
        ..renamed
    };
    let all = [
        vec![first[0].clone(), first[1].clone(), latte],
        vec![first[3].clone()],
    ]
    .concat();

    let query = ReportQuery {
        store: store()?,
        key: ReportKey::Number(4),
        rows: 3,
        digests: true,
    };
    let seen = other
        .reader
        .settlement
        .report(&query)
        .await?
        .ok_or("a store")?;
    let found = seen.found.ok_or("a day")?;
    assert_eq!((found.rows, found.more), (all.clone(), false));
    assert_eq!(found.day.date, date("2026-03-01")?);
    let digests = Digests::of(&all).ok_or("they fit")?;
    assert_eq!(found.digests.as_ref(), Some(&digests));
    assert_eq!((digests.items.rows, digests.items.count), (3, 16));
    assert_eq!(digests.categories.rows, 0);

    let query = ReportQuery {
        key: ReportKey::Date(date("2026-03-01")?),
        rows: 2,
        digests: false,
        ..query
    };
    let seen = other
        .reader
        .settlement
        .report(&query)
        .await?
        .ok_or("a store")?;
    let found = seen.found.ok_or("a day")?;
    let keys: Vec<&str> = found.rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!((keys, found.more), (vec!["a-b", "a1", "5/spring"], true));
    assert!(found.digests.is_none());

    let mut page = ListPage {
        store: store()?,
        date: date("2026-03-01")?,
        list: DayList::Items,
        after: String::new(),
        limit: 2,
    };
    let mut paged = Vec::new();
    loop {
        let seen = other
            .reader
            .settlement
            .list(&page)
            .await?
            .ok_or("a store")?;
        let rows = seen.found.ok_or("a day")?;
        let Some(last) = rows.last() else { break };
        page.after.clone_from(&last.key);
        paged.extend(rows);
    }
    assert_eq!(paged, all[..3]);
    // The projector reads sums, not names.
    let stored = one
        .writer
        .day_lists(LIVE, &[(store()?, date("2026-03-01")?)])
        .await?;
    assert_eq!(Digests::of(&stored), Some(digests));
    page.date = date("2026-03-05")?;
    let seen = other
        .reader
        .settlement
        .list(&page)
        .await?
        .ok_or("a store")?;
    assert!(seen.found.is_none());
    page.store = StoreId::new("nowhere")?;
    assert!(other.reader.settlement.list(&page).await?.is_none());
    Ok(())
}
