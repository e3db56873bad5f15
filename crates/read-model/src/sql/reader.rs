use std::sync::Arc;

use super::database::Database;
use super::generations::GenerationStore;
use crate::error::ReadModelError;
use crate::generation::Generation;

/// Reads the live generation, or the one that is named.
pub(crate) struct Reader {
    pub generations: Arc<GenerationStore>,
    pub named: Option<Generation>,
}

impl Reader {
    /// What is to be read now. Whatever an answer is made of is read from it alone.
    pub(super) async fn database(&self) -> Result<Arc<Database>, ReadModelError> {
        match self.named {
            Some(generation) => self.generations.named(generation),
            None => self.generations.readable().await,
        }
    }
}
