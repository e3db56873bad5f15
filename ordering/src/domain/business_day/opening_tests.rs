//! When a day opens, and what has to come before.

use contract::Money;
use contract::event::TenderKind;
use jiff::SignedDuration;

use super::*;
use crate::domain::EventMeta;
use crate::domain::command::{DrawerCount, ManualClose};
use crate::domain::fixture::{draft, line, morning, place, request_id, shop, tender};
use crate::domain::place_order;

fn at(instant: &str) -> Moment {
    let at = instant.parse().unwrap();
    Moment {
        at,
        latest: at,
        doubt: None,
        last_revision: 7,
        last_hash: [7; 32],
        new_ledger_id: Uuid::nil(),
        client_time: Some(at),
    }
}

fn evolve(state: &mut StoreState, events: &[Event], at: &Moment) {
    for event in events {
        let meta = EventMeta {
            revision: 1,
            index: 0,
            recorded_at: at.at,
            terminal_id: "",
            staff_id: "",
            request_id: None,
        };
        state.evolve(event, &meta).unwrap();
    }
}

/// A store that has sold a latte for cash on the second of March.
fn open_store() -> StoreState {
    let moment = Moment {
        at: morning(),
        client_time: Some(morning()),
        ..at("2026-03-02T10:00:00+09:00")
    };
    let mut state = StoreState::default();
    let opening = prepare(&state, &shop(""), &moment).unwrap();
    evolve(&mut state, &opening, &moment);
    let sale = place(
        draft(vec![line("latte", 1)]),
        vec![tender("t1", TenderKind::Cash, 10_000)],
    );
    let sale = place_order::decide(&state, &sale, &shop(""), &moment).unwrap();
    evolve(&mut state, &sale, &moment);
    state
}

fn names(events: &[Event]) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::LedgerOpened(_) => "LedgerOpened",
        Event::StoreConfigured(_) => "StoreConfigured",
        Event::BusinessDayOpened(_) => "BusinessDayOpened",
        Event::BusinessDayClosed(_) => "BusinessDayClosed",
        _ => "other",
    };
    events.iter().map(name).collect()
}

fn opened(events: &[Event]) -> &e::BusinessDayOpened {
    match events.last() {
        Some(Event::BusinessDayOpened(opened)) => opened,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_money_command_opens_the_ledger_and_its_day() {
    let events = prepare(
        &StoreState::default(),
        &shop(""),
        &at("2026-03-02T10:00:00+09:00"),
    );
    let events = events.unwrap();
    assert_eq!(
        names(&events),
        ["LedgerOpened", "StoreConfigured", "BusinessDayOpened"]
    );
    let day = opened(&events);
    assert_eq!(day.business_date, "2026-03-02");
    let seconds = |instant: &str| instant.parse::<Timestamp>().unwrap().as_second();
    let [start, end] = [&day.start_time, &day.end_time].map(|time| time.unwrap().seconds);
    assert_eq!(start, seconds("2026-03-02T04:00:00+09:00"));
    assert_eq!(end, seconds("2026-03-03T04:00:00+09:00"));
}

#[test]
fn before_the_cutoff_it_is_still_the_day_before() {
    for (instant, date) in [
        ("2026-03-03T03:59:59+09:00", "2026-03-02"),
        ("2026-03-03T04:00:00+09:00", "2026-03-03"),
    ] {
        let events = prepare(&StoreState::default(), &shop(""), &at(instant)).unwrap();
        assert_eq!(opened(&events).business_date, date);
    }
}

#[test]
fn in_an_open_day_nothing_has_to_come_before() {
    let state = open_store();
    for instant in ["2026-03-02T23:00:00+09:00", "2026-03-03T03:59:59+09:00"] {
        assert_eq!(prepare(&state, &shop(""), &at(instant)).unwrap(), []);
    }
}

#[test]
fn a_day_past_its_cutoff_is_closed_uncounted_and_the_next_opens_with_what_it_left() {
    let state = open_store();
    let events = prepare(&state, &shop(""), &at("2026-03-05T10:00:00+09:00")).unwrap();
    assert_eq!(names(&events), ["BusinessDayClosed", "BusinessDayOpened"]);
    let Event::BusinessDayClosed(closed) = &events[0] else {
        panic!("{events:?}")
    };
    assert!(closed.automatic);
    assert_eq!(
        (closed.business_date.as_str(), closed.z_number),
        ("2026-03-02", 1)
    );
    // The day ends with the record before.
    assert_eq!(
        (closed.last_revision, closed.last_hash.as_ref()),
        (7, &[7; 32][..])
    );
    let carried = closed.carry_over.as_ref().unwrap();
    assert_eq!((carried.open_order_count, carried.document_number), (1, 1));
    let day = opened(&events);
    // Days without trade have no report: the next one is today's.
    assert_eq!(day.business_date, "2026-03-05");
    let floats: Vec<(&str, i64)> = day
        .floats
        .iter()
        .map(|float| (float.drawer_id.as_str(), float.amount))
        .collect();
    assert_eq!(floats, [("main", 5_000)]);
}

#[test]
fn opening_and_closing_by_itself_takes_two_clocks_that_agree() {
    let off_by = |seconds: i64| Moment {
        client_time: Some(morning() + SignedDuration::from_secs(seconds)),
        ..at("2026-03-02T10:00:00+09:00")
    };
    let refusal = |moment: &Moment| {
        prepare(&StoreState::default(), &shop(""), moment)
            .err()
            .map(|rejection| rejection.reason)
    };
    assert_eq!(refusal(&off_by(300)), None);
    assert_eq!(refusal(&off_by(-300)), None);
    assert_eq!(refusal(&off_by(301)), Some(Reason::ClockSuspect));
    assert_eq!(refusal(&off_by(-301)), Some(Reason::ClockSuspect));
    let without = Moment {
        client_time: None,
        ..off_by(0)
    };
    assert_eq!(refusal(&without), Some(Reason::ClockSuspect));
}

fn close_by_hand(date: &str, carry_over: CarryOver) -> CloseBusinessDay {
    let manual = ManualClose {
        request_id: request_id(1),
        counts: vec![DrawerCount {
            drawer_id: crate::domain::fixture::slug("main"),
            counted: Money::new(4_900),
        }],
        carry_over,
    };
    CloseBusinessDay {
        business_date: BusinessDate::parse(date).unwrap(),
        manual: Some(manual),
    }
}

#[test]
fn a_close_by_hand_names_its_day_and_what_stays_open() {
    let (mut state, now) = (open_store(), at("2026-03-02T22:00:00+09:00"));
    let refusal = |state: &StoreState, close: &CloseBusinessDay| {
        decide_close(state, close, &now)
            .err()
            .map(|rejection| rejection.reason)
    };
    let none = CarryOver::Named(Vec::new());
    let today = close_by_hand("2026-03-02", CarryOver::All);
    assert_eq!(
        refusal(&state, &close_by_hand("2026-03-03", CarryOver::All)),
        Some(Reason::DayNotBegun)
    );
    assert_eq!(
        refusal(&state, &close_by_hand("2026-03-02", none)),
        Some(Reason::OpenOrders)
    );
    // Uncounted it is not closed before its end.
    let sweep = CloseBusinessDay {
        manual: None,
        ..today.clone()
    };
    assert_eq!(refusal(&state, &sweep), Some(Reason::DayNotBegun));

    let events = decide_close(&state, &today, &now).unwrap();
    let [Event::BusinessDayClosed(closed)] = events.as_slice() else {
        panic!("{events:?}")
    };
    let drawer = &closed.report.as_ref().unwrap().drawers[0];
    assert!(!closed.automatic);
    assert_eq!(
        (drawer.counted, drawer.over_short),
        (Some(4_900), Some(-100))
    );
    evolve(&mut state, &events, &now);
    assert_eq!(refusal(&state, &today), Some(Reason::DayClosed));
    // What is sold after a close hours before the cutoff belongs to the next date.
    let next = prepare(&state, &shop(""), &at("2026-03-02T23:00:00+09:00")).unwrap();
    assert_eq!(opened(&next).business_date, "2026-03-03");
}

#[test]
fn changed_settings_wait_for_the_next_opening() {
    let state = open_store();
    let mut changed = (*shop("")).clone();
    changed.cutoff_minutes = 6 * 60;
    let same_day = prepare(&state, &changed, &at("2026-03-02T23:00:00+09:00")).unwrap();
    assert_eq!(same_day, []);
    let events = prepare(&state, &changed, &at("2026-03-03T10:00:00+09:00")).unwrap();
    assert_eq!(
        names(&events),
        ["BusinessDayClosed", "StoreConfigured", "BusinessDayOpened"]
    );
    assert_eq!(opened(&events).cutoff_minutes, 360);
}
