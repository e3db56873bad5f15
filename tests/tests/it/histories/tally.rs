//! What happened in all histories together: a test of chance that never meets what it is there for proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use contract::event::event::Event;
use contract::event::{OrderPlaced, Pricing, RecordPayload};
use ordering::domain::Flag;

/// How often each kind of thing happened.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<String, usize>);

/// What has to happen, and how often at least, over all seeds.
const EXPECTED: &[(&str, usize)] = &[
    ("an append lost to the other instance", 100),
    ("a command sent to both instances, recorded once", 20),
    ("a command sent twice at once, recorded once", 20),
    ("a repeat", 100),
    ("a restart with the index that was there", 10),
    ("a restart without an index", 10),
    ("a restart from a snapshot", 3),
    ("a restart with an older snapshot", 1),
    ("a restart with a damaged snapshot", 2),
    ("a restart with a snapshot that is cut off", 3),
    ("a restart without a snapshot", 3),
    ("a record of several commands", 100),
    ("a record of several orders", 50),
    ("an order and what became of it in one record", 5),
    ("instances with different menus", 50),
    ("a menu changed in the middle of a day", 50),
    ("an order as quoted", 50),
    ("an order as quoted by a menu that is gone", 20),
    ("a quote that had expired", 10),
    ("an order placed MEMBER", 50),
    ("an order placed NOT_MEMBER", 20),
    ("an order placed UNVERIFIED", 50),
    ("a member's price", 20),
    ("an order resolved MEMBER", 20),
    ("an order resolved NOT_MEMBER", 10),
    ("an order of an earlier day resolved", 5),
    ("a member attached", 20),
    ("a member attached to an UNVERIFIED order", 2),
    ("an order priced by the till", 100),
    ("an order priced by the till that gave money back", 10),
    ("a day closed by hand", 5),
    ("a day closed by itself", 10),
    ("a cancellation", 20),
    ("a refund", 50),
    ("a drawer counted later", 5),
    ("refused ALREADY_HAS_MEMBER", 4),
    ("refused ILLEGAL_TRANSITION", 20),
    ("refused DRAWER_OVERDRAWN", 1),
    ("refused UNKNOWN_ITEM", 3),
    ("refused SOLD_OUT", 5),
];
/// All but what a second clock would say.
const EXPECTED_FLAGS: &[Flag] = &[
    Flag::ClientClockOdd,
    Flag::OrderIdTimeOdd,
    Flag::TillPriceDiffers,
    Flag::TillTaxDiffers,
    Flag::UnknownItem,
    Flag::UnknownOption,
    Flag::UnknownTaxClass,
    Flag::UnknownPromotion,
    Flag::QuantityOdd,
    Flag::DrawerOverdrawn,
];

impl Tally {
    pub fn add(&mut self, what: impl Into<String>) {
        self.add_many(what, 1);
    }

    pub fn add_many(&mut self, what: impl Into<String>, count: usize) {
        *self.0.entry(what.into()).or_default() += count;
    }

    pub fn merge(&mut self, other: Self) {
        for (what, count) in other.0 {
            self.add_many(what, count);
        }
    }

    /// That everything happened, and often enough to mean something.
    pub fn check(&self) -> Result<()> {
        let count = |what: &str| self.0.get(what).copied().unwrap_or(0);
        let flags = EXPECTED_FLAGS.iter().map(|flag| flagged(flag.as_str()));
        let missing: Vec<String> = EXPECTED
            .iter()
            .map(|(what, least)| ((*what).to_owned(), *least))
            .chain(flags.map(|what| (what, 3)))
            .filter(|(what, least)| count(what) < *least)
            .map(|(what, least)| format!("{what}: {} of {least}", count(&what)))
            .collect();
        ensure!(
            missing.is_empty(),
            "too seldom over all histories: {missing:#?}\nof {:#?}",
            self.0
        );
        Ok(())
    }
}

fn flagged(flag: &str) -> String {
    format!("flagged {flag}")
}

/// Reads one ledger.
#[derive(Default)]
pub struct Reader {
    menu: String,
    /// Orders of the open day.
    orders: usize,
    tills: BTreeSet<Vec<u8>>,
    unverified: BTreeSet<Vec<u8>>,
    /// UNVERIFIED orders of days that are over.
    earlier: BTreeSet<Vec<u8>>,
}

impl Reader {
    pub fn take(&mut self, payload: &RecordPayload, tally: &mut Tally) {
        let events = |event: &contract::event::RecordedCommand| event.events.clone();
        let asked: Vec<_> = payload
            .commands
            .iter()
            .filter(|command| !command.request_id.is_empty())
            .collect();
        if asked.len() > 1 {
            tally.add("a record of several commands");
        }
        let placed: BTreeSet<Vec<u8>> = asked
            .iter()
            .flat_map(|command| events(command))
            .filter_map(|event| match event.event {
                Some(Event::OrderPlaced(placed)) => Some(placed.order_id.to_vec()),
                _ => None,
            })
            .collect();
        if placed.len() > 1 {
            tally.add("a record of several orders");
        }
        for command in &payload.commands {
            for event in events(command).into_iter().filter_map(|event| event.event) {
                let by_hand = !command.request_id.is_empty();
                self.event(&event, by_hand, &placed, tally);
            }
        }
    }

    fn event(
        &mut self,
        event: &Event,
        by_hand: bool,
        placed_here: &BTreeSet<Vec<u8>>,
        tally: &mut Tally,
    ) {
        let mut followed = |order: &[u8]| {
            if placed_here.contains(order) {
                tally.add("an order and what became of it in one record");
            }
        };
        match event {
            Event::PreparationStarted(started) => followed(&started.order_id),
            Event::OrderCancelled(cancelled) => {
                followed(&cancelled.order_id);
                self.given_back(&cancelled.order_id, &cancelled.flags, tally);
                tally.add("a cancellation");
            }
            Event::OrderRefunded(refunded) => {
                followed(&refunded.order_id);
                self.given_back(&refunded.order_id, &refunded.flags, tally);
                tally.add("a refund");
            }
            Event::BusinessDayOpened(_) => self.orders = 0,
            Event::BusinessDayClosed(_) => {
                self.earlier.append(&mut self.unverified);
                tally.add(if by_hand {
                    "a day closed by hand"
                } else {
                    "a day closed by itself"
                });
            }
            Event::CashMoved(moved) => {
                moved.flags.iter().for_each(|flag| tally.add(flagged(flag)));
            }
            Event::DrawerCounted(_) => tally.add("a drawer counted later"),
            Event::MenuPublished(published) => {
                if !self.menu.is_empty() && self.orders > 0 {
                    tally.add("a menu changed in the middle of a day");
                }
                self.menu.clone_from(&published.version);
            }
            Event::OrderPlaced(placed) => self.placed(placed, tally),
            Event::MembershipResolved(resolved) => {
                let order = resolved.order_id.to_vec();
                if self.earlier.remove(&order) {
                    tally.add("an order of an earlier day resolved");
                }
                self.unverified.remove(&order);
                tally.add(format!("an order resolved {}", outcome(resolved.outcome())));
            }
            Event::MemberAttached(attached) => {
                followed(&attached.order_id);
                let order = attached.order_id.to_vec();
                if self.unverified.remove(&order) | self.earlier.remove(&order) {
                    tally.add("a member attached to an UNVERIFIED order");
                }
                tally.add("a member attached");
            }
            _ => {}
        }
    }

    fn given_back(&self, order: &[u8], flags: &[String], tally: &mut Tally) {
        flags.iter().for_each(|flag| tally.add(flagged(flag)));
        if self.tills.contains(order) {
            tally.add("an order priced by the till that gave money back");
        }
    }

    fn placed(&mut self, placed: &OrderPlaced, tally: &mut Tally) {
        self.orders += 1;
        let order = placed.order_id.to_vec();
        if let Some(membership) = &placed.membership {
            let outcome = outcome(membership.outcome());
            if outcome == "UNVERIFIED" {
                self.unverified.insert(order.clone());
            }
            tally.add(format!("an order placed {outcome}"));
        }
        if placed.pricing() == Pricing::Till {
            self.tills.insert(order);
            tally.add("an order priced by the till");
        }
        if placed.menu_version != self.menu {
            tally.add("an order as quoted by a menu that is gone");
        }
        if placed
            .discounts
            .iter()
            .any(|discount| discount.discount_id == "regulars")
        {
            tally.add("a member's price");
        }
        for flag in &placed.flags {
            tally.add(flagged(flag));
        }
    }
}

fn outcome(outcome: contract::event::MembershipOutcome) -> &'static str {
    outcome
        .as_str_name()
        .trim_start_matches("MEMBERSHIP_OUTCOME_")
}
