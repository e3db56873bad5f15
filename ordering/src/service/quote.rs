//! Quote tokens: what was quoted, for which draft, until when, and proof that it was this chain that quoted it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use contract::card::CardHash;
use contract::event::OrderPlaced;
use contract::{Reason, Rejection};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use sha2::Sha256;

use crate::domain::{Draft, DraftHash, MemberKey};

/// How long a quote holds.
pub const VALIDITY: SignedDuration = SignedDuration::from_mins(15);
const VERSION: u8 = 2;
const TAG_BYTES: usize = 32;
/// Longer than any token of an order that fits into a record.
const MAX_TOKEN_BYTES: usize = 200 * 1024;

/// Makes and checks quote tokens. Instances that share a key honour each other's.
#[derive(Clone)]
pub struct QuoteKey(Vec<u8>);

impl QuoteKey {
    /// Any bytes; only whoever has them can make a token.
    #[must_use]
    pub fn new(key: Vec<u8>) -> Self {
        Self(key)
    }

    fn tag(&self, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(body);
        Some(mac)
    }

    /// Layout: version (1), expiry in ms since the Unix epoch (8), draft hash (32), count of card hashes (1), card hashes (32 each),
    /// OrderPlaced, HMAC-SHA-256 of all before it (32).
    #[must_use]
    pub fn seal(&self, draft: &Draft, quoted: &OrderPlaced, expires: Timestamp) -> Option<String> {
        let mut token = vec![VERSION];
        token.extend_from_slice(&expires.as_millisecond().to_be_bytes());
        token.extend_from_slice(&DraftHash::of(draft).0);
        let cards = card_hashes(draft);
        token.push(u8::try_from(cards.len()).ok()?);
        cards
            .iter()
            .for_each(|card| token.extend_from_slice(&card.hmac));
        token.extend_from_slice(&quoted.encode_to_vec());
        let tag = self.tag(&token)?.finalize().into_bytes();
        token.extend_from_slice(&tag);
        Some(URL_SAFE_NO_PAD.encode(token))
    }

    /// What was quoted for this draft.
    pub fn open(
        &self,
        token: &str,
        draft: &Draft,
        now: Timestamp,
    ) -> Result<OrderPlaced, Rejection> {
        let Quote {
            expires,
            draft_hash,
            cards,
            quoted,
        } = self
            .parse(token)
            .ok_or_else(|| invalid("it was not given out here, or was altered"))?;
        // The draft's hash covers that a card was presented, and not which one. That is known by its keyed hashes: one in common is enough,
        // because keys may have been added or taken out of force since the quote.
        let own = card_hashes(draft);
        let same_card =
            own.is_empty() && cards.is_empty() || own.iter().any(|card| cards.contains(&card.hmac));
        if draft_hash != DraftHash::of(draft).0 || !same_card {
            return Err(invalid("it was given for another draft"));
        }
        if now.as_millisecond() >= expires {
            return Err(Rejection::field(
                Reason::QuoteExpired,
                "quote_token",
                "the quote has expired",
            ));
        }
        Ok(quoted)
    }

    fn parse(&self, token: &str) -> Option<Quote> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        self.tag(body)?.verify_slice(tag).ok()?;
        let (&[version], body) = body.split_first_chunk::<1>()?;
        let (expires, body) = body.split_first_chunk::<8>()?;
        let (draft_hash, body) = body.split_first_chunk::<32>()?;
        let (&[count], mut quoted) = body.split_first_chunk::<1>()?;
        let mut cards = Vec::with_capacity(count.into());
        for _ in 0..count {
            let (card, rest) = quoted.split_first_chunk::<32>()?;
            cards.push(*card);
            quoted = rest;
        }
        if version != VERSION {
            return None;
        }
        Some(Quote {
            expires: i64::from_be_bytes(*expires),
            draft_hash: *draft_hash,
            cards,
            quoted: OrderPlaced::decode(Bytes::copy_from_slice(quoted)).ok()?,
        })
    }
}

/// What a token holds.
struct Quote {
    /// In ms since the Unix epoch.
    expires: i64,
    draft_hash: [u8; 32],
    cards: Vec<[u8; 32]>,
    quoted: OrderPlaced,
}

fn card_hashes(draft: &Draft) -> &[CardHash] {
    match &draft.member {
        Some(MemberKey::Card(hashes)) => hashes,
        Some(MemberKey::MemberId(_)) | None => &[],
    }
}

fn invalid(why: &str) -> Rejection {
    Rejection::field(Reason::QuoteInvalid, "quote_token", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixture::{draft, line, morning, shop, sold, till_draft};
    use crate::domain::place_order;

    fn key() -> QuoteKey {
        QuoteKey::new(vec![7; 32])
    }

    fn later(minutes: i64) -> Timestamp {
        morning() + SignedDuration::from_mins(minutes)
    }

    fn sealed(draft: &Draft) -> (String, OrderPlaced) {
        let quoted = place_order::price(draft, &shop(""), morning(), None).unwrap();
        let token = key().seal(draft, &quoted, later(15)).unwrap();
        (token, quoted)
    }

    fn refusal(opened: Result<OrderPlaced, Rejection>) -> Reason {
        opened.unwrap_err().reason
    }

    #[test]
    fn a_token_holds_what_was_quoted_flags_included() {
        let draft = till_draft(vec![sold("latte", 1, 4_000), sold("tea", 1, 3_000)]);
        let (token, quoted) = sealed(&draft);
        assert_eq!(quoted.flags, ["TILL_PRICE_DIFFERS", "UNKNOWN_ITEM"]);
        assert_eq!(key().open(&token, &draft, morning()).unwrap(), quoted);
    }

    #[test]
    fn a_token_is_of_its_draft_however_that_is_written() {
        let latte = draft(vec![line("latte", 1)]);
        let (token, _) = sealed(&latte);
        let mut spelled_out = latte.clone();
        spelled_out.lines[0].service_mode = Some(latte.service_mode);
        assert!(key().open(&token, &spelled_out, morning()).is_ok());
        let two = draft(vec![line("latte", 2)]);
        assert_eq!(
            refusal(key().open(&token, &two, morning())),
            Reason::QuoteInvalid
        );
    }

    #[test]
    fn a_token_expires() {
        let latte = draft(vec![line("latte", 1)]);
        let (token, _) = sealed(&latte);
        let last = later(15) - SignedDuration::from_millis(1);
        assert!(key().open(&token, &latte, last).is_ok());
        assert_eq!(
            refusal(key().open(&token, &latte, later(15))),
            Reason::QuoteExpired
        );
    }

    #[test]
    fn a_token_that_was_altered_or_made_with_another_key_is_refused() {
        let latte = draft(vec![line("latte", 1)]);
        let (token, _) = sealed(&latte);
        let mut altered = token.clone().into_bytes();
        altered[20] ^= 1;
        let altered = String::from_utf8(altered).unwrap();
        for other in ["", "????", &token[..40], &altered, &"A".repeat(300_000)] {
            assert_eq!(
                refusal(key().open(other, &latte, morning())),
                Reason::QuoteInvalid
            );
        }
        let foreign = QuoteKey::new(vec![8; 32]).open(&token, &latte, morning());
        assert_eq!(refusal(foreign), Reason::QuoteInvalid);
    }
}
