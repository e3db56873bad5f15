//! Calls whose requests are encoded ahead: the load shares the machine with what it loads.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use crate::clients::CALL_DEADLINE;

pub const HEALTH: &str = "/grpc.health.v1.Health/Check";
pub const PLACE: &str = "/doppio.ordering.v1.OrderingService/PlaceOrder";
pub const START: &str = "/doppio.ordering.v1.OrderingService/StartPreparation";
pub const READY: &str = "/doppio.ordering.v1.OrderingService/MarkReady";
pub const COMPLETE: &str = "/doppio.ordering.v1.OrderingService/CompleteOrder";
pub const GET_ORDER: &str = "/doppio.query.v1.QueryService/GetOrder";
pub const DAILY_SALES: &str = "/doppio.query.v1.QueryService/GetDailySales";

/// A request as bytes: what many share, and what is this one's own. A protobuf message whose parts follow each other is one message.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    pub shared: Bytes,
    pub own: Bytes,
}

/// What the load looks at in the answer of a command; the order in it is skipped over.
#[derive(Clone, PartialEq, Message)]
pub struct Acknowledged {
    #[prost(string, tag = "2")]
    pub consistency_token: String,
    #[prost(bool, tag = "3")]
    pub replayed: bool,
}

/// What the load looks at in an answer with an order: its id.
#[derive(Clone, PartialEq, Message)]
pub struct Found {
    #[prost(message, optional, tag = "1")]
    pub order: Option<FoundOrder>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FoundOrder {
    #[prost(string, tag = "2")]
    pub order_id: String,
}

/// What the load looks at in an answer about a day: its store.
#[derive(Clone, PartialEq, Message)]
pub struct FoundDay {
    #[prost(string, tag = "1")]
    pub store_id: String,
}

struct PreparedCodec<T>(PhantomData<T>);
struct PreparedEncoder;
struct AnswerDecoder<T>(PhantomData<T>);

impl<T: Message + Default + 'static> Codec for PreparedCodec<T> {
    type Encode = Prepared;
    type Decode = T;
    type Encoder = PreparedEncoder;
    type Decoder = AnswerDecoder<T>;

    fn encoder(&mut self) -> PreparedEncoder {
        PreparedEncoder
    }

    fn decoder(&mut self) -> AnswerDecoder<T> {
        AnswerDecoder(PhantomData)
    }
}

impl Encoder for PreparedEncoder {
    type Item = Prepared;
    type Error = Status;

    fn encode(&mut self, item: Prepared, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.shared.len() + item.own.len());
        to.put_slice(&item.shared);
        to.put_slice(&item.own);
        Ok(())
    }
}

impl<T: Message + Default> Decoder for AnswerDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(from)
            .map(Some)
            .map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }
}

/// One call, with the deadline of the command line.
pub async fn call<T: Message + Default + 'static>(
    channel: &Channel,
    path: &'static str,
    prepared: Prepared,
) -> Result<T, Status> {
    let mut request = tonic::Request::new(prepared);
    request.set_timeout(CALL_DEADLINE);
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(format!("no connection: {error}")))?;
    let answer = grpc
        .unary(
            request,
            PathAndQuery::from_static(path),
            PreparedCodec(PhantomData),
        )
        .await?;
    Ok(answer.into_inner())
}
