use sha2::{Digest, Sha256};

use crate::record::LedgerName;

/// Logical partitions of the log, for ever. Streams bind ranges of them.
pub const PARTITIONS: u16 = 64;

/// The partition of a ledger: the first 8 bytes, big-endian, of SHA-256(name), modulo [`PARTITIONS`].
#[must_use]
pub fn partition_of(ledger: &LedgerName) -> u16 {
    let digest = Sha256::digest(ledger.as_str().as_bytes());
    let mut head = [0_u8; 8];
    head.copy_from_slice(&digest[..8]);
    u16::try_from(u64::from_be_bytes(head) % u64::from(PARTITIONS)).unwrap_or_default()
}
