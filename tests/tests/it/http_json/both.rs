//! One call, made both ways.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BufMut as _, Bytes};
use integration_tests::http;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// What differs between two calls, however they are made: when a projector wrote last, and how long a quote holds.
const OF_THE_MOMENT: [&str; 4] = ["updateTime", "lagSeconds", "quoteToken", "expireTime"];
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes calls of one server over HTTP and over gRPC, and compares.
pub struct Both {
    address: SocketAddr,
    channel: Channel,
    pool: DescriptorPool,
    /// The calls that were made, by full name.
    pub made: BTreeSet<String>,
}

impl Both {
    pub fn of(address: SocketAddr) -> Result<Self> {
        let mut pool = DescriptorPool::decode(contract::DESCRIPTORS)?;
        pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
        Ok(Self {
            address,
            channel: runtime::channel::connect_lazy(&format!("http://{address}"))?,
            pool,
            made: BTreeSet::new(),
        })
    }

    /// A read: its request as JSON, and where the same is over HTTP.
    pub async fn read(&mut self, call: &str, request: Value, path: &str) -> Result<Value> {
        let over_http = http::get(self.address, path).await?;
        self.compare(call, request, over_http).await
    }

    /// A command: its request as JSON, and where it is sent over HTTP. It is made over HTTP first, and then repeated.
    pub async fn command(&mut self, call: &str, request: Value, path: &str) -> Result<Value> {
        let over_http = http::post(self.address, path, &request).await?;
        self.compare(call, request, over_http).await
    }

    /// The answer over HTTP, which is the one over gRPC too.
    async fn compare(&mut self, call: &str, request: Value, http: http::Answer) -> Result<Value> {
        let over_grpc = self.grpc(call, request).await?;
        self.made.insert(call.to_owned());
        let answer = http.json()?;
        let (expected, code) = match &over_grpc {
            Ok(message) => (serde_json::to_value(message)?, 200),
            Err(status) => (self.status(status)?, expected_code(status.code())),
        };
        ensure!(http.code == code, "{call}: {} {answer}", http.code);
        ensure!(
            http.header("content-type") == "application/json",
            "{call}: {:?}",
            http.headers
        );
        let (mut one, mut other) = (answer.clone(), expected);
        for value in [&mut one, &mut other] {
            forget(value);
            if let Some(fields) = value.as_object_mut() {
                fields.remove("replayed");
            }
        }
        ensure!(
            one == other,
            "{call} over HTTP:\n{one:#}\nand over gRPC:\n{other:#}"
        );
        Ok(answer)
    }

    async fn grpc(&self, call: &str, request: Value) -> Result<Result<DynamicMessage, Status>> {
        let (service, method) = call.rsplit_once('.').context("a full name")?;
        let service = self
            .pool
            .get_service_by_name(service)
            .context("a service")?;
        let method = service
            .methods()
            .find(|own| own.name() == method)
            .context("a method")?;
        let message = DynamicMessage::deserialize(method.input(), request)?;
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await?;
        let mut request = Request::new(Bytes::from(message.encode_to_vec()));
        request.set_timeout(PATIENCE);
        let path = format!("/{}/{}", service.full_name(), method.name()).parse()?;
        Ok(match client.unary(request, path, Raw).await {
            Ok(answer) => Ok(DynamicMessage::decode(
                method.output(),
                answer.into_inner(),
            )?),
            Err(status) => Err(status),
        })
    }

    fn status(&self, status: &Status) -> Result<Value> {
        let descriptor = self.pool.get_message_by_name("google.rpc.Status");
        let message = DynamicMessage::decode(descriptor.context("a status")?, status.details())?;
        Ok(serde_json::to_value(message)?)
    }

    /// The calls of services that are answered with one message.
    pub fn unary_calls(&self, services: &[&str]) -> BTreeSet<String> {
        let services = services
            .iter()
            .filter_map(|name| self.pool.get_service_by_name(name));
        services
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .filter(|method| !method.is_server_streaming())
            .map(|method| method.full_name().to_owned())
            .collect()
    }
}

/// As google/rpc/code.proto has it, written down here once more.
fn expected_code(code: tonic::Code) -> u16 {
    match i32::from(code) {
        3 | 9 | 11 => 400,
        16 => 401,
        7 => 403,
        5 => 404,
        6 | 10 => 409,
        8 => 429,
        1 => 499,
        12 => 501,
        14 => 503,
        4 => 504,
        _ => 500,
    }
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_THE_MOMENT.contains(&name.as_str()));
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
