use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::{Uuid, Version};

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum IdError {
    #[error("must be 1 to 32 of a-z, 0-9 and '-'")]
    NotASlug,
    #[error("must be a UUIDv7 such as 019352f0-7a1c-7c3e-8f00-0123456789ab")]
    NotAUuidV7,
}

/// `[a-z0-9-]{1,32}`: safe as a NATS token and in a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Arc<str>);

impl Slug {
    pub fn new(text: &str) -> Result<Self, IdError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(legal) {
            return Err(IdError::NotASlug);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A store of the chain; also the name of its ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(Slug);

impl StoreId {
    pub fn new(text: &str) -> Result<Self, IdError> {
        Slug::new(text).map(Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn uuid_v7(text: &str) -> Result<Uuid, IdError> {
    // One spelling only: the id is compared, hashed and stored by value, and echoed as it was written.
    if text.len() != 36 {
        return Err(IdError::NotAUuidV7);
    }
    let uuid = Uuid::try_parse(text).map_err(|_| IdError::NotAUuidV7)?;
    if uuid.get_version() != Some(Version::SortRand) {
        return Err(IdError::NotAUuidV7);
    }
    Ok(uuid)
}

macro_rules! uuid_v7_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, IdError> {
                uuid_v7(text).map(Self)
            }

            /// From the 16 bytes that an event keeps.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| IdError::NotAUuidV7)
            }

            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }

            #[must_use]
            pub fn to_bytes(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(self.0.as_bytes())
            }

            /// The time in the id: a hint, never proof. `None` for the time 0, in ids that are derived from what they name (an import's).
            #[must_use]
            pub fn time_hint(self) -> Option<Timestamp> {
                let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
                if (seconds, nanos) == (0, 0) {
                    return None;
                }
                Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_v7_id! {
    /// Made by the terminal when the sale begins: the order's identity and its idempotency key.
    OrderId
}

uuid_v7_id! {
    /// Made by the terminal for every mutation other than placing an order: its idempotency key.
    RequestId
}
