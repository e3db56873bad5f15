use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_nats::jetstream::stream;
use async_trait::async_trait;
use bytes::Bytes;
use event_log::conformance::{Failure, Fixture};
use event_log::jetstream::{JetStreamConfig, JetStreamLog};
use event_log::sqlite::SqliteLog;
use event_log::{EventLog, LedgerName, LogEpoch, LogError, Record, Revision};
use integration_tests::Nats;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

pub struct SqliteFixture {
    directory: TempDir,
}

impl SqliteFixture {
    pub async fn new() -> Result<Self> {
        let fixture = Self {
            directory: tempfile::tempdir()?,
        };
        SqliteLog::create(&fixture.path()).await?;
        Ok(fixture)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("events.db")
    }

    async fn connect(&self) -> Result<SqliteConnection> {
        let options = SqliteConnectOptions::new()
            .filename(self.path())
            .busy_timeout(std::time::Duration::from_secs(5));
        Ok(options.connect().await?)
    }

    /// The write-ahead log and its index belong to the file.
    fn remove(&self) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let path = PathBuf::from(format!("{}{suffix}", self.path().display()));
            if path.exists() {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn open(&self) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(Arc::new(SqliteLog::open(&self.path()).await?))
    }

    async fn restart(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn put_raw(&self, ledger: &LedgerName, bytes: Bytes) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        // Without a record's own revision it stands after the last.
        let revision = Record::parse(bytes.clone())
            .ok()
            .map(|record| record.revision().0.cast_signed());
        sqlx::query(
            "INSERT INTO records (ledger, revision, appended_at, body)
             VALUES (?1, coalesce(?2, (SELECT max(revision) + 1 FROM records WHERE ledger = ?1)), 0, ?3)",
        )
        .bind(ledger.as_str())
        .bind(revision)
        .bind(&bytes[..])
        .execute(&mut connection)
        .await?;
        Ok(connection.close().await?)
    }

    async fn alter(&self, ledger: &LedgerName, revision: Revision) -> Result<bool, Failure> {
        let mut connection = self.connect().await?;
        let altered = sqlx::query("UPDATE records SET body = CAST(body || x'00' AS BLOB) WHERE ledger = ?1 AND revision = ?2")
            .bind(ledger.as_str())
            .bind(revision.0.cast_signed())
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(altered.rows_affected() == 1)
    }

    async fn save(&self) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        let copy = self.directory.path().join("copy.db").display().to_string();
        sqlx::query("VACUUM INTO ?1")
            .bind(copy)
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    async fn restore(&self) -> Result<(), Failure> {
        self.remove()?;
        std::fs::copy(self.directory.path().join("copy.db"), self.path())?;
        Ok(())
    }

    async fn recreate(&self) -> Result<(), Failure> {
        self.remove()?;
        SqliteLog::create(&self.path()).await?;
        Ok(())
    }

    async fn replace(&self) -> Result<(), Failure> {
        let other = self.directory.path().join("other.db");
        let mut connection = self.connect().await?;
        sqlx::query("VACUUM INTO ?1")
            .bind(other.display().to_string())
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        let mut connection = SqliteConnectOptions::new()
            .filename(&other)
            .connect()
            .await?;
        sqlx::query("DELETE FROM records")
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        self.remove()?;
        Ok(std::fs::rename(other, self.path())?)
    }

    /// A trigger refuses every write, and has SQLite end the transaction by itself, as it does when a disk is full.
    async fn set_full(&self, full: bool) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(if full {
            "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END;
             CREATE TRIGGER full_too BEFORE INSERT ON metadata BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END"
        } else {
            "DROP TRIGGER full; DROP TRIGGER full_too"
        })
        .execute(&mut connection)
        .await?;
        Ok(connection.close().await?)
    }

    async fn adopt(&self) -> Result<LogEpoch, LogError> {
        SqliteLog::adopt(&self.path()).await
    }
}

pub struct JetStreamFixture {
    pub nats: Nats,
    pub config: JetStreamConfig,
}

impl JetStreamFixture {
    pub async fn single() -> Result<Self> {
        Self::on(Nats::single().await?).await
    }

    pub async fn cluster() -> Result<Self> {
        Self::on(Nats::cluster3().await?).await
    }

    async fn on(nats: Nats) -> Result<Self> {
        let config = nats.config();
        JetStreamLog::init(&config).await?;
        Ok(Self { nats, config })
    }

    pub async fn log(&self) -> Result<JetStreamLog> {
        Ok(JetStreamLog::open(&self.config).await?)
    }
}

#[async_trait]
impl Fixture for JetStreamFixture {
    async fn open(&self) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(Arc::new(JetStreamLog::open(&self.config).await?))
    }

    async fn restart(&self) -> Result<(), Failure> {
        self.nats.kill_all();
        Ok(self.nats.restart().await?)
    }

    async fn put_raw(&self, ledger: &LedgerName, bytes: Bytes) -> Result<(), Failure> {
        let subject = self.log().await?.subject_of(ledger);
        let client = async_nats::connect(self.nats.urls()).await?;
        async_nats::jetstream::new(client)
            .publish(subject, bytes)
            .await?
            .await?;
        Ok(())
    }

    async fn alter(&self, _ledger: &LedgerName, _revision: Revision) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn save(&self) -> Result<(), Failure> {
        self.nats.kill_all();
        self.nats.save("copy")?;
        Ok(self.nats.restart().await?)
    }

    async fn restore(&self) -> Result<(), Failure> {
        self.nats.kill_all();
        self.nats.restore("copy")?;
        Ok(self.nats.restart().await?)
    }

    async fn recreate(&self) -> Result<(), Failure> {
        let client = async_nats::connect(self.nats.urls()).await?;
        async_nats::jetstream::new(client)
            .delete_stream("ORDERS-0")
            .await?;
        JetStreamLog::init(&self.config).await?;
        Ok(())
    }

    async fn replace(&self) -> Result<(), Failure> {
        let jetstream = async_nats::jetstream::new(async_nats::connect(self.nats.urls()).await?);
        let saved = jetstream
            .get_stream("ORDERS-0")
            .await?
            .get_info()
            .await?
            .config;
        jetstream.delete_stream("ORDERS-0").await?;
        jetstream.create_stream(saved).await?;
        Ok(())
    }

    async fn set_full(&self, full: bool) -> Result<(), Failure> {
        let jetstream = async_nats::jetstream::new(async_nats::connect(self.nats.urls()).await?);
        let info = jetstream.get_stream("ORDERS-0").await?.get_info().await?;
        let room = i64::try_from(info.state.bytes)?;
        jetstream
            .update_stream(stream::Config {
                max_bytes: if full { room } else { -1 },
                ..info.config
            })
            .await?;
        Ok(())
    }

    async fn adopt(&self) -> Result<LogEpoch, LogError> {
        JetStreamLog::adopt(&self.config).await
    }
}

/// A log that does not exist, for the tests of what is refused.
pub fn missing(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("missing.db");
    (!path.exists()).then_some(path).context("the file exists")
}
