//! Calls that are refused for what they say.

use ::http::{HeaderValue, Method};
use anyhow::{Context as _, Result};
use contract::api::ordering as api;
use contract::api::ordering::ordering_service_client::OrderingServiceClient;
use contract::api::query::{GetOrderRequest, ListOrdersRequest};
use contract::api::types::Money;
use doppio::clients::call;
use integration_tests::http;
use jiff::SignedDuration;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{Refused, refused};
use crate::shop::{Shop, Sold, card, cash, line, new_id, won};

/// A store in a shop, for one scenario.
pub struct Scene<'a> {
    pub shop: &'a Shop,
    pub store: &'a str,
}

impl Scene<'_> {
    pub async fn refused_order(
        &self,
        lines: Vec<api::DraftLine>,
        tenders: Vec<api::Tender>,
    ) -> Result<Refused> {
        self.refused_request(self.shop.request(self.store, lines, tenders))
            .await
    }

    pub async fn refused_request(&self, request: api::PlaceOrderRequest) -> Result<Refused> {
        refused(
            self.shop
                .clients
                .ordering
                .clone()
                .place_order(call(request))
                .await,
        )
    }

    pub async fn no_lines(&self) -> Result<Refused> {
        self.refused_order(vec![], vec![]).await
    }

    pub async fn order_of(&self, sku: &str) -> Result<Refused> {
        self.refused_order(vec![line(sku, 1)], vec![card(4_500)])
            .await
    }

    pub async fn paid_in_dollars(&self) -> Result<Refused> {
        let mut dollars = card(4_500);
        dollars.tendered = Some(Money {
            currency_code: "USD".into(),
            amount_minor: 4_500,
        });
        self.refused_order(vec![line("americano", 1)], vec![dollars])
            .await
    }

    pub async fn too_many_lines(&self) -> Result<Refused> {
        let line = |index| api::DraftLine {
            line_id: format!("l{index}"),
            ..line("americano", 1)
        };
        self.refused_order((0..201).map(line).collect(), vec![])
            .await
    }

    /// Two hundred lines whose options' names alone take more than a record has.
    pub async fn too_many_words(&self) -> Result<Refused> {
        let option = |index| api::DraftOption {
            option_id: format!("w{index}"),
            quantity: 1,
        };
        let line = |index| api::DraftLine {
            line_id: format!("l{index}"),
            options: (0..20).map(option).collect(),
            ..line("wordy", 1)
        };
        self.refused_order((0..200).map(line).collect(), vec![card(200_000)])
            .await
    }

    pub async fn too_much_money(&self) -> Result<Refused> {
        self.refused_order(vec![line("americano", 1)], vec![cash(i64::MAX)])
            .await
    }

    pub async fn paid_too_little(&self) -> Result<Refused> {
        self.refused_order(vec![line("americano", 1)], vec![card(4_499)])
            .await
    }

    pub async fn change_from_a_card(&self) -> Result<Refused> {
        let mut with_change = card(5_000);
        with_change.change = won(500);
        self.refused_order(vec![line("americano", 1)], vec![with_change])
            .await
    }

    pub async fn cash_twice(&self) -> Result<Refused> {
        let mut other = cash(2_500);
        other.tender_id = "more".into();
        self.refused_order(vec![line("americano", 1)], vec![cash(2_000), other])
            .await
    }

    fn americano_with(option: &str, quantity: i32) -> Vec<api::DraftLine> {
        let option = api::DraftOption {
            option_id: option.into(),
            quantity,
        };
        vec![api::DraftLine {
            options: vec![option],
            ..line("americano", 1)
        }]
    }

    pub async fn five_shots(&self) -> Result<Refused> {
        self.refused_order(Self::americano_with("shot", 5), vec![card(7_000)])
            .await
    }

    pub async fn unknown_option(&self) -> Result<Refused> {
        self.refused_order(Self::americano_with("syrup", 1), vec![card(5_000)])
            .await
    }

    pub async fn unknown_coupon(&self) -> Result<Refused> {
        let lines = vec![line("americano", 1)];
        let mut request = self.shop.request(self.store, lines, vec![card(4_500)]);
        request
            .draft
            .iter_mut()
            .for_each(|draft| draft.promotion_codes.push("none".into()));
        self.refused_request(request).await
    }

    pub async fn large_message(&self) -> Result<Refused> {
        let mut request = self.shop.request(self.store, vec![], vec![]);
        request.quote_token = "x".repeat(1_000_000);
        self.refused_request(request).await
    }

    pub async fn another_order_under_one_id(&self) -> Result<Refused> {
        let first = self.shop.sell(self.store).await?;
        let mut other =
            self.shop
                .request(self.store, vec![line("americano", 2)], vec![card(9_000)]);
        other.order_id = first.order.order_id;
        self.refused_request(other).await
    }

    pub async fn another_price(&self) -> Result<Refused> {
        let lines = vec![line("americano", 1)];
        let mut request = self.shop.request(self.store, lines, vec![card(4_500)]);
        request.expected_total = won(4_000);
        self.refused_request(request).await
    }

    pub async fn foreign_quote(&self) -> Result<Refused> {
        let lines = vec![line("americano", 1)];
        let mut request = self.shop.request(self.store, lines, vec![card(4_500)]);
        request.quote_token = "not-a-quote".into();
        self.refused_request(request).await
    }

    pub async fn old_quote(&self) -> Result<Refused> {
        let lines = vec![line("americano", 1)];
        let mut request = self.shop.request(self.store, lines, vec![card(4_500)]);
        let draft = request.draft.clone();
        let mut ordering = self.shop.clients.ordering.clone();
        let quote = ordering
            .quote_order(call(api::QuoteOrderRequest { draft }))
            .await?
            .into_inner();
        self.shop.clock.advance(SignedDuration::from_mins(15));
        request.quote_token = quote.quote_token;
        request.client_time = self.shop.now();
        self.refused_request(request).await
    }

    pub async fn ready_at_once(&self) -> Result<Refused> {
        let sold = self.shop.sell(self.store).await?;
        let request = api::MarkReadyRequest {
            store_id: self.store.into(),
            order_id: sold.order.order_id,
            request_id: new_id(),
            ..api::MarkReadyRequest::default()
        };
        refused(
            self.shop
                .clients
                .ordering
                .clone()
                .mark_ready(call(request))
                .await,
        )
    }

    fn cancellation(
        &self,
        order_id: String,
        tenders: Vec<api::ReturnedTender>,
    ) -> api::CancelOrderRequest {
        api::CancelOrderRequest {
            store_id: self.store.into(),
            order_id,
            request_id: new_id(),
            client_time: self.shop.now(),
            reason_code: "mistake".into(),
            tenders,
            ..api::CancelOrderRequest::default()
        }
    }

    async fn refused_cancellation(&self, request: api::CancelOrderRequest) -> Result<Refused> {
        refused(
            self.shop
                .clients
                .ordering
                .clone()
                .cancel_order(call(request))
                .await,
        )
    }

    pub async fn cancel_nothing(&self) -> Result<Refused> {
        self.refused_cancellation(self.cancellation(new_id(), vec![]))
            .await
    }

    /// Of an order that was paid with 3,000 by card and 1,500 in cash.
    pub async fn cancel_returning(&self, by_card: i64, in_cash: i64) -> Result<Refused> {
        let tenders = vec![card(3_000), cash(1_500)];
        let request = self
            .shop
            .request(self.store, vec![line("americano", 1)], tenders);
        let sold = Sold::of(self.shop.place(request).await?)?;
        let returned =
            [("card", by_card), ("cash", in_cash)].map(|(id, amount)| api::ReturnedTender {
                tender_id: id.into(),
                amount: won(amount),
                ..api::ReturnedTender::default()
            });
        self.refused_cancellation(self.cancellation(sold.order.order_id, returned.into()))
            .await
    }

    /// Of an order that was paid in cash, out of a drawer that holds none.
    pub async fn cancel_out_of_an_empty_drawer(&self) -> Result<Refused> {
        let lines = vec![line("americano", 1)];
        let request = self.shop.request(self.store, lines, vec![cash(4_500)]);
        let sold = Sold::of(self.shop.place(request).await?)?;
        let returned = api::ReturnedTender {
            tender_id: "cash".into(),
            amount: won(4_500),
            drawer_id: "another".into(),
            ..api::ReturnedTender::default()
        };
        self.refused_cancellation(self.cancellation(sold.order.order_id, vec![returned]))
            .await
    }

    /// Of an order of one unit that is not completed.
    pub async fn refund_units(&self, quantity: i32) -> Result<Refused> {
        let sold = self.shop.sell(self.store).await?;
        let request = api::RefundOrderRequest {
            store_id: self.store.into(),
            order_id: sold.order.order_id,
            request_id: new_id(),
            client_time: self.shop.now(),
            reason_code: "cold".into(),
            lines: vec![api::RefundLine {
                line_id: "l1".into(),
                quantity,
            }],
            ..api::RefundOrderRequest::default()
        };
        refused(
            self.shop
                .clients
                .ordering
                .clone()
                .refund_order(call(request))
                .await,
        )
    }

    pub async fn menu_of(&self, store: &str) -> Result<Refused> {
        let request = api::GetMenuRequest {
            store_id: store.into(),
        };
        refused(
            self.shop
                .clients
                .ordering
                .clone()
                .get_menu(call(request))
                .await,
        )
    }

    pub async fn read_with_token(&self, token: &str) -> Result<Refused> {
        let request = GetOrderRequest {
            store_id: self.store.into(),
            order_id: new_id(),
            at_least: vec![token.into()],
        };
        refused(
            self.shop
                .clients
                .query
                .clone()
                .get_order(call(request))
                .await,
        )
    }

    pub async fn strange_page(&self) -> Result<Refused> {
        let sold = self.shop.sell(self.store).await?;
        let request = ListOrdersRequest {
            store_id: self.store.into(),
            business_date: sold.order.business_date,
            page_token: "no-page".into(),
            at_least: vec![sold.token],
            ..ListOrdersRequest::default()
        };
        refused(
            self.shop
                .clients
                .query
                .clone()
                .list_orders(call(request))
                .await,
        )
    }

    pub async fn large_metadata(&self) -> Result<Refused> {
        let mut request = call(api::GetMenuRequest::default());
        let large = "x".repeat(20 * 1024).parse()?;
        request.metadata_mut().insert("large", large);
        refused(self.shop.clients.ordering.clone().get_menu(request).await)
    }

    /// A call of ordering at the member service's port.
    pub async fn wrong_port(&self) -> Result<Refused> {
        let url = format!("http://{}", self.shop.system.addresses.member);
        let channel = runtime::channel::connect_lazy(&url)?;
        let mut client = OrderingServiceClient::new(channel);
        refused(client.get_menu(call(api::GetMenuRequest::default())).await)
    }

    pub async fn strange_compression(&self) -> Result<Refused> {
        let mut request = call(api::GetMenuRequest::default());
        let snappy = "snappy".parse()?;
        request.metadata_mut().insert("grpc-encoding", snappy);
        refused(self.shop.clients.ordering.clone().get_menu(request).await)
    }

    pub async fn health_of_nobody(&self) -> Result<Refused> {
        let url = format!("http://{}", self.shop.system.addresses.ordering);
        let mut client = HealthClient::new(runtime::channel::connect_lazy(&url)?);
        let request = HealthCheckRequest {
            service: "nobody".into(),
        };
        refused(client.check(request).await)
    }

    /// Over HTTP, where the same stands in the body.
    pub async fn no_such_page(&self) -> Result<Refused> {
        let query = self.shop.system.addresses.query;
        refused_over_http(&http::get(query, "/v1/nothing").await?)
    }

    /// As a page sends a command that somebody has opened, who need not know of it.
    pub async fn foreign_page(&self) -> Result<Refused> {
        let path = format!("/v1/stores/{}/menu", self.store);
        let mut request = http::request(&Method::GET, &path, None)?;
        let origin = HeaderValue::from_static("https://elsewhere.example");
        request.headers_mut().insert("origin", origin);
        let ordering = self.shop.system.addresses.ordering;
        refused_over_http(&http::send(ordering, request).await?)
    }
}

fn refused_over_http(answer: &http::Answer) -> Result<Refused> {
    let status = answer.json()?;
    let details = status["details"].as_array().context("details")?;
    let info = details
        .iter()
        .find(|detail| detail["reason"].is_string())
        .context("an ErrorInfo")?;
    let code = i32::try_from(status["code"].as_i64().context("a code")?)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Refused {
        code: crate::errors::code_name(Code::from_i32(code)),
        reason: text(&info["reason"]),
        domain: text(&info["domain"]),
        message: text(&status["message"]),
    })
}
