use std::sync::Arc;
use std::time::Duration;

use contract::api::ordering as api;
use contract::api::ordering::ordering_service_server::OrderingService;
use contract::card::CardKeys;
use contract::{ConsistencyToken, Reason, Rejection, StoreId, order_view, timestamp_to_proto};
use event_log::EventLog;
use jiff::Timestamp;
use runtime::{Clock, DeadlineLimits, TraceContext, deadline_of};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::call::{Call, MembershipQuestion, unknown_store};
use super::commands::{CommandRequest, Desk, Done, Wanted};
use super::draft::draft;
use super::fields::{Said, TillFields};
use super::membership::Membership;
use super::menu::menu;
use super::quote::{self, QuoteKey};
use super::registry::Registry;
use crate::catalog::{CatalogSource, Store};
use crate::domain::{Actor, CommandId, Principal, place_order};
use crate::ledger::Answer;

const DEADLINES: DeadlineLimits = DeadlineLimits {
    default: Duration::from_secs(5),
    longest: Duration::from_secs(30),
};

/// The calls of tills.
pub struct Ordering {
    log: Arc<dyn EventLog>,
    registry: Registry,
    catalog: CatalogSource,
    membership: Membership,
    quotes: QuoteKey,
    card_keys: CardKeys,
    clock: Clock,
}

/// What a call says beside its request.
struct Caller {
    principal: Principal,
    trace: TraceContext,
    deadline: Instant,
}

impl Caller {
    /// The principal is what the call's credential says. Whatever checks credentials leaves it among the request's extensions, which no
    /// caller can write to.
    fn of<T>(request: &Request<T>) -> Self {
        let principal = request.extensions().get::<Principal>();
        Self {
            principal: principal.cloned().unwrap_or(Principal::TILL),
            trace: TraceContext::of(request),
            deadline: deadline_of(request.metadata(), DEADLINES),
        }
    }
}

impl Ordering {
    pub fn new(
        log: Arc<dyn EventLog>,
        registry: Registry,
        catalog: CatalogSource,
        membership: Membership,
        quotes: QuoteKey,
        card_keys: CardKeys,
        clock: Clock,
    ) -> Self {
        Self {
            log,
            registry,
            catalog,
            membership,
            quotes,
            card_keys,
            clock,
        }
    }

    fn store(&self, id: &StoreId) -> Result<Arc<Store>, Rejection> {
        let store = self.catalog.current().stores.get(id).cloned();
        store.ok_or_else(|| unknown_store(id))
    }

    fn token(&self, store: &StoreId, revision: u64) -> String {
        let epoch = self.log.epoch();
        ConsistencyToken {
            log_id: epoch.log_id,
            epoch: epoch.epoch,
            store: store.clone(),
            revision,
        }
        .to_string()
    }

    /// Carries out a command, be its store in the catalog or not any more.
    async fn carry_out<R: CommandRequest>(
        &self,
        request: Request<R>,
    ) -> Result<R::Response, Rejection> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let desk = Desk {
            card_keys: &self.card_keys,
            quotes: &self.quotes,
            now: self.clock.now(),
        };
        let Said {
            value: wanted,
            stated,
        } = TillFields::read(|fields| request.read(fields, &desk))?;
        let Wanted {
            store_id,
            command,
            sender,
            presented,
            refusal,
        } = wanted;
        let store = self.store(&store_id);
        if store.is_err() && !self.registry.knows(&store_id).await? {
            return Err(unknown_store(&store_id));
        }
        // A store that has left the catalog sells nothing; what it has sold is still made, given back and settled.
        let sells_nothing = command
            .new_order()
            .and_then(|_| store.as_ref().err().cloned());
        let call = Call {
            command,
            actor: Actor {
                principal: caller.principal,
                terminal_id: sender.terminal_id,
                staff_id: sender.staff_id,
                client_time: sender.client_time,
                occurred_at: sender.occurred_at,
                traceparent: caller.trace.to_string(),
            },
            store: store.ok(),
            stated,
            refusal: sells_nothing.or(refusal),
            membership: presented.map(|presented| MembershipQuestion {
                presented,
                trace: caller.trace,
            }),
        };
        let answer = self
            .registry
            .execute(&store_id, call, caller.deadline)
            .await?;
        request.response(self.done(&store_id, answer))
    }

    fn done(&self, store: &StoreId, answer: Answer) -> Done {
        Done {
            order: answer.view(store),
            fact: answer.fact,
            consistency_token: self.token(store, answer.revision),
            currency: answer.currency,
            replayed: answer.replayed,
        }
    }

    async fn menu(
        &self,
        request: Request<api::GetMenuRequest>,
    ) -> Result<api::GetMenuResponse, Rejection> {
        let deadline = deadline_of(request.metadata(), DEADLINES);
        let request = request.into_inner();
        let said = TillFields::read(|fields| fields.store_id("store_id", &request.store_id))?;
        let store = self.store(&said.value)?;
        self.registry
            .refuse_other_currency(&store, deadline)
            .await?;
        Ok(api::GetMenuResponse {
            menu: Some(menu(&store)),
        })
    }

    async fn quote(
        &self,
        request: Request<api::QuoteOrderRequest>,
    ) -> Result<api::QuoteOrderResponse, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let Said {
            value: asked,
            stated,
        } = TillFields::read(|fields| draft(fields, request.draft.as_ref(), &self.card_keys))?;
        let store = self.store(&asked.draft.store_id)?;
        self.registry
            .refuse_other_currency(&store, deadline)
            .await?;
        if let Some(stated) = stated
            && stated.currency != store.currency
        {
            return Err(stated.refusal(store.currency));
        }
        let standing = match &asked.presented {
            Some(presented) => Some(self.membership.check(presented, trace).await),
            None => None,
        };
        let now = self.clock.now();
        let placed = place_order::price(&asked.draft, &store, now, standing.as_ref())?;
        let expires = now
            .saturating_add(quote::VALIDITY)
            .unwrap_or(Timestamp::MAX);
        let quote_token = self
            .quotes
            .seal(&asked.draft, &placed, expires)
            .ok_or_else(|| Rejection::new(Reason::Internal, Reason::Internal.meaning()))?;
        let membership = placed.membership.clone().map(|membership| api::Membership {
            outcome: membership.outcome,
            member_id: membership.member_id,
            tier: membership.tier,
            points_rate_bp: membership.points_rate_bp,
        });
        Ok(api::QuoteOrderResponse {
            priced: Some(order_view::priced(&placed, store.currency)),
            membership,
            quote_token,
            expire_time: Some(timestamp_to_proto(expires)),
        })
    }

    async fn command_outcome(
        &self,
        request: Request<api::GetCommandOutcomeRequest>,
    ) -> Result<api::GetCommandOutcomeResponse, Rejection> {
        use api::get_command_outcome_request::Id;
        let deadline = deadline_of(request.metadata(), DEADLINES);
        let request = request.into_inner();
        let said = TillFields::read(|fields| {
            let store_id = fields.store_id("store_id", &request.store_id);
            let id: Option<CommandId> = match &request.id {
                Some(Id::OrderId(id)) => fields.order_id(id).map(Into::into),
                Some(Id::RequestId(id)) => fields.request_id(id).map(Into::into),
                None => {
                    fields.note("order_id", "give order_id or request_id");
                    None
                }
            };
            store_id.zip(id)
        })?;
        let (store_id, id) = said.value;
        if !self.registry.knows(&store_id).await? {
            return Err(unknown_store(&store_id));
        }
        let outcome = self
            .registry
            .outcome(&store_id, id, None, true, deadline)
            .await?;
        let recorded = outcome.verdict.is_some();
        let order = match outcome.verdict {
            Some(verdict) => verdict?.view(&store_id),
            None => None,
        };
        Ok(api::GetCommandOutcomeResponse {
            recorded,
            order,
            consistency_token: self.token(&store_id, outcome.revision),
        })
    }
}

/// The one way from an outcome to what a caller sees.
fn answer<T>(outcome: Result<T, Rejection>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|rejection| {
        tracing::debug!(reason = %rejection.reason, message = rejection.message, "refused");
        rejection.to_status()
    })
}

#[tonic::async_trait]
impl OrderingService for Ordering {
    async fn get_menu(
        &self,
        request: Request<api::GetMenuRequest>,
    ) -> Result<Response<api::GetMenuResponse>, Status> {
        answer(self.menu(request).await)
    }

    async fn quote_order(
        &self,
        request: Request<api::QuoteOrderRequest>,
    ) -> Result<Response<api::QuoteOrderResponse>, Status> {
        answer(self.quote(request).await)
    }

    async fn place_order(
        &self,
        request: Request<api::PlaceOrderRequest>,
    ) -> Result<Response<api::PlaceOrderResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn start_preparation(
        &self,
        request: Request<api::StartPreparationRequest>,
    ) -> Result<Response<api::StartPreparationResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn mark_ready(
        &self,
        request: Request<api::MarkReadyRequest>,
    ) -> Result<Response<api::MarkReadyResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn complete_order(
        &self,
        request: Request<api::CompleteOrderRequest>,
    ) -> Result<Response<api::CompleteOrderResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn cancel_order(
        &self,
        request: Request<api::CancelOrderRequest>,
    ) -> Result<Response<api::CancelOrderResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn attach_member(
        &self,
        request: Request<api::AttachMemberRequest>,
    ) -> Result<Response<api::AttachMemberResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn refund_order(
        &self,
        request: Request<api::RefundOrderRequest>,
    ) -> Result<Response<api::RefundOrderResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn record_cash_movement(
        &self,
        request: Request<api::RecordCashMovementRequest>,
    ) -> Result<Response<api::RecordCashMovementResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn close_business_day(
        &self,
        request: Request<api::CloseBusinessDayRequest>,
    ) -> Result<Response<api::CloseBusinessDayResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn count_drawer(
        &self,
        request: Request<api::CountDrawerRequest>,
    ) -> Result<Response<api::CountDrawerResponse>, Status> {
        answer(self.carry_out(request).await)
    }

    async fn get_command_outcome(
        &self,
        request: Request<api::GetCommandOutcomeRequest>,
    ) -> Result<Response<api::GetCommandOutcomeResponse>, Status> {
        answer(self.command_outcome(request).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_its_credentials_or_else_a_tills() {
        let mut request = Request::new(());
        assert_eq!(Caller::of(&request).principal, Principal::TILL);
        let gangnam = Principal::from("till:gangnam-1".to_owned());
        request.extensions_mut().insert(gangnam.clone());
        assert_eq!(Caller::of(&request).principal, gangnam);
    }
}
