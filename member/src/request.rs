//! Reads requests into values, reporting everything that is wrong with one at once.

use contract::api::member as api;
use contract::card::{CardDigest, CardHash, MAX_KEYS};
use contract::{Fields, Rejection};

use crate::store::CARDS_PER_MEMBER;
use crate::value::{
    Change, DisplayName, Key, MemberId, PhoneNumber, Registration, Tier, ValueError,
};

/// The cards of a list of tokens, each once.
fn cards(fields: &mut Fields, field: &str, tokens: &[String]) -> Vec<CardDigest> {
    if tokens.len() > CARDS_PER_MEMBER {
        fields.note(
            field,
            format_args!("a member has at most {CARDS_PER_MEMBER} cards"),
        );
        return Vec::new();
    }
    let mut cards = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        let field = format_args!("{field}[{index}]");
        match fields.take(field, CardDigest::of_token(token)) {
            Some(card) if cards.contains(&card) => fields.note(field, "is listed twice"),
            Some(card) => cards.push(card),
            None => {}
        }
    }
    cards
}

fn tier(number: i32) -> Result<Tier, ValueError> {
    match api::Tier::try_from(number) {
        Ok(api::Tier::Basic) => Ok(Tier::Basic),
        Ok(api::Tier::Silver) => Ok(Tier::Silver),
        Ok(api::Tier::Gold) => Ok(Tier::Gold),
        Ok(api::Tier::Unspecified) | Err(_) => Err(ValueError::NotATier),
    }
}

pub(crate) fn member_id(text: &str) -> Result<MemberId, Rejection> {
    Fields::read(|fields| fields.take("member_id", MemberId::parse(text)))
}

pub(crate) fn key(request: &api::CheckMembershipRequest) -> Result<Key, Rejection> {
    use api::check_membership_request::Key as Sent;
    Fields::read(|fields| match &request.key {
        Some(Sent::MemberId(text)) => fields.take("member_id", MemberId::parse(text)).map(Key::Id),
        Some(Sent::CardToken(text)) => fields
            .take("card_token", CardDigest::of_token(text))
            .map(Key::Card),
        Some(Sent::PhoneNumber(text)) => fields
            .take("phone_number", PhoneNumber::parse(text))
            .map(Key::Phone),
        Some(Sent::CardTokenHashes(sent)) => fields
            .take("card_token_hashes", hashes(&sent.hashes))
            .map(Key::CardHashes),
        None => {
            fields.note(
                "key",
                "must be one of member_id, card_token, phone_number and card_token_hashes",
            );
            None
        }
    })
}

fn hashes(sent: &[api::CardTokenHash]) -> Result<Vec<CardHash>, ValueError> {
    let read: Option<Vec<CardHash>> = sent
        .iter()
        .map(|hash| CardHash::new(&hash.key_id, &hash.hmac_sha256))
        .collect();
    read.filter(|hashes| (1..=MAX_KEYS).contains(&hashes.len()))
        .ok_or(ValueError::NotHashes)
}

pub(crate) fn registration(
    request: &api::RegisterMemberRequest,
) -> Result<Registration, Rejection> {
    Fields::read(|fields| {
        let request_id = fields.request_id(&request.request_id);
        let display_name = fields.take("display_name", DisplayName::parse(&request.display_name));
        let phone_number = fields.take("phone_number", PhoneNumber::parse(&request.phone_number));
        let tier = fields.take("tier", tier(request.tier));
        let cards = cards(fields, "card_tokens", &request.card_tokens);
        Some(Registration {
            request_id: request_id?,
            display_name: display_name?,
            phone_number: phone_number?,
            tier: tier?,
            cards,
        })
    })
}

pub(crate) fn change(request: &api::UpdateMemberRequest) -> Result<Change, Rejection> {
    Fields::read(|fields| {
        let id = fields.take("member_id", MemberId::parse(&request.member_id));
        let display_name = request
            .display_name
            .as_deref()
            .and_then(|text| fields.take("display_name", DisplayName::parse(text)));
        let phone_number = request
            .phone_number
            .as_deref()
            .and_then(|text| fields.take("phone_number", PhoneNumber::parse(text)));
        let tier = request
            .tier
            .and_then(|number| fields.take("tier", tier(number)));
        let add_cards = cards(fields, "add_card_tokens", &request.add_card_tokens);
        Some(Change {
            id: id?,
            display_name,
            phone_number,
            tier,
            add_cards,
            etag: (!request.etag.is_empty()).then(|| request.etag.clone()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_reported_at_once() {
        let request = api::RegisterMemberRequest {
            request_id: "1".into(),
            display_name: " ".into(),
            phone_number: "010".into(),
            tier: 9,
            card_tokens: vec!["card-0001".into(), "short".into(), "card-0001".into()],
        };
        let fields: Vec<_> = registration(&request)
            .unwrap_err()
            .violations
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(
            fields,
            [
                "request_id",
                "display_name",
                "phone_number",
                "tier",
                "card_tokens[1]",
                "card_tokens[2]"
            ]
        );
    }

    #[test]
    fn an_update_checks_only_what_is_set() {
        let id = "019352f0-7a1c-7c3e-8f00-0123456789ab";
        let nothing = api::UpdateMemberRequest {
            member_id: id.into(),
            ..Default::default()
        };
        assert!(change(&nothing).is_ok());
        let wrong = api::UpdateMemberRequest {
            display_name: Some(String::new()),
            tier: Some(0),
            ..nothing
        };
        assert_eq!(change(&wrong).unwrap_err().violations.len(), 2);
    }

    #[test]
    fn a_key_must_be_named() {
        assert_eq!(
            key(&api::CheckMembershipRequest::default())
                .unwrap_err()
                .violations[0]
                .field,
            "key"
        );
    }
}
