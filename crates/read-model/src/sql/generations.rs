//! The generations of a read model, and which of them is live.
//!
//! What is known of them is in a place of control of its own (a schema of PostgreSQL, a file of SQLite beside the generations'), and is
//! changed by one transaction at a time. A reader looks there at most every [`LOOK`], and then opens the generation that it finds; whatever
//! it has begun to read of another one it reads to its end. So a switch makes no read fail, and no read sees two generations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use runtime::database::{Engine, Pool, Transaction};
use sqlx::FromRow;
use tokio::sync::watch;
use tokio::time::sleep;

use super::compare::is_as_far;
use super::database::Database;
use super::location::Location;
use super::postgres;
use super::values::instant;
use super::words::in_words_of;
use crate::error::ReadModelError;
use crate::generation::{Generation, GenerationRow};
use crate::traits::Generations;

/// Of the tables that this build writes and reads. Another number for other tables, or another meaning of what is in them: then a projector
/// of that build makes a generation of its own.
pub(crate) const VERSION: i64 = 2;
/// Of the tables that there were before there were generations.
const VERSION_BEFORE_GENERATIONS: i64 = 1;
/// How long a reader goes by what it has seen of the place of control.
const LOOK: Duration = Duration::from_millis(500);
/// How long the tables of a generation may be in use by reads of before, until it is given up to remove them.
const DROP_PATIENCE: Duration = Duration::from_secs(20);
/// How long those who read the analysts' views may hold up a switch.
const SWITCH_PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(250);

const CONTROL: &str = include_str!("../../tables/control.sql");
const ROWS: &str = "SELECT g.number, g.version, g.made_at_us, g.live_since_us, g.dropping, \
     CAST(CASE WHEN l.number = g.number THEN 1 ELSE 0 END AS BIGINT) AS is_live, \
     CAST(CASE WHEN l.previous = g.number THEN 1 ELSE 0 END AS BIGINT) AS is_previous \
     FROM generations g LEFT JOIN live l ON l.only_row = 1 WHERE g.dropping < 2 ORDER BY g.number";
/// What a reader of version `$1` reads: the live generation, or as long as that is of another version the one of its own that was live last.
const READABLE: &str = "SELECT g.number FROM generations g LEFT JOIN live l ON l.number = g.number \
     WHERE g.version = $1 AND g.dropping = 0 AND g.live_since_us > 0 \
     ORDER BY CASE WHEN l.number IS NULL THEN 1 ELSE 0 END, g.live_since_us DESC LIMIT 1";
const LIVE_VERSION: &str = "SELECT g.version FROM live l JOIN generations g ON g.number = l.number";
const ADD: &str = "INSERT INTO generations (number, version, made_at_us, live_since_us, dropping) VALUES ($1, $2, NOW_US(), 0, 0)";
const FIRST_LIVE: &str = "INSERT INTO live (only_row, number, previous) VALUES (1, $1, 0)";
const SWITCH: &str = "UPDATE live SET number = $2, previous = $1 WHERE number = $1";
const MARK_LIVE: &str = "UPDATE generations SET live_since_us = NOW_US() WHERE number = $1";
const MARK_DROPPING: &str = "UPDATE generations SET dropping = 1 WHERE number = $1";
const FORGET_PREVIOUS: &str = "UPDATE live SET previous = 0 WHERE previous = $1";
/// Its row stays, so that its number is not given out again: whoever had it open would take the new one for it.
const MARK_GONE: &str = "UPDATE generations SET dropping = 2 WHERE number = $1";
const NEXT: &str = "SELECT COALESCE(MAX(number), 0) + 1 FROM generations";

#[derive(FromRow)]
struct Row {
    number: i64,
    version: i64,
    made_at_us: i64,
    live_since_us: i64,
    dropping: i64,
    is_live: i64,
    is_previous: i64,
}

impl Row {
    fn row(self) -> Result<GenerationRow, ReadModelError> {
        let live_since = match self.live_since_us {
            0 => None,
            us => Some(instant(us, "live_since_us")?),
        };
        Ok(GenerationRow {
            generation: Generation(self.number),
            version: self.version,
            made_at: instant(self.made_at_us, "made_at_us")?,
            live_since,
            is_live: self.is_live != 0,
            is_previous: self.is_previous != 0,
            is_being_dropped: self.dropping != 0,
        })
    }
}

/// A database's generations, as one process sees them.
pub(crate) struct GenerationStore {
    location: Location,
    control: Pool,
    /// Of the tables of this build.
    version: i64,
    /// Counts this process's commits and switches.
    news: watch::Sender<u64>,
    opened: Mutex<BTreeMap<Generation, Arc<Database>>>,
    seen: RwLock<Option<Sight>>,
    /// One looks for all who find that it is time.
    looking: tokio::sync::Mutex<()>,
}

/// What a reader reads, and when that was looked up.
struct Sight {
    database: Arc<Database>,
    at: Instant,
    /// Whether nothing has been switched to since, as far as this process knows.
    is_current: bool,
}

impl GenerationStore {
    pub fn new(location: Location, version: i64) -> Self {
        Self {
            control: location.control(),
            location,
            version,
            news: watch::Sender::new(0),
            opened: Mutex::default(),
            seen: RwLock::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    #[cfg(feature = "conformance")]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The database of a generation that is named by whoever reads it.
    pub fn named(&self, generation: Generation) -> Result<Arc<Database>, ReadModelError> {
        if self.location.is_missing(generation) {
            return Err(ReadModelError::NoGeneration(generation));
        }
        Ok(self.database(generation))
    }

    /// The generation's database; connections are made when they are needed.
    pub fn database(&self, generation: Generation) -> Arc<Database> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened
            .entry(generation)
            .or_insert_with(|| {
                let pools = self.location.open(generation);
                Arc::new(Database::new(generation, pools, self.news.clone()))
            })
            .clone()
    }

    /// What is to be read now.
    pub async fn readable(&self) -> Result<Arc<Database>, ReadModelError> {
        if let Some(database) = self.seen_lately() {
            return Ok(database);
        }
        let _alone = self.looking.lock().await;
        if let Some(database) = self.seen_lately() {
            return Ok(database);
        }
        let database = match self.look().await {
            Ok(generation) => self.database(generation),
            // Whoever reads will find out whether the generation can be read.
            Err(error @ (ReadModelError::Unavailable(_) | ReadModelError::TooLong(_))) => {
                self.seen_last().ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        let sight = Sight {
            database: database.clone(),
            at: Instant::now(),
            is_current: true,
        };
        let before = self
            .seen
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(sight);
        if before.is_some_and(|before| before.database.generation() != database.generation()) {
            self.close_others(database.generation());
        }
        Ok(database)
    }

    fn seen_lately(&self) -> Option<Arc<Database>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let sight = seen
            .as_ref()
            .filter(|sight| sight.is_current && sight.at.elapsed() < LOOK)?;
        Some(sight.database.clone())
    }

    fn seen_last(&self) -> Option<Arc<Database>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|sight| sight.database.clone())
    }

    async fn look(&self) -> Result<Generation, ReadModelError> {
        let mut control = self.control.acquire().await?;
        let found: Option<(i64,)> = control
            .query(READABLE)
            .bind(self.version)
            .optional()
            .await?;
        if let Some((number,)) = found {
            let generation = Generation(number);
            if self.location.is_missing(generation) {
                let problem = "its file is missing: start status-projector, which makes it and projects everything again";
                return Err(ReadModelError::Schema(problem.into()));
            }
            return Ok(generation);
        }
        let live: Option<(i64,)> = control.query(LIVE_VERSION).optional().await?;
        Err(ReadModelError::Schema(match live {
            Some((version,)) => format!(
                "its tables are of version {version}, this build reads version {}: status-projector of this version builds these beside \
                 them and switches once it has caught up",
                self.version
            ),
            None => "it has no tables yet: start status-projector, which makes them".into(),
        }))
    }

    /// Lets go of generations that nobody uses any more.
    fn close_others(&self, generation: Generation) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|own, database| *own == generation || Arc::strong_count(database) > 1);
    }

    /// Bumps `hint` at every commit and switch; for ever.
    pub async fn listen(&self, hint: &watch::Sender<u64>) {
        if let Pool::Postgres(pool) = &self.control {
            return postgres::listen(pool, hint).await;
        }
        let mut news = self.news.subscribe();
        while news.changed().await.is_ok() {
            hint.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Begins a change, the only one that is under way in the database.
    async fn change(&self) -> Result<Transaction<'static>, ReadModelError> {
        let mut change = self.control.begin().await?;
        if change.engine() == Engine::Postgres {
            change.query(postgres::LOCK_CONTROL).execute().await?;
        }
        Ok(change)
    }

    async fn rows(change: &mut Transaction<'static>) -> Result<Vec<GenerationRow>, ReadModelError> {
        let rows: Vec<Row> = change.query(ROWS).all().await?;
        rows.into_iter().map(Row::row).collect()
    }

    /// Finds or makes the generation that this build writes, and the place of control before.
    pub async fn prepare(&self) -> Result<Generation, ReadModelError> {
        let mut change = self.change().await?;
        if change.engine() == Engine::Postgres {
            change.session().script(postgres::CREATE_CONTROL).await?;
        }
        change.session().script(CONTROL).await?;
        let mut rows = Self::rows(&mut change).await?;
        if rows.is_empty() && self.location.has_earlier_tables(&mut change).await? {
            self.add(&mut change, Generation(1), VERSION_BEFORE_GENERATIONS)
                .await?;
            self.location.adopt(&mut change).await?;
            let first = change.query(FIRST_LIVE).bind(1_i64);
            first.execute().await?;
            self.mark_live(&mut change, Generation(1)).await?;
            rows = Self::rows(&mut change).await?;
        }
        let own = |row: &&GenerationRow| row.version == self.version && !row.is_being_dropped;
        let live = rows.iter().find(|row| row.is_live);
        let found = live.filter(own).or_else(|| rows.iter().rev().find(own));
        let generation = match found {
            Some(row) => row.generation,
            None => {
                let (next,) = change.query(NEXT).one().await?;
                let next = Generation(next);
                self.add(&mut change, next, self.version).await?;
                next
            }
        };
        // Whoever removed them wants everything projected again.
        self.location.make_tables(&mut change, generation).await?;
        if live.is_none() {
            let first = change.query(FIRST_LIVE).bind(generation.0);
            first.execute().await?;
            self.mark_live(&mut change, generation).await?;
            self.location.show_analysts(&mut change, generation).await?;
        }
        change.commit().await?;
        self.tell();
        Ok(generation)
    }

    async fn add(
        &self,
        change: &mut Transaction<'static>,
        generation: Generation,
        version: i64,
    ) -> Result<(), ReadModelError> {
        let statement = in_words_of(change.engine(), ADD);
        let add = change.query(statement).bind(generation.0).bind(version);
        add.execute().await?;
        Ok(())
    }

    async fn mark_live(
        &self,
        change: &mut Transaction<'static>,
        generation: Generation,
    ) -> Result<(), ReadModelError> {
        let statement = in_words_of(change.engine(), MARK_LIVE);
        change.query(statement).bind(generation.0).execute().await?;
        Ok(())
    }

    /// Says that there is something else to read.
    fn tell(&self) {
        if let Some(sight) = &mut *self.seen.write().unwrap_or_else(PoisonError::into_inner) {
            sight.is_current = false;
        }
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The generations with tables of this build's version.
    pub async fn written(&self) -> Result<Vec<Generation>, ReadModelError> {
        let rows = self.list().await?.into_iter();
        let written = rows.filter(|row| row.version == self.version && !row.is_being_dropped);
        Ok(written.map(|row| row.generation).collect())
    }

    /// Makes the generation live if it is not, and is as far as the live one. False: not yet.
    pub async fn take_over(&self, generation: Generation) -> Result<bool, ReadModelError> {
        let rows = self.list().await?;
        let Some(live) = rows.iter().find(|row| row.is_live) else {
            return Ok(false);
        };
        if live.generation == generation {
            return Ok(true);
        }
        let (before, now) = (self.database(live.generation), self.database(generation));
        if !is_as_far(&before, &now).await? {
            return Ok(false);
        }
        match self.switch(live.generation, generation).await {
            Ok(()) => Ok(true),
            // Another instance was first; it is looked at again.
            Err(ReadModelError::NotLive(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn switch_now(&self, from: Generation, to: Generation) -> Result<(), ReadModelError> {
        let mut change = self.change().await?;
        let rows = Self::rows(&mut change).await?;
        let there = rows.iter().find(|row| row.generation == to);
        if there.is_none_or(|row| row.is_being_dropped) {
            return Err(ReadModelError::NoGeneration(to));
        }
        if from == to {
            return Ok(());
        }
        let switch = change.query(SWITCH).bind(from.0).bind(to.0);
        if switch.execute().await? == 0 {
            return Err(ReadModelError::NotLive(from));
        }
        self.mark_live(&mut change, to).await?;
        self.location.show_analysts(&mut change, to).await?;
        if change.engine() == Engine::Postgres {
            change.query(postgres::NOTIFY).bind("").execute().await?;
        }
        change.commit().await?;
        self.tell();
        Ok(())
    }

    /// Removes the tables, once no read of before uses them.
    async fn remove_tables(&self, generation: Generation) -> Result<(), ReadModelError> {
        let until = Instant::now() + DROP_PATIENCE;
        loop {
            let mut change = self.change().await?;
            match self.location.remove_tables(&mut change, generation).await {
                Ok(()) => {
                    change.query(MARK_GONE).bind(generation.0).execute().await?;
                    return Ok(change.commit().await?);
                }
                Err(ReadModelError::Unavailable(_)) if Instant::now() < until => {
                    change.rollback().await?;
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait::async_trait]
impl Generations for GenerationStore {
    async fn list(&self) -> Result<Vec<GenerationRow>, ReadModelError> {
        let mut control = self.control.acquire().await?;
        let rows: Vec<Row> = control.query(ROWS).all().await?;
        rows.into_iter().map(Row::row).collect()
    }

    async fn create(&self) -> Result<Generation, ReadModelError> {
        self.prepare().await?;
        let mut change = self.change().await?;
        let (next,) = change.query(NEXT).one().await?;
        let generation = Generation(next);
        self.add(&mut change, generation, self.version).await?;
        self.location.make_tables(&mut change, generation).await?;
        change.commit().await?;
        Ok(generation)
    }

    async fn switch(&self, from: Generation, to: Generation) -> Result<(), ReadModelError> {
        let until = Instant::now() + SWITCH_PATIENCE;
        loop {
            match self.switch_now(from, to).await {
                Err(ReadModelError::Unavailable(_)) if Instant::now() < until => sleep(AGAIN).await,
                switched => return switched,
            }
        }
    }

    async fn roll_back(&self) -> Result<Generation, ReadModelError> {
        let rows = self.list().await?;
        let live = rows.iter().find(|row| row.is_live);
        let previous = rows.iter().find(|row| row.is_previous);
        match (live, previous) {
            (Some(live), Some(previous)) => {
                self.switch(live.generation, previous.generation).await?;
                Ok(previous.generation)
            }
            _ => Err(ReadModelError::NothingToGoBackTo),
        }
    }

    async fn remove(&self, generation: Generation) -> Result<(), ReadModelError> {
        let mut change = self.change().await?;
        let rows = Self::rows(&mut change).await?;
        let row = rows.iter().find(|row| row.generation == generation);
        let row = row.ok_or(ReadModelError::NoGeneration(generation))?;
        if row.is_live {
            return Err(ReadModelError::Live(generation));
        }
        change
            .query(MARK_DROPPING)
            .bind(generation.0)
            .execute()
            .await?;
        change
            .query(FORGET_PREVIOUS)
            .bind(generation.0)
            .execute()
            .await?;
        change.commit().await?;
        // Until every reader has looked again, one may begin to read it.
        sleep(2 * LOOK).await;
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&generation);
        self.remove_tables(generation).await
    }
}
