use contract::Rejection;
use contract::api::ordering as api;
use contract::event::TenderKind;

use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{Command, DraftTender, PlaceOrder};
use crate::service::draft::draft;
use crate::service::fields::{Sender, TillFields, is_repeated};

pub(super) const MAX_TENDERS: usize = 20;

impl CommandRequest for api::PlaceOrderRequest {
    type Response = api::PlaceOrderResponse;

    fn read(&self, fields: &mut TillFields, desk: &Desk<'_>) -> Option<Wanted> {
        let order_id = fields.order_id(&self.order_id);
        let asked = draft(fields, self.draft.as_ref(), desk.card_keys);
        let tenders = tenders(fields, &self.tenders);
        let expected_total = fields.optional_amount("expected_total", self.expected_total.as_ref());
        fields.require("client_time", self.client_time.is_some());
        let client_time = fields.time("client_time", self.client_time.as_ref());
        let occurred_at = fields.time("occur_time", self.occur_time.as_ref());
        let asked = asked?;
        let sender = Sender {
            terminal_id: Some(asked.draft.terminal_id.clone()),
            staff_id: asked.draft.staff_id.clone(),
            client_time,
            occurred_at,
        };
        let mut order = PlaceOrder {
            order_id: order_id?,
            draft: asked.draft,
            tenders,
            expected_total,
            membership: None,
            quoted: None,
        };
        let (mut presented, mut refusal) = (None, None);
        if self.quote_token.is_empty() {
            presented = asked.presented;
        } else {
            // What was quoted says what the membership check said.
            match desk.quotes.open(&self.quote_token, &order.draft, desk.now) {
                Ok(quoted) => order.quoted = Some(Box::new(quoted)),
                Err(invalid) => refusal = Some(invalid),
            }
        }
        Some(Wanted {
            store_id: order.draft.store_id.clone(),
            command: Command::PlaceOrder(Box::new(order)),
            sender,
            presented,
            refusal,
        })
    }

    fn response(self, done: Done) -> Result<api::PlaceOrderResponse, Rejection> {
        Ok(api::PlaceOrderResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}

fn tenders(fields: &mut TillFields, tenders: &[api::Tender]) -> Vec<DraftTender> {
    fields.at_most("tenders", tenders.len(), MAX_TENDERS);
    let mut parsed = Vec::with_capacity(tenders.len());
    for (index, tender) in tenders.iter().take(MAX_TENDERS).enumerate() {
        let field = format_args!("tenders[{index}]");
        if is_repeated(tenders, index, |tender| &tender.tender_id) {
            fields.note(format_args!("{field}.tender_id"), "is not unique");
        }
        let kind = fields.named(
            format_args!("{field}.kind"),
            tender.kind,
            &TenderKind::Unspecified,
        );
        fields.optional_slug(format_args!("{field}.scheme"), &tender.scheme);
        fields.reference(
            format_args!("{field}.external_reference"),
            &tender.external_reference,
        );
        if tender.amount.is_none() && tender.tendered.is_none() {
            fields.note(format_args!("{field}.amount"), "give amount or tendered");
        }
        let amount = fields.optional_amount(format_args!("{field}.amount"), tender.amount.as_ref());
        let tendered =
            fields.optional_amount(format_args!("{field}.tendered"), tender.tendered.as_ref());
        let change = fields.optional_amount(format_args!("{field}.change"), tender.change.as_ref());
        let drawer_id = fields.optional_slug(format_args!("{field}.drawer_id"), &tender.drawer_id);
        let tender_id = fields.slug(format_args!("{field}.tender_id"), &tender.tender_id);
        if let (Some(tender_id), Some(kind)) = (tender_id, kind) {
            let (scheme, external_reference) =
                (tender.scheme.clone(), tender.external_reference.clone());
            parsed.push(DraftTender {
                tender_id,
                kind,
                scheme,
                amount,
                tendered,
                change,
                external_reference,
                drawer_id,
            });
        }
    }
    parsed
}
