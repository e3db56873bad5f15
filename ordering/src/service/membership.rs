use std::sync::Arc;
use std::time::Duration;

use contract::api::member::check_membership_request::Key;
use contract::api::member::member_service_client::MemberServiceClient;
use contract::api::member::{CardTokenHash, CardTokenHashes, CheckMembershipRequest, Tier};
use contract::card::CardHash;
use runtime::TraceContext;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use uuid::Uuid;

use super::config::Config;
use crate::domain::{MemberKey, MemberStanding};

/// Calls that the breaker judges by, and the share of failures that opens it.
const BREAKER_WINDOW: usize = 20;
const BREAKER_FAILURE_RATE: f64 = 0.5;
/// How long an open breaker lets nothing through.
const BREAKER_PAUSE: Duration = Duration::from_secs(2);
const BREAKER_PROBES: usize = 3;

/// What a till presents: the key to record, and the card's token itself where there is one.
#[derive(Debug, Clone)]
pub struct Presented {
    pub key: MemberKey,
    pub card_token: Option<String>,
}

impl From<MemberKey> for Presented {
    fn from(key: MemberKey) -> Self {
        Self {
            key,
            card_token: None,
        }
    }
}

/// `None`: the service answered that it cannot say, which is no outage.
type Check =
    BoxCloneSyncService<(CheckMembershipRequest, TraceContext), Option<MemberStanding>, BoxError>;

/// The membership check: bounded, with a deadline and a breaker. It never fails; it says that it does not know.
#[derive(Clone)]
pub struct Membership {
    check: Arc<Check>,
}

impl Membership {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let client = MemberServiceClient::new(config.member.clone());
        let call = tower::service_fn(
            move |(request, trace): (CheckMembershipRequest, TraceContext)| {
                let mut client = client.clone();
                async move { check(&mut client, request, trace).await }
            },
        );
        let limited = ServiceBuilder::new()
            .load_shed()
            .concurrency_limit(config.member_concurrency);
        let breaker = CircuitBreakerLayer::builder()
            .name("member")
            .failure_rate_threshold(BREAKER_FAILURE_RATE)
            .sliding_window_size(BREAKER_WINDOW)
            .minimum_number_of_calls(BREAKER_WINDOW / 2)
            .wait_duration_in_open(BREAKER_PAUSE)
            .permitted_calls_in_half_open(BREAKER_PROBES)
            .build();
        let check = match breaker {
            Ok(breaker) => {
                let guarded = ServiceBuilder::new()
                    .layer(breaker)
                    .timeout(config.member_deadline)
                    .service(call);
                BoxCloneSyncService::new(
                    limited
                        .map_err(BoxError::from)
                        .service(guarded.map_err(BoxError::from)),
                )
            }
            // Its settings are constants; without it the deadline still holds.
            Err(error) => {
                tracing::error!(%error, "no circuit breaker before the member service");
                BoxCloneSyncService::new(limited.timeout(config.member_deadline).service(call))
            }
        };
        Self {
            check: Arc::new(check),
        }
    }

    /// One that answers by itself; `None` is no answer.
    #[cfg(test)]
    pub fn answering(
        answer: impl Fn(Uuid) -> Option<MemberStanding> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        let check = tower::service_fn(
            move |(request, _): (CheckMembershipRequest, TraceContext)| {
                let answer = answer.clone();
                async move {
                    match request.key {
                        Some(Key::MemberId(id)) => answer(Uuid::try_parse(&id)?)
                            .map(Some)
                            .ok_or_else(|| BoxError::from("no answer")),
                        _ => Err(BoxError::from("not by member id")),
                    }
                }
            },
        );
        Self {
            check: Arc::new(BoxCloneSyncService::new(check)),
        }
    }

    /// Is the bearer a member? `Unverified` when the service did not say in time.
    pub async fn check(&self, presented: &Presented, trace: TraceContext) -> MemberStanding {
        let key = match (&presented.card_token, &presented.key) {
            (Some(token), _) => Key::CardToken(token.clone()),
            (None, MemberKey::MemberId(id)) => Key::MemberId(id.to_string()),
            (None, MemberKey::Card(hashes)) => Key::CardTokenHashes(CardTokenHashes {
                hashes: hashes.iter().map(card_token_hash).collect(),
            }),
        };
        let request = CheckMembershipRequest { key: Some(key) };
        match Check::clone(&self.check).oneshot((request, trace)).await {
            Ok(Some(standing)) => standing,
            Ok(None) => MemberStanding::Unverified(presented.key.clone()),
            Err(error) => {
                tracing::debug!(%error, "membership check without an answer");
                MemberStanding::Unverified(presented.key.clone())
            }
        }
    }
}

async fn check(
    client: &mut MemberServiceClient<tonic::transport::Channel>,
    request: CheckMembershipRequest,
    trace: TraceContext,
) -> Result<Option<MemberStanding>, BoxError> {
    let mut request = tonic::Request::new(request);
    trace.child().inject(&mut request);
    let answer = match client.check_membership(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == tonic::Code::FailedPrecondition => {
            tracing::warn!(%status, "the member service cannot say whether the bearer is a member");
            return Ok(None);
        }
        Err(status) => return Err(status.into()),
    };
    if !answer.is_member {
        return Ok(Some(MemberStanding::NotMember));
    }
    let benefits = answer.benefits.unwrap_or_default();
    Ok(Some(MemberStanding::Member {
        member_id: Uuid::try_parse(&answer.member_id)?,
        tier: match answer.tier() {
            Tier::Gold => "gold",
            Tier::Silver => "silver",
            Tier::Basic | Tier::Unspecified => "basic",
        }
        .to_owned(),
        points_rate_bp: benefits.points_rate_bp,
        member_prices: benefits.member_prices,
    }))
}

fn card_token_hash(hash: &CardHash) -> CardTokenHash {
    CardTokenHash {
        key_id: hash.key_id.to_string(),
        hmac_sha256: hash.hmac.to_vec(),
    }
}
