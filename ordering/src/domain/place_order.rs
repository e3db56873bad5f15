//! Placing an order: a sale, priced and paid.

use bytes::Bytes;
use contract::event::{self as e, Pricing, event::Event};
use contract::{Money, Reason, Rejection};
use jiff::SignedDuration;

use super::business_day::{CLOCK_TOLERANCE, Moment};
use super::command::{MemberKey, MemberStanding, PlaceOrder};
use super::pricing::{self, Priced};
use super::state::StoreState;
use super::tenders;
use crate::catalog::{PRICING_RULE, Store, TAX_RULE};

const TILL_PRICE_DIFFERS: &str = "TILL_PRICE_DIFFERS";
/// The time in an order id that differs by more than this from the server's is flagged.
const ID_TIME_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

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
    let quoted = command.quoted.as_deref();
    let priced = match quoted {
        Some(quoted) => quoted_prices(quoted),
        None => {
            let member_prices = matches!(
                command.membership,
                Some(MemberStanding::Member {
                    member_prices: true,
                    ..
                })
            );
            pricing::price(draft, store, moment.at, member_prices)?
        }
    };
    let at_till_prices = draft.pricing == Pricing::Till;
    if !at_till_prices {
        check_expected(command.expected_total, priced.net)?;
    }
    let settled = tenders::settle(priced.net, &command.tenders)?;
    let discounts = priced
        .discounts
        .iter()
        .map(|discount| (discount.source, discount.discount_id.as_str()));
    if !day.figures.has_room_for(
        settled.iter().map(|tender| tender.drawer_id.as_str()),
        discounts,
    ) {
        return Err(Rejection::new(
            Reason::TooManyKinds,
            Reason::TooManyKinds.meaning(),
        ));
    }
    let ticket_number = day.figures.last_ticket() + 1;
    let mut flags = Vec::new();
    if moment
        .client_time
        .is_some_and(|client| client.duration_since(moment.at).abs() > CLOCK_TOLERANCE)
    {
        flags.push("CLIENT_CLOCK_ODD".to_owned());
    }
    if command
        .order_id
        .time_hint()
        .is_none_or(|made| made.duration_since(moment.at).abs() > ID_TIME_TOLERANCE)
    {
        flags.push("ORDER_ID_TIME_ODD".to_owned());
    }
    if at_till_prices && priced.till_price_differs {
        flags.push(TILL_PRICE_DIFFERS.to_owned());
    }
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
        lines: priced.lines,
        discounts: priced.discounts,
        gross: priced.gross.minor(),
        discount: priced.discount.minor(),
        net: priced.net.minor(),
        taxes: priced.taxes,
        tenders: settled,
        membership: match quoted {
            Some(quoted) => quoted.membership.clone(),
            None => command.membership.as_ref().map(membership),
        },
        pricing: draft.pricing.into(),
        menu_version: quoted
            .map_or(&store.menu.version, |quoted| &quoted.menu_version)
            .clone(),
        pricing_rule: PRICING_RULE.to_owned(),
        tax_rule: TAX_RULE.to_owned(),
        flags,
        promotion_codes: draft
            .promotion_codes
            .iter()
            .map(ToString::to_string)
            .collect(),
    }));
    Ok(events)
}

/// The card has been charged by what was quoted.
fn quoted_prices(quoted: &e::OrderPlaced) -> Priced {
    Priced {
        lines: quoted.lines.clone(),
        discounts: quoted.discounts.clone(),
        taxes: quoted.taxes.clone(),
        gross: Money::new(quoted.gross),
        discount: Money::new(quoted.discount),
        net: Money::new(quoted.net),
        till_price_differs: quoted.flags.iter().any(|flag| flag == TILL_PRICE_DIFFERS),
    }
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
                MemberKey::CardSha256(hash) => {
                    membership.card_token_sha256 = Bytes::copy_from_slice(hash);
                }
            }
            membership
        }
    }
}
