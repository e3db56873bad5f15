use contract::Rejection;
use contract::api::ordering as api;
use contract::event::CashMovementKind;
use contract::event::event::Event;

use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{Command, RecordCashMovement};
use crate::service::fields::TillFields;

impl CommandRequest for api::RecordCashMovementRequest {
    type Response = api::RecordCashMovementResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", &self.store_id);
        let request_id = fields.request_id(&self.request_id);
        fields.require("client_time", self.client_time.is_some());
        let sender = fields.sender(&self.terminal_id, &self.staff_id, self.client_time.as_ref());
        let business_date = fields.business_date(&self.business_date);
        let drawer_id = fields.slug("drawer_id", &self.drawer_id);
        let kind = cash_movement_kind(fields, self.kind, &self.approver_id);
        let amount = fields.required_amount("amount", self.amount.as_ref());
        let reason_code = fields.slug("reason_code", &self.reason_code);
        let approver_id = fields.optional_slug("approver_id", &self.approver_id);
        let command = RecordCashMovement {
            request_id: request_id?,
            business_date: business_date?,
            drawer_id: drawer_id?,
            kind: kind?,
            amount: amount?,
            reason_code: reason_code?,
            approver_id,
        };
        Some(Wanted::new(
            store_id?,
            Command::RecordCashMovement(command),
            sender,
        ))
    }

    fn response(self, done: Done) -> Result<api::RecordCashMovementResponse, Rejection> {
        let flags = match done.fact.as_deref() {
            Some(Event::CashMoved(moved)) => moved.flags.clone(),
            _ => Vec::new(),
        };
        Ok(api::RecordCashMovementResponse {
            flags,
            business_date: self.business_date,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}

fn cash_movement_kind(
    fields: &mut TillFields,
    kind: i32,
    approver: &str,
) -> Option<CashMovementKind> {
    let kind = fields.named("kind", kind, &CashMovementKind::Unspecified);
    if kind == Some(CashMovementKind::PaidOut) && approver.is_empty() {
        fields.note("approver_id", "is needed to pay cash out");
    }
    kind
}
