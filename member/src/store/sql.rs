//! The statements, the same text for both databases.

use jiff::Timestamp;
use runtime::database::Session;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::ServerFacts;
use super::error::StoreError;
use crate::value::{Contact, DisplayName, Member, MemberId, PhoneNumber, Tier};

const MEMBER_BY_ID: &str = "SELECT member_id, display_name, phone_number, tier, register_time_us, update_time_us, version \
     FROM members WHERE member_id = $1";
const MEMBER_BY_PHONE: &str = "SELECT member_id, display_name, phone_number, tier, register_time_us, update_time_us, version \
     FROM members WHERE phone_number = $1";
const REGISTRATION: &str =
    "SELECT member_id, salt, content_hash FROM registrations WHERE request_id = $1";
const INSERT_MEMBER: &str = "INSERT INTO members \
     (member_id, display_name, phone_number, tier, state, register_time_us, update_time_us, version) \
     VALUES ($1, $2, $3, $4, 'active', $5, $5, 1)";
const INSERT_REGISTRATION: &str =
    "INSERT INTO registrations (request_id, member_id, salt, content_hash) VALUES ($1, $2, $3, $4)";
const UPDATE_MEMBER: &str = "UPDATE members SET display_name = $3, phone_number = $4, tier = $5, update_time_us = $6, version = version + 1 \
     WHERE member_id = $1 AND version = $2 AND state = 'active'";
const ERASE_MEMBER: &str = "UPDATE members SET display_name = NULL, phone_number = NULL, state = 'withdrawn', update_time_us = $2, \
     version = version + 1 WHERE member_id = $1 AND state = 'active'";
const ERASE_REGISTRATIONS: &str =
    "UPDATE registrations SET salt = NULL, content_hash = NULL WHERE member_id = $1";

const ANY_MEMBER: &str = "SELECT version FROM members LIMIT 1";

#[derive(FromRow)]
struct MemberRow {
    member_id: Uuid,
    display_name: Option<String>,
    phone_number: Option<String>,
    tier: String,
    register_time_us: i64,
    update_time_us: i64,
    version: i64,
}

impl MemberRow {
    fn into_member(self) -> Result<Member, StoreError> {
        let contact = match (self.display_name, self.phone_number) {
            (Some(name), Some(phone)) => Some(Contact {
                display_name: DisplayName::stored(name),
                phone_number: PhoneNumber::stored(phone),
            }),
            _ => None,
        };
        let time = |micros| {
            Timestamp::from_microsecond(micros)
                .map_err(|_| StoreError::Corrupt("a time that is out of range"))
        };
        Ok(Member {
            id: MemberId::from_uuid(self.member_id),
            contact,
            tier: Tier::from_stored(&self.tier).ok_or(StoreError::Corrupt(
                "a tier that this version does not know",
            ))?,
            register_time: time(self.register_time_us)?,
            update_time: time(self.update_time_us)?,
            version: self.version,
        })
    }
}

/// What is kept of a registration.
#[derive(FromRow)]
pub(super) struct RegistrationRow {
    pub member_id: Uuid,
    /// Both absent once the member has withdrawn.
    pub salt: Option<Vec<u8>>,
    pub content_hash: Option<Vec<u8>>,
}

/// The member with this id; a withdrawn one too.
pub(super) async fn find(session: Session<'_>, id: MemberId) -> Result<Option<Member>, StoreError> {
    let query = session.query(MEMBER_BY_ID).bind(id.uuid());
    let row: Option<MemberRow> = query.optional().await?;
    row.map(MemberRow::into_member).transpose()
}

pub(super) async fn find_by_phone(
    session: Session<'_>,
    phone: &PhoneNumber,
) -> Result<Option<Member>, StoreError> {
    let query = session.query(MEMBER_BY_PHONE).bind(phone.as_str());
    let row: Option<MemberRow> = query.optional().await?;
    row.map(MemberRow::into_member).transpose()
}

pub(super) async fn registration(
    session: Session<'_>,
    request: Uuid,
) -> Result<Option<RegistrationRow>, StoreError> {
    Ok(session.query(REGISTRATION).bind(request).optional().await?)
}

pub(super) async fn insert_member(
    session: Session<'_>,
    id: MemberId,
    contact: &Contact,
    tier: Tier,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (name, phone) = (contact.display_name.as_str(), contact.phone_number.as_str());
    let statement = session
        .query(INSERT_MEMBER)
        .bind(id.uuid())
        .bind(name)
        .bind(phone);
    let statement = statement.bind(tier.as_str()).bind(now.as_microsecond());
    statement.execute().await?;
    Ok(())
}

pub(super) async fn insert_registration(
    session: Session<'_>,
    request: Uuid,
    member: MemberId,
    salt: &[u8],
    content_hash: &[u8],
) -> Result<(), StoreError> {
    let statement = session
        .query(INSERT_REGISTRATION)
        .bind(request)
        .bind(member.uuid());
    statement.bind(salt).bind(content_hash).execute().await?;
    Ok(())
}

/// Changes the member if it is still at `version`; false when it is not.
pub(super) async fn update_member(
    session: Session<'_>,
    id: MemberId,
    version: i64,
    contact: &Contact,
    tier: Tier,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (name, phone) = (contact.display_name.as_str(), contact.phone_number.as_str());
    let statement = session
        .query(UPDATE_MEMBER)
        .bind(id.uuid())
        .bind(version)
        .bind(name);
    let statement = statement
        .bind(phone)
        .bind(tier.as_str())
        .bind(now.as_microsecond());
    Ok(statement.execute().await? == 1)
}

/// Erases name, phone, cards and what could confirm a guess of them; false when the member has withdrawn before.
pub(super) async fn erase_member(
    mut session: Session<'_>,
    id: MemberId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // First, since the row's lock keeps cards from being added meanwhile.
    let statement = session.again().query(ERASE_MEMBER).bind(id.uuid());
    if statement.bind(now.as_microsecond()).execute().await? == 0 {
        return Ok(false);
    }
    let statement = session.again().query(super::cards::ERASE);
    statement.bind(id.uuid()).execute().await?;
    let statement = session.query(ERASE_REGISTRATIONS);
    statement.bind(id.uuid()).execute().await?;
    Ok(true)
}

/// Moves SQLite's write-ahead log into the database and empties it. False when readers were in the way.
pub(super) async fn empty_wal(session: Session<'_>) -> Result<bool, StoreError> {
    let Session::Sqlite(connection) = session else {
        return Ok(true);
    };
    let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(connection)
        .await?;
    Ok(busy == 0)
}

/// Version, whether what is committed survives a power failure, and the database's clock.
pub(super) async fn inspect(session: Session<'_>) -> Result<ServerFacts, StoreError> {
    let (version, durable, now_us) = match session {
        Session::Sqlite(connection) => {
            let version: String = sqlx::query_scalar("SELECT 'SQLite ' || sqlite_version()")
                .fetch_one(&mut *connection)
                .await?;
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
                .fetch_one(&mut *connection)
                .await?;
            let now_us: i64 =
                sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)")
                    .fetch_one(connection)
                    .await?;
            // 2 is FULL, 3 is EXTRA.
            (version, synchronous >= 2, now_us)
        }
        Session::Postgres(connection) => {
            let (version, fsync, commit, now_us): (String, String, String, i64) = sqlx::query_as(
                "SELECT 'PostgreSQL ' || current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), \
                 CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
            )
            .fetch_one(connection)
            .await?;
            (version, fsync == "on" && commit != "off", now_us)
        }
    };
    Ok(ServerFacts {
        version,
        durable,
        now: Timestamp::from_microsecond(now_us).unwrap_or_default(),
    })
}

pub(super) async fn probe(session: Session<'_>) -> Result<(), StoreError> {
    // Reads a table, so that a database whose schema has gone is noticed.
    let _: Option<(i64,)> = session.query(ANY_MEMBER).optional().await?;
    Ok(())
}

/// Has the commit that follows write something that nobody reads.
pub(super) async fn probe_writing(session: Session<'_>) -> Result<(), StoreError> {
    match session {
        // A number in the file's header that is free for any use. It has to change: a page that stays as it is is not written.
        Session::Sqlite(connection) => {
            let number: i32 = sqlx::query_scalar("PRAGMA user_version")
                .fetch_one(&mut *connection)
                .await?;
            let next = i32::from(number == 0);
            sqlx::query(AssertSqlSafe(format!("PRAGMA user_version = {next}")))
                .execute(connection)
                .await?;
        }
        // A transaction with an id writes its commit to the log.
        Session::Postgres(connection) => {
            sqlx::query("SELECT pg_current_xact_id()")
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}
