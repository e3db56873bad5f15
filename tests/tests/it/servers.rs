//! The harness itself: servers that are killed come back with their data.

use anyhow::{Result, ensure};
use event_log::jetstream::JetStreamLog;
use integration_tests::{Nats, Postgres};
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn postgres_comes_back_after_a_kill() -> Result<()> {
    let postgres = Postgres::start().await?;
    let (one, two) = (
        postgres.fresh_database().await?,
        postgres.fresh_database().await?,
    );
    ensure!(one.name != two.name);
    let mut connection = PgConnection::connect(&one.url).await?;
    sqlx::query("CREATE TABLE kept (number integer)")
        .execute(&mut connection)
        .await?;
    sqlx::query("INSERT INTO kept VALUES (42)")
        .execute(&mut connection)
        .await?;
    postgres.kill();
    ensure!(PgConnection::connect(&one.url).await.is_err());
    postgres.restart().await?;
    let mut connection = PgConnection::connect(&one.url).await?;
    let kept: i32 = sqlx::query_scalar("SELECT number FROM kept")
        .fetch_one(&mut connection)
        .await?;
    ensure!(kept == 42);
    ensure!(Postgres::shared().await?.fresh_database().await?.url != one.url);
    Ok(())
}

#[tokio::test]
async fn a_cluster_elects_another_leader() -> Result<()> {
    let nats = Nats::cluster3().await?;
    JetStreamLog::init(&nats.config()).await?;
    let leader = nats.leader_of("ORDERS-0").await?;
    nats.kill(leader);
    nats.ready().await?;
    ensure!(nats.leader_of("ORDERS-0").await? != leader);
    nats.restart().await
}
