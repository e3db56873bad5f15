//! The suite on embedded SQLite. PostgreSQL runs it in the integration tests.

use read_model::conformance::Failure;
use read_model::{ReadModel, each_law};

async fn fresh() -> Result<(ReadModel, ReadModel, tempfile::TempDir), Failure> {
    let directory = tempfile::tempdir()?;
    let url = format!(
        "sqlite:{}",
        directory.path().join("read-model.db").display()
    );
    Ok((ReadModel::open(&url)?, ReadModel::open(&url)?, directory))
}

each_law!(sqlite, super::fresh());
