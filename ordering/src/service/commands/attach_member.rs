use contract::Rejection;
use contract::api::ordering as api;

use super::{CommandRequest, Desk, Done, Wanted};
use crate::domain::{AttachMember, Command, MemberKey};
use crate::service::fields::TillFields;

impl CommandRequest for api::AttachMemberRequest {
    type Response = api::AttachMemberResponse;

    fn read(&self, fields: &mut TillFields, _: &Desk<'_>) -> Option<Wanted> {
        let store_id = fields.store_id("store_id", &self.store_id);
        let order_id = fields.order_id(&self.order_id);
        let request_id = fields.request_id(&self.request_id);
        let member_id = fields.member_id("member_id", &self.member_id);
        let sender = fields.sender(&self.terminal_id, &self.staff_id, self.client_time.as_ref());
        let member_id = member_id?;
        let command = AttachMember {
            order_id: order_id?,
            request_id: request_id?,
            member_id,
            tier: String::new(),
            points_rate_bp: 0,
        };
        Some(Wanted {
            presented: Some(MemberKey::MemberId(member_id).into()),
            ..Wanted::new(store_id?, Command::AttachMember(command), sender)
        })
    }

    fn response(self, done: Done) -> Result<api::AttachMemberResponse, Rejection> {
        Ok(api::AttachMemberResponse {
            order: done.order,
            consistency_token: done.consistency_token,
            replayed: done.replayed,
        })
    }
}
