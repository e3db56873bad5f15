//! Every reason is provoked through a running service. A new reason does not compile without a scenario here.

mod calls;
mod days;
mod engines;
mod members;

use anyhow::{Context as _, Result, bail, ensure};
use contract::{DOMAIN, Reason};
use tonic::{Response, Status};
use tonic_types::StatusExt as _;

use crate::shop::Shop;

/// What a scenario ends with: the refusal as its caller sees it.
struct Refused {
    /// As the specification spells it.
    code: String,
    reason: String,
    domain: String,
    message: String,
}

/// The refusal that a call was meant to get.
fn refused<T>(answer: Result<Response<T>, Status>) -> Result<Refused> {
    let Err(status) = answer else {
        bail!("the call was not refused")
    };
    let info = status
        .get_details_error_info()
        .with_context(|| format!("no ErrorInfo: {status:?}"))?;
    Ok(Refused {
        code: crate::errors::code_name(status.code()),
        reason: info.reason,
        domain: info.domain,
        message: status.message().to_owned(),
    })
}

/// Provokes a reason. Each has a store of its own in the shop, with the reason's name, and may do there what it likes.
async fn provoke(reason: Reason, shop: &Shop) -> Result<Refused> {
    let store = store_of(reason);
    let scene = calls::Scene {
        shop,
        store: &store,
    };
    match reason {
        Reason::InvalidArgument => scene.no_lines().await,
        Reason::WrongCurrency => scene.paid_in_dollars().await,
        Reason::CurrencyChanged => engines::other_currency(&store).await,
        Reason::TooManyLines => scene.too_many_lines().await,
        Reason::OrderTooLarge => scene.too_many_words().await,
        Reason::AmountOutOfRange => scene.too_much_money().await,
        Reason::TendersDoNotSum => scene.paid_too_little().await,
        Reason::ChangeOnlyFromCash => scene.change_from_a_card().await,
        Reason::TooManyCashTenders => scene.cash_twice().await,
        Reason::OptionNotAllowed => scene.five_shots().await,
        Reason::PromotionNotApplicable => scene.unknown_coupon().await,
        Reason::MalformedConsistencyToken => scene.read_with_token("no-token").await,
        Reason::MalformedPageToken => scene.strange_page().await,
        Reason::MessageTooLarge => scene.large_message().await,
        Reason::MetadataTooLarge => scene.large_metadata().await,
        Reason::UnknownMethod => scene.wrong_port().await,
        Reason::UnsupportedCompression => scene.strange_compression().await,
        Reason::UnknownService => scene.health_of_nobody().await,
        Reason::CardKeyUnknown => members::foreign_card_key(shop).await,
        Reason::UnknownStore => scene.menu_of("nowhere").await,
        Reason::UnknownItem => scene.order_of("tea").await,
        Reason::UnknownOption => scene.unknown_option().await,
        Reason::UnknownMember => members::nobody(shop).await,
        Reason::UnknownOrder => scene.cancel_nothing().await,
        Reason::NotFound => scene.no_such_page().await,
        Reason::OriginNotAllowed => scene.foreign_page().await,
        Reason::NoSuchDay => days::no_report(&scene).await,
        Reason::IdReused => scene.another_order_under_one_id().await,
        Reason::PhoneInUse => members::phone_twice(shop).await,
        Reason::CardInUse => members::card_twice(shop).await,
        Reason::MemberWithdrawn => members::withdrawn(shop).await,
        Reason::MemberChanged => members::changed(shop).await,
        Reason::PriceChanged => scene.another_price().await,
        Reason::NoTaxRate => scene.order_of("novelty").await,
        Reason::SoldOut => scene.order_of("cake").await,
        Reason::IllegalTransition => scene.ready_at_once().await,
        Reason::AlreadyHasMember => members::attached_twice(&scene).await,
        Reason::NothingLeftToRefund => scene.refund_units(2).await,
        Reason::CancelInstead => scene.refund_units(1).await,
        Reason::DayNotCounted => days::nothing_to_count(&scene).await,
        Reason::QuoteInvalid => scene.foreign_quote().await,
        Reason::QuoteExpired => scene.old_quote().await,
        Reason::ReturnExceedsTender => scene.cancel_returning(3_001, 1_499).await,
        Reason::ReturnsDoNotSum => scene.cancel_returning(3_000, 1_499).await,
        Reason::DayClosed => days::closed(&scene).await,
        Reason::DayNotBegun => days::not_begun(&scene).await,
        Reason::TooManyKinds => days::too_many_drawers(&scene).await,
        Reason::DrawerOverdrawn => scene.cancel_out_of_an_empty_drawer().await,
        Reason::OpenOrders => days::open_orders(&scene).await,
        Reason::ClockSuspect => days::clock_ahead(&scene).await,
        Reason::MemberUnavailable => engines::no_member_service(&store).await,
        Reason::OutcomeUnknown => engines::stuck_log(&store).await,
        Reason::Overloaded => engines::full_queue(&store).await,
        Reason::LogUnavailable => engines::dead_log(&store).await,
        Reason::NothingProjected => engines::empty_read_model().await,
        Reason::ReadTooLong => engines::held_read_model().await,
        Reason::ReadModelUnavailable => engines::dead_read_model().await,
        Reason::DatabaseUnavailable => engines::dead_member_database().await,
        Reason::TooManyConflicts => engines::busy_rival(&store).await,
        Reason::TooStale => engines::token_ahead(&scene).await,
        Reason::LedgerBroken => engines::broken_ledger(&store).await,
        Reason::LogChanged => engines::token_of_another_log(&scene).await,
        Reason::ProjectionQuarantined => engines::quarantined(&scene).await,
        Reason::UpgradeRequired => engines::newer_record(&store).await,
        Reason::Internal => engines::broken_member_database().await,
    }
}

fn store_of(reason: Reason) -> String {
    reason.as_str().to_lowercase().replace('_', "-")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_is_provoked_by_a_running_service() -> Result<()> {
    let stores: Vec<String> = Reason::ALL.iter().map(|reason| store_of(*reason)).collect();
    let shop = Shop::open(&stores).await?;
    let mut wrong = Vec::new();
    for reason in Reason::ALL {
        let expected = (
            reason.as_str(),
            crate::errors::code_name(reason.code()),
            DOMAIN,
        );
        match provoke(*reason, &shop).await {
            Ok(refused)
                if (
                    refused.reason.as_str(),
                    refused.code.clone(),
                    refused.domain.as_str(),
                ) == expected
                    && !refused.message.is_empty() => {}
            Ok(refused) => wrong.push(format!(
                "{reason}: {} {} {} {:?}",
                refused.reason, refused.code, refused.domain, refused.message
            )),
            Err(error) => wrong.push(format!("{reason}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
