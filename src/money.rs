use std::fmt;

use crate::api::types;

#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("a currency is an ISO 4217 code of three upper-case letters")]
pub struct CurrencyError;

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    pub fn new(code: &str) -> Result<Self, CurrencyError> {
        match code.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(CurrencyError),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// Whether ISO 4217 knows it as money with a minor unit. Metals, test codes and currencies that never were are not.
    #[must_use]
    pub fn exists(&self) -> bool {
        iso_currency::Currency::from_code(self.as_str())
            .is_some_and(|currency| currency.exponent().is_some())
    }

    /// Decimal places of the minor unit (ISO 4217); 2 for what it does not know. Only for showing amounts to people.
    #[must_use]
    pub fn exponent(&self) -> u8 {
        iso_currency::Currency::from_code(self.as_str())
            .and_then(iso_currency::Currency::exponent)
            .and_then(|exponent| u8::try_from(exponent).ok())
            .unwrap_or(2)
    }

    /// An amount of this currency for the API.
    #[must_use]
    pub fn amount(&self, amount: Money) -> types::Money {
        types::Money {
            currency_code: self.as_str().to_owned(),
            amount_minor: amount.minor(),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum MoneyError {
    #[error("the amount does not fit into 64 bits")]
    Overflow,
    #[error("the amount is negative")]
    Negative,
}

/// An amount in minor units of a currency that the context gives. Arithmetic is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

impl Money {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn new(minor: i64) -> Self {
        Self(minor)
    }

    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    pub fn non_negative(minor: i64) -> Result<Self, MoneyError> {
        if minor < 0 {
            Err(MoneyError::Negative)
        } else {
            Ok(Self(minor))
        }
    }

    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.0
            .checked_add(other.0)
            .map(Self)
            .ok_or(MoneyError::Overflow)
    }

    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.0
            .checked_sub(other.0)
            .map(Self)
            .ok_or(MoneyError::Overflow)
    }

    pub fn times(self, factor: i64) -> Result<Self, MoneyError> {
        self.0
            .checked_mul(factor)
            .map(Self)
            .ok_or(MoneyError::Overflow)
    }

    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }

    /// `floor(self * numerator / denominator)` with 128 bits in between; `denominator > 0`.
    pub fn scale_floor(self, numerator: i64, denominator: i64) -> Result<Self, MoneyError> {
        let scaled =
            (i128::from(self.0) * i128::from(numerator)).div_euclid(i128::from(denominator.max(1)));
        i64::try_from(scaled)
            .map(Self)
            .map_err(|_| MoneyError::Overflow)
    }

    /// The VAT inside an amount that includes it: `round_half_up(net * rate / (1 + rate))`, rate in basis points.
    pub fn vat_included(self, rate_bp: u32) -> Result<Self, MoneyError> {
        let rate = i128::from(rate_bp);
        let denominator = 10_000 + rate;
        let vat = (i128::from(self.0) * rate * 2 + denominator).div_euclid(denominator * 2);
        i64::try_from(vat)
            .map(Self)
            .map_err(|_| MoneyError::Overflow)
    }

    /// Shares `self` over `weights` in proportion, by largest remainder, ties to the lower index. The shares sum to `self` exactly;
    /// none exceeds its weight if `self` does not exceed their sum. All are 0 when the weights are.
    pub fn allocate(self, weights: &[Self]) -> Result<Vec<Self>, MoneyError> {
        let total: i128 = weights.iter().map(|weight| i128::from(weight.0)).sum();
        if total <= 0 {
            return Ok(vec![Self::ZERO; weights.len()]);
        }
        let amount = i128::from(self.0);
        let mut shares: Vec<i128> = weights
            .iter()
            .map(|weight| (amount * i128::from(weight.0)).div_euclid(total))
            .collect();
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&index| {
            (
                std::cmp::Reverse((amount * i128::from(weights[index].0)).rem_euclid(total)),
                index,
            )
        });
        let rest = amount - shares.iter().sum::<i128>();
        for &index in order.iter().take(usize::try_from(rest).unwrap_or(0)) {
            shares[index] += 1;
        }
        shares
            .into_iter()
            .map(|share| {
                i64::try_from(share)
                    .map(Self)
                    .map_err(|_| MoneyError::Overflow)
            })
            .collect()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vat_vectors_at_ten_percent() {
        for (net, vat) in [
            (4_500, 409),
            (4_100, 373),
            (1_000_000, 90_909),
            (0, 0),
            (1_500, 136),
            (5_000, 455),
        ] {
            assert_eq!(Money::new(net).vat_included(1_000), Ok(Money::new(vat)));
        }
    }

    #[test]
    fn a_coupon_of_1000_over_13500_and_3000_is_818_and_182() {
        let shares = Money::new(1_000)
            .allocate(&[Money::new(13_500), Money::new(3_000)])
            .unwrap();
        assert_eq!(shares, [Money::new(818), Money::new(182)]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_whole_and_stay_below_their_weights(weights in prop::collection::vec(0_i64..1_000_000, 1..20), permille in 0_i64..=1000) {
            let total: i64 = weights.iter().sum();
            let amount = total * permille / 1000;
            let weights: Vec<_> = weights.into_iter().map(Money::new).collect();
            let shares = Money::new(amount).allocate(&weights).unwrap();
            prop_assert_eq!(Money::sum(shares.iter().copied()).unwrap().minor(), amount);
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!(*share >= Money::ZERO && share <= weight);
            }
        }
    }
}
