use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::LogError;

/// The file that was opened, whatever stands under its name by now. SQLite goes on with a file that was removed or replaced, and what
/// it writes there is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl LogFile {
    pub(super) fn at(path: &Path) -> Result<Self, LogError> {
        let found = std::fs::metadata(path).map_err(|error| {
            LogError::Unusable(format!("{} cannot be looked at: {error}", path.display()))
        })?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file still stands under its name.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(LogError::Changed(format!(
                "another file was put in the place of {path}"
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(LogError::Changed(format!("{path} is gone")))
            }
            Err(error) => Err(LogError::Unavailable(format!(
                "{path} cannot be looked at: {error}"
            ))),
        }
    }
}
