//! Stores of an import: whose receipts they are, and when their days end.

use contract::{DayRule, StoreId};
use jiff::tz::TimeZone;

use super::mapping::StoreNaming;
use super::mistake::shown;

/// A store as receipts are read for it.
#[derive(Debug, Clone)]
pub struct Shop {
    pub id: StoreId,
    pub time_zone: String,
    pub zone: TimeZone,
    pub cutoff_minutes: u32,
    pub days: DayRule,
}

impl Shop {
    /// `named`: what the file or the command line calls it. What the mapping says of it goes before `time_zone` and `cutoff`.
    pub fn of(
        named: &str,
        naming: Option<&StoreNaming>,
        time_zone: Option<&str>,
        cutoff: &str,
    ) -> Result<Self, String> {
        let own = |part: fn(&StoreNaming) -> Option<&String>| naming.and_then(part);
        let id = own(|naming| naming.id.as_ref()).map_or(named, String::as_str);
        let id = StoreId::new(id).map_err(|error| format!("the store {} {error}", shown(id)))?;
        let time_zone = own(|naming| naming.time_zone.as_ref())
            .map(String::as_str)
            .or(time_zone)
            .ok_or_else(|| format!("the time zone of {id} is not known: say --time-zone"))?;
        let zone = TimeZone::get(time_zone)
            .map_err(|_| format!("{} is not an IANA time zone", shown(time_zone)))?;
        let cutoff = own(|naming| naming.cutoff.as_ref()).map_or(cutoff, String::as_str);
        let cutoff_minutes = minutes(cutoff)
            .ok_or_else(|| format!("{} is not a local time HH:MM", shown(cutoff)))?;
        let days = DayRule::new(zone.clone(), cutoff_minutes).map_err(|error| error.to_string())?;
        Ok(Self {
            id,
            time_zone: time_zone.to_owned(),
            zone,
            cutoff_minutes,
            days,
        })
    }
}

fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cutoff_is_a_local_time_to_the_minute() {
        assert_eq!(minutes("04:00"), Some(240));
        assert_eq!(minutes("23:59"), Some(1_439));
        for wrong in ["4:00", "24:00", "04:60", "04:00:30", "0400", "+4:00", ""] {
            assert_eq!(minutes(wrong), None, "{wrong}");
        }
    }
}
