use contract::api::ordering as api;
use contract::{Rejection, RequestId};

use super::returns::returned_tenders;
use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{Command, RefundLine, RefundOrder};
use crate::service::draft::{MAX_LINES, MAX_QUANTITY};
use crate::service::fields::{TillFields, is_repeated};

impl CommandRequest for api::RefundOrderRequest {
    type Response = api::RefundOrderResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", &self.store_id);
        let order_id = fields.order_id(&self.order_id);
        let request_id = fields.request_id(&self.request_id);
        fields.require("client_time", self.client_time.is_some());
        let sender = fields.sender(&self.terminal_id, &self.staff_id, self.client_time.as_ref());
        let approver_id = fields.optional_slug("approver_id", &self.approver_id);
        let reason_code = fields.slug("reason_code", &self.reason_code);
        let lines = refund_lines(fields, &self.lines);
        let tenders = returned_tenders(fields, &self.tenders);
        let command = RefundOrder {
            order_id: order_id?,
            request_id: request_id?,
            approver_id,
            reason_code: reason_code?,
            lines,
            tenders,
        };
        Some(Wanted::new(
            store_id?,
            Command::RefundOrder(command),
            sender,
        ))
    }

    fn response(self, done: Done) -> Result<api::RefundOrderResponse, Rejection> {
        // As the order spells it, which may not be how the request did.
        let request_id = RequestId::parse(&self.request_id).map(|id| id.to_string());
        let refunds = done.order.iter().flat_map(|order| &order.refunds);
        let refund = refunds
            .into_iter()
            .find(|refund| request_id.as_ref() == Ok(&refund.request_id))
            .cloned();
        Ok(api::RefundOrderResponse {
            refund,
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}

fn refund_lines(fields: &mut TillFields, lines: &[api::RefundLine]) -> Vec<RefundLine> {
    if lines.is_empty() {
        fields.note("lines", "a refund has at least one line");
    }
    fields.at_most("lines", lines.len(), MAX_LINES);
    let mut parsed = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().take(MAX_LINES).enumerate() {
        if !(1..=MAX_QUANTITY).contains(&line.quantity) {
            fields.note(
                format_args!("lines[{index}].quantity"),
                format_args!("1 to {MAX_QUANTITY}, not {}", line.quantity),
            );
        }
        if is_repeated(lines, index, |line| &line.line_id) {
            fields.note(format_args!("lines[{index}].line_id"), "is named twice");
        }
        let line_id = fields.slug(format_args!("lines[{index}].line_id"), &line.line_id);
        parsed.extend(line_id.map(|line_id| RefundLine {
            line_id,
            quantity: line.quantity,
        }));
    }
    parsed
}
