use crate::error::LogError;

/// Why a stream cannot be gone on with: for certain, or perhaps only until its leader has caught up.
pub(super) enum Doubt {
    Certain(LogError),
    Lagging(String),
}

impl From<LogError> for Doubt {
    fn from(error: LogError) -> Self {
        Self::Certain(error)
    }
}
