//! Where a read model is, with the places of its generations: schemas of a PostgreSQL database, or SQLite files side by side.

use std::path::PathBuf;

use runtime::database::{Pool, Transaction};
use sqlx::postgres::PgConnectOptions;

use super::pools::Pools;
use super::{postgres, sqlite};
use crate::error::ReadModelError;
use crate::generation::Generation;

#[derive(Debug, Clone)]
pub(crate) enum Location {
    Postgres(Box<PgConnectOptions>),
    Sqlite(PathBuf),
}

impl Location {
    /// Of `postgres://…` or `sqlite:PATH`.
    pub fn parse(url: &str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return (!path.is_empty()).then(|| Self::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = postgres::options(url).ok()?;
            return Some(Self::Postgres(Box::new(options)));
        }
        None
    }

    /// Connections to where it is written which generations there are.
    pub fn control(&self) -> Pool {
        match self {
            Self::Postgres(options) => postgres::control(options),
            Self::Sqlite(path) => sqlite::control(path),
        }
    }

    /// Connections to a generation, which are made when they are needed.
    pub fn open(&self, generation: Generation) -> Pools {
        match self {
            Self::Postgres(options) => postgres::open(options, &postgres::schema(generation)),
            Self::Sqlite(path) => sqlite::open(&sqlite::file(path, generation), sqlite::LIMITS),
        }
    }

    /// Whether a generation's place is known not to be there. Of PostgreSQL nothing is known without asking it.
    pub fn is_missing(&self, generation: Generation) -> bool {
        match self {
            Self::Postgres(_) => false,
            Self::Sqlite(path) => !sqlite::file(path, generation).exists(),
        }
    }

    /// Whether there are tables of before there were generations: in the place of the first one.
    pub async fn has_earlier_tables(
        &self,
        change: &mut Transaction<'static>,
    ) -> Result<bool, ReadModelError> {
        match self {
            Self::Postgres(_) => postgres::has_earlier_tables(change).await,
            Self::Sqlite(path) => sqlite::has_earlier_tables(path).await,
        }
    }

    /// Makes a generation of those tables.
    pub async fn adopt(&self, change: &mut Transaction<'static>) -> Result<(), ReadModelError> {
        match self {
            Self::Postgres(_) => Ok(change.session().script(postgres::ADOPT_ANALYSTS).await?),
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Makes a generation's tables where they are missing.
    pub async fn make_tables(
        &self,
        change: &mut Transaction<'static>,
        generation: Generation,
    ) -> Result<(), ReadModelError> {
        match self {
            Self::Postgres(_) => postgres::make_tables(change, generation).await,
            Self::Sqlite(path) => sqlite::make_tables(&sqlite::file(path, generation)).await,
        }
    }

    /// [`ReadModelError::Unavailable`] where they are in use.
    pub async fn remove_tables(
        &self,
        change: &mut Transaction<'static>,
        generation: Generation,
    ) -> Result<(), ReadModelError> {
        match self {
            Self::Postgres(_) => postgres::remove_tables(change, generation).await,
            Self::Sqlite(path) => sqlite::remove_files(&sqlite::file(path, generation)),
        }
    }

    /// Has what analysts read come from a generation, once the change is committed.
    pub async fn show_analysts(
        &self,
        change: &mut Transaction<'static>,
        generation: Generation,
    ) -> Result<(), ReadModelError> {
        match self {
            Self::Postgres(_) => postgres::show_analysts(change, generation).await,
            Self::Sqlite(_) => Ok(()),
        }
    }
}
