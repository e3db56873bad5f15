//! The late answer of the member service for an order that was accepted without one.

use contract::Rejection;
use contract::event::{self as e, event::Event};

use super::command::{MemberStanding, ResolveMembership};
use super::order::OrderState;
use super::place_order::membership;

/// Nothing when the order has been resolved meanwhile, or when there still is no answer.
pub fn decide(order: &OrderState, command: &ResolveMembership) -> Result<Vec<Event>, Rejection> {
    if !order.unverified || matches!(command.standing, MemberStanding::Unverified(_)) {
        return Ok(Vec::new());
    }
    let membership = membership(&command.standing);
    Ok(vec![Event::MembershipResolved(e::MembershipResolved {
        order_id: command.order_id.to_bytes(),
        outcome: membership.outcome,
        member_id: membership.member_id,
        tier: membership.tier,
        points_rate_bp: membership.points_rate_bp,
    })])
}
