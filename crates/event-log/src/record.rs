use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The newest record layout and payload rules that this build reads. A record with a higher `min_reader` is refused.
pub const READER_VERSION: u16 = 1;

/// Largest payload of one record, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 128 * 1024;

/// Largest record, in bytes: header and payload.
pub const MAX_RECORD_BYTES: usize = FIXED_BYTES + MAX_NAME_BYTES + MAX_PAYLOAD_BYTES;

const MAX_NAME_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"DPO\x01";
const FORMAT: u8 = 1;
const FIXED_BYTES: usize = 4 + 1 + 2 + 16 + 8 + 32 + 8 + 8 + 1;

/// The name of a ledger, which is its store's id: `[a-z0-9-]{1,32}`, safe as a NATS token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerName(std::sync::Arc<str>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a ledger's name is 1 to 32 of a-z, 0-9 and '-', not {0:?}")]
pub struct NameError(pub String);

impl LedgerName {
    pub fn new(name: &str) -> Result<Self, NameError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(legal) {
            return Err(NameError(name.chars().take(64).collect()));
        }
        Ok(Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LedgerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LedgerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Numbers a ledger's records 1, 2, 3 …; 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of a record's stored bytes. All zero stands before a ledger's first record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RecordHash(pub [u8; 32]);

impl RecordHash {
    pub const NONE: Self = Self([0; 32]);

    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Debug for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(self.0))
    }
}

impl fmt::Display for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(self.0))
    }
}

/// What event-log itself knows of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The lowest reader version that understands the payload.
    pub min_reader: u16,
    /// Random; the same in every record of a ledger, so that two ledgers of one name are never mixed.
    pub ledger_id: Uuid,
    pub ledger: LedgerName,
    pub revision: Revision,
    pub previous_hash: RecordHash,
    /// The server's time, in microseconds. Before that of the record before it only where that one was stamped too late.
    pub recorded_at: Timestamp,
    /// The latest record at or before this one from which a reader may start folding; 0 when it has to start at 1.
    pub fold_from: Revision,
}

/// One append: header, payload, and the bytes that hold both. The bytes are frozen once sealed; the hash is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    header: Header,
    bytes: Bytes,
    payload_at: usize,
    hash: RecordHash,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    #[error("a record's payload holds at most {MAX_PAYLOAD_BYTES} bytes, this one has {0}")]
    Oversized(usize),
}

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CorruptRecord {
    #[error("the record has {0} bytes, fewer than its header needs")]
    Short(usize),
    #[error("the record does not begin with the mark of a Doppio record")]
    NotARecord,
    #[error("the record has format {0}; this build reads format {FORMAT}")]
    UnknownFormat(u8),
    #[error("the record's header is not well formed: {0}")]
    Malformed(&'static str),
}

impl Record {
    /// Freezes header and payload into bytes.
    ///
    /// Layout, integers big-endian: mark (4), format (1), min_reader (2), ledger id (16), revision (8), previous hash (32),
    /// recorded_at in µs since the Unix epoch (8), fold_from (8), length of the ledger's name (1), name, payload.
    pub fn seal(header: Header, payload: &[u8]) -> Result<Self, SealError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(SealError::Oversized(payload.len()));
        }
        let name = header.ledger.as_str().as_bytes();
        let mut bytes = BytesMut::with_capacity(FIXED_BYTES + name.len() + payload.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u8(FORMAT);
        bytes.put_u16(header.min_reader);
        bytes.put_slice(header.ledger_id.as_bytes());
        bytes.put_u64(header.revision.0);
        bytes.put_slice(&header.previous_hash.0);
        bytes.put_i64(header.recorded_at.as_microsecond());
        bytes.put_u64(header.fold_from.0);
        // A name has at most 32 bytes.
        bytes.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.put_slice(name);
        let payload_at = bytes.len();
        bytes.put_slice(payload);
        let bytes = bytes.freeze();
        let hash = RecordHash::of(&bytes);
        // What is read back has whole microseconds; what was sealed must be equal to it.
        let recorded_at = Timestamp::from_microsecond(header.recorded_at.as_microsecond())
            .unwrap_or(header.recorded_at);
        Ok(Self {
            header: Header {
                recorded_at,
                ..header
            },
            bytes,
            payload_at,
            hash,
        })
    }

    /// Reads a stored record. Checks its form only; [`crate::check_link`] checks its place in the ledger.
    pub fn parse(bytes: Bytes) -> Result<Self, CorruptRecord> {
        let hash = RecordHash::of(&bytes);
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
        };
        if reader.take::<4>()? != MAGIC {
            return Err(CorruptRecord::NotARecord);
        }
        let [format] = reader.take::<1>()?;
        if format != FORMAT {
            return Err(CorruptRecord::UnknownFormat(format));
        }
        let min_reader = u16::from_be_bytes(reader.take()?);
        let ledger_id = Uuid::from_bytes(reader.take()?);
        let revision = Revision(u64::from_be_bytes(reader.take()?));
        let previous_hash = RecordHash(reader.take()?);
        let recorded_at = Timestamp::from_microsecond(i64::from_be_bytes(reader.take()?))
            .map_err(|_| CorruptRecord::Malformed("recorded_at is out of range"))?;
        let fold_from = Revision(u64::from_be_bytes(reader.take()?));
        let [length] = reader.take::<1>()?;
        let name = reader.slice(usize::from(length))?;
        let name = std::str::from_utf8(name)
            .map_err(|_| CorruptRecord::Malformed("the ledger's name is not text"))?;
        let ledger = LedgerName::new(name)
            .map_err(|_| CorruptRecord::Malformed("the ledger's name is not legal"))?;
        if revision == Revision::NONE {
            return Err(CorruptRecord::Malformed("the revision is 0"));
        }
        let payload_at = reader.at;
        let header = Header {
            min_reader,
            ledger_id,
            ledger,
            revision,
            previous_hash,
            recorded_at,
            fold_from,
        };
        Ok(Self {
            header,
            bytes,
            payload_at,
            hash,
        })
    }

    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    #[must_use]
    pub fn revision(&self) -> Revision {
        self.header.revision
    }

    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(self.payload_at..)
    }

    /// The stored bytes: what is hashed and what a copy moves.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    #[must_use]
    pub fn hash(&self) -> RecordHash {
        self.hash
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], CorruptRecord> {
        let end = self.at + length;
        let slice = self
            .bytes
            .get(self.at..end)
            .ok_or(CorruptRecord::Short(self.bytes.len()))?;
        self.at = end;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CorruptRecord> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }
}
