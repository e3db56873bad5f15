use contract::Rejection;
use contract::api::ordering as api;

use super::returns::returned_tenders;
use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{CancelOrder, Command};
use crate::service::fields::TillFields;

impl CommandRequest for api::CancelOrderRequest {
    type Response = api::CancelOrderResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", &self.store_id);
        let order_id = fields.order_id(&self.order_id);
        let request_id = fields.request_id(&self.request_id);
        fields.require("client_time", self.client_time.is_some());
        let sender = fields.sender(&self.terminal_id, &self.staff_id, self.client_time.as_ref());
        let approver_id = fields.optional_slug("approver_id", &self.approver_id);
        let reason_code = fields.slug("reason_code", &self.reason_code);
        let tenders = returned_tenders(fields, &self.tenders);
        let command = CancelOrder {
            order_id: order_id?,
            request_id: request_id?,
            approver_id,
            reason_code: reason_code?,
            tenders,
        };
        Some(Wanted::new(
            store_id?,
            Command::CancelOrder(command),
            sender,
        ))
    }

    fn response(self, done: Done) -> Result<api::CancelOrderResponse, Rejection> {
        Ok(api::CancelOrderResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}
