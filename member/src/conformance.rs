//! What the service promises, checked through a real client: every database has to pass. Runs on one database that nobody else uses.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use contract::Reason;
use contract::api::member as api;
use contract::api::member::check_membership_request::Key;
use contract::api::member::member_service_client::MemberServiceClient;
use contract::card::{CardDigest, CardKeys};
use jiff::Timestamp;
use runtime::{Clock, Shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::config::{Benefits, Config, Database};
use crate::run::{RunError, run};
use crate::store::Members;

type Client = MemberServiceClient<Channel>;

const KEY: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The service on a loopback socket.
pub struct Running {
    pub url: String,
    pub clock: Clock,
    pub members: Members,
    shutdown: Shutdown,
    serving: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub async fn start(database: &Database) -> Result<Self> {
        Self::with_keys(database, KEY).await
    }

    pub async fn with_keys(database: &Database, keys: &str) -> Result<Self> {
        let keys = CardKeys::parse(keys)?;
        let members = Members::open(database, keys.clone()).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let listen = listener.local_addr()?;
        let config = Config {
            listen,
            database: database.clone(),
            card_keys: Some(keys),
            benefits: Benefits::default(),
        };
        let shutdown = Shutdown::new();
        let clock = Clock::manual("2026-03-02T01:00:00.123456Z".parse::<Timestamp>()?);
        let serving = tokio::spawn(run(
            config,
            members.clone(),
            listener,
            shutdown.clone(),
            clock.clone(),
        ));
        Ok(Self {
            url: format!("http://{listen}"),
            clock,
            members,
            shutdown,
            serving,
        })
    }

    pub fn client(&self) -> Result<Client> {
        Ok(MemberServiceClient::new(runtime::channel::connect_lazy(
            &self.url,
        )?))
    }

    pub async fn stop(self) -> Result<()> {
        self.shutdown.finish(STOP_GRACE).await;
        self.serving.await??;
        Ok(())
    }
}

/// Every promise in turn, on a database that holds no members yet.
pub async fn suite(database: &Database) -> Result<()> {
    let running = Running::start(database).await?;
    let client = running.client()?;
    registration_is_idempotent_for_ever(client.clone())
        .await
        .context("registration is idempotent")?;
    phones_and_cards_belong_to_one_member(client.clone())
        .await
        .context("phones and cards belong to one member")?;
    membership_is_checked_by_every_key(client.clone())
        .await
        .context("membership is checked by every key")?;
    updates_are_guarded_by_the_etag(client.clone(), &running.clock)
        .await
        .context("updates are guarded by the etag")?;
    withdrawing_erases_for_good(client.clone())
        .await
        .context("withdrawing erases")?;
    bad_requests_name_every_field(client.clone())
        .await
        .context("bad requests name every field")?;
    races_have_one_winner(client.clone())
        .await
        .context("races have one winner")?;
    drop(client);
    running.stop().await?;
    cards_are_found_across_a_change_of_keys(database)
        .await
        .context("cards are found across a change of keys")?;
    survives_a_restart(database)
        .await
        .context("members survive a restart")?;
    tells_what_it_is(database)
        .await
        .context("the database tells what it is")
}

/// A request that nobody has made yet.
#[must_use]
pub fn request(name: &str, phone: &str, cards: &[&str]) -> api::RegisterMemberRequest {
    api::RegisterMemberRequest {
        request_id: Uuid::now_v7().to_string(),
        display_name: name.into(),
        phone_number: phone.into(),
        tier: api::Tier::Silver.into(),
        card_tokens: cards.iter().map(|&card| card.to_owned()).collect(),
    }
}

fn member(member: Option<api::Member>) -> Result<api::Member> {
    member.context("the answer has no member")
}

async fn registered(
    client: &mut Client,
    request: &api::RegisterMemberRequest,
) -> Result<api::Member> {
    member(
        client
            .register_member(request.clone())
            .await?
            .into_inner()
            .member,
    )
}

/// The answer must be the refusal `reason`, with its code, on these fields.
pub fn refused<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    reason: Reason,
    fields: &[&str],
) -> Result<()> {
    let status = match answer {
        Ok(answer) => bail!("expected {reason}, got {answer:?}"),
        Err(status) => status,
    };
    let info = status
        .get_details_error_info()
        .with_context(|| format!("no ErrorInfo in {status:?}"))?;
    ensure!(
        info.reason == reason.as_str() && status.code() == reason.code(),
        "expected {reason}, got {status:?}"
    );
    ensure!(info.domain == contract::DOMAIN, "domain {}", info.domain);
    let violations = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations)
        .unwrap_or_default();
    let found: Vec<&str> = violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    ensure!(
        found == fields,
        "expected violations of {fields:?}, got {found:?}"
    );
    Ok(())
}

async fn check(client: &mut Client, key: Key) -> Result<api::CheckMembershipResponse> {
    Ok(client
        .check_membership(api::CheckMembershipRequest { key: Some(key) })
        .await?
        .into_inner())
}

async fn registration_is_idempotent_for_ever(mut client: Client) -> Result<()> {
    let first = request(
        " Kim Minji ",
        "+821000000001",
        &["card-reg-1", "card-reg-2"],
    );
    let answer = client.register_member(first.clone()).await?.into_inner();
    let made = member(answer.member)?;
    ensure!(
        !answer.replayed
            && made.display_name == "Kim Minji"
            && made.state() == api::MemberState::Active
    );
    ensure!(Uuid::parse_str(&made.member_id)?.get_version_num() == 7);
    ensure!(
        made.register_time == made.update_time
            && made
                .register_time
                .is_some_and(|time| time.nanos == 123_456_000),
        "{made:?}"
    );

    let mut repeat = first.clone();
    repeat.card_tokens.reverse();
    let again = client.register_member(repeat).await?.into_inner();
    ensure!(again.replayed && member(again.member)? == made);

    for other in [
        api::RegisterMemberRequest {
            display_name: "Lee".into(),
            ..first.clone()
        },
        api::RegisterMemberRequest {
            phone_number: "+821000000002".into(),
            ..first.clone()
        },
        api::RegisterMemberRequest {
            tier: api::Tier::Gold.into(),
            ..first.clone()
        },
        api::RegisterMemberRequest {
            card_tokens: vec!["card-reg-1".into()],
            ..first.clone()
        },
    ] {
        refused(
            client.register_member(other).await,
            Reason::IdReused,
            &["request_id"],
        )?;
    }
    let read = client
        .get_member(api::GetMemberRequest {
            member_id: made.member_id.clone(),
        })
        .await?
        .into_inner();
    ensure!(member(read.member)? == made);
    Ok(())
}

async fn phones_and_cards_belong_to_one_member(mut client: Client) -> Result<()> {
    registered(
        &mut client,
        &request("One", "+821000000010", &["card-own-1"]),
    )
    .await?;
    refused(
        client
            .register_member(request("Two", "+821000000010", &[]))
            .await,
        Reason::PhoneInUse,
        &["phone_number"],
    )?;
    let taken = request("Two", "+821000000011", &["card-own-2", "card-own-1"]);
    refused(
        client.register_member(taken).await,
        Reason::CardInUse,
        &["card_tokens[1]"],
    )?;
    // The refused ones have left nothing behind.
    let two = registered(
        &mut client,
        &request("Two", "+821000000011", &["card-own-2"]),
    )
    .await?;
    let change = api::UpdateMemberRequest {
        member_id: two.member_id,
        ..Default::default()
    };
    let phone = api::UpdateMemberRequest {
        phone_number: Some("+821000000010".into()),
        ..change.clone()
    };
    refused(
        client.update_member(phone).await,
        Reason::PhoneInUse,
        &["phone_number"],
    )?;
    let card = api::UpdateMemberRequest {
        add_card_tokens: vec!["card-own-2".into(), "card-own-1".into()],
        ..change.clone()
    };
    refused(
        client.update_member(card).await,
        Reason::CardInUse,
        &["add_card_tokens[1]"],
    )?;
    let many = (0..16).map(|index| format!("card-many-{index}")).collect();
    let many = api::UpdateMemberRequest {
        add_card_tokens: many,
        ..change
    };
    refused(
        client.update_member(many).await,
        Reason::InvalidArgument,
        &["add_card_tokens"],
    )
}

async fn membership_is_checked_by_every_key(mut client: Client) -> Result<()> {
    let made = registered(
        &mut client,
        &request("Park", "+821000000020", &["card-key-1"]),
    )
    .await?;
    let keys = [
        Key::MemberId(made.member_id.clone()),
        Key::PhoneNumber("+821000000020".into()),
        Key::CardToken("card-key-1".into()),
        hashed(KEY, "card-key-1"),
    ];
    for key in keys {
        let answer = check(&mut client, key).await?;
        ensure!(
            answer.is_member && answer.member_id == made.member_id && answer.display_name == "Park",
            "{answer:?}"
        );
        ensure!(answer.tier() == api::Tier::Silver);
        ensure!(
            answer.benefits
                == Some(api::Benefits {
                    points_rate_bp: 300,
                    member_prices: true
                })
        );
    }
    let strangers = [
        Key::MemberId(Uuid::now_v7().to_string()),
        Key::PhoneNumber("+821000000029".into()),
        Key::CardToken("card-key-9".into()),
        hashed(KEY, "card-key-9"),
    ];
    for key in strangers {
        ensure!(check(&mut client, key).await? == api::CheckMembershipResponse::default());
    }
    Ok(())
}

async fn updates_are_guarded_by_the_etag(mut client: Client, clock: &Clock) -> Result<()> {
    let made = registered(&mut client, &request("Choi", "+821000000030", &[])).await?;
    clock.advance(jiff::SignedDuration::from_secs(60));
    let change = api::UpdateMemberRequest {
        member_id: made.member_id.clone(),
        etag: made.etag.clone(),
        ..Default::default()
    };
    let unchanged = member(
        client
            .update_member(change.clone())
            .await?
            .into_inner()
            .member,
    )?;
    ensure!(unchanged == made, "an empty change changes nothing");

    let promote = api::UpdateMemberRequest {
        tier: Some(api::Tier::Gold.into()),
        add_card_tokens: vec!["card-tag-1".into()],
        ..change
    };
    let promoted = member(
        client
            .update_member(promote.clone())
            .await?
            .into_inner()
            .member,
    )?;
    ensure!(
        promoted.tier() == api::Tier::Gold
            && promoted.display_name == "Choi"
            && promoted.etag != made.etag
    );
    ensure!(
        promoted.register_time == made.register_time && promoted.update_time != made.update_time
    );
    ensure!(
        check(&mut client, Key::CardToken("card-tag-1".into()))
            .await?
            .member_id
            == made.member_id
    );

    refused(
        client.update_member(promote).await,
        Reason::MemberChanged,
        &[],
    )?;
    let rename = api::UpdateMemberRequest {
        member_id: made.member_id.clone(),
        display_name: Some("Choi Yuna".into()),
        phone_number: Some("+821000000031".into()),
        ..Default::default()
    };
    let renamed = member(client.update_member(rename).await?.into_inner().member)?;
    ensure!(
        renamed.display_name == "Choi Yuna"
            && renamed.phone_number == "+821000000031"
            && renamed.tier() == api::Tier::Gold
    );
    ensure!(
        !check(&mut client, Key::PhoneNumber("+821000000030".into()))
            .await?
            .is_member,
        "the old number is free"
    );
    let stranger = api::UpdateMemberRequest {
        member_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    refused(
        client.update_member(stranger).await,
        Reason::UnknownMember,
        &[],
    )
}

async fn withdrawing_erases_for_good(mut client: Client) -> Result<()> {
    let registration = request("Jung", "+821000000040", &["card-end-1"]);
    let made = registered(&mut client, &registration).await?;
    let withdraw = api::WithdrawMemberRequest {
        member_id: made.member_id.clone(),
    };
    let gone = member(
        client
            .withdraw_member(withdraw.clone())
            .await?
            .into_inner()
            .member,
    )?;
    ensure!(
        gone.display_name.is_empty()
            && gone.phone_number.is_empty()
            && gone.state() == api::MemberState::Withdrawn,
        "{gone:?}"
    );
    ensure!(gone.member_id == made.member_id && gone.etag != made.etag);
    let again = member(client.withdraw_member(withdraw).await?.into_inner().member)?;
    ensure!(again == gone, "withdrawing twice is withdrawing once");

    let keys = [
        Key::MemberId(made.member_id.clone()),
        Key::PhoneNumber("+821000000040".into()),
        Key::CardToken("card-end-1".into()),
        hashed(KEY, "card-end-1"),
    ];
    for key in keys {
        ensure!(
            check(&mut client, key).await? == api::CheckMembershipResponse::default(),
            "a withdrawn member is no member"
        );
    }
    let read = client
        .get_member(api::GetMemberRequest {
            member_id: made.member_id.clone(),
        })
        .await?
        .into_inner();
    ensure!(member(read.member)? == gone);
    let change = api::UpdateMemberRequest {
        member_id: made.member_id,
        display_name: Some("Back".into()),
        ..Default::default()
    };
    refused(
        client.update_member(change).await,
        Reason::MemberWithdrawn,
        &[],
    )?;

    // Nothing is left to compare a repeat with.
    for repeat in [
        registration.clone(),
        api::RegisterMemberRequest {
            display_name: "Other".into(),
            ..registration
        },
    ] {
        let answer = client.register_member(repeat).await?.into_inner();
        ensure!(answer.replayed && member(answer.member)? == gone);
    }
    let successor = registered(
        &mut client,
        &request("Successor", "+821000000040", &["card-end-1"]),
    )
    .await?;
    ensure!(
        successor.member_id != gone.member_id,
        "phone and card are free again"
    );
    let stranger = api::WithdrawMemberRequest {
        member_id: Uuid::now_v7().to_string(),
    };
    refused(
        client.withdraw_member(stranger).await,
        Reason::UnknownMember,
        &[],
    )
}

async fn bad_requests_name_every_field(mut client: Client) -> Result<()> {
    let bad = api::RegisterMemberRequest {
        request_id: Uuid::new_v4().to_string(),
        display_name: "\u{7}".into(),
        phone_number: "010-1234-5678".into(),
        tier: 0,
        card_tokens: vec!["tiny".into()],
    };
    let fields = [
        "request_id",
        "display_name",
        "phone_number",
        "tier",
        "card_tokens[0]",
    ];
    refused(
        client.register_member(bad).await,
        Reason::InvalidArgument,
        &fields,
    )?;
    refused(
        client
            .check_membership(api::CheckMembershipRequest { key: None })
            .await,
        Reason::InvalidArgument,
        &["key"],
    )?;
    let malformed = [
        (Key::MemberId("7".into()), "member_id"),
        (Key::PhoneNumber("7".into()), "phone_number"),
        (Key::CardToken("7".into()), "card_token"),
        (
            Key::CardTokenHashes(api::CardTokenHashes::default()),
            "card_token_hashes",
        ),
    ];
    for (key, field) in malformed {
        let answer = client
            .check_membership(api::CheckMembershipRequest { key: Some(key) })
            .await;
        refused(answer, Reason::InvalidArgument, &[field])?;
    }
    let nobody = api::GetMemberRequest {
        member_id: Uuid::now_v7().to_string(),
    };
    refused(client.get_member(nobody).await, Reason::UnknownMember, &[])?;
    refused(
        client.get_member(api::GetMemberRequest::default()).await,
        Reason::InvalidArgument,
        &["member_id"],
    )?;
    let huge = request(&"x".repeat(100_000), "+821000000050", &[]);
    refused(
        client.register_member(huge).await,
        Reason::MessageTooLarge,
        &[],
    )
}

async fn races_have_one_winner(client: Client) -> Result<()> {
    let mut ids = std::collections::BTreeSet::new();
    // Where two repeats meet is a matter of luck: once is not enough to see it.
    for round in 0..12 {
        let same = request(
            "Same",
            &format!("+8210000100{round:02}"),
            &[&format!("card-race-{round}")],
        );
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (mut client, request) = (client.clone(), same.clone());
            racing.spawn(async move { client.register_member(request).await });
        }
        ids.clear();
        let mut first_answers = 0;
        while let Some(answer) = racing.join_next().await {
            let answer = answer??.into_inner();
            first_answers += usize::from(!answer.replayed);
            ids.insert(member(answer.member)?.member_id);
        }
        ensure!(
            ids.len() == 1 && first_answers == 1,
            "one request, {} members, {first_answers} first answers",
            ids.len()
        );
    }

    let mut racing = tokio::task::JoinSet::new();
    for index in 0..8 {
        let mut client = client.clone();
        let request = request(&format!("Rival {index}"), "+821000000061", &[]);
        racing.spawn(async move { client.register_member(request).await });
    }
    let mut won = 0;
    while let Some(answer) = racing.join_next().await {
        match answer? {
            Ok(_) => won += 1,
            refusal => refused(refusal, Reason::PhoneInUse, &["phone_number"])?,
        }
    }
    ensure!(won == 1, "one phone number, {won} members");

    let id = ids.into_iter().next().unwrap_or_default();
    let mut racing = tokio::task::JoinSet::new();
    for index in 0..8 {
        let mut client = client.clone();
        let change = api::UpdateMemberRequest {
            member_id: id.clone(),
            display_name: Some(format!("Name {index}")),
            etag: "1".into(),
            ..Default::default()
        };
        racing.spawn(async move { client.update_member(change).await });
    }
    let mut won = 0;
    while let Some(answer) = racing.join_next().await {
        match answer? {
            Ok(_) => won += 1,
            refusal => refused(refusal, Reason::MemberChanged, &[])?,
        }
    }
    ensure!(won == 1, "one etag, {won} updates");
    Ok(())
}

async fn survives_a_restart(database: &Database) -> Result<()> {
    let running = Running::start(database).await?;
    let mut client = running.client()?;
    ensure!(
        check(&mut client, Key::PhoneNumber("+821000000001".into()))
            .await?
            .display_name
            == "Kim Minji"
    );
    drop(client);
    running.stop().await
}

/// A card's hashes as ordering sends them.
fn hashed(keys: &str, token: &str) -> Key {
    let hashes = CardKeys::parse(keys)
        .ok()
        .zip(CardDigest::of_token(token).ok())
        .map(|(keys, card)| keys.hashes(card))
        .unwrap_or_default();
    Key::CardTokenHashes(api::CardTokenHashes {
        hashes: hashes
            .into_iter()
            .map(|hash| api::CardTokenHash {
                key_id: hash.key_id.to_string(),
                hmac_sha256: hash.hmac.to_vec(),
            })
            .collect(),
    })
}

async fn cannot_tell(client: &mut Client, key: Key) -> Result<()> {
    let asked = api::CheckMembershipRequest { key: Some(key) };
    refused(
        client.check_membership(asked).await,
        Reason::CardKeyUnknown,
        &[],
    )
}

/// Old key, both, the new one alone: what can be known is answered, and what cannot is not made up.
async fn cards_are_found_across_a_change_of_keys(database: &Database) -> Result<()> {
    const NEW: &str = "new:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    let both = format!("{NEW},{KEY}");
    let running = Running::start(database).await?;
    let mut client = running.client()?;
    let seen = registered(
        &mut client,
        &request("Seen", "+821000000090", &["card-rot-seen"]),
    )
    .await?;
    let unseen = registered(
        &mut client,
        &request("Unseen", "+821000000091", &["card-rot-unseen"]),
    )
    .await?;
    // A key that is not known here tells nothing.
    cannot_tell(&mut client, hashed(NEW, "card-rot-seen")).await?;
    running.stop().await?;

    let running = Running::with_keys(database, &both).await?;
    let mut client = running.client()?;
    // The old hash of an order of yesterday, both of one of today, the card itself.
    for key in [
        hashed(KEY, "card-rot-seen"),
        hashed(&both, "card-rot-seen"),
        Key::CardToken("card-rot-seen".into()),
        hashed(NEW, "card-rot-seen"),
    ] {
        let answer = check(&mut client, key).await?;
        ensure!(answer.member_id == seen.member_id, "{answer:?}");
    }
    // Not every card is known by the new key yet.
    cannot_tell(&mut client, hashed(NEW, "card-rot-unseen")).await?;
    ensure!(
        check(&mut client, hashed(&both, "card-rot-unseen"))
            .await?
            .member_id
            == unseen.member_id
    );
    ensure!(
        check(&mut client, hashed(&both, "card-rot-nobody")).await?
            == api::CheckMembershipResponse::default()
    );
    let taken = client
        .register_member(request("Thief", "+821000000092", &["card-rot-unseen"]))
        .await;
    // Whichever key it is known by.
    refused(taken, Reason::CardInUse, &["card_tokens[0]"])?;
    running.stop().await?;

    let running = Running::with_keys(database, NEW).await?;
    let mut client = running.client()?;
    let answer = check(&mut client, Key::CardToken("card-rot-seen".into())).await?;
    ensure!(answer.member_id == seen.member_id, "{answer:?}");
    // The old key went too early: nothing is made up.
    cannot_tell(&mut client, Key::CardToken("card-rot-unseen".into())).await?;
    running.stop().await
}

async fn tells_what_it_is(database: &Database) -> Result<()> {
    let members = Members::open(database, CardKeys::parse(KEY)?).await?;
    let facts = members.inspect().await?;
    members.close().await;
    let product = if matches!(database, Database::Sqlite(_)) {
        "SQLite"
    } else {
        "PostgreSQL"
    };
    ensure!(facts.version.starts_with(product), "{facts:?}");
    // Embedded, this service sets it itself; a server's setting is its owner's, and only told.
    ensure!(facts.durable || product == "PostgreSQL", "{facts:?}");
    let skew = facts.now.duration_since(Clock::system().now()).abs();
    ensure!(skew < jiff::SignedDuration::from_secs(60), "{facts:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn database(directory: &Path) -> Database {
        Database::Sqlite(directory.join("member.db"))
    }

    #[tokio::test]
    async fn sqlite_keeps_every_promise() -> Result<()> {
        let directory = tempfile::tempdir()?;
        suite(&database(directory.path())).await
    }

    /// Every byte of the database and its side files.
    fn bytes_on_disk(directory: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        for file in files {
            bytes.extend(std::fs::read(file)?);
        }
        Ok(bytes)
    }

    fn holds(bytes: &[u8], needle: &[u8]) -> bool {
        bytes.windows(needle.len()).any(|window| window == needle)
    }

    #[tokio::test]
    async fn nothing_of_a_withdrawn_member_is_left_in_the_files() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let running = Running::start(&database(directory.path())).await?;
        let mut client = running.client()?;
        let mut ids = Vec::new();
        for index in 0..50 {
            let request = request(
                &format!("Vanishing {index:03}"),
                &format!("+8277700{index:05}"),
                &[&format!("card-gone-{index:03}")],
            );
            ids.push(registered(&mut client, &request).await?.member_id);
        }
        let digest = CardDigest::of_token("card-gone-007")?;
        let hash = CardKeys::parse(KEY)?.hashes(digest)[0].hmac;
        let before = bytes_on_disk(directory.path())?;
        ensure!(
            holds(&before, b"Vanishing 007")
                && holds(&before, b"+827770000007")
                && holds(&before, &hash),
            "they are there at first"
        );
        ensure!(
            !holds(&before, b"card-gone-007") && !holds(&before, digest.as_bytes()),
            "neither card tokens nor their plain hashes are ever stored"
        );
        for id in ids {
            client
                .withdraw_member(api::WithdrawMemberRequest { member_id: id })
                .await?;
        }
        let after = bytes_on_disk(directory.path())?;
        ensure!(
            !holds(&after, b"Vanishing") && !holds(&after, b"+8277700") && !holds(&after, &hash),
            "and gone in the end"
        );
        running.stop().await
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_file() -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir()?;
        let running = Running::start(&database(directory.path())).await?;
        for entry in std::fs::read_dir(directory.path())? {
            let entry = entry?;
            ensure!(
                entry.metadata()?.permissions().mode() & 0o077 == 0,
                "{}",
                entry.path().display()
            );
        }
        running.stop().await
    }

    #[tokio::test]
    async fn a_database_in_a_missing_directory_is_named() {
        let error = Members::open(
            &Database::parse("sqlite:/nonexistent/member.db").unwrap(),
            CardKeys::parse(KEY).unwrap(),
        )
        .await
        .err()
        .unwrap();
        assert!(
            error.to_string().contains("/nonexistent/member.db"),
            "{error}"
        );
    }
}
