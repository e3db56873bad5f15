use std::collections::BTreeSet;

use contract::OrderId;
use contract::event::event::Event;
use contract::event::{Membership, MembershipOutcome};

/// The members of a ledger's orders so far.
#[derive(Debug, Default)]
pub struct Members {
    /// Orders that have a member.
    known: BTreeSet<OrderId>,
    cancelled: BTreeSet<OrderId>,
    /// Orders that were accepted without an answer of the member service and have none yet.
    pub owed: BTreeSet<OrderId>,
}

impl Members {
    /// Takes in the next event. An order gets at most one member, and what it is owed is settled once: its points are.
    pub fn take(&mut self, event: &Event) -> Result<(), String> {
        let id = |bytes: &[u8]| OrderId::from_slice(bytes).map_err(|error| error.to_string());
        match event {
            Event::OrderPlaced(placed) => {
                let id = id(&placed.order_id)?;
                match placed.membership.as_ref().map(Membership::outcome) {
                    Some(MembershipOutcome::Member) => _ = self.known.insert(id),
                    Some(MembershipOutcome::Unverified) => _ = self.owed.insert(id),
                    Some(MembershipOutcome::NotMember) | None => {}
                    Some(MembershipOutcome::Unspecified) => {
                        return Err(format!("order {id} has a membership without an outcome"));
                    }
                }
            }
            Event::OrderCancelled(cancelled) => {
                self.cancelled.insert(id(&cancelled.order_id)?);
            }
            Event::MemberAttached(attached) => {
                let id = id(&attached.order_id)?;
                self.owed.remove(&id);
                if self.cancelled.contains(&id) {
                    return Err(format!("order {id} gets a member after it was cancelled"));
                }
                if !self.known.insert(id) {
                    return Err(format!("order {id} gets a second member"));
                }
            }
            Event::MembershipResolved(resolved) => {
                let id = id(&resolved.order_id)?;
                if !self.owed.remove(&id) {
                    return Err(format!("order {id} is resolved and was owed no answer"));
                }
                match resolved.outcome() {
                    MembershipOutcome::Member => _ = self.known.insert(id),
                    MembershipOutcome::NotMember => {}
                    MembershipOutcome::Unverified | MembershipOutcome::Unspecified => {
                        return Err(format!("order {id} is resolved without an answer"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::event as e;

    use super::*;

    const ORDER: [u8; 16] = [7; 16];

    fn placed(outcome: MembershipOutcome) -> Event {
        Event::OrderPlaced(e::OrderPlaced {
            order_id: ORDER.to_vec().into(),
            membership: Some(e::Membership {
                outcome: outcome.into(),
                ..e::Membership::default()
            }),
            ..e::OrderPlaced::default()
        })
    }

    fn attached() -> Event {
        Event::MemberAttached(e::MemberAttached {
            order_id: ORDER.to_vec().into(),
            ..e::MemberAttached::default()
        })
    }

    fn resolved(outcome: MembershipOutcome) -> Event {
        Event::MembershipResolved(e::MembershipResolved {
            order_id: ORDER.to_vec().into(),
            outcome: outcome.into(),
            ..e::MembershipResolved::default()
        })
    }

    fn cancelled() -> Event {
        Event::OrderCancelled(e::OrderCancelled {
            order_id: ORDER.to_vec().into(),
            ..e::OrderCancelled::default()
        })
    }

    /// Whether all but the last event are right, and the last one is.
    fn is_right(events: &[Event]) -> bool {
        let mut members = Members::default();
        let (last, before) = events.split_last().unwrap();
        before.iter().for_each(|event| members.take(event).unwrap());
        members.take(last).is_ok()
    }

    #[test]
    fn an_order_gets_one_member_and_one_answer() {
        use MembershipOutcome::{Member, NotMember, Unverified};
        assert!(is_right(&[placed(NotMember), attached()]));
        assert!(is_right(&[placed(Unverified), attached()]));
        assert!(is_right(&[placed(Unverified), resolved(Member)]));
        assert!(is_right(&[
            placed(Unverified),
            resolved(NotMember),
            attached()
        ]));
        assert!(is_right(&[
            placed(Unverified),
            cancelled(),
            resolved(Member)
        ]));
        assert!(!is_right(&[placed(Member), attached()]));
        assert!(!is_right(&[placed(NotMember), attached(), attached()]));
        assert!(!is_right(&[
            placed(Unverified),
            resolved(Member),
            attached()
        ]));
        assert!(!is_right(&[placed(NotMember), cancelled(), attached()]));
        assert!(!is_right(&[placed(Member), resolved(Member)]));
        assert!(!is_right(&[
            placed(Unverified),
            attached(),
            resolved(Member)
        ]));
        assert!(!is_right(&[
            placed(Unverified),
            resolved(NotMember),
            resolved(Member)
        ]));
        assert!(!is_right(&[placed(Unverified), resolved(Unverified)]));
    }

    #[test]
    fn who_is_owed_an_answer_is_known() {
        let mut members = Members::default();
        members
            .take(&placed(MembershipOutcome::Unverified))
            .unwrap();
        assert_eq!(members.owed.len(), 1);
        members
            .take(&resolved(MembershipOutcome::NotMember))
            .unwrap();
        assert_eq!(members.owed.len(), 0);
    }
}
