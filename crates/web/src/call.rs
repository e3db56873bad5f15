//! A call of the gRPC service beside, with messages as bytes.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, header};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use runtime::InProcess;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

/// The most that one message of an answer may take; the services keep theirs well below.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Of the request over HTTP alone, not of the call that is made for it.
const NOT_PASSED_ON: [header::HeaderName; 12] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A call about to be made.
pub(crate) struct Call {
    calls: Grpc<InProcess>,
    request: Request<Bytes>,
    path: PathAndQuery,
    method: MethodDescriptor,
}

impl Call {
    /// Headers go with the call as its metadata: `grpc-timeout` is its deadline.
    pub(crate) fn new(
        calls: InProcess,
        method: &MethodDescriptor,
        message: &DynamicMessage,
        mut headers: HeaderMap,
        extensions: Extensions,
    ) -> Result<Self, Status> {
        for name in NOT_PASSED_ON {
            headers.remove(name);
        }
        // What the answer is compressed with is between the services and their gRPC clients.
        headers.remove("grpc-accept-encoding");
        headers.remove("grpc-encoding");
        let metadata = MetadataMap::from_headers(headers);
        let bytes = Bytes::from(message.encode_to_vec());
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        Ok(Self {
            calls: Grpc::new(calls).max_decoding_message_size(ANSWER_BYTES),
            request: Request::from_parts(metadata, extensions, bytes),
            path: path
                .parse()
                .map_err(|_| Status::internal("a method's name is no path"))?,
            method: method.clone(),
        })
    }

    /// The one message of the answer.
    pub(crate) async fn unary(mut self) -> Result<DynamicMessage, Status> {
        let answer = self.calls.unary(self.request, self.path, Raw).await?;
        read(&self.method, answer.into_inner())
    }

    /// The messages of the answer, one by one.
    pub(crate) async fn stream(mut self) -> Result<Messages, Status> {
        let answer = self
            .calls
            .server_streaming(self.request, self.path, Raw)
            .await?;
        Ok(Messages {
            stream: answer.into_inner(),
            method: self.method,
        })
    }
}

pub(crate) struct Messages {
    stream: Streaming<Bytes>,
    method: MethodDescriptor,
}

impl Messages {
    pub(crate) async fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
        let next = self.stream.message().await?;
        next.map(|bytes| read(&self.method, bytes)).transpose()
    }
}

fn read(method: &MethodDescriptor, bytes: Bytes) -> Result<DynamicMessage, Status> {
    DynamicMessage::decode(method.output(), bytes)
        .map_err(|error| Status::internal(format!("an answer cannot be read: {error}")))
}

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw;

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
