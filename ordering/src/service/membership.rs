use std::sync::Arc;
use std::time::Duration;

use contract::api::member::check_membership_request::Key;
use contract::api::member::member_service_client::MemberServiceClient;
use contract::api::member::{
    CardTokenHash, CardTokenHashes, CheckMembershipRequest, CheckMembershipResponse, Tier,
};
use contract::card::CardHash;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runtime::TraceContext;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use uuid::Uuid;

use super::breaker::Breaker;
use super::config::Config;
use crate::domain::{MemberKey, MemberStanding};

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

/// Why a check has no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("too many checks are under way")]
    Overloaded,
    #[error("the service did not answer lately, and is left alone for a while")]
    LeftAlone,
    #[error("the service did not answer in time")]
    Late,
    #[error("the service is not available: {0}")]
    Unavailable(Status),
    /// It is there, and answers: another call would not be answered otherwise.
    #[error("the service cannot say whether the bearer is a member: {0}")]
    CannotSay(String),
}

impl NoAnswer {
    /// Whether the service is down or slow, so that it is better left alone.
    fn is_outage(&self) -> bool {
        matches!(self, Self::Late | Self::Unavailable(_))
    }
}

impl From<Status> for NoAnswer {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss
            | Code::Unknown => Self::Unavailable(status),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::CannotSay(status.to_string()),
        }
    }
}

type Answer = BoxFuture<'static, Result<MemberStanding, NoAnswer>>;
type Ask = dyn Fn(CheckMembershipRequest, TraceContext) -> Answer + Send + Sync;

/// The membership check: bounded, with a deadline and a breaker. It never fails; it says that it does not know.
#[derive(Clone)]
pub struct Membership {
    ask: Arc<Ask>,
    /// For checks under way.
    room: Arc<Semaphore>,
    breaker: Arc<Breaker>,
    deadline: Duration,
}

impl Membership {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let client = MemberServiceClient::new(config.member.clone());
        let ask = move |request: CheckMembershipRequest, trace: TraceContext| -> Answer {
            let mut client = client.clone();
            let mut request = tonic::Request::new(request);
            trace.child().inject(&mut request);
            async move { standing(client.check_membership(request).await?.get_ref()) }.boxed()
        };
        Self::asking(ask, config.member_concurrency, config.member_deadline)
    }

    fn asking(
        ask: impl Fn(CheckMembershipRequest, TraceContext) -> Answer + Send + Sync + 'static,
        at_once: usize,
        deadline: Duration,
    ) -> Self {
        Self {
            ask: Arc::new(ask),
            room: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
            breaker: Arc::default(),
            deadline,
        }
    }

    /// One that answers by itself; `None` is no answer.
    #[cfg(test)]
    pub fn answering(
        answer: impl Fn(Uuid) -> Option<MemberStanding> + Send + Sync + 'static,
    ) -> Self {
        let ask = move |request: CheckMembershipRequest, _: TraceContext| -> Answer {
            let known = match request.key {
                Some(Key::MemberId(id)) => Uuid::try_parse(&id).ok().and_then(&answer),
                _ => None,
            };
            let known = known.ok_or_else(|| NoAnswer::CannotSay("no answer".to_owned()));
            std::future::ready(known).boxed()
        };
        Self::asking(ask, 256, Duration::from_secs(1))
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
        match self.guarded(request, trace).await {
            Ok(standing) => return standing,
            Err(problem @ NoAnswer::CannotSay(_)) => {
                tracing::warn!(%problem, "membership check without an answer");
            }
            Err(problem) => tracing::debug!(%problem, "membership check without an answer"),
        }
        MemberStanding::Unverified(presented.key.clone())
    }

    async fn guarded(
        &self,
        request: CheckMembershipRequest,
        trace: TraceContext,
    ) -> Result<MemberStanding, NoAnswer> {
        let _room = self.room.try_acquire().map_err(|_| NoAnswer::Overloaded)?;
        let permit = self
            .breaker
            .admit(Instant::now())
            .ok_or(NoAnswer::LeftAlone)?;
        let answer = timeout(self.deadline, (self.ask)(request, trace))
            .await
            .unwrap_or(Err(NoAnswer::Late));
        let outage = answer.as_ref().is_err_and(NoAnswer::is_outage);
        permit.judge(outage, Instant::now());
        answer
    }
}

fn standing(answer: &CheckMembershipResponse) -> Result<MemberStanding, NoAnswer> {
    if !answer.is_member {
        return Ok(MemberStanding::NotMember);
    }
    let tier = match answer.tier() {
        Tier::Gold => "gold",
        Tier::Silver => "silver",
        Tier::Basic | Tier::Unspecified => "basic",
    };
    let benefits = answer.benefits.unwrap_or_default();
    Ok(MemberStanding::Member {
        member_id: Uuid::try_parse(&answer.member_id)
            .map_err(|error| NoAnswer::CannotSay(format!("its member_id: {error}")))?,
        tier: tier.to_owned(),
        points_rate_bp: benefits.points_rate_bp,
        member_prices: benefits.member_prices,
    })
}

fn card_token_hash(hash: &CardHash) -> CardTokenHash {
    CardTokenHash {
        key_id: hash.key_id.to_string(),
        hmac_sha256: hash.hmac.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// How many of `calls` reach a service that answers so.
    async fn asked(calls: u32, answer: impl Fn() -> Answer + Send + Sync + 'static) -> u32 {
        let reached = Arc::new(AtomicU32::new(0));
        let counter = reached.clone();
        let ask = move |_: CheckMembershipRequest, _: TraceContext| {
            counter.fetch_add(1, Ordering::Relaxed);
            answer()
        };
        let membership = Membership::asking(ask, 1, Duration::from_millis(10));
        let presented = Presented::from(MemberKey::MemberId(Uuid::nil()));
        for _ in 0..calls {
            let standing = membership
                .check(&presented, TraceContext::new_trace())
                .await;
            assert_eq!(
                standing,
                MemberStanding::Unverified(presented.key.clone()),
                "whatever the reason, it is not known"
            );
        }
        reached.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_service_that_is_down_or_slow_is_left_alone() {
        let down = || std::future::ready(Err(Status::unavailable("away").into())).boxed();
        assert_eq!(asked(100, down).await, 20);
        assert_eq!(asked(21, || std::future::pending().boxed()).await, 20);
    }

    #[tokio::test]
    async fn a_service_that_refuses_is_asked_on() {
        let refused = |code| std::future::ready(Err(Status::new(code, "no").into())).boxed();
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::FailedPrecondition,
        ] {
            assert_eq!(asked(100, move || refused(code)).await, 100, "{code}");
        }
    }
}
