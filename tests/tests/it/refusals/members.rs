//! Calls that are refused for what is known of members.

use anyhow::Result;
use contract::api::member::check_membership_request::Key;
use contract::api::member::{
    CardTokenHash, CardTokenHashes, CheckMembershipRequest, GetMemberRequest, UpdateMemberRequest,
    WithdrawMemberRequest,
};
use contract::api::ordering::AttachMemberRequest;
use doppio::clients::call;

use super::calls::Scene;
use super::{Refused, refused};
use crate::shop::{Shop, new_id, registration};

pub async fn nobody(shop: &Shop) -> Result<Refused> {
    let request = GetMemberRequest {
        member_id: new_id(),
    };
    refused(shop.clients.member.clone().get_member(call(request)).await)
}

/// A card that was hashed with a key that the member service does not have.
pub async fn foreign_card_key(shop: &Shop) -> Result<Refused> {
    let hash = CardTokenHash {
        key_id: "foreign".into(),
        hmac_sha256: vec![7; 32],
    };
    let key = Key::CardTokenHashes(CardTokenHashes { hashes: vec![hash] });
    let request = CheckMembershipRequest { key: Some(key) };
    refused(
        shop.clients
            .member
            .clone()
            .check_membership(call(request))
            .await,
    )
}

pub async fn phone_twice(shop: &Shop) -> Result<Refused> {
    shop.register("+821000000011", &[]).await?;
    let other = registration("+821000000011", &[]);
    refused(
        shop.clients
            .member
            .clone()
            .register_member(call(other))
            .await,
    )
}

pub async fn card_twice(shop: &Shop) -> Result<Refused> {
    shop.register("+821000000021", &["card-of-one"]).await?;
    let other = registration("+821000000022", &["card-of-one"]);
    refused(
        shop.clients
            .member
            .clone()
            .register_member(call(other))
            .await,
    )
}

fn renamed(member_id: String, etag: String) -> UpdateMemberRequest {
    UpdateMemberRequest {
        member_id,
        display_name: Some("Lee Jiwoo".into()),
        etag,
        ..UpdateMemberRequest::default()
    }
}

pub async fn withdrawn(shop: &Shop) -> Result<Refused> {
    let member = shop.register("+821000000031", &[]).await?;
    let mut client = shop.clients.member.clone();
    let withdrawal = WithdrawMemberRequest {
        member_id: member.member_id.clone(),
    };
    client.withdraw_member(call(withdrawal)).await?;
    refused(
        client
            .update_member(call(renamed(member.member_id, String::new())))
            .await,
    )
}

pub async fn changed(shop: &Shop) -> Result<Refused> {
    let member = shop.register("+821000000041", &[]).await?;
    let mut client = shop.clients.member.clone();
    let first = renamed(member.member_id.clone(), member.etag.clone());
    client.update_member(call(first)).await?;
    let late = UpdateMemberRequest {
        display_name: Some("Park Seojun".into()),
        ..renamed(member.member_id, member.etag)
    };
    refused(client.update_member(call(late)).await)
}

pub async fn attached_twice(scene: &Scene<'_>) -> Result<Refused> {
    let member = scene.shop.register("+821000000051", &[]).await?;
    let sold = scene.shop.sell(scene.store).await?;
    let request = || AttachMemberRequest {
        store_id: scene.store.into(),
        order_id: sold.order.order_id.clone(),
        request_id: new_id(),
        member_id: member.member_id.clone(),
        ..AttachMemberRequest::default()
    };
    let mut ordering = scene.shop.clients.ordering.clone();
    ordering.attach_member(call(request())).await?;
    refused(ordering.attach_member(call(request())).await)
}
