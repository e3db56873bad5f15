use std::sync::Arc;
use std::time::Duration;

use contract::api::ordering as api;
use contract::api::ordering::ordering_service_server::OrderingService;
use contract::card::CardKeys;
use contract::event::event::Event;
use contract::{
    ConsistencyToken, Currency, Money, OrderId, Reason, Rejection, RequestId, StoreId, order_view,
    report_view, timestamp_to_proto,
};
use event_log::EventLog;
use jiff::Timestamp;
use runtime::{Clock, DeadlineLimits, TraceContext, deadline_of};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::membership::{Membership, Presented};
use super::menu::menu;
use super::parse::{self, Check};
use super::quote::{self, QuoteKey};
use super::registry::Registry;
use super::store_task::{Call, unknown_store};
use crate::catalog::{CatalogSource, Store};
use crate::domain::{
    Actor, AttachMember, CancelOrder, ChangeStatus, CloseBusinessDay, Command, CommandId,
    CountDrawer, ManualClose, NewStatus, PlaceOrder, RecordCashMovement, RefundOrder, place_order,
};
use crate::ledger::{Answer, Stated, Verdict};

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

/// What the answer of every mutation has.
struct Done {
    order: Option<api::Order>,
    fact: Option<Event>,
    consistency_token: String,
    currency: Option<Currency>,
    replayed: bool,
}

impl Done {
    /// The ledger's currency: a command that was carried out has one.
    fn currency(&self) -> Result<Currency, Rejection> {
        self.currency.ok_or_else(unrefused)
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

    fn done(&self, store: &StoreId, verdict: Verdict) -> Result<Done, Rejection> {
        let answer = verdict?;
        let order = answer.view(store);
        let Answer {
            fact,
            revision,
            currency,
            replayed,
            ..
        } = answer;
        Ok(Done {
            order,
            fact,
            consistency_token: self.token(store, revision),
            currency,
            replayed,
        })
    }

    /// Carries out a command of a store, be it in the catalog or not any more.
    async fn execute(
        &self,
        store_id: &StoreId,
        command: Command,
        actor: Actor,
        stated: Option<Stated>,
        deadline: Instant,
    ) -> Result<Done, Rejection> {
        let call = Call {
            command,
            actor,
            store: self.store(store_id).ok(),
            stated,
            refusal: None,
            question: None,
        };
        self.call(store_id, call, deadline).await
    }

    async fn call(
        &self,
        store_id: &StoreId,
        call: Call,
        deadline: Instant,
    ) -> Result<Done, Rejection> {
        if call.store.is_none() && !self.registry.knows(store_id).await? {
            return Err(unknown_store(store_id));
        }
        let verdict = self.registry.execute(store_id, call, deadline).await;
        self.done(store_id, verdict)
    }

    async fn place(&self, request: Request<api::PlaceOrderRequest>) -> Result<Done, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let (draft, store_id) = parse::draft_of(request.draft)?;
        let mut check = Check::default();
        let order_id = check.order_id(&request.order_id);
        let parsed = parse::draft(&mut check, &draft, &store_id, &self.card_keys);
        let tenders = parse::tenders(&mut check, &request.tenders);
        let expected_total = parse::expected_total(&mut check, request.expected_total.as_ref());
        parse::require_client_time(&mut check, request.client_time.as_ref());
        let terminal = ("draft.terminal_id", "");
        let mut actor = parse::actor(
            &mut check,
            terminal,
            ("draft.staff_id", ""),
            request.client_time.as_ref(),
            trace,
        );
        actor.occurred_at = parse::occurred_at(&mut check, request.occur_time.as_ref());
        let stated = check.finish()?;
        let (Some(order_id), Some((draft, presented))) = (order_id, parsed) else {
            return Err(unrefused());
        };
        actor.terminal_id = Some(draft.terminal_id.clone());
        actor.staff_id.clone_from(&draft.staff_id);
        let mut order = PlaceOrder {
            order_id,
            draft,
            tenders,
            expected_total,
            membership: None,
            quoted: None,
        };
        let store = self.store(&store_id);
        let mut refusal = store.as_ref().err().cloned();
        let mut question = None;
        if request.quote_token.is_empty() {
            question = presented.map(|presented| (presented, trace));
        } else {
            match self
                .quotes
                .open(&request.quote_token, &order.draft, self.clock.now())
            {
                Ok(quoted) => order.quoted = Some(Box::new(quoted)),
                Err(invalid) => refusal = refusal.or(Some(invalid)),
            }
        }
        let call = Call {
            command: Command::PlaceOrder(Box::new(order)),
            actor,
            store: store.ok(),
            stated,
            refusal,
            question,
        };
        self.call(&store_id, call, deadline).await
    }

    async fn change_status(
        &self,
        call: StatusCall<'_>,
        to: NewStatus,
        deadline: Instant,
        trace: TraceContext,
    ) -> Result<Done, Rejection> {
        let store_id = parse::store_id(call.store_id)?;
        let mut check = Check::default();
        let order_id = check.order_id(call.order_id);
        let request_id = check.request_id(call.request_id);
        let actor = parse::actor(
            &mut check,
            ("terminal_id", call.terminal_id),
            ("staff_id", call.staff_id),
            call.client_time,
            trace,
        );
        let stated = check.finish()?;
        let (order_id, request_id) = both(order_id, request_id)?;
        self.execute(
            &store_id,
            Command::ChangeStatus(ChangeStatus {
                order_id,
                request_id,
                to,
            }),
            actor,
            stated,
            deadline,
        )
        .await
    }

    async fn cancel(&self, request: Request<api::CancelOrderRequest>) -> Result<Done, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        let mut check = Check::default();
        let order_id = check.order_id(&request.order_id);
        let request_id = check.request_id(&request.request_id);
        let (terminal, staff) = (
            ("terminal_id", request.terminal_id.as_str()),
            ("staff_id", request.staff_id.as_str()),
        );
        parse::require_client_time(&mut check, request.client_time.as_ref());
        let actor = parse::actor(
            &mut check,
            terminal,
            staff,
            request.client_time.as_ref(),
            trace,
        );
        let approver_id = check.optional_slug("approver_id", &request.approver_id);
        let reason_code = check.slug("reason_code", &request.reason_code);
        let tenders = parse::returned_tenders(&mut check, &request.tenders);
        let stated = check.finish()?;
        let (order_id, request_id) = both(order_id, request_id)?;
        let reason_code = reason_code.ok_or_else(unrefused)?;
        self.execute(
            &store_id,
            Command::CancelOrder(CancelOrder {
                order_id,
                request_id,
                approver_id,
                reason_code,
                tenders,
            }),
            actor,
            stated,
            deadline,
        )
        .await
    }

    async fn refund(
        &self,
        request: Request<api::RefundOrderRequest>,
    ) -> Result<(Done, String), Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        let mut check = Check::default();
        let order_id = check.order_id(&request.order_id);
        let request_id = check.request_id(&request.request_id);
        let (terminal, staff) = (
            ("terminal_id", request.terminal_id.as_str()),
            ("staff_id", request.staff_id.as_str()),
        );
        parse::require_client_time(&mut check, request.client_time.as_ref());
        let actor = parse::actor(
            &mut check,
            terminal,
            staff,
            request.client_time.as_ref(),
            trace,
        );
        let approver_id = check.optional_slug("approver_id", &request.approver_id);
        let reason_code = check.slug("reason_code", &request.reason_code);
        let lines = parse::refund_lines(&mut check, &request.lines);
        let tenders = parse::returned_tenders(&mut check, &request.tenders);
        let stated = check.finish()?;
        let (order_id, request_id) = both(order_id, request_id)?;
        let reason_code = reason_code.ok_or_else(unrefused)?;
        let command = RefundOrder {
            order_id,
            request_id,
            approver_id,
            reason_code,
            lines,
            tenders,
        };
        let done = self
            .execute(
                &store_id,
                Command::RefundOrder(command),
                actor,
                stated,
                deadline,
            )
            .await?;
        Ok((done, request_id.to_string()))
    }

    async fn move_cash(
        &self,
        request: Request<api::RecordCashMovementRequest>,
    ) -> Result<api::RecordCashMovementResponse, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        let mut check = Check::default();
        let request_id = check.request_id(&request.request_id);
        let (terminal, staff) = (
            ("terminal_id", request.terminal_id.as_str()),
            ("staff_id", request.staff_id.as_str()),
        );
        parse::require_client_time(&mut check, request.client_time.as_ref());
        let actor = parse::actor(
            &mut check,
            terminal,
            staff,
            request.client_time.as_ref(),
            trace,
        );
        let business_date = parse::business_date(&mut check, &request.business_date);
        let drawer_id = check.slug("drawer_id", &request.drawer_id);
        let kind = parse::cash_movement_kind(&mut check, request.kind, &request.approver_id);
        let amount = parse::amount(&mut check, "amount", request.amount.as_ref());
        let reason_code = check.slug("reason_code", &request.reason_code);
        let approver_id = check.optional_slug("approver_id", &request.approver_id);
        let stated = check.finish()?;
        let command = RecordCashMovement {
            request_id: request_id.ok_or_else(unrefused)?,
            business_date: business_date.ok_or_else(unrefused)?,
            drawer_id: drawer_id.ok_or_else(unrefused)?,
            kind: kind.ok_or_else(unrefused)?,
            amount: amount.ok_or_else(unrefused)?,
            reason_code: reason_code.ok_or_else(unrefused)?,
            approver_id,
        };
        let done = self
            .execute(
                &store_id,
                Command::RecordCashMovement(command),
                actor,
                stated,
                deadline,
            )
            .await?;
        let flags = match &done.fact {
            Some(Event::CashMoved(moved)) => moved.flags.clone(),
            _ => Vec::new(),
        };
        Ok(api::RecordCashMovementResponse {
            flags,
            business_date: request.business_date,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }

    async fn close_day(
        &self,
        request: Request<api::CloseBusinessDayRequest>,
    ) -> Result<api::CloseBusinessDayResponse, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        let mut check = Check::default();
        let request_id = check.request_id(&request.request_id);
        let (terminal, staff) = (
            ("terminal_id", request.terminal_id.as_str()),
            ("staff_id", request.staff_id.as_str()),
        );
        let actor = parse::actor(
            &mut check,
            terminal,
            staff,
            request.client_time.as_ref(),
            trace,
        );
        let business_date = parse::business_date(&mut check, &request.business_date);
        let counts = parse::counts(&mut check, &request.counts);
        let carry_over = parse::carry_over(
            &mut check,
            request.carry_over_all,
            &request.carry_over_order_ids,
        );
        let stated = check.finish()?;
        let manual = ManualClose {
            request_id: request_id.ok_or_else(unrefused)?,
            counts,
            carry_over,
        };
        let command = CloseBusinessDay {
            business_date: business_date.ok_or_else(unrefused)?,
            manual: Some(manual),
        };
        let done = self
            .execute(
                &store_id,
                Command::CloseBusinessDay(command),
                actor,
                stated,
                deadline,
            )
            .await?;
        let z_report = match &done.fact {
            Some(Event::BusinessDayClosed(closed)) => Some(report_view::z_report(
                store_id.as_str(),
                closed,
                done.currency()?,
            )),
            _ => None,
        };
        Ok(api::CloseBusinessDayResponse {
            z_report,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }

    async fn count(
        &self,
        request: Request<api::CountDrawerRequest>,
    ) -> Result<api::CountDrawerResponse, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        let mut check = Check::default();
        let request_id = check.request_id(&request.request_id);
        let (terminal, staff) = (
            ("terminal_id", request.terminal_id.as_str()),
            ("staff_id", request.staff_id.as_str()),
        );
        let actor = parse::actor(
            &mut check,
            terminal,
            staff,
            request.client_time.as_ref(),
            trace,
        );
        let business_date = parse::business_date(&mut check, &request.business_date);
        let drawer_id = check.slug("drawer_id", &request.drawer_id);
        let counted = parse::amount(&mut check, "counted", request.counted.as_ref());
        let stated = check.finish()?;
        let command = CountDrawer {
            request_id: request_id.ok_or_else(unrefused)?,
            business_date: business_date.ok_or_else(unrefused)?,
            drawer_id: drawer_id.ok_or_else(unrefused)?,
            counted: counted.ok_or_else(unrefused)?,
        };
        let done = self
            .execute(
                &store_id,
                Command::CountDrawer(command),
                actor,
                stated,
                deadline,
            )
            .await?;
        let (expected, counted) = match &done.fact {
            Some(Event::DrawerCounted(counted)) => {
                (Money::new(counted.expected), Money::new(counted.counted))
            }
            _ => return Err(unrefused()),
        };
        let currency = done.currency()?;
        let money = |amount: Money| Some(currency.amount(amount));
        Ok(api::CountDrawerResponse {
            expected: money(expected),
            counted: money(counted),
            over_short: counted.minus(expected).ok().and_then(money),
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }

    async fn attach(&self, request: Request<api::AttachMemberRequest>) -> Result<Done, Rejection> {
        let (deadline, trace) = (
            deadline_of(request.metadata(), DEADLINES),
            TraceContext::of(&request),
        );
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        let mut check = Check::default();
        let order_id = check.order_id(&request.order_id);
        let request_id = check.request_id(&request.request_id);
        let member_id = check.member_id("member_id", &request.member_id);
        let (terminal, staff) = (
            ("terminal_id", request.terminal_id.as_str()),
            ("staff_id", request.staff_id.as_str()),
        );
        let actor = parse::actor(
            &mut check,
            terminal,
            staff,
            request.client_time.as_ref(),
            trace,
        );
        let stated = check.finish()?;
        let (order_id, request_id) = both(order_id, request_id)?;
        let member_id = member_id.ok_or_else(unrefused)?;
        let command = AttachMember {
            order_id,
            request_id,
            member_id,
            tier: String::new(),
            points_rate_bp: 0,
        };
        let presented = Presented::from(crate::domain::MemberKey::MemberId(member_id));
        let call = Call {
            command: Command::AttachMember(command),
            actor,
            store: self.store(&store_id).ok(),
            stated,
            refusal: None,
            question: Some((presented, trace)),
        };
        self.call(&store_id, call, deadline).await
    }

    async fn menu(
        &self,
        request: Request<api::GetMenuRequest>,
    ) -> Result<api::GetMenuResponse, Rejection> {
        let deadline = deadline_of(request.metadata(), DEADLINES);
        let store = self.store(&parse::store_id(&request.into_inner().store_id)?)?;
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
        let (draft, store_id) = parse::draft_of(request.into_inner().draft)?;
        let store = self.store(&store_id)?;
        self.registry
            .refuse_other_currency(&store, deadline)
            .await?;
        let mut check = Check::default();
        let parsed = parse::draft(&mut check, &draft, &store_id, &self.card_keys);
        if let Some(stated) = check.finish()?
            && stated.currency != store.currency
        {
            return Err(stated.refusal(store.currency));
        }
        let Some((draft, presented)) = parsed else {
            return Err(unrefused());
        };
        let standing = match &presented {
            Some(presented) => Some(self.membership.check(presented, trace).await),
            None => None,
        };
        let placed = place_order::price(&draft, &store, self.clock.now(), standing.as_ref())?;
        let expires = self
            .clock
            .now()
            .saturating_add(quote::VALIDITY)
            .unwrap_or(Timestamp::MAX);
        let quote_token = self
            .quotes
            .seal(&draft, &placed, expires)
            .ok_or_else(|| Rejection::new(Reason::Internal, Reason::Internal.meaning()))?;
        let membership = placed.membership.clone().map(|membership| api::Membership {
            outcome: membership.outcome,
            member_id: membership.member_id,
            tier: membership.tier,
            points_rate_bp: membership.points_rate_bp,
        });
        let priced = Some(order_view::priced(&placed, store.currency));
        Ok(api::QuoteOrderResponse {
            priced,
            membership,
            quote_token,
            expire_time: Some(timestamp_to_proto(expires)),
        })
    }

    async fn command_outcome(
        &self,
        request: Request<api::GetCommandOutcomeRequest>,
    ) -> Result<api::GetCommandOutcomeResponse, Rejection> {
        let deadline = deadline_of(request.metadata(), DEADLINES);
        let request = request.into_inner();
        let store_id = parse::store_id(&request.store_id)?;
        if !self.registry.knows(&store_id).await? {
            return Err(unknown_store(&store_id));
        }
        let mut check = Check::default();
        let id: Option<CommandId> = match &request.id {
            Some(api::get_command_outcome_request::Id::OrderId(id)) => {
                check.order_id(id).map(Into::into)
            }
            Some(api::get_command_outcome_request::Id::RequestId(id)) => {
                check.request_id(id).map(Into::into)
            }
            None => {
                return Err(Rejection::field(
                    Reason::InvalidArgument,
                    "order_id",
                    "give order_id or request_id",
                ));
            }
        };
        check.finish()?;
        let id = id.ok_or_else(unrefused)?;
        let (verdict, revision) = self
            .registry
            .outcome(&store_id, id, None, true, deadline)
            .await?;
        let consistency_token = self.token(&store_id, revision);
        match verdict {
            Some(verdict) => Ok(api::GetCommandOutcomeResponse {
                recorded: true,
                order: verdict?.view(&store_id),
                consistency_token,
            }),
            None => Ok(api::GetCommandOutcomeResponse {
                recorded: false,
                order: None,
                consistency_token,
            }),
        }
    }
}

/// A malformed request that came through the checks: a mistake in them.
fn unrefused() -> Rejection {
    Rejection::new(Reason::Internal, "a malformed request was not refused")
}

/// The fields that the kitchen's calls share.
struct StatusCall<'a> {
    store_id: &'a str,
    order_id: &'a str,
    request_id: &'a str,
    client_time: Option<&'a prost_types::Timestamp>,
    terminal_id: &'a str,
    staff_id: &'a str,
}

fn both(
    order_id: Option<OrderId>,
    request_id: Option<RequestId>,
) -> Result<(OrderId, RequestId), Rejection> {
    order_id.zip(request_id).ok_or_else(unrefused)
}

/// The one way from an outcome to what a caller sees.
fn answer<T>(outcome: Result<T, Rejection>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|rejection| {
        tracing::debug!(reason = %rejection.reason, message = rejection.message, "refused");
        rejection.to_status()
    })
}

macro_rules! status_call {
    ($self:ident, $request:ident, $to:expr, $response:ident) => {{
        let (deadline, trace) = (
            deadline_of($request.metadata(), DEADLINES),
            TraceContext::of(&$request),
        );
        let request = $request.into_inner();
        let call = StatusCall {
            store_id: &request.store_id,
            order_id: &request.order_id,
            request_id: &request.request_id,
            client_time: request.client_time.as_ref(),
            terminal_id: &request.terminal_id,
            staff_id: &request.staff_id,
        };
        let done = $self.change_status(call, $to, deadline, trace).await;
        answer(done.map(|done| api::$response {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        }))
    }};
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
        let done = self.place(request).await;
        answer(done.map(|done| api::PlaceOrderResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        }))
    }

    async fn start_preparation(
        &self,
        request: Request<api::StartPreparationRequest>,
    ) -> Result<Response<api::StartPreparationResponse>, Status> {
        status_call!(
            self,
            request,
            NewStatus::Preparing,
            StartPreparationResponse
        )
    }

    async fn mark_ready(
        &self,
        request: Request<api::MarkReadyRequest>,
    ) -> Result<Response<api::MarkReadyResponse>, Status> {
        status_call!(self, request, NewStatus::Ready, MarkReadyResponse)
    }

    async fn complete_order(
        &self,
        request: Request<api::CompleteOrderRequest>,
    ) -> Result<Response<api::CompleteOrderResponse>, Status> {
        status_call!(self, request, NewStatus::Completed, CompleteOrderResponse)
    }

    async fn cancel_order(
        &self,
        request: Request<api::CancelOrderRequest>,
    ) -> Result<Response<api::CancelOrderResponse>, Status> {
        let done = self.cancel(request).await;
        answer(done.map(|done| api::CancelOrderResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        }))
    }

    async fn attach_member(
        &self,
        request: Request<api::AttachMemberRequest>,
    ) -> Result<Response<api::AttachMemberResponse>, Status> {
        let done = self.attach(request).await;
        answer(done.map(|done| api::AttachMemberResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        }))
    }

    async fn refund_order(
        &self,
        request: Request<api::RefundOrderRequest>,
    ) -> Result<Response<api::RefundOrderResponse>, Status> {
        let done = self.refund(request).await;
        answer(done.map(|(done, request_id)| {
            let refund = done
                .order
                .as_ref()
                .and_then(|order| {
                    order
                        .refunds
                        .iter()
                        .find(|refund| refund.request_id == request_id)
                })
                .cloned();
            api::RefundOrderResponse {
                refund,
                order: done.order,
                consistency_token: done.consistency_token,
                replayed: done.replayed,
            }
        }))
    }

    async fn record_cash_movement(
        &self,
        request: Request<api::RecordCashMovementRequest>,
    ) -> Result<Response<api::RecordCashMovementResponse>, Status> {
        answer(self.move_cash(request).await)
    }

    async fn close_business_day(
        &self,
        request: Request<api::CloseBusinessDayRequest>,
    ) -> Result<Response<api::CloseBusinessDayResponse>, Status> {
        answer(self.close_day(request).await)
    }

    async fn count_drawer(
        &self,
        request: Request<api::CountDrawerRequest>,
    ) -> Result<Response<api::CountDrawerResponse>, Status> {
        answer(self.count(request).await)
    }

    async fn get_command_outcome(
        &self,
        request: Request<api::GetCommandOutcomeRequest>,
    ) -> Result<Response<api::GetCommandOutcomeResponse>, Status> {
        answer(self.command_outcome(request).await)
    }
}
