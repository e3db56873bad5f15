//! Numbers of other tills' files, read exactly or not at all.

use contract::event::TaxKind;
use contract::{IdError, Slug};

use super::mistake::shown;

/// A decimal number as so many units of its last place: `4.50` with two places is 450.
pub fn exact(text: &str, places: u32, decimal_comma: bool) -> Result<i64, String> {
    let (separator, example) = if decimal_comma {
        (',', "4,50")
    } else {
        ('.', "4.50")
    };
    let malformed = || {
        format!(
            "{} is not a number like {example}, without grouping",
            shown(text)
        )
    };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = match digits.split_once(separator) {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(malformed()),
        None => (digits, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(malformed());
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = u32::try_from(fraction.len())
        .ok()
        .and_then(|length| places.checked_sub(length))
        .ok_or_else(|| match places {
            0 => format!("{} is not a whole number", shown(text)),
            1 => format!("{} has more than one decimal", shown(text)),
            _ => format!("{} has more than {places} decimals", shown(text)),
        })?;
    let too_large = || format!("{} is too large", shown(text));
    let value: i64 = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| too_large())?;
    10_i64
        .checked_pow(missing)
        .and_then(|scale| value.checked_mul(scale))
        .map(|value| sign * value)
        .ok_or_else(too_large)
}

/// A rate of VAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// 0 to 10,000.
    BasisPoints(u32),
    Exempt,
}

impl Rate {
    /// Percent with at most two decimals, or the word `exempt`.
    pub fn read(text: &str, decimal_comma: bool) -> Result<Self, String> {
        if text == "exempt" {
            return Ok(Self::Exempt);
        }
        let number = text.strip_suffix('%').map_or(text, str::trim_end);
        let basis_points = exact(number, 2, decimal_comma)
            .map_err(|what| format!("{what}; a rate is in percent, exact to 0.01, or exempt"))?;
        u32::try_from(basis_points)
            .ok()
            .filter(|rate| *rate <= 10_000)
            .map(Self::BasisPoints)
            .ok_or_else(|| format!("{} is not from 0 to 100 percent", shown(text)))
    }

    #[must_use]
    pub fn kind(self) -> TaxKind {
        match self {
            Self::Exempt => TaxKind::Exempt,
            Self::BasisPoints(0) => TaxKind::Zero,
            Self::BasisPoints(_) => TaxKind::Standard,
        }
    }

    #[must_use]
    pub fn basis_points(self) -> u32 {
        match self {
            Self::Exempt => 0,
            Self::BasisPoints(rate) => rate,
        }
    }

    /// The tax class that stands for this rate.
    pub fn class(self) -> Result<Slug, IdError> {
        match self {
            Self::Exempt => Slug::new("vat-exempt"),
            Self::BasisPoints(rate) => Slug::new(&format!("vat-{rate}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(exact("4.50", 2, false), Ok(450));
        assert_eq!(exact("4.5000", 2, false), Ok(450));
        assert_eq!(exact("4,5", 2, true), Ok(450));
        assert_eq!(exact("-3", 2, false), Ok(-300));
        assert_eq!(exact("4500", 0, false), Ok(4500));
        for wrong in [
            "",
            "-",
            ".5",
            "4.",
            "4.505",
            "1,234.50",
            "4,50",
            "+1",
            "1e3",
            "٣",
            " 1",
            "0x1",
            "99999999999999999999",
        ] {
            assert!(exact(wrong, 2, false).is_err(), "{wrong}");
        }
        assert!(exact("4.50", 2, true).is_err());
        assert!(exact("1.5", 0, false).is_err());
    }

    #[test]
    fn a_rate_that_basis_points_cannot_hold_is_refused_not_rounded() {
        assert_eq!(Rate::read("8.875", false), Err("\"8.875\" has more than 2 decimals; a rate is in percent, exact to 0.01, or exempt".to_owned()));
        assert_eq!(Rate::read("8.870", false), Ok(Rate::BasisPoints(887)));
        assert_eq!(Rate::read("20 %", false), Ok(Rate::BasisPoints(2_000)));
        assert_eq!(Rate::read("12,5", true), Ok(Rate::BasisPoints(1_250)));
        assert_eq!(Rate::read("exempt", false), Ok(Rate::Exempt));
        assert!(Rate::read("100.01", false).is_err());
        assert!(Rate::read("-1", false).is_err());
        assert!(Rate::read("NaN", false).is_err());
    }
}
