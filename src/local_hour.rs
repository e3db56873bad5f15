use std::fmt;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// An hour as a shop's clock on the wall shows it: its date, the hour with the minutes left out, and the offset from UTC that is in
/// force. It is the name under which sales of an hour are summed, so that both sides of the system must find the same one.
///
/// An hour is told from another by date, hour and offset. A clock change by half an hour (Lord Howe Island) makes hours of half an
/// hour's length; the offset of such an hour is the one after the change, whether or not the wall ever showed its first minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalHour {
    name: String,
    repeated: bool,
}

impl LocalHour {
    /// The hour of an instant in a zone.
    #[must_use]
    pub fn of(zone: &TimeZone, at: Timestamp) -> Self {
        let offset = zone.to_offset(at);
        let local = offset.to_datetime(at);
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        let name = format!(
            "{}T{:02}:00{sign}{:02}:{:02}",
            local.date(),
            local.hour(),
            minutes.unsigned_abs() / 60,
            minutes.unsigned_abs() % 60
        );
        Self {
            name,
            repeated: is_repeated(zone, at, offset),
        }
    }

    /// "2016-10-30T01:00+01:00".
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the wall has shown this hour before on the same date: the second of the two that a clock set back makes.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }
}

impl fmt::Display for LocalHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The wall had come to a later time than the hour's beginning when it was last set back.
fn is_repeated(zone: &TimeZone, at: Timestamp, offset: Offset) -> bool {
    // A transition at this very instant is one that has happened.
    let probe = at
        .checked_add(jiff::SignedDuration::from_nanos(1))
        .unwrap_or(at);
    let Some(last) = zone.preceding(probe).next() else {
        return false;
    };
    let change = last.timestamp();
    let Ok(before) = change.checked_sub(jiff::SignedDuration::from_secs(1)) else {
        return false;
    };
    let before = zone.to_offset(before);
    if before.seconds() <= offset.seconds() {
        return false;
    }
    let local = offset.to_datetime(at);
    let Ok(hour) = local
        .with()
        .minute(0)
        .second(0)
        .subsec_nanosecond(0)
        .build()
    else {
        return false;
    };
    hour < before.to_datetime(change)
}

/// Puts hours, by their names, in the order in which they passed: of two with the same date and hour the one with the greater offset
/// came first.
#[must_use]
pub fn in_order(one: &str, other: &str) -> std::cmp::Ordering {
    let instant = |name: &str| name.parse::<Timestamp>().ok();
    match (instant(one), instant(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(zone: &str, instants: &[&str]) -> Vec<(String, bool)> {
        let zone = TimeZone::get(zone).unwrap();
        instants
            .iter()
            .map(|instant| {
                let hour = LocalHour::of(&zone, instant.parse().unwrap());
                (hour.name().to_owned(), hour.is_repeated())
            })
            .collect()
    }

    fn expect(zone: &str, rows: &[(&str, &str, bool)]) {
        let instants: Vec<&str> = rows.iter().map(|row| row.0).collect();
        let expected: Vec<(String, bool)> = rows
            .iter()
            .map(|(_, name, repeated)| ((*name).to_owned(), *repeated))
            .collect();
        assert_eq!(hours(zone, &instants), expected, "{zone}");
    }

    #[test]
    fn an_hour_of_london_is_two_when_the_clock_is_set_back_and_none_when_it_is_set_on() {
        expect(
            "Europe/London",
            &[
                ("2016-10-29T23:59:59Z", "2016-10-30T00:00+01:00", false),
                ("2016-10-30T00:00:00Z", "2016-10-30T01:00+01:00", false),
                ("2016-10-30T00:59:59Z", "2016-10-30T01:00+01:00", false),
                ("2016-10-30T01:00:00Z", "2016-10-30T01:00+00:00", true),
                ("2016-10-30T01:59:59Z", "2016-10-30T01:00+00:00", true),
                ("2016-10-30T02:00:00Z", "2016-10-30T02:00+00:00", false),
                ("2017-03-26T00:59:59Z", "2017-03-26T00:00+00:00", false),
                ("2017-03-26T01:00:00Z", "2017-03-26T02:00+01:00", false),
            ],
        );
    }

    /// On Lord Howe Island the clock is set by half an hour: 02:00+11:00 becomes 01:30+10:30, and 02:00+10:30 becomes 02:30+11:00.
    #[test]
    fn an_hour_of_lord_howe_island_is_named_by_the_wall_and_the_offset() {
        expect(
            "Australia/Lord_Howe",
            &[
                ("2026-04-04T14:00:00Z", "2026-04-05T01:00+11:00", false),
                ("2026-04-04T14:59:59Z", "2026-04-05T01:00+11:00", false),
                ("2026-04-04T15:00:00Z", "2026-04-05T01:00+10:30", true),
                ("2026-04-04T15:29:59Z", "2026-04-05T01:00+10:30", true),
                ("2026-04-04T15:30:00Z", "2026-04-05T02:00+10:30", false),
                ("2026-10-03T15:29:59Z", "2026-10-04T01:00+10:30", false),
                ("2026-10-03T15:30:00Z", "2026-10-04T02:00+11:00", false),
                ("2026-10-03T15:59:59Z", "2026-10-04T02:00+11:00", false),
                ("2026-10-03T16:00:00Z", "2026-10-04T03:00+11:00", false),
            ],
        );
    }

    #[test]
    fn an_offset_of_three_quarters_of_an_hour_leaves_the_hour_the_walls() {
        expect(
            "Asia/Kathmandu",
            &[
                ("2026-03-02T03:14:59Z", "2026-03-02T08:00+05:45", false),
                ("2026-03-02T03:15:00Z", "2026-03-02T09:00+05:45", false),
                ("2026-03-02T04:14:59Z", "2026-03-02T09:00+05:45", false),
            ],
        );
        expect(
            "America/St_Johns",
            &[("2026-01-02T03:30:00Z", "2026-01-02T00:00-03:30", false)],
        );
    }

    #[test]
    fn hours_stand_in_the_order_in_which_they_passed() {
        let mut names = [
            "2016-10-30T02:00+00:00",
            "2016-10-30T01:00+00:00",
            "2016-10-30T01:00+01:00",
        ];
        names.sort_by(|one, other| in_order(one, other));
        assert_eq!(
            names,
            [
                "2016-10-30T01:00+01:00",
                "2016-10-30T01:00+00:00",
                "2016-10-30T02:00+00:00"
            ]
        );
    }
}
