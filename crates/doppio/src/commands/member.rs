use clap::{Args, Subcommand};
use contract::api::member as api;
use contract::api::member::check_membership_request::Key;
use uuid::Uuid;

use crate::clients::{Clients, Target, call};
use crate::data_dir::new_card_key;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, say};

#[derive(Subcommand)]
pub enum Member {
    /// Register a member.
    Register(Register),
    /// Is the bearer a member? Exit code 3 when not.
    Check(Check),
    /// Show a member.
    Show { member_id: String },
    /// Change a member.
    Update(Update),
    /// Erase a member's name, phone and cards for good.
    Withdraw { member_id: String },
    /// Make a key of card hashes for the setting card_keys: put it first, and keep the older ones until every card was presented.
    NewCardKey {
        /// What the key is known by, never by two keys: 1 to 32 of a-z, 0-9 and '-' [default: a random id].
        id: Option<String>,
    },
}

#[derive(Args)]
pub struct Register {
    #[arg(long)]
    name: String,
    /// E.164, such as +821012345678.
    #[arg(long)]
    phone: String,
    /// basic, silver or gold.
    #[arg(long, default_value = "basic")]
    tier: String,
    /// Token of a card. Repeatable.
    #[arg(long = "card", value_name = "TOKEN")]
    cards: Vec<String>,
    /// UUIDv7; repeat a registration with the id that it had.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Check {
    #[arg(long)]
    id: Option<String>,
    #[arg(long, value_name = "TOKEN")]
    card: Option<String>,
    #[arg(long)]
    phone: Option<String>,
}

#[derive(Args)]
pub struct Update {
    member_id: String,
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    phone: Option<String>,
    #[arg(long)]
    tier: Option<String>,
    /// Token of a card to add. Repeatable.
    #[arg(long = "card", value_name = "TOKEN")]
    cards: Vec<String>,
    /// Only if the member is as it was when this was shown.
    #[arg(long)]
    etag: Option<String>,
}

fn tier(text: &str) -> Result<i32, Failure> {
    let tier = api::Tier::from_str_name(&format!("TIER_{}", text.to_ascii_uppercase()))
        .filter(|tier| *tier != api::Tier::Unspecified);
    tier.map(Into::into).ok_or_else(|| {
        Failure::new(
            ExitCode::Usage,
            format!("there is no tier {text:?}; basic, silver or gold"),
        )
    })
}

fn show(member: Option<&api::Member>) -> String {
    let Some(member) = member else {
        return String::new();
    };
    let short = |text: &str, prefix: &str| text.trim_start_matches(prefix).to_ascii_lowercase();
    format!(
        "{}  {}\n{}  {}  {}\netag {}",
        member.member_id,
        short(member.state().as_str_name(), "MEMBER_STATE_"),
        member.display_name,
        member.phone_number,
        short(member.tier().as_str_name(), "TIER_"),
        member.etag
    )
}

impl Member {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        match self {
            Self::NewCardKey { id } => say(new_card_key(id.as_deref())?),
            call => target.with(|clients| call.call(clients, format)).await,
        }
    }

    async fn call(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let mut client = clients.member;
        match self {
            Self::NewCardKey { .. } => Ok(()),
            Self::Register(register) => {
                let request = api::RegisterMemberRequest {
                    request_id: register
                        .request_id
                        .unwrap_or_else(|| Uuid::now_v7().to_string()),
                    display_name: register.name,
                    phone_number: register.phone,
                    tier: tier(&register.tier)?,
                    card_tokens: register.cards,
                };
                let answer = client.register_member(call(request)).await?.into_inner();
                format.print(&answer, |answer| show(answer.member.as_ref()))
            }
            Self::Check(check) => {
                let key = check
                    .id
                    .map(Key::MemberId)
                    .or(check.card.map(Key::CardToken))
                    .or(check.phone.map(Key::PhoneNumber));
                let answer = client
                    .check_membership(call(api::CheckMembershipRequest { key }))
                    .await?
                    .into_inner();
                format.print(&answer, |answer| {
                    if answer.is_member {
                        format!("a member: {} {}", answer.member_id, answer.display_name)
                    } else {
                        "not a member".to_owned()
                    }
                })?;
                if answer.is_member {
                    Ok(())
                } else {
                    Err(Failure::new(ExitCode::Refused, "not a member"))
                }
            }
            Self::Show { member_id } => {
                let answer = client
                    .get_member(call(api::GetMemberRequest { member_id }))
                    .await?
                    .into_inner();
                format.print(&answer, |answer| show(answer.member.as_ref()))
            }
            Self::Update(update) => {
                let request = api::UpdateMemberRequest {
                    member_id: update.member_id,
                    display_name: update.name,
                    phone_number: update.phone,
                    tier: update.tier.as_deref().map(tier).transpose()?,
                    add_card_tokens: update.cards,
                    etag: update.etag.unwrap_or_default(),
                };
                let answer = client.update_member(call(request)).await?.into_inner();
                format.print(&answer, |answer| show(answer.member.as_ref()))
            }
            Self::Withdraw { member_id } => {
                let answer = client
                    .withdraw_member(call(api::WithdrawMemberRequest { member_id }))
                    .await?
                    .into_inner();
                format.print(&answer, |answer| show(answer.member.as_ref()))
            }
        }
    }
}
