use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use contract::OrderId;
use contract::event as e;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use runtime::TraceContext;
use tokio::time::Instant;

use super::membership::{Membership, Presented};
use crate::domain::MemberStanding;
use crate::domain::place_order::member_key;

/// Answers that are worth a record of their own; fewer when nobody else is due.
const MOST_ANSWERS: usize = 16;
/// How long after its sale, and after each question without an answer, an order is asked for again.
const PAUSES: Pauses = Pauses {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

/// Between the questions for one order; each is twice the one before.
#[derive(Debug, Clone, Copy)]
struct Pauses {
    first: Duration,
    longest: Duration,
}

/// What an order that is owed an answer waits for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    at: Instant,
    pause: Duration,
}

/// What the member service has answered late.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    pub order_id: OrderId,
    pub standing: MemberStanding,
}

/// Asks for memberships that were not answered in time: one question after another, whoever has waited longest first, each order with
/// growing pauses of its own, so that those which never get an answer keep no other from it.
pub struct Resolution {
    pauses: Pauses,
    /// Who is owed an answer, as of the last record.
    owed: OrdMap<OrderId, Arc<e::Membership>>,
    waits: HashMap<OrderId, Wait>,
    queue: BTreeSet<(Instant, OrderId)>,
    asking: Option<BoxFuture<'static, Resolved>>,
    answered: Vec<Resolved>,
}

impl Default for Resolution {
    fn default() -> Self {
        Self::with(PAUSES)
    }
}

impl Resolution {
    fn with(pauses: Pauses) -> Self {
        Self {
            pauses,
            owed: OrdMap::new(),
            waits: HashMap::new(),
            queue: BTreeSet::new(),
            asking: None,
            answered: Vec::new(),
        }
    }

    /// Takes up what the last records have changed. Costs as much as they changed.
    pub fn follow(&mut self, owed: &OrdMap<OrderId, Arc<e::Membership>>) {
        if self.owed.ptr_eq(owed) {
            return;
        }
        let before = std::mem::replace(&mut self.owed, owed.clone());
        for change in before.diff(owed) {
            match change {
                DiffItem::Add(order, _) => self.wait(*order, self.pauses.first),
                DiffItem::Remove(order, _) => {
                    if let Some(wait) = self.waits.remove(order) {
                        self.queue.remove(&(wait.at, *order));
                    }
                }
                DiffItem::Update { .. } => {}
            }
        }
    }

    /// Whether nobody is owed an answer.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty()
    }

    fn wait(&mut self, order: OrderId, pause: Duration) {
        let at = Instant::now() + pause;
        if let Some(before) = self.waits.insert(order, Wait { at, pause }) {
            self.queue.remove(&(before.at, order));
        }
        self.queue.insert((at, order));
    }

    /// An answer could not be recorded: the order is asked for again later.
    pub fn again(&mut self, order: OrderId) {
        if self.owed.contains_key(&order) {
            let pause = self.waits.get(&order).map_or(self.pauses.first, |wait| {
                (wait.pause * 2).min(self.pauses.longest)
            });
            self.wait(order, pause);
        }
    }

    /// The next answers to record. Dropped and called again, it goes on where it was.
    pub async fn next(&mut self, membership: &Membership) -> Vec<Resolved> {
        loop {
            if let Some(asking) = &mut self.asking {
                let resolved = asking.await;
                self.asking = None;
                match &resolved.standing {
                    MemberStanding::Unverified(_) => self.again(resolved.order_id),
                    // It may have been settled meanwhile, by a member who was attached.
                    _ if !self.owed.contains_key(&resolved.order_id) => {}
                    _ => self.answered.push(resolved),
                }
            }
            let due = self.queue.first().copied();
            let is_due = due.is_some_and(|(at, _)| at <= Instant::now());
            if self.answered.len() >= MOST_ANSWERS || (!is_due && !self.answered.is_empty()) {
                return std::mem::take(&mut self.answered);
            }
            match due {
                None => std::future::pending().await,
                Some((at, _)) if !is_due => tokio::time::sleep_until(at).await,
                Some((at, order)) => {
                    self.queue.remove(&(at, order));
                    self.asking = self.question(order, membership.clone());
                }
            }
        }
    }

    fn question(
        &self,
        order_id: OrderId,
        membership: Membership,
    ) -> Option<BoxFuture<'static, Resolved>> {
        let presented = Presented::from(member_key(self.owed.get(&order_id)?)?);
        let asking = async move {
            let standing = membership
                .check(&presented, TraceContext::new_trace())
                .await;
            Resolved { order_id, standing }
        };
        Some(asking.boxed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use contract::event::MembershipOutcome;

    use uuid::Uuid;

    use super::*;

    const SHORT: Pauses = Pauses {
        first: Duration::from_millis(20),
        longest: Duration::from_millis(640),
    };

    fn unverified() -> Arc<e::Membership> {
        Arc::new(e::Membership {
            outcome: MembershipOutcome::Unverified.into(),
            member_id: Uuid::now_v7().to_string(),
            ..e::Membership::default()
        })
    }

    fn order() -> OrderId {
        OrderId::from_uuid(Uuid::now_v7())
    }

    fn member_id(membership: &e::Membership) -> Uuid {
        Uuid::try_parse(&membership.member_id).unwrap()
    }

    /// Orders that never get an answer, one that would, and who was asked for.
    struct Counter {
        owed: OrdMap<OrderId, Arc<e::Membership>>,
        good: OrderId,
        asked: Arc<Mutex<Vec<Uuid>>>,
        membership: Membership,
    }

    fn counter(stubborn: usize) -> Counter {
        let mut owed: OrdMap<_, _> = (0..stubborn).map(|_| (order(), unverified())).collect();
        let (good, known) = (order(), unverified());
        owed.insert(good, known.clone());
        let asked = Arc::<Mutex<Vec<Uuid>>>::default();
        let (log, known) = (asked.clone(), member_id(&known));
        let membership = Membership::answering(move |member| {
            log.lock().unwrap().push(member);
            (member == known).then_some(MemberStanding::NotMember)
        });
        Counter {
            owed,
            good,
            asked,
            membership,
        }
    }

    #[tokio::test]
    async fn orders_that_never_get_an_answer_keep_no_other_from_it() {
        let counter = counter(40);
        let mut resolution = Resolution::with(SHORT);
        resolution.follow(&counter.owed);
        let answers = resolution.next(&counter.membership).await;
        let wanted = Resolved {
            order_id: counter.good,
            standing: MemberStanding::NotMember,
        };
        assert_eq!(answers, [wanted]);
        assert_eq!(counter.asked.lock().unwrap().len(), 41);
        // The others are asked again and again, ever more seldom.
        resolution.follow(&counter.owed.without(&counter.good));
        let a_while = Duration::from_secs(2);
        let more = tokio::time::timeout(a_while, resolution.next(&counter.membership)).await;
        more.unwrap_err();
        let asked = counter.asked.lock().unwrap().len();
        assert!((40 * 2..=40 * 8).contains(&asked), "asked {asked} times");
    }

    #[tokio::test]
    async fn what_was_settled_meanwhile_is_not_asked() {
        let counter = counter(1);
        let mut resolution = Resolution::with(SHORT);
        resolution.follow(&counter.owed);
        resolution.follow(&OrdMap::new());
        assert!(resolution.is_idle());
        let long = Duration::from_millis(200);
        tokio::time::timeout(long, resolution.next(&counter.membership))
            .await
            .unwrap_err();
        assert!(counter.asked.lock().unwrap().is_empty());
    }
}
