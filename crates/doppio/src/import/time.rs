//! When a receipt was sold: as its file says it, and which instant that is.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::mistake::shown;

/// A time as a file states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// With an offset or a zone of its own.
    Instant(Timestamp),
    /// On the wall of the store.
    Local(DateTime),
}

/// Reads `2016-10-30T09:58` (seconds and a blank for the T too), with `Z`, an offset or a zone in brackets where it has one. `format`: a pattern
/// of strftime instead.
pub fn read(text: &str, format: Option<&str>) -> Result<Stated, String> {
    match format {
        Some(format) => formatted(text, format),
        None => standard(text),
    }
}

fn standard(text: &str) -> Result<Stated, String> {
    let malformed = || {
        format!(
            "{} is not a time like 2016-10-30T09:58 or 2016-10-30T09:58+01:00",
            shown(text)
        )
    };
    let bytes = text.as_bytes();
    let date_like = bytes.len() >= 10
        && bytes[..10]
            .iter()
            .enumerate()
            .all(|(place, byte)| match place {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
    if !date_like {
        return Err(malformed());
    }
    let Some(time) = text[10..].strip_prefix(['T', 't', ' ']) else {
        return Err(if bytes.len() == 10 {
            format!("{} has no time of day", shown(text))
        } else {
            malformed()
        });
    };
    let clock_like = time.len() >= 5
        && time
            .bytes()
            .take(5)
            .enumerate()
            .all(|(place, byte)| match place {
                2 => byte == b':',
                _ => byte.is_ascii_digit(),
            });
    if !clock_like {
        return Err(malformed());
    }
    let because = |error: jiff::Error| format!("{} is no time: {error}", shown(text));
    if let Some((before, _)) = text.split_once('[') {
        let zoned: jiff::Zoned = text.parse().map_err(because)?;
        if !has_offset(before) {
            // A zone alone neither tells the passes of a repeated hour apart nor makes a skipped one exist.
            let local: DateTime = before.parse().map_err(because)?;
            if zoned
                .time_zone()
                .to_ambiguous_timestamp(local)
                .is_ambiguous()
            {
                return Err(format!(
                    "{} stands at a change of that zone's clock; give an offset",
                    shown(text)
                ));
            }
        }
        return Ok(Stated::Instant(zoned.timestamp()));
    }
    if has_offset(text) {
        return text.parse().map(Stated::Instant).map_err(because);
    }
    text.parse().map(Stated::Local).map_err(because)
}

/// Whether an offset follows the date of a time that begins with `YYYY-MM-DD`.
fn has_offset(text: &str) -> bool {
    text[10..].contains(['Z', 'z', '+', '-'])
}

fn formatted(text: &str, format: &str) -> Result<Stated, String> {
    let because = |error: jiff::Error| {
        format!(
            "{} is not of the form {}: {error}",
            shown(text),
            shown(format)
        )
    };
    let parts = strtime::parse(format, text).map_err(because)?;
    if parts.timestamp().is_some() || parts.offset().is_some() || parts.iana_time_zone().is_some() {
        return parts.to_timestamp().map(Stated::Instant).map_err(because);
    }
    if parts.hour().is_none() || parts.minute().is_none() {
        return Err(format!("{} has no time of day", shown(text)));
    }
    parts.to_datetime().map(Stated::Local).map_err(because)
}

/// The instant that is meant in a store's zone. In the hour that a clock change repeats, the first pass unless that lies before `last`, the
/// instant of the receipt above: then the second. `None` for `last` where the file is in no order: a repeated hour cannot be told then.
pub fn instant_of(
    stated: Stated,
    zone: &TimeZone,
    last: Option<Timestamp>,
) -> Result<Timestamp, String> {
    let local = match stated {
        Stated::Instant(instant) => return Ok(instant),
        Stated::Local(local) => local,
    };
    let out_of_range = |error: jiff::Error| format!("{local} is out of range: {error}");
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).map_err(out_of_range),
        AmbiguousOffset::Gap { .. } => Err(format!(
            "{} does not exist: the clock was put forward over it",
            local.strftime("%Y-%m-%dT%H:%M")
        )),
        AmbiguousOffset::Fold { before, after } => {
            let Some(last) = last else {
                return Err(format!(
                    "{} was twice on the clock, and the file is in no order; give an offset",
                    local.strftime("%Y-%m-%dT%H:%M")
                ));
            };
            let first = before.to_timestamp(local).map_err(out_of_range)?;
            if first >= last {
                Ok(first)
            } else {
                after.to_timestamp(local).map_err(out_of_range)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_offset_or_zone_is_honoured_and_never_swallowed() {
        for (text, meant) in [
            ("2016-10-30T10:05+00:00", "2016-10-30T10:05Z"),
            ("2016-10-30 10:05:30-04", "2016-10-30T14:05:30Z"),
            ("2016-10-30T10:05Z", "2016-10-30T10:05Z"),
            ("2016-10-30T10:05[Asia/Seoul]", "2016-10-30T01:05Z"),
            ("2016-10-30T10:05+09:00[Asia/Seoul]", "2016-10-30T01:05Z"),
            ("2016-10-30T01:30+00:00[Europe/London]", "2016-10-30T01:30Z"),
        ] {
            assert_eq!(
                read(text, None),
                Ok(Stated::Instant(instant(meant))),
                "{text}"
            );
        }
        assert!(read("2016-10-30T10:05+00:00[Asia/Seoul]", None).is_err());
        assert!(read("2016-10-30T01:30[Europe/London]", None).is_err());
        assert!(read("2017-03-26T01:30[Europe/London]", None).is_err());
        assert!(read("2016-10-30T10:05[Asia/Nowhere]", None).is_err());
    }

    #[test]
    fn a_date_without_a_time_of_day_is_refused() {
        assert_eq!(
            read("2016-10-30", None),
            Err("\"2016-10-30\" has no time of day".to_owned())
        );
        assert!(read("30.10.2016", Some("%d.%m.%Y")).is_err());
        assert!(read("30.10.2016 10", Some("%d.%m.%Y %H")).is_err());
        for wrong in [
            "",
            "10:05",
            "2016-10-30T",
            "2016-10-30T10",
            "20161030T1005",
            "2016-W43-7T10:05",
            "2016-02-30T10:05",
            "2016-10-30T24:00",
            "2016-10-30T10:05 pm",
        ] {
            assert!(read(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_forms_by_pattern() {
        let local = Stated::Local("2016-10-30T10:05".parse().unwrap());
        assert_eq!(read("30.10.2016 10:05", Some("%d.%m.%Y %H:%M")), Ok(local));
        assert_eq!(
            read("10/30/2016 10:05 AM", Some("%m/%d/%Y %I:%M %p")),
            Ok(local)
        );
        assert_eq!(
            read("30.10.2016 10:05 +0100", Some("%d.%m.%Y %H:%M %z")),
            Ok(Stated::Instant(instant("2016-10-30T09:05Z")))
        );
        assert_eq!(
            read("1477821900", Some("%s")),
            Ok(Stated::Instant(instant("2016-10-30T10:05Z")))
        );
    }

    #[test]
    fn the_order_of_the_file_tells_the_pass_of_a_repeated_hour() {
        let london = TimeZone::get("Europe/London").unwrap();
        let mut last = Some(Timestamp::MIN);
        let mut placed = Vec::new();
        for time in ["00:50", "01:10", "01:50", "01:20", "01:40", "02:05"] {
            let local = format!("2016-10-30T{time}").parse().unwrap();
            let at = instant_of(Stated::Local(local), &london, last).unwrap();
            last = Some(at);
            placed.push(at.to_string());
        }
        assert_eq!(
            placed,
            [
                "2016-10-29T23:50:00Z",
                "2016-10-30T00:10:00Z",
                "2016-10-30T00:50:00Z",
                "2016-10-30T01:20:00Z",
                "2016-10-30T01:40:00Z",
                "2016-10-30T02:05:00Z"
            ]
        );
        let repeated = Stated::Local("2016-10-30T01:20".parse().unwrap());
        assert!(instant_of(repeated, &london, None).is_err());
    }

    #[test]
    fn a_local_time_that_does_not_exist_is_refused() {
        let london = TimeZone::get("Europe/London").unwrap();
        let skipped = Stated::Local("2017-03-26T01:30".parse().unwrap());
        assert_eq!(
            instant_of(skipped, &london, Some(Timestamp::MIN)),
            Err("2017-03-26T01:30 does not exist: the clock was put forward over it".to_owned())
        );
    }
}
