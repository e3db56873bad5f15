//! What tills sell, through the services: members, offline sales, coupons, repeats, money back.

use anyhow::{Context as _, Result, ensure};
use contract::Reason;
use contract::api::ordering::{self as api, AttachMemberRequest, PlaceOrderRequest};
use contract::api::query::GetOrderRequest;
use contract::api::types::{
    DiscountSource, LocalizedText, MembershipOutcome, Pricing, ServiceMode,
};
use doppio::clients::call;
use tonic_types::StatusExt as _;

use crate::shop::{Shop, Sold, card, cash, line, new_id, sold, won};

const STORE: &str = "gangnam";

async fn open() -> Result<Shop> {
    Shop::open(&[STORE.to_owned()]).await
}

/// The order as the read side shows it.
async fn read(shop: &Shop, sold: &Sold) -> Result<api::Order> {
    let request = GetOrderRequest {
        store_id: STORE.into(),
        order_id: sold.order.order_id.clone(),
        at_least: vec![sold.token.clone()],
    };
    let answer = shop.clients.query.clone().get_order(call(request)).await?;
    answer.into_inner().order.context("an order")
}

fn draft(request: &mut PlaceOrderRequest) -> &mut api::OrderDraft {
    request.draft.get_or_insert_default()
}

fn net(order: &api::Order) -> Option<i64> {
    let net = order.priced.as_ref()?.net.as_ref()?;
    Some(net.amount_minor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_attached_to_an_order_that_was_placed_without_one() -> Result<()> {
    let shop = open().await?;
    let member = shop.register("+821012345678", &[]).await?;
    let first = shop.sell(STORE).await?;
    ensure!(first.order.membership.is_none());
    let request = AttachMemberRequest {
        store_id: STORE.into(),
        order_id: first.order.order_id.clone(),
        request_id: new_id(),
        member_id: member.member_id.clone(),
        terminal_id: "till-1".into(),
        ..AttachMemberRequest::default()
    };
    let mut ordering = shop.clients.ordering.clone();
    let attached = ordering
        .attach_member(call(request.clone()))
        .await?
        .into_inner();
    let order = attached.order.context("an order")?;
    let membership = order.membership.clone().context("a membership")?;
    ensure!(
        membership.outcome() == MembershipOutcome::Member
            && membership.member_id == member.member_id
            && membership.tier == "gold"
            && membership.points_rate_bp > 0,
        "{membership:?}"
    );
    // The price stays what it was: nothing is ever repriced.
    ensure!(net(&order) == Some(4_500));
    let again = ordering.attach_member(call(request)).await?.into_inner();
    ensure!(
        again.replayed && again.order.as_ref() == Some(&order),
        "{again:?}"
    );
    let seen = Sold {
        order: order.clone(),
        token: attached.consistency_token,
    };
    ensure!(read(&shop, &seen).await? == order);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_get_members_prices_by_id_and_by_card_and_nobody_else_does() -> Result<()> {
    let shop = open().await?;
    let member = shop.register("+821012345678", &["card-of-kim"]).await?;
    let cases = [
        (
            Some(api::order_draft::Member::MemberId(member.member_id.clone())),
            4_050,
        ),
        (
            Some(api::order_draft::Member::CardToken("card-of-kim".into())),
            4_050,
        ),
        (
            Some(api::order_draft::Member::CardToken("card-of-nobody".into())),
            4_500,
        ),
        (None, 4_500),
    ];
    for (key, due) in cases {
        let mut request = shop.request(STORE, vec![line("americano", 1)], vec![card(due)]);
        draft(&mut request).member = key;
        let quoted = api::QuoteOrderRequest {
            draft: request.draft.clone(),
        };
        let mut ordering = shop.clients.ordering.clone();
        let quote = ordering.quote_order(call(quoted)).await?.into_inner();
        let priced = quote.priced.context("a price")?;
        ensure!(priced.amount_due == won(due), "{priced:?}");
        let first = Sold::of(shop.place(request).await?)?;
        let placed = first.order.priced.clone().context("a price")?;
        ensure!(placed.net == won(due) && placed.discounts == priced.discounts);
        if due < 4_500 {
            let discount = placed.discounts.first().context("a discount")?;
            ensure!(
                discount.source() == DiscountSource::LinePromotion
                    && discount.discount_id == "members"
                    && discount.amount == won(450),
                "{discount:?}"
            );
        }
        ensure!(read(&shop, &first).await? == first.order);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_goes_back_on_the_tenders_that_the_till_names() -> Result<()> {
    let shop = open().await?;
    let tenders = vec![card(6_000), cash(10_000)];
    let request = shop.request(STORE, vec![line("americano", 3)], tenders);
    let first = Sold::of(shop.place(request).await?)?;
    let back = |tender_id: &str, amount| api::ReturnedTender {
        tender_id: tender_id.into(),
        amount: won(amount),
        ..api::ReturnedTender::default()
    };
    // By default the card would take it all: cash comes last.
    let mut refund = api::RefundOrderRequest {
        store_id: STORE.into(),
        order_id: first.order.order_id.clone(),
        request_id: new_id(),
        client_time: shop.now(),
        reason_code: "cold".into(),
        lines: vec![api::RefundLine {
            line_id: "l1".into(),
            quantity: 1,
        }],
        tenders: vec![back("cash", 4_000), back("card", 500)],
        ..api::RefundOrderRequest::default()
    };
    let mut ordering = shop.clients.ordering.clone();
    let refunded = ordering
        .refund_order(call(refund.clone()))
        .await?
        .into_inner();
    let amounts = |tenders: &[api::ReturnedTender]| -> Vec<(String, i64)> {
        let amount = |tender: &api::ReturnedTender| {
            tender
                .amount
                .as_ref()
                .map_or(0, |amount| amount.amount_minor)
        };
        tenders
            .iter()
            .map(|tender| (tender.tender_id.clone(), amount(tender)))
            .collect()
    };
    let own = refunded.refund.context("a refund")?;
    ensure!(
        amounts(&own.tenders) == [("cash".to_owned(), 4_000), ("card".to_owned(), 500)],
        "{own:?}"
    );
    // The same in another order is the same refund.
    refund.tenders.reverse();
    let again = ordering.refund_order(call(refund)).await?.into_inner();
    ensure!(again.replayed && again.refund.as_ref() == Some(&own));
    let cancel = api::CancelOrderRequest {
        store_id: STORE.into(),
        order_id: first.order.order_id.clone(),
        request_id: new_id(),
        client_time: shop.now(),
        reason_code: "customer-left".into(),
        tenders: vec![back("card", 5_500), back("cash", 3_500)],
        ..api::CancelOrderRequest::default()
    };
    let cancelled = ordering.cancel_order(call(cancel)).await?.into_inner();
    let void = cancelled
        .order
        .clone()
        .and_then(|order| order.cancellation)
        .context("a cancellation")?;
    ensure!(
        amounts(&void.tenders) == [("card".to_owned(), 5_500), ("cash".to_owned(), 3_500)],
        "{void:?}"
    );
    let seen = Sold {
        order: cancelled.order.context("an order")?,
        token: cancelled.consistency_token,
    };
    ensure!(read(&shop, &seen).await? == seen.order);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_sale_of_what_the_catalog_no_longer_has_is_taken_with_its_quote_too()
-> Result<()> {
    let shop = open().await?;
    let tea = api::DraftLine {
        line_id: "l2".into(),
        till_item: Some(api::TillItem {
            name: Some(LocalizedText {
                text: [("ko".to_owned(), "유자차".to_owned())].into(),
            }),
            category: "tea".into(),
            tax_class: "std".into(),
        }),
        ..sold("yuja-tea", 5_500)
    };
    let coffee = sold("americano", 4_000);
    for with_quote in [false, true] {
        let lines = vec![coffee.clone(), tea.clone()];
        let mut request = shop.request(STORE, lines, vec![card(9_500)]);
        draft(&mut request).pricing = Pricing::Till.into();
        draft(&mut request)
            .promotion_codes
            .push("of-last-year".into());
        if with_quote {
            let quoted = api::QuoteOrderRequest {
                draft: request.draft.clone(),
            };
            let mut ordering = shop.clients.ordering.clone();
            let quote = ordering.quote_order(call(quoted)).await?.into_inner();
            request.quote_token = quote.quote_token;
        }
        let first = Sold::of(shop.place(request).await?)?;
        let mut flags = first.order.flags.clone();
        flags.retain(|flag| flag != "ORDER_ID_TIME_ODD");
        ensure!(
            flags == ["TILL_PRICE_DIFFERS", "UNKNOWN_ITEM", "UNKNOWN_PROMOTION"],
            "{flags:?}, with a quote: {with_quote}"
        );
        let priced = first.order.priced.clone().context("a price")?;
        let line = priced.lines.get(1).context("two lines")?;
        ensure!(line.category == "tea" && line.tax_class == "std" && line.tax_rate_bp == 1_000);
        let name = line.name.as_ref().and_then(|name| name.text.get("ko"));
        ensure!(name.is_some_and(|name| name == "유자차"), "{line:?}");
        ensure!(read(&shop, &first).await? == first.order);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_free_takes_no_tender_whatever_the_step() -> Result<()> {
    let shop = open().await?;
    let mut request = shop.request(STORE, vec![line("candy", 1)], vec![]);
    draft(&mut request).promotion_codes.push("free".into());
    let first = Sold::of(shop.place(request).await?)?;
    ensure!(net(&first.order) == Some(0), "{:?}", first.order.priced);
    ensure!(read(&shop, &first).await? == first.order);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_order_written_otherwise_gets_the_first_answer() -> Result<()> {
    let shop = open().await?;
    let shots = api::DraftOption {
        option_id: "shot".into(),
        quantity: 0,
    };
    let coffee = api::DraftLine {
        options: vec![shots],
        ..line("americano", 1)
    };
    let request = shop.request(STORE, vec![coffee], vec![cash(10_000)]);
    let first = shop.place(request.clone()).await?;
    let mut other = request.clone();
    draft(&mut other).service_mode = ServiceMode::EatIn.into();
    draft(&mut other).lines[0].service_mode = ServiceMode::EatIn.into();
    draft(&mut other).lines[0].options[0].quantity = 1;
    other.tenders[0].amount = won(5_000);
    other.tenders[0].change = won(5_000);
    other.tenders[0].drawer_id = "main".into();
    other.expected_total = won(5_000);
    let again = shop.place(other.clone()).await?;
    ensure!(again.replayed && again.order == first.order, "{again:?}");
    draft(&mut other).lines[0].options[0].quantity = 2;
    let mut ordering = shop.clients.ordering.clone();
    let refused = ordering
        .place_order(call(other))
        .await
        .err()
        .context("a refusal")?;
    let info = refused.get_details_error_info().context("an ErrorInfo")?;
    ensure!(info.reason == Reason::IdReused.as_str(), "{info:?}");
    Ok(())
}
