//! Card tokens as they are kept: never themselves, and never as a hash that whoever reads it could try tokens against.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::Slug;

/// Keys in force at once: the newest, and those before it until every card is known by a newer one.
pub const MAX_KEYS: usize = 3;
pub const KEY_BYTES: usize = 32;
/// What is missing where the setting `card_keys` is.
pub const CARD_KEYS_NEEDED: &str =
    "is needed, the same for ordering and member: ID:KEY as `doppio member new-card-key` makes one";
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 8..=128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    #[error("must be 8 to 128 printable ASCII characters")]
    NotAToken,
    #[error(
        "must be ID:KEY, ID of 1 to 32 of a-z, 0-9 and '-', KEY the base64 of 32 random bytes; the newest first, at most {MAX_KEYS}, separated by commas or lines"
    )]
    NotKeys,
    #[error("names a key twice")]
    KeyTwice,
}

/// SHA-256 of a card's token: what keyed hashes are made of. Held in memory only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardDigest([u8; 32]);

impl CardDigest {
    /// Of a token of 8..128 printable ASCII characters.
    pub fn of_token(token: &str) -> Result<Self, CardError> {
        if !TOKEN_BYTES.contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(CardError::NotAToken);
        }
        Ok(Self(Sha256::digest(token.as_bytes()).into()))
    }

    /// From the 32 bytes that older versions of the member service stored.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// It identifies the bearer as well as the token does.
impl fmt::Debug for CardDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardDigest(hidden)")
    }
}

/// HMAC-SHA-256 of a card's digest, and the key that it takes to make it.
#[derive(Clone, PartialEq, Eq)]
pub struct CardHash {
    pub key_id: Slug,
    pub hmac: [u8; 32],
}

impl CardHash {
    /// As a message carries it.
    #[must_use]
    pub fn new(key_id: &str, hmac: &[u8]) -> Option<Self> {
        Some(Self {
            key_id: Slug::new(key_id).ok()?,
            hmac: hmac.try_into().ok()?,
        })
    }
}

impl fmt::Debug for CardHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CardHash({})", self.key_id)
    }
}

/// The keys that ordering and member share, the newest first. A card is hashed with each of them, so that it is found whichever of them
/// the other side knows.
#[derive(Clone)]
pub struct CardKeys(Arc<[(Slug, [u8; KEY_BYTES])]>);

impl CardKeys {
    /// `ID:KEY` separated by commas or white space, the newest first.
    pub fn parse(text: &str) -> Result<Self, CardError> {
        let mut keys: Vec<(Slug, [u8; KEY_BYTES])> = Vec::new();
        for part in text
            .split(|symbol: char| symbol == ',' || symbol.is_whitespace())
            .filter(|part| !part.is_empty())
        {
            let (id, key) = part.split_once(':').ok_or(CardError::NotKeys)?;
            let id = Slug::new(id).map_err(|_| CardError::NotKeys)?;
            let key = STANDARD.decode(key).map_err(|_| CardError::NotKeys)?;
            let key = key.try_into().map_err(|_| CardError::NotKeys)?;
            if keys.iter().any(|(earlier, _)| *earlier == id) {
                return Err(CardError::KeyTwice);
            }
            keys.push((id, key));
        }
        if !(1..=MAX_KEYS).contains(&keys.len()) {
            return Err(CardError::NotKeys);
        }
        Ok(Self(keys.into()))
    }

    /// A key as the setting has it.
    #[must_use]
    pub fn line(id: &Slug, key: &[u8; KEY_BYTES]) -> String {
        format!("{id}:{}", STANDARD.encode(key))
    }

    /// The newest first.
    pub fn ids(&self) -> impl Iterator<Item = &Slug> {
        self.0.iter().map(|(id, _)| id)
    }

    /// The card under every key, the newest first.
    #[must_use]
    pub fn hashes(&self, card: CardDigest) -> Vec<CardHash> {
        self.0
            .iter()
            .filter_map(|(id, key)| {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
                mac.update(card.as_bytes());
                Some(CardHash {
                    key_id: id.clone(),
                    hmac: mac.finalize().into_bytes().into(),
                })
            })
            .collect()
    }
}

/// Never the keys.
impl fmt::Debug for CardKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn keys_are_read_newest_first_and_never_printed() {
        let other = STANDARD.encode([7; 32]);
        let keys = CardKeys::parse(&format!("2026:{KEY}\n2025:{other},")).unwrap();
        assert_eq!(format!("{keys:?}"), r#"["2026", "2025"]"#);
        for illegal in [
            String::new(),
            KEY.to_owned(),
            "a:AAEC".to_owned(),
            format!("A:{KEY}"),
            format!("1:{KEY},2:{KEY},3:{KEY},4:{KEY}"),
        ] {
            assert_eq!(
                CardKeys::parse(&illegal).err(),
                Some(CardError::NotKeys),
                "{illegal}"
            );
        }
        let twice = CardKeys::parse(&format!("a:{KEY},a:{other}"));
        assert_eq!(twice.err(), Some(CardError::KeyTwice));
    }

    #[test]
    fn a_card_hash_takes_its_key() {
        let keys = CardKeys::parse(&format!("k1:{KEY}")).unwrap();
        let card = CardDigest::of_token("card-0001").unwrap();
        let hashes = keys.hashes(card);
        assert_eq!(hashes.len(), 1);
        assert_eq!(hashes[0].key_id.as_str(), "k1");
        assert_ne!(hashes[0].hmac.as_slice(), card.as_bytes());
        // Frozen: HMAC-SHA-256(00 01 .. 1f, SHA-256("card-0001")).
        assert_eq!(hex(&hashes[0].hmac), FROZEN);
        assert!(!format!("{card:?} {:?}", hashes[0]).contains(&hex(&hashes[0].hmac)[..8]));
    }

    const FROZEN: &str = "55114ceb0f401e4a949693e28c7a7763756543a5717bd01004d5df4f2a6323aa";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn tokens_are_opaque_but_printable() {
        for illegal in [
            "",
            "short",
            "with space in it",
            "käse-0001",
            &"x".repeat(129),
        ] {
            assert_eq!(
                CardDigest::of_token(illegal).err(),
                Some(CardError::NotAToken)
            );
        }
    }
}
