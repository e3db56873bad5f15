//! The membership service on a real PostgreSQL, healthy and not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::Reason;
use contract::api::member as api;
use contract::api::member::check_membership_request::Key;
use integration_tests::proxy::Direction;
use integration_tests::{Postgres, TcpProxy};
use member::Database;
use member::conformance::{Running, refused, request, suite};
use tokio::time::{Instant, sleep, timeout};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const PATIENCE: Duration = Duration::from_secs(20);
/// No call may take longer, whatever the database does.
const LONGEST_CALL: Duration = Duration::from_secs(5);

fn question(phone: &str) -> api::CheckMembershipRequest {
    api::CheckMembershipRequest {
        key: Some(Key::PhoneNumber(phone.into())),
    }
}

async fn health(running: &Running, service: &str) -> Result<ServingStatus> {
    let mut client = HealthClient::new(runtime::channel::connect_lazy(&running.url)?);
    let answer: HealthCheckResponse = client
        .check(HealthCheckRequest {
            service: service.into(),
        })
        .await?
        .into_inner();
    Ok(answer.status())
}

async fn wait_for_health(running: &Running, wanted: ServingStatus) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    for service in ["", "doppio.member.v1.MemberService"] {
        while health(running, service).await? != wanted {
            ensure!(
                Instant::now() < limit,
                "the health of {service:?} does not become {wanted:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn postgres_keeps_every_promise() -> Result<()> {
    let database = Postgres::shared().await?.fresh_database().await?;
    suite(&Database::parse(&database.url)?).await
}

#[tokio::test]
async fn two_instances_bring_one_database_up_to_date_at_once() -> Result<()> {
    let database = Database::parse(&Postgres::shared().await?.fresh_database().await?.url)?;
    let (one, two) = tokio::try_join!(Running::start(&database), Running::start(&database))?;
    one.client()?
        .register_member(request("Kim", "+821000000001", &[]))
        .await?;
    ensure!(
        two.client()?
            .check_membership(question("+821000000001"))
            .await?
            .into_inner()
            .is_member
    );
    one.stop().await?;
    two.stop().await
}

#[tokio::test]
async fn a_dead_database_is_said_and_its_return_noticed() -> Result<()> {
    let postgres = Postgres::start().await?;
    let running = Running::start(&Database::parse(&postgres.fresh_database().await?.url)?).await?;
    let mut client = running.client()?;
    client
        .register_member(request("Kim", "+821000000001", &[]))
        .await?;
    wait_for_health(&running, ServingStatus::Serving).await?;

    postgres.kill();
    let answer = timeout(
        LONGEST_CALL,
        client.check_membership(question("+821000000001")),
    )
    .await
    .context("a call hung")?;
    refused(answer, Reason::DatabaseUnavailable, &[])?;
    let answer = timeout(
        LONGEST_CALL,
        client.register_member(request("Lee", "+821000000002", &[])),
    )
    .await
    .context("a call hung")?;
    refused(answer, Reason::DatabaseUnavailable, &[])?;
    wait_for_health(&running, ServingStatus::NotServing).await?;

    postgres.restart().await?;
    wait_for_health(&running, ServingStatus::Serving).await?;
    ensure!(
        client
            .check_membership(question("+821000000001"))
            .await?
            .into_inner()
            .is_member
    );
    drop(client);
    running.stop().await
}

#[tokio::test]
async fn a_silent_database_holds_no_call_beyond_its_deadline() -> Result<()> {
    let postgres = Postgres::shared().await?;
    let proxy = TcpProxy::start(postgres.address()).await?;
    let url = postgres
        .fresh_database()
        .await?
        .url
        .replace(&postgres.address(), proxy.address());
    let running = Running::start(&Database::parse(&url)?).await?;
    let client = running.client()?;
    client
        .clone()
        .register_member(request("Kim", "+821000000001", &[]))
        .await?;

    proxy.hold(Direction::ToServer);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let mut client = client.clone();
        calls.spawn(async move {
            timeout(
                LONGEST_CALL,
                client.check_membership(question("+821000000001")),
            )
            .await
        });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer?.context("a call hung")?;
        let reason = if answer
            .as_ref()
            .is_err_and(|status| status.code() == Reason::Overloaded.code())
        {
            Reason::Overloaded
        } else {
            Reason::DatabaseUnavailable
        };
        refused(answer, reason, &[])?;
    }
    wait_for_health(&running, ServingStatus::NotServing).await?;

    proxy.release(Direction::ToServer);
    wait_for_health(&running, ServingStatus::Serving).await?;
    ensure!(
        client
            .clone()
            .check_membership(question("+821000000001"))
            .await?
            .into_inner()
            .is_member
    );
    drop(client);
    running.stop().await
}
