use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::StoreId;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("the consistency token is not one that Doppio gave out")]
pub struct TokenError;

/// Proof of a write, for reads that must reflect it: which log, which ledger, which revision. Opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyToken {
    pub log_id: Uuid,
    pub epoch: u32,
    pub store: StoreId,
    pub revision: u64,
}

impl ConsistencyToken {
    /// Reads a token. The check bytes catch what was cut or mistyped; they prove nothing.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError)?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TokenError)?;
        if Sha256::digest(body)[..CHECK_BYTES] != *check {
            return Err(TokenError);
        }
        let (&[version], body) = body.split_first_chunk::<1>().ok_or(TokenError)?;
        let (log_id, body) = body.split_first_chunk::<16>().ok_or(TokenError)?;
        let (epoch, body) = body.split_first_chunk::<4>().ok_or(TokenError)?;
        let (revision, store) = body.split_first_chunk::<8>().ok_or(TokenError)?;
        if version != VERSION {
            return Err(TokenError);
        }
        let store = std::str::from_utf8(store)
            .ok()
            .and_then(|store| StoreId::new(store).ok())
            .ok_or(TokenError)?;
        Ok(Self {
            log_id: Uuid::from_bytes(*log_id),
            epoch: u32::from_be_bytes(*epoch),
            store,
            revision: u64::from_be_bytes(*revision),
        })
    }
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.log_id.as_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes.extend_from_slice(self.store.as_str().as_bytes());
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(log_id: u128, epoch: u32, revision: u64, store in "[a-z0-9-]{1,32}") {
            let token = ConsistencyToken { log_id: Uuid::from_u128(log_id), epoch, store: StoreId::new(&store).unwrap(), revision };
            prop_assert_eq!(ConsistencyToken::parse(&token.to_string()), Ok(token));
        }

        #[test]
        fn anything_else_is_refused(text in ".{0,80}") {
            prop_assert_eq!(ConsistencyToken::parse(&text), Err(TokenError));
        }
    }
}
