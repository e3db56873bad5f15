//! What a till sends is for ever in the log: a payment card's number is refused in every text of every request, whichever it is.

use contract::api::ordering::ordering_service_server::OrderingService as _;
use contract::api::{ordering as api, types};
use contract::{DESCRIPTORS, timestamp_to_proto};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, ReflectMessage as _, Value};
use tonic::{Request, Response, Status};

use super::repeats::{members, reason, uuid};
use super::*;

const CARD: &str = "4111-1111-1111-1111";
/// Fields that reach no record: a loyalty card's token goes to the member service, and is recorded as keyed hashes; a quote token is only
/// checked; amounts in another currency are refused by it.
const NOT_RECORDED: [&str; 3] = ["card_token", "quote_token", "currency_code"];

/// The message with one of its texts being a card's number, for each of them, with the path of that text.
fn variants(message: &DynamicMessage) -> Vec<(String, DynamicMessage)> {
    let mut found = Vec::new();
    for field in message.descriptor().fields() {
        if !message.has_field(&field) || NOT_RECORDED.contains(&field.name()) {
            continue;
        }
        let mut with = |path: String, value: Value| {
            let mut changed = message.clone();
            changed.set_field(&field, value);
            found.push((path, changed));
        };
        let of_one = |value: &Value| -> Vec<(String, Value)> {
            match value {
                Value::String(_) => vec![(String::new(), Value::String(CARD.into()))],
                Value::Message(inner) => variants(inner)
                    .into_iter()
                    .map(|(path, inner)| (format!(".{path}"), Value::Message(inner)))
                    .collect(),
                _ => Vec::new(),
            }
        };
        match message.get_field(&field).as_ref() {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    for (path, changed) in of_one(item) {
                        let mut items = items.clone();
                        items[index] = changed;
                        with(
                            format!("{}[{index}]{path}", field.name()),
                            Value::List(items),
                        );
                    }
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    for (_, changed) in of_one(value) {
                        let mut entries = entries.clone();
                        entries.insert(key.clone(), changed);
                        with(format!("{}{{}}", field.name()), Value::Map(entries));
                    }
                    let mut entries = entries.clone();
                    entries.remove(key);
                    entries.insert(MapKey::String(CARD.into()), value.clone());
                    with(format!("the key of {}", field.name()), Value::Map(entries));
                }
            }
            one => {
                for (path, changed) in of_one(one) {
                    with(format!("{}{path}", field.name()), changed);
                }
            }
        }
    }
    found
}

/// The same of a request, with the path of each text.
fn each<M: Message + Name + Default>(request: &M) -> Vec<(String, M)> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let descriptor = pool.get_message_by_name(&M::full_name()).unwrap();
    let message = DynamicMessage::decode(descriptor, request.encode_to_vec().as_slice()).unwrap();
    let variants = variants(&message).into_iter();
    let decoded = variants.map(|(path, message)| {
        let request = M::decode(message.encode_to_vec().as_slice()).unwrap();
        (format!("{}.{path}", M::NAME), request)
    });
    decoded.collect()
}

/// Calls with a request as it is, which is well-formed, and with each of the others, which are not. Returns how many those are.
async fn refuses<M: Message + Name + Default, T>(
    call: impl AsyncFn(Request<M>) -> Result<Response<T>, Status>,
    request: M,
) -> usize {
    let reason_of = async |request: M| match call(Request::new(request)).await {
        Ok(_) => String::new(),
        Err(status) => reason(&status),
    };
    let variants = each(&request);
    let plain = reason_of(request).await;
    assert_ne!(
        plain,
        "INVALID_ARGUMENT",
        "{} is in order as it is",
        M::NAME
    );
    let count = variants.len();
    for (path, request) in variants {
        let found = reason_of(request).await;
        assert_eq!(found, "INVALID_ARGUMENT", "{path} takes a card's number");
    }
    count
}

fn placing(client_time: Option<prost_types::Timestamp>) -> api::PlaceOrderRequest {
    let discount = |id: &str| api::ManualDiscount {
        discount_id: id.into(),
        value: Some(api::manual_discount::Value::PercentBp(1_000)),
        reason_code: "r".into(),
        approver_id: "a".into(),
    };
    let line = api::DraftLine {
        line_id: "l1".into(),
        sku: "latte".into(),
        quantity: 1,
        options: vec![api::DraftOption {
            option_id: "shot".into(),
            quantity: 1,
        }],
        discounts: vec![discount("d1")],
        till_unit_price: Some(types::Money {
            currency_code: "KRW".into(),
            amount_minor: 5_000,
        }),
        till_item: Some(api::TillItem {
            name: Some(types::LocalizedText {
                text: [("en".to_owned(), "Latte".to_owned())].into(),
            }),
            category: "coffee".into(),
            tax_class: "std".into(),
        }),
        ..api::DraftLine::default()
    };
    let draft = api::OrderDraft {
        store_id: "gangnam".into(),
        terminal_id: "till-1".into(),
        staff_id: "s1".into(),
        lines: vec![line],
        order_discounts: vec![discount("d2")],
        promotion_codes: vec!["welcome".into()],
        pricing: types::Pricing::Till.into(),
        ..api::OrderDraft::default()
    };
    let tender = api::Tender {
        tender_id: "t1".into(),
        kind: types::TenderKind::Card.into(),
        scheme: "visa".into(),
        amount: Some(types::Money {
            currency_code: "KRW".into(),
            amount_minor: 4_000,
        }),
        external_reference: "30129485".into(),
        drawer_id: "main".into(),
        ..api::Tender::default()
    };
    api::PlaceOrderRequest {
        order_id: uuid(),
        draft: Some(draft),
        tenders: vec![tender],
        client_time,
        ..api::PlaceOrderRequest::default()
    }
}

fn krw(amount_minor: i64) -> Option<types::Money> {
    Some(types::Money {
        currency_code: "KRW".into(),
        amount_minor,
    })
}

#[tokio::test]
async fn a_card_number_is_refused_in_every_text_that_a_till_sends() {
    let service = Service::start(&[], now()).await;
    let catalog = catalog::default_catalog().unwrap();
    let ordering = service.ordering(catalog, members(true).0, "key").await;
    let client_time = Some(timestamp_to_proto(service.clock.now()));
    let (store_id, terminal_id, staff_id) = ("gangnam".to_owned(), "till-1", "s1");
    let (terminal_id, staff_id) = (terminal_id.to_owned(), staff_id.to_owned());
    let (approver_id, reason_code) = ("a".to_owned(), "r".to_owned());
    let (business_date, drawer_id) = ("2026-03-02".to_owned(), "main".to_owned());
    let tenders = vec![api::ReturnedTender {
        tender_id: "t1".into(),
        amount: krw(4_000),
        drawer_id: drawer_id.clone(),
        external_reference: "30129485".into(),
        ..api::ReturnedTender::default()
    }];

    let place = placing(client_time);
    let mut texts = refuses(async |request| ordering.place_order(request).await, place).await;
    assert!(texts >= 22, "{texts}");
    let start = api::StartPreparationRequest {
        store_id: store_id.clone(),
        order_id: uuid(),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
    };
    let ready = api::MarkReadyRequest {
        store_id: store_id.clone(),
        order_id: uuid(),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
    };
    let complete = api::CompleteOrderRequest {
        store_id: store_id.clone(),
        order_id: uuid(),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
    };
    let attach = api::AttachMemberRequest {
        store_id: store_id.clone(),
        order_id: uuid(),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
        member_id: uuid(),
    };
    let cancel = api::CancelOrderRequest {
        store_id: store_id.clone(),
        order_id: uuid(),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
        approver_id: approver_id.clone(),
        reason_code: reason_code.clone(),
        tenders: tenders.clone(),
    };
    let refund = api::RefundOrderRequest {
        store_id: store_id.clone(),
        order_id: uuid(),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
        approver_id: approver_id.clone(),
        reason_code: reason_code.clone(),
        tenders,
        lines: vec![api::RefundLine {
            line_id: "l1".into(),
            quantity: 1,
        }],
    };
    let cash = api::RecordCashMovementRequest {
        store_id: store_id.clone(),
        business_date: business_date.clone(),
        drawer_id: drawer_id.clone(),
        kind: api::CashMovementKind::PaidIn.into(),
        amount: krw(1_000),
        reason_code,
        approver_id,
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
    };
    let count = api::CountDrawerRequest {
        store_id: store_id.clone(),
        business_date: business_date.clone(),
        drawer_id: drawer_id.clone(),
        counted: krw(1_000),
        request_id: uuid(),
        client_time,
        terminal_id: terminal_id.clone(),
        staff_id: staff_id.clone(),
    };
    let close = api::CloseBusinessDayRequest {
        store_id,
        business_date,
        request_id: uuid(),
        client_time,
        terminal_id,
        staff_id,
        counts: vec![api::DrawerCount {
            drawer_id,
            counted: krw(1_000),
        }],
        carry_over_order_ids: vec![uuid()],
        ..api::CloseBusinessDayRequest::default()
    };
    texts = 0;
    texts += refuses(async |one| ordering.start_preparation(one).await, start).await;
    texts += refuses(async |one| ordering.mark_ready(one).await, ready).await;
    texts += refuses(async |one| ordering.complete_order(one).await, complete).await;
    texts += refuses(async |one| ordering.attach_member(one).await, attach).await;
    texts += refuses(async |one| ordering.cancel_order(one).await, cancel).await;
    texts += refuses(async |one| ordering.refund_order(one).await, refund).await;
    texts += refuses(async |one| ordering.record_cash_movement(one).await, cash).await;
    texts += refuses(async |one| ordering.count_drawer(one).await, count).await;
    texts += refuses(async |one| ordering.close_business_day(one).await, close).await;
    assert!(texts >= 60, "{texts}");
}
