use contract::api::ordering as api;
use contract::event::event::Event;
use contract::{Money, Reason, Rejection};

use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{Command, CountDrawer};
use crate::service::fields::TillFields;

impl CommandRequest for api::CountDrawerRequest {
    type Response = api::CountDrawerResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", &self.store_id);
        let request_id = fields.request_id(&self.request_id);
        let sender = fields.sender(&self.terminal_id, &self.staff_id, self.client_time.as_ref());
        let business_date = fields.business_date(&self.business_date);
        let drawer_id = fields.slug("drawer_id", &self.drawer_id);
        let counted = fields.required_amount("counted", self.counted.as_ref());
        let command = CountDrawer {
            request_id: request_id?,
            business_date: business_date?,
            drawer_id: drawer_id?,
            counted: counted?,
        };
        Some(Wanted::new(
            store_id?,
            Command::CountDrawer(command),
            sender,
        ))
    }

    fn response(self, done: Done) -> Result<api::CountDrawerResponse, Rejection> {
        let Some(Event::DrawerCounted(fact)) = done.fact.as_deref() else {
            return Err(Rejection::new(
                Reason::Internal,
                "the count is recorded as something else",
            ));
        };
        let (expected, counted) = (Money::new(fact.expected), Money::new(fact.counted));
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
}
