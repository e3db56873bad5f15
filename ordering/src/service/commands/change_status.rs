//! The kitchen's commands: one set of fields, three statuses.

use contract::Rejection;
use contract::api::ordering as api;

use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{ChangeStatus, Command, NewStatus};
use crate::service::fields::TillFields;

/// The fields of the kitchen's requests.
struct KitchenCall<'a> {
    store_id: &'a str,
    order_id: &'a str,
    request_id: &'a str,
    terminal_id: &'a str,
    staff_id: &'a str,
    client_time: Option<&'a prost_types::Timestamp>,
}

impl KitchenCall<'_> {
    fn read(&self, fields: &mut TillFields, to: NewStatus) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", self.store_id);
        let order_id = fields.order_id(self.order_id);
        let request_id = fields.request_id(self.request_id);
        let sender = fields.sender(self.terminal_id, self.staff_id, self.client_time);
        let command = ChangeStatus {
            order_id: order_id?,
            request_id: request_id?,
            to,
        };
        Some(Wanted::new(
            store_id?,
            Command::ChangeStatus(command),
            sender,
        ))
    }
}

impl CommandRequest for api::StartPreparationRequest {
    type Response = api::StartPreparationResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let call = KitchenCall {
            store_id: &self.store_id,
            order_id: &self.order_id,
            request_id: &self.request_id,
            terminal_id: &self.terminal_id,
            staff_id: &self.staff_id,
            client_time: self.client_time.as_ref(),
        };
        call.read(fields, NewStatus::Preparing)
    }

    fn response(self, done: Done) -> Result<api::StartPreparationResponse, Rejection> {
        Ok(api::StartPreparationResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}

impl CommandRequest for api::MarkReadyRequest {
    type Response = api::MarkReadyResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let call = KitchenCall {
            store_id: &self.store_id,
            order_id: &self.order_id,
            request_id: &self.request_id,
            terminal_id: &self.terminal_id,
            staff_id: &self.staff_id,
            client_time: self.client_time.as_ref(),
        };
        call.read(fields, NewStatus::Ready)
    }

    fn response(self, done: Done) -> Result<api::MarkReadyResponse, Rejection> {
        Ok(api::MarkReadyResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}

impl CommandRequest for api::CompleteOrderRequest {
    type Response = api::CompleteOrderResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let call = KitchenCall {
            store_id: &self.store_id,
            order_id: &self.order_id,
            request_id: &self.request_id,
            terminal_id: &self.terminal_id,
            staff_id: &self.staff_id,
            client_time: self.client_time.as_ref(),
        };
        call.read(fields, NewStatus::Completed)
    }

    fn response(self, done: Done) -> Result<api::CompleteOrderResponse, Rejection> {
        Ok(api::CompleteOrderResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}
