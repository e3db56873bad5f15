use std::fmt;

use contract::RequestId;
use contract::card::{CardDigest, CardHash};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const DISPLAY_NAME_CHARS: usize = 64;
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
const SHA256_BYTES: usize = 32;

/// What is wrong with a value; never repeats the value, which may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("must be a UUIDv7 such as 019352f0-7a1c-7c3e-8f00-0123456789ab")]
    NotAUuidV7,
    #[error(
        "must be 1 to 64 characters, not counting spaces around them, without control characters"
    )]
    NotADisplayName,
    #[error(
        "must be an E.164 number: '+' and 7 to 15 digits, the first not 0, such as +821012345678"
    )]
    NotAPhoneNumber,
    #[error("must be 1 to 3 hashes of one card, each with its key id and 32 bytes")]
    NotHashes,
    #[error("must be TIER_BASIC, TIER_SILVER or TIER_GOLD")]
    NotATier,
}

/// UUIDv7, made by this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberId(Uuid);

impl MemberId {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        // Held to the same one spelling as every other id of the contract.
        RequestId::parse(text)
            .map(|id| Self(id.uuid()))
            .map_err(|_| ValueError::NotAUuidV7)
    }

    /// A new id; ids sort by the time that they were made at.
    pub(crate) fn new(now: Timestamp) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            nanos,
        )))
    }

    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    pub(crate) fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

macro_rules! personal {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// From the database, which holds checked values only.
            pub(crate) fn stored(text: String) -> Self {
                Self(text)
            }
        }

        /// Personal data does not go into logs.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(hidden)"))
            }
        }
    };
}

personal! {
    /// 1..64 characters without control characters or spaces around them.
    DisplayName
}

personal! {
    /// E.164: '+' and 7..15 digits.
    PhoneNumber
}

impl DisplayName {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars == 0 || chars > DISPLAY_NAME_CHARS || text.chars().any(char::is_control) {
            return Err(ValueError::NotADisplayName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl PhoneNumber {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let digits = text.strip_prefix('+').ok_or(ValueError::NotAPhoneNumber)?;
        let legal = PHONE_DIGITS.contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::NotAPhoneNumber)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    Basic,
    Silver,
    Gold,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Basic, Self::Silver, Self::Gold];

    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }

    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text)
    }
}

/// What a member is found by.
#[derive(Debug, Clone)]
pub enum Key {
    Id(MemberId),
    /// A card that is presented.
    Card(CardDigest),
    /// A card that was presented elsewhere, under each key that the asker had.
    CardHashes(Vec<CardHash>),
    Phone(PhoneNumber),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    /// `None` once withdrawn.
    pub contact: Option<Contact>,
    pub tier: Tier,
    pub register_time: Timestamp,
    pub update_time: Timestamp,
    /// Grows with every change.
    pub version: i64,
}

impl Member {
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.contact.is_some()
    }

    #[must_use]
    pub fn etag(&self) -> String {
        self.version.to_string()
    }
}

/// What is erased when a member withdraws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub display_name: DisplayName,
    pub phone_number: PhoneNumber,
}

#[derive(Debug, Clone)]
pub struct Registration {
    pub request_id: RequestId,
    pub display_name: DisplayName,
    pub phone_number: PhoneNumber,
    pub tier: Tier,
    /// Without repeats.
    pub cards: Vec<CardDigest>,
}

impl Registration {
    /// SHA-256 over the salt and the content, each part preceded by its length. The order of the cards does not count.
    pub(crate) fn content_hash(&self, salt: &[u8]) -> [u8; SHA256_BYTES] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(salt);
        part(self.display_name.as_str().as_bytes());
        part(self.phone_number.as_str().as_bytes());
        part(self.tier.as_str().as_bytes());
        let mut cards = self.cards.clone();
        cards.sort_unstable();
        cards.iter().for_each(|card| part(card.as_bytes()));
        hash.finalize().into()
    }
}

#[derive(Debug, Clone)]
pub struct Registered {
    pub member: Member,
    /// True when this request had been carried out before.
    pub replayed: bool,
}

/// What is to change; `None` stays as it is.
#[derive(Debug, Clone)]
pub struct Change {
    pub id: MemberId,
    pub display_name: Option<DisplayName>,
    pub phone_number: Option<PhoneNumber>,
    pub tier: Option<Tier>,
    /// Cards to add, without repeats.
    pub add_cards: Vec<CardDigest>,
    /// Only if the member's etag is still this one.
    pub etag: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded_in_characters() {
        assert_eq!(
            DisplayName::parse("  홍길동 ").map(|name| name.as_str().to_owned()),
            Ok("홍길동".to_owned())
        );
        assert!(DisplayName::parse(&"가".repeat(64)).is_ok());
        for illegal in ["", "   ", &"x".repeat(65), "a\nb", "a\u{0}b"] {
            assert_eq!(
                DisplayName::parse(illegal),
                Err(ValueError::NotADisplayName),
                "{illegal:?}"
            );
        }
    }

    #[test]
    fn phone_numbers_are_e164() {
        assert!(PhoneNumber::parse("+821012345678").is_ok());
        for illegal in [
            "",
            "821012345678",
            "+82 10 1234 5678",
            "+123456",
            "+1234567890123456",
            "+０１２３４５６",
            "+0123456789",
        ] {
            assert_eq!(
                PhoneNumber::parse(illegal),
                Err(ValueError::NotAPhoneNumber),
                "{illegal:?}"
            );
        }
    }

    #[test]
    fn personal_data_is_hidden_when_it_is_printed_for_debugging() {
        let registration = Registration {
            request_id: RequestId::from_uuid(Uuid::nil()),
            display_name: DisplayName::parse("Kim Minji").unwrap(),
            phone_number: PhoneNumber::parse("+821012345678").unwrap(),
            tier: Tier::Gold,
            cards: vec![CardDigest::of_token("card-0001").unwrap()],
        };
        let printed = format!("{registration:?}");
        assert!(
            !printed.contains("Minji") && !printed.contains("8210") && printed.contains("hidden"),
            "{printed}"
        );
    }

    #[test]
    fn the_hash_of_a_registration_depends_on_salt_and_content_only() {
        let make = |name: &str, cards: [&str; 2]| Registration {
            request_id: RequestId::from_uuid(Uuid::nil()),
            display_name: DisplayName::parse(name).unwrap(),
            phone_number: PhoneNumber::parse("+821012345678").unwrap(),
            tier: Tier::Basic,
            cards: cards
                .iter()
                .map(|card| CardDigest::of_token(card).unwrap())
                .collect(),
        };
        let hash = make("A", ["card-0001", "card-0002"]).content_hash(b"salt");
        assert_eq!(
            hash,
            make("A", ["card-0002", "card-0001"]).content_hash(b"salt")
        );
        assert_ne!(
            hash,
            make("B", ["card-0001", "card-0002"]).content_hash(b"salt")
        );
        assert_ne!(
            hash,
            make("A", ["card-0001", "card-0002"]).content_hash(b"other salt")
        );
    }
}
