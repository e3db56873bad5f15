//! A repeat gets its first answer before anything else is looked at; and a store that left the catalog can still be settled.

use std::sync::Mutex;

use contract::api::ordering as api;
use contract::api::ordering::ordering_service_server::OrderingService as _;
use contract::api::types;
use contract::{Currency, timestamp_to_proto};
use prost_types::Timestamp;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::super::call::{Call, MembershipQuestion};
use super::super::grpc::Ordering;
use super::super::quote::QuoteKey;
use super::*;
use crate::domain::{MemberKey, MemberStanding};

fn krw(minor: i64) -> Option<types::Money> {
    money("KRW", minor)
}

fn money(currency: &str, minor: i64) -> Option<types::Money> {
    Some(Currency::new(currency).unwrap().amount(Money::new(minor)))
}

pub(super) fn uuid() -> String {
    Uuid::now_v7().to_string()
}

impl Service {
    /// Another instance of the service on the same log and index.
    pub(super) async fn ordering(
        &self,
        catalog: Catalog,
        membership: Membership,
        quotes: &str,
    ) -> Ordering {
        let index = CommandIndex::open(&self.directory.path().join("index.db"))
            .await
            .unwrap();
        let catalog = CatalogSource::fixed(catalog);
        let registry = Registry::new(
            self.config.clone(),
            self.log.clone(),
            index,
            catalog.clone(),
            self.clock.clone(),
            membership.clone(),
            Shutdown::new(),
        );
        let key = QuoteKey::new(quotes.as_bytes().to_vec());
        let clock = self.clock.clone();
        Ordering::new(
            self.log.clone(),
            registry,
            catalog,
            membership,
            key,
            crate::domain::fixture::card_keys(),
            clock,
        )
    }

    fn client_time(&self) -> Option<Timestamp> {
        Some(timestamp_to_proto(self.clock.now()))
    }

    fn sale(&self, member: Option<Uuid>) -> api::PlaceOrderRequest {
        let line = api::DraftLine {
            line_id: "l1".into(),
            sku: "americano".into(),
            quantity: 2,
            ..api::DraftLine::default()
        };
        let draft = api::OrderDraft {
            store_id: "gangnam".into(),
            terminal_id: "till-1".into(),
            lines: vec![line],
            member: member.map(|id| api::order_draft::Member::MemberId(id.to_string())),
            ..api::OrderDraft::default()
        };
        let tender = api::Tender {
            tender_id: "t1".into(),
            kind: types::TenderKind::Card.into(),
            amount: krw(9_000),
            ..api::Tender::default()
        };
        api::PlaceOrderRequest {
            order_id: uuid(),
            draft: Some(draft),
            tenders: vec![tender],
            client_time: self.client_time(),
            ..api::PlaceOrderRequest::default()
        }
    }
}

/// A member service that knows everybody, as no member, or nobody; and who was asked for.
pub(super) fn members(knows: bool) -> (Membership, Arc<Mutex<Vec<Uuid>>>) {
    let asked = Arc::<Mutex<Vec<Uuid>>>::default();
    let log = asked.clone();
    let membership = Membership::answering(move |member| {
        log.lock().unwrap().push(member);
        knows.then_some(MemberStanding::NotMember)
    });
    (membership, asked)
}

pub(super) fn reason(status: &tonic::Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

async fn place(
    ordering: &Ordering,
    request: &api::PlaceOrderRequest,
) -> Result<api::PlaceOrderResponse, tonic::Status> {
    let answer = ordering.place_order(Request::new(request.clone())).await;
    answer.map(tonic::Response::into_inner)
}

fn in_pounds() -> Catalog {
    let mut catalog = catalog::default_catalog().unwrap();
    for store in catalog.stores.values_mut() {
        Arc::make_mut(store).currency = Currency::new("GBP").unwrap();
    }
    catalog
}

#[tokio::test]
async fn a_repeat_gets_its_first_answer_whatever_has_changed_since() {
    let service = Service::start(&[], now()).await;
    let (membership, asked) = members(true);
    let whole = || catalog::default_catalog().unwrap();
    let ordering = service.ordering(whole(), membership, "one key").await;
    let plain = service.sale(None);
    let of_member = service.sale(Some(Uuid::now_v7()));
    let mut quoted = service.sale(Some(Uuid::now_v7()));
    let draft = quoted.draft.clone();
    let quote = ordering
        .quote_order(Request::new(api::QuoteOrderRequest { draft }))
        .await
        .unwrap();
    quoted.quote_token = quote.into_inner().quote_token;
    let attach = api::AttachMemberRequest {
        store_id: "gangnam".into(),
        order_id: plain.order_id.clone(),
        request_id: uuid(),
        member_id: uuid(),
        client_time: service.client_time(),
        ..api::AttachMemberRequest::default()
    };
    let mut first = Vec::new();
    for sale in [&plain, &of_member, &quoted] {
        let answer = place(&ordering, sale).await.unwrap();
        assert!(!answer.replayed);
        first.push(answer.order);
    }
    let so_far = asked.lock().unwrap().len();
    assert_eq!(so_far, 2);
    for (catalog, quotes) in [
        (whole(), "one key"),
        (Catalog::default(), "another key"),
        (in_pounds(), "another key"),
    ] {
        let (membership, asked) = members(false);
        let again = service.ordering(catalog, membership, quotes).await;
        for (sale, first) in [&plain, &of_member, &quoted].into_iter().zip(&first) {
            let answer = place(&again, sale).await.unwrap();
            assert!(answer.replayed);
            assert_eq!(&answer.order, first);
            // Amounts in another currency are another sale.
            let mut pounds = sale.clone();
            pounds.tenders[0].amount = money("GBP", 9_000);
            let refused = place(&again, &pounds).await.unwrap_err();
            assert_eq!(reason(&refused), "ID_REUSED");
        }
        assert!(
            asked.lock().unwrap().is_empty(),
            "a repeat asks the member service"
        );
        // Asked, because it is new, and refused.
        let refused = again.attach_member(Request::new(attach.clone())).await;
        assert_eq!(reason(&refused.unwrap_err()), "MEMBER_UNAVAILABLE");
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_store_that_left_the_catalog_is_settled_and_sells_nothing() {
    let service = Service::start(&[], now()).await;
    let whole = catalog::default_catalog().unwrap();
    let (membership, _) = members(false);
    let ordering = service.ordering(whole, membership.clone(), "key").await;
    let sales = [service.sale(None), service.sale(None), service.sale(None)];
    for sale in &sales {
        place(&ordering, sale).await.unwrap();
    }
    let ordering = service
        .ordering(Catalog::default(), membership, "key")
        .await;
    let id = |sale: usize| sales[sale].order_id.clone();
    let (store_id, client_time) = ("gangnam".to_owned(), service.client_time());
    let outcome = api::GetCommandOutcomeRequest {
        store_id: store_id.clone(),
        id: Some(api::get_command_outcome_request::Id::OrderId(id(0))),
    };
    let outcome = ordering.get_command_outcome(Request::new(outcome)).await;
    assert!(outcome.unwrap().into_inner().recorded);
    let start = api::StartPreparationRequest {
        store_id: store_id.clone(),
        order_id: id(0),
        request_id: uuid(),
        client_time,
        ..api::StartPreparationRequest::default()
    };
    ordering
        .start_preparation(Request::new(start.clone()))
        .await
        .unwrap();
    let cancel = api::CancelOrderRequest {
        store_id: store_id.clone(),
        order_id: id(1),
        request_id: uuid(),
        client_time,
        reason_code: "closing".into(),
        tenders: vec![api::ReturnedTender {
            tender_id: "t1".into(),
            amount: krw(9_000),
            ..api::ReturnedTender::default()
        }],
        ..api::CancelOrderRequest::default()
    };
    ordering.cancel_order(Request::new(cancel)).await.unwrap();
    let refund = api::RefundOrderRequest {
        store_id: store_id.clone(),
        order_id: id(2),
        request_id: uuid(),
        client_time,
        reason_code: "closing".into(),
        lines: vec![api::RefundLine {
            line_id: "l1".into(),
            quantity: 1,
        }],
        ..api::RefundOrderRequest::default()
    };
    let refunded = ordering
        .refund_order(Request::new(refund))
        .await
        .unwrap()
        .into_inner();
    let close = api::CloseBusinessDayRequest {
        store_id: store_id.clone(),
        business_date: refunded.refund.unwrap().business_date,
        request_id: uuid(),
        client_time,
        carry_over_all: true,
        ..api::CloseBusinessDayRequest::default()
    };
    let closed = ordering
        .close_business_day(Request::new(close))
        .await
        .unwrap();
    let z_report = closed.into_inner().z_report.unwrap();
    assert_eq!(z_report.z_number, 1);
    // The next day opens by the ledger's own settings.
    let cancel = api::CancelOrderRequest {
        store_id: store_id.clone(),
        order_id: id(0),
        request_id: uuid(),
        client_time,
        reason_code: "closing".into(),
        ..api::CancelOrderRequest::default()
    };
    ordering.cancel_order(Request::new(cancel)).await.unwrap();
    // Nothing is sold, and a store that never was is unknown to every call.
    let refused = place(&ordering, &service.sale(None)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::NotFound, "UNKNOWN_STORE")
    );
    let refused = ordering
        .get_menu(Request::new(api::GetMenuRequest { store_id }))
        .await;
    assert_eq!(reason(&refused.unwrap_err()), "UNKNOWN_STORE");
    let nowhere = api::StartPreparationRequest {
        store_id: "nowhere".into(),
        ..start
    };
    let refused = ordering.start_preparation(Request::new(nowhere)).await;
    assert_eq!(reason(&refused.unwrap_err()), "UNKNOWN_STORE");
}

#[tokio::test]
async fn a_sale_in_another_currency_is_refused_naming_its_field() {
    let service = Service::start(&[], now()).await;
    let (membership, _) = members(true);
    let whole = catalog::default_catalog().unwrap();
    let ordering = service.ordering(whole, membership, "key").await;
    let mut sale = service.sale(None);
    sale.tenders[0].amount = money("GBP", 9_000);
    let refused = place(&ordering, &sale).await.unwrap_err();
    assert_eq!(reason(&refused), "WRONG_CURRENCY");
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "tenders[0].amount");
    sale.expected_total = krw(9_000);
    let refused = place(&ordering, &sale).await.unwrap_err();
    assert_eq!(reason(&refused), "WRONG_CURRENCY");
}

#[tokio::test]
async fn nothing_is_sold_by_a_catalog_of_another_currency() {
    let service = Service::start(&[], now()).await;
    let (membership, _) = members(true);
    let whole = catalog::default_catalog().unwrap();
    let ordering = service.ordering(whole, membership.clone(), "key").await;
    place(&ordering, &service.sale(None)).await.unwrap();
    let ledger = LedgerName::new("gangnam").unwrap();
    let before = service.log.tip(&ledger).await.unwrap();
    let ordering = service.ordering(in_pounds(), membership, "key").await;
    // In the ledger's currency the catalog is what is wrong, in the catalog's it is the sale.
    for (currency, expected) in [
        ("KRW", (Code::FailedPrecondition, "CURRENCY_CHANGED")),
        ("GBP", (Code::InvalidArgument, "WRONG_CURRENCY")),
    ] {
        let mut sale = service.sale(None);
        sale.tenders[0].amount = money(currency, 9_000);
        let refused = place(&ordering, &sale).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), expected);
    }
    assert_eq!(service.log.tip(&ledger).await.unwrap(), before);
}

#[tokio::test]
async fn a_membership_is_not_asked_for_once_its_caller_has_gone() {
    let (membership, asked) = members(true);
    let service = Service::start(&[], now()).await;
    let index = CommandIndex::open(&service.directory.path().join("index.db"))
        .await
        .unwrap();
    let registry = Registry::new(
        service.config.clone(),
        service.log.clone(),
        index,
        service.catalog.clone(),
        service.clock.clone(),
        membership,
        Shutdown::new(),
    );
    let call = || {
        let mut call = Call::from(service.order());
        let key = MemberKey::MemberId(Uuid::now_v7());
        call.membership = Some(MembershipQuestion {
            presented: key.into(),
            trace: runtime::TraceContext::new_trace(),
        });
        call
    };
    let store = Service::store();
    let late = registry.execute(&store, call(), Instant::now()).await;
    assert_eq!(late.unwrap_err().reason, Reason::OutcomeUnknown);
    let deadline = Instant::now() + Duration::from_secs(5);
    registry.execute(&store, call(), deadline).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1);
}
