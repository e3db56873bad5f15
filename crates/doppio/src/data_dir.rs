//! The directory of the embedded engines, held by one process at a time.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::Slug;
use contract::card::{CardKeys, KEY_BYTES};

use crate::exit::{ExitCode, Failure};

/// The read model's first file. The names of its others begin with this one's.
const READ_MODEL: &str = "read-model.db";

/// A data directory that this process holds until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes hold of a directory that is there.
    pub fn hold_existing(path: &Path) -> Result<Self, Failure> {
        if !path.is_dir() {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("there is no data directory {}", path.display()),
            ));
        }
        Self::hold(path)
    }

    /// Takes hold of a directory, made if it is missing.
    pub fn hold(path: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path);
        let lock = lock.with_context(|| format!("cannot open {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                Err(Failure::new(
                    ExitCode::Unavailable,
                    format!(
                        "the data directory {path} is held by a running doppio; talk to it with --server, or stop it first"
                    ),
                ))
            }
            Err(TryLockError::Error(error)) => Err(Failure::new(
                ExitCode::Failed,
                format!("cannot lock {}: {error}", lock_path.display()),
            )),
        }
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log.db")
    }

    #[must_use]
    pub fn read_model(&self) -> PathBuf {
        self.path.join(READ_MODEL)
    }

    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.path.join("member.db")
    }

    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.path.join("ordering-index.db")
    }

    /// The files of the read model: of its generations, and of which they are.
    pub fn read_model_files(&self) -> Result<Vec<PathBuf>, Failure> {
        let unreadable = || format!("cannot read {}", self.path.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(READ_MODEL) {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    /// Removes the read model, which is derived from the log.
    pub fn remove_read_model(&self) -> Result<(), Failure> {
        for path in self.read_model_files()? {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// The keys of card hashes, made at random when they are asked for the first time. One key a line, the newest first.
    pub fn card_keys(&self) -> Result<CardKeys, Failure> {
        let path = self.path.join("card-keys");
        if !path.exists() {
            let fresh = self.path.join("card-keys.new");
            let mut file = File::options()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&fresh)
                .with_context(|| format!("cannot make {}", fresh.display()))?;
            writeln!(file, "{}", new_card_key(None)?)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        CardKeys::parse(&text)
            .map_err(|error| Failure::new(ExitCode::Usage, format!("{}: {error}", path.display())))
    }

    /// A log may be made here: nothing that was derived from one, and nothing that goes with one, is here.
    #[must_use]
    pub fn is_new(&self) -> bool {
        [self.log(), self.members(), self.index()]
            .iter()
            .all(|path| !path.exists())
            && self.read_model_files().is_ok_and(|files| files.is_empty())
    }
}

/// A random key of card hashes, as the setting has it. Its id is random too unless one is given: two keys of one id, as after the loss of
/// a file of keys, would answer "no member" where the answer is not known.
pub fn new_card_key(id: Option<&str>) -> Result<String, Failure> {
    let id = id.map_or_else(|| format!("k-{:08x}", rand::random::<u32>()), str::to_owned);
    let id = Slug::new(&id)
        .map_err(|error| Failure::new(ExitCode::Usage, format!("the key's id {error}")))?;
    Ok(CardKeys::line(&id, &rand::random::<[u8; KEY_BYTES]>()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn card_keys_are_made_once_and_for_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::hold(directory.path()).unwrap();
        let made = data.card_keys().unwrap();
        let card = contract::card::CardDigest::of_token("card-0001").unwrap();
        assert_eq!(
            made.hashes(card),
            data.card_keys().unwrap().hashes(card),
            "the same at the next start"
        );
        let mode = std::fs::metadata(directory.path().join("card-keys"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0);
        std::fs::remove_file(directory.path().join("card-keys")).unwrap();
        let another = data.card_keys().unwrap();
        assert_ne!(
            made.hashes(card)[0].key_id,
            another.hashes(card)[0].key_id,
            "another key is known by another id"
        );
    }
}
