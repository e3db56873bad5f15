//! Cards in the database: by keyed hashes, a row for each key, so that a card is found whichever key the asker had.

use std::collections::BTreeSet;

use contract::card::{CardDigest, CardHash, CardKeys};
use contract::{Reason, Rejection, Slug};
use runtime::database::{Engine, Session};
use sqlx::FromRow;
use uuid::Uuid;

use super::error::StoreError;
use crate::value::MemberId;

/// Cards keyed by one transaction when a key is new, or plain hashes of an earlier version are there.
const KEYED_AT_ONCE: i64 = 1_000;

const OWNER: &str = "SELECT card_id, member_id FROM card_hashes WHERE key_id = $1 AND hmac = $2";
const INSERT: &str =
    "INSERT INTO card_hashes (key_id, hmac, card_id, member_id) VALUES ($1, $2, $3, $4)";
const HAS_KEY: &str = "SELECT COUNT(*) FROM card_hashes WHERE card_id = $1 AND key_id = $2";
const COUNT: &str = "SELECT COUNT(DISTINCT card_id) FROM card_hashes WHERE member_id = $1";
pub(super) const ERASE: &str = "DELETE FROM card_hashes WHERE member_id = $1";
const PLAIN: &str = "SELECT hmac, card_id, member_id FROM card_hashes WHERE key_id = '' LIMIT $1";
const ERASE_PLAIN: &str = "DELETE FROM card_hashes WHERE key_id = '' AND card_id = $1";
const LACKING: &str = "SELECT c.card_id FROM card_hashes c WHERE NOT EXISTS \
     (SELECT 1 FROM card_hashes k WHERE k.card_id = c.card_id AND k.key_id = $1) LIMIT 1";
/// Looking at every card takes longer than a call may.
const PATIENCE_OF_POSTGRES: &str = "SET LOCAL statement_timeout = '60s'";

/// A card that is there, and whose it is.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct Owned {
    pub card_id: Uuid,
    pub member_id: Uuid,
}

#[derive(FromRow)]
struct Plain {
    hmac: Vec<u8>,
    card_id: Uuid,
    member_id: Uuid,
}

/// Whose card it is.
pub(super) struct Owner {
    pub(super) card: Owned,
    /// By which of the hashes that were looked for.
    pub(super) hash_index: usize,
}

/// The card with one of these hashes.
pub(super) async fn owner(
    mut session: Session<'_>,
    hashes: &[CardHash],
) -> Result<Option<Owner>, StoreError> {
    for (index, hash) in hashes.iter().enumerate() {
        let query = session.again().query(OWNER).bind(hash.key_id.as_str());
        let found: Option<Owned> = query.bind(hash.hmac.as_slice()).optional().await?;
        if let Some(card) = found {
            return Ok(Some(Owner {
                card,
                hash_index: index,
            }));
        }
    }
    Ok(None)
}

pub(super) async fn count(session: Session<'_>, member: MemberId) -> Result<i64, StoreError> {
    let (count,) = session.query(COUNT).bind(member.uuid()).one().await?;
    Ok(count)
}

/// Adds a card under every key.
pub(super) async fn insert(
    mut session: Session<'_>,
    hashes: &[CardHash],
    member: MemberId,
) -> Result<(), StoreError> {
    let card = Owned {
        card_id: Uuid::new_v4(),
        member_id: member.uuid(),
    };
    for hash in hashes {
        insert_hash(session.again(), hash, card).await?;
    }
    Ok(())
}

async fn insert_hash(session: Session<'_>, hash: &CardHash, card: Owned) -> Result<(), StoreError> {
    let statement = session.query(INSERT).bind(hash.key_id.as_str());
    let statement = statement.bind(hash.hmac.as_slice()).bind(card.card_id);
    statement.bind(card.member_id).execute().await?;
    Ok(())
}

/// Adds what is missing of a card that was presented, so that it is known by the newest key from now on.
pub(super) async fn complete(
    session: Session<'_>,
    hashes: &[CardHash],
    card: Owned,
) -> Result<(), StoreError> {
    let mut transaction = session.begin().await?;
    for hash in hashes {
        let query = transaction.query(HAS_KEY).bind(card.card_id);
        let (there,): (i64,) = query.bind(hash.key_id.as_str()).one().await?;
        if there == 0 {
            insert_hash(transaction.session(), hash, card).await?;
        }
    }
    Ok(transaction.commit().await?)
}

/// Makes keyed hashes of some plain ones of an earlier version; false when there are none left.
pub(super) async fn key_plain(session: Session<'_>, keys: &CardKeys) -> Result<bool, StoreError> {
    let mut transaction = session.begin().await?;
    let plain: Vec<Plain> = transaction.query(PLAIN).bind(KEYED_AT_ONCE).all().await?;
    if plain.is_empty() {
        return Ok(false);
    }
    for row in plain {
        let digest = CardDigest::from_slice(&row.hmac)
            .ok_or(StoreError::Corrupt("a card's hash of another length"))?;
        let card = Owned {
            card_id: row.card_id,
            member_id: row.member_id,
        };
        let statement = transaction.query(ERASE_PLAIN);
        statement.bind(card.card_id).execute().await?;
        for hash in keys.hashes(digest) {
            insert_hash(transaction.session(), &hash, card).await?;
        }
    }
    transaction.commit().await?;
    Ok(true)
}

/// The keys under which every card is known. Looks at every card.
pub(super) async fn complete_keys(
    session: Session<'_>,
    keys: &CardKeys,
) -> Result<BTreeSet<Slug>, StoreError> {
    let mut transaction = session.begin().await?;
    if transaction.engine() == Engine::Postgres {
        transaction.query(PATIENCE_OF_POSTGRES).execute().await?;
    }
    let mut complete = BTreeSet::new();
    for id in keys.ids() {
        let lacking: Option<(Uuid,)> = transaction
            .query(LACKING)
            .bind(id.as_str())
            .optional()
            .await?;
        if lacking.is_none() {
            complete.insert(id.clone());
        } else {
            tracing::warn!(
                key = %id,
                "some cards are known by other keys only, until they are presented; keep those keys in card_keys of ordering and member"
            );
        }
    }
    transaction.commit().await?;
    Ok(complete)
}

/// What there is to say of a card that nobody has, asked for by its hashes: that it is nobody's takes a key under which all cards are
/// known.
pub(super) fn stranger(asked: &[CardHash], complete: &BTreeSet<Slug>) -> Result<(), Rejection> {
    if asked.iter().any(|hash| complete.contains(&hash.key_id)) {
        return Ok(());
    }
    let ids: Vec<&str> = asked.iter().map(|hash| hash.key_id.as_str()).collect();
    Err(
        Rejection::new(Reason::CardKeyUnknown, Reason::CardKeyUnknown.meaning())
            .with("key_ids", ids.join(",")),
    )
}
