//! Placing an order: a sale, priced and paid.

use bytes::Bytes;
use contract::card::CardHash;
use contract::event::{self as e, Pricing, event::Event};
use contract::{Money, Reason, Rejection};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Flag;
use super::business_day::{Moment, check_room};
use super::command::{Draft, MemberKey, MemberStanding, PlaceOrder};
use super::pricing;
use super::stamp;
use super::state::StoreState;
use super::tenders;
use crate::catalog::{PRICING_RULE, Store, TAX_RULE};

/// The time in an order id that differs by more than this from the server's is flagged.
const ID_TIME_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// What is known of a placing before it happens: the priced lines, the membership, what is odd about them. A quote promises it.
pub fn price(
    draft: &Draft,
    store: &Store,
    at: Timestamp,
    standing: Option<&MemberStanding>,
) -> Result<e::OrderPlaced, Rejection> {
    let member_prices = matches!(
        standing,
        Some(MemberStanding::Member {
            member_prices: true,
            ..
        })
    );
    let priced = pricing::price(draft, store, at, member_prices)?;
    Ok(e::OrderPlaced {
        lines: priced.lines,
        discounts: priced.discounts,
        gross: priced.gross.minor(),
        discount: priced.discount.minor(),
        net: priced.net.minor(),
        taxes: priced.taxes,
        membership: standing.map(membership),
        pricing: draft.pricing.into(),
        menu_version: store.menu.version.clone(),
        pricing_rule: PRICING_RULE.to_owned(),
        tax_rule: TAX_RULE.to_owned(),
        flags: priced
            .flags
            .iter()
            .map(|flag| flag.as_str().to_owned())
            .collect(),
        ..e::OrderPlaced::default()
    })
}

/// Decides a placing in the open business day.
pub fn decide(
    state: &StoreState,
    command: &PlaceOrder,
    store: &Store,
    moment: &Moment,
) -> Result<Vec<Event>, Rejection> {
    let Some(day) = &state.day else {
        return Err(Rejection::new(
            Reason::Internal,
            "an order is placed while no business day is open",
        ));
    };
    let draft = &command.draft;
    // What was quoted is honoured as it stands: the card has been charged by it.
    let priced = match command.quoted.as_deref() {
        Some(quoted) => quoted.clone(),
        None => price(draft, store, moment.at, command.membership.as_ref())?,
    };
    let due = Money::new(priced.net);
    if draft.pricing != Pricing::Till {
        check_expected(command.expected_total, due)?;
    }
    let settled = tenders::settle(due, &command.tenders)?;
    check_room(
        &day.figures,
        settled.iter().map(|tender| tender.drawer_id.as_str()),
        &priced.taxes,
    )?;
    let ticket_number = day.figures.last_ticket() + 1;
    let mut events = Vec::with_capacity(2);
    if state.menu_hash != store.menu.hash {
        let hash = Bytes::copy_from_slice(&store.menu.hash);
        events.push(Event::MenuPublished(e::MenuPublished {
            version: store.menu.version.clone(),
            hash,
        }));
    }
    events.push(Event::OrderPlaced(e::OrderPlaced {
        order_id: command.order_id.to_bytes(),
        business_date: day.date.to_string(),
        ticket_number,
        ticket_label: store
            .ticket_modulus
            .map_or(ticket_number, |modulus| {
                (ticket_number - 1) % modulus.max(1) + 1
            })
            .to_string(),
        document_number: state.document_number + 1,
        channel: draft.channel.into(),
        service_mode: draft.service_mode.into(),
        terminal_seq: draft.terminal_seq,
        tenders: settled,
        promotion_codes: draft
            .promotion_codes
            .iter()
            .map(ToString::to_string)
            .collect(),
        flags: odd_times(command, moment)
            .map(|flag| flag.as_str().to_owned())
            .chain(priced.flags)
            .collect(),
        ..priced
    }));
    Ok(events)
}

/// What is odd about the clocks that a command comes with.
fn odd_times(command: &PlaceOrder, moment: &Moment) -> impl Iterator<Item = Flag> {
    let clock = moment
        .client_time
        .is_some_and(|client| !stamp::agree(client, moment.at));
    let id = command
        .order_id
        .time_hint()
        .is_some_and(|made| made.duration_since(moment.at).abs() > ID_TIME_TOLERANCE);
    [
        clock.then_some(Flag::ClientClockOdd),
        moment.doubt.map(|_| Flag::ServerClockOdd),
        id.then_some(Flag::OrderIdTimeOdd),
    ]
    .into_iter()
    .flatten()
}

fn check_expected(expected: Option<Money>, net: Money) -> Result<(), Rejection> {
    match expected {
        Some(expected) if expected != net => {
            let message = format!("the order costs {net}, not {expected}");
            Err(
                Rejection::field(Reason::PriceChanged, "expected_total", message)
                    .with("total_minor", net)
                    .with("expected_minor", expected),
            )
        }
        _ => Ok(()),
    }
}

/// What a check said, as an event keeps it.
#[must_use]
pub fn membership(standing: &MemberStanding) -> e::Membership {
    match standing {
        MemberStanding::Member {
            member_id,
            tier,
            points_rate_bp,
            ..
        } => e::Membership {
            outcome: e::MembershipOutcome::Member.into(),
            member_id: member_id.to_string(),
            tier: tier.clone(),
            points_rate_bp: *points_rate_bp,
            ..e::Membership::default()
        },
        MemberStanding::NotMember => e::Membership {
            outcome: e::MembershipOutcome::NotMember.into(),
            ..e::Membership::default()
        },
        MemberStanding::Unverified(key) => {
            let mut membership = e::Membership {
                outcome: e::MembershipOutcome::Unverified.into(),
                ..e::Membership::default()
            };
            match key {
                MemberKey::MemberId(id) => membership.member_id = id.to_string(),
                MemberKey::Card(hashes) => {
                    membership.card_token_hashes = hashes.iter().map(card_token_hash).collect();
                }
            }
            membership
        }
    }
}

fn card_token_hash(hash: &CardHash) -> e::CardTokenHash {
    e::CardTokenHash {
        key_id: hash.key_id.to_string(),
        hmac_sha256: Bytes::copy_from_slice(&hash.hmac),
    }
}

/// By what the member service is asked later, for an order that was accepted without its answer.
#[must_use]
pub fn member_key(membership: &e::Membership) -> Option<MemberKey> {
    if membership.card_token_hashes.is_empty() {
        return Uuid::try_parse(&membership.member_id)
            .ok()
            .map(MemberKey::MemberId);
    }
    let hashes = membership.card_token_hashes.iter();
    hashes
        .map(|hash| CardHash::new(&hash.key_id, &hash.hmac_sha256))
        .collect::<Option<Vec<_>>>()
        .map(MemberKey::Card)
}

#[cfg(test)]
mod tests {
    use contract::event::TenderKind;

    use super::*;
    use crate::domain::fixture::{
        draft, line, moment, morning, opened, order_id, place, shop, sold, tender, till_draft,
    };

    fn placed(command: &PlaceOrder, moment: &Moment) -> Result<e::OrderPlaced, Rejection> {
        let events = decide(&opened(), command, &shop(""), moment)?;
        match events.last() {
            Some(Event::OrderPlaced(placed)) => Ok(placed.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn card(amount: i64) -> Vec<crate::domain::DraftTender> {
        vec![tender("t1", TenderKind::Card, amount)]
    }

    #[test]
    fn a_quote_promises_all_that_is_odd_about_a_till_priced_order_too() {
        let mut command = place(
            till_draft(vec![sold("latte", 1, 4_000), sold("tea", 1, 3_000)]),
            card(7_000),
        );
        let odd = ["TILL_PRICE_DIFFERS", "UNKNOWN_ITEM"];
        let unquoted = placed(&command, &moment(0)).unwrap();
        assert_eq!(unquoted.flags, odd);
        let quoted = price(&command.draft, &shop(""), morning(), None).unwrap();
        command.quoted = Some(Box::new(quoted));
        assert_eq!(placed(&command, &moment(0)).unwrap(), unquoted);
        // What is odd about the moment of placing comes before what the quote found.
        let late = Moment {
            client_time: Some(morning()),
            ..moment(30)
        };
        let flags = placed(&command, &late).unwrap().flags;
        assert_eq!(flags, ["CLIENT_CLOCK_ODD", odd[0], odd[1]]);
    }

    #[test]
    fn a_quote_is_honoured_whatever_the_menu_says_by_now() {
        let mut command = place(draft(vec![line("latte", 1)]), card(5_000));
        let mut quoted = price(&command.draft, &shop(""), morning(), None).unwrap();
        quoted.net = 4_000;
        quoted.menu_version = "before".into();
        quoted.pricing_rule = "the rule before".into();
        command.quoted = Some(Box::new(quoted));
        command.tenders = card(4_000);
        let placed = placed(&command, &moment(0)).unwrap();
        assert_eq!((placed.net, placed.ticket_number), (4_000, 1));
        assert_eq!(
            (placed.menu_version.as_str(), placed.pricing_rule.as_str()),
            ("before", "the rule before")
        );
    }

    #[test]
    fn an_expected_total_is_a_condition_of_orders_at_the_menus_prices_alone() {
        let mut command = place(draft(vec![line("latte", 1)]), card(5_000));
        command.expected_total = Some(Money::new(4_900));
        let rejection = placed(&command, &moment(0)).unwrap_err();
        assert_eq!(rejection.reason, Reason::PriceChanged);
        assert!(
            rejection
                .metadata
                .contains(&("total_minor", "5000".to_owned()))
        );
        command.draft = till_draft(vec![sold("latte", 1, 5_000)]);
        assert_eq!(placed(&command, &moment(0)).unwrap().net, 5_000);
    }

    #[test]
    fn clocks_that_are_odd_are_flagged() {
        let command = place(draft(vec![line("latte", 1)]), card(5_000));
        let flags = |moment: &Moment| placed(&command, moment).unwrap().flags;
        assert_eq!(flags(&moment(0)), Vec::<String>::new());
        let ahead = Moment {
            client_time: Some(morning() + SignedDuration::from_mins(6)),
            ..moment(0)
        };
        assert_eq!(flags(&ahead), ["CLIENT_CLOCK_ODD"]);
        let mut old = command.clone();
        old.order_id = order_id(-25 * 60);
        assert_eq!(
            placed(&old, &moment(0)).unwrap().flags,
            ["ORDER_ID_TIME_ODD"]
        );
    }
}
