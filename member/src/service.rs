use std::time::Duration;

use contract::api::member as api;
use contract::api::member::member_service_server::MemberService;
use contract::{Reason, Rejection, timestamp_to_proto};
use runtime::Clock;
use tonic::{Request, Response, Status};

use crate::config::Benefits;
use crate::request;
use crate::store::{Members, StoreError, unknown};
use crate::value::{Key, Member, Tier};

const RETRY_AFTER_OVERLOAD: Duration = Duration::from_millis(500);
const RETRY_AFTER_OUTAGE: Duration = Duration::from_millis(1_000);

pub(crate) struct Service {
    pub members: Members,
    pub benefits: Benefits,
    pub clock: Clock,
}

#[tonic::async_trait]
impl MemberService for Service {
    async fn check_membership(
        &self,
        request: Request<api::CheckMembershipRequest>,
    ) -> Result<Response<api::CheckMembershipResponse>, Status> {
        let key = request::key(request.get_ref())?;
        let member = self.members.find(&key).await.map_err(to_status)?;
        Ok(Response::new(match member {
            Some(Member {
                id,
                contact: Some(contact),
                tier,
                ..
            }) => {
                let benefits = self.benefits.of(tier);
                api::CheckMembershipResponse {
                    is_member: true,
                    member_id: id.to_string(),
                    display_name: contact.display_name.as_str().to_owned(),
                    tier: api_tier(tier).into(),
                    benefits: Some(api::Benefits {
                        points_rate_bp: benefits.points_rate_bp,
                        member_prices: benefits.member_prices,
                    }),
                }
            }
            _ => api::CheckMembershipResponse::default(),
        }))
    }

    async fn register_member(
        &self,
        request: Request<api::RegisterMemberRequest>,
    ) -> Result<Response<api::RegisterMemberResponse>, Status> {
        let registration = request::registration(request.get_ref())?;
        let registered = self
            .members
            .register(&registration, self.clock.now())
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::RegisterMemberResponse {
            member: Some(api_member(&registered.member)),
            replayed: registered.replayed,
        }))
    }

    async fn get_member(
        &self,
        request: Request<api::GetMemberRequest>,
    ) -> Result<Response<api::GetMemberResponse>, Status> {
        let id = request::member_id(&request.get_ref().member_id)?;
        let member = self
            .members
            .find(&Key::Id(id))
            .await
            .map_err(to_status)?
            .ok_or_else(|| unknown(id))?;
        Ok(Response::new(api::GetMemberResponse {
            member: Some(api_member(&member)),
        }))
    }

    async fn update_member(
        &self,
        request: Request<api::UpdateMemberRequest>,
    ) -> Result<Response<api::UpdateMemberResponse>, Status> {
        let change = request::change(request.get_ref())?;
        let member = self
            .members
            .update(&change, self.clock.now())
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::UpdateMemberResponse {
            member: Some(api_member(&member)),
        }))
    }

    async fn withdraw_member(
        &self,
        request: Request<api::WithdrawMemberRequest>,
    ) -> Result<Response<api::WithdrawMemberResponse>, Status> {
        let id = request::member_id(&request.get_ref().member_id)?;
        let member = self
            .members
            .withdraw(id, self.clock.now())
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::WithdrawMemberResponse {
            member: Some(api_member(&member)),
        }))
    }
}

/// The one place where a failure becomes an answer. What callers cannot act on is logged here with its causes, and nowhere else.
fn to_status(error: StoreError) -> Status {
    match error {
        StoreError::Rejected(rejection) => rejection.to_status(),
        StoreError::Overloaded | StoreError::Conflict => {
            Rejection::new(Reason::Overloaded, error.to_string())
                .retry_after(RETRY_AFTER_OVERLOAD)
                .to_status()
        }
        StoreError::Unavailable(cause) => {
            tracing::warn!(%cause, "the database does not answer");
            let message = "the members' database does not answer";
            Rejection::new(Reason::DatabaseUnavailable, message)
                .retry_after(RETRY_AFTER_OUTAGE)
                .to_status()
        }
        StoreError::Failed(_) | StoreError::Corrupt(_) => {
            // Printed, never debugged: PostgreSQL's errors carry the offending row in their details.
            let causes: Vec<String> =
                std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
                    error.source()
                })
                .map(ToString::to_string)
                .collect();
            tracing::error!(causes = causes.join(": "), "a call failed");
            Rejection::new(Reason::Internal, "internal error").to_status()
        }
    }
}

fn api_tier(tier: Tier) -> api::Tier {
    match tier {
        Tier::Basic => api::Tier::Basic,
        Tier::Silver => api::Tier::Silver,
        Tier::Gold => api::Tier::Gold,
    }
}

fn api_member(member: &Member) -> api::Member {
    let state = if member.is_active() {
        api::MemberState::Active
    } else {
        api::MemberState::Withdrawn
    };
    let (display_name, phone_number) = member
        .contact
        .as_ref()
        .map(|contact| {
            (
                contact.display_name.as_str().to_owned(),
                contact.phone_number.as_str().to_owned(),
            )
        })
        .unwrap_or_default();
    api::Member {
        member_id: member.id.to_string(),
        display_name,
        phone_number,
        tier: api_tier(member.tier).into(),
        state: state.into(),
        register_time: Some(timestamp_to_proto(member.register_time)),
        update_time: Some(timestamp_to_proto(member.update_time)),
        etag: member.etag(),
    }
}
