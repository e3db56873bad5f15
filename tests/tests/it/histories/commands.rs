//! What a till, the kitchen, the back office or the system may want of a store, by chance.

use anyhow::{Context as _, Result};
use contract::event::CashMovementKind;
use contract::{Money, OrderId};
use jiff::SignedDuration;
use ordering::domain::{
    Actor, AttachMember, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command,
    CountDrawer, DrawerCount, ManualClose, NewStatus, PlaceOrder, Principal, RecordCashMovement,
    RefundLine, RefundOrder, ResolveMembership,
};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::history::History;
use super::till::{member, slug};

impl History {
    /// Any order, rather a late one.
    fn order(&mut self) -> Option<(OrderId, Vec<RefundLine>)> {
        let from = if self.till.chance(0.6) {
            self.orders.len().saturating_sub(4)
        } else {
            0
        };
        self.orders[from..].choose(&mut self.till.random).cloned()
    }

    pub fn new_order(&mut self, place: PlaceOrder) -> Command {
        let lines = place.draft.lines.iter();
        let all = lines.map(|line| RefundLine {
            line_id: line.line_id.clone(),
            quantity: line.quantity,
        });
        self.orders.push((place.order_id, all.collect()));
        Command::PlaceOrder(Box::new(place))
    }

    /// Anything that a till, the kitchen, the back office or the system may want of this instance now.
    pub fn command(&mut self, instance: usize) -> Result<Option<(Command, Actor)>> {
        let now = self.clock.now();
        let mut actor = Actor {
            principal: Principal::TILL,
            client_time: Some(now),
            ..Actor::default()
        };
        if self.till.chance(0.04) {
            actor.client_time = Some(now + SignedDuration::from_mins(20));
        }
        let kind = self.till.random.random_range(0..100);
        if kind < 10 {
            let hours = self.till.one_of(&[1, 3, 9, 40])?;
            let made = now - SignedDuration::from_hours(hours);
            actor.occurred_at = Some(made);
            let place = self.till.offline_sale(&self.store(instance), now, made)?;
            return Ok(Some((self.new_order(place), actor)));
        }
        if kind < 38 {
            let place = self.till.sale(&self.store(instance), now)?;
            return Ok(Some((self.new_order(place), actor)));
        }
        let command = if kind < 84 {
            self.of_an_order(kind, instance)?
        } else {
            self.of_a_day(kind, instance)?
        };
        Ok(command.map(|command| (command, actor)))
    }

    fn of_an_order(&mut self, kind: i32, instance: usize) -> Result<Option<Command>> {
        let request_id = self.till.request(self.clock.now());
        let reason_code = slug("whatever")?;
        // Cash that a drawer should not hold takes an approver.
        let approver_id = self.till.chance(0.5).then(|| slug("chief")).transpose()?;
        if (78..84).contains(&kind) {
            let owed = &self.instances[instance].ledger.state().unresolved;
            let owed: Vec<OrderId> = owed.keys().copied().collect();
            let Some(order_id) = owed.choose(&mut self.till.random).copied() else {
                return Ok(None);
            };
            let standing = self.till.late_answer()?;
            let resolve = ResolveMembership { order_id, standing };
            return Ok(Some(Command::ResolveMembership(resolve)));
        }
        let Some((order_id, mut lines)) = self.order() else {
            return Ok(None);
        };
        Ok(Some(match kind {
            38..=54 => Command::ChangeStatus(ChangeStatus {
                order_id,
                request_id,
                to: self.till.one_of(&[
                    NewStatus::Preparing,
                    NewStatus::Ready,
                    NewStatus::Completed,
                ])?,
            }),
            55..=60 => Command::CancelOrder(CancelOrder {
                order_id,
                request_id,
                approver_id,
                reason_code,
                tenders: vec![],
            }),
            61..=73 => {
                let kept = self.till.random.random_range(0..lines.len());
                let kept = lines.swap_remove(kept);
                lines.retain(|_| self.till.chance(0.4));
                lines.push(kept);
                for line in &mut lines {
                    line.quantity = self.till.random.random_range(1..=line.quantity);
                }
                Command::RefundOrder(RefundOrder {
                    order_id,
                    request_id,
                    approver_id,
                    reason_code,
                    lines,
                    tenders: vec![],
                })
            }
            _ => Command::AttachMember(AttachMember {
                order_id,
                request_id,
                member_id: member(self.till.random.random_range(1..=9)),
                tier: "silver".to_owned(),
                points_rate_bp: self.till.random.random_range(0..=1_000),
            }),
        }))
    }

    fn of_a_day(&mut self, kind: i32, instance: usize) -> Result<Option<Command>> {
        let now = self.clock.now();
        let request_id = self.till.request(now);
        let (open, closed) = {
            let state = self.instances[instance].ledger.state();
            (state.day.as_ref().map(|day| day.date), state.last_closed)
        };
        Ok(match kind {
            84..=90 => {
                let rule = self.stores[0].day_rule().context("a rule")?;
                let drawer = self.till.one_of(&["main", "main", "second"])?;
                Some(Command::RecordCashMovement(RecordCashMovement {
                    request_id,
                    business_date: rule.date_of(now)?,
                    drawer_id: slug(drawer)?,
                    kind: self.till.one_of(&[
                        CashMovementKind::Float,
                        CashMovementKind::PaidIn,
                        CashMovementKind::PaidOut,
                    ])?,
                    amount: Money::new(self.till.random.random_range(0..20_000)),
                    reason_code: slug("whatever")?,
                    approver_id: Some(slug("chief")?),
                }))
            }
            91..=94 => {
                let counted = Money::new(self.till.random.random_range(0..50_000));
                let counts = if self.till.chance(0.5) {
                    vec![DrawerCount {
                        drawer_id: slug("main")?,
                        counted,
                    }]
                } else {
                    vec![]
                };
                let carry_over = if self.till.chance(0.8) {
                    CarryOver::All
                } else {
                    CarryOver::Named(vec![])
                };
                open.map(|business_date| {
                    Command::CloseBusinessDay(CloseBusinessDay {
                        business_date,
                        manual: Some(ManualClose {
                            request_id,
                            counts,
                            carry_over,
                        }),
                    })
                })
            }
            _ => match closed {
                Some(business_date) => Some(Command::CountDrawer(CountDrawer {
                    request_id,
                    business_date,
                    drawer_id: slug("main")?,
                    counted: Money::new(777),
                })),
                None => None,
            },
        })
    }
}
