use contract::api::ordering as api;
use contract::event::event::Event;
use contract::{OrderId, Rejection, report_view};

use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{CarryOver, CloseBusinessDay, Command, DrawerCount, ManualClose};
use crate::service::fields::{TillFields, is_repeated};

const MAX_DRAWERS: usize = 50;
const MAX_CARRIED: usize = 2_000;

impl CommandRequest for api::CloseBusinessDayRequest {
    type Response = api::CloseBusinessDayResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", &self.store_id);
        let request_id = fields.request_id(&self.request_id);
        let sender = fields.sender(&self.terminal_id, &self.staff_id, self.client_time.as_ref());
        let business_date = fields.business_date(&self.business_date);
        let counts = counts(fields, &self.counts);
        let carry_over = carry_over(fields, self.carry_over_all, &self.carry_over_order_ids);
        let command = CloseBusinessDay {
            business_date: business_date?,
            manual: Some(ManualClose {
                request_id: request_id?,
                counts,
                carry_over,
            }),
        };
        Some(Wanted::new(
            store_id?,
            Command::CloseBusinessDay(command),
            sender,
        ))
    }

    fn response(self, done: Done) -> Result<api::CloseBusinessDayResponse, Rejection> {
        let z_report = match done.fact.as_deref() {
            Some(Event::BusinessDayClosed(closed)) => Some(report_view::z_report(
                &self.store_id,
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
}

fn counts(fields: &mut TillFields, counts: &[api::DrawerCount]) -> Vec<DrawerCount> {
    fields.at_most("counts", counts.len(), MAX_DRAWERS);
    let mut parsed = Vec::with_capacity(counts.len());
    for (index, count) in counts.iter().take(MAX_DRAWERS).enumerate() {
        if is_repeated(counts, index, |count| &count.drawer_id) {
            fields.note(
                format_args!("counts[{index}].drawer_id"),
                "is counted twice",
            );
        }
        let drawer_id = fields.slug(format_args!("counts[{index}].drawer_id"), &count.drawer_id);
        let counted = fields.required_amount(
            format_args!("counts[{index}].counted"),
            count.counted.as_ref(),
        );
        parsed.extend(
            drawer_id
                .zip(counted)
                .map(|(drawer_id, counted)| DrawerCount { drawer_id, counted }),
        );
    }
    parsed
}

fn carry_over(fields: &mut TillFields, all: bool, ids: &[String]) -> CarryOver {
    if all {
        if !ids.is_empty() {
            fields.note("carry_over_order_ids", "is empty with carry_over_all");
        }
        return CarryOver::All;
    }
    fields.at_most("carry_over_order_ids", ids.len(), MAX_CARRIED);
    let mut parsed = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().take(MAX_CARRIED).enumerate() {
        parsed.extend(fields.take(
            format_args!("carry_over_order_ids[{index}]"),
            OrderId::parse(id),
        ));
    }
    CarryOver::Named(parsed)
}
