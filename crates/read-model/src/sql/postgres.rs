//! What only PostgreSQL is asked. Every generation has a schema of its own, so that the database may be shared with other services.

use std::str::FromStr as _;
use std::time::Duration;

use runtime::database::{Pool, Transaction};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::sync::watch;

use super::pools::Pools;
use crate::error::ReadModelError;
use crate::generation::Generation;

/// Where it is written which generations there are.
const CONTROL_SCHEMA: &str = "doppio_generations";
pub(crate) const CREATE_CONTROL: &str = "CREATE SCHEMA IF NOT EXISTS doppio_generations";
/// Held until the end of a change to what generations there are, so that there is one at a time. The number is nobody else's.
pub(crate) const LOCK_CONTROL: &str = "SELECT pg_advisory_xact_lock(7020650031)";
/// Whoever reads an analysts' view holds up a switch. Less than the server's time to find a deadlock, so that it is the switch which gives
/// way.
const GIVE_WAY: &str = "SET LOCAL lock_timeout = '500ms'";
const SET_SEARCH_PATH: &str = "SELECT set_config('search_path', $1, true)";
const HAS_TABLES: &str = "SELECT to_regclass($1) IS NOT NULL";
/// What is left of the tables of before there were generations.
const EARLIER_TABLES: &str = "doppio_read._sqlx_migrations";
const TABLES: &str = include_str!("../../tables/postgres.sql");
const SHARED: &str = include_str!("../../tables/postgres_shared.sql");
const ANALYSTS: &str = include_str!("../../tables/analysts.sql");
const SWITCH_ANALYSTS: &str = include_str!("../../tables/switch_analysts.sql");
pub(crate) const ADOPT_ANALYSTS: &str = include_str!("../../tables/adopt_analysts.sql");
/// Every table of a generation, as one text for LOCK TABLE.
const LOCKED: &str = "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables WHERE schemaname = $1";
/// Tells whoever listens that a batch of stream `$1` is committed, once it is.
pub(crate) const NOTIFY: &str = "SELECT pg_notify('doppio_progress', $1)";
const CHANNEL: &str = "doppio_progress";
const READERS: u32 = 8;
const READ_LIMIT_MS: &str = "5000";
const REPORTERS: u32 = 4;
const REPORT_LIMIT_MS: &str = "15000";
/// Batches that one instance writes at once. Connections are made as they are needed: an instance with one stream has one here, and one with
/// the most streams there are, 64, has this many, of which a server's usual 100 leave room for a standby's and for readers. A batch that
/// finds all of them taken waits for its turn; what it waits counts as its own time, by which the projector makes batches smaller, so that
/// turns come round quickly (a batch that took 2 s is followed by half of it, down to 512 records).
const BATCHES: u32 = 16;
/// A claim or a sign of life takes a millisecond, and 64 streams give 128 of them a second: two would do.
const SIGNS: u32 = 4;
/// Which generation is live is looked up every now and then, and changed hardly ever.
const CONTROLLERS: u32 = 2;
/// How long to wait for a connection before saying that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The schema of a generation. The first one's is that of the tables of before there were generations.
pub(crate) fn schema(generation: Generation) -> String {
    match generation {
        Generation(1) => "doppio_read".into(),
        Generation(number) => format!("doppio_read_{number}"),
    }
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name("doppio"))
}

/// To write and read which generations there are.
pub(crate) fn control(options: &PgConnectOptions) -> Pool {
    let options = options.clone().options([
        ("search_path", CONTROL_SCHEMA),
        ("idle_in_transaction_session_timeout", "60000"),
        ("statement_timeout", "60000"),
        ("lock_timeout", "30000"),
    ]);
    pool(CONTROLLERS, options)
}

pub(crate) fn open(options: &PgConnectOptions, schema: &str) -> Pools {
    let options = options.clone().options([("search_path", schema)]);
    // A writer that stopped in the middle of a transaction must not hold its row against its successor.
    let writer = options.clone().options([
        ("idle_in_transaction_session_timeout", "5000"),
        ("statement_timeout", "60000"),
    ]);
    let reader = |limit| {
        options.clone().options([
            ("statement_timeout", limit),
            ("default_transaction_read_only", "on"),
        ])
    };
    Pools {
        reads: pool(READERS, reader(READ_LIMIT_MS)),
        reports: pool(REPORTERS, reader(REPORT_LIMIT_MS)),
        batches: pool(BATCHES, writer.clone()),
        batches_at_once: BATCHES as usize,
        signs: pool(SIGNS, writer),
    }
}

fn pool(connections: u32, options: PgConnectOptions) -> Pool {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_release(|connection, _| Box::pin(runtime::database::is_at_rest(connection)));
    Pool::Postgres(pool.connect_lazy_with(options))
}

pub(crate) async fn has_earlier_tables(
    change: &mut Transaction<'static>,
) -> Result<bool, ReadModelError> {
    let (there,) = change.query(HAS_TABLES).bind(EARLIER_TABLES).one().await?;
    Ok(there)
}

/// Makes a generation's tables and views where they are missing.
pub(crate) async fn make_tables(
    change: &mut Transaction<'static>,
    generation: Generation,
) -> Result<(), ReadModelError> {
    let schema = schema(generation);
    let tables = change
        .query(HAS_TABLES)
        .bind(format!("{schema}.checkpoints"));
    let (there,): (bool,) = tables.one().await?;
    if there {
        return Ok(());
    }
    let create = AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
    change.session().script(create).await?;
    change.session().script(SHARED).await?;
    set_search_path(change, &schema).await?;
    change.session().script(TABLES).await?;
    change.session().script(ANALYSTS).await?;
    set_search_path(change, CONTROL_SCHEMA).await
}

async fn set_search_path(
    change: &mut Transaction<'static>,
    schema: &str,
) -> Result<(), ReadModelError> {
    let set = change.query(SET_SEARCH_PATH).bind(schema);
    let _: (String,) = set.one().await?;
    Ok(())
}

/// All or nothing: where a table is in use nothing is waited for, because whoever uses it may want the next one.
pub(crate) async fn remove_tables(
    change: &mut Transaction<'static>,
    generation: Generation,
) -> Result<(), ReadModelError> {
    let schema = schema(generation);
    let (tables,): (Option<String>,) = change.query(LOCKED).bind(&schema).one().await?;
    if let Some(tables) = tables {
        let lock = format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE NOWAIT");
        change.session().script(AssertSqlSafe(lock)).await?;
    }
    let remove = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
    Ok(change.session().script(AssertSqlSafe(remove)).await?)
}

pub(crate) async fn show_analysts(
    change: &mut Transaction<'static>,
    generation: Generation,
) -> Result<(), ReadModelError> {
    change.session().script(GIVE_WAY).await?;
    let switch = SWITCH_ANALYSTS.replace("$schema", &schema(generation));
    Ok(change.session().script(AssertSqlSafe(switch)).await?)
}

pub(crate) async fn listen(pool: &PgPool, hint: &watch::Sender<u64>) {
    loop {
        // Its own connection: it is held for ever.
        if let Ok(mut listener) = PgListener::connect_with(pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            while listener.recv().await.is_ok() {
                hint.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}
