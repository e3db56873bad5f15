//! Quote tokens: what was quoted, for which draft, until when, and proof that it was this chain that quoted it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use contract::event::OrderPlaced;
use contract::{Reason, Rejection};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use sha2::Sha256;

use crate::domain::{ContentHash, Draft};

/// How long a quote holds.
pub const VALIDITY: SignedDuration = SignedDuration::from_mins(15);
const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
/// Longer than any token of an order that fits into a record.
const MAX_TOKEN_BYTES: usize = 200 * 1024;

/// Makes and checks quote tokens. Instances that share a key honour each other's.
#[derive(Clone)]
pub struct QuoteKey(Vec<u8>);

impl QuoteKey {
    #[must_use]
    pub fn new(key: Vec<u8>) -> Self {
        Self(key)
    }

    fn tag(&self, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(body);
        Some(mac)
    }

    /// Layout: version (1), expiry in ms since the Unix epoch (8), draft hash (32), OrderPlaced, HMAC-SHA-256 of all before it (32).
    #[must_use]
    pub fn seal(&self, draft: &Draft, quoted: &OrderPlaced, expires: Timestamp) -> Option<String> {
        let mut token = vec![VERSION];
        token.extend_from_slice(&expires.as_millisecond().to_be_bytes());
        token.extend_from_slice(&ContentHash::of_draft(draft).0);
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
        let (expires, draft_hash, quoted) = self
            .parse(token)
            .ok_or_else(|| invalid("it was not given out here, or was altered"))?;
        if draft_hash != ContentHash::of_draft(draft).0 {
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

    fn parse(&self, token: &str) -> Option<(i64, [u8; 32], OrderPlaced)> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        self.tag(body)?.verify_slice(tag).ok()?;
        let (&[version], body) = body.split_first_chunk::<1>()?;
        let (expires, body) = body.split_first_chunk::<8>()?;
        let (draft_hash, quoted) = body.split_first_chunk::<32>()?;
        if version != VERSION {
            return None;
        }
        Some((
            i64::from_be_bytes(*expires),
            *draft_hash,
            OrderPlaced::decode(Bytes::copy_from_slice(quoted)).ok()?,
        ))
    }
}

fn invalid(why: &str) -> Rejection {
    Rejection::field(Reason::QuoteInvalid, "quote_token", why)
}
