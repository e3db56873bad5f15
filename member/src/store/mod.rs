mod cards;
mod error;
mod pool;
mod sql;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::card::{CardDigest, CardHash, CardKeys};
use contract::{Reason, Rejection, Slug};
use jiff::Timestamp;
use runtime::database::{Session, Transaction};
use tokio::time::timeout;

pub use self::error::{OpenError, StoreError};
use self::pool::{OPERATION_DEADLINE, Pool, Purpose};
use crate::config::Database;
use crate::value::{Change, Contact, Key, Member, MemberId, Registered, Registration};

/// How often an operation starts over when others were first.
const ATTEMPTS: usize = 5;
/// Cards that one member may have.
pub(crate) const CARDS_PER_MEMBER: usize = 16;
const SALT_BYTES: usize = 32;
/// How long looking at every card may take at the start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The members, in their database. Cheap to clone.
///
/// Every operation is one transaction with a deadline, on one of a bounded number of connections. One that is refused changes nothing;
/// one that ends in [`StoreError::Unavailable`] may have been carried out, and can be repeated safely.
///
/// What erasing leaves behind: SQLite overwrites deleted data (`secure_delete`) and its write-ahead log is emptied after a withdrawal, at
/// once or, when readers are in the way, within seconds. PostgreSQL keeps the old row versions until VACUUM removes them (autovacuum does
/// so by itself) and their bytes until the page is used again; its own write-ahead log and every backup keep them until they expire.
#[derive(Clone)]
pub struct Members(Arc<Inner>);

/// What a database says of itself.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// Product and version.
    pub version: String,
    /// Whether a commit is on disk when it is acknowledged.
    pub durable: bool,
    pub now: Timestamp,
}

struct Inner {
    pool: Pool,
    keys: CardKeys,
    /// Those under which every card was known at the start.
    complete_keys: BTreeSet<Slug>,
    /// Erased data may still be in SQLite's write-ahead log.
    wal_due: AtomicBool,
}

impl Members {
    /// Opens the database, creating a SQLite file that is missing, and brings it to this version's schema. Waits a while for a server
    /// that does not answer yet.
    pub async fn open(database: &Database, keys: CardKeys) -> Result<Self, OpenError> {
        let pool = Pool::open(database).await?;
        let complete_keys = key_cards(&pool, &keys)
            .await
            .map_err(|cause| OpenError::Cards {
                database: database.clone(),
                cause,
            })?;
        // A process that was killed after a withdrawal left its log as it was.
        let wal_due = AtomicBool::new(pool.is_sqlite());
        Ok(Self(Arc::new(Inner {
            pool,
            keys,
            complete_keys,
            wal_due,
        })))
    }

    /// The member with this key; a withdrawn one is found by its id only. Refused with `CARD_KEY_UNKNOWN` where the hashes of a card do
    /// not tell whether it is somebody's.
    pub async fn find(&self, key: &Key) -> Result<Option<Member>, StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Read).await?;
        let outcome = timeout(OPERATION_DEADLINE, self.0.find(lease.session(), key)).await;
        let found = lease.settle(outcome)?;
        if let Some(card) = found.incomplete
            && let Key::Card(digest) = key
        {
            let hashes = self.0.keys.hashes(*digest);
            if let Err(error) = self.complete(&hashes, card).await {
                tracing::debug!(%error, "a card is known by the newest key later");
            }
        }
        Ok(found.member)
    }

    async fn complete(&self, hashes: &[CardHash], card: cards::Owned) -> Result<(), StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Write).await?;
        let outcome = timeout(
            OPERATION_DEADLINE,
            cards::complete(lease.session(), hashes, card),
        )
        .await;
        lease.settle(outcome)
    }

    /// Registers a member, or answers again as it did to this request before. Refused with `ID_REUSED`, `PHONE_IN_USE`, `CARD_IN_USE`.
    pub async fn register(
        &self,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        for _ in 0..ATTEMPTS {
            let mut lease = self.0.pool.lease(Purpose::Write).await?;
            let outcome = timeout(
                OPERATION_DEADLINE,
                register(lease.session(), &self.0.keys, registration, now),
            )
            .await;
            match lease.settle(outcome) {
                Err(StoreError::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Changes a member. Refused with `UNKNOWN_MEMBER`, `MEMBER_WITHDRAWN`, `MEMBER_CHANGED`, `PHONE_IN_USE`, `CARD_IN_USE`.
    /// Without a difference the member stays as it is, etag included.
    pub async fn update(&self, change: &Change, now: Timestamp) -> Result<Member, StoreError> {
        for _ in 0..ATTEMPTS {
            let mut lease = self.0.pool.lease(Purpose::Write).await?;
            let outcome = timeout(
                OPERATION_DEADLINE,
                update(lease.session(), &self.0.keys, change, now),
            )
            .await;
            match lease.settle(outcome) {
                Err(StoreError::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Erases a member's personal data for good. The same answer again when it has been erased before. Refused with `UNKNOWN_MEMBER`.
    pub async fn withdraw(&self, id: MemberId, now: Timestamp) -> Result<Member, StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Write).await?;
        let due = SetOnDrop(&self.0.wal_due, self.0.pool.is_sqlite());
        let outcome = timeout(OPERATION_DEADLINE, withdraw(lease.session(), id, now)).await;
        let member = lease.settle(outcome)?;
        drop(due);
        // The withdrawal stands even if this has to be done later.
        if let Err(error) = self.finish_erasing().await {
            tracing::debug!(%error, "the write-ahead log is emptied later");
        }
        Ok(member)
    }

    /// Empties SQLite's write-ahead log if erased data may be left in it. Called again and again until it has worked.
    pub(crate) async fn finish_erasing(&self) -> Result<(), StoreError> {
        if !self.0.wal_due.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let emptied = self.empty_wal().await;
        if !matches!(emptied, Ok(true)) {
            self.0.wal_due.store(true, Ordering::Release);
        }
        emptied.map(|_| ())
    }

    async fn empty_wal(&self) -> Result<bool, StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Write).await?;
        let outcome = timeout(OPERATION_DEADLINE, sql::empty_wal(lease.session())).await;
        lease.settle(outcome)
    }

    /// Whether the database answers and, where the last write failed, whether it can be written again.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Read).await?;
        let outcome = timeout(OPERATION_DEADLINE, sql::probe(lease.session())).await;
        lease.settle(outcome)?;
        if self.0.pool.is_failing() {
            return self.probe_writing().await;
        }
        Ok(())
    }

    /// Writes something that nobody reads, to see whether the database can be written.
    pub async fn probe_writing(&self) -> Result<(), StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Write).await?;
        let outcome = timeout(OPERATION_DEADLINE, async {
            let mut transaction = lease.session().begin().await?;
            sql::probe_writing(transaction.session()).await?;
            Ok(transaction.commit().await?)
        })
        .await;
        lease.settle(outcome)
    }

    /// What the database says of itself, for `doppio doctor`.
    pub async fn inspect(&self) -> Result<ServerFacts, StoreError> {
        let mut lease = self.0.pool.lease(Purpose::Write).await?;
        let outcome = timeout(OPERATION_DEADLINE, sql::inspect(lease.session())).await;
        lease.settle(outcome)
    }

    /// Waits for operations under way and closes the connections.
    pub async fn close(&self) {
        if let Err(error) = self.finish_erasing().await {
            tracing::warn!(%error, "the write-ahead log may still hold erased data; it is emptied at the next start");
        }
        self.0.pool.close().await;
    }
}

/// A member, and the card by which it was found if that is not known by the newest key yet.
#[derive(Default)]
struct Found {
    member: Option<Member>,
    incomplete: Option<cards::Owned>,
}

impl Inner {
    async fn find(&self, mut session: Session<'_>, key: &Key) -> Result<Found, StoreError> {
        let hashes = match key {
            Key::Id(id) => {
                return Ok(Found {
                    member: sql::find(session, *id).await?,
                    incomplete: None,
                });
            }
            Key::Phone(phone) => {
                return Ok(Found {
                    member: sql::find_by_phone(session, phone).await?,
                    incomplete: None,
                });
            }
            Key::Card(digest) => self.keys.hashes(*digest),
            Key::CardHashes(hashes) => hashes.clone(),
        };
        let Some(owner) = cards::owner(session.again(), &hashes).await? else {
            cards::stranger(&hashes, &self.complete_keys)?;
            return Ok(Found::default());
        };
        Ok(Found {
            member: sql::find(session, MemberId::from_uuid(owner.card.member_id)).await?,
            incomplete: (owner.hash_index > 0).then_some(owner.card),
        })
    }
}

/// Makes keyed hashes of what an earlier version left, and tells under which keys every card is known.
async fn key_cards(pool: &Pool, keys: &CardKeys) -> Result<BTreeSet<Slug>, StoreError> {
    loop {
        let mut lease = pool.lease(Purpose::Write).await?;
        let outcome = timeout(OPERATION_DEADLINE, cards::key_plain(lease.session(), keys)).await;
        match lease.settle(outcome) {
            // Another instance starts at the same time and keys the same cards.
            Ok(true) | Err(StoreError::Conflict) => {}
            Ok(false) => break,
            Err(error) => return Err(error),
        }
    }
    let mut lease = pool.lease(Purpose::Write).await?;
    let outcome = timeout(START_DEADLINE, cards::complete_keys(lease.session(), keys)).await;
    lease.settle(outcome)
}

/// Notes that the log is to be emptied, also when the caller of a withdrawal goes away before its answer.
struct SetOnDrop<'a>(&'a AtomicBool, bool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(self.1, Ordering::AcqRel);
    }
}

async fn register(
    session: Session<'_>,
    keys: &CardKeys,
    registration: &Registration,
    now: Timestamp,
) -> Result<Registered, StoreError> {
    let mut transaction = session.begin().await?;
    if let Some(earlier) =
        sql::registration(transaction.session(), registration.request_id.uuid()).await?
    {
        let id = MemberId::from_uuid(earlier.member_id);
        let member = sql::find(transaction.session(), id).await?;
        let member = member.ok_or(StoreError::Corrupt("a registration without its member"))?;
        return match (earlier.salt, earlier.content_hash) {
            (Some(salt), Some(hash)) if hash != registration.content_hash(&salt) => {
                let message = "request_id was used for a registration with other content";
                Err(Rejection::field(Reason::IdReused, "request_id", message).into())
            }
            // After a withdrawal nothing is left to compare with.
            _ => Ok(Registered {
                member,
                replayed: true,
            }),
        };
    }
    let contact = Contact {
        display_name: registration.display_name.clone(),
        phone_number: registration.phone_number.clone(),
    };
    let id = MemberId::new(now);
    let free = match refuse_taken_phone(&mut transaction, &contact, id).await {
        Ok(()) => cards_to_add(
            &mut transaction,
            keys,
            &registration.cards,
            id,
            "card_tokens",
        )
        .await
        .map(drop),
        taken => taken,
    };
    if let Err(taken) = free {
        // Taken, perhaps, by this very registration, whose repeat was committed since it was looked for: then it has its first answer.
        let repeated = sql::registration(transaction.session(), registration.request_id.uuid())
            .await?
            .is_some();
        return Err(if repeated {
            StoreError::Conflict
        } else {
            taken
        });
    }
    let salt: [u8; SALT_BYTES] = rand::random();
    let hash = registration.content_hash(&salt);
    sql::insert_member(transaction.session(), id, &contact, registration.tier, now).await?;
    for card in &registration.cards {
        cards::insert(transaction.session(), &keys.hashes(*card), id).await?;
    }
    sql::insert_registration(
        transaction.session(),
        registration.request_id.uuid(),
        id,
        &salt,
        &hash,
    )
    .await?;
    let member = reread(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(Registered {
        member,
        replayed: false,
    })
}

async fn update(
    session: Session<'_>,
    keys: &CardKeys,
    change: &Change,
    now: Timestamp,
) -> Result<Member, StoreError> {
    let mut transaction = session.begin().await?;
    let member = sql::find(transaction.session(), change.id)
        .await?
        .ok_or_else(|| unknown(change.id))?;
    let Some(contact) = &member.contact else {
        return Err(Rejection::new(
            Reason::MemberWithdrawn,
            format!("member {} has withdrawn", change.id),
        )
        .into());
    };
    if change
        .etag
        .as_ref()
        .is_some_and(|etag| *etag != member.etag())
    {
        let rejection = Rejection::new(
            Reason::MemberChanged,
            "the member was changed since its etag was read",
        );
        return Err(rejection.with("etag", member.etag()).into());
    }
    let changed = Contact {
        display_name: change
            .display_name
            .clone()
            .unwrap_or_else(|| contact.display_name.clone()),
        phone_number: change
            .phone_number
            .clone()
            .unwrap_or_else(|| contact.phone_number.clone()),
    };
    let tier = change.tier.unwrap_or(member.tier);
    let new_cards = cards_to_add(
        &mut transaction,
        keys,
        &change.add_cards,
        change.id,
        "add_card_tokens",
    )
    .await?;
    if changed == *contact && tier == member.tier && new_cards.is_empty() {
        return Ok(member);
    }
    refuse_taken_phone(&mut transaction, &changed, change.id).await?;
    // Takes the row's lock, so that counting and adding cards below is not disturbed.
    if !sql::update_member(
        transaction.session(),
        change.id,
        member.version,
        &changed,
        tier,
        now,
    )
    .await?
    {
        return Err(StoreError::Conflict);
    }
    let cards = usize::try_from(cards::count(transaction.session(), change.id).await?)
        .unwrap_or(usize::MAX);
    if cards.saturating_add(new_cards.len()) > CARDS_PER_MEMBER {
        let message =
            format!("a member has at most {CARDS_PER_MEMBER} cards, and this one has {cards}");
        return Err(Rejection::field(Reason::InvalidArgument, "add_card_tokens", message).into());
    }
    for card in &new_cards {
        cards::insert(transaction.session(), &keys.hashes(*card), change.id).await?;
    }
    let member = reread(&mut transaction, change.id).await?;
    transaction.commit().await?;
    Ok(member)
}

async fn withdraw(
    session: Session<'_>,
    id: MemberId,
    now: Timestamp,
) -> Result<Member, StoreError> {
    let mut transaction = session.begin().await?;
    sql::erase_member(transaction.session(), id, now).await?;
    let member = sql::find(transaction.session(), id)
        .await?
        .ok_or_else(|| unknown(id))?;
    transaction.commit().await?;
    Ok(member)
}

/// As the database keeps it, with its times rounded to microseconds.
async fn reread(transaction: &mut Transaction<'_>, id: MemberId) -> Result<Member, StoreError> {
    sql::find(transaction.session(), id)
        .await?
        .ok_or(StoreError::Corrupt("no member where one was just written"))
}

async fn refuse_taken_phone(
    transaction: &mut Transaction<'_>,
    contact: &Contact,
    member: MemberId,
) -> Result<(), StoreError> {
    let owner = sql::find_by_phone(transaction.session(), &contact.phone_number).await?;
    if owner.is_some_and(|owner| owner.id != member) {
        return Err(Rejection::field(
            Reason::PhoneInUse,
            "phone_number",
            "another member has this phone number",
        )
        .into());
    }
    Ok(())
}

/// Those of `cards` that the member does not have yet. Refused when one is another's.
async fn cards_to_add(
    transaction: &mut Transaction<'_>,
    keys: &CardKeys,
    cards: &[CardDigest],
    member: MemberId,
    field: &str,
) -> Result<Vec<CardDigest>, StoreError> {
    let mut new = Vec::new();
    for (index, card) in cards.iter().enumerate() {
        match cards::owner(transaction.session(), &keys.hashes(*card)).await? {
            None => new.push(*card),
            Some(owner) if owner.card.member_id == member.uuid() => {}
            Some(_) => {
                return Err(Rejection::field(
                    Reason::CardInUse,
                    format!("{field}[{index}]"),
                    "another member has this card",
                )
                .into());
            }
        }
    }
    Ok(new)
}

pub(crate) fn unknown(id: MemberId) -> Rejection {
    Rejection::new(Reason::UnknownMember, format!("there is no member {id}"))
}
