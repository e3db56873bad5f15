//! Adding a member to an order that was placed without one.

use contract::event::{self as e, event::Event};
use contract::{Reason, Rejection};

use super::change_status::illegal;
use super::command::AttachMember;
use super::order::{OrderState, Status};

pub fn decide(order: &OrderState, command: &AttachMember) -> Result<Vec<Event>, Rejection> {
    if order.status == Status::Cancelled {
        return Err(illegal(order, "AttachMember"));
    }
    if order.has_member {
        return Err(Rejection::new(
            Reason::AlreadyHasMember,
            "the order has a member already",
        ));
    }
    Ok(vec![Event::MemberAttached(e::MemberAttached {
        order_id: command.order_id.to_bytes(),
        member_id: command.member_id.to_string(),
        tier: command.tier.clone(),
        points_rate_bp: command.points_rate_bp,
    })])
}
