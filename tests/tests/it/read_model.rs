//! The read model's conformance suite on both backends.

use integration_tests::Postgres;
use read_model::conformance::Failure;
use read_model::{ReadModel, each_law};

async fn sqlite() -> Result<(ReadModel, ReadModel, tempfile::TempDir), Failure> {
    let directory = tempfile::tempdir()?;
    let url = format!(
        "sqlite:{}",
        directory.path().join("read-model.db").display()
    );
    Ok((ReadModel::open(&url)?, ReadModel::open(&url)?, directory))
}

async fn postgres() -> Result<(ReadModel, ReadModel, ()), Failure> {
    let database = Postgres::shared().await?.fresh_database().await?;
    Ok((
        ReadModel::open(&database.url)?,
        ReadModel::open(&database.url)?,
        (),
    ))
}

each_law!(embedded, super::sqlite());
each_law!(server, super::postgres());
