//! The file of one store's snapshots: a whole one, and behind it what changed since, again and again.
//!
//! Blocks follow one another, each with a digest that is taken over the one before it too, so that none can be altered, lost, repeated or
//! put elsewhere without being noticed:
//!
//! ```text
//! mark (8)  block*
//! block:    kind (1)  length (4, little-endian)  digest (32)  body
//! blocks:   opening  (changes* seal)+
//! ```
//!
//! A snapshot counts from its seal on. What comes after the last seal, as when the writer was killed, is nothing.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use contract::StoreId;
use event_log::{ChainState, LogEpoch, Position, RecordHash, Revision};
use prost::Message;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::image::{ImageError, STATE_VERSION};
use crate::domain::{ChangesImage, Held, StateImage, StoreState};

const MARK: [u8; 8] = *b"DPOSNAP\x01";
const OPENING: u8 = 1;
const CHANGES: u8 = 2;
const SEAL: u8 = 3;
/// What a block of changes holds at most, and an order more.
const PART_BYTES: usize = 64 * 1024;
/// No block is longer: a length beyond it was not written.
const MAX_BLOCK_BYTES: usize = 16 * 1024 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;
/// Changes are added to a file until they outweigh the snapshot that it began with, and this much more.
const ADDED_BYTES: u64 = 1024 * 1024;

/// What a file of snapshots is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub store: StoreId,
    pub epoch: LogEpoch,
}

/// The record that a snapshot reflects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub chain: ChainState,
    /// As the record's header says.
    pub fold_from: Revision,
    /// Where the record lies.
    pub position: Position,
}

/// A state as a snapshot gave it back.
#[derive(Debug)]
pub struct Snapshot {
    pub state: StoreState,
    pub stamp: Stamp,
    /// What is wrong with the rest of the file.
    pub spoilt: Option<SnapshotError>,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("it is damaged: {0}")]
    Image(#[from] ImageError),
    #[error("it was made by version {0}")]
    OtherVersion(String),
    #[error("it is of another store or log, or of an earlier life of this one")]
    OtherSubject,
    #[error("the store's time zone has no name")]
    Unwritable,
}

#[derive(Clone, PartialEq, Message)]
struct Opening {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    store_id: String,
    #[prost(bytes = "vec", tag = "3")]
    log_id: Vec<u8>,
    #[prost(uint32, tag = "4")]
    epoch: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Seal {
    #[prost(bytes = "vec", tag = "1")]
    ledger_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(bytes = "vec", tag = "3")]
    hash: Vec<u8>,
    #[prost(sint64, tag = "4")]
    recorded_at_us: i64,
    #[prost(uint64, tag = "5")]
    fold_from: u64,
    #[prost(uint64, tag = "6")]
    position: u64,
    #[prost(message, optional, tag = "7")]
    state: Option<StateImage>,
}

/// The software counts too: what an older one made wrong is not believed by the one that mends it.
fn own_version() -> String {
    format!("{STATE_VERSION}/{}", env!("CARGO_PKG_VERSION"))
}

impl Opening {
    fn of(subject: &Subject) -> Self {
        Self {
            version: own_version(),
            store_id: subject.store.to_string(),
            log_id: subject.epoch.log_id.as_bytes().to_vec(),
            epoch: subject.epoch.epoch,
        }
    }
}

impl Seal {
    fn of(state: StateImage, stamp: &Stamp) -> Self {
        Self {
            ledger_id: stamp.chain.ledger_id.as_bytes().to_vec(),
            revision: stamp.chain.revision.0,
            hash: stamp.chain.hash.0.to_vec(),
            recorded_at_us: stamp.chain.recorded_at_us,
            fold_from: stamp.fold_from.0,
            position: stamp.position.0,
            state: Some(state),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(Stamp {
            chain: ChainState {
                ledger_id: Uuid::from_slice(&self.ledger_id).ok()?,
                revision: Revision(self.revision),
                hash: RecordHash(self.hash.as_slice().try_into().ok()?),
                recorded_at_us: self.recorded_at_us,
            },
            fold_from: Revision(self.fold_from),
            position: Position(self.position),
        })
    }
}

fn digest(before: &[u8; 32], kind: u8, length: [u8; 4], body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(before)
        .chain_update([kind])
        .chain_update(length)
        .chain_update(body)
        .finalize()
        .into()
}

/// A file that was written, and what has to be known to add to it.
#[derive(Debug)]
pub struct Written {
    file: File,
    /// Of the last block.
    digest: [u8; 32],
    /// Of the snapshot that the file begins with.
    whole_bytes: u64,
    bytes: u64,
    held: Held,
}

impl Written {
    /// Whether the next snapshot is added. Otherwise the file is begun anew.
    fn is_to_be_continued(&self, path: &Path) -> bool {
        // Somebody else may have put another one in its place.
        let own = self.file.metadata().map(|own| (own.dev(), own.ino()));
        let there = std::fs::metadata(path).map(|there| (there.dev(), there.ino()));
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
            && self.bytes < 2 * self.whole_bytes + ADDED_BYTES
    }

    fn begin(mut file: File, subject: &Subject) -> Result<Self, SnapshotError> {
        file.write_all(&MARK)?;
        let mut written = Self {
            file,
            digest: [0; 32],
            whole_bytes: 0,
            bytes: MARK.len() as u64,
            held: Held::default(),
        };
        let mut blocks = written.blocks();
        blocks.write(OPENING, &Opening::of(subject))?;
        blocks.file.flush()?;
        let (digest, bytes) = (blocks.digest, blocks.bytes);
        drop(blocks);
        (written.digest, written.bytes) = (digest, bytes);
        Ok(written)
    }

    /// What is written behind what is there.
    fn blocks(&self) -> Blocks<'_> {
        Blocks {
            file: BufWriter::with_capacity(BUFFER_BYTES, &self.file),
            digest: self.digest,
            bytes: self.bytes,
        }
    }

    fn add(&mut self, state: &StoreState, stamp: &Stamp) -> Result<(), SnapshotError> {
        let held = Held::of(state);
        let image = state.image().ok_or(SnapshotError::Unwritable)?;
        let mut blocks = self.blocks();
        self.held
            .changes(&held, PART_BYTES, |changes| blocks.write(CHANGES, changes))?;
        blocks.write(SEAL, &Seal::of(image, stamp))?;
        blocks.file.flush()?;
        let (digest, bytes) = (blocks.digest, blocks.bytes);
        drop(blocks);
        (self.digest, self.bytes, self.held) = (digest, bytes, held);
        Ok(())
    }
}

struct Blocks<'a> {
    file: BufWriter<&'a File>,
    digest: [u8; 32],
    bytes: u64,
}

impl Blocks<'_> {
    fn write(&mut self, kind: u8, body: &impl Message) -> io::Result<()> {
        let body = body.encode_to_vec();
        let length = u32::try_from(body.len())
            .ok()
            .filter(|_| body.len() <= MAX_BLOCK_BYTES)
            .ok_or_else(|| io::Error::other("a part of the state is too long"))?
            .to_le_bytes();
        self.digest = digest(&self.digest, kind, length, &body);
        self.file.write_all(&[kind])?;
        self.file.write_all(&length)?;
        self.file.write_all(&self.digest)?;
        self.file.write_all(&body)?;
        self.bytes += (1 + length.len() + self.digest.len() + body.len()) as u64;
        Ok(())
    }
}

/// Writes a state down: what changed since the last time, or all of it into a file that then takes the place of the one before. It is not
/// synced: what a power cut makes of it is found out by the digests.
pub fn write(
    path: &Path,
    subject: &Subject,
    last: Option<Written>,
    state: &StoreState,
    stamp: &Stamp,
) -> Result<Written, SnapshotError> {
    if let Some(mut written) = last.filter(|written| written.is_to_be_continued(path)) {
        written.add(state, stamp)?;
        return Ok(written);
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let fresh = fresh(path);
    let begun = Written::begin(File::create(&fresh)?, subject);
    let made = begun.and_then(|mut written| {
        written.add(state, stamp)?;
        std::fs::rename(&fresh, path)?;
        written.whole_bytes = written.bytes;
        Ok(written)
    });
    if made.is_err() {
        // What is there of it only takes room.
        let _ = std::fs::remove_file(&fresh);
    }
    made
}

/// Where a file is written before it takes its place.
fn fresh(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The last snapshot of a file; `None` without one. An error: there is nothing in it that could be used.
pub fn read(path: &Path, subject: &Subject) -> Result<Option<Snapshot>, SnapshotError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut reader = Reader {
        file: BufReader::with_capacity(BUFFER_BYTES, file),
        digest: [0; 32],
        body: Vec::new(),
    };
    reader.open(subject)?;
    let mut held = Held::default();
    let mut last: Option<(Seal, Held)> = None;
    let spoilt = loop {
        match reader.take(&mut held) {
            Ok(Some(Taken::Seal(seal))) => last = Some((*seal, held.clone())),
            Ok(Some(Taken::Changes)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    match (last, spoilt) {
        (Some((seal, held)), spoilt) => {
            let stamp = seal.stamp().ok_or(SnapshotError::Damaged("its stamp"))?;
            let image = seal.state.ok_or(SnapshotError::Damaged("its state"))?;
            Ok(Some(Snapshot {
                state: StoreState::from_image(image, held)?,
                stamp,
                spoilt,
            }))
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(SnapshotError::Damaged("it has no seal")),
    }
}

enum Taken {
    Changes,
    Seal(Box<Seal>),
}

struct Reader {
    file: BufReader<File>,
    digest: [u8; 32],
    /// Of the last block.
    body: Vec<u8>,
}

impl Reader {
    fn open(&mut self, subject: &Subject) -> Result<(), SnapshotError> {
        let mut mark = [0; MARK.len()];
        if self.fill(&mut mark)? < mark.len() || mark != MARK {
            return Err(SnapshotError::Damaged("it does not begin with its mark"));
        }
        if self.block()? != Some(OPENING) {
            return Err(SnapshotError::Damaged("it has no opening"));
        }
        let opening = Opening::decode(self.body.as_slice())
            .map_err(|_| SnapshotError::Damaged("its opening"))?;
        if opening.version != own_version() {
            return Err(SnapshotError::OtherVersion(opening.version));
        }
        if opening != Opening::of(subject) {
            return Err(SnapshotError::OtherSubject);
        }
        Ok(())
    }

    /// Takes the next block: changes, or the seal of a snapshot. `None` at the end.
    fn take(&mut self, held: &mut Held) -> Result<Option<Taken>, SnapshotError> {
        match self.block()? {
            None => Ok(None),
            Some(CHANGES) => {
                let changes = ChangesImage::decode(self.body.as_slice())
                    .map_err(|_| SnapshotError::Damaged("a block of changes"))?;
                held.change(changes)?;
                Ok(Some(Taken::Changes))
            }
            Some(SEAL) => Seal::decode(self.body.as_slice())
                .map(|seal| Some(Taken::Seal(Box::new(seal))))
                .map_err(|_| SnapshotError::Damaged("a seal")),
            Some(_) => Err(SnapshotError::Damaged("a block of no known kind")),
        }
    }

    /// Reads a block and checks its digest; its kind, or `None` at the end.
    fn block(&mut self) -> Result<Option<u8>, SnapshotError> {
        let mut head = [0; 1 + 4 + 32];
        match self.fill(&mut head)? {
            0 => return Ok(None),
            read if read < head.len() => return Err(SnapshotError::Damaged("it is cut off")),
            _ => {}
        }
        let [kind, l0, l1, l2, l3, stated @ ..] = head;
        let length = [l0, l1, l2, l3];
        let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if bytes > MAX_BLOCK_BYTES {
            return Err(SnapshotError::Damaged("a block's length"));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(bytes, 0);
        let read = self.fill(&mut body)?;
        self.body = body;
        if read < bytes {
            return Err(SnapshotError::Damaged("it is cut off"));
        }
        self.digest = digest(&self.digest, kind, length, &self.body);
        if self.digest != stated {
            return Err(SnapshotError::Damaged("a block's digest"));
        }
        Ok(Some(kind))
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A file whose first block was changed, with the digest that it then has.
#[cfg(test)]
pub fn with_opening_digest(mut file: Vec<u8>) -> Vec<u8> {
    let (at, body) = (MARK.len(), MARK.len() + 1 + 4 + 32);
    let length: [u8; 4] = file[at + 1..at + 5].try_into().unwrap();
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap();
    let new = digest(&[0; 32], file[at], length, &file[body..body + bytes]);
    file[at + 5..body].copy_from_slice(&new);
    file
}
