//! Generations under a running projector, and the upgrade from the tables that there were before there were generations.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::StoreId;
use event_log::Revision;
use integration_tests::Postgres;
use read_model::{Generation, ReadModel, ReadModelError, Readers};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use status_projector::fixture::Ledger;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::projector::{PATIENCE, Rig, orders, sound};

/// The last tables before there were generations.
const BEFORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/before_generations");
/// A store as it was kept then.
const STORE_OF_BEFORE: &str = "INSERT INTO stores (generation, store_id, stream, revision, hash, recorded_at_us, currency, time_zone, \
     cutoff_minutes, name, latest_date, day_open, z_number, z_hash, document_number, open_orders, completed_between, grand_total_sales, \
     grand_total_returns, quarantine_reason, quarantine_revision, quarantined_at_us, skipped_records) \
     VALUES (1, $1, 0, $2, $3, 0, 'KRW', 'Asia/Seoul', 240, '{}', '', 0, 0, $3, 0, 0, 0, 0, 0, '', 0, 0, 0)";
const STORES_OF_BEFORE: &str = "SELECT count(*) FROM stores";

async fn append(rig: &Rig, ledger: &mut Ledger) -> Result<()> {
    let order = sound(ledger.americano())?;
    rig.append(&sound(ledger.place(order))?).await
}

async fn revision(readers: &Readers, store: &StoreId) -> Result<Revision, ReadModelError> {
    let seen = readers.orders.store(store).await?;
    Ok(seen.map_or(Revision::NONE, |seen| seen.store.revision()))
}

/// Waits until a store is read as far as its ledger goes. Whatever is read on the way is never less than `least`.
async fn reaches(readers: &Readers, ledger: &Ledger, least: Revision) -> Result<()> {
    let store = StoreId::new(ledger.name.as_str())?;
    let tip = ledger.chain.map(|chain| chain.revision);
    let reached = async {
        loop {
            let seen = match revision(readers, &store).await {
                // The projector has not begun.
                Err(ReadModelError::Schema(_)) if least == Revision::NONE => Revision::NONE,
                seen => seen?,
            };
            ensure!(seen >= least, "{store} is read at {seen}, before {least}");
            if Some(seen) == tip {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reached)
        .await
        .with_context(|| format!("{store} does not reach {tip:?}"))?
}

/// A generation that is made while the projector runs is built by it, kept up to date with the live one, and switched to and back.
async fn built_beside(rig: Rig) -> Result<()> {
    let (mut ledger, _) = orders(&rig, "gangnam", 20).await?;
    let (projecting, health) = rig.project("one", 10);
    reaches(&rig.model.reader, &ledger, Revision::NONE).await?;
    let next = rig.model.generations.create().await?;
    let beside = rig.model.reader_of(next);
    reaches(&beside, &ledger, Revision::NONE).await?;
    let live = Generation(1);
    for (from, to) in [(live, next), (next, live), (live, next)] {
        let before = ledger.chain.map_or(Revision::NONE, |chain| chain.revision);
        rig.model.generations.switch(from, to).await?;
        append(&rig, &mut ledger).await?;
        for readers in [&rig.model.reader, &beside, &rig.model.reader_of(live)] {
            reaches(readers, &ledger, before).await?;
        }
    }
    rig.model.generations.remove(live).await?;
    append(&rig, &mut ledger).await?;
    reaches(&rig.model.reader, &ledger, Revision(1)).await?;
    ensure!(health.troubles().is_empty(), "{:?}", health.troubles());
    ensure!(projecting.finish(PATIENCE).await);
    // Another start goes on with what is live.
    let (projecting, _) = rig.project("one", 10);
    append(&rig, &mut ledger).await?;
    reaches(&rig.model.reader, &ledger, Revision(1)).await?;
    ensure!(projecting.finish(PATIENCE).await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_beside_the_live_one_is_built_on_sqlite() -> Result<()> {
    built_beside(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_beside_the_live_one_is_built_on_postgresql() -> Result<()> {
    built_beside(Rig::postgres(Postgres::shared().await?).await?).await
}

/// A build with tables of another version finds those of the one before, with the log's orders in them. Readers of the build before read on
/// all the while, and the new ones read everything as soon as they read anything.
async fn upgraded(rig: Rig) -> Result<()> {
    let old = rig.model.older_by(1);
    let (mut ledger, _) = orders(&rig, "gangnam", 40).await?;
    let (busan, _) = orders(&rig, "busan", 5).await?;
    let (projecting, _) = rig.project_into(&old, "old");
    for ledger in [&ledger, &busan] {
        reaches(&old.reader, ledger, Revision::NONE).await?;
    }
    ensure!(projecting.finish(PATIENCE).await);

    let tips = [&ledger, &busan].map(|ledger| ledger.chain.map(|chain| chain.revision));
    let stores = [StoreId::new("gangnam")?, StoreId::new("busan")?];
    let stop = CancellationToken::new();
    let reading = {
        let (stop, new) = (stop.clone(), rig.model.reader.clone());
        tokio::spawn(async move {
            let (mut old_reads, mut new_reads) = (0, 0);
            while !stop.is_cancelled() {
                for (store, tip) in stores.iter().zip(tips) {
                    let seen = revision(&old.reader, store).await?;
                    ensure!(
                        Some(seen) == tip,
                        "{store} is read at {seen} by the build before"
                    );
                    old_reads += 1;
                    match revision(&new, store).await {
                        Ok(seen) => {
                            ensure!(
                                Some(seen) >= tip,
                                "{store} is read at {seen} after a switch"
                            );
                            new_reads += 1;
                        }
                        Err(ReadModelError::Schema(_)) if new_reads == 0 => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                sleep(Duration::from_millis(2)).await;
            }
            Ok((old_reads, new_reads))
        })
    };
    // Two instances at once, of which one is stopped on the way.
    let (first, _) = rig.project("one", 3);
    let (second, _) = rig.project("two", 3);
    sleep(Duration::from_millis(200)).await;
    ensure!(first.finish(PATIENCE).await);
    append(&rig, &mut ledger).await?;
    timeout(PATIENCE, async {
        while revision(&rig.model.reader, &StoreId::new("gangnam")?)
            .await
            .ok()
            != ledger.chain.map(|chain| chain.revision)
        {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    sleep(Duration::from_millis(100)).await;
    stop.cancel();
    let (old_reads, new_reads) = reading.await??;
    ensure!(
        old_reads > 10 && new_reads > 10,
        "{old_reads} and {new_reads} reads"
    );
    ensure!(second.finish(PATIENCE).await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_read_from_whole_on_sqlite() -> Result<()> {
    upgraded(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_read_from_whole_on_postgresql() -> Result<()> {
    upgraded(Rig::postgres(Postgres::shared().await?).await?).await
}

async fn is_of_before(model: &ReadModel) -> Result<()> {
    let rows = model.generations.list().await?;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.generation.0, row.version, row.is_live, row.is_previous))
        .collect();
    ensure!(
        told == [(1, 1, false, true), (2, 2, true, false)],
        "{told:?}"
    );
    Ok(())
}

/// The tables of before are left as they are, for whoever reads them, until they are removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_before_there_were_generations_are_built_beside_on_sqlite() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("before.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let mut before: SqliteConnection = options.connect().await?;
    let migrator = Migrator::new(Path::new(BEFORE).join("sqlite")).await?;
    migrator.run(&mut before).await?;
    let rig = Rig::on(ReadModel::open(&format!("sqlite:{}", path.display()))?).await?;
    let (ledger, _) = orders(&rig, "gangnam", 3).await?;
    let tip = ledger.chain.context("the ledger has records")?.revision;
    sqlx::query(STORE_OF_BEFORE)
        .bind("gangnam")
        .bind(i64::try_from(tip.0)?)
        .bind(vec![0_u8; 32])
        .execute(&mut before)
        .await?;
    let (projecting, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    is_of_before(&rig.model).await?;
    let stores: i64 = sqlx::query_scalar(STORES_OF_BEFORE)
        .fetch_one(&mut before)
        .await?;
    ensure!(stores == 1, "{stores} stores");
    before.close().await?;
    rig.model.generations.remove(Generation(1)).await?;
    ensure!(!path.exists(), "the file of before is still there");
    reaches(&rig.model.reader, &ledger, tip).await?;
    ensure!(projecting.finish(PATIENCE).await);
    Ok(())
}

/// What analysts read goes with the switches, with what is granted on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_before_there_were_generations_are_built_beside_on_postgresql() -> Result<()> {
    let database = Postgres::shared().await?.fresh_database().await?;
    let options: PgConnectOptions = database.url.parse()?;
    let options = options.options([("search_path", "doppio_read")]);
    let mut before: PgConnection = options.connect().await?;
    sqlx::query("CREATE SCHEMA doppio_read")
        .execute(&mut before)
        .await?;
    let migrator = Migrator::new(Path::new(BEFORE).join("postgres")).await?;
    migrator.run(&mut before).await?;
    let rig = Rig::on(ReadModel::open(&database.url)?).await?;
    let (ledger, _) = orders(&rig, "gangnam", 3).await?;
    let tip = ledger.chain.context("the ledger has records")?.revision;
    sqlx::query(STORE_OF_BEFORE)
        .bind("gangnam")
        .bind(i64::try_from(tip.0)?)
        .bind(vec![0_u8; 32])
        .execute(&mut before)
        .await?;
    let mut analyst = PgConnection::connect(&database.url).await?;
    sqlx::query("SET ROLE doppio_analyst")
        .execute(&mut analyst)
        .await?;
    let mut orders = async || -> Result<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM doppio_analytics.orders");
        Ok(count.fetch_one(&mut analyst).await?)
    };
    ensure!(
        orders().await? == 0,
        "there are none in the tables of before"
    );
    let (projecting, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    is_of_before(&rig.model).await?;
    ensure!(
        orders().await? == 3,
        "analysts read the generation of before"
    );
    rig.model.generations.roll_back().await?;
    ensure!(
        orders().await? == 0,
        "analysts read the generation that was gone back from"
    );
    rig.model.generations.roll_back().await?;
    ensure!(
        orders().await? == 3,
        "analysts read the generation of before"
    );
    let stores: i64 = sqlx::query_scalar(STORES_OF_BEFORE)
        .fetch_one(&mut before)
        .await?;
    ensure!(stores == 1, "{stores} stores");
    rig.model.generations.remove(Generation(1)).await?;
    let gone: bool = sqlx::query_scalar("SELECT to_regnamespace('doppio_read') IS NULL")
        .fetch_one(&mut before)
        .await?;
    ensure!(gone, "the schema of before is still there");
    ensure!(orders().await? == 3, "analysts do not read on");
    reaches(&rig.model.reader, &ledger, tip).await?;
    ensure!(projecting.finish(PATIENCE).await);
    Ok(())
}
