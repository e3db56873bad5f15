//! The lists of a day's report that are as long as a day makes them: a Z proves them by a digest and does not hold them.

use sha2::{Digest as _, Sha256};

use crate::event::{DiscountSource, ListDigest};

/// A row of a day's list: items by sku, categories, or discounts. What a list does not count is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListAmounts {
    /// Units sold; how often a discount was applied.
    pub count: i64,
    pub gross: i64,
    pub discount: i64,
    pub net: i64,
}

impl ListAmounts {
    /// `None`: a sum does not fit into 64 bits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            count: self.count.checked_add(other.count)?,
            gross: self.gross.checked_add(other.gross)?,
            discount: self.discount.checked_add(other.discount)?,
            net: self.net.checked_add(other.net)?,
        })
    }
}

/// The key of a discount's row.
#[must_use]
pub fn discount_key(source: i32, discount_id: &str) -> String {
    format!("{source}/{discount_id}")
}

/// The source and id that a discount's key says.
#[must_use]
pub fn read_discount_key(key: &str) -> Option<(DiscountSource, &str)> {
    let (source, id) = key.split_once('/')?;
    Some((
        DiscountSource::try_from(source.parse::<i32>().ok()?).ok()?,
        id,
    ))
}

/// The digest of rows that come in the order of their keys' bytes, as `doppio.event.v1.ListDigest` describes it. `None`: a sum does not
/// fit into 64 bits.
#[must_use]
pub fn digest<'a>(rows: impl IntoIterator<Item = (&'a str, ListAmounts)>) -> Option<ListDigest> {
    let (mut hash, mut count, mut total) = (Sha256::new(), 0, ListAmounts::default());
    for (key, row) in rows {
        hash.update(u32::try_from(key.len()).ok()?.to_be_bytes());
        hash.update(key.as_bytes());
        for amount in [row.count, row.gross, row.discount, row.net] {
            hash.update(amount.to_be_bytes());
        }
        count += 1;
        total = total.plus(row)?;
    }
    Some(ListDigest {
        rows: count,
        count: total.count,
        gross: total.gross,
        discount: total.discount,
        net: total.net,
        sha256: hash.finalize().to_vec().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are a format for ever: an old Z is proven by them.
    #[test]
    fn the_bytes_of_a_list_are_frozen() {
        let row = |count, gross, discount| ListAmounts {
            count,
            gross,
            discount,
            net: gross - discount,
        };
        let list = digest([
            ("americano", row(3, 14_000, 4_500)),
            ("라떼", row(1, 5_000, 0)),
        ])
        .unwrap();
        let mut bytes = Vec::new();
        for (key, amounts) in [
            ("americano", [3_i64, 14_000, 4_500, 9_500]),
            ("라떼", [1, 5_000, 0, 5_000]),
        ] {
            bytes.extend(u32::try_from(key.len()).unwrap().to_be_bytes());
            bytes.extend(key.bytes());
            bytes.extend(amounts.iter().flat_map(|amount| amount.to_be_bytes()));
        }
        assert_eq!(bytes.len(), 2 * (4 + 32) + 9 + 6);
        assert_eq!(list.sha256[..], Sha256::digest(&bytes)[..]);
        assert_eq!(
            (list.rows, list.count, list.gross, list.discount, list.net),
            (2, 4, 19_000, 4_500, 14_500)
        );
        assert_eq!(
            read_discount_key(&discount_key(5, "a/b")),
            Some((DiscountSource::Coupon, "a/b"))
        );
    }

    #[test]
    fn a_sum_that_does_not_fit_makes_no_digest() {
        let most = ListAmounts {
            net: i64::MAX,
            ..ListAmounts::default()
        };
        assert_eq!(digest([("a", most), ("b", most)]), None);
    }
}
